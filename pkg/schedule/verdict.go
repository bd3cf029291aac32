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

// Outcome is what a decision makes of one cluster.
type Outcome string

// Outcomes.
const (
	// Picked clusters are chosen by this decision.
	Picked Outcome = "Picked"
	// Kept clusters were chosen before, for the same policy, and stay.
	Kept Outcome = "Kept"
	// Outranked clusters pass every filter, but others are better or enough are chosen already.
	Outranked Outcome = "Outranked"
	// Refused clusters do not pass a filter.
	Refused Outcome = "Refused"
)

// Selected says whether the cluster belongs to the placement.
func (o Outcome) Selected() bool { return o == Picked || o == Kept }

// Verdict is what a decision has to say of one cluster.
type Verdict struct {
	Cluster string
	Outcome Outcome
	// Objection is what the first filter that does not pass says. Kept clusters may have one too: it does not count.
	Objection *Objection
	// Score is what the cluster is ranked by, of a kept one what it was picked with; nil where nothing is ranked.
	Score *v1beta1.ClusterScore
}

// score is what PickN ranks clusters by. The higher, the better.
type score struct {
	affinity, spread int32
	// stays is 1 for a cluster that the last policy had chosen: between equals it is not moved. It is not shown.
	stays int32
}

func (s score) shown() *v1beta1.ClusterScore {
	return &v1beta1.ClusterScore{AffinityScore: ptr.To(s.affinity), TopologySpreadScore: ptr.To(s.spread)}
}

// chosen is the decision on a cluster that was picked by score.
func chosen(cluster string, s score) v1beta1.ClusterDecision {
	return v1beta1.ClusterDecision{
		ClusterName:  cluster,
		Selected:     true,
		ClusterScore: s.shown(),
		Reason: fmt.Sprintf("cluster %q is successfully chosen (affinity score %d, topology spread score %d): picked by scheduling policy",
			cluster, s.affinity, s.spread),
	}
}

// named is the decision on a cluster that the policy names.
func named(cluster string) v1beta1.ClusterDecision {
	return v1beta1.ClusterDecision{
		ClusterName: cluster,
		Selected:    true,
		Reason:      fmt.Sprintf("cluster %q is successfully chosen: picked by scheduling policy", cluster),
	}
}

// unselected is how a verdict on a cluster that is not chosen is told in a status.
func (v *Verdict) unselected() v1beta1.ClusterDecision {
	d := v1beta1.ClusterDecision{ClusterName: v.Cluster}
	if v.Outcome == Outranked {
		d.ClusterScore = v.Score
		d.Reason = fmt.Sprintf("cluster %q does not score high enough (affinity score %d, topology spread score %d)",
			v.Cluster, *v.Score.AffinityScore, *v.Score.TopologySpreadScore)
		return d
	}
	d.Reason = fmt.Sprintf("cluster %q cannot be chosen: %s", v.Cluster, v.Objection.Reason())
	return d
}

func byCluster(a, b v1beta1.ClusterDecision) int { return cmp.Compare(a.ClusterName, b.ClusterName) }

// report lists what a status shows: all chosen clusters by name, then the others as they come.
func (r *run) report(selected []v1beta1.ClusterDecision, others []*Verdict) {
	r.list(slices.SortedFunc(slices.Values(selected), byCluster), others)
}

// list cuts what a status shows to what it may hold.
func (r *run) list(selected []v1beta1.ClusterDecision, others []*Verdict) {
	others = others[:min(len(others), mostUnselected)]
	told := make([]v1beta1.ClusterDecision, 0, len(others))
	for _, v := range others {
		told = append(told, v.unselected())
	}
	r.show(selected, told)
}

func (r *run) show(selected, others []v1beta1.ClusterDecision) {
	r.decision.Found = len(selected)
	selected = selected[:min(len(selected), mostDecisions)]
	others = others[:min(len(others), mostUnselected, mostDecisions-len(selected))]
	r.decision.Clusters = slices.Concat(selected, others)
}

// listedOthers is what the status has on clusters that are not chosen. When the number of clusters is complete nobody is ranked
// again, and what was said of the others still stands.
func (r *run) listedOthers() []v1beta1.ClusterDecision {
	var out []v1beta1.ClusterDecision
	for _, d := range r.request.Listed {
		if _, kept := r.kept[d.ClusterName]; !d.Selected && !kept && r.has(d.ClusterName) {
			out = append(out, d)
		}
	}
	return out
}
