package schedule

import (
	"fmt"
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// unheard reports whether the hub does not hear cluster: its agent reports nothing, or has not for longer than patience. A cluster that is
// leaving is not awaited.
func unheard(cluster *clusterv1beta1.MemberCluster, now time.Time) bool {
	why := Ineligible(cluster, now)
	return why == offline || why == silent
}

// carryOver takes bindings of an older policy over for clusters that the hub does not hear, whatever the new policy asks of them. Nothing is
// known of such a cluster, and its agent would delete everything when it returns. PickFixed names its clusters, so it gives up one that
// it does not name; and where a PickN policy wants fewer clusters than have bindings, the surplus is taken from those not heard.
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
			Reason: fmt.Sprintf("cluster %q stays chosen from an earlier policy: %s, and a change of the policy gives up no cluster that is not heard",
				b.Cluster, Ineligible(r.clusters[r.at[b.Cluster]], r.request.Now)),
		}
		delete(r.obsolete, b.Cluster)
		r.kept[b.Cluster] = b
		r.carried = append(r.carried, b)
	}
}

// allows reports whether the policy may have cluster at all.
func (r *run) allows(cluster *clusterv1beta1.MemberCluster) bool {
	names := r.filters.find(FilterNames)
	return names == nil || names.check(cluster, r.request.Now) == nil
}
