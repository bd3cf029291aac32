package report

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestResourcesPermitted(t *testing.T) {
	placement := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 3}}
	if c := ResourcesPermitted(placement, nil); c != nil {
		t.Errorf("nothing is withheld: %+v", c)
	}
	var withheld []v1beta1.ResourceIdentifier
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		withheld = append(withheld, v1beta1.ResourceIdentifier{Kind: "Secret", Namespace: "shop", Name: name})
	}
	want := metav1.Condition{
		Type: "ClusterResourcePlacementResourcesPermitted", Status: metav1.ConditionFalse, Reason: "PrivilegedResourcesWithheld", ObservedGeneration: 3,
		Message: "Not placed, because the author of the spec lacks the verb place-privileged on clusterresourceplacements: Secret shop/a, " +
			"Secret shop/b, Secret shop/c and 2 more. To place them, a user who has the verb removes the annotation kubernetes-fleet.io/author. " +
			"All other objects are placed",
	}
	if c := ResourcesPermitted(placement, withheld); c == nil || *c != want {
		t.Errorf("%+v", c)
	}
}
