// Package schedule decides which clusters a placement picks. It takes a policy, the clusters of the fleet, the
// existing bindings and, if the policy refers to them, the clusters of other placements. It returns the bindings to
// create and to change, and the verdict on each cluster. hub/scheduler carries it out.
//
// A picked cluster stays picked: the filters do not apply to it again until the policy changes. It is removed only if
// it has left or is leaving, if a new policy no longer picks it, if fewer clusters are desired, or if another cluster
// replaces it because of an evicting taint or by the failover policy. A new policy removes no cluster that is not
// heard: that is decided when it is heard again.
//
// To add a filter, write filter_<what>.go with its Filter constant and a type that implements filter: what it checks,
// which changes of clusters cause another decision, and how to repair its objections (the nearest changes of "kubectl
// fleet explain"). Add it at its place in allFilters and at the same place in the table of docs/explain.md, and add
// rows to the tables of TestClusterChange, TestTopics and TestNearestChanges. If it reads a new field of the policy or
// of MemberClusters, draw that field in anyPolicy or anyCluster, so that the property tests cover it.
package schedule

import (
	"cmp"
	"maps"
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/removal"
)

// Decision is what to write, and what to report.
type Decision struct {
	// Snapshot is the policy snapshot for new bindings.
	Snapshot string
	// Create are the picked clusters that need a new binding, by cluster name.
	Create []v1beta1.ClusterDecision
	// Change are the bindings to write, those of picked clusters first.
	Change []Change
	// Replaces is what a cluster in Create replaces, by its name.
	Replaces map[string]*failover.Exchange
	// Left are the clusters that the placement leaves for others.
	Left []Exchange
	// Held are the clusters that the placement has to leave, and that count as found until it can.
	Held []Held
	// Again is when to decide again without an event; zero if there is no need. Waiting is whether any change of a
	// cluster may matter for what is left.
	Again   time.Duration
	Waiting bool
	// Rebalanced is whether the request to rebalance is done.
	Rebalanced bool
	// Removal is what the policy would give up, and is held; nil for nothing.
	Removal *v1beta1.HeldRemoval
	// Granted are the clusters that are given up because that was released.
	Granted []removal.Object
	// Awaited are those of the clusters that are given up because that was released that must be heard first.
	Awaited []removal.Object
	// Release names the bindings that are being deleted and whose finalizer the scheduler can remove.
	Release []string

	// Hold is true if there is no decision at all: the scheduler writes and reports nothing.
	Hold bool
	// Clusters are the decisions to report: picked clusters first, then some of the others.
	Clusters []v1beta1.ClusterDecision
	// Found is the number of picked clusters, Wanted the desired number; for PickAll they are equal.
	Found, Wanted int

	// Verdicts are on every cluster of the fleet and on every other name in a PickFixed policy, by name. For clusters
	// that were not ranked, because the policy has enough, they contain the result of a ranking.
	Verdicts []Verdict
}

// Of returns the verdict on a cluster; ok is false if the cluster does not exist and the policy does not name it.
func (d Decision) Of(cluster string) (verdict Verdict, ok bool) {
	i, ok := slices.BinarySearchFunc(d.Verdicts, cluster, func(v Verdict, name string) int { return cmp.Compare(v.Cluster, name) })
	if !ok {
		return Verdict{}, false
	}
	return d.Verdicts[i], true
}

// Fulfilled reports whether the policy has the desired number of clusters.
func (d Decision) Fulfilled() bool { return d.Found == d.Wanted }

// Change is the new state of one binding. Fields that it does not contain stay as they are.
type Change struct {
	Binding  string
	State    v1beta1.BindingState
	Snapshot string
	// CarriedOver is true if the policy is not decided for the binding until its cluster is heard, Stays if the policy
	// gives the cluster up, and that is held.
	CarriedOver, Stays bool
	// ReplacedBy and Replaces are as in Binding.
	ReplacedBy, Replaces *failover.Exchange
	// Inherits is whether the binding gets the content of the one to the cluster that it replaces.
	Inherits bool
	// TakenBack is true if the placement returns to a cluster that it left too early.
	TakenBack bool
	Decision  v1beta1.ClusterDecision
}

// Decide decides about a placement. The order of clusters and bindings in r does not matter. If the decision has been
// carried out, deciding again changes nothing.
func Decide(r Request) Decision {
	run := newRun(r)
	run.decide()
	return run.decision
}

