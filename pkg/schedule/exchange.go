package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// Exchange is a cluster that the placement leaves by this decision.
type Exchange struct {
	// Cluster is the one that it leaves; Exchange.With is the one that replaces it.
	Cluster string
	// Score is what it would score now, for Rebalance; nil if it would not pass the filters.
	Score *v1beta1.ClusterScore
	failover.Exchange
}

// exchanges are the state of the exchanges in a run. Its zero value is that of a placement that leaves no cluster.
type exchanges struct {
	rules *failover.Rules
	// moved are the picks that replace others, not yet bindings.
	moved []v1beta1.ClusterDecision
	// newly are the other picks of this decision.
	newly []v1beta1.ClusterDecision
	// replaces is what a pick replaces, by its cluster.
	replaces map[string]*failover.Exchange
	// stuck are the clusters to leave for which there is no replacement.
	stuck []leaver
	// held are the clusters to leave that count as found, because update runs need them.
	held []leaver
	// writes are the changes of bindings.
	writes []Change
	// waiting is whether another state of the fleet may lead to another decision about an exchange.
	waiting bool
	// left are the clusters that this decision leaves.
	left map[string]bool
	// instead is the cluster that takes the place of one that is given up by this decision, by the latter.
	instead map[string]string
}

// leaver is a binding to a cluster that the placement has to leave.
type leaver struct {
	Binding
	failover.Leave
}

func exchangesOf(r Request, policy *v1beta1.PlacementPolicy, clusters []*clusterv1beta1.MemberCluster) exchanges {
	out := exchanges{replaces: map[string]*failover.Exchange{}, instead: map[string]string{}, left: map[string]bool{}}
	if policy.PlacementType == v1beta1.PlacementTypePickN && (r.Failover != nil || !r.Rebalance.IsZero() || r.concernsExchanges()) {
		out.rules = &failover.Rules{Policy: r.Failover, Tolerations: policy.Tolerations, Domain: r.Domain, Fleet: clusters, Now: r.Now}
	}
	return out
}

// concernsExchanges reports whether the placement may leave a cluster, or has left one, without a failover policy: one
// with an evicting taint, or one for a better one.
func (r Request) concernsExchanges() bool {
	because := func(e *failover.Exchange) bool {
		return e != nil && (e.Reason == failover.Tainted || e.Reason == failover.Rebalance)
	}
	return slices.ContainsFunc(r.Clusters, failover.Evicting) ||
		slices.ContainsFunc(r.Bindings, func(b Binding) bool { return because(b.ReplacedBy) || because(b.Replaces) })
}

// failover is the failover policy of the placement; a zero one if it has none.
func (x *exchanges) failover() v1beta1.Failover {
	if x.rules == nil || x.rules.Policy == nil {
		return v1beta1.Failover{}
	}
	return *x.rules.Policy
}

// leaveOf returns whether the placement leaves a cluster.
func (r *run) leaveOf(cluster string) failover.Leave {
	if r.rules == nil || !r.has(cluster) {
		return failover.Leave{}
	}
	l := r.rules.LeaveOf(r.clusters[r.at[cluster]])
	if b, ok := r.kept[cluster]; ok {
		l = failover.Sooner(l, r.unavailable(b))
	}
	return l
}

// lostObjection returns the objection to a cluster that the placement would leave again; nil if it would not.
func (r *run) lostObjection(cluster string) *Objection {
	if r.rules == nil {
		return nil
	}
	if l := r.rules.LostOrUnhealthy(r.clusters[r.at[cluster]]); l.Reason != "" {
		return &Objection{FilterEligibility, fmt.Errorf("not eligible: %s", state(l))}
	}
	return nil
}

// state describes why a placement leaves a cluster.
func state(l failover.Leave) string {
	since := l.Since.UTC().Format(time.RFC3339)
	switch l.Reason {
	case failover.Unhealthy:
		return "it is unhealthy since " + since
	case failover.Unavailable:
		return "what was available there is not since " + since
	case failover.Tainted:
		return fmt.Sprintf("it has the taint %s since %s", taintText(*l.Taint), since)
	default:
		return "no heartbeat from its member agent since " + since
	}
}

