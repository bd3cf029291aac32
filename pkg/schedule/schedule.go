// Package schedule decides which clusters a placement goes to. A policy, the clusters of the fleet and the bindings there are go in;
// the bindings to create and to change, and the verdict on each cluster, come out. hub/scheduler carries it out.
//
// A cluster once chosen is kept: what made it eligible is not asked again until the policy changes. A choice is undone only
// when its cluster is gone or leaving, when a new policy no longer picks it, or when fewer clusters are wanted.
package schedule

import (
	"cmp"
	"maps"
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Request is everything that a decision depends on. Nothing in it is changed.
type Request struct {
	// Policy is that of the latest policy snapshot; nil picks all clusters.
	Policy *v1beta1.PlacementPolicy
	// Snapshot is the name of that snapshot. Bindings that name another are chosen anew.
	Snapshot string
	// Number is how many clusters a PickN policy wants.
	Number int
	// Namespace is that of a ResourcePlacement, which only clusters that have the namespace can take. It is empty for a
	// ClusterResourcePlacement.
	Namespace string
	Clusters  []*clusterv1beta1.MemberCluster
	Bindings  []Binding
	// Listed are the decisions that the snapshot's status holds now.
	Listed []v1beta1.ClusterDecision
	Now    time.Time
}

// Binding is what a decision needs to know of one.
type Binding struct {
	Name    string
	Cluster string
	State   v1beta1.BindingState
	// Previous is the state that an Unscheduled binding had before; empty if that is not known.
	Previous v1beta1.BindingState
	// Snapshot is the policy snapshot for which the cluster was chosen.
	Snapshot string
	// Placed says whether the binding was ever given content.
	Placed   bool
	Deleting bool
	Decision v1beta1.ClusterDecision
}

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
	policy := r.Policy
	if policy == nil {
		policy = &v1beta1.PlacementPolicy{}
	}
	run := newRun(r, policy)
	switch policy.PlacementType {
	case v1beta1.PlacementTypePickFixed:
		run.pickFixed(policy.ClusterNames)
	case v1beta1.PlacementTypePickN:
		run.pickN(r.Number)
	default:
		run.pickAll()
	}
	return run.decision
}

// run is one decision in the making.
type run struct {
	request  Request
	clusters []*clusterv1beta1.MemberCluster
	byName   map[string]*clusterv1beta1.MemberCluster
	rules    rules

	// The living bindings, at most one of each kind for a cluster, by cluster.
	kept        map[string]Binding
	obsolete    map[string]Binding
	unscheduled map[string]Binding
	// lost are bindings that have no place left whatever is picked: their cluster is gone, or has another binding.
	lost []Binding

	decision Decision
}

func newRun(r Request, policy *v1beta1.PlacementPolicy) *run {
	out := &run{
		request:     r,
		clusters:    slices.Clone(r.Clusters),
		byName:      make(map[string]*clusterv1beta1.MemberCluster, len(r.Clusters)),
		kept:        map[string]Binding{},
		obsolete:    map[string]Binding{},
		unscheduled: map[string]Binding{},
	}
	slices.SortFunc(out.clusters, func(a, b *clusterv1beta1.MemberCluster) int { return cmp.Compare(a.Name, b.Name) })
	for _, cluster := range out.clusters {
		out.byName[cluster.Name] = cluster
	}
	out.decision.Snapshot = r.Snapshot
	out.rules = compile(policy, r.Namespace, out.clusters)
	out.sortOut()
	return out
}

// sortOut puts every binding into its class. Of several for one cluster the best stays: one that placed something before one that
// did not, then the smaller name.
func (r *run) sortOut() {
	bindings := slices.Clone(r.request.Bindings)
	slices.SortFunc(bindings, func(a, b Binding) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	taken := map[string]bool{}
	for _, b := range bindings {
		cluster := r.byName[b.Cluster]
		switch {
		case b.Deleting:
			r.decision.Release = append(r.decision.Release, b.Name)
		case b.State == v1beta1.BindingStateUnscheduled:
			if _, ok := r.unscheduled[b.Cluster]; !ok {
				r.unscheduled[b.Cluster] = b
			}
		case cluster == nil || !cluster.DeletionTimestamp.IsZero() || taken[b.Cluster]:
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
	var picked, others []v1beta1.ClusterDecision
	for _, cluster := range r.clusters {
		if _, ok := r.kept[cluster.Name]; ok {
			continue
		}
		if why := r.rules.refuse(cluster, r.request.Now); why != "" {
			others = append(others, refused(cluster.Name, why))
			continue
		}
		picked = append(picked, chosen(cluster.Name, score{}))
	}
	r.settle(picked)
	r.report(append(picked, r.keptDecisions()...), others)
	r.decision.Wanted = r.decision.Found
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
