// Package schedule decides which clusters a placement goes to. A policy, the clusters of the fleet and the bindings there are go in;
// the bindings to create and to change, and the verdict on each cluster, come out. hub/scheduler carries it out.
//
// A cluster once chosen is kept: what made it eligible is not asked again until the policy changes. A choice is undone only
// when its cluster is gone or leaving, when a new policy no longer picks it, or when fewer clusters are wanted. A new policy gives up no
// cluster that the hub does not hear.
//
// To add a filter, write filter_<what>.go with its Filter constant and a type that implements filter: what it checks, which changes of
// clusters have a placement decided again because of it, and what would repair an objection of it (the nearest changes of "kubectl fleet
// explain"). Put it in its place in allFilters and in the same place in the table of docs/explain.md, and add rows to the tables of
// TestClusterChange, TestTopics and TestNearestChanges. If it reads a new field of the policy or of MemberClusters, draw that field in
// anyPolicy or anyCluster, so that the property tests try it.
package schedule

import (
	"cmp"
	"maps"
	"slices"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Decision is what to do, and what to say.
type Decision struct {
	// Snapshot is the policy snapshot that new bindings name.
	Snapshot string
	// Create are the choices that need a new binding, in the order of their clusters' names.
	Create []v1beta1.ClusterDecision
	// Change are the bindings to write, those of chosen clusters first.
	Change []Change
	// Release names the bindings that are being deleted: the scheduler has seen it.
	Release []string

	// Hold says that there is no decision at all: nothing is to be done, and nothing to be said.
	Hold bool
	// Clusters are the verdicts to show: chosen clusters first, then some of the others.
	Clusters []v1beta1.ClusterDecision
	// Found is how many clusters are chosen, Wanted how many the policy asks for; for PickAll they are the same.
	Found, Wanted int

	// Verdicts are on every cluster of the fleet and on every name that a PickFixed policy adds to it, by name. Of clusters that nobody
	// had to rank, because the policy has enough, they say what a ranking would.
	Verdicts []Verdict
}

// Of returns the verdict on a cluster; ok is false if there is neither such a cluster nor a policy that names it.
func (d Decision) Of(cluster string) (verdict Verdict, ok bool) {
	i, ok := slices.BinarySearchFunc(d.Verdicts, cluster, func(v Verdict, name string) int { return cmp.Compare(v.Cluster, name) })
	if !ok {
		return Verdict{}, false
	}
	return d.Verdicts[i], true
}

// Fulfilled says whether the policy has all the clusters that it asks for.
func (d Decision) Fulfilled() bool { return d.Found == d.Wanted }

// Change is what one binding is to look like. Whatever is not named here stays as it is.
type Change struct {
	Binding  string
	State    v1beta1.BindingState
	Snapshot string
	Decision v1beta1.ClusterDecision
}

// Decide says what becomes of a placement. The order of clusters and bindings in r does not matter, and deciding once more, when
// everything was done, changes nothing.
func Decide(r Request) Decision {
	run := newRun(r)
	run.decide()
	return run.decision
}

// run is one decision in the making.
type run struct {
	request  Request
	policy   *v1beta1.PlacementPolicy
	clusters []*clusterv1beta1.MemberCluster
	filters  filters
	// preferred is what PickN ranks by.
	preferred preferences
	// at finds clusters, by name, in clusters and verdicts.
	at       map[string]int
	verdicts []Verdict

	// The living bindings, at most one of each kind for a cluster, by cluster.
	kept        map[string]Binding
	obsolete    map[string]Binding
	unscheduled map[string]Binding
	// lost are bindings that have no place left whatever is picked: their cluster is gone, or has another binding.
	lost []Binding
	// carried are those of kept that an older policy chose.
	carried []Binding
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
	out.filters = filtersOf(out.policy, r.Namespace)
	out.preferred = preferencesOf(out.policy, out.clusters)
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

// judge checks every cluster with the filters. One that passes is outranked until it is picked.
func (r *run) judge() {
	r.verdicts = make([]Verdict, len(r.clusters))
	for i, cluster := range r.clusters {
		v := &r.verdicts[i]
		v.Cluster, v.Outcome, v.Objection = cluster.Name, Outranked, r.filters.objection(cluster, r.request.Now)
		if b, ok := r.kept[cluster.Name]; ok {
			v.Outcome, v.Score = Kept, b.decision().ClusterScore
		} else if v.Objection != nil {
			v.Outcome = Refused
		}
	}
}

// sortOut puts every binding into its class. Of several for one cluster the best stays: one that placed something before one that
// did not, then the smaller name. One to a cluster that is leaving stays until the cluster is gone, whatever else makes us decide in the
// meantime: were it given up earlier, the member could still take away what it is to keep after it has left.
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
		case b.Snapshot != r.request.Snapshot:
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

// pickAll chooses every cluster that passes.
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

// pick makes the verdict on a cluster that passes one that chooses it.
func (v *Verdict) pick(s score) v1beta1.ClusterDecision {
	decision := chosen(v.Cluster, s)
	v.Outcome, v.Score = Picked, decision.ClusterScore
	return decision
}

// settle turns picks into bindings: one of an older policy is taken over with its state, one that was given up is taken back, and
// only for the rest a new one is made. What an older policy chose and this one does not is given up.
func (r *run) settle(picked []v1beta1.ClusterDecision) {
	chosen := map[string]bool{}
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
	for _, b := range r.carried {
		r.change(b, b.State, r.request.Snapshot, b.Decision)
	}
	slices.SortFunc(r.decision.Create, byCluster)
	slices.SortFunc(r.decision.Change, func(a, b Change) int { return cmp.Compare(a.Binding, b.Binding) })
	for _, b := range sorted(r.obsolete) {
		if !chosen[b.Cluster] {
			r.giveUp(b)
		}
	}
	for _, b := range r.lost {
		r.giveUp(b)
	}
}

func (r *run) change(b Binding, state v1beta1.BindingState, snapshot string, decision v1beta1.ClusterDecision) {
	r.decision.Change = append(r.decision.Change, Change{Binding: b.Name, State: state, Snapshot: snapshot, Decision: decision})
}

func (r *run) giveUp(b Binding) { r.change(b, v1beta1.BindingStateUnscheduled, b.Snapshot, b.Decision) }

// before is the state to return to when the cluster is picked again. If it was not noted, having content tells.
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

// keptDecisions are the verdicts stored with the bindings that stay, from when their clusters were chosen.
func (r *run) keptDecisions() []v1beta1.ClusterDecision {
	out := make([]v1beta1.ClusterDecision, 0, len(r.kept))
	for _, b := range sorted(r.kept) {
		out = append(out, b.decision())
	}
	return out
}

// decision is the verdict stored with the binding. Bindings that were made by hand may lack it.
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
