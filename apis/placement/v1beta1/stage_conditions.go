package v1beta1

// Condition types of update runs, their stages, the clusters in a stage and the tasks of a stage. The
// observedGeneration of each is the generation of the run.
const (
	// ConditionInitialized, on a run, is True if its stages, clusters and overrides have been computed.
	ConditionInitialized = "Initialized"
	// ConditionProgressing, on a run or a stage, is True if it is in progress; otherwise its reason explains why not.
	ConditionProgressing = "Progressing"
	// ConditionSucceeded, on a run, a stage or a cluster, shows how it ended; it is absent before.
	ConditionSucceeded = "Succeeded"
	// ConditionStarted, on a cluster, is True if the run has started to update the cluster; it is absent before.
	ConditionStarted = "Started"
	// ConditionWithinFailureBudget, on a run with a failurePolicy, is True if no stage has more failed clusters than
	// its budget allows; the message names the failed clusters. On a placement, with its prefix, it is False if the
	// rolling update has spent the budget of its failurePolicy, and absent otherwise.
	ConditionWithinFailureBudget = "WithinFailureBudget"
	// ConditionRolledBack, on a run, a cluster, a binding, or, with its prefix, a placement, shows whether it has
	// returned to the revision that was last healthy; it is absent unless a failure budget is spent and the
	// failurePolicy requires Rollback.
	ConditionRolledBack = "RolledBack"
	// ConditionApprovalRequestCreated, on a task of type Approval, is True if its approval request exists.
	ConditionApprovalRequestCreated = "ApprovalRequestCreated"
	// ConditionApprovalRequestApproved, on a task of type Approval, is True if the task is done.
	ConditionApprovalRequestApproved = "ApprovalRequestApproved"
	// ConditionWaitTimeElapsed, on a task of type TimedWait, is True if the task is done. It is never False: it is
	// absent during the wait.
	ConditionWaitTimeElapsed = "WaitTimeElapsed"
)

// Condition types of approval requests.
const (
	// ConditionApproved is the user's approval. Its reason is free text.
	ConditionApproved = "Approved"
	// ConditionApprovalAccepted is True if the run has accepted the approval, which cannot be revoked from then on.
	ConditionApprovalAccepted = "ApprovalAccepted"
)

// Reasons of the conditions of update runs.
const (
	// ReasonUpdateRunInitializedSuccessfully (Initialized True): the plan is in the status.
	ReasonUpdateRunInitializedSuccessfully = "UpdateRunInitializedSuccessfully"
	// ReasonUpdateRunInitializedFailed (Initialized False): the run cannot be planned; final for this generation.
	ReasonUpdateRunInitializedFailed = "UpdateRunInitializedFailed"
	// ReasonUpdateRunProgressing (Progressing True): the run is updating clusters.
	ReasonUpdateRunProgressing = "UpdateRunProgressing"
	// ReasonUpdateRunWaiting (Progressing False): a task of a stage is not done yet.
	ReasonUpdateRunWaiting = "UpdateRunWaiting"
	// ReasonUpdateRunStuck (Progressing False): a cluster has taken longer than five minutes.
	ReasonUpdateRunStuck = "UpdateRunStuck"
	// ReasonUpdateRunStopping (Progressing Unknown): the run was stopped and clusters are still in progress.
	ReasonUpdateRunStopping = "UpdateRunStopping"
	// ReasonUpdateRunStopped (Progressing False): the run was stopped and nothing is in progress.
	ReasonUpdateRunStopped = "UpdateRunStopped"
	// ReasonUpdateRunRollingBack (Progressing True): a failure budget is spent, and the run rolls clusters back.
	ReasonUpdateRunRollingBack = "UpdateRunRollingBack"
	// ReasonUpdateRunSucceeded (Progressing False, Succeeded True): every stage has ended.
	ReasonUpdateRunSucceeded = "UpdateRunSucceeded"
	// ReasonUpdateRunFailed (Progressing False, Succeeded False): the run cannot continue; final.
	ReasonUpdateRunFailed = "UpdateRunFailed"
)

// Reasons of the conditions WithinFailureBudget and RolledBack.
const (
	// ReasonFailureBudgetLeft (WithinFailureBudget True): no more clusters have failed than the budgets allow.
	ReasonFailureBudgetLeft = "FailureBudgetLeft"
	// ReasonFailureBudgetSpent (WithinFailureBudget False): more clusters of a stage, or of a rolling update, have failed than the
	// budget allows.
	ReasonFailureBudgetSpent = "FailureBudgetSpent"
	// ReasonRollbackStarted (RolledBack Unknown): the rollback is in progress.
	ReasonRollbackStarted = "RollbackStarted"
	// ReasonRollbackSucceeded (RolledBack True): rolled back, and healthy.
	ReasonRollbackSucceeded = "RollbackSucceeded"
	// ReasonRollbackFailed (RolledBack False): not healthy within the health window after the rollback, or changed by
	// another client. On a run or a placement: this applies to at least one cluster.
	ReasonRollbackFailed = "RollbackFailed"
	// ReasonNeverHealthy (RolledBack False): the cluster has never been healthy, so there is no revision to return to.
	ReasonNeverHealthy = "NeverHealthy"
)

// Reasons of the conditions of stages.
const (
	// ReasonStageUpdatingStarted (Progressing True): clusters are being updated.
	ReasonStageUpdatingStarted = "StageUpdatingStarted"
	// ReasonStageUpdatingWaiting (Progressing False): a task before or after the stage is not done yet, or, with a
	// failurePolicy, a cluster that was done is no longer healthy.
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
	// ReasonClusterUpdatingStarted (Started True): the run has started to update the cluster.
	ReasonClusterUpdatingStarted = "ClusterUpdatingStarted"
	// ReasonClusterUpdatingSucceeded (Succeeded True): everything is available on the cluster, or its differences are
	// reported, or the placement is removed from it.
	ReasonClusterUpdatingSucceeded = "ClusterUpdatingSucceeded"
	// ReasonClusterUpdatingFailed (Succeeded False): another client, such as another run, changed the binding of the
	// cluster, or the cluster was unhealthy for longer than the health window.
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
	// ReasonStageTaskPassedEarlier (ApprovalRequestApproved True, WaitTimeElapsed True): the run that this run resumes
	// had done the task, so it was not repeated.
	ReasonStageTaskPassedEarlier = "StageTaskPassedEarlier"
)

// Reasons of the conditions of approval requests.
const (
	// ReasonApprovalRequestApprovalAccepted (ApprovalAccepted True): the run has accepted the approval.
	ReasonApprovalRequestApprovalAccepted = "ApprovalRequestApprovalAccepted"
)
