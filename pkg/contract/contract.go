// Package contract holds the wire names that hub, members and outside programs share: labels, annotations, finalizers,
// field managers, object names and their parsers. Everything here is fixed by what runs in the field; changing a value breaks users.
// It knows no API types, so every other package may import it.
package contract

// Prefix starts every label, annotation and finalizer that Flagship owns.
const Prefix = "kubernetes-fleet.io/"

// Labels.
const (
	// LabelPlacement names the placement an object belongs to. ResourcePlacements use it too, with their bare name.
	LabelPlacement = Prefix + "parent-CRP"
	// LabelPlacementNamespace is on Works of a ResourcePlacement only: the placement's namespace.
	LabelPlacementNamespace = Prefix + "parent-placement-namespace"
	// LabelLatest is "true" on exactly one policy snapshot and one resource snapshot group of a placement, "false" on older ones.
	LabelLatest = Prefix + "is-latest-snapshot"
	// LabelPolicyIndex and LabelResourceIndex hold a snapshot's decimal index, from 0.
	LabelPolicyIndex   = Prefix + "policy-index"
	LabelResourceIndex = Prefix + "resource-index"
	// LabelOverrideIndex and LabelOverride are on override snapshots: the index and the override's name.
	LabelOverrideIndex = Prefix + "override-index"
	LabelOverride      = Prefix + "parent-resource-override"
	// LabelBinding is on Works: the binding they were made for.
	LabelBinding = Prefix + "parent-resource-binding"
	// LabelWorkResourceIndex is on Works: the resource index their content came from.
	LabelWorkResourceIndex = Prefix + "parent-resource-snapshot-index"
	// LabelEnvelopeKind, LabelEnvelopeName and LabelEnvelopeNamespace are on Works made from an envelope.
	LabelEnvelopeKind      = Prefix + "envelope-work"
	LabelEnvelopeName      = Prefix + "envelope-name"
	LabelEnvelopeNamespace = Prefix + "envelope-namespace"
	// LabelFleetResource is "true" on member namespaces of the hub.
	LabelFleetResource = Prefix + "is-fleet-resource"
	// LabelMemberName is on every MemberCluster: its own name, so that it can be selected by label.
	LabelMemberName = Prefix + "member-name"
	// LabelApprovalRun, LabelApprovalStage and LabelApprovalTask are on approval requests: the update run that waits, the stage it waits at,
	// and TaskBeforeStage or TaskAfterStage. LabelApprovalLatest is "true" on all of them.
	LabelApprovalRun    = Prefix + "targetUpdateRun"
	LabelApprovalStage  = Prefix + "targetUpdatingStage"
	LabelApprovalTask   = Prefix + "taskType"
	LabelApprovalLatest = Prefix + "isLatestUpdateRunApproval"
)

// Values of LabelApprovalTask.
const (
	TaskBeforeStage = "beforeStage"
	TaskAfterStage  = "afterStage"
)

// DeletionStage names the last stage of every update run, which takes the placement off clusters that are no longer picked.
const DeletionStage = Prefix + "deleteStage"

