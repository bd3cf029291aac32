package rollout

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Return is a binding to be given what its cluster last ran healthily.
type Return struct {
	Binding string
	To      v1beta1.Revision
}

// Fate says how a binding fares that a rollout has changed which failed.
type Fate struct {
	Binding string
	What    What
	// Cause says more, where there is more to say.
	Cause string
}

// What becomes of a binding.
type What string

const (
	// Waiting says that the cluster is to be taken back, and that it is not its turn yet.
	Waiting What = "waiting"
	// Returning says that the cluster was sent back, and is not healthy yet.
	Returning What = "returning"
	// Returned says that the cluster is back, and has been healthy.
	Returned What = "returned"
	// Astray says that the cluster did not get healthy within the window.
	Astray What = "astray"
	// Lost says that what the cluster had is gone.
	Lost What = "lost"
	// NeverHealthy says that there is nothing to take the cluster back to.
	NeverHealthy What = "neverHealthy"
)

// Has says whether the cluster still has the revision that failed.
func (w What) Has() bool { return w == Waiting || w == Lost || w == NeverHealthy }

// Affected says whether a binding is one that a rollout which has spent its budget has changed, taken back or not.
func Affected(b Binding, snapshot string, course Course) bool {
	if b.Gone || !b.living() || b.State != v1beta1.BindingStateBound {
		return false
	}
	return b.back() || b.Snapshot == snapshot && b.changedBy(course)
}

// back says whether the binding has what it was taken back to.
func (b Binding) back() bool { return b.marked() && b.Mark.Back }

// told says whether the binding says of itself how it came back.
func told(b Binding) bool { return b.Current(v1beta1.ConditionRolledBack) != nil }

// retreats says whether a verdict stands.
func (p *plan) retreats() bool { return p.want.Course.Spent != nil && p.budget.Policy != nil }

// fates judges what becomes of the bindings that the rollout has changed, before anything is taken from the budget: clusters that do not get
// well, whatever they have, are not waited for.
func (p *plan) fates(seen []Binding) {
	for _, b := range seen {
		if !Affected(b, p.want.Snapshot, p.want.Course) || !b.back() && !p.budget.Policy.Rollback {
			continue
		}
		f := p.fate(b)
		p.became[b.Name] = f
		if f.What != Waiting && f.What != Returning && p.expired(b) {
			p.failed[b.Name] = true
		}
	}
}

func (p *plan) fate(b Binding) Fate {
	f := Fate{Binding: b.Name, What: Waiting}
	before := b.Before()
	switch {
	case b.back() && (b.Well() || b.Wrong() == nil && b.stood() || b.Is(v1beta1.ConditionRolledBack, metav1.ConditionTrue)):
		f.What = Returned
	case b.back() && p.expired(b):
		f.What, f.Cause = Astray, fmt.Sprintf("without health for %s: %s", p.budget.Policy.Window, b.complaint())
	case b.back():
		f.What = Returning
	case before == nil:
		f.What = NeverHealthy
	case b.Lost != "":
		f.What, f.Cause = Lost, b.Lost
	}
	return f
}

// stand puts a bound binding where it belongs while a verdict stands.
func (p *plan) stand(c candidate) {
	f, affected := p.became[c.Name]
	switch {
	case affected && f.What == Waiting:
		p.returns = append(p.returns, c)
	case affected:
		p.step.Fates = append(p.step.Fates, f)
	case p.outdated(c.Binding):
		p.hold(c, ForVerdict)
	case held(c.Binding) || told(c.Binding):
		p.step.Resume = append(p.step.Resume, c.Name)
	}
}

// takeBack spends the budget on those that are to be taken back: first those that failed, which costs nothing.
func (p *plan) takeBack() {
	slices.SortStableFunc(p.returns, func(a, b candidate) int { return cmp.Compare(p.cost(a), p.cost(b)) })
	for _, c := range p.returns {
		f := Fate{Binding: c.Name, What: Waiting}
		switch {
		case c.Silent && c.health == ready:
			f.Cause = string(ForAgent)
		case p.cost(c) == 0 || p.movable(c):
			p.step.Back = append(p.step.Back, Return{Binding: c.Name, To: *c.Before()})
			continue
		default:
			f.Cause = string(ForBudget)
		}
		p.step.Fates = append(p.step.Fates, f)
	}
	slices.SortFunc(p.step.Fates, func(a, b Fate) int { return cmp.Compare(a.Binding, b.Binding) })
}

// cost is 0 for a binding whose cluster has nothing to lose.
func (p *plan) cost(c candidate) int {
	if c.health == down || c.health == stuck || p.expired(c.Binding) {
		return 0
	}
	return 1
}
