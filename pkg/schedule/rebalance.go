package schedule

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// rebalance moves the placement from one cluster to a better one, if a user asked for that: to the one that would be
// picked in its place now. The next one moves when what was there is removed. It waits while clusters are silent, an
// update run is active, or the placement has to leave clusters for other reasons, and is done when no cluster can be
// exchanged for a better one. A cluster that was picked by it does not move again, so that it ends.
func (r *run) rebalance(number int) {
	asked := r.request.Rebalance
	if asked.IsZero() || r.rules == nil {
		return
	}
	r.waiting = true
	pending := len(r.moved) + len(r.stuck) + len(r.held) + len(r.writes) + len(r.replaced()) + len(r.carried) + len(r.obsolete)
	if pending > 0 || r.request.Run != "" || r.isAnySilent() || len(r.kept) < number && len(r.try(r.candidates())) > 0 {
		return
	}
	for _, b := range r.worstFirst() {
		if r.isAsked(b.Replaces) || !b.Available {
			continue
		}
		to, score := r.wouldPick(b)
		if to == b.Cluster || r.hasBinding(to) {
			continue
		}
		e := failover.Exchange{Reason: failover.Rebalance, Since: metav1.NewTime(asked), Resources: spent(b)}
		if r.exchange(b, e, func(c *clusterv1beta1.MemberCluster) bool { return c.Name == to }) {
			r.decision.Left[len(r.decision.Left)-1].Score = score
			return
		}
	}
	r.decision.Rebalanced = !slices.ContainsFunc(sorted(r.kept), func(b Binding) bool { return !b.Available })
}

// isAsked reports whether an exchange is one of the rebalance that a user asked for. Its record stays until the rebalance
// is done: a cluster that was picked by it does not move again, even if scores change with every move.
func (r *run) isAsked(e *failover.Exchange) bool {
	return e != nil && e.Reason == failover.Rebalance && e.Since.Time.Equal(r.request.Rebalance)
}

// isAnySilent reports whether a cluster of the fleet is not heard, so that the hub may not know what runs where.
func (r *run) isAnySilent() bool {
	return failover.Braked(r.clusters) || slices.ContainsFunc(r.clusters, func(c *clusterv1beta1.MemberCluster) bool {
		return failover.Watched(c) && liveness.Of(c, r.request.Now) == liveness.Silent
	})
}

// wouldPick returns the cluster that would be picked in place of that of b, which is kept: the same if no other is
// better. score is what that of b would score now, nil if it would not pass the filters.
func (r *run) wouldPick(b Binding) (cluster string, score *v1beta1.ClusterScore) {
	v := &r.verdicts[r.at[b.Cluster]]
	before := *v
	delete(r.kept, b.Cluster)
	r.obsolete[b.Cluster] = b
	r.reject(b.Cluster)
	candidates := slices.DeleteFunc(r.candidates(), func(c candidate) bool { return c.at != r.at[b.Cluster] && r.unheard(r.clusters[c.at].Name) })
	tried := r.try(candidates)
	delete(r.obsolete, b.Cluster)
	r.kept[b.Cluster] = b
	*v = before
	if len(tried) == 0 {
		return b.Cluster, nil
	}
	if i := slices.IndexFunc(tried, func(c candidate) bool { return c.at == r.at[b.Cluster] }); i >= 0 {
		score = tried[i].score.shown()
	}
	return r.clusters[tried[0].at].Name, score
}

// try returns the candidates with their scores, the one that would be picked first; none if none would be.
func (r *run) try(candidates []candidate) []candidate {
	spread := newSpread(r.policy.TopologySpreadConstraints, r.clusters, r.isPicked, r.request.Now)
	if len(spread) == 0 {
		slices.SortFunc(candidates, better)
		return candidates
	}
	best := spread.rank(candidates)
	if best < 0 {
		return nil
	}
	candidates[0], candidates[best] = candidates[best], candidates[0]
	return candidates
}

// Move is one cluster of a placement that is exchanged for a better one.
type Move struct {
	From, To string
	// Score is what From would score now, nil if the policy would not pick it; Better is the score of To.
	Score, Better *v1beta1.ClusterScore
}

// Rebalance returns the moves to better clusters if a user asked for them now, in their order, as if each replacement
// became available. ok is false if nothing can move at present, because clusters are silent or the placement is not
// where it should be.
func Rebalance(r Request) (moves []Move, ok bool) {
	r.Rebalance = r.Now
	r.Bindings = slices.Clone(r.Bindings)
	for range len(r.Bindings) + 1 {
		d := Decide(r)
		if d.Rebalanced {
			return moves, true
		}
		if len(d.Left) != 1 || d.Left[0].Reason != failover.Rebalance {
			break
		}
		left := d.Left[0]
		i := slices.IndexFunc(r.Bindings, func(b Binding) bool { return b.Cluster == left.Cluster && b.State != v1beta1.BindingStateUnscheduled })
		j := slices.IndexFunc(d.Create, func(c v1beta1.ClusterDecision) bool { return c.ClusterName == left.With })
		if i < 0 || j < 0 {
			break
		}
		moves = append(moves, Move{From: left.Cluster, To: left.With, Score: left.Score, Better: d.Create[j].ClusterScore})
		r.Bindings[i].Cluster, r.Bindings[i].Decision = left.With, d.Create[j]
		r.Bindings[i].Replaces = d.Replaces[left.With]
	}
	return moves, len(moves) > 0
}