// finish completes exchanges that were interrupted after the first of their two writes: both clusters have a binding,
// and there are more than number. If the reason is gone, the replacement is given up instead.
func (r *run) finish(number int) {
	if r.rules == nil {
		return
	}
	for _, b := range sorted(r.kept) {
		e := b.Replaces
		if _, ok := r.kept[b.Cluster]; !ok || e == nil {
			continue
		}
		left, ok := r.kept[e.With]
		switch now := r.leaveOf(e.With).Now; {
		case !ok || len(r.kept) <= number || isLater(left, b):
		case now || e.Reason.Chosen() && !r.unheard(b.Cluster):
			delete(r.kept, left.Cluster)
			r.park(left, with(*e, b.Cluster))
		case !b.Available || Decidable(r.clusters[r.at[left.Cluster]], r.request.Now):
			r.discard(b)
			r.instead[b.Cluster] = left.Cluster
		}
	}
}

// isLater reports whether left became the replacement of another cluster after b replaced its cluster: then the exchange
// of b is complete, and the cluster of left was picked again since.
func isLater(left, b Binding) bool {
	if left.Replaces == nil {
		return false
	}
	if left.Replaces.Decided == nil && b.Replaces.Decided == nil { // both of an earlier version
		return left.Replaces.With == b.Cluster && b.Replaces.Since.Before(&left.Replaces.Since)
	}
	return left.Replaces.After(*b.Replaces)
}

// forget removes the record of exchanges that ended long ago: the cluster that was left is picked again.
func (r *run) forget() {
	for _, b := range sorted(r.kept) {
		if !r.isOver(b.Replaces) || r.isAsked(b.Replaces) ||
			slices.ContainsFunc(r.carried, func(c Binding) bool { return c.Name == b.Name }) ||
			slices.ContainsFunc(r.writes, func(c Change) bool { return c.Binding == b.Name }) {
			continue // another change of the binding comes first
		}
		r.writes = append(r.writes, Change{
			Binding: b.Name, State: b.State, Snapshot: b.Snapshot, CarriedOver: b.CarriedOver, Decision: b.Decision,
		})
	}
}

// with is the record of an exchange on the binding of the other cluster.
func with(e failover.Exchange, cluster string) failover.Exchange {
	e.With = cluster
	return e
}

// spent is the resource snapshot with which a placement of one cluster left another as unavailable before.
func spent(b Binding) string { return ptr.Deref(b.Replaces, failover.Exchange{}).Resources }

// isOver reports whether the cluster that was left in an exchange is picked again.
func (r *run) isOver(e *failover.Exchange) bool {
	return e != nil && r.isPicked(e.With) && !r.leaveOf(e.With).Now
}

// discard gives up a binding that was kept, unless this decision picks its cluster again.
func (r *run) discard(b Binding) {
	delete(r.kept, b.Cluster)
	r.obsolete[b.Cluster] = b
	r.reject(b.Cluster)
}

// reject records that a cluster is no longer picked: as refused if it could not be picked again.
func (r *run) reject(cluster string) {
	v := &r.verdicts[r.at[cluster]]
	v.Outcome, v.Score = Outranked, nil
	if lost := r.lostObjection(cluster); lost != nil {
		v.Objection = lost
	}
	if v.Objection != nil {
		v.Outcome = Refused
	}
}

// takeBack returns to clusters that were left too early: they are well again, and what replaces them has never been
// available.
func (r *run) takeBack() {
	for _, b := range r.replaced() {
		if by, ok := r.kept[r.replacement(b)]; ok && !r.isPicked(b.Cluster) && r.canTakeBack(b, by) {
			r.restore(b, by)
		}
	}
}

