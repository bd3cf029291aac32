package report

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	runs "github.com/flagship-fleet/flagship/pkg/stage"
)

// PlannedRun is the status of an update run that has just been planned.
func PlannedRun(plan v1beta1.UpdateRunStatus, old []metav1.Condition, generation int64, now metav1.Time) v1beta1.UpdateRunStatus {
	plan.Conditions = merge(old, []metav1.Condition{initialized(generation)}, now)
	return plan
}

func initialized(generation int64) metav1.Condition {
	return yes(generation, v1beta1.ConditionInitialized, v1beta1.ReasonUpdateRunInitializedSuccessfully,
		"The run is planned; its stages, clusters and overrides are in the status")
}

// UnplannedRun is the status of an update run that cannot be planned.
func UnplannedRun(old v1beta1.UpdateRunStatus, cause string, generation int64, now metav1.Time) v1beta1.UpdateRunStatus {
	old.Conditions = merge(old.Conditions, []metav1.Condition{
		no(generation, v1beta1.ConditionInitialized, v1beta1.ReasonUpdateRunInitializedFailed, "The run cannot be initialized: "+cause),
	}, now)
	return old
}

// ResumedRun is the status of an update run that has just been planned and continues from the run earlier: it has passed the tasks that
// earlier has.
func ResumedRun(planned v1beta1.UpdateRunStatus, earlier v1beta1.UpdateRunObject, generation int64, now metav1.Time) v1beta1.UpdateRunStatus {
	return UpdateRun(planned, runs.Read(planned).Resume(earlier.GetName(), *earlier.GetStatus()), generation, now)
}

// UpdateRun is the status of an update run with this progress. generation is that of every condition.
func UpdateRun(old v1beta1.UpdateRunStatus, p runs.Progress, generation int64, now metav1.Time) v1beta1.UpdateRunStatus {
	out := *old.DeepCopy()
	r := runReport{generation: generation, now: now}
	wanted := append([]metav1.Condition{initialized(generation)}, r.phase(p.Phase, reasonsOfRuns, p.Message, p.Cause)...)
	wanted = append(append(wanted, r.budget(p.Budget)...), r.rolledBack(p.Back)...)
	out.Conditions = merge(old.Conditions, wanted, now)
	for i := range out.StagesStatus {
		r.stage(&out.StagesStatus[i], p.Stages[i])
	}
	if out.DeletionStageStatus != nil {
		r.stage(out.DeletionStageStatus, p.Deletion)
	}
	return out
}

// runReport is the generation and the time of all conditions of an update run.
type runReport struct {
	generation int64
	now        metav1.Time
}

var (
	reasonsOfRuns = map[runs.Phase]string{
		runs.Active: v1beta1.ReasonUpdateRunProgressing, runs.Waiting: v1beta1.ReasonUpdateRunWaiting, runs.Stuck: v1beta1.ReasonUpdateRunStuck,
		runs.Stopping: v1beta1.ReasonUpdateRunStopping, runs.Stopped: v1beta1.ReasonUpdateRunStopped, runs.RollingBack: v1beta1.ReasonUpdateRunRollingBack,
		runs.Succeeded: v1beta1.ReasonUpdateRunSucceeded, runs.Failed: v1beta1.ReasonUpdateRunFailed,
	}
	reasonsOfStages = map[runs.Phase]string{
		runs.Active: v1beta1.ReasonStageUpdatingStarted, runs.Waiting: v1beta1.ReasonStageUpdatingWaiting,
		runs.Stopping: v1beta1.ReasonStageUpdatingStopping, runs.Stopped: v1beta1.ReasonStageUpdatingStopped,
		runs.Skipped:   v1beta1.ReasonStageUpdatingSkippedNoClusters,
		runs.Succeeded: v1beta1.ReasonStageUpdatingSucceeded, runs.Failed: v1beta1.ReasonStageUpdatingFailed,
	}
)

// phase is the condition Progressing, and Succeeded in a final phase.
func (r runReport) phase(phase runs.Phase, reasons map[runs.Phase]string, message, cause string) []metav1.Condition {
	var out []metav1.Condition
	switch phase {
	case runs.Pending:
		return nil
	case runs.Active, runs.RollingBack:
		out = append(out, yes(r.generation, v1beta1.ConditionProgressing, reasons[phase], message))
	case runs.Stopping:
		out = append(out, unknown(r.generation, v1beta1.ConditionProgressing, reasons[phase], message))
	default:
		out = append(out, no(r.generation, v1beta1.ConditionProgressing, reasons[phase], message))
	}
	switch phase {
	case runs.Skipped, runs.Succeeded:
		out = append(out, yes(r.generation, v1beta1.ConditionSucceeded, reasons[phase], cause))
	case runs.Failed:
		out = append(out, no(r.generation, v1beta1.ConditionSucceeded, reasons[phase], cause))
	}
	return out
}

// budget is the condition about the failure budgets, if there are any.
func (r runReport) budget(b runs.Budget) []metav1.Condition {
	switch b.Phase {
	case runs.Pending:
		return nil
	case runs.Failed:
		return []metav1.Condition{no(r.generation, v1beta1.ConditionWithinFailureBudget, v1beta1.ReasonFailureBudgetSpent, b.Message)}
	default:
		return []metav1.Condition{yes(r.generation, v1beta1.ConditionWithinFailureBudget, v1beta1.ReasonFailureBudgetLeft, b.Message)}
	}
}

