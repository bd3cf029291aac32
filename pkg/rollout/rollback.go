package rollout

import (
	"cmp"
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Return is a binding to be given what its cluster was last healthy with.
type Return struct {
	Binding string
	To      v1beta1.Revision
}

// Fate is how the rollback of a binding goes that a rejected rollout changed.
type Fate struct {
	Binding string
	delivery.Fate
}

// Why a cluster that can be rolled back is not rolled back yet.
const (
	untilBudget = "maxUnavailable of the placement's rollout strategy does not let the cluster change yet"
	untilAgent  = "the cluster's member agent does not report"
)

// reportsRollback returns whether the binding has a condition about its rollback.
func reportsRollback(b Binding) bool { return b.Current(v1beta1.ConditionRolledBack) != nil }

// rejected returns whether a rejection stands.
func (p *plan) rejected() bool { return p.want.Course.Spent != nil && p.budget.Policy != nil }

// judgeRollback judges the bindings that a rejected rollout changed. That comes before anything is taken from the budget: nothing waits for
// clusters that have failed, whatever they have.
func (p *plan) judgeRollback(bindings []Binding) {
	for _, b := range bindings {
		if !Affected(b, p.want.Snapshot, p.want.Course) || !b.SentBack() && !p.budget.Policy.Rollback {
			continue
		}
		fate, left := p.policy().Fate(b.change(), p.now)
		p.fates[b.Name] = fate
		p.window = sooner(p.window, left)
		if fate.State == delivery.Waiting || fate.State == delivery.Returning {
			continue
		}
		if p.isFailed(b) {
			p.failed[b.Name] = true
		}
	}
}

// isFailed returns whether the cluster has been unhealthy for its whole window; if its window runs, the plan asks to look again at its end.
func (p *plan) isFailed(b Binding) bool {
	failed, left := p.policy().Failed(b.change(), p.now)
	p.window = sooner(p.window, left)
	return failed
}

// sortRejected puts a bound binding where it belongs while a rejection stands.
func (p *plan) sortRejected(c candidate) {
	fate, affected := p.fates[c.Name]
	switch {
	case affected && fate.State == delivery.Waiting:
		p.returns = append(p.returns, c)
	case affected:
		p.step.Fates = append(p.step.Fates, Fate{Binding: c.Name, Fate: fate})
	case p.outdated(c.Binding):
		p.block(c, ByRejection)
	case isBlocked(c.Binding) || reportsRollback(c.Binding):
		p.step.Resume = append(p.step.Resume, c.Name)
	}
}

// rollBack spends the budget on the bindings to roll back, first on those that failed, which cost nothing.
func (p *plan) rollBack() {
	costs := map[string]int{}
	for _, c := range p.returns {
		costs[c.Name] = p.cost(c)
	}
	slices.SortStableFunc(p.returns, func(a, b candidate) int { return cmp.Compare(costs[a.Name], costs[b.Name]) })
	for _, c := range p.returns {
		to := *c.Before()
		switch {
		case c.Silent && c.health == ready:
			p.step.Fates = append(p.step.Fates, Fate{c.Name, delivery.WaitingFor(untilAgent, to)})
		case costs[c.Name] == 0 || p.movable(c):
			p.step.Back = append(p.step.Back, Return{Binding: c.Name, To: to})
		default:
			p.step.Fates = append(p.step.Fates, Fate{c.Name, delivery.WaitingFor(untilBudget, to)})
		}
	}
	slices.SortFunc(p.step.Fates, func(a, b Fate) int { return cmp.Compare(a.Binding, b.Binding) })
}

// cost is 0 for a binding whose cluster has nothing to lose, else 1.
func (p *plan) cost(c candidate) int {
	if c.health == down || c.health == stuck || p.isFailed(c.Binding) {
		return 0
	}
	return 1
}