// follow keeps the record of what replaces a cluster up to date when that is replaced in turn.
func (r *run) follow() {
	for _, b := range r.replaced() {
		by := r.replacement(b)
		if by == "" || by == b.Cluster || by == b.ReplacedBy.With {
			continue
		}
		e := *b.ReplacedBy
		e.With = by
		r.writes = append(r.writes, Change{
			Binding: b.Name, State: b.State, Snapshot: b.Snapshot, Decision: b.Decision, ReplacedBy: &e, Replaces: b.Replaces,
		})
	}
}

// replaced are the bindings that were given up because another cluster replaces theirs.
func (r *run) replaced() []Binding {
	return slices.DeleteFunc(sorted(r.unscheduled), func(b Binding) bool { return b.ReplacedBy == nil || !r.has(b.Cluster) })
}

// replacement returns the cluster with a living binding that replaces the cluster of b now: the recorded one, or what
// replaced that in turn. It is empty if there is none.
func (r *run) replacement(b Binding) string {
	by := b.ReplacedBy.With
	for range len(r.unscheduled) + 1 {
		if other, ok := r.instead[by]; ok {
			by = other
		}
		if r.isPicked(by) {
			return by
		}
		next, ok := r.unscheduled[by]
		if !ok || next.ReplacedBy == nil {
			return ""
		}
		by = next.ReplacedBy.With
	}
	return ""
}

// canTakeBack reports whether by, which replaces the cluster of b, is not needed. Soon after it was taken back once,
// the cluster must be heard for some time first, so that one which comes and goes is replaced in the end.
func (r *run) canTakeBack(b, by Binding) bool {
	r.waiting = true
	if r.request.Run != "" {
		return false
	}
	cluster := r.clusters[r.at[b.Cluster]]
	if by.Available || !Decidable(cluster, r.request.Now) || r.filters.objection(cluster, r.request.Now) != nil || r.passing(b.Cluster) != nil {
		return false
	}
	if b.ReplacedBy.Reason.Chosen() {
		r.lookAgain(patience) // it may be unhealthy for too long then
		l := r.leaveOf(by.Cluster)
		return l.Reason == failover.Lost || l.Now || Ineligible(r.clusters[r.at[by.Cluster]], r.request.Now) != ""
	}
	if r.failover().Purge == v1beta1.FailoverPurgeImmediate {
		return false // what is there goes as soon as the cluster is heard
	}
	if r.leaveOf(b.Cluster).Reason != "" || r.failed(b.Cluster) {
		return false
	}
	if r.request.Now.Sub(b.TakenBack) > takenBackFor {
		return true
	}
	since, _, _ := failover.Trusted(cluster, r.request.Now)
	left := since.Add(steady).Sub(r.request.Now)
	r.lookAgain(left)
	return left <= 0
}

const (
	// takenBackFor is how long it matters that a cluster was taken back, and steady how long it must be heard and healthy
	// then to be taken back again.
	takenBackFor = 30 * time.Minute
	steady       = 5 * time.Minute
)

func (r *run) restore(b, by Binding) {
	r.writes = append(r.writes, Change{
		Binding: b.Name, State: b.before(), Snapshot: r.request.Snapshot, Decision: b.decision(), Replaces: b.Replaces, TakenBack: true,
	})
	r.discard(by)
	r.instead[by.Cluster] = b.Cluster
	delete(r.unscheduled, b.Cluster)
	r.kept[b.Cluster] = b
	v := &r.verdicts[r.at[b.Cluster]]
	v.Outcome, v.Score = Kept, b.decision().ClusterScore
}

