package schedule

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// pickN picks the best clusters until there are number of them. Before that it leaves clusters that are lost or have
// evicting taints.
func (r *run) pickN(number int) {
	r.decision.Wanted = number
	r.finish(number)
	r.takeBack()
	surplus := max(0, len(r.kept)-number)
	r.drop(surplus)
	r.leave()
	r.failBack(number)
	r.rebalance(number)
	r.follow()
	r.watch(r.moved)
	have := len(r.kept) + len(r.moved)
	if have < number || len(r.stuck)+len(r.held) > 0 {
		picked, others := r.rankAndPick(number - have)
		r.order = picked
		r.adopt(picked)
		if len(picked) > 0 && r.mayReturn() {
			r.lookAgain(time.Second) // returns to clusters are decided when the picks have their bindings
		}
		r.watch(picked)
		r.forget()
		r.fill()
		picked = append(picked, r.moved...)
		r.settle(picked)
		r.report(append(picked, r.keptDecisions()...), others)
		return
	}
	r.forget()
	r.fill()
	r.settle(r.moved)
	if len(r.obsolete) > 0 || len(r.writes) > 0 { // without the clusters that are held
		r.report(append(r.moved, r.keptDecisions()...), nil)
	} else {
		r.show(slices.SortedFunc(slices.Values(r.keptDecisions()), byCluster), r.listedOthers())
	}
	r.rankAndPick(0)
}

// drop removes the given number of kept bindings: first those of clusters that are not heard, then those of clusters
// that must be left because of a taint, then those without content, then those with the lowest scores.
func (r *run) drop(surplus int) {
	for _, b := range r.worstFirst()[:surplus] {
		r.discard(b)
	}
}

// worstFirst returns the kept bindings in the order in which they are removed.
func (r *run) worstFirst() []Binding {
	heard := func(b Binding) bool { return !r.unheard(b.Cluster) }
	stays := func(b Binding) bool { return r.leaveOf(b.Cluster).Reason != failover.Tainted }
	bindings := sorted(r.kept)
	slices.SortStableFunc(bindings, func(a, b Binding) int {
		return cmp.Or(compareBool(heard(a), heard(b)), compareBool(stays(a), stays(b)), worse(a, b))
	})
	return bindings
}

// worse orders bindings whose clusters are both heard, or both not.
func worse(a, b Binding) int {
	return cmp.Or(
		compareBool(a.State == v1beta1.BindingStateBound, b.State == v1beta1.BindingStateBound),
		compareShown(a.Decision.ClusterScore, b.Decision.ClusterScore),
		cmp.Compare(a.Cluster, b.Cluster),
	)
}

// compareShown orders stored scores, lowest first. A missing score is the lowest.
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

// candidate is a cluster that passes every filter except the spread, with its score.
type candidate struct {
	// at is the index of the cluster in the run, ordered by name.
	at    int
	score score
	// violates is the index of the DoNotSchedule constraint that currently forbids it, -1 for none.
	violates int
	// left is whether this decision leaves the cluster, so that it cannot be picked.
	left bool
}

// rankAndPick picks up to want clusters, and ranks the others. With spread constraints every pick changes the scores
// of the others, so it picks one by one. Each pick keeps the score with which it was picked; the scores of the others
// are from the last round.
func (r *run) rankAndPick(want int) (picked []v1beta1.ClusterDecision, others []*Verdict) {
	candidates := r.candidates()
	gone := slices.DeleteFunc(slices.Clone(candidates), func(c candidate) bool { return !c.left })
	picked, left, spread := r.pick(want, slices.DeleteFunc(candidates, func(c candidate) bool { return c.left }))
	for i := range gone {
		spread.score(&gone[i])
	}
	return picked, r.rest(append(left, gone...), spread)
}

// pick picks up to want of the candidates, and returns the others.
func (r *run) pick(want int, candidates []candidate) (picked []v1beta1.ClusterDecision, left []candidate, spread spread) {
	spread = newSpread(r.policy.TopologySpreadConstraints, r.clusters, r.isPicked, r.request.Now)
	if len(spread) == 0 {
		slices.SortFunc(candidates, better)
		n := min(want, len(candidates))
		for _, c := range candidates[:n] {
			picked = append(picked, r.verdicts[c.at].pick(c.score))
		}
		return picked, candidates[n:], spread
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
	return picked, candidates, spread
}

// isPicked reports whether the placement has the cluster already.
func (r *run) isPicked(cluster string) bool {
	_, ok := r.kept[cluster]
	is := func(d v1beta1.ClusterDecision) bool { return d.ClusterName == cluster }
	return ok || slices.ContainsFunc(r.moved, is) || slices.ContainsFunc(r.newly, is)
}

// rest records the verdicts on the remaining candidates, and lists the clusters that were not picked: the best first,
// then the refused ones by name.
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

// candidates returns the clusters that are not picked yet and pass the filters, with their affinity.
func (r *run) candidates() (out []candidate) {
	for i := range r.verdicts {
		if r.verdicts[i].Outcome != Outranked {
			continue
		}
		c := candidate{at: i, violates: -1, left: r.left[r.clusters[i].Name], score: score{affinity: r.preferred.affinity(r.clusters[i])}}
		if _, ok := r.obsolete[r.clusters[i].Name]; ok {
			c.score.stays = 1
		}
		if !r.unheard(r.clusters[i].Name) {
			c.score.heard = 1
		} else if r.returns(r.clusters[i]) {
			c.score.returns = 1
		}
		if r.rules != nil && r.rules.Policy != nil && failover.Flapping(r.clusters[i], r.request.Now) {
			c.score.flaps = 1
		}
		out = append(out, c)
	}
	return out
}

// better orders candidates, best first. Of equals the larger name wins, as in earlier versions: users' placements must
// not move.
func better(a, b candidate) int {
	return cmp.Or(
		cmp.Compare(a.score.returns, b.score.returns),
		cmp.Compare(a.score.flaps, b.score.flaps),
		-cmp.Compare(a.score.spread, b.score.spread),
		-cmp.Compare(a.score.affinity, b.score.affinity),
		-cmp.Compare(a.score.heard, b.score.heard),
		-cmp.Compare(a.score.stays, b.score.stays),
		-cmp.Compare(a.at, b.at),
	)
}
