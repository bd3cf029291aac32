package schedule

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/removal"
)

// brake holds the clusters that a policy, or a smaller number, no longer picks, if they are more than the removal
// policy allows: none of them is given up. Clusters that leave the fleet, and exchanges, do not count. chosen are the
// clusters that are picked.
//
// Clusters that would be given up if they were heard count, too: otherwise a change that is beyond the removal policy
// would be carried out one cluster after the other, as they are heard again.
func (r *run) brake(chosen map[string]bool) {
	if r.request.Removal.None() {
		return
	}
	change := removal.Change{Subject: removal.Clusters, Of: r.request.UID + types.UID("/"+r.request.Snapshot)}
	was := r.request.HeldRemoval
	var leaving []Binding
	add := func(b Binding) {
		change.Leaving = append(change.Leaving, removal.Object{Name: b.Cluster})
		if b.Snapshot != r.request.Snapshot {
			was = nil // a policy that is used again has the record of its earlier time
		}
	}
	for _, b := range sorted(r.obsolete) {
		if !chosen[b.Cluster] && r.instead[b.Cluster] == "" && r.counts(b) && !slices.Contains(r.request.Granted, removal.Object{Name: b.Cluster}) {
			leaving = append(leaving, b)
			add(b)
		}
	}
	var awaited []removal.Object
	for _, b := range sorted(r.kept) {
		switch cluster := (removal.Object{Name: b.Cluster}); {
		case !r.counts(b) || !r.awaitsHeard(b):
		case slices.Contains(r.request.Granted, cluster):
			r.decision.Awaited = append(r.decision.Awaited, cluster)
		default:
			add(b)
			awaited = append(awaited, cluster)
		}
	}
	on := map[string]bool{}
	for _, b := range r.request.Bindings {
		on[b.Cluster] = on[b.Cluster] || r.counts(b)
	}
	for _, counts := range on {
		if counts {
			change.Total++
		}
	}
	r.decision.Removal = removal.Decide(r.request.Removal, change, was, r.request.Released, r.request.Now)
	if r.decision.Removal == nil {
		if was != nil && slices.Contains(r.request.Released, was.Digest) {
			r.decision.Granted, r.decision.Awaited = change.Leaving, append(r.decision.Awaited, awaited...)
		}
		return
	}
	for _, b := range leaving {
		delete(r.obsolete, b.Cluster)
		r.stay(b)
	}
}

// counts reports whether the placement has placed objects on the cluster of a binding, and it is not leaving the
// fleet.
func (r *run) counts(b Binding) bool {
	return b.Placed && !b.Deleting && !b.Foreign && b.State != v1beta1.BindingStateUnscheduled && r.has(b.Cluster) &&
		r.clusters[r.at[b.Cluster]].DeletionTimestamp.IsZero()
}

// awaitsHeard reports whether a cluster is kept only until it is heard.
func (r *run) awaitsHeard(b Binding) bool {
	carried := b.CarriedOver || slices.ContainsFunc(r.carried, func(c Binding) bool { return c.Name == b.Name })
	return carried && unreadable(r.policy) == nil && r.filters.objectionIfHeard(r.clusters[r.at[b.Cluster]], r.request.Now) != nil
}

// stay keeps a binding that would be given up. It stays one about which the current policy is not decided, so that
// each decision considers it again.
func (r *run) stay(b Binding) {
	decision := v1beta1.ClusterDecision{
		ClusterName: b.Cluster, Selected: true, ClusterScore: b.Decision.ClusterScore,
		Reason: fmt.Sprintf("cluster %q stays although the policy does not pick it: the clusters that it would leave are more than strategy.removal allows, and held", b.Cluster),
	}
	r.stays = append(r.stays, decision)
	if r.isHeld(b) || b.Snapshot == r.request.Snapshot && !b.CarriedOver {
		return // it is already held, or was picked by this policy
	}
	r.decision.Change = append(r.decision.Change, Change{
		Binding: b.Name, State: b.State, Snapshot: r.request.Snapshot, CarriedOver: true, Stays: true, Decision: decision, Replaces: b.Replaces,
	})
}