// leave moves the placement from clusters that it has to leave to others. Those for which there is no other stay as
// they are, and do not count as found.
func (r *run) leave() {
	if r.rules == nil {
		return
	}
	var leavers []leaver
	for _, b := range sorted(r.kept) {
		l := r.leaveOf(b.Cluster)
		r.lookAgain(l.Again)
		r.waiting = r.waiting || l.Reason != ""
		if l.Reason == failover.Tainted && l.Again > 0 {
			r.verdicts[r.at[b.Cluster]].Until = r.request.Now.Add(l.Again)
		}
		if l.Now {
			leavers = append(leavers, leaver{b, l})
		}
	}
	slices.SortFunc(leavers, func(a, b leaver) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Cluster, b.Cluster)) })
	for _, l := range leavers {
		if r.awaitsRun(l.Leave) {
			r.held = append(r.held, l)
			continue
		}
		left := r.clusters[r.at[l.Cluster]]
		e := failover.Exchange{Reason: l.Reason, Since: metav1.NewTime(l.Since), Resources: spent(l.Binding)}
		if l.Reason == failover.Unavailable {
			e.Resources = l.Resources
		}
		if !r.exchange(l.Binding, e, func(c *clusterv1beta1.MemberCluster) bool {
			return r.rules.Candidate(c, left, l.Reason) && (l.Reason != failover.Unavailable || !r.failed(c.Name))
		}) {
			r.hold(l)
			if l.Reason == failover.Lost {
				r.lookAgain(r.rules.NextCandidate(left))
			}
		}
	}
}

// watch notes when a cluster that is picked by this decision may have to be left.
func (r *run) watch(picked []v1beta1.ClusterDecision) {
	for _, d := range picked {
		l := r.leaveOf(d.ClusterName)
		r.lookAgain(l.Again)
		r.waiting = r.waiting || l.Reason != ""
	}
}

// failBack returns to clusters that the placement left, once they can be trusted. While it has fewer than number it
// needs both.
func (r *run) failBack(number int) {
	if r.failover().Failback != v1beta1.FailbackWhenHealthy {
		return
	}
	for _, b := range sorted(r.kept) {
		to, since, ok := r.origin(b)
		if to == "" {
			continue
		}
		r.waiting = true
		if left := b.TakenBack.Add(failover.TrustedAfter).Sub(r.request.Now); left > 0 { // a return to the other failed
			r.lookAgain(left)
			continue
		}
		if !ok || r.request.Run != "" || len(r.kept)+len(r.moved) < number || failover.Braked(r.clusters) || r.hasBinding(to) || r.leaveOf(b.Cluster).Now {
			continue
		}
		back := failover.Exchange{Reason: failover.Failback, Since: metav1.NewTime(since), Resources: spent(b)}
		r.exchange(b, back, func(c *clusterv1beta1.MemberCluster) bool { return c.Name == to })
	}
}

// mayReturn reports whether the placement may return to a cluster once the picks have their bindings.
func (r *run) mayReturn() bool {
	return r.rules != nil && (r.rules.Policy != nil || len(r.replaced()) > 0)
}

// origin returns the cluster to which the placement returns from that of b: the one that it left for it, or if that
// cannot be trusted, the one that it left before. It does not return to one where it was unavailable. ok is whether it can be trusted, and since when. It is empty if
// there is none.
func (r *run) origin(b Binding) (cluster string, since time.Time, ok bool) {
	e := b.Replaces
	for range len(r.unscheduled) + 1 {
		if e == nil || e.Reason.Chosen() || e.Reason == failover.Unavailable || e.With == b.Cluster {
			return cluster, since, false
		}
		if r.has(e.With) && !r.isPicked(e.With) {
			cluster = e.With
			var again time.Duration
			since, ok, again = failover.Trusted(r.clusters[r.at[cluster]], r.request.Now)
			r.lookAgain(again)
			if ok {
				return cluster, since, true
			}
		}
		e = r.unscheduled[e.With].Replaces
	}
	return cluster, since, false
}

// adopt gives clusters that were left and whose replacement is gone another one: a cluster that is picked by this
// decision for the free place. Without it, what is there would be removed before anything else is available.
func (r *run) adopt(picked []v1beta1.ClusterDecision) {
	r.newly = picked
	for _, b := range r.replaced() {
		if r.replacement(b) != "" || r.isPicked(b.Cluster) {
			continue
		}
		i := slices.IndexFunc(picked, func(d v1beta1.ClusterDecision) bool {
			_, taken := r.replaces[d.ClusterName]
			_, old := r.obsolete[d.ClusterName]
			return !taken && !old && d.ClusterName != b.Cluster
		})
		if i < 0 {
			return
		}
		e := *b.ReplacedBy
		e.With = picked[i].ClusterName
		r.replaces[e.With] = ptr.To(with(e, b.Cluster))
		r.writes = append(r.writes, Change{
			Binding: b.Name, State: b.State, Snapshot: b.Snapshot, Decision: b.Decision, ReplacedBy: &e, Replaces: b.Replaces,
		})
	}
}

