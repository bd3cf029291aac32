package v1beta1

// Condition types of update runs, their stages, the clusters in a stage and the tasks of a stage. The observedGeneration
// of each is the generation of the run.
const (
	// ConditionInitialized says, of a run, whether stages, clusters and overrides have been worked out.
	ConditionInitialized = "Initialized"
	// ConditionProgressing says, of a run or a stage, whether it is at work, and if not, why not.
	ConditionProgressing = "Progressing"
	// ConditionSucceeded says, of a run, a stage or a cluster, how it ended; it is absent before.
	ConditionSucceeded = "Succeeded"
	// ConditionStarted says, of a cluster, that the release has been sent to it; it is absent before.
	ConditionStarted = "Started"
	// ConditionWithinFailureBudget says, of a run with a failurePolicy, whether no stage has more failed clusters than its
	// budget allows; which have failed stands in the message. On a placement, with its prefix, it is False if the rolling update
	// has spent the budget of its failurePolicy, and absent otherwise.
	ConditionWithinFailureBudget = "WithinFailureBudget"
	// ConditionRolledBack says, of a run, a cluster, a binding, or, with its prefix, a placement, whether it is back at what last
	// was healthy; it is absent unless a failure budget was spent and the failurePolicy asks for Rollback.
	ConditionRolledBack = "RolledBack"
	// ConditionApprovalRequestCreated says, of a task of type Approval, that its approval request exists.
	ConditionApprovalRequestCreated = "ApprovalRequestCreated"
	// ConditionApprovalRequestApproved says, of a task of type Approval, that it is done.
	ConditionApprovalRequestApproved = "ApprovalRequestApproved"
	// ConditionWaitTimeElapsed says, of a task of type TimedWait, that it is done. It is never False: it is absent while
	// the time runs.
	ConditionWaitTimeElapsed = "WaitTimeElapsed"
)

// Condition types of approval requests.
const (
	// ConditionApproved is the user's consent. Its reason is free.
	ConditionApproved = "Approved"
	// ConditionApprovalAccepted says that the run has taken the approval; it cannot be withdrawn from then on.
	ConditionApprovalAccepted = "ApprovalAccepted"
)

// Reasons of the conditions of update runs.
const (
	// ReasonUpdateRunInitializedSuccessfully (Initialized True): the plan is in the status.
	ReasonUpdateRunInitializedSuccessfully = "UpdateRunInitializedSuccessfully"
	// ReasonUpdateRunInitializedFailed (Initialized False): the run cannot be planned; final for this generation.
	ReasonUpdateRunInitializedFailed = "UpdateRunInitializedFailed"
	// ReasonUpdateRunProgressing (Progressing True): the run is at work.
	ReasonUpdateRunProgressing = "UpdateRunProgressing"
	// ReasonUpdateRunWaiting (Progressing False): a task of a stage is not done yet.
	ReasonUpdateRunWaiting = "UpdateRunWaiting"
	// ReasonUpdateRunStuck (Progressing False): a cluster has taken longer than five minutes.
	ReasonUpdateRunStuck = "UpdateRunStuck"
	// ReasonUpdateRunStopping (Progressing Unknown): the run was stopped and clusters are still in progress.
	ReasonUpdateRunStopping = "UpdateRunStopping"
	// ReasonUpdateRunStopped (Progressing False): the run was stopped and nothing is in progress.
	ReasonUpdateRunStopped = "UpdateRunStopped"
	// ReasonUpdateRunRollingBack (Progressing True): a failure budget is spent, and clusters are taken back.
	ReasonUpdateRunRollingBack = "UpdateRunRollingBack"
	// ReasonUpdateRunSucceeded (Progressing False, Succeeded True): every stage has ended.
	ReasonUpdateRunSucceeded = "UpdateRunSucceeded"
	// ReasonUpdateRunFailed (Progressing False, Succeeded False): the run cannot go on; final.
	ReasonUpdateRunFailed = "UpdateRunFailed"
)

