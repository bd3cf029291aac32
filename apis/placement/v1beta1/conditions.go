package v1beta1

// Condition names. A binding, a Work, a manifest of a Work, a policy snapshot and an entry of a placement's
// placementStatuses use them as condition types without change; a placement adds its kind as a prefix (see
// PlacementObject.ConditionType). Unless a comment defines it otherwise, observedGeneration is the generation of the
// object with the condition; a condition with an older one counts as Unknown.
const (
	// ConditionScheduled is True if the scheduler found the desired clusters.
	ConditionScheduled = "Scheduled"
	// ConditionRolloutStarted is True if the rollout of the latest content to the cluster has started.
	ConditionRolloutStarted = "RolloutStarted"
	// ConditionOverridden is True if the overrides for the cluster were applied to the content.
	ConditionOverridden = "Overridden"
	// ConditionWorkSynchronized is True if the Works in the cluster's namespace on the hub contain the content.
	ConditionWorkSynchronized = "WorkSynchronized"
	// ConditionApplied is True if the content was applied on the member cluster. It is not used with ReportDiff.
	ConditionApplied = "Applied"
	// ConditionAvailable is True if the applied objects are available. It is not used with ReportDiff.
	ConditionAvailable = "Available"
	// ConditionDiffReported is True if the differences were reported. It is used only with ReportDiff.
	ConditionDiffReported = "DiffReported"
	// ConditionStatusSynced, on a ClusterResourcePlacement with statusReportingScope NamespaceAccessible, is True if
	// the status was copied to the namespace.
	ConditionStatusSynced = "StatusSynced"
	// ConditionResourcesFit, on a placement, is False if selected objects are too large to be placed, and absent
	// otherwise. All other selected objects are placed, and the other conditions describe those.
	ConditionResourcesFit = "ResourcesFit"
	// ConditionResourcesPermitted, on a placement, is False if selected objects are not placed because the placement's
	// author may not place privileged objects, and absent otherwise. All other selected objects are placed.
	ConditionResourcesPermitted = "ResourcesPermitted"
	// ConditionFailoverComplete, on a placement with a failover policy, is True if every lost cluster is replaced, and
	// what replaces it is available. Without a policy it is there only while another cluster replaces one with a taint.
	// With strategy External it is also on policy snapshots: False while a cluster counts as picked, because update runs
	// need it, although it must be replaced.
	ConditionFailoverComplete = "FailoverComplete"
	// ConditionReplicasDivided, on a placement that divides replicas, is True if all replicas have a place, and no share
	// has to move. It is absent without a policy for replicas.
	ConditionReplicasDivided = "ReplicasDivided"
	// ConditionRemovalHeld, on a placement, is True while a change would remove more than the placement's removal
	// policy allows, and is held; it is absent otherwise.
	ConditionRemovalHeld = "RemovalHeld"
	// ConditionStatusTrimmed, on a Work, is True if its status omits details, and absent otherwise.
	ConditionStatusTrimmed = "StatusTrimmed"
)

// Prefixes of the condition types of placements.
const (
	ClusterResourcePlacementConditionPrefix = "ClusterResourcePlacement"
	ResourcePlacementConditionPrefix        = "ResourcePlacement"
)

// Reasons of a placement's Scheduled; the first two are also those of a policy snapshot.
const (
	// ReasonSchedulingPolicyFulfilled (True): the scheduler found the desired number of clusters.
	ReasonSchedulingPolicyFulfilled = "SchedulingPolicyFulfilled"
	// ReasonSchedulingPolicyUnfulfilled (False): the scheduler found fewer clusters than desired.
	ReasonSchedulingPolicyUnfulfilled = "SchedulingPolicyUnfulfilled"
	// ReasonSchedulePending (Unknown): the scheduler has not processed the latest policy or generation yet.
	ReasonSchedulePending = "SchedulePending"
	// ReasonInvalidResourceSelectors (False): the selectors are invalid (two match the same object, an unknown kind, a
	// wrong scope, a namespace that is never placed), or the namespace for NamespaceAccessible is missing or has
	// changed.
	ReasonInvalidResourceSelectors = "InvalidResourceSelectors"
)

// ReasonReservedNamespace (False) is a reason of a placement's Scheduled, a binding's WorkSynchronized and an update
// run's Initialized: the object is in a namespace fleet-* or kube-*, where the hub agent ignores it.
const ReasonReservedNamespace = "ReservedNamespace"

// ReasonPrivilegedResources (False) is the reason of a placement's ResourcesPermitted. The message names the objects
// and the verb.
const ReasonPrivilegedResources = "PrivilegedResourcesWithheld"