func (r *run) hasBinding(cluster string) bool {
	return slices.ContainsFunc(r.request.Bindings, func(b Binding) bool { return b.Cluster == cluster })
}

// exchange replaces the cluster of b with the best one that can, and reports whether there is one.
func (r *run) exchange(b Binding, e failover.Exchange, can func(*clusterv1beta1.MemberCluster) bool) bool {
	delete(r.kept, b.Cluster)
	candidates := slices.DeleteFunc(r.candidates(), func(c candidate) bool { return c.left || c.at == r.at[b.Cluster] || !can(r.clusters[c.at]) })
	picked, _, _ := r.pick(1, candidates)
	if len(picked) == 0 {
		r.kept[b.Cluster] = b
		return false
	}
	by, decided := picked[0], metav1.NewMicroTime(r.request.Now.Truncate(time.Microsecond))
	if was := b.Replaces; was != nil && was.Decided != nil && !decided.After(was.Decided.Time) {
		decided.Time = was.Decided.Add(time.Microsecond) // the clock was set back
	}
	e.Decided = &decided
	by.Reason += fmt.Sprintf("; it replaces cluster %q (%s since %s)", b.Cluster, e.Reason, e.Since.UTC().Format(time.RFC3339))
	r.moved = append(r.moved, by)
	r.replaces[by.ClusterName] = ptr.To(with(e, b.Cluster))
	e.With = by.ClusterName
	r.park(b, e)
	return true
}

// park gives up the binding of a cluster that another one replaces.
func (r *run) park(b Binding, e failover.Exchange) {
	r.carried = slices.DeleteFunc(r.carried, func(c Binding) bool { return c.Name == b.Name })
	r.reject(b.Cluster)
	r.writes = append(r.writes, Change{
		Binding: b.Name, State: v1beta1.BindingStateUnscheduled, Snapshot: b.Snapshot, Decision: b.Decision, ReplacedBy: &e, Replaces: b.Replaces,
	})
	r.instead[b.Cluster], r.left[b.Cluster] = e.With, true
	r.decision.Left = append(r.decision.Left, Exchange{Cluster: b.Cluster, Exchange: e})
}

// lookAgain records that the decision may be another after that time; zero for never.
func (r *run) lookAgain(after time.Duration) {
	if after > 0 && (r.decision.Again == 0 || after < r.decision.Again) {
		r.decision.Again = after
	}
}

// stuckDecisions report the clusters to leave for which there is no replacement, and why there is none.
func (r *run) stuckDecisions() (out []v1beta1.ClusterDecision) {
	for _, l := range r.stuck {
		out = append(out, v1beta1.ClusterDecision{ClusterName: l.Cluster, Reason: r.whyStuck(l)})
	}
	return out
}

func (r *run) whyStuck(l leaver) string {
	return fmt.Sprintf("cluster %q must be replaced (%s), and no other cluster can: its objects stay as they are. %s", l.Cluster, state(l.Leave), r.whyNone())
}

// fewReasons limits the clusters that whyNone names.
const fewReasons = 3

func (r *run) whyNone() string {
	var out []string
	for i := range r.verdicts {
		v := &r.verdicts[i]
		if v.Outcome.Selected() {
			continue
		}
		if len(out) == fewReasons {
			out = append(out, "and others")
			break
		}
		why := "it has not been heard since"
		if v.Objection != nil {
			why = v.Objection.Reason()
		}
		out = append(out, fmt.Sprintf("%q: %s", v.Cluster, why))
	}
	if len(out) == 0 {
		return "The fleet has no other cluster"
	}
	return "Not picked: " + strings.Join(out, "; ")
}
