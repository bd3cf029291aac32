package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

const (
	// mostDecisions and mostUnselected limit the list in a policy snapshot's status.
	mostDecisions  = 1000
	mostUnselected = 20
)

// reasonKept is the reason for a pick that was not recorded with its binding.
const reasonKept = "picked by scheduling policy"

// Outcome is the result of a decision for one cluster.
type Outcome string

// Outcomes.
const (
	// Picked clusters are picked by this decision.
	Picked Outcome = "Picked"
	// Kept clusters were picked before, for the same policy, and stay.
	Kept Outcome = "Kept"
	// Outranked clusters pass every filter, but others rank higher or enough are already picked.
	Outranked Outcome = "Outranked"
	// Refused clusters do not pass a filter.
	Refused Outcome = "Refused"
)

// Selected reports whether the cluster belongs to the placement.
func (o Outcome) Selected() bool { return o == Picked || o == Kept }

// Verdict is the result of a decision for one cluster, with the reason.
type Verdict struct {
	Cluster string
	Outcome Outcome
	// Objection is the objection of the first filter that refuses the cluster. Kept clusters may have one too, which
	// has no effect.
	Objection *Objection
	// Score is the score of the cluster, for a kept one the score with which it was picked; nil if clusters are not
	// ranked.
	Score *v1beta1.ClusterScore
	// Until is when the placement leaves a kept cluster because of its taints; zero if it does not.
	Until time.Time
}

// score is the score by which PickN ranks clusters. Higher is better.
type score struct {
	affinity, spread int32
	// returns is 1 for a cluster that is not heard and whose binding would be taken up again: all others come first.
	returns int32
	// flaps is 1 for a cluster that was lost not long ago, if the placement leaves lost clusters: others come first.
	flaps int32
	// heard is 1 for a cluster whose heartbeat is not late: of equals it is picked. It is not reported.
	heard int32
	// stays is 1 for a cluster that the last policy had picked: of equals it stays. It is not reported.
	stays int32
}

func (s score) shown() *v1beta1.ClusterScore {
	return &v1beta1.ClusterScore{AffinityScore: ptr.To(s.affinity), TopologySpreadScore: ptr.To(s.spread)}
}

// chosen returns the decision for a cluster that was picked by score.
func chosen(cluster string, s score) v1beta1.ClusterDecision {
	return v1beta1.ClusterDecision{
		ClusterName:  cluster,
		Selected:     true,
		ClusterScore: s.shown(),
		Reason: fmt.Sprintf("cluster %q is successfully chosen (affinity score %d, topology spread score %d): picked by scheduling policy",
			cluster, s.affinity, s.spread),
	}
}

// named returns the decision for a cluster that the policy names.
func named(cluster string) v1beta1.ClusterDecision {
	return v1beta1.ClusterDecision{
		ClusterName: cluster,
		Selected:    true,
		Reason:      fmt.Sprintf("cluster %q is successfully chosen: picked by scheduling policy", cluster),
	}
}

// unselected returns the decision for a cluster that is not picked, as a status reports it.
func (v *Verdict) unselected() v1beta1.ClusterDecision {
	d := v1beta1.ClusterDecision{ClusterName: v.Cluster}
	if v.Outcome == Outranked && v.Score != nil {
		d.ClusterScore = v.Score
		d.Reason = fmt.Sprintf("cluster %q does not score high enough (affinity score %d, topology spread score %d)",
			v.Cluster, *v.Score.AffinityScore, *v.Score.TopologySpreadScore)
		return d
	}
	if v.Objection == nil {
		d.Reason = fmt.Sprintf("cluster %q is left for another one", v.Cluster)
		return d
	}
	d.Reason = fmt.Sprintf("cluster %q cannot be chosen: %s", v.Cluster, v.Objection.Reason())
	return d
}

func byCluster(a, b v1beta1.ClusterDecision) int { return cmp.Compare(a.ClusterName, b.ClusterName) }

// report sets the decisions to report: all picked clusters by name, then the others in their order.
func (r *run) report(selected []v1beta1.ClusterDecision, others []*Verdict) {
	r.list(slices.SortedFunc(slices.Values(selected), byCluster), others)
}

// list sets the decisions to report, limited to the size of a status.
func (r *run) list(selected []v1beta1.ClusterDecision, others []*Verdict) {
	others = others[:min(len(others), mostUnselected)]
	decisions := r.stuckDecisions()
	for _, v := range others {
		decisions = append(decisions, v.unselected())
	}
	r.show(selected, decisions)
}

func (r *run) show(selected, others []v1beta1.ClusterDecision) {
	r.decision.Found = len(selected)
	if len(r.stays) > 0 {
		selected = slices.SortedFunc(slices.Values(slices.Concat(selected, r.stays)), byCluster)
		others = slices.DeleteFunc(slices.Clone(others), func(d v1beta1.ClusterDecision) bool {
			return slices.ContainsFunc(r.stays, func(s v1beta1.ClusterDecision) bool { return s.ClusterName == d.ClusterName })
		})
	}
	selected = selected[:min(len(selected), mostDecisions)]
	others = others[:min(len(others), mostUnselected, mostDecisions-len(selected))]
	r.decision.Clusters = slices.Concat(selected, others)
}

// listedOthers returns the reported decisions for clusters that are not picked. When the number of clusters is
// complete, they are not ranked again, and these decisions stay valid.
func (r *run) listedOthers() []v1beta1.ClusterDecision {
	var out []v1beta1.ClusterDecision
	for _, d := range r.request.Listed {
		if _, kept := r.kept[d.ClusterName]; !d.Selected && !kept && r.has(d.ClusterName) {
			out = append(out, d)
		}
	}
	return out
}
