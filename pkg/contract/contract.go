// Package contract contains the wire names that the hub, members and other programs share: labels, annotations,
// finalizers, field managers, object names and their parsers. Deployed fleets depend on these values; changing one
// breaks users. It does not import the API types, so every other package may import it.
package contract

// Prefix is the prefix of every label, annotation and finalizer that Flagship owns.
const Prefix = "kubernetes-fleet.io/"

// Labels.
const (
	// LabelPlacement names the placement an object belongs to. ResourcePlacements use it too, with their bare name.
	LabelPlacement = Prefix + "parent-CRP"
	// LabelPlacementNamespace is only on Works of a ResourcePlacement: the placement's namespace.
	LabelPlacementNamespace = Prefix + "parent-placement-namespace"
	// LabelLatest is "true" on exactly one policy snapshot and one resource snapshot group of a placement, "false" on
	// older ones.
	LabelLatest = Prefix + "is-latest-snapshot"
	// LabelPolicyIndex and LabelResourceIndex contain a snapshot's decimal index, from 0.
	LabelPolicyIndex   = Prefix + "policy-index"
	LabelResourceIndex = Prefix + "resource-index"
	// LabelOverrideIndex and LabelOverride are on override snapshots: the index and the override's name.
	LabelOverrideIndex = Prefix + "override-index"
	LabelOverride      = Prefix + "parent-resource-override"
	// LabelBinding is on Works: the binding for which they were created.
	LabelBinding = Prefix + "parent-resource-binding"
	// LabelWorkResourceIndex is on Works: the resource index of their content.
	LabelWorkResourceIndex = Prefix + "parent-resource-snapshot-index"
	// LabelEnvelopeKind, LabelEnvelopeName and LabelEnvelopeNamespace are on Works created from an envelope.
	LabelEnvelopeKind      = Prefix + "envelope-work"
	LabelEnvelopeName      = Prefix + "envelope-name"
	LabelEnvelopeNamespace = Prefix + "envelope-namespace"
	// LabelFleetResource is "true" on member namespaces of the hub.
	LabelFleetResource = Prefix + "is-fleet-resource"
	// LabelMemberName is on every MemberCluster: its own name, so that it can be selected by label.
	LabelMemberName = Prefix + "member-name"
	// LabelApprovalRun, LabelApprovalStage and LabelApprovalTask are on approval requests: the update run that waits,
	// the stage that it waits for, and TaskBeforeStage or TaskAfterStage. LabelApprovalLatest is "true" on all of
	// them.
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

// DeletionStage is the name of the last stage of every update run, which removes the placement from clusters that are
// no longer picked.
const DeletionStage = Prefix + "deleteStage"

// Annotations.
const (
	// AnnotationGeneration is on policy snapshots: the placement generation they reflect.
	AnnotationGeneration = Prefix + "CRP-generation"
	// AnnotationNumberOfClusters is on policy snapshots of PickN placements: the desired number of clusters.
	AnnotationNumberOfClusters = Prefix + "number-of-clusters"
	// AnnotationResourceHash is only on the master snapshot of a group: SHA-256 of the whole selection, hex.
	AnnotationResourceHash = Prefix + "resource-hash"
	// AnnotationSnapshotCount is on the master snapshot: the number of snapshots in the group, including itself.
	AnnotationSnapshotCount = Prefix + "number-of-resource-snapshots"
	// AnnotationEnvelopeCount is on the master snapshot: the number of envelopes among the selected objects.
	AnnotationEnvelopeCount = Prefix + "number-of-enveloped-object"
	// AnnotationSubindex is on every snapshot of a group except the master snapshot: decimal, from 0.
	AnnotationSubindex = Prefix + "subindex-of-resource-snapshot"
	// AnnotationPreviousState is on Unscheduled bindings: the state to which a binding returns if its cluster is
	// picked again.
	AnnotationPreviousState = Prefix + "previous-binding-state"
	// AnnotationCarriedOver is on bindings that an earlier policy picked, and about which the current policy is not
	// decided: their cluster was not heard. The scheduler decides when it hears the cluster again. With
	// CarriedOverHeld the policy gives the cluster up, and that is held.
	AnnotationCarriedOver = Prefix + "carried-over"
	// AnnotationReplacedBy is on Unscheduled bindings that another cluster replaces: that cluster, the reason, and since
	// when the reason holds, JSON. AnnotationReplaces is on the binding of the other cluster, in the same form.
	AnnotationReplacedBy = Prefix + "replaced-by"
	AnnotationReplaces   = Prefix + "replaces"
	// AnnotationTakenBack is on bindings: when the placement returned last to their cluster, which it had left too early,
	// RFC 3339.
	AnnotationTakenBack = Prefix + "taken-back"
	// AnnotationAway is on MemberClusters: "true" announces that the cluster is not heard for a while; it is neither
	// replaced nor counted as silent.
	AnnotationAway = Prefix + "away"
	// AnnotationRelease is on MemberClusters: status.silence.since, RFC 3339 in UTC, of the silence in which an
	// administrator declares the cluster lost.
	AnnotationRelease = Prefix + "failover-release"
	// AnnotationApprovalRun is on approval requests: the UID of the run that waits. It distinguishes the run from
	// earlier runs with its name.
	AnnotationApprovalRun = Prefix + "update-run-uid"
	// AnnotationUpdateRun is on bindings changed by an update run that may roll them back: the run, and the revision
	// that was last healthy on the cluster before, JSON.
	AnnotationUpdateRun = Prefix + "changed-by-update-run"
	// AnnotationRollout is on bindings that a rolling update with a failure policy changed: the revision that it gave
	// them, the time, and the revision that was last healthy on the cluster before, JSON.
	AnnotationRollout = Prefix + "changed-by-rolling-update"
	// AnnotationRolloutCourse is on the master snapshot of a group that a rolling update with a failure policy rolls
	// out: the state of the rolling update, such as a spent budget, JSON.
	AnnotationRolloutCourse = Prefix + "rolling-update"
	// AnnotationPlacementUID is on bindings: the UID of the placement for which the scheduler created or adopted them.
	// Works of a change that is traced have it, too.
	// It distinguishes the placement from earlier placements with its name. It is not an owner reference, because
	// after a restore that gives placements new UIDs the garbage collector would delete the bindings, and with them
	// the objects that they placed.
	AnnotationPlacementUID = Prefix + "placement-uid"
	// AnnotationBindingUID is on Works: the UID of their binding. Works of earlier versions lack it until the
	// dispatcher has processed them.
	AnnotationBindingUID = Prefix + "binding-uid"
	// AnnotationWorkSnapshot is on Works: the resource snapshot of their content, as named in the binding.
	AnnotationWorkSnapshot = Prefix + "parent-resource-snapshot-name"
	// AnnotationOverrideHash and AnnotationClusterOverrideHash are on Works: hashes of the binding's two override
	// lists.
	AnnotationOverrideHash        = Prefix + "parent-resource-override-snapshot-hash"
	AnnotationClusterOverrideHash = Prefix + "parent-cluster-resource-override-snapshot-hash"
	// AnnotationSpecHash is on applied objects: SHA-256 of the manifest that was applied, hex.
	AnnotationSpecHash = Prefix + "spec-hash"
	// AnnotationLastApplied is on objects applied client-side: the last applied manifest, JSON; empty if it was too
	// large.
	AnnotationLastApplied = Prefix + "last-applied-configuration"
	// AnnotationEvicting is on an eviction that is in progress: the UID of the binding that it deletes.
	AnnotationEvicting = Prefix + "evicting"
	// AnnotationEvictions is on disruption budgets: the bindings that evictions are currently taking from the budget,
	// JSON.
	AnnotationEvictions = Prefix + "evictions-in-progress"
	// AnnotationAvailableWhen is on objects with a rule of their author for availability: AvailableByConditions, or an
	// expression in the Common Expression Language about "object".
	AnnotationAvailableWhen = Prefix + "available-when"
	// AnnotationPlacedHub, AnnotationPlacedBy, AnnotationPlacedRevision and AnnotationPlacedOverrides are on applied
	// objects: the hub's address, the placement (<namespace>/<name>, or only its name), the resource snapshot that
	// last changed the object on the member, and the override snapshots that changed it, separated by commas.
	AnnotationPlacedHub       = Prefix + "placed-by-hub"
	AnnotationPlacedBy        = Prefix + "placed-by"
	AnnotationPlacedRevision  = Prefix + "placed-revision"
	AnnotationPlacedOverrides = Prefix + "placed-overrides"
	// AnnotationPlacedWork is on applied objects: the UID and generation of the Work that last changed the object, as
	// <uid>:<generation>.
	AnnotationPlacedWork = Prefix + "placed-by-work"
	// AnnotationHeld is on applied objects that left their Work only because the hub returned to an older state:
	// HeldYes until the member's owner sets HeldRelease, which allows the agent to remove the object. On an
	// AppliedWork created for another hub or another member, HeldRelease allows the current agent to adopt it.
	AnnotationHeld = Prefix + "held"
	// AnnotationKeep is on objects, on the hub or on a member: "true" forbids the member agent to delete the object;
	// the agent releases the object instead.
	AnnotationKeep = Prefix + "keep"
	// AnnotationOverrides is on Works: the override snapshots that changed their content, separated by commas. Absent
	// if there are none.
	AnnotationOverrides = Prefix + "override-snapshots"
	// AnnotationOverrideFingerprint is on Works: the binding's overrideFingerprint when their content was computed.
	// Absent if it was empty.
	AnnotationOverrideFingerprint = Prefix + "override-fingerprint"
	// AnnotationOverrideContent is on Works: a hash of the specs of the override snapshots that changed their content.
	// Their names are not sufficient, because the index of a deleted and recreated override starts again. Absent if
	// there are none.
	AnnotationOverrideContent = Prefix + "override-content-hash"
	// AnnotationRebalance is on placements: "kubectl fleet rebalance" sets it to the present time, RFC 3339, to have the
	// shares of replicas computed anew and clusters exchanged for better ones. AnnotationRebalanced is on policy
	// snapshots: the value for which their clusters have been exchanged.
	AnnotationRebalance  = Prefix + "rebalance"
	AnnotationRebalanced = Prefix + "rebalanced"
	// AnnotationShares is on Works: a hash of the shares of divided workloads in them. Absent if there are none.
	AnnotationShares = Prefix + "shares-hash"
	// AnnotationFailoverState is on Works: a hash of the annotations that objects in them got from the cluster that this
	// one replaced. Absent if there are none.
	AnnotationFailoverState = Prefix + "failover-state-hash"
	// AnnotationAuthor is on placements that select whole namespaces: AuthorRestricted if the author of their spec may
	// not place privileged objects, which the placement then omits. Admission policies set and protect it.
	AnnotationAuthor = Prefix + "author"
	// AnnotationIntended is on AppliedWorks: identifiers, as JSON, of the objects that the agent was about to apply
	// when it created the AppliedWork, before it recorded any of them in its status.
	AnnotationIntended = Prefix + "intended-resources"
	// AnnotationTakenOver is on applied objects that existed on the member before they were placed: "true".
	AnnotationTakenOver = Prefix + "taken-over"
	// AnnotationHubUID is on InternalMemberClusters: the UID of the hub's namespace kube-system, which identifies the
	// hub.
	AnnotationHubUID = Prefix + "hub-uid"
	// AnnotationBelieved is on MemberClusters: limits that the hub's administrator sets for the reported properties of
	// the cluster, as items NAME=VALUE, NAME<=QUANTITY and NAME>=QUANTITY, separated by commas or white space.
	AnnotationBelieved = Prefix + "believed-properties"
	// AnnotationForceLeave is on MemberClusters that are being deleted: with "true", the hub agent removes the
	// finalizers that block the cluster's namespace, and releases the MemberCluster even if other finalizers remain.
	AnnotationForceLeave = Prefix + "force-leave"
	// AnnotationTrace is on snapshots, bindings and Works of a change that is traced: the context of its trace, as the
	// traceparent of W3C Trace Context. It is compared with nothing, and no write is made for it.
	AnnotationTrace = Prefix + "traceparent"
	// AnnotationHeldRemoval is on Works that the revision of their binding no longer has, and that stay only because
	// the removal of their objects is held: "true".
	AnnotationHeldRemoval = Prefix + "held-removal"
	// AnnotationReleaseRemoval is on placements: digests, separated by commas, of held removals that are let through.
	// "kubectl fleet release" sets it. On an AppliedWork it is the digest of the one that its cluster's
	// administrator lets through.
	AnnotationReleaseRemoval = Prefix + "release-removal"
	// AnnotationAdoptFor is on namespaces: the UID of the MemberCluster for which the hub agent may take the namespace
	// over.
	AnnotationAdoptFor = Prefix + "adopt-for"
)

// Values of annotations.
const (
	// AvailableByConditions uses the conditions Available and Ready, by the Kubernetes conventions.
	AvailableByConditions = "conditions"
	// HeldYes and HeldRelease are the values of AnnotationHeld.
	HeldYes     = "true"
	HeldRelease = "release"
	// CarriedOverHeld is a value of AnnotationCarriedOver.
	CarriedOverHeld = "held"
	// AuthorRestricted is the value of AnnotationAuthor.
	AuthorRestricted = "restricted"
)

// AnnotationManifests is on Works: the number of manifests that the hub agent wrote, decimal. If a Work has another
// number, another client changed it, and the member does not remove the objects of missing manifests.
const AnnotationManifests = Prefix + "number-of-manifests"

// AnnotationWorks is on Works: the number of Works that the hub agent created for the revision, decimal. An object
// that has left one of them may be in another one, so the member removes nothing until it has all of them.
const AnnotationWorks = Prefix + "number-of-works"

// AnnotationOrigins is on resource snapshots and on Works: for each selected object, or manifest, in order, the Origin
// of the object on the hub; see JoinOrigins. Hashes do not include it: a recreated object with the same content is not
// new content.
const AnnotationOrigins = Prefix + "origins"

// AnnotationPlacedOrigin is on applied objects: the Origin of the hub's object that last changed the object on the
// member.
const AnnotationPlacedOrigin = Prefix + "placed-origin"

// Annotations of other programs that are not propagated to members.
const (
	AnnotationKubectlLastApplied = "kubectl.kubernetes.io/last-applied-configuration"
	AnnotationDeploymentRevision = "deployment.kubernetes.io/revision"
)

// Finalizers.
const (
	// FinalizerPlacement keeps a placement until its snapshots are deleted.
	FinalizerPlacement = Prefix + "crp-cleanup"
	// FinalizerScheduler keeps a placement until its bindings are deleted.
	FinalizerScheduler = Prefix + "scheduler-cleanup"
	// FinalizerBinding keeps a binding until the scheduler has processed its deletion.
	FinalizerBinding = Prefix + "scheduler-crb-cleanup"
	// FinalizerWork keeps a binding until its Works are deleted, and a Work until the member has removed the objects
	// that it applied.
	FinalizerWork = Prefix + "work-cleanup"
	// FinalizerOverride keeps an override until its snapshots are deleted.
	FinalizerOverride = Prefix + "override-cleanup"
	// FinalizerMemberCluster keeps a MemberCluster until the member has left.
	FinalizerMemberCluster = Prefix + "membercluster-finalizer"
	// FinalizerClusterProfile keeps a MemberCluster until its ClusterProfile is deleted.
	FinalizerClusterProfile = Prefix + "cluster-profile-cleanup"
	// FinalizerUpdateRun keeps an update run until its approval requests are deleted.
	FinalizerUpdateRun = Prefix + "stagedupdaterun-finalizer"
)

// ManagerMember is the field manager of everything a member agent applies.
const ManagerMember = "work-api-agent"

// ManagerOverride is the field manager of override snapshots, and of the finalizer on overrides.
const ManagerOverride = "override-controller"

// Namespaces.
const (
	// NamespaceSystem contains the agents and their helper objects on hub and members.
	NamespaceSystem = "fleet-system"
	// namespaceMember is the prefix of a member's namespace on the hub.
	namespaceMember = "fleet-member-"
)

// ClusterManager is the manager of the clusters in ClusterProfiles: tools select them by it.
const ClusterManager = "KubeFleet"

// Properties of member clusters.
const (
	// PropertyNodeCount is the number of nodes of a member.
	PropertyNodeCount = Prefix + "node-count"
	// PropertyResourcePrefix is the prefix of properties from a member's resource usage:
	// <prefix><total|allocatable|available>-<resource>.
	PropertyResourcePrefix = "resources." + Prefix
	// PropertyVersion is the version of the member's API server, such as v1.36.3.
	PropertyVersion = "k8s.io/k8s-version"
	// PropertyAuthority is the certificate authority of the member's API server as PEM text.
	PropertyAuthority = "k8s.io/cluster-certificate-authority-data"
	// PropertyEntrypoint is the URL of the member's API server. No agent of this project reports it.
	PropertyEntrypoint = "k8s.io/cluster-entrypoint"
	// PropertySizePrefix and PropertySizeSuffix surround a machine type in the name of the property that counts its
	// nodes.
	PropertySizePrefix = "kubernetes.azure.com/vm-sizes/"
	PropertySizeSuffix = "/count"
	// PropertyCoreCost and PropertyMemoryCost are the hourly costs of a core, and of a GiB, of the member's nodes.
	PropertyCoreCost   = "kubernetes.azure.com/per-cpu-core-cost"
	PropertyMemoryCost = "kubernetes.azure.com/per-gb-memory-cost"
)

// Texts that replace a value in details.
const (
	// TextRedacted replaces the contents of Secrets.
	TextRedacted = "(redacted for security reasons)"
	// TextWholeObject is the hub's value at path "/" when a member lacks an object.
	TextWholeObject = "(the whole object)"
	// TextOmitted replaces values that are dropped to reduce the size of a status.
	TextOmitted = "(omitted)"
)