// rolledBack is the condition about the rollback of a run or a cluster, if it is decided.
func (r runReport) rolledBack(fate delivery.Fate) []metav1.Condition {
	if fate.State == delivery.Waiting {
		return nil
	}
	return []metav1.Condition{RolledBack(r.generation, fate)}
}

func (r runReport) stage(out *v1beta1.StageUpdatingStatus, p runs.Stage) {
	conditions := merge(out.Conditions, r.phase(p.Phase, reasonsOfStages, p.Message, p.Cause), r.now)
	for i := range conditions {
		// Of two steps that keep the status of Progressing the second may start the time anew.
		if conditions[i].Type == v1beta1.ConditionProgressing {
			conditions[i].LastTransitionTime = metav1.NewTime(runs.Stored(p.Since))
		}
	}
	out.Conditions = conditions
	out.StartTime, out.EndTime = moment(out.StartTime, p.Start), moment(out.EndTime, p.End)
	for i := range out.Clusters {
		r.cluster(&out.Clusters[i], p.Clusters[i])
	}
	for i := range out.BeforeStageTaskStatus {
		r.task(&out.BeforeStageTaskStatus[i], p.Before[i])
	}
	for i := range out.AfterStageTaskStatus {
		r.task(&out.AfterStageTaskStatus[i], p.After[i])
	}
}

// moment keeps a time that is stored already, without its fraction of a second.
func moment(was *metav1.Time, is time.Time) *metav1.Time {
	if is.IsZero() || was != nil {
		return was
	}
	return ptr.To(metav1.NewTime(is))
}

func (r runReport) cluster(out *v1beta1.ClusterUpdatingStatus, p runs.Cluster) {
	var wanted []metav1.Condition
	if p.Phase != runs.Pending {
		wanted = append(wanted, yes(r.generation, v1beta1.ConditionStarted, v1beta1.ReasonClusterUpdatingStarted, "The cluster was given the release"))
	}
	switch p.Phase {
	case runs.Succeeded:
		wanted = append(wanted, yes(r.generation, v1beta1.ConditionSucceeded, v1beta1.ReasonClusterUpdatingSucceeded, "The cluster is done"))
	case runs.Failed:
		wanted = append(wanted, no(r.generation, v1beta1.ConditionSucceeded, v1beta1.ReasonClusterUpdatingFailed, p.Cause))
	}
	wanted = append(wanted, r.rolledBack(p.Back.Fate)...)
	out.LastHealthy = p.LastHealthy
	// Health windows count from these times.
	out.Conditions = slices.Clip(merge(out.Conditions, wanted, metav1.NewTime(runs.Stored(r.now.Time))))
}

func (r runReport) task(out *v1beta1.StageTaskStatus, p runs.Task) {
	var wanted []metav1.Condition
	done := func(kind, reason, message string) {
		if p.Inherited {
			reason = v1beta1.ReasonStageTaskPassedEarlier
		}
		wanted = append(wanted, yes(r.generation, kind, reason, cmp.Or(p.Message, message)))
	}
	out.ApprovalRequestName = p.Request
	if p.Type == v1beta1.StageTaskApproval {
		if p.Asked {
			wanted = append(wanted, yes(r.generation, v1beta1.ConditionApprovalRequestCreated, v1beta1.ReasonStageTaskApprovalRequestCreated,
				"The approval request exists"))
		}
		if p.Done {
			done(v1beta1.ConditionApprovalRequestApproved, v1beta1.ReasonStageTaskApprovalRequestApproved, "The approval request was approved")
		}
	} else if p.Done {
		done(v1beta1.ConditionWaitTimeElapsed, v1beta1.ReasonAfterStageTaskWaitTimeElapsed, "The wait time has elapsed")
	}
	out.Conditions = merge(out.Conditions, wanted, r.now)
}

// RunStarted is the condition of a binding that an update run has given its release.
func RunStarted(generation int64, run, index string) metav1.Condition {
	return yes(generation, v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutStarted,
		"Update run "+run+" releases resource snapshot "+index+" to the cluster")
}

// RunRollsBack is the condition of a binding that an update run has given the last healthy revision of its cluster.
func RunRollsBack(generation int64, run, snapshot string) metav1.Condition {
	return yes(generation, v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutStarted,
		"Update run "+run+" rolls the cluster back to resource snapshot "+snapshot)
}

// ApprovalAccepted adds the condition that the update run has accepted the approval to those of an approval request.
func ApprovalAccepted(old []metav1.Condition, generation int64, now metav1.Time) []metav1.Condition {
	out := slices.DeleteFunc(slices.Clone(old), func(c metav1.Condition) bool { return c.Type == v1beta1.ConditionApprovalAccepted })
	return append(out, merge(old, []metav1.Condition{
		yes(generation, v1beta1.ConditionApprovalAccepted, v1beta1.ReasonApprovalRequestApprovalAccepted, "The update run has accepted the approval; it cannot be withdrawn"),
	}, now)...)
}
