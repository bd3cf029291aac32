package schedule

import (
	"cmp"
	"slices"

	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// pickN chooses the best clusters until number of them are chosen.
func (r *run) pickN(number int) {
	r.decision.Wanted = number
	have := len(r.kept)
	switch {
	case have > number:
		r.drop(have - number)
		r.settle(nil)
		r.report(r.keptDecisions(), nil)
	case have == number && len(r.obsolete) > 0:
		r.settle(nil)
		r.report(r.keptDecisions(), nil)
	case have == number:
		r.settle(nil)
		r.show(slices.SortedFunc(slices.Values(r.keptDecisions()), byCluster), r.listedOthers())
	default:
		picked, others := r.rankAndPick(number - have)
		r.order = picked
		r.settle(picked)
		r.report(append(picked, r.keptDecisions()...), others)
		return
	}
	r.rankAndPick(0)
}

// drop gives up so many of the kept bindings: those of clusters that are not heard first, then those that placed nothing yet, then the
// lowest scores.
func (r *run) drop(surplus int) {
	for _, b := range r.worstFirst()[:surplus] {
		delete(r.kept, b.Cluster)
		r.lost = append(r.lost, b)
		v := &r.verdicts[r.at[b.Cluster]]
		v.Outcome, v.Score = Outranked, nil
		if v.Objection != nil {
			v.Outcome = Refused
		}
	}
	slices.SortFunc(r.lost, byName)
}

// worstFirst are the kept bindings in the order in which they are given up.
func (r *run) worstFirst() []Binding {
	heard := func(b Binding) bool { return !unheard(r.clusters[r.at[b.Cluster]], r.request.Now) }
	bindings := sorted(r.kept)
	slices.SortStableFunc(bindings, func(a, b Binding) int { return cmp.Or(compareBool(heard(a), heard(b)), worse(a, b)) })
	return bindings
}

// worse orders bindings whose clusters are equally well known.
func worse(a, b Binding) int {
	return cmp.Or(
		compareBool(a.State == v1beta1.BindingStateBound, b.State == v1beta1.BindingStateBound),
		compareShown(a.Decision.ClusterScore, b.Decision.ClusterScore),
		cmp.Compare(a.Cluster, b.Cluster),
	)
}

// compareShown orders stored scores, lowest first. No score at all is lower than any.
func compareShown(a, b *v1beta1.ClusterScore) int {
	if a == nil || b == nil {
		return compareBool(a != nil, b != nil)
	}
	return cmp.Or(
		cmp.Compare(ptr.Deref(a.TopologySpreadScore, 0), ptr.Deref(b.TopologySpreadScore, 0)),
		cmp.Compare(ptr.Deref(a.AffinityScore, 0), ptr.Deref(b.AffinityScore, 0)),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// candidate is a cluster that passed everything but the spread, with its score.
type candidate struct {
	// at finds the cluster among those of the run, which are in the order of their names.
	at    int
	score score
	// violates is the DoNotSchedule constraint that forbids it for now, -1 for none.
	violates int
}

// rankAndPick picks up to want clusters, and ranks the others. With spread constraints every pick changes what the next is worth, so
// they are made one by one, and each keeps the score it was picked with; what is said of the others is from the last round.
func (r *run) rankAndPick(want int) (picked []v1beta1.ClusterDecision, others []*Verdict) {
	candidates := r.candidates()
	spread := newSpread(r.policy.TopologySpreadConstraints, r.clusters, r.kept)
	if len(spread) == 0 {
		slices.SortFunc(candidates, better)
		n := min(want, len(candidates))
		for _, c := range candidates[:n] {
			picked = append(picked, r.verdicts[c.at].pick(c.score))
		}
		return picked, r.rest(candidates[n:], spread)
	}
	for {
		best := spread.rank(candidates)
		if best < 0 || len(picked) == want {
			break
		}
		c := candidates[best]
		picked = append(picked, r.verdicts[c.at].pick(c.score))
		candidates = slices.Delete(candidates, best, best+1)
		if len(picked) == want {
			break
		}
		spread.add(c.at)
	}
	return picked, r.rest(candidates, spread)
}

// rest notes what became of the candidates that are left, and lists who is not chosen: the best first, then those refused by name.
func (r *run) rest(left []candidate, spread spread) []*Verdict {
	slices.SortFunc(left, better)
	var others, refused []*Verdict
	for _, c := range left {
		v := &r.verdicts[c.at]
		if c.violates >= 0 {
			v.Outcome, v.Objection = Refused, &Objection{FilterSpread, spread[c.violates].crowd(c.at)}
			continue
		}
		v.Score = c.score.shown()
		others = append(others, v)
	}
	for i := range r.verdicts {
		if r.verdicts[i].Outcome == Refused {
			refused = append(refused, &r.verdicts[i])
		}
	}
	return append(others, refused...)
}

// candidates are the clusters that are not chosen yet and pass the rules, with their affinity.
func (r *run) candidates() (out []candidate) {
	for i := range r.verdicts {
		if r.verdicts[i].Outcome != Outranked {
			continue
		}
		c := candidate{at: i, violates: -1, score: score{affinity: r.preferred.affinity(r.clusters[i])}}
		if _, ok := r.obsolete[r.clusters[i].Name]; ok {
			c.score.stays = 1
		}
		out = append(out, c)
	}
	return out
}

// better orders candidates, best first. Between equals the larger name wins, as it always did: users' clusters must not move.
func better(a, b candidate) int {
	return cmp.Or(
		-cmp.Compare(a.score.spread, b.score.spread),
		-cmp.Compare(a.score.affinity, b.score.affinity),
		-cmp.Compare(a.score.stays, b.score.stays),
		-cmp.Compare(a.at, b.at),
	)
}