// Reasons of the conditions WithinFailureBudget and RolledBack.
const (
	// ReasonFailureBudgetLeft (WithinFailureBudget True): no more clusters have failed than the budgets allow.
	ReasonFailureBudgetLeft = "FailureBudgetLeft"
	// ReasonFailureBudgetSpent (WithinFailureBudget False): more clusters of a stage, or of a rolling update, have failed than the
	// budget allows.
	ReasonFailureBudgetSpent = "FailureBudgetSpent"
	// ReasonRollbackStarted (RolledBack Unknown): on the way back.
	ReasonRollbackStarted = "RollbackStarted"
	// ReasonRollbackSucceeded (RolledBack True): back, and healthy.
	ReasonRollbackSucceeded = "RollbackSucceeded"
	// ReasonRollbackFailed (RolledBack False): not healthy there within the health window, or changed by somebody else; of a
	// run or a placement: of some cluster.
	ReasonRollbackFailed = "RollbackFailed"
	// ReasonNeverHealthy (RolledBack False): the cluster has never been healthy, so there is nothing to go back to.
	ReasonNeverHealthy = "NeverHealthy"
)

// Reasons of the conditions of stages.
const (
	// ReasonStageUpdatingStarted (Progressing True): clusters are being updated.
	ReasonStageUpdatingStarted = "StageUpdatingStarted"
	// ReasonStageUpdatingWaiting (Progressing False): a task at the beginning or the end of the stage is not done yet, or, with a
	// failurePolicy, a cluster that was done is not healthy any more.
	ReasonStageUpdatingWaiting = "StageUpdatingWaiting"
	// ReasonStageUpdatingStopping (Progressing Unknown): the run was stopped and clusters are still in progress.
	ReasonStageUpdatingStopping = "StageUpdatingStopping"
	// ReasonStageUpdatingStopped (Progressing False): the run was stopped and nothing is in progress.
	ReasonStageUpdatingStopped = "StageUpdatingStopped"
	// ReasonStageUpdatingSucceeded (Progressing False, Succeeded True): all clusters are updated and all tasks done.
	ReasonStageUpdatingSucceeded = "StageUpdatingSucceeded"
	// ReasonStageUpdatingFailed (Progressing False, Succeeded False): the run failed in this stage.
	ReasonStageUpdatingFailed = "StageUpdatingFailed"
	// ReasonStageUpdatingSkippedNoClusters (Progressing False, Succeeded True): the stage has no clusters; its tasks are
	// skipped too.
	ReasonStageUpdatingSkippedNoClusters = "StageUpdatingSkippedNoClusters"
)

// Reasons of the conditions of the clusters in a stage.
const (
	// ReasonClusterUpdatingStarted (Started True): the release has been sent to the cluster.
	ReasonClusterUpdatingStarted = "ClusterUpdatingStarted"
	// ReasonClusterUpdatingSucceeded (Succeeded True): everything is available there, or its differences are reported, or
	// the placement is gone from it.
	ReasonClusterUpdatingSucceeded = "ClusterUpdatingSucceeded"
	// ReasonClusterUpdatingFailed (Succeeded False): something else, such as another run, changed what the cluster gets, or
	// the cluster was without health for longer than the health window.
	ReasonClusterUpdatingFailed = "ClusterUpdatingFailed"
)

// Reasons of the conditions of the tasks of a stage.
const (
	// ReasonStageTaskApprovalRequestCreated (ApprovalRequestCreated True): the request waits for the user.
	ReasonStageTaskApprovalRequestCreated = "StageTaskApprovalRequestCreated"
	// ReasonStageTaskApprovalRequestApproved (ApprovalRequestApproved True): the user has approved.
	ReasonStageTaskApprovalRequestApproved = "StageTaskApprovalRequestApproved"
	// ReasonAfterStageTaskWaitTimeElapsed (WaitTimeElapsed True): the time has passed.
	ReasonAfterStageTaskWaitTimeElapsed = "AfterStageTaskWaitTimeElapsed"
	// ReasonStageTaskPassedEarlier (ApprovalRequestApproved True, WaitTimeElapsed True): the run from which this one goes on had done
	// the task, so nobody was asked again.
	ReasonStageTaskPassedEarlier = "StageTaskPassedEarlier"
)

// Reasons of the conditions of approval requests.
const (
	// ReasonApprovalRequestApprovalAccepted (ApprovalAccepted True): the run has taken the approval.
	ReasonApprovalRequestApprovalAccepted = "ApprovalRequestApprovalAccepted"
)
