package stage

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// budgetSpent is the error of a stage in which more clusters have failed than its budget allows.
type budgetSpent struct{ message string }

func (s *budgetSpent) Error() string { return s.message }

// withinBudget returns a *budgetSpent if a stage has more failed clusters than its budget allows.
func (f *forward) withinBudget(s *Stage) error {
	if f.policy == nil {
		return nil
	}
	value := cmp.Or(f.config(s.Name).FailureBudget, f.Config.FailurePolicy.FailureBudget)
	budget, err := delivery.FailureBudget(value, len(s.Clusters))
	if err != nil {
		return mistake("failureBudget %s of stage %s: %v; it must be a number from 0 or a percentage", value.String(), s.Name, err)
	}
	failed := inPhase(s.Clusters, Failed)
	if len(failed) <= budget {
		return nil
	}
	return &budgetSpent{delivery.BudgetSpent("Stage "+s.Name, budget, len(s.Clusters), len(failed), failed)}
}

// reportBudget sets the budget's state and message on a run with a failure policy. One that is spent stays so.
func (f *forward) reportBudget() {
	if f.policy == nil || f.p.Budget.Phase == Failed {
		return
	}
	f.p.Budget = Budget{Phase: Succeeded, Message: "No cluster has failed"}
	var failed []string
	for _, s := range f.p.Stages {
		for _, name := range inPhase(s.Clusters, Failed) {
			failed = append(failed, fmt.Sprintf("%s (stage %s)", name, s.Name))
		}
	}
	if len(failed) > 0 {
		f.p.Budget.Message = "Failed within the budgets: " + brief.List(failed, 10)
	}
}

// fail ends the run, or begins the rollback.
func (f *forward) fail(at *Stage, err error) {
	spent := new(budgetSpent)
	if !errors.As(err, &spent) {
		f.abort(at, err)
		return
	}
	f.p.Budget = Budget{Phase: Failed, Message: spent.message}
	if f.policy.Rollback {
		f.beginRollback(at, spent.message)
		return
	}
	kept := "Clusters keep what they have"
	if f.Config.FailurePolicy.OnFailure == v1beta1.FailureActionRollback {
		kept = "Content that is only compared is not rolled back"
	}
	f.abort(at, mistake("%s. %s. To continue with the release, create a run with spec.resumeFrom: %s; to go back, use "+
		"\"kubectl fleet rollout undo\"", spent.message, kept, f.Run))
}

func (f *forward) abort(at *Stage, err error) {
	at.fail(err.Error(), f.Now)
	f.p.Fail(err.Error())
}

// beginRollback sets the run and its stage to rolling back. The step changes no binding before that is stored: a run
// that does not know that it is rolling back would take a binding that it rolled back for one that another client
// modified.
func (f *forward) beginRollback(at *Stage, cause string) {
	at.fail(cause, f.Now)
	f.p.Back = delivery.Fate{State: delivery.Returning, Message: "Rolling clusters back to their last healthy revision"}
	f.set(RollingBack, "%s; rolling back the clusters that the run changed", cause)
	f.step = Step{}
	f.again(0)
}