// Reasons of a placement's ResourcesFit.
const (
	// ReasonResourceTooLarge (False): the message names the objects, their sizes and the limit.
	ReasonResourceTooLarge = "ResourceTooLarge"
)

// ReasonBeyondRemovalPolicy (True) is the reason of a placement's RemovalHeld. The message has the numbers, the
// clusters, the first names and the remedy.
const ReasonBeyondRemovalPolicy = "BeyondRemovalPolicy"

// Reasons of a placement's ReplicasDivided.
const (
	// ReasonReplicasDivided (True): every workload is divided.
	ReasonReplicasDivided = "ReplicasDivided"
	// ReasonNoWorkload (True): the content has no workload to divide.
	ReasonNoWorkload = "NoWorkload"
	// ReasonDivisionPending (False): the shares of some clusters are not decided yet.
	ReasonDivisionPending = "DivisionPending"
	// ReasonReplicasMoving (False): shares move to other clusters.
	ReasonReplicasMoving = "ReplicasMoving"
	// ReasonReplicasUnplaced (False): there is no room for some replicas.
	ReasonReplicasUnplaced = "ReplicasUnplaced"
	// ReasonNotDividable (False): the content cannot be divided.
	ReasonNotDividable = "NotDividable"
)

// Reasons of a placement's FailoverComplete.
const (
	// ReasonNoClusterReplaced (True): the placement has left no cluster.
	ReasonNoClusterReplaced = "NoClusterReplaced"
	// ReasonClustersReplaced (True): the message names the clusters that were left, why and since when, what replaces
	// them, and what happens to the objects there.
	ReasonClustersReplaced = "ClustersReplaced"
	// ReasonReplacementPending (False): what replaces a cluster is not available yet.
	ReasonReplacementPending = "ReplacementPending"
	// ReasonNoReplacement (False): a cluster is lost or has a taint, and no other can be picked.
	ReasonNoReplacement = "NoReplacement"
	// ReasonAwaitingUpdateRun (False): a cluster must be replaced, which would end an active update run. The message
	// names the run.
	ReasonAwaitingUpdateRun = "AwaitingUpdateRun"
)

// Reasons of Scheduled in placementStatuses.
const (
	// ReasonScheduled (True): the cluster was picked.
	ReasonScheduled = "Scheduled"
	// ReasonScheduleFailed (False): the scheduler found no cluster for this entry; the message has the reason.
	ReasonScheduleFailed = "ScheduleFailed"
)

// Reasons of RolloutStarted, on bindings, in placementStatuses and on placements.
const (
	// ReasonRolloutStarted (True): the rollout to the cluster, or to every cluster, has started.
	ReasonRolloutStarted = "RolloutStarted"
	// ReasonRolloutNotStartedYet (False): the limits of the rolling update do not allow it yet.
	ReasonRolloutNotStartedYet = "RolloutNotStartedYet"
	// ReasonRolloutStartedUnknown (Unknown): there is no up-to-date report. Not on bindings.
	ReasonRolloutStartedUnknown = "RolloutStartedUnknown"
	// ReasonRolloutControlledByExternalController (Unknown): the placement waits for an update run, or an update run
	// left clusters at different resource indices. Not on bindings.
	ReasonRolloutControlledByExternalController = "RolloutControlledByExternalController"
)

// Reasons of Overridden, on bindings, in placementStatuses and on placements.
const (
	// ReasonOverriddenSucceeded (True): the overrides were applied to the content.
	ReasonOverriddenSucceeded = "OverriddenSucceeded"
	// ReasonNoOverrideSpecified (True): no override applies to the content.
	ReasonNoOverrideSpecified = "NoOverrideSpecified"
	// ReasonOverriddenFailed (False): an override could not be applied.
	ReasonOverriddenFailed = "OverriddenFailed"
	// ReasonOverriddenPending (Unknown): there is no up-to-date report. Not on bindings.
	ReasonOverriddenPending = "OverriddenPending"
)

// Reasons of WorkSynchronized on bindings and in placementStatuses. The last one is only for placementStatuses, and
// also for placements.
const (
	// ReasonAllWorkSynced (True): every Work contains the content.
	ReasonAllWorkSynced = "AllWorkSynced"
	// ReasonSyncWorkFailed (False): a Work could not be written, or the content is invalid.
	ReasonSyncWorkFailed = "SyncWorkFailed"
	// ReasonWorkSynchronizedUnknown (Unknown): there is no up-to-date report.
	ReasonWorkSynchronizedUnknown = "WorkSynchronizedUnknown"
)

// Reasons of a placement's WorkSynchronized, besides ReasonWorkSynchronizedUnknown.
const (
	// ReasonWorkSynchronized (True): WorkSynchronized is True for every cluster.
	ReasonWorkSynchronized = "WorkSynchronized"
	// ReasonWorkNotSynchronizedYet (False): WorkSynchronized is not True for at least one cluster.
	ReasonWorkNotSynchronizedYet = "WorkNotSynchronizedYet"
)

