// Package rollout decides which clusters of a placement change next. The bindings, the content they should have and the limits of
// the placement go in; one step comes out. hub/roller carries it out and asks again when something has happened.
package rollout

import (
	"cmp"
	"slices"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Budget is how much may change at once, in clusters.
type Budget struct {
	// Target is how many clusters the placement wants.
	Target int
	// Short is whether the scheduler cannot find so many. Those that nobody can find are not missed because of a change, and
	// must not keep a change from the others.
	Short bool
	// MaxUnavailable is how many of them may be without ready content because of a change.
	MaxUnavailable int
	// MaxSurge is on how many clusters more than Target there may be content while clusters are exchanged.
	MaxSurge int
	// Period is for how long content counts as not ready if nobody can see whether it is.
	Period time.Duration
	// Policy says what is done about clusters that fail; nil for nothing.
	Policy *Policy
}

// Content is what every cluster should have.
type Content struct {
	// Snapshot is the master of the latest complete group of resource snapshots; empty if there is none yet.
	Snapshot string
	// Strategy says how to apply it, with all defaults filled in.
	Strategy v1beta1.ApplyStrategy
	// Overrides are those of the clusters that have any.
	Overrides map[string]delivery.Overrides
	// Course is what is remembered of its rollout so far.
	Course Course
}

// Binding is what a step needs to know of one.
type Binding struct {
	Name    string
	Cluster string
	State   v1beta1.BindingState
	// Previous is the state before an Unscheduled one; empty if that is not known.
	Previous v1beta1.BindingState
	// Deleting is whether the binding is on its way out; what it placed may still be there.
	Deleting bool
	// Gone is whether there is no such cluster any more, or it is leaving: nothing can be placed there.
	Gone bool
	// Silent is whether nothing has been heard of the cluster for long, or it is not well: what it reported may be past.
	Silent bool

	// Snapshot, Overrides and Strategy are what the binding was given; Snapshot is empty if nothing was.
	Snapshot  string
	Overrides delivery.Overrides
	Strategy  *v1beta1.ApplyStrategy

	// Status is what is reported on the binding.
	delivery.Status

	// LastHealthy is with what everything was last available on the cluster; nil if it never was.
	LastHealthy *v1beta1.Revision
	// Mark is what was noted when the binding was given something last; nil if nothing was.
	Mark *delivery.Mark
	// Lost says what of that which the cluster had before is gone; empty if it is all there. It is looked at only while a verdict stands.
	Lost string
}

// Step is what to do now. All lists are in the order of the bindings' names, which is also the order in which clusters take turns.
type Step struct {
	// Move are the bindings to give the content.
	Move []string
	// Restyle are the bindings whose strategy alone is to be changed.
	Restyle []string
	// Remove are the bindings to delete.
	Remove []string
	// Hold are the bindings that need the content and have to wait, and why. Some of them may be in Restyle too.
	Hold []Held
	// Resume are the bindings that were held and have the content all the same, because it is what it was again.
	Resume []string
	// Again is when to look again although nothing has happened; zero means that there is no need.
	Again time.Duration

	// Course is what to remember of the rollout from now on; nil for what is remembered already. It has to be written before anything
	// else is done.
	Course *Course
	// Back are the bindings to take back, and Fates say what becomes of the others that a failed rollout has changed.
	Back  []Return
	Fates []Fate
}

// Held is a binding that has to wait.
type Held struct {
	Binding string
	Why     Why
}

// Why says what a binding waits for.
type Why string

const (
	// ForBudget says that other clusters are changing, or not ready.
	ForBudget Why = "budget"
	// ForCluster says that another binding still has content on the cluster.
	ForCluster Why = "cluster"
	// ForAgent says that the cluster must be heard of again. Were it changed before, it would be missing until then, and the budget
	// that this takes would be missing for the others.
	ForAgent Why = "agent"
	// ForVerdict says that the revision has failed on more clusters than may.
	ForVerdict Why = "verdict"
)

// Next says what may be done now without breaking the budget. The order of seen does not matter.
//
// The budget is kept by what is known: a cluster counts as ready only if it was reported ready for what the binding says now. One
// that has not reported yet may be up or down; it is changed only if the others that are known to be ready are enough without it.
func Next(budget Budget, seen []Binding, want Content, now time.Time) Step {
	if want.Snapshot == "" {
		return Step{}
	}
	seen = slices.Clone(seen)
	slices.SortFunc(seen, func(a, b Binding) int { return cmp.Compare(a.Name, b.Name) })
	p := plan{budget: budget, want: want, now: now, failed: map[string]bool{}, became: map[string]Fate{}}
	if !p.judge(seen) {
		return p.step
	}
	if p.retreats() {
		p.fates(seen)
	}
	p.count(seen)
	for _, b := range seen {
		p.sort(b)
	}
	p.choose()
	return p.step
}

// plan is one step in the making.
type plan struct {
	budget Budget
	want   Content
	now    time.Time

	// spare is how many ready clusters may be taken away; below zero there are too few of them already.
	spare int
	// room is on how many more clusters there may be content.
	room int
	// crowds is how many bindings there are for a cluster.
	crowds map[string]int
	// wait is the shortest time until content that nobody can see counts as ready, and window that until a cluster has failed; zero if
	// there is none.
	wait, window time.Duration
	// failed are the bindings whose clusters have failed and are not waited for; became is how those fare that a failed rollout has changed.
	failed map[string]bool
	became map[string]Fate

	removals, updates, binds, returns []candidate
	step                              Step
}

// candidate is a binding that has to change, with what is known of its cluster.
type candidate struct {
	Binding
	health health
}

func (p *plan) count(seen []Binding) {
	up, placed := 0, 0
	p.crowds = map[string]int{}
	for _, b := range seen {
		p.crowds[b.Cluster]++
		if b.Gone {
			continue
		}
		health, wait := p.health(b)
		// What has failed on a cluster may never leave it; once that has begun, it makes room.
		if b.holdsContent() && (!b.Deleting || health != down) {
			placed++
		}
		if health == ready && !b.Deleting {
			up++
		}
		if wait > 0 && !b.Deleting && (p.wait == 0 || wait < p.wait) {
			p.wait = wait
		}
	}
	p.spare = up - (p.budget.expected(seen) - len(p.failed) - p.budget.MaxUnavailable)
	p.room = p.budget.Target + p.budget.MaxSurge - placed
}

// expected is how many of the bindings' clusters would be up if nothing ever changed: all that are wanted, but for those that cannot be
// found, or are on their way out of the fleet.
func (b Budget) expected(seen []Binding) int {
	if b.Short || slices.ContainsFunc(seen, func(s Binding) bool { return s.Gone && s.wanted() }) {
		return min(b.Target, wanted(seen))
	}
	return b.Target
}

// holdsContent says whether there may be content on the cluster because of the binding.
func (b Binding) holdsContent() bool { return delivery.MayHaveContent(b.State, b.Previous, b.Snapshot) }

// sort puts a binding where it belongs: to be removed, updated or bound, or to be left as it is.
func (p *plan) sort(b Binding) {
	if b.Deleting {
		return
	}
	health, _ := p.health(b)
	c := candidate{Binding: b, health: health}
	switch {
	case b.State == v1beta1.BindingStateUnscheduled:
		p.removals = append(p.removals, c)
	case b.Gone:
		// The scheduler is about to give it up. Nothing can be placed there.
	case b.State == v1beta1.BindingStateScheduled:
		p.binds = append(p.binds, c)
	case b.State == v1beta1.BindingStateBound && p.retreats():
		p.stand(c)
	case b.State == v1beta1.BindingStateBound && p.outdated(b):
		p.updates = append(p.updates, c)
	case b.State == v1beta1.BindingStateBound:
		if !p.unreachable(c) && !delivery.SameStrategy(b.Strategy, &p.want.Strategy) {
			p.step.Restyle = append(p.step.Restyle, b.Name) // which also makes an end of having been held
		} else if held(b) || told(b) {
			p.step.Resume = append(p.step.Resume, b.Name)
		}
	}
}

// outdated says whether the binding was given other content than it should have. With a failure policy how it is applied is a part of
// it, which is rolled out, judged and taken back with the rest.
func (p *plan) outdated(b Binding) bool {
	return b.Snapshot != p.want.Snapshot || !p.want.Overrides[b.Cluster].Keeps(b.Overrides) ||
		p.budget.Policy != nil && !delivery.SameStrategy(b.Strategy, &p.want.Strategy)
}

// choose spends the budget: on removals first, then on the way back, then on updates, then on new clusters.
func (p *plan) choose() {
	for _, c := range p.removals {
		if p.removable(c) {
			p.step.Remove = append(p.step.Remove, c.Name)
			continue
		}
		p.restyle(c)
	}
	p.takeBack()
	for _, c := range p.updates {
		switch {
		case p.unreachable(c):
			p.hold(c, ForAgent)
		case p.movable(c):
			p.step.Move = append(p.step.Move, c.Name)
		default:
			p.hold(c, ForBudget)
			p.restyle(c)
		}
	}
	for _, c := range p.binds {
		switch {
		case p.retreats():
			p.hold(c, ForVerdict)
		case p.budget.Policy != nil && c.Silent:
			p.hold(c, ForAgent)
		case p.crowds[c.Cluster] > 1:
			p.hold(c, ForCluster)
		case p.room > 0:
			p.room--
			p.step.Move = append(p.step.Move, c.Name)
		default:
			p.hold(c, ForBudget)
		}
	}
	slices.Sort(p.step.Move)
	slices.Sort(p.step.Restyle)
	slices.SortFunc(p.step.Hold, func(a, b Held) int { return cmp.Compare(a.Binding, b.Binding) })
	if len(p.step.Hold) > 0 || len(p.step.Remove) < len(p.removals) || len(p.step.Back) < len(p.returns) {
		p.step.Again = p.wait
	}
	if p.window > 0 && (p.step.Again == 0 || p.window < p.step.Again) {
		p.step.Again = p.window
	}
}

// unreachable says whether the cluster was ready when it was last heard of, so that any change would have it counted as missing until it
// is heard of again. What is not ready anyway has nothing to lose; but with a failure policy it would be said to have failed.
func (p *plan) unreachable(c candidate) bool {
	return c.Silent && (c.health == ready || p.budget.Policy != nil)
}

// restyle changes how content that stays for now is applied, if that is to be otherwise.
func (p *plan) restyle(c candidate) {
	if p.budget.Policy == nil && !p.unreachable(c) && !delivery.SameStrategy(c.Strategy, &p.want.Strategy) {
		p.step.Restyle = append(p.step.Restyle, c.Name)
	}
}

func (p *plan) hold(c candidate, why Why) {
	p.step.Hold = append(p.step.Hold, Held{Binding: c.Name, Why: why})
}

// removable says whether a binding that nobody wants may be deleted now, and takes what that costs from the budget. One without
// ready content costs nothing: it is not what keeps the placement up.
func (p *plan) removable(c candidate) bool {
	switch {
	case c.Gone || c.Snapshot == "" || c.health == down:
		return true
	case c.health == ready:
		return p.take()
	default:
		return p.spare >= 0
	}
}

// movable says whether a binding may get other content now, and takes what that costs from the budget. One that failed costs
// nothing, so that a correction reaches it at once.
func (p *plan) movable(c candidate) bool {
	switch c.health {
	case ready:
		return p.take()
	case down, stuck:
		return true
	case unseen:
		return false
	default:
		return p.spare >= 0
	}
}

func (p *plan) take() bool {
	if p.spare <= 0 {
		return false
	}
	p.spare--
	return true
}
