package v1beta1

// Condition names. A binding, a Work, a manifest of a Work, a policy snapshot and an entry of a placement's
// placementStatuses use them as condition types as they are; a placement puts its kind before them (see
// PlacementObject.ConditionType). Unless said otherwise observedGeneration is the generation of the object with the
// condition; a condition with an older one counts as Unknown.
const (
	// ConditionScheduled says whether the clusters wanted were found.
	ConditionScheduled = "Scheduled"
	// ConditionRolloutStarted says whether the cluster may have the latest content.
	ConditionRolloutStarted = "RolloutStarted"
	// ConditionOverridden says whether the overrides for the cluster could be worked into the content.
	ConditionOverridden = "Overridden"
	// ConditionWorkSynchronized says whether the Works in the cluster's namespace on the hub hold the content.
	ConditionWorkSynchronized = "WorkSynchronized"
	// ConditionApplied says whether the content was applied on the member cluster. It is not used with ReportDiff.
	ConditionApplied = "Applied"
	// ConditionAvailable says whether what was applied has become available. It is not used with ReportDiff.
	ConditionAvailable = "Available"
	// ConditionDiffReported says whether the differences were reported. It is used with ReportDiff only.
	ConditionDiffReported = "DiffReported"
	// ConditionStatusSynced, on a ClusterResourcePlacement with statusReportingScope NamespaceAccessible, says whether the
	// status was copied into the namespace.
	ConditionStatusSynced = "StatusSynced"
	// ConditionResourcesFit, on a placement, is False if selected objects are too large to be placed, and absent otherwise.
	// Everything else that is selected is placed, and the other conditions are about that.
	ConditionResourcesFit = "ResourcesFit"
	// ConditionResourcesPermitted, on a placement, is False if selected objects are not placed because the placement's author may not
	// place privileged objects, and absent otherwise. Everything else that is selected is placed.
	ConditionResourcesPermitted = "ResourcesPermitted"
	// ConditionStatusTrimmed, on a Work, is True if details were left out of its status, and absent otherwise.
	ConditionStatusTrimmed = "StatusTrimmed"
)

// What a placement puts before a condition name.
const (
	ClusterResourcePlacementConditionPrefix = "ClusterResourcePlacement"
	ResourcePlacementConditionPrefix        = "ResourcePlacement"
)

// Reasons of a placement's Scheduled; the first two are also those of a policy snapshot.
const (
	// ReasonSchedulingPolicyFulfilled (True): as many clusters were found as are wanted.
	ReasonSchedulingPolicyFulfilled = "SchedulingPolicyFulfilled"
	// ReasonSchedulingPolicyUnfulfilled (False): fewer clusters were found than are wanted.
	ReasonSchedulingPolicyUnfulfilled = "SchedulingPolicyUnfulfilled"
	// ReasonSchedulePending (Unknown): the scheduler has not seen the latest policy or generation yet.
	ReasonSchedulePending = "SchedulePending"
	// ReasonInvalidResourceSelectors (False): the selectors are wrong (one object matched twice, an unknown kind, a wrong
	// scope, a namespace that is never placed), or the namespace for NamespaceAccessible is missing or another one.
	ReasonInvalidResourceSelectors = "InvalidResourceSelectors"
)

// ReasonReservedNamespace (False) is a reason of a placement's Scheduled, a binding's WorkSynchronized and an update run's Initialized: the
// object is in a namespace fleet-* or kube-*, where it is ignored.
const ReasonReservedNamespace = "ReservedNamespace"

// ReasonPrivilegedResources (False) is the reason of a placement's ResourcesPermitted: the message names the objects and the verb.
const ReasonPrivilegedResources = "PrivilegedResourcesWithheld"

// Reasons of a placement's ResourcesFit.
const (
	// ReasonResourceTooLarge (False): the message names the objects, their sizes and the limit.
	ReasonResourceTooLarge = "ResourceTooLarge"
)

// Reasons of Scheduled in placementStatuses.
const (
	// ReasonScheduled (True): the cluster was chosen.
	ReasonScheduled = "Scheduled"
	// ReasonScheduleFailed (False): no cluster could be found for this place; the message says why.
	ReasonScheduleFailed = "ScheduleFailed"
)

// Reasons of RolloutStarted, on bindings, in placementStatuses and on placements.
const (
	// ReasonRolloutStarted (True): the cluster, or every cluster, may have the latest content.
	ReasonRolloutStarted = "RolloutStarted"
	// ReasonRolloutNotStartedYet (False): held back by the limits of the rolling update.
	ReasonRolloutNotStartedYet = "RolloutNotStartedYet"
	// ReasonRolloutStartedUnknown (Unknown): there is no up-to-date report. Not on bindings.
	ReasonRolloutStartedUnknown = "RolloutStartedUnknown"
	// ReasonRolloutControlledByExternalController (Unknown): it waits for an update run, or clusters are at different
	// resource indices because of one. Not on bindings.
	ReasonRolloutControlledByExternalController = "RolloutControlledByExternalController"
)

