package testworld

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	kinds "github.com/flagship-fleet/flagship/pkg/scope"
)

// Owned makes the placement the owner of a snapshot, as the placer does.
func Owned(snapshot client.Object, placement v1beta1.PlacementObject) {
	kind := v1beta1.GroupVersion.WithKind(placement.ConditionType(""))
	snapshot.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(placement, kind)})
}

// OwnedOn makes the existing placement key the owner of a snapshot.
func OwnedOn(t testing.TB, hub client.Reader, key types.NamespacedName, snapshot client.Object) {
	t.Helper()
	placement, err := kinds.Placements.Get(t.Context(), hub, key)
	if err != nil {
		t.Fatal(err)
	}
	Owned(snapshot, placement)
}

// Picked is the latest policy snapshot of a placement for which the scheduler has picked clusters. Write its status
// separately.
func Picked(placement v1beta1.PlacementObject, clusters ...string) v1beta1.PolicySnapshotObject {
	key := client.ObjectKeyFromObject(placement)
	policy := kinds.PolicySnapshots.New(key)
	policy.SetNamespace(key.Namespace)
	policy.SetName(contract.PolicySnapshotName(key.Name, 0))
	policy.SetLabels(map[string]string{contract.LabelPlacement: key.Name, contract.LabelPolicyIndex: "0", contract.LabelLatest: "true"})
	policy.GetSpec().PolicyHash = []byte("hash")
	for _, cluster := range clusters {
		policy.GetStatus().ClusterDecisions = append(policy.GetStatus().ClusterDecisions,
			v1beta1.ClusterDecision{ClusterName: cluster, Selected: true, Reason: "picked"})
	}
	policy.GetStatus().Conditions = []metav1.Condition{}
	Owned(policy, placement)
	return policy
}