// Reasons of Applied on bindings and in placementStatuses. The last one is only for placementStatuses, and also for
// placements.
const (
	// ReasonAllWorkHaveBeenApplied (True): every Work is applied.
	ReasonAllWorkHaveBeenApplied = "AllWorkHaveBeenApplied"
	// ReasonNotAllWorkHaveBeenApplied (False): at least one Work is not applied, or not yet.
	ReasonNotAllWorkHaveBeenApplied = "NotAllWorkHaveBeenApplied"
	// ReasonApplyInProgress (False): a Work was written just now.
	ReasonApplyInProgress = "ApplyInProgress"
	// ReasonApplyPending (Unknown): there is no up-to-date report.
	ReasonApplyPending = "ApplyPending"
)

// Reasons of a placement's Applied, besides ReasonApplyPending.
const (
	// ReasonApplySucceeded (True): applied on every cluster.
	ReasonApplySucceeded = "ApplySucceeded"
	// ReasonApplyFailed (False): not applied on at least one cluster.
	ReasonApplyFailed = "ApplyFailed"
)

// Reasons of Available on bindings and in placementStatuses. The last one is only for placementStatuses, and also for
// placements.
const (
	// ReasonAllWorkAreAvailable (True): every Work is available.
	ReasonAllWorkAreAvailable = "AllWorkAreAvailable"
	// ReasonNotAllWorkAreAvailabilityTrackable (True): every Work is available, but the availability of some objects
	// is not tracked.
	ReasonNotAllWorkAreAvailabilityTrackable = "NotAllWorkAreAvailabilityTrackable"
	// ReasonNotAllWorkAreAvailable (False): at least one Work is not available.
	ReasonNotAllWorkAreAvailable = "NotAllWorkAreAvailable"
	// ReasonResourceAvailableUnknown (Unknown): there is no up-to-date report.
	ReasonResourceAvailableUnknown = "ResourceAvailableUnknown"
)

// Reasons of a placement's Available, besides ReasonResourceAvailableUnknown.
const (
	// ReasonResourceAvailable (True): available on every cluster.
	ReasonResourceAvailable = "ResourceAvailable"
	// ReasonResourceNotAvailableYet (False): not available on at least one cluster.
	ReasonResourceNotAvailableYet = "ResourceNotAvailableYet"
)

// Reasons of DiffReported on bindings and in placementStatuses. The last one is only for placementStatuses, and also
// for placements.
const (
	// ReasonAllWorkHaveDiffReported (True): every Work has reported.
	ReasonAllWorkHaveDiffReported = "AllWorkHaveDiffReported"
	// ReasonNotAllWorkHaveDiffReported (False): at least one Work has not reported.
	ReasonNotAllWorkHaveDiffReported = "NotAllWorkHaveDiffReported"
	// ReasonDiffReportInProgress (False): a Work was written just now.
	ReasonDiffReportInProgress = "DiffReportInProgress"
	// ReasonDiffReportingPending (Unknown): there is no up-to-date report.
	ReasonDiffReportingPending = "DiffReportingPending"
)

// Reasons of a placement's DiffReported, besides ReasonDiffReportingPending.
const (
	// ReasonDiffReportingCompleted (True): every cluster has reported.
	ReasonDiffReportingCompleted = "DiffReportingCompleted"
	// ReasonDiffReportingIncompleteOrFailed (False): at least one cluster has not reported.
	ReasonDiffReportingIncompleteOrFailed = "DiffReportingIncompleteOrFailed"
)

// Reasons of a ClusterResourcePlacement's StatusSynced.
const (
	// ReasonStatusSyncSucceeded (True): the copy in the namespace is up to date.
	ReasonStatusSyncSucceeded = "StatusSyncSucceeded"
	// ReasonStatusSyncFailed (False): the copy could not be written.
	ReasonStatusSyncFailed = "StatusSyncFailed"
)

