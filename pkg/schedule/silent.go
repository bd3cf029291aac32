package schedule

import (
	"fmt"
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// unheard reports whether the hub does not hear from cluster: its next heartbeat is late, or there never was one. A
// leaving cluster does not count.
func unheard(cluster *clusterv1beta1.MemberCluster, now time.Time) bool {
	return cluster.DeletionTimestamp.IsZero() && liveness.Of(cluster, now) != liveness.Heard
}

func (r *run) unheard(cluster string) bool { return unheard(r.clusters[r.at[cluster]], r.request.Now) }

// Decidable reports whether a policy can be decided for a cluster that an earlier policy picked: it is heard and well.
// Just after a restart, an agent may report what it reported last.
func Decidable(cluster *clusterv1beta1.MemberCluster, now time.Time) bool {
	return liveness.Of(cluster, now) == liveness.Heard && Ineligible(cluster, now) == ""
}

// isHeld reports whether this policy was decided for a binding: it gives the cluster up, and that is held.
func (r *run) isHeld(b Binding) bool { return b.Stays && b.Snapshot == r.request.Snapshot }

// carryOver adopts bindings of an older policy for clusters about which the new policy cannot be decided. That is so if
// the cluster is not heard: its state is unknown, and its agent would delete everything when it returns; the new policy
// is decided for it when it is heard and well. It is so for every cluster if the new policy has a required term that
// cannot be read: nothing is given up for a mistake. A PickFixed policy removes a cluster that it does
// not name. If a PickN policy requires fewer clusters than have bindings, these clusters are removed first.
func (r *run) carryOver() {
	if len(r.obsolete) == 0 {
		return
	}
	unreadable := unreadable(r.policy)
	var waiting []Binding
	for _, b := range sorted(r.obsolete) {
		if r.isHeld(b) {
			continue
		}
		cluster := r.clusters[r.at[b.Cluster]]
		waits := unheard(cluster, r.request.Now) || b.CarriedOver && cluster.DeletionTimestamp.IsZero() && !Decidable(cluster, r.request.Now)
		if (waits || unreadable != nil) && r.allows(cluster) {
			waiting = append(waiting, b)
		}
	}
	if r.policy.PlacementType == v1beta1.PlacementTypePickN {
		slices.SortStableFunc(waiting, worse)
		surplus := max(0, len(r.kept)+len(r.obsolete)-r.request.Number)
		waiting = waiting[min(surplus, len(waiting)):]
	}
	for _, b := range waiting {
		delete(r.obsolete, b.Cluster)
		if b.CarriedOver && b.Snapshot == r.request.Snapshot {
			r.kept[b.Cluster] = b // it was carried over already
			continue
		}
		why := "the hub does not hear from its member agent, and decides on the new policy when it does"
		if unreadable != nil {
			why = "the new one cannot be read: " + unreadable.Error()
		}
		b.Decision = v1beta1.ClusterDecision{
			ClusterName: b.Cluster, Selected: true, ClusterScore: b.Decision.ClusterScore,
			Reason: fmt.Sprintf("cluster %q stays picked from an earlier policy: %s", b.Cluster, why),
		}
		r.kept[b.Cluster] = b
		r.carried = append(r.carried, b)
	}
}

// unreadable returns what is invalid in the required terms of a policy; nil if nothing is.
func unreadable(policy *v1beta1.PlacementPolicy) error {
	for _, t := range requiredTerms(policy) {
		if wrong := compileTerm(t).unreadable(); wrong != nil {
			return wrong
		}
	}
	for _, t := range requiredPlacements(policy) {
		if wrong := compilePlacementTerm(t).wrong; wrong != nil {
			return fmt.Errorf("the policy has an invalid placement affinity term: %w", wrong)
		}
	}
	return nil
}

// returns lets a cluster pass that is not heard and has a binding with content that was given up, or would be: to keep
// the binding, or to take it up again, changes nothing there, and what is there would be deleted when the cluster is
// heard.
func (r *run) returns(cluster *clusterv1beta1.MemberCluster) bool {
	b, ok := r.obsolete[cluster.Name]
	if !ok {
		b, ok = r.unscheduled[cluster.Name]
	}
	return ok && b.Placed && unheard(cluster, r.request.Now) && r.filters.objectionIfHeard(cluster, r.request.Now) == nil &&
		r.passing(cluster.Name) == nil
}

// allows reports whether the policy can pick cluster at all.
func (r *run) allows(cluster *clusterv1beta1.MemberCluster) bool {
	names := r.filters.find(FilterNames)
	return names == nil || names.check(cluster, r.request.Now) == nil
}