// Annotations.
const (
	// AnnotationGeneration is on policy snapshots: the placement generation they reflect.
	AnnotationGeneration = Prefix + "CRP-generation"
	// AnnotationNumberOfClusters is on policy snapshots of PickN placements: the wanted count.
	AnnotationNumberOfClusters = Prefix + "number-of-clusters"
	// AnnotationResourceHash is on the master snapshot of a group, and only there: SHA-256 of the whole selection, hex.
	AnnotationResourceHash = Prefix + "resource-hash"
	// AnnotationSnapshotCount is on the master: how many snapshots the group has, itself included.
	AnnotationSnapshotCount = Prefix + "number-of-resource-snapshots"
	// AnnotationEnvelopeCount is on the master: how many of the selected objects are envelopes.
	AnnotationEnvelopeCount = Prefix + "number-of-enveloped-object"
	// AnnotationSubindex is on every snapshot of a group but the master: decimal, from 0.
	AnnotationSubindex = Prefix + "subindex-of-resource-snapshot"
	// AnnotationPreviousState is on Unscheduled bindings: the state to return to if their cluster is picked again.
	AnnotationPreviousState = Prefix + "previous-binding-state"
	// AnnotationApprovalRun is on approval requests: the UID of the run that asks. It tells the run from earlier ones of its name.
	AnnotationApprovalRun = Prefix + "update-run-uid"
	// AnnotationUpdateRun is on bindings that an update run changed which may take them back: which run, and what the cluster last ran
	// healthily before, JSON.
	AnnotationUpdateRun = Prefix + "changed-by-update-run"
	// AnnotationRollout is on bindings that a rolling update with a failure policy changed: what they were given and when, and what the
	// cluster last ran healthily before, JSON.
	AnnotationRollout = Prefix + "changed-by-rolling-update"
	// AnnotationRolloutCourse is on the master snapshot of a group that a rolling update with a failure policy brings: what is remembered of
	// that, such as that the budget is spent, JSON.
	AnnotationRolloutCourse = Prefix + "rolling-update"
	// AnnotationPlacementUID is on bindings: the UID of the placement for which the scheduler made or adopted them. It tells the placement
	// from earlier ones of its name. It is no owner reference: the garbage collector would delete bindings, and with them what they
	// placed, after a restore that gives placements new UIDs.
	AnnotationPlacementUID = Prefix + "placement-uid"
	// AnnotationBindingUID is on Works: the UID of the binding that they carry out. Works of earlier versions lack it until the dispatcher
	// has looked at them.
	AnnotationBindingUID = Prefix + "binding-uid"
	// AnnotationWorkSnapshot is on Works: the resource snapshot their content came from, as the binding names it.
	AnnotationWorkSnapshot = Prefix + "parent-resource-snapshot-name"
	// AnnotationOverrideHash and AnnotationClusterOverrideHash are on Works: hashes of the binding's two override lists.
	AnnotationOverrideHash        = Prefix + "parent-resource-override-snapshot-hash"
	AnnotationClusterOverrideHash = Prefix + "parent-cluster-resource-override-snapshot-hash"
	// AnnotationSpecHash is on applied objects: SHA-256 of the manifest that was applied, hex.
	AnnotationSpecHash = Prefix + "spec-hash"
	// AnnotationLastApplied is on objects applied client-side: the manifest that was applied, JSON; empty when it was too large.
	AnnotationLastApplied = Prefix + "last-applied-configuration"
	// AnnotationEvicting is on an eviction that is being carried out: the UID of the binding that goes because of it.
	AnnotationEvicting = Prefix + "evicting"
	// AnnotationEvictions is on disruption budgets: the bindings that evictions are taking from the budget at this moment, JSON.
	AnnotationEvictions = Prefix + "evictions-in-progress"
	// AnnotationAvailableWhen is on objects whose availability the user knows how to tell: AvailableByConditions, or an expression in the
	// Common Expression Language about "object".
	AnnotationAvailableWhen = Prefix + "available-when"
	// AnnotationPlacedHub, AnnotationPlacedBy, AnnotationPlacedRevision and AnnotationPlacedOverrides are on applied objects: the hub's
	// address, the placement (<namespace>/<name>, or its name alone), the resource snapshot that last changed the object here, and the
	// override snapshots that had a part in it, separated by commas.
	AnnotationPlacedHub       = Prefix + "placed-by-hub"
	AnnotationPlacedBy        = Prefix + "placed-by"
	AnnotationPlacedRevision  = Prefix + "placed-revision"
	AnnotationPlacedOverrides = Prefix + "placed-overrides"
	// AnnotationPlacedWork is on applied objects: UID and generation of the Work that last changed the object, as <uid>:<generation>.
	AnnotationPlacedWork = Prefix + "placed-by-work"
	// AnnotationHeld is on applied objects that left their Work, but only because the hub went back to an older state: HeldYes until the
	// member's owner says HeldRelease, which lets the agent remove the object. On an AppliedWork that another hub or another member of
	// the fleet made, HeldRelease lets the present agent take it up.
	AnnotationHeld = Prefix + "held"
	// AnnotationKeep is on objects, on the hub or on a member: "true" forbids the member agent to delete the object; it lets go of it instead.
	AnnotationKeep = Prefix + "keep"
	// AnnotationOverrides is on Works: the override snapshots that had a part in their content, separated by commas. Absent if none had.
	AnnotationOverrides = Prefix + "override-snapshots"
	// AnnotationOverrideFingerprint is on Works: the binding's overrideFingerprint when their content was worked out. Absent if it was
	// empty.
	AnnotationOverrideFingerprint = Prefix + "override-fingerprint"
	// AnnotationOverrideContent is on Works: a hash of what the override snapshots said that had a part in their content. Their names alone
	// do not tell: an override that is deleted and made again begins to count anew. Absent if none had.
	AnnotationOverrideContent = Prefix + "override-content-hash"
	// AnnotationAuthor is on placements that select whole namespaces: AuthorRestricted if the author of their spec may not place privileged
	// objects, which are left out then. Admission policies set it and hold it.
	AnnotationAuthor = Prefix + "author"
	// AnnotationIntended is on AppliedWorks: identifiers, as JSON, of what the agent was about to apply when it created the ledger,
	// before any of it was recorded in the ledger's status.
	AnnotationIntended = Prefix + "intended-resources"
	// AnnotationTakenOver is on applied objects that were on the member before they were placed: "true".
	AnnotationTakenOver = Prefix + "taken-over"
	// AnnotationHubUID is on InternalMemberClusters: the UID of the hub's namespace kube-system, which is the hub's identity.
	AnnotationHubUID = Prefix + "hub-uid"
	// AnnotationBelieved is on MemberClusters: what the hub's admin lets count of the properties that the cluster reports, as items
	// NAME=VALUE, NAME<=QUANTITY and NAME>=QUANTITY, separated by commas or white space.
	AnnotationBelieved = Prefix + "believed-properties"
	// AnnotationForceLeave is on MemberClusters that are being deleted: "true" has the hub agent remove the finalizers that hold the cluster's
	// namespace, and let the MemberCluster go even if others remain.
	AnnotationForceLeave = Prefix + "force-leave"
	// AnnotationAdoptFor is on namespaces: the UID of the MemberCluster for which the hub agent may take the namespace over.
	AnnotationAdoptFor = Prefix + "adopt-for"
)