// run is the state of one decision.
type run struct {
	request  Request
	policy   *v1beta1.PlacementPolicy
	clusters []*clusterv1beta1.MemberCluster
	filters  filters
	// preferred are the preferences by which PickN ranks.
	preferred preferences
	// at contains the index of each cluster in clusters and verdicts, by name.
	at       map[string]int
	verdicts []Verdict

	// The existing bindings that are not being deleted, at most one of each kind for a cluster, by cluster.
	kept        map[string]Binding
	obsolete    map[string]Binding
	unscheduled map[string]Binding
	// lost are bindings that must go whatever is picked: their cluster is gone, or has another binding.
	lost []Binding
	// carried are the bindings in kept that an older policy created, and that are not carried over yet.
	carried []Binding
	exchanges
	// stays are the decisions on clusters that would be given up, and are held. They do not count as found.
	stays []v1beta1.ClusterDecision
	// order are the picks of PickN, the best first.
	order []v1beta1.ClusterDecision

	decision Decision
}

func newRun(r Request) *run {
	out := &run{
		request:     r,
		policy:      r.Policy,
		clusters:    slices.Clone(r.Clusters),
		at:          make(map[string]int, len(r.Clusters)),
		kept:        map[string]Binding{},
		obsolete:    map[string]Binding{},
		unscheduled: map[string]Binding{},
	}
	if out.policy == nil {
		out.policy = &v1beta1.PlacementPolicy{}
	}
	slices.SortFunc(out.clusters, func(a, b *clusterv1beta1.MemberCluster) int { return cmp.Compare(a.Name, b.Name) })
	for i, cluster := range out.clusters {
		out.at[cluster.Name] = i
	}
	out.decision.Snapshot = r.Snapshot
	others := othersOf(r)
	out.filters = filtersOf(out.policy, r.Namespace).knowing(others)
	out.preferred = preferencesOf(out.policy, out.clusters, others)
	out.exchanges = exchangesOf(r, out.policy, out.clusters)
	out.sortOut()
	out.carryOver()
	out.judge()
	return out
}

func (r *run) decide() {
	switch r.policy.PlacementType {
	case v1beta1.PlacementTypePickFixed:
		r.pickFixed(r.policy.ClusterNames)
	case v1beta1.PlacementTypePickN:
		r.pickN(r.request.Number)
	default:
		r.pickAll()
	}
	r.decision.Verdicts = r.verdicts
}

func (r *run) has(cluster string) bool {
	_, ok := r.at[cluster]
	return ok
}

// judge checks every cluster with the filters. A cluster that passes is outranked until it is picked.
func (r *run) judge() {
	r.verdicts = make([]Verdict, len(r.clusters))
	for i, cluster := range r.clusters {
		v := &r.verdicts[i]
		v.Cluster, v.Outcome, v.Objection = cluster.Name, Outranked, r.filters.objection(cluster, r.request.Now)
		if v.Objection == nil {
			v.Objection = r.passing(cluster.Name)
		}
		if b, ok := r.kept[cluster.Name]; ok {
			v.Outcome, v.Score = Kept, b.decision().ClusterScore
		} else if lost := r.lostObjection(cluster.Name); lost != nil {
			v.Outcome, v.Objection = Refused, lost
		} else if r.returns(cluster) {
			v.Objection = nil
		} else if v.Objection != nil {
			v.Outcome = Refused
		}
	}
}

