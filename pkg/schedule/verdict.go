package schedule

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

const (
	// mostDecisions and mostUnselected bound the list in a policy snapshot's status.
	mostDecisions  = 1000
	mostUnselected = 20
)

// reasonKept stands in for the reason of a choice that was not recorded with its binding.
const reasonKept = "picked by scheduling policy"

// score is what PickN ranks clusters by. The higher, the better.
type score struct {
	affinity, spread int32
	// stays is 1 for a cluster that the last policy had chosen: between equals it is not moved. It is not shown.
	stays int32
}

func (s score) shown() *v1beta1.ClusterScore {
	return &v1beta1.ClusterScore{AffinityScore: ptr.To(s.affinity), TopologySpreadScore: ptr.To(s.spread)}
}

// chosen is the verdict on a cluster that was picked by score.
func chosen(cluster string, s score) v1beta1.ClusterDecision {
	return v1beta1.ClusterDecision{
		ClusterName:  cluster,
		Selected:     true,
		ClusterScore: s.shown(),
		Reason: fmt.Sprintf("cluster %q is successfully chosen (affinity score %d, topology spread score %d): picked by scheduling policy",
			cluster, s.affinity, s.spread),
	}
}

// named is the verdict on a cluster that the policy names.
func named(cluster string) v1beta1.ClusterDecision {
	return v1beta1.ClusterDecision{
		ClusterName: cluster,
		Selected:    true,
		Reason:      fmt.Sprintf("cluster %q is successfully chosen: picked by scheduling policy", cluster),
	}
}

// outranked is the verdict on a cluster that could have been picked.
func outranked(cluster string, s score) v1beta1.ClusterDecision {
	return v1beta1.ClusterDecision{
		ClusterName:  cluster,
		ClusterScore: s.shown(),
		Reason: fmt.Sprintf("cluster %q does not score high enough (affinity score %d, topology spread score %d)",
			cluster, s.affinity, s.spread),
	}
}

// refused is the verdict on a cluster that cannot be picked.
func refused(cluster, why string) v1beta1.ClusterDecision {
	return v1beta1.ClusterDecision{ClusterName: cluster, Reason: fmt.Sprintf("cluster %q cannot be chosen: %s", cluster, why)}
}

func byCluster(a, b v1beta1.ClusterDecision) int { return cmp.Compare(a.ClusterName, b.ClusterName) }

// report lists the verdicts: all chosen clusters by name, then the others as they come.
func (r *run) report(selected, others []v1beta1.ClusterDecision) {
	selected = slices.Clone(selected)
	slices.SortFunc(selected, byCluster)
	r.list(selected, others)
}

// list cuts the verdicts to what a status may hold.
func (r *run) list(selected, others []v1beta1.ClusterDecision) {
	r.decision.Found = len(selected)
	selected = selected[:min(len(selected), mostDecisions)]
	others = others[:min(len(others), mostUnselected, mostDecisions-len(selected))]
	r.decision.Clusters = slices.Concat(selected, others)
}

// listedOthers are the verdicts on clusters that are not chosen, as the status has them. When the number of clusters is complete
// nobody is ranked again, and what was said of the others still stands.
func (r *run) listedOthers() []v1beta1.ClusterDecision {
	var out []v1beta1.ClusterDecision
	for _, d := range r.request.Listed {
		if _, kept := r.kept[d.ClusterName]; !d.Selected && !kept && r.byName[d.ClusterName] != nil {
			out = append(out, d)
		}
	}
	return out
}
