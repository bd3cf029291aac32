package report

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	runs "github.com/flagship-fleet/flagship/pkg/stage"
)

// PlannedRun is the status of an update run whose plan has just been worked out.
func PlannedRun(plan v1beta1.UpdateRunStatus, old []metav1.Condition, generation int64, now metav1.Time) v1beta1.UpdateRunStatus {
	plan.Conditions = merge(old, []metav1.Condition{initialized(generation)}, now)
	return plan
}

func initialized(generation int64) metav1.Condition {
	return yes(generation, v1beta1.ConditionInitialized, v1beta1.ReasonUpdateRunInitializedSuccessfully,
		"Stages, clusters and overrides are worked out; they are in the status")
}

// UnplannedRun is the status of an update run that cannot be planned.
func UnplannedRun(old v1beta1.UpdateRunStatus, cause string, generation int64, now metav1.Time) v1beta1.UpdateRunStatus {
	old.Conditions = merge(old.Conditions, []metav1.Condition{
		no(generation, v1beta1.ConditionInitialized, v1beta1.ReasonUpdateRunInitializedFailed, "The run cannot be initialized: "+cause),
	}, now)
	return old
}

// ResumedRun is the status of an update run that has just been planned and goes on from the run earlier: it has passed what that has.
func ResumedRun(planned v1beta1.UpdateRunStatus, earlier v1beta1.UpdateRunObject, generation int64, now metav1.Time) v1beta1.UpdateRunStatus {
	return UpdateRun(planned, runs.Read(planned).Resume(earlier.GetName(), *earlier.GetStatus()), generation, now)
}

// UpdateRun is the status of an update run with the progress it has made. Every condition speaks of generation.
func UpdateRun(old v1beta1.UpdateRunStatus, p runs.Progress, generation int64, now metav1.Time) v1beta1.UpdateRunStatus {
	out := *old.DeepCopy()
	at := course{generation: generation, now: now}
	wanted := append([]metav1.Condition{initialized(generation)}, at.ended(p.Phase, reasonsOfRuns, p.Message, p.Cause)...)
	wanted = append(append(wanted, at.budget(p.Budget)...), at.rolledBack(p.Back)...)
	out.Conditions = merge(old.Conditions, wanted, now)
	for i := range out.StagesStatus {
		at.stage(&out.StagesStatus[i], p.Stages[i])
	}
	if out.DeletionStageStatus != nil {
		at.stage(out.DeletionStageStatus, p.Deletion)
	}
	return out
}

// course is what all conditions of an update run have in common.
type course struct {
	generation int64
	now        metav1.Time
}

var (
	reasonsOfRuns = map[runs.Phase]string{
		runs.Active: v1beta1.ReasonUpdateRunProgressing, runs.Waiting: v1beta1.ReasonUpdateRunWaiting, runs.Stuck: v1beta1.ReasonUpdateRunStuck,
		runs.Stopping: v1beta1.ReasonUpdateRunStopping, runs.Stopped: v1beta1.ReasonUpdateRunStopped, runs.Retreating: v1beta1.ReasonUpdateRunRollingBack,
		runs.Succeeded: v1beta1.ReasonUpdateRunSucceeded, runs.Failed: v1beta1.ReasonUpdateRunFailed,
	}
	reasonsOfStages = map[runs.Phase]string{
		runs.Active: v1beta1.ReasonStageUpdatingStarted, runs.Waiting: v1beta1.ReasonStageUpdatingWaiting,
		runs.Stopping: v1beta1.ReasonStageUpdatingStopping, runs.Stopped: v1beta1.ReasonStageUpdatingStopped,
		runs.Skipped:   v1beta1.ReasonStageUpdatingSkippedNoClusters,
		runs.Succeeded: v1beta1.ReasonStageUpdatingSucceeded, runs.Failed: v1beta1.ReasonStageUpdatingFailed,
	}
)

// ended is Progressing, and Succeeded in a final phase.
func (at course) ended(phase runs.Phase, reasons map[runs.Phase]string, message, cause string) []metav1.Condition {
	var out []metav1.Condition
	switch phase {
	case runs.Pending:
		return nil
	case runs.Active, runs.Retreating:
		out = append(out, yes(at.generation, v1beta1.ConditionProgressing, reasons[phase], message))
	case runs.Stopping:
		out = append(out, unknown(at.generation, v1beta1.ConditionProgressing, reasons[phase], message))
	default:
		out = append(out, no(at.generation, v1beta1.ConditionProgressing, reasons[phase], message))
	}
	switch phase {
	case runs.Skipped, runs.Succeeded:
		out = append(out, yes(at.generation, v1beta1.ConditionSucceeded, reasons[phase], cause))
	case runs.Failed:
		out = append(out, no(at.generation, v1beta1.ConditionSucceeded, reasons[phase], cause))
	}
	return out
}

// budget says whether the failure budgets have lasted, if there are any.
func (at course) budget(v runs.Verdict) []metav1.Condition {
	switch v.Phase {
	case runs.Pending:
		return nil
	case runs.Failed:
		return []metav1.Condition{no(at.generation, v1beta1.ConditionWithinFailureBudget, v1beta1.ReasonFailureBudgetSpent, v.Message)}
	default:
		return []metav1.Condition{yes(at.generation, v1beta1.ConditionWithinFailureBudget, v1beta1.ReasonFailureBudgetLeft, v.Message)}
	}
}

