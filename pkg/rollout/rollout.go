// Package rollout decides which clusters of a placement change next. The bindings, the content they should have and
// the limits of the placement go in; one step comes out. hub/roller carries it out and calls again when an event
// arrives.
package rollout

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Budget is how much may change at once, in clusters.
type Budget struct {
	// Target is how many clusters the placement wants.
	Target int
	// Short is whether the scheduler cannot find so many. No change makes those unavailable, so they must not block a
	// change of the others.
	Short bool
	// MaxUnavailable is how many of them may be without ready content because of a change.
	MaxUnavailable int
	// MaxSurge is on how many clusters more than Target there may be content while clusters are exchanged.
	MaxSurge int
	// Period is for how long content whose availability is not tracked counts as not ready.
	Period time.Duration
	// Policy is the failure policy; nil if there is none.
	Policy *Policy
	// Purge is when replaced bindings are deleted; empty means Graceful. Never differs from Graceful only in what
	// their deletion leaves on the cluster.
	Purge v1beta1.FailoverPurge
}

// Content is what every cluster should have.
type Content struct {
	// Snapshot is the master of the latest complete group of resource snapshots; empty if there is none yet.
	Snapshot string
	// Strategy is how to apply it, with all defaults filled in.
	Strategy v1beta1.ApplyStrategy
	// Overrides are those of the clusters that have any.
	Overrides map[string]delivery.Overrides
	// Course is the state of its rollout so far.
	Course Course
}

// Binding is what a step needs to know of one.
type Binding struct {
	Name    string
	Cluster string
	State   v1beta1.BindingState
	// Previous is the state before an Unscheduled one; empty if that is not known.
	Previous v1beta1.BindingState
	// ReplacedBy is the cluster that replaces that of an Unscheduled binding; empty if none does. Failback is whether
	// the placement returns to it.
	ReplacedBy string
	Failback   bool
	// Exchanged is whether an Unscheduled binding belongs to an exchange of clusters; only Purge uses it.
	Exchanged bool
	// Deleting is whether the binding is being deleted; what it placed may still be there.
	Deleting bool
	// Stays is true if the policy gives the cluster up, and that is held.
	Stays bool
	// Gone is whether the cluster does not exist or leaves the fleet: nothing can be placed there.
	Gone bool
	// Silent is whether the cluster has not reported for long, or is unhealthy: its last report may be out of date.
	Silent bool
	// Unheard is whether the next heartbeat of the cluster is late; UntilSilent is when it falls silent, zero if it is.
	Unheard     bool
	UntilSilent time.Duration

	// Snapshot, Overrides and Strategy are what the binding was given; Snapshot is empty if nothing was.
	Snapshot  string
	Overrides delivery.Overrides
	Strategy  *v1beta1.ApplyStrategy

	// Status is the report on the binding.
	delivery.Status

	// LastHealthy is the revision with which everything was last available on the cluster; nil if it never was.
	LastHealthy *v1beta1.Revision
	// Mark is the mark of the last rollout that changed the binding; nil if there is none.
	Mark *delivery.Mark
	// Lost is the message about a snapshot that does not exist any more, and that the revision to return to needs;
	// empty if all exist. It matters only while a rejection stands.
	Lost string
	// Fallback is the revision of Fallbacks with the overrides of this cluster; nil if there is none, or if some of it
	// does not exist any more. It matters only while a rejection stands.
	Fallback *v1beta1.Revision
}

// Step is what to do now. All lists are in the order of the bindings' names, which is also the order in which clusters
// take turns.
type Step struct {
	// Move are the bindings to give the content.
	Move []string
	// Restyle are the bindings whose apply strategy alone changes.
	Restyle []string
	// Remove are the bindings to delete.
	Remove []string
	// Blocked are the bindings that need the content and cannot get it yet, and why. Some of them may be in Restyle
	// too.
	Blocked []Blocked
	// Resume are the bindings that were blocked and have the content, because the placement went back to it.
	Resume []string
	// Again is when to call again without an event; zero means that there is no need.
	Again time.Duration

	// Course is the new state of the rollout; nil if the stored one is right. It has to be written before anything
	// else is done.
	Course *Course
	// Back are the bindings to roll back, and Fates the others that a rejected rollout changed.
	Back  []Return
	Fates []Fate
	// Fallback are the replacements to give an older revision because the latest is rejected.
	Fallback []Return
}

// Blocked is a binding that cannot get the content yet.
type Blocked struct {
	Binding string
	By      Block
}

// Block is why a binding cannot get the content yet.
type Block string

const (
	// ByBudget means that other clusters are changing, or not ready.
	ByBudget Block = "budget"
	// ByCluster means that another binding still has content on the cluster.
	ByCluster Block = "cluster"
	// ByAgent means that the cluster's agent does not report. If the cluster were changed, it would count as
	// unavailable until the agent reports again, and the others could not use that part of the budget.
	ByAgent Block = "agent"
	// ByRejection means that the revision has spent its failure budget.
	ByRejection Block = "rejection"
)

