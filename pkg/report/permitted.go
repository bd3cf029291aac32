package report

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// ResourcesPermitted is the condition of a placement whose author may not place some of the selected objects; nil if
// there are none.
func ResourcesPermitted(placement v1beta1.PlacementObject, withheld []v1beta1.ResourceIdentifier) *metav1.Condition {
	if len(withheld) == 0 {
		return nil
	}
	var names []string
	for _, id := range withheld {
		names = append(names, id.Kind+" "+strings.TrimPrefix(id.Namespace+"/"+id.Name, "/"))
	}
	c := no(placement.GetGeneration(), placement.ConditionType(v1beta1.ConditionResourcesPermitted), v1beta1.ReasonPrivilegedResources,
		fmt.Sprintf("Not placed, because the author of the spec lacks the verb place-privileged on %s: %s. To place them, a user who has "+
			"the verb removes the annotation %s. All other objects are placed", placementsResource(placement), brief.List(names, mostNamed), contract.AnnotationAuthor))
	return &c
}

// placementsResource is the resource on which authors of placements in this scope need the verb.
func placementsResource(placement v1beta1.PlacementObject) string {
	if placement.GetNamespace() == "" {
		return "clusterresourceplacements"
	}
	return "resourceplacements"
}