// sortOut classifies every binding. Of several for one cluster, the best stays: one with content before one without,
// then the smaller name. A binding to a leaving cluster stays until the cluster is gone, whatever else causes a
// decision in the meantime: otherwise the member could still remove objects that it must keep after it has left.
func (r *run) sortOut() {
	bindings := slices.Clone(r.request.Bindings)
	slices.SortFunc(bindings, func(a, b Binding) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	taken := map[string]bool{}
	for _, b := range bindings {
		switch {
		case b.Deleting:
			r.decision.Release = append(r.decision.Release, b.Name)
		case b.State == v1beta1.BindingStateUnscheduled:
			if _, ok := r.unscheduled[b.Cluster]; !ok {
				r.unscheduled[b.Cluster] = b
			}
		case !r.has(b.Cluster) || taken[b.Cluster]:
			r.lost = append(r.lost, b)
		case b.Snapshot != r.request.Snapshot || b.CarriedOver && (r.isHeld(b) || Decidable(r.clusters[r.at[b.Cluster]], r.request.Now)):
			r.obsolete[b.Cluster], taken[b.Cluster] = b, true
		default:
			r.kept[b.Cluster], taken[b.Cluster] = b, true
		}
	}
	slices.Sort(r.decision.Release)
	slices.SortFunc(r.lost, byName)
}

func byName(a, b Binding) int { return cmp.Compare(a.Name, b.Name) }

func rank(b Binding) int {
	switch {
	case b.State == v1beta1.BindingStateBound:
		return 0
	case b.Placed:
		return 1
	default:
		return 2
	}
}

// pickAll picks every cluster that passes.
func (r *run) pickAll() {
	var picked []v1beta1.ClusterDecision
	var others []*Verdict
	for i := range r.verdicts {
		v := &r.verdicts[i]
		switch v.Outcome {
		case Outranked:
			picked = append(picked, v.pick(score{}))
		case Refused:
			others = append(others, v)
		}
	}
	r.settle(picked)
	r.report(append(picked, r.keptDecisions()...), others)
	r.decision.Wanted = r.decision.Found
}

// pick changes the verdict on a cluster that passes to picked.
func (v *Verdict) pick(s score) v1beta1.ClusterDecision {
	decision := chosen(v.Cluster, s)
	v.Outcome, v.Score = Picked, decision.ClusterScore
	return decision
}

// settle converts picks to bindings. It adopts a binding of an older policy with its state, restores a removed one,
// and creates new ones only for the rest. It removes bindings that only an older policy picked.
func (r *run) settle(picked []v1beta1.ClusterDecision) {
	chosen := map[string]bool{}
	r.decision.Change = append(r.decision.Change, r.writes...)
	for _, decision := range picked {
		chosen[decision.ClusterName] = true
		if b, ok := r.obsolete[decision.ClusterName]; ok {
			r.change(b, b.State, r.request.Snapshot, decision)
		} else if b, ok := r.unscheduled[decision.ClusterName]; ok {
			r.change(b, b.before(), r.request.Snapshot, decision)
		} else {
			r.decision.Create = append(r.decision.Create, decision)
		}
	}
	r.decision.Waiting, r.decision.Held = r.waiting, r.heldClusters()
	if len(r.replaces) > 0 {
		r.decision.Replaces = r.replaces
	}
	for _, b := range r.carried {
		r.decision.Change = append(r.decision.Change, Change{
			Binding: b.Name, State: b.State, Snapshot: r.request.Snapshot, CarriedOver: true, Decision: b.Decision, Replaces: b.Replaces,
		})
	}
	r.brake(chosen)
	slices.SortFunc(r.decision.Create, byCluster)
	slices.SortStableFunc(r.decision.Change, func(a, b Change) int { return cmp.Compare(a.Binding, b.Binding) })
	for _, b := range sorted(r.obsolete) {
		if !chosen[b.Cluster] {
			r.giveUp(b)
		}
	}
	for _, b := range r.lost {
		r.giveUp(b)
	}
	r.decision.Change = lastOfEach(r.decision.Change)
}

// lastOfEach drops changes of bindings for which there is a later one, such as a cluster that is taken back and then
// not needed.
func lastOfEach(changes []Change) []Change {
	last := make(map[string]int, len(changes))
	for i, c := range changes {
		last[c.Binding] = i
	}
	if len(last) == len(changes) {
		return changes
	}
	var out []Change
	for i, c := range changes {
		if last[c.Binding] == i {
			out = append(out, c)
		}
	}
	return out
}

func (r *run) change(b Binding, state v1beta1.BindingState, snapshot string, decision v1beta1.ClusterDecision) {
	c := Change{Binding: b.Name, State: state, Snapshot: snapshot, Decision: decision, Replaces: b.Replaces}
	if e, ok := r.replaces[b.Cluster]; ok {
		c.Replaces, c.Inherits = e, r.request.External && r.hasContent(e.With)
	} else if state != v1beta1.BindingStateUnscheduled && r.isOver(b.Replaces) && !r.isAsked(b.Replaces) {
		c.Replaces = nil
	}
	r.decision.Change = append(r.decision.Change, c)
}

func (r *run) giveUp(b Binding) { r.change(b, v1beta1.BindingStateUnscheduled, b.Snapshot, b.Decision) }

// before is the state to which a binding returns if its cluster is picked again. If it was not recorded, having
// content determines it.
func (b Binding) before() v1beta1.BindingState {
	switch {
	case b.Previous == v1beta1.BindingStateScheduled || b.Previous == v1beta1.BindingStateBound:
		return b.Previous
	case b.Placed:
		return v1beta1.BindingStateBound
	default:
		return v1beta1.BindingStateScheduled
	}
}

// keptDecisions returns the decisions stored with the bindings that stay, from the time when their clusters were
// picked.
func (r *run) keptDecisions() []v1beta1.ClusterDecision {
	out := make([]v1beta1.ClusterDecision, 0, len(r.kept))
	for _, b := range sorted(r.kept) {
		if !slices.ContainsFunc(r.stuck, func(l leaver) bool { return l.Name == b.Name }) {
			out = append(out, b.decision())
		}
	}
	return out
}

// decision returns the decision stored with the binding. Bindings created by other clients may lack it.
func (b Binding) decision() v1beta1.ClusterDecision {
	d := b.Decision
	if d.ClusterName != b.Cluster || !d.Selected {
		return v1beta1.ClusterDecision{ClusterName: b.Cluster, Selected: true, Reason: reasonKept}
	}
	return d
}

func sorted(bindings map[string]Binding) []Binding {
	return slices.SortedFunc(maps.Values(bindings), byName)
}