// Values of annotations.
const (
	// AvailableByConditions asks for the convention of conditions Available and Ready.
	AvailableByConditions = "conditions"
	// HeldYes and HeldRelease are the values of AnnotationHeld.
	HeldYes     = "true"
	HeldRelease = "release"
	// AuthorRestricted is the value of AnnotationAuthor.
	AuthorRestricted = "restricted"
)

// AnnotationManifests is on Works: how many manifests the hub's agent gave them, decimal. A Work that has not as many was changed by
// somebody else, and what it lacks is not removed from its member.
const AnnotationManifests = Prefix + "number-of-manifests"

// AnnotationWorks is on Works: how many the hub's agent made of the revision that this one holds a part of, decimal. What has left one of
// them may be in another one, so the member removes nothing until it has seen them all.
const AnnotationWorks = Prefix + "number-of-works"

// AnnotationOrigins is on resource snapshots and on Works: for each selected object, or manifest, in order, the Origin of
// the object on the hub; see
// JoinOrigins. It has no part in hashes: an object that is made anew with the same content is no new content.
const AnnotationOrigins = Prefix + "origins"

// AnnotationPlacedOrigin is on applied objects: the Origin of the hub's object that last changed the object here.
const AnnotationPlacedOrigin = Prefix + "placed-origin"