// Reasons of Overridden, on bindings, in placementStatuses and on placements.
const (
	// ReasonOverriddenSucceeded (True): the overrides were worked in.
	ReasonOverriddenSucceeded = "OverriddenSucceeded"
	// ReasonNoOverrideSpecified (True): there is no override for the content.
	ReasonNoOverrideSpecified = "NoOverrideSpecified"
	// ReasonOverriddenFailed (False): an override could not be evaluated.
	ReasonOverriddenFailed = "OverriddenFailed"
	// ReasonOverriddenPending (Unknown): there is no up-to-date report. Not on bindings.
	ReasonOverriddenPending = "OverriddenPending"
)

// Reasons of WorkSynchronized on bindings and in placementStatuses; of them the last is for placementStatuses only and
// is also one of a placement's.
const (
	// ReasonAllWorkSynced (True): every Work holds the content.
	ReasonAllWorkSynced = "AllWorkSynced"
	// ReasonSyncWorkFailed (False): a Work could not be written, or the content is wrong.
	ReasonSyncWorkFailed = "SyncWorkFailed"
	// ReasonWorkSynchronizedUnknown (Unknown): there is no up-to-date report.
	ReasonWorkSynchronizedUnknown = "WorkSynchronizedUnknown"
)

// Reasons of a placement's WorkSynchronized, besides ReasonWorkSynchronizedUnknown.
const (
	// ReasonWorkSynchronized (True): so it is for every cluster.
	ReasonWorkSynchronized = "WorkSynchronized"
	// ReasonWorkNotSynchronizedYet (False): it is not so for some cluster.
	ReasonWorkNotSynchronizedYet = "WorkNotSynchronizedYet"
)

// Reasons of Applied on bindings and in placementStatuses; of them the last is for placementStatuses only and is also
// one of a placement's.
const (
	// ReasonAllWorkHaveBeenApplied (True): every Work is applied.
	ReasonAllWorkHaveBeenApplied = "AllWorkHaveBeenApplied"
	// ReasonNotAllWorkHaveBeenApplied (False): some Work is not applied, or not yet.
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
	// ReasonApplyFailed (False): not applied on some cluster.
	ReasonApplyFailed = "ApplyFailed"
)

// Reasons of Available on bindings and in placementStatuses; of them the last is for placementStatuses only and is also
// one of a placement's.
const (
	// ReasonAllWorkAreAvailable (True): every Work is available.
	ReasonAllWorkAreAvailable = "AllWorkAreAvailable"
	// ReasonNotAllWorkAreAvailabilityTrackable (True): every Work is available as far as one can see; of some objects one
	// cannot.
	ReasonNotAllWorkAreAvailabilityTrackable = "NotAllWorkAreAvailabilityTrackable"
	// ReasonNotAllWorkAreAvailable (False): some Work is not available.
	ReasonNotAllWorkAreAvailable = "NotAllWorkAreAvailable"
	// ReasonResourceAvailableUnknown (Unknown): there is no up-to-date report.
	ReasonResourceAvailableUnknown = "ResourceAvailableUnknown"
)

// Reasons of a placement's Available, besides ReasonResourceAvailableUnknown.
const (
	// ReasonResourceAvailable (True): available on every cluster.
	ReasonResourceAvailable = "ResourceAvailable"
	// ReasonResourceNotAvailableYet (False): not available on some cluster.
	ReasonResourceNotAvailableYet = "ResourceNotAvailableYet"
)