// Next decides what can be done now within the budget. The order of bindings does not matter.
//
// The budget goes by reports: a cluster counts as ready only if it was reported ready for what the binding asks for
// now. One without a report may be up or down; it is changed only if the others that are reported ready are enough
// without it.
func Next(budget Budget, bindings []Binding, want Content, now time.Time) Step {
	if want.Snapshot == "" {
		return Step{}
	}
	bindings = slices.Clone(bindings)
	slices.SortFunc(bindings, func(a, b Binding) int { return cmp.Compare(a.Name, b.Name) })
	p := plan{
		budget: budget, want: want, now: now, failed: map[string]bool{}, fates: map[string]delivery.Fate{}, exchanges: exchangesOf(bindings),
	}
	judged := p.judge(bindings)
	if p.step.Course = judged.course; judged.storeFirst {
		return p.step
	}
	maps.Copy(p.failed, judged.failed)
	p.window = judged.again
	if budget.Policy == nil && judged.course != nil {
		p.want.Course = *judged.course
	}
	if p.rejected() {
		p.judgeRollback(bindings)
	}
	p.enough = p.isEnough(bindings)
	p.count(bindings)
	for _, b := range bindings {
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
	// room is how many more clusters may have content.
	room int
	// crowds is how many bindings there are for a cluster.
	crowds map[string]int
	// untracked is the shortest time until content whose availability is not tracked counts as ready, and window that
	// until a cluster has failed; zero if there is none.
	untracked, window time.Duration
	// silence is the shortest time until the cluster of a parked binding falls silent; zero if there is none.
	silence time.Duration
	// failed are the bindings whose clusters have failed, for which nothing waits; fates are those of the bindings
	// that a rejected rollout changed.
	failed map[string]bool
	fates  map[string]delivery.Fate
	// exchanges are the replacements of clusters; enough is whether replaced bindings without one are not needed.
	exchanges exchanges
	enough    bool

	removals, updates, binds, returns []candidate
	step                              Step
}

// candidate is a binding that has to change, with what is known of its cluster.
type candidate struct {
	Binding
	health health
}

func (p *plan) count(bindings []Binding) {
	up, placed := 0, 0
	p.crowds = map[string]int{}
	for _, b := range bindings {
		p.crowds[b.Cluster]++
		if b.Gone {
			continue
		}
		if b.parked() && b.UntilSilent == 0 {
			continue
		}
		health, wait := p.health(b)
		if p.takesRoom(b, health) {
			placed++
		}
		if b.parked() { // its last report may be out of date, and its removal must wait
			if !p.isReplaced(b) {
				p.silence = sooner(p.silence, b.UntilSilent)
			}
			continue
		}
		if health == ready && !b.Deleting && !p.waits(b) && !p.purgedNow(b) {
			up++
		}
		if !b.Deleting {
			p.untracked = sooner(p.untracked, wait)
		}
	}
	p.spare = up - (p.budget.expected(bindings) - len(p.failed) - p.budget.MaxUnavailable)
	p.room = p.budget.Target + p.budget.MaxSurge - placed
}

// takesRoom returns whether the binding counts among those that have content. Failed content may never leave its
// cluster; it makes room as soon as its removal has begun.
func (p *plan) takesRoom(b Binding, health health) bool {
	if p.isReplaced(b) {
		return false
	}
	return p.exchanges.isPlanned(b) || b.mayHaveContent() && (!b.Deleting || health != down)
}

// expected is how many of the bindings' clusters would be up if nothing ever changed: all that are wanted, but for
// those that the scheduler cannot find, or that leave the fleet.
func (b Budget) expected(bindings []Binding) int {
	if b.Short || slices.ContainsFunc(bindings, func(s Binding) bool { return s.Gone && s.wanted() }) {
		return min(b.Target, wanted(bindings))
	}
	return b.Target
}

// mayHaveContent returns whether there may be content on the cluster because of the binding.
func (b Binding) mayHaveContent() bool {
	return delivery.MayHaveContent(b.State, b.Previous, b.Snapshot)
}

// parked returns whether the scheduler gave up the binding, or it is being deleted, while its cluster is not heard:
// what is there stays as it is until the cluster is heard again. If the cluster is silent, or another one replaces it,
// it takes no part in the budget either, because the placement cannot wait for it.
func (b Binding) parked() bool {
	return b.Unheard && b.mayHaveContent() && (b.Deleting || b.State == v1beta1.BindingStateUnscheduled)
}

// sort puts a binding where it belongs: to be removed, updated or bound, or to be left as it is.
func (p *plan) sort(b Binding) {
	if b.Deleting {
		return
	}
	health, _ := p.health(b)
	c := candidate{Binding: b, health: health}
	switch {
	case b.parked():
		// Its agent would remove everything when it returns; that is decided when it is heard.
	case b.State == v1beta1.BindingStateUnscheduled:
		p.removals = append(p.removals, c)
	case b.Gone:
		// Nothing can be placed there, and the scheduler is about to give the binding up.
	case b.State == v1beta1.BindingStateScheduled:
		p.binds = append(p.binds, c)
	case b.State == v1beta1.BindingStateBound && p.rejected():
		p.sortRejected(c)
	case b.State == v1beta1.BindingStateBound && p.outdated(b):
		p.updates = append(p.updates, c)
	case b.State == v1beta1.BindingStateBound:
		if !p.unreachable(c) && !delivery.SameStrategy(b.Strategy, &p.want.Strategy) {
			p.step.Restyle = append(p.step.Restyle, b.Name) // which also ends that it is blocked
		} else if isBlocked(b) || reportsRollback(b) {
			p.step.Resume = append(p.step.Resume, b.Name)
		}
	}
}

// outdated returns whether the binding was given other content than it should have. With a failure policy the apply
// strategy is part of the content: it is rolled out, judged and rolled back with the rest.
func (p *plan) outdated(b Binding) bool {
	return b.Snapshot != p.want.Snapshot || !p.want.Overrides[b.Cluster].Keeps(b.Overrides) ||
		p.budget.Policy != nil && !delivery.SameStrategy(b.Strategy, &p.want.Strategy)
}

// choose spends the budget: on removals first, then on rollbacks, then on updates, then on new clusters.
func (p *plan) choose() {
	for _, c := range p.removals {
		if p.removable(c) {
			p.step.Remove = append(p.step.Remove, c.Name)
			continue
		}
		p.restyle(c)
	}
	p.rollBack()
	for _, c := range p.updates {
		switch {
		case p.unreachable(c):
			p.block(c, ByAgent)
		case p.movable(c):
			p.step.Move = append(p.step.Move, c.Name)
		default:
			p.block(c, ByBudget)
			p.restyle(c)
		}
	}
	for _, c := range p.binds {
		switch {
		case p.rejected() && !p.fallsBack(c.Binding):
			p.block(c, ByRejection)
		case p.budget.Policy != nil && c.Silent:
			p.block(c, ByAgent)
		case p.crowds[c.Cluster] > 1:
			p.block(c, ByCluster)
		case p.rejected():
			p.step.Fallback = append(p.step.Fallback, Return{Binding: c.Name, To: *c.Fallback})
		case p.exchanges.isPlanned(c.Binding):
			p.step.Move = append(p.step.Move, c.Name)
		case p.room > 0:
			p.room--
			p.step.Move = append(p.step.Move, c.Name)
		default:
			p.block(c, ByBudget)
		}
	}
	slices.Sort(p.step.Move)
	slices.Sort(p.step.Restyle)
	slices.SortFunc(p.step.Blocked, func(a, b Blocked) int { return cmp.Compare(a.Binding, b.Binding) })
	if len(p.step.Blocked) > 0 || len(p.step.Remove) < len(p.removals) || len(p.step.Back) < len(p.returns) {
		p.step.Again = p.untracked
	}
	if len(p.step.Blocked) > 0 {
		p.step.Again = sooner(p.step.Again, p.silence)
	}
	p.step.Again = sooner(p.step.Again, p.window)
}

// unreachable returns whether a change would make the cluster count as unavailable until its agent reports again,
// because it was ready when the agent last reported. A cluster that is not ready anyway has nothing to lose; but with
// a failure policy it would count as failed.
func (p *plan) unreachable(c candidate) bool {
	return c.Silent && (c.health == ready || p.budget.Policy != nil)
}

// restyle changes how content that stays for now is applied, if the strategy is another one.
func (p *plan) restyle(c candidate) {
	if p.budget.Policy == nil && !p.unreachable(c) && !delivery.SameStrategy(c.Strategy, &p.want.Strategy) {
		p.step.Restyle = append(p.step.Restyle, c.Name)
	}
}

func (p *plan) block(c candidate, by Block) {
	p.step.Blocked = append(p.step.Blocked, Blocked{Binding: c.Name, By: by})
}

// removable returns whether a binding that the scheduler gave up may be deleted now, and takes what that costs from
// the budget. One without ready content costs nothing: its loss makes nothing unavailable.
func (p *plan) removable(c candidate) bool {
	switch {
	case p.waits(c.Binding):
		return false
	case p.purgedNow(c.Binding):
		return true
	case c.Gone || c.Snapshot == "" || c.health == down:
		return true
	case c.health == ready:
		return p.take()
	default:
		return p.spare >= 0
	}
}

// movable returns whether a binding may get other content now, and takes what that costs from the budget. One that
// failed costs nothing, so that a correction reaches it at once.
func (p *plan) movable(c candidate) bool {
	switch c.health {
	case ready:
		return p.take()
	case down, stuck:
		return true
	case untracked:
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
