package work

import (
	"fmt"
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Doubt is why a binding is not carried out: nothing is placed because of it, and nothing removed. Passing is whether an event that is
// likely on its way ends it.
type Doubt struct {
	Why     string
	Passing bool
	// Keeps: Works that are there are kept, and reported, and get no other content.
	Keeps bool
}

// mostDecisions is how many clusters the status of a policy snapshot lists; one that is full may have picked others.
const mostDecisions = 1000

// Believe says what speaks against carrying out a binding, or nil. placement is nil if there is none of the name that the binding bears;
// policies and snapshots are the policy and resource snapshots that bear that name.
//
// A cluster that no policy snapshot picks gets no content, Works or not: that there are Works is no proof that it was picked before, because the
// member may have made them, or the binding may have been pointed at other content since. A binding that the scheduler gives up needs none.
func Believe(binding v1beta1.BindingObject, placement v1beta1.PlacementObject, policies []v1beta1.PolicySnapshotObject,
	snapshots []v1beta1.ResourceSnapshotObject) *Doubt {
	key, _ := scope.PlacementOf(binding)
	name, cluster := joined(key.Namespace, key.Name), binding.GetSpec().TargetCluster
	switch {
	case placement == nil:
		return &Doubt{Passing: true, Why: fmt.Sprintf("Placement %s does not exist; what this binding placed is kept: "+
			"delete the binding to have it removed", name)}
	case !scope.Of(binding, placement):
		return &Doubt{Why: fmt.Sprintf("This binding was made for an earlier placement %s; what it placed is kept: "+
			"delete the binding to have it removed", name)}
	case foreignSnapshot(binding.GetSpec().ResourceSnapshotName, placement, snapshots):
		return &Doubt{Why: fmt.Sprintf("Resource snapshot %s was not made for placement %s; its content is not placed: delete it",
			binding.GetSpec().ResourceSnapshotName, name)}
	case !picked(cluster, placement, policies):
		return &Doubt{Passing: true, Keeps: true, Why: fmt.Sprintf("Scheduling of placement %s has not picked cluster %s; nothing new is placed there: "+
			"delete this binding if the scheduler did not create it", name, cluster)}
	}
	return nil
}

// foreignSnapshot says whether the snapshot of this name is there and not the placement's.
func foreignSnapshot(name string, placement v1beta1.PlacementObject, snapshots []v1beta1.ResourceSnapshotObject) bool {
	return slices.ContainsFunc(snapshots, func(s v1beta1.ResourceSnapshotObject) bool {
		return s.GetName() == name && !scope.OwnedBy(s, placement)
	})
}

// picked says whether a policy snapshot of the placement has picked cluster. Only the scheduler writes that, into a status.
func picked(cluster string, placement v1beta1.PlacementObject, policies []v1beta1.PolicySnapshotObject) bool {
	return slices.ContainsFunc(policies, func(p v1beta1.PolicySnapshotObject) bool {
		decisions := p.GetStatus().ClusterDecisions
		return scope.OwnedBy(p, placement) && (len(decisions) >= mostDecisions ||
			slices.ContainsFunc(decisions, func(d v1beta1.ClusterDecision) bool { return d.Selected && d.ClusterName == cluster }))
	})
}
