package schedule

import (
	"cmp"
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// pickFixed picks the named clusters. It checks only eligibility; affinity and taints do not apply. A cluster that has
// become ineligible since it was picked stays, and counts, because nothing is removed from it.
func (r *run) pickFixed(names []string) {
	if len(names) == 0 {
		r.decision.Hold = true
	}
	var picked, selected []v1beta1.ClusterDecision
	var ineligible, missing []*Verdict
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		i, ok := r.at[name]
		if !ok {
			missing = append(missing, &Verdict{Cluster: name, Outcome: Refused, Objection: &Objection{FilterNames, unknown}})
			continue
		}
		v := &r.verdicts[i]
		if b, ok := r.kept[name]; ok {
			selected = append(selected, b.decision())
			continue
		}
		if v.Outcome == Refused {
			ineligible = append(ineligible, v)
			continue
		}
		v.Outcome = Picked
		decision := named(name)
		picked, selected = append(picked, decision), append(selected, decision)
	}
	if r.decision.Hold {
		return
	}
	r.settle(picked)
	r.list(selected, slices.Concat(ineligible, missing))
	r.decision.Wanted = len(seen)
	for _, v := range missing {
		r.verdicts = append(r.verdicts, *v)
	}
	slices.SortFunc(r.verdicts, func(a, b Verdict) int { return cmp.Compare(a.Cluster, b.Cluster) })
}