// rolledBack is the way back of a run or a cluster, if there is one.
func (at course) rolledBack(v runs.Verdict) []metav1.Condition {
	kind := v1beta1.ConditionRolledBack
	switch {
	case v.Phase == runs.Pending:
		return nil
	case v.Phase == runs.Active:
		return []metav1.Condition{unknown(at.generation, kind, v1beta1.ReasonRollbackStarted, v.Message)}
	case v.Phase == runs.Succeeded:
		return []metav1.Condition{yes(at.generation, kind, v1beta1.ReasonRollbackSucceeded, v.Message)}
	case v.NeverHealthy:
		return []metav1.Condition{no(at.generation, kind, v1beta1.ReasonNeverHealthy, v.Message)}
	default:
		return []metav1.Condition{no(at.generation, kind, v1beta1.ReasonRollbackFailed, v.Message)}
	}
}

func (at course) stage(out *v1beta1.StageUpdatingStatus, p runs.Stage) {
	conditions := merge(out.Conditions, at.ended(p.Phase, reasonsOfStages, p.Message, p.Cause), at.now)
	for i := range conditions {
		// Stopping and stopping again are one step: the clock starts anew although the status is what it was.
		if conditions[i].Type == v1beta1.ConditionProgressing {
			conditions[i].LastTransitionTime = metav1.NewTime(runs.Stored(p.Since))
		}
	}
	out.Conditions = conditions
	out.StartTime, out.EndTime = moment(out.StartTime, p.Start), moment(out.EndTime, p.End)
	for i := range out.Clusters {
		at.cluster(&out.Clusters[i], p.Clusters[i])
	}
	for i := range out.BeforeStageTaskStatus {
		at.task(&out.BeforeStageTaskStatus[i], p.Before[i])
	}
	for i := range out.AfterStageTaskStatus {
		at.task(&out.AfterStageTaskStatus[i], p.After[i])
	}
}

// moment keeps a time that was stored, which has no fractions of seconds.
func moment(was *metav1.Time, is time.Time) *metav1.Time {
	if is.IsZero() || was != nil {
		return was
	}
	return ptr.To(metav1.NewTime(is))
}

func (at course) cluster(out *v1beta1.ClusterUpdatingStatus, p runs.Cluster) {
	var wanted []metav1.Condition
	if p.Phase != runs.Pending {
		wanted = append(wanted, yes(at.generation, v1beta1.ConditionStarted, v1beta1.ReasonClusterUpdatingStarted, "The release was sent to the cluster"))
	}
	switch p.Phase {
	case runs.Succeeded:
		wanted = append(wanted, yes(at.generation, v1beta1.ConditionSucceeded, v1beta1.ReasonClusterUpdatingSucceeded, "The cluster is done"))
	case runs.Failed:
		wanted = append(wanted, no(at.generation, v1beta1.ConditionSucceeded, v1beta1.ReasonClusterUpdatingFailed, p.Cause))
	}
	wanted = append(wanted, at.rolledBack(p.Back)...)
	out.LastHealthy = p.LastHealthy
	// Health windows are counted from these times.
	out.Conditions = slices.Clip(merge(out.Conditions, wanted, metav1.NewTime(runs.Stored(at.now.Time))))
}

func (at course) task(out *v1beta1.StageTaskStatus, p runs.Task) {
	var wanted []metav1.Condition
	done := func(kind, reason, message string) {
		if p.Inherited {
			reason = v1beta1.ReasonStageTaskPassedEarlier
		}
		wanted = append(wanted, yes(at.generation, kind, reason, cmp.Or(p.Said, message)))
	}
	out.ApprovalRequestName = p.Request
	if p.Type == v1beta1.StageTaskApproval {
		if p.Asked {
			wanted = append(wanted, yes(at.generation, v1beta1.ConditionApprovalRequestCreated, v1beta1.ReasonStageTaskApprovalRequestCreated,
				"The approval request exists"))
		}
		if p.Done {
			done(v1beta1.ConditionApprovalRequestApproved, v1beta1.ReasonStageTaskApprovalRequestApproved, "The approval request was approved")
		}
	} else if p.Done {
		done(v1beta1.ConditionWaitTimeElapsed, v1beta1.ReasonAfterStageTaskWaitTimeElapsed, "The wait time has passed")
	}
	out.Conditions = merge(out.Conditions, wanted, at.now)
}

// RunStarted says that a binding of generation may have what an update run releases.
func RunStarted(generation int64, run, index string) metav1.Condition {
	return yes(generation, v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutStarted,
		"Update run "+run+" releases resource snapshot "+index+" to the cluster")
}

// RunTakesBack says that a binding of generation may have what its cluster last ran healthily.
func RunTakesBack(generation int64, run, snapshot string) metav1.Condition {
	return yes(generation, v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutStarted,
		"Update run "+run+" takes the cluster back to resource snapshot "+snapshot)
}

// ApprovalAccepted puts the word that an approval has taken effect among the conditions of an approval request of generation.
func ApprovalAccepted(old []metav1.Condition, generation int64, now metav1.Time) []metav1.Condition {
	out := slices.DeleteFunc(slices.Clone(old), func(c metav1.Condition) bool { return c.Type == v1beta1.ConditionApprovalAccepted })
	return append(out, merge(old, []metav1.Condition{
		yes(generation, v1beta1.ConditionApprovalAccepted, v1beta1.ReasonApprovalRequestApprovalAccepted, "The update run has taken the approval; it cannot be withdrawn"),
	}, now)...)
}