// Annotations of other programs that are not carried to members.
const (
	AnnotationKubectlLastApplied = "kubectl.kubernetes.io/last-applied-configuration"
	AnnotationDeploymentRevision = "deployment.kubernetes.io/revision"
)

// Finalizers.
const (
	// FinalizerPlacement holds a placement until its snapshots are gone.
	FinalizerPlacement = Prefix + "crp-cleanup"
	// FinalizerScheduler holds a placement until its bindings are deleted.
	FinalizerScheduler = Prefix + "scheduler-cleanup"
	// FinalizerBinding holds a binding until the scheduler has seen its deletion.
	FinalizerBinding = Prefix + "scheduler-crb-cleanup"
	// FinalizerWork holds a binding until its Works are gone, and a Work until the member has removed what it applied.
	FinalizerWork = Prefix + "work-cleanup"
	// FinalizerOverride holds an override until its snapshots are gone.
	FinalizerOverride = Prefix + "override-cleanup"
	// FinalizerMemberCluster holds a MemberCluster until the member has left.
	FinalizerMemberCluster = Prefix + "membercluster-finalizer"
	// FinalizerClusterProfile holds a MemberCluster until its ClusterProfile is deleted.
	FinalizerClusterProfile = Prefix + "cluster-profile-cleanup"
	// FinalizerUpdateRun holds an update run until its approval requests are deleted.
	FinalizerUpdateRun = Prefix + "stagedupdaterun-finalizer"
)

// ManagerMember is the field manager of everything a member agent applies.
const ManagerMember = "work-api-agent"

// ManagerOverride is the field manager of override snapshots, and of the finalizer on overrides.
const ManagerOverride = "override-controller"

// Namespaces.
const (
	// NamespaceSystem holds the agents and their helpers on hub and members.
	NamespaceSystem = "fleet-system"
	// namespaceMember starts the name of a member's namespace on the hub.
	namespaceMember = "fleet-member-"
)

// ClusterManager is what ClusterProfiles call the manager of their clusters: tools select them by it.
const ClusterManager = "KubeFleet"

// Properties of member clusters.
const (
	// PropertyNodeCount is how many nodes a member has.
	PropertyNodeCount = Prefix + "node-count"
	// PropertyResourcePrefix starts the names of properties that are read from a member's resource usage:
	// <prefix><total|allocatable|available>-<resource>.
	PropertyResourcePrefix = "resources." + Prefix
	// PropertyVersion is the version of the member's API server, such as v1.36.3.
	PropertyVersion = "k8s.io/k8s-version"
	// PropertyAuthority is the certificate authority of the member's API server as PEM text.
	PropertyAuthority = "k8s.io/cluster-certificate-authority-data"
	// PropertyEntrypoint is the URL of the member's API server. Nothing in this project reports it.
	PropertyEntrypoint = "k8s.io/cluster-entrypoint"
	// PropertySizePrefix and PropertySizeSuffix stand around a type of machine in the name of the property that counts such nodes.
	PropertySizePrefix = "kubernetes.azure.com/vm-sizes/"
	PropertySizeSuffix = "/count"
	// PropertyCoreCost and PropertyMemoryCost are what an hour of a core, and of a GiB, of the member's nodes costs.
	PropertyCoreCost   = "kubernetes.azure.com/per-cpu-core-cost"
	PropertyMemoryCost = "kubernetes.azure.com/per-gb-memory-cost"
)

// Texts that stand for a value in details.
const (
	// TextRedacted replaces the contents of Secrets.
	TextRedacted = "(redacted for security reasons)"
	// TextWholeObject is the hub's value at path "/" when a member lacks an object.
	TextWholeObject = "(the whole object)"
	// TextOmitted replaces values dropped to make a status fit.
	TextOmitted = "(omitted)"
)
