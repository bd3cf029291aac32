package schedule

import (
	"fmt"
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// unheard reports whether the hub gets no heartbeats of cluster: its agent reports nothing, or has not reported for
// longer than patience. A leaving cluster does not count.
func unheard(cluster *clusterv1beta1.MemberCluster, now time.Time) bool {
	why := Ineligible(cluster, now)
	return why == offline || why == silent
}

// carryOver adopts bindings of an older policy for clusters without heartbeats, whatever the new policy requires. The
// state of such a cluster is unknown, and its agent would delete everything when it returns. A PickFixed policy
// removes a cluster that it does not name. If a PickN policy requires fewer clusters than have bindings, clusters
// without heartbeats are removed first.
func (r *run) carryOver() {
	var waiting []Binding
	for _, b := range sorted(r.obsolete) {
		cluster := r.clusters[r.at[b.Cluster]]
		if unheard(cluster, r.request.Now) && r.allows(cluster) {
			waiting = append(waiting, b)
		}
	}
	if r.policy.PlacementType == v1beta1.PlacementTypePickN {
		slices.SortStableFunc(waiting, worse)
		surplus := max(0, len(r.kept)+len(r.obsolete)-r.request.Number)
		waiting = waiting[min(surplus, len(waiting)):]
	}
	for _, b := range waiting {
		b.Decision = v1beta1.ClusterDecision{
			ClusterName: b.Cluster, Selected: true, ClusterScore: b.Decision.ClusterScore,
			Reason: fmt.Sprintf("cluster %q stays picked from an earlier policy: %s, and a policy change does not remove a cluster without heartbeats",
				b.Cluster, Ineligible(r.clusters[r.at[b.Cluster]], r.request.Now)),
		}
		delete(r.obsolete, b.Cluster)
		r.kept[b.Cluster] = b
		r.carried = append(r.carried, b)
	}
}

// allows reports whether the policy can pick cluster at all.
func (r *run) allows(cluster *clusterv1beta1.MemberCluster) bool {
	names := r.filters.find(FilterNames)
	return names == nil || names.check(cluster, r.request.Now) == nil
}