// Reasons of a Work's conditions.
const (
	// ReasonAllManifestsApplied (Applied True): every manifest is applied.
	ReasonAllManifestsApplied = "AllManifestsApplied"
	// ReasonSomeManifestsAreNotApplied (Applied False): at least one manifest is not applied.
	ReasonSomeManifestsAreNotApplied = "SomeManifestsAreNotApplied"

	// ReasonAllManifestsAvailable (Available True): every object is available.
	ReasonAllManifestsAvailable = "AllManifestsAvailable"
	// ReasonWorkNotTrackable (Available True): every object is available, but the availability of some objects is not
	// tracked.
	ReasonWorkNotTrackable = "WorkNotTrackable"
	// ReasonSomeManifestsAreNotAvailabilityTrackable is equivalent to ReasonWorkNotTrackable. The agents do not write
	// it, but readers must accept it.
	ReasonSomeManifestsAreNotAvailabilityTrackable = "SomeManifestsAreNotAvailabilityTrackable"
	// ReasonSomeManifestsAreNotAvailable (Available False): at least one object is not available.
	ReasonSomeManifestsAreNotAvailable = "SomeManifestsAreNotAvailable"

	// ReasonAllManifestsDiffReported (DiffReported True): every manifest was compared.
	ReasonAllManifestsDiffReported = "AllManifestsDiffReported"
	// ReasonSomeManifestsHaveNotReportedDiff (DiffReported False): at least one manifest could not be compared, or
	// only in degraded mode.
	ReasonSomeManifestsHaveNotReportedDiff = "SomeManifestsHaveNotReportedDiff"

	// ReasonOversized (StatusTrimmed True): with all details, the Work would be too large for the API server.
	ReasonOversized = "Oversized"
)

// Reasons of a manifest's Applied.
const (
	// ReasonManifestApplied (True): the object matches the manifest.
	ReasonManifestApplied = "Applied"
	// ReasonManifestAppliedWithFailedDriftDetection (True): applied, but drift detection failed afterwards.
	ReasonManifestAppliedWithFailedDriftDetection = "AppliedWithFailedDriftDetection"
	// ReasonManifestPreparingToProcess (False): recorded before the object is applied for the first time, so that the
	// agent can find the applied object again after any failure. Its observedGeneration is that of the Work.
	ReasonManifestPreparingToProcess = "PreparingToProcess"
	// ReasonManifestDecodingErred (False): the manifest is not an object of a kind that the member cluster serves.
	ReasonManifestDecodingErred = "DecodingErred"
	// ReasonManifestFoundGenerateName (False): the manifest has a generateName and no name.
	ReasonManifestFoundGenerateName = "FoundGenerateName"
	// ReasonManifestDuplicated (False): an earlier manifest of the Work is for the same object.
	ReasonManifestDuplicated = "Duplicated"
	// ReasonManifestFailedToFindObjInMemberCluster (False): reading the object on the member cluster failed.
	ReasonManifestFailedToFindObjInMemberCluster = "FailedToFindObjInMemberCluster"
	// ReasonManifestFailedToTakeOver (False): taking over an existing object failed, for example because it has other
	// owners.
	ReasonManifestFailedToTakeOver = "FailedToTakeOver"
	// ReasonManifestNotTakenOver (False): the object already existed, and the apply strategy does not allow taking it
	// over.
	ReasonManifestNotTakenOver = "NotTakenOver"
	// ReasonManifestFailedToRunDriftDetection (False): drift detection failed, and the apply strategy requires it.
	ReasonManifestFailedToRunDriftDetection = "FailedToRunDriftDetection"
	// ReasonManifestFoundDrifts (False): the object was changed on the member cluster and is not overwritten.
	ReasonManifestFoundDrifts = "FoundDrifts"
	// ReasonManifestFoundDriftsInDegradedMode (False): the same, found by comparing fields directly.
	ReasonManifestFoundDriftsInDegradedMode = "FoundDriftsInDegradedMode"
	// ReasonManifestApplyFailed (False): the member's API server refused the object.
	ReasonManifestApplyFailed = "ManifestApplyFailed"
)

// Reasons of a manifest's Available.
const (
	// ReasonManifestAvailable (True): the object is available according to the rule for its kind.
	ReasonManifestAvailable = "Available"
	// ReasonManifestNotTrackable (True): there is no rule for the kind of the object.
	ReasonManifestNotTrackable = "NotTrackable"
	// ReasonManifestFailed (False): checking the availability failed.
	ReasonManifestFailed = "Failed"
	// ReasonManifestNotAvailableYet (False): the object is not available.
	ReasonManifestNotAvailableYet = "ManifestNotAvailableYet"
)

// Reasons of a manifest's DiffReported.
const (
	// ReasonManifestNoDiffFound (True): the object equals its manifest.
	ReasonManifestNoDiffFound = "NoDiffFound"
	// ReasonManifestFoundDiff (True): the object differs, or does not exist; the details are next to the condition.
	ReasonManifestFoundDiff = "FoundDiff"
	// ReasonManifestFoundDiffInDegradedMode (True): the same, found by comparing fields directly. The Work counts it as
	// not reported.
	ReasonManifestFoundDiffInDegradedMode = "FoundDiffInDegradedMode"
	// ReasonManifestFailedToReportDiff (False): the object could not be compared.
	ReasonManifestFailedToReportDiff = "FailedToReportDiff"
)
