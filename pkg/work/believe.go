package work

import (
	"fmt"
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Doubt is why a binding is not carried out: nothing is placed or removed because of it. Passing is whether an event
// that is likely to come ends it.
type Doubt struct {
	Why     string
	Passing bool
	// Keeps: existing Works are kept and reported, but get no other content.
	Keeps bool
}

// mostDecisions is how many clusters the status of a policy snapshot lists; if the list is full, others may have been
// picked.
const mostDecisions = 1000

// Believe returns why a binding must not be carried out, or nil. placement is nil if none of the name in the binding
// exists; policies and snapshots are the policy and resource snapshots with that name.
//
// A cluster that no policy snapshot picks gets no content, whether it has Works or not: existing Works do not prove
// that it was picked before, because the member may have created them, or the binding may have been pointed at other
// content since. A binding that the scheduler has unscheduled needs none.
func Believe(binding v1beta1.BindingObject, placement v1beta1.PlacementObject, policies []v1beta1.PolicySnapshotObject,
	snapshots []v1beta1.ResourceSnapshotObject) *Doubt {
	key, _ := scope.PlacementOf(binding)
	name, cluster := joined(key.Namespace, key.Name), binding.GetSpec().TargetCluster
	switch {
	case placement == nil:
		return &Doubt{Passing: true, Why: fmt.Sprintf("Placement %s does not exist; the objects of this binding are kept: "+
			"delete the binding to remove them", name)}
	case !scope.Of(binding, placement):
		return &Doubt{Why: fmt.Sprintf("This binding was made for an earlier placement %s; its objects are kept: "+
			"delete the binding to remove them", name)}
	case foreignSnapshot(binding.GetSpec().ResourceSnapshotName, placement, snapshots):
		return &Doubt{Why: fmt.Sprintf("Resource snapshot %s was not made for placement %s; its content is not placed: delete it",
			binding.GetSpec().ResourceSnapshotName, name)}
	case !picked(cluster, placement, policies):
		return &Doubt{Passing: true, Keeps: true, Why: fmt.Sprintf("Scheduling of placement %s has not picked cluster %s; nothing new is placed there: "+
			"delete this binding if the scheduler did not create it", name, cluster)}
	}
	return nil
}

// foreignSnapshot reports whether the snapshot of this name exists and is not the placement's.
func foreignSnapshot(name string, placement v1beta1.PlacementObject, snapshots []v1beta1.ResourceSnapshotObject) bool {
	return slices.ContainsFunc(snapshots, func(s v1beta1.ResourceSnapshotObject) bool {
		return s.GetName() == name && !scope.OwnedBy(s, placement)
	})
}

// picked reports whether a policy snapshot of the placement has picked cluster. Only the scheduler writes that, into
// its status.
func picked(cluster string, placement v1beta1.PlacementObject, policies []v1beta1.PolicySnapshotObject) bool {
	return slices.ContainsFunc(policies, func(p v1beta1.PolicySnapshotObject) bool {
		decisions := p.GetStatus().ClusterDecisions
		return scope.OwnedBy(p, placement) && (len(decisions) >= mostDecisions ||
			slices.ContainsFunc(decisions, func(d v1beta1.ClusterDecision) bool { return d.Selected && d.ClusterName == cluster }))
	})
}
