package schedule

import (
	"cmp"
	"slices"

	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
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
		r.report(r.keptDecisions(), r.listedOthers())
	default:
		picked, others := r.rankAndPick(number - have)
		r.settle(picked)
		r.report(append(picked, r.keptDecisions()...), others)
	}
}

// drop gives up so many of the kept bindings: those that placed nothing yet first, then the lowest scores.
func (r *run) drop(surplus int) {
	bindings := sorted(r.kept)
	slices.SortStableFunc(bindings, func(a, b Binding) int {
		return cmp.Or(
			compareBool(a.State == v1beta1.BindingStateBound, b.State == v1beta1.BindingStateBound),
			compareShown(a.Decision.ClusterScore, b.Decision.ClusterScore),
			cmp.Compare(a.Cluster, b.Cluster),
		)
	})
	for _, b := range bindings[:surplus] {
		delete(r.kept, b.Cluster)
		r.lost = append(r.lost, b)
	}
	slices.SortFunc(r.lost, byName)
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
	cluster *clusterv1beta1.MemberCluster
	score   score
}

// rankAndPick picks up to want clusters. With spread constraints every pick changes what the next is worth, so they are made one
// by one, and each keeps the score it was picked with; what is said of the others is from the last round.
func (r *run) rankAndPick(want int) (picked, others []v1beta1.ClusterDecision) {
	candidates, refusals := r.candidates()
	spread := newSpread(r.rules.spread, r.clusters, r.kept)
	atOnce := want
	if len(spread) > 0 {
		atOnce = 1
	}
	for {
		ranked, crowded := spread.rank(candidates)
		n := min(atOnce, want-len(picked), len(ranked))
		for _, c := range ranked[:n] {
			picked = append(picked, chosen(c.cluster.Name, c.score))
			spread.add(c.cluster)
			candidates = slices.DeleteFunc(candidates, func(other candidate) bool { return other.cluster == c.cluster })
		}
		if n > 0 && len(picked) < want && len(candidates) > 0 {
			continue
		}
		for _, c := range ranked[n:] {
			others = append(others, outranked(c.cluster.Name, c.score))
		}
		refusals = append(refusals, crowded...)
		slices.SortFunc(refusals, byCluster)
		return picked, append(others, refusals...)
	}
}

// candidates are the clusters that are not chosen yet and pass the rules, with their affinity.
func (r *run) candidates() (out []candidate, refusals []v1beta1.ClusterDecision) {
	for _, cluster := range r.clusters {
		if _, ok := r.kept[cluster.Name]; ok {
			continue
		}
		if why := r.rules.refuse(cluster, r.request.Now); why != "" {
			refusals = append(refusals, refused(cluster.Name, why))
			continue
		}
		s := score{affinity: r.rules.affinity(cluster)}
		if _, ok := r.obsolete[cluster.Name]; ok {
			s.stays = 1
		}
		out = append(out, candidate{cluster: cluster, score: s})
	}
	return out, refusals
}

// better orders candidates, best first. Between equals the larger name wins, as it always did: users' clusters must not move.
func better(a, b candidate) int {
	return cmp.Or(
		-cmp.Compare(a.score.spread, b.score.spread),
		-cmp.Compare(a.score.affinity, b.score.affinity),
		-cmp.Compare(a.score.stays, b.score.stays),
		-cmp.Compare(a.cluster.Name, b.cluster.Name),
	)
}