// Reasons of DiffReported on bindings and in placementStatuses; of them the last is for placementStatuses only and is
// also one of a placement's.
const (
	// ReasonAllWorkHaveDiffReported (True): every Work has reported.
	ReasonAllWorkHaveDiffReported = "AllWorkHaveDiffReported"
	// ReasonNotAllWorkHaveDiffReported (False): some Work has not reported.
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
	// ReasonDiffReportingIncompleteOrFailed (False): some cluster has not reported.
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
	// ReasonSomeManifestsAreNotApplied (Applied False): some manifest is not applied.
	ReasonSomeManifestsAreNotApplied = "SomeManifestsAreNotApplied"

	// ReasonAllManifestsAvailable (Available True): every object is available.
	ReasonAllManifestsAvailable = "AllManifestsAvailable"
	// ReasonWorkNotTrackable (Available True): every object is available as far as one can see; of some one cannot.
	ReasonWorkNotTrackable = "WorkNotTrackable"
	// ReasonSomeManifestsAreNotAvailabilityTrackable means what ReasonWorkNotTrackable does. It is not written, but readers
	// must take it for that.
	ReasonSomeManifestsAreNotAvailabilityTrackable = "SomeManifestsAreNotAvailabilityTrackable"
	// ReasonSomeManifestsAreNotAvailable (Available False): some object is not available.
	ReasonSomeManifestsAreNotAvailable = "SomeManifestsAreNotAvailable"

	// ReasonAllManifestsDiffReported (DiffReported True): every manifest was compared.
	ReasonAllManifestsDiffReported = "AllManifestsDiffReported"
	// ReasonSomeManifestsHaveNotReportedDiff (DiffReported False): some manifest could not be compared, or only in degraded
	// mode.
	ReasonSomeManifestsHaveNotReportedDiff = "SomeManifestsHaveNotReportedDiff"

	// ReasonOversized (StatusTrimmed True): with all details the Work would be too large for the API server.
	ReasonOversized = "Oversized"
)

// Reasons of a manifest's Applied.
const (
	// ReasonManifestApplied (True): the object is as the manifest says.
	ReasonManifestApplied = "Applied"
	// ReasonManifestAppliedWithFailedDriftDetection (True): applied, but looking for drifts afterwards failed.
	ReasonManifestAppliedWithFailedDriftDetection = "AppliedWithFailedDriftDetection"
	// ReasonManifestPreparingToProcess (False): recorded before the object is applied for the first time, so that what was
	// applied can be found again whatever happens. Its observedGeneration is that of the Work.
	ReasonManifestPreparingToProcess = "PreparingToProcess"
	// ReasonManifestDecodingErred (False): the manifest is not an object of a kind the member cluster knows.
	ReasonManifestDecodingErred = "DecodingErred"
	// ReasonManifestFoundGenerateName (False): the manifest has a generateName and no name.
	ReasonManifestFoundGenerateName = "FoundGenerateName"
	// ReasonManifestDuplicated (False): the Work lists the same object before.
	ReasonManifestDuplicated = "Duplicated"
	// ReasonManifestFailedToFindObjInMemberCluster (False): looking for the object on the member cluster failed.
	ReasonManifestFailedToFindObjInMemberCluster = "FailedToFindObjInMemberCluster"
	// ReasonManifestFailedToTakeOver (False): claiming an object that was there before failed, for instance because it has
	// other owners.
	ReasonManifestFailedToTakeOver = "FailedToTakeOver"
	// ReasonManifestNotTakenOver (False): the object was there before and the apply strategy does not allow to claim it.
	ReasonManifestNotTakenOver = "NotTakenOver"
	// ReasonManifestFailedToRunDriftDetection (False): looking for drifts failed, and the apply strategy requires it.
	ReasonManifestFailedToRunDriftDetection = "FailedToRunDriftDetection"
	// ReasonManifestFoundDrifts (False): the object was changed on the member cluster and is left alone.
	ReasonManifestFoundDrifts = "FoundDrifts"
	// ReasonManifestFoundDriftsInDegradedMode (False): the same, found by comparing fields directly.
	ReasonManifestFoundDriftsInDegradedMode = "FoundDriftsInDegradedMode"
	// ReasonManifestApplyFailed (False): the member's API server refused the object.
	ReasonManifestApplyFailed = "ManifestApplyFailed"
)

// Reasons of a manifest's Available.
const (
	// ReasonManifestAvailable (True): the object is available by the rule for its kind.
	ReasonManifestAvailable = "Available"
	// ReasonManifestNotTrackable (True): there is no rule for the kind of the object.
	ReasonManifestNotTrackable = "NotTrackable"
	// ReasonManifestFailed (False): finding out failed.
	ReasonManifestFailed = "Failed"
	// ReasonManifestNotAvailableYet (False): the object is not available.
	ReasonManifestNotAvailableYet = "ManifestNotAvailableYet"
)

// Reasons of a manifest's DiffReported.
const (
	// ReasonManifestNoDiffFound (True): the object equals its manifest.
	ReasonManifestNoDiffFound = "NoDiffFound"
	// ReasonManifestFoundDiff (True): the object differs, or is not there; details are beside the condition.
	ReasonManifestFoundDiff = "FoundDiff"
	// ReasonManifestFoundDiffInDegradedMode (True): the same, found by comparing fields directly. The Work counts it as
	// not reported.
	ReasonManifestFoundDiffInDegradedMode = "FoundDiffInDegradedMode"
	// ReasonManifestFailedToReportDiff (False): the object could not be compared.
	ReasonManifestFailedToReportDiff = "FailedToReportDiff"
)
