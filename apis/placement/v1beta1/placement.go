package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func init() {
	register(
		&ClusterResourcePlacement{}, &ClusterResourcePlacementList{},
		&ResourcePlacement{}, &ResourcePlacementList{},
	)
}

// ClusterResourcePlacement places cluster-scoped objects of the hub, and namespaces with the objects in them, on
// member clusters. Its spec defines what to place, where, and how changes roll out; its status shows the progress. The
// name may have at most 63 characters, because it becomes a label value.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=crp,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.metadata.generation`,name="Gen",type=string
// +kubebuilder:printcolumn:JSONPath=`.spec.policy.placementType`,name="Type",priority=1,type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ClusterResourcePlacementScheduled")].status`,name="Scheduled",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ClusterResourcePlacementScheduled")].observedGeneration`,name="Scheduled-Gen",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ClusterResourcePlacementWorkSynchronized")].status`,name="Work-Synchronized",priority=1,type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ClusterResourcePlacementWorkSynchronized")].observedGeneration`,name="Work-Synchronized-Gen",priority=1,type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ClusterResourcePlacementAvailable")].status`,name="Available",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ClusterResourcePlacementAvailable")].observedGeneration`,name="Available-Gen",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type ClusterResourcePlacement struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The hub agent adds finalizers, so that deleting a placement first removes the objects
	// that it placed.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines what to place, where and how. The user writes it.
	// +required
	// +kubebuilder:validation:XValidation:rule="!(self.statusReportingScope == 'NamespaceAccessible' && size(self.resourceSelectors.filter(x, x.kind == 'Namespace')) != 1)",message="when statusReportingScope is NamespaceAccessible, exactly one resourceSelector with kind 'Namespace' is required"
	// +kubebuilder:validation:XValidation:rule="!has(oldSelf.statusReportingScope) || self.statusReportingScope == oldSelf.statusReportingScope",message="statusReportingScope is immutable"
	Spec PlacementSpec `json:"spec"`

	// Status shows the progress of the placement. The hub agent writes it.
	// +optional
	Status PlacementStatus `json:"status,omitempty"`
}

// ClusterResourcePlacementList is a list of ClusterResourcePlacements.
// +kubebuilder:object:root=true
type ClusterResourcePlacementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterResourcePlacement `json:"items"`
}

// ResourcePlacement places objects of its own namespace on member clusters. The namespace itself must exist on the
// member clusters, for example through a ClusterResourcePlacement that places only the namespace. The name may have at
// most 63 characters, because it becomes a label value.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=rp,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.metadata.generation`,name="Gen",type=string
// +kubebuilder:printcolumn:JSONPath=`.spec.policy.placementType`,name="Type",priority=1,type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ResourcePlacementScheduled")].status`,name="Scheduled",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ResourcePlacementScheduled")].observedGeneration`,name="Scheduled-Gen",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ResourcePlacementWorkSynchronized")].status`,name="Work-Synchronized",priority=1,type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ResourcePlacementWorkSynchronized")].observedGeneration`,name="Work-Synchronized-Gen",priority=1,type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ResourcePlacementAvailable")].status`,name="Available",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ResourcePlacementAvailable")].observedGeneration`,name="Available-Gen",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type ResourcePlacement struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The hub agent adds finalizers, so that deleting a placement first removes the objects
	// that it placed.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines what to place, where and how. The user writes it.
	// +required
	Spec PlacementSpec `json:"spec"`

	// Status shows the progress of the placement. The hub agent writes it.
	// +optional
	Status PlacementStatus `json:"status,omitempty"`
}

// ResourcePlacementList is a list of ResourcePlacements.
// +kubebuilder:object:root=true
type ResourcePlacementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ResourcePlacement `json:"items"`
}

// PlacementSpec defines what to place, where, and how changes reach the member clusters.
// +kubebuilder:validation:XValidation:rule="!(has(self.policy) && has(self.policy.failover) && has(self.strategy) && has(self.strategy.type) && self.strategy.type == 'External' && self.policy.placementType != 'PickN')",message="policy.failover cannot be set with strategy type External unless placementType is PickN"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.policy) && !has(self.policy))",message="policy cannot be removed once set"
// +kubebuilder:validation:XValidation:rule="size(self.resourceSelectors.filter(x, x.kind == 'Namespace' && x.group == \"\" && x.version == 'v1' && has(x.selectionScope) && x.selectionScope == 'NamespaceWithResourceSelectors')) <= 1",message="only one namespace selector with NamespaceWithResourceSelectors mode is allowed"
// +kubebuilder:validation:XValidation:rule="size(self.resourceSelectors.filter(x, x.kind == 'Namespace' && x.group == \"\" && x.version == 'v1' && has(x.selectionScope) && x.selectionScope == 'NamespaceWithResourceSelectors')) == 0 || (size(self.resourceSelectors.filter(x, x.kind == 'Namespace' && x.group == \"\" && x.version == 'v1' && has(x.selectionScope) && x.selectionScope == 'NamespaceWithResourceSelectors' && has(x.name) && size(x.name) > 0 && !has(x.labelSelector))) == 1)",message="namespace selector with NamespaceWithResourceSelectors mode must select by name (not by label)"
// +kubebuilder:validation:XValidation:rule="size(self.resourceSelectors.filter(x, x.kind == 'Namespace' && x.group == \"\" && x.version == 'v1' && has(x.selectionScope) && x.selectionScope == 'NamespaceWithResourceSelectors')) == 0 || size(self.resourceSelectors.filter(x, x.kind == 'Namespace' && x.group == \"\" && x.version == 'v1')) == 1",message="when using NamespaceWithResourceSelectors mode, only one namespace selector is allowed (cannot mix with other namespace selectors)"
type PlacementSpec struct {
	// ResourceSelectors select the objects to place: all objects that at least one of the 1 to 100 selectors matches.
	// Two selectors must not match the same object; otherwise the placement stops with reason
	// InvalidResourceSelectors.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:XValidation:rule="self.all(x, !(has(x.name) && size(x.name) > 0 && has(x.labelSelector)))",message="name and labelSelector are mutually exclusive in a resource selector"
	ResourceSelectors []ResourceSelectorTerm `json:"resourceSelectors"`

	// Policy defines which member clusters are picked. Without it, all clusters are picked. You can change a policy,
	// except for its placement type, but not remove it.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!(self.placementType != oldSelf.placementType)",message="placement type is immutable"
	// +kubebuilder:validation:XValidation:rule="self.placementType != 'PickFixed' || (!has(self.affinity) && !has(self.numberOfClusters) && !has(self.topologySpreadConstraints) && !has(self.tolerations))",message="affinity, numberOfClusters, topologySpreadConstraints, and tolerations cannot be set when placementType is PickFixed"
	// +kubebuilder:validation:XValidation:rule="self.placementType != 'PickAll' || (!has(self.clusterNames) && !has(self.numberOfClusters) && !has(self.topologySpreadConstraints))",message="clusterNames, numberOfClusters, and topologySpreadConstraints cannot be set when placementType is PickAll"
	// +kubebuilder:validation:XValidation:rule="self.placementType != 'PickN' || (!has(self.clusterNames) && has(self.numberOfClusters))",message="clusterNames cannot be set and numberOfClusters must be set when placementType is PickN"
	// +kubebuilder:validation:XValidation:rule="self.placementType == 'PickN' || !has(self.failover) || has(self.replicas)",message="failover cannot be set unless placementType is PickN or replicas is set"
	// +kubebuilder:validation:XValidation:rule="self.placementType == 'PickN' || !has(self.failover) || !has(self.failover.afterUnavailable) && !has(self.failover.state)",message="failover.afterUnavailable and failover.state cannot be set unless placementType is PickN"
	// +kubebuilder:validation:XValidation:rule="self.placementType == 'PickN' || !has(self.affinity) || !has(self.affinity.placementAffinity) || !has(self.affinity.placementAffinity.preferredDuringSchedulingIgnoredDuringExecution)",message="affinity.placementAffinity.preferredDuringSchedulingIgnoredDuringExecution cannot be set unless placementType is PickN"
	Policy *PlacementPolicy `json:"policy,omitempty"`

	// Strategy defines how a change rolls out to the picked clusters and how objects are applied there.
	// +optional
	Strategy RolloutStrategy `json:"strategy,omitempty"`

	// RevisionHistoryLimit is how many policy snapshots, and how many groups of resource snapshots, are kept: 1 to 1000,
	// by default 10.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`

	// StatusReportingScope defines where the status can be read. ClusterScopeOnly, the default, keeps it on the
	// placement only. NamespaceAccessible also copies it into a ClusterResourcePlacementStatus in the selected
	// namespace, for users who may read only that namespace; the placement must then have exactly one selector of kind
	// Namespace. The field cannot be changed later. A ResourcePlacement ignores it, because its status is already in
	// its namespace.
	// +optional
	// +kubebuilder:default=ClusterScopeOnly
	StatusReportingScope StatusReportingScope `json:"statusReportingScope,omitempty"`
}

// StatusReportingScope defines where the status of a placement can be read.
// +kubebuilder:validation:Enum=ClusterScopeOnly;NamespaceAccessible
type StatusReportingScope string

const (
	// StatusReportingScopeClusterScopeOnly keeps the status on the placement alone.
	StatusReportingScopeClusterScopeOnly StatusReportingScope = "ClusterScopeOnly"
	// StatusReportingScopeNamespaceAccessible also copies the status into the namespace that is placed.
	StatusReportingScopeNamespaceAccessible StatusReportingScope = "NamespaceAccessible"
)

// ResourceSelectorTerm matches objects of one kind on the hub: one by name, some by labels, or, with neither, all.
// The order of its fields is part of the wire: the override hash is taken over its JSON form.
type ResourceSelectorTerm struct {
	// Group is the API group of the objects; empty for core Kubernetes objects.
	// +required
	Group string `json:"group"`

	// Version is the API version of the objects, without the group.
	// +required
	Version string `json:"version"`

	// Kind is the kind of the objects. A ClusterResourcePlacement selects cluster-scoped kinds, and namespaced ones only
	// beside a namespace selector of scope NamespaceWithResourceSelectors; a ResourcePlacement selects namespaced kinds.
	// +required
	Kind string `json:"kind"`

	// Name is the exact name of the one object to match. It excludes labelSelector.
	// +optional
	Name string `json:"name,omitempty"`

	// LabelSelector matches objects by their labels. It excludes name.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`

	// SelectionScope defines how much of a namespace the selector matches. It applies only if a
	// ClusterResourcePlacement selects the core kind Namespace. NamespaceWithResources, the default, selects the
	// namespace and everything in it; NamespaceOnly selects only the namespace object; NamespaceWithResourceSelectors
	// selects one namespace, by name, and those objects in it that the placement's other selectors match.
	// +optional
	// +kubebuilder:default=NamespaceWithResources
	SelectionScope SelectionScope `json:"selectionScope,omitempty"`
}

// SelectionScope defines how much of a selected namespace is placed.
// +kubebuilder:validation:Enum=NamespaceOnly;NamespaceWithResources;NamespaceWithResourceSelectors
type SelectionScope string

const (
	// SelectionScopeNamespaceOnly selects the namespace object without its contents.
	SelectionScopeNamespaceOnly SelectionScope = "NamespaceOnly"
	// SelectionScopeNamespaceWithResources takes the namespace and everything in it that can be placed.
	SelectionScopeNamespaceWithResources SelectionScope = "NamespaceWithResources"
	// SelectionScopeNamespaceWithResourceSelectors selects the namespace and the objects in it that the placement's
	// other selectors match.
	SelectionScopeNamespaceWithResourceSelectors SelectionScope = "NamespaceWithResourceSelectors"
)

// RolloutStrategy defines how a change rolls out to the picked clusters and how objects are applied there.
type RolloutStrategy struct {
	// Type is RollingUpdate, the default, where the hub agent moves clusters to new content within the limits of
	// rollingUpdate; or External, where nothing moves until an update run moves it. External cannot be left again.
	// +optional
	// +kubebuilder:default=RollingUpdate
	// +kubebuilder:validation:XValidation:rule="!(self != 'External' && oldSelf == 'External')",message="cannot change rollout strategy type from 'External' to other types"
	Type RolloutStrategyType `json:"type,omitempty"`

	// RollingUpdate contains the limits for type RollingUpdate. With External it must be absent.
	// +optional
	RollingUpdate *RollingUpdateConfig `json:"rollingUpdate,omitempty"`

	// ApplyStrategy defines how objects are applied on the member clusters.
	// +optional
	ApplyStrategy *ApplyStrategy `json:"applyStrategy,omitempty"`

	// DeleteStrategy defines what happens to placed objects when the placement is deleted, or no longer picks their
	// cluster.
	// +optional
	// +flagship:not-in=v1
	DeleteStrategy *DeleteStrategy `json:"deleteStrategy,omitempty"`

	// ReportBackStrategy defines whether the status of placed objects is copied back to the hub.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(self == null) || (self.type == 'Mirror' ? size(self.destination) != 0 : true)",message="when reportBackStrategy.type is 'Mirror', a destination must be specified"
	// +flagship:not-in=v1
	ReportBackStrategy *ReportBackStrategy `json:"reportBackStrategy,omitempty"`

	// Removal limits what one change may remove from member clusters. Without it the defaults of the hub agent apply
	// (its flags --removal-max and --removal-protect), which limit nothing unless they are set.
	// +optional
	Removal *RemovalPolicy `json:"removal,omitempty"`
}

// RolloutStrategyType defines which controller rolls out new content.
// +kubebuilder:validation:Enum=RollingUpdate;External
type RolloutStrategyType string

const (
	// RolloutStrategyTypeRollingUpdate means that the hub agent rolls out changes, within the limits of the placement.
	RolloutStrategyTypeRollingUpdate RolloutStrategyType = "RollingUpdate"
	// RolloutStrategyTypeExternal leaves moving clusters to update runs.
	RolloutStrategyTypeExternal RolloutStrategyType = "External"
)

// RollingUpdateConfig limits how many clusters change at the same time. Percentages refer to the desired number of
// clusters of the placement: numberOfClusters for PickN, the length of clusterNames for PickFixed, the currently
// picked clusters for PickAll.
type RollingUpdateConfig struct {
	// MaxUnavailable is the number of desired clusters that may be unavailable because of a change: a number from 0,
	// or a percentage from 0% to 100%, rounded up. The default is 25%.
	// +optional
	// +kubebuilder:default="25%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^((100|[0-9]{1,2})%|[0-9]+)$"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || (self >= 0 && self <= 2147483647)",message="maxUnavailable must be from 0 to 2147483647, or a share such as 25%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// MaxSurge is the number of clusters beyond the desired number on which objects may be placed while clusters are
	// replaced: a number from 0, or a percentage from 0% to 100%, rounded up. The default is 25%.
	// +optional
	// +kubebuilder:default="25%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^((100|[0-9]{1,2})%|[0-9]+)$"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || (self >= 0 && self <= 2147483647)",message="maxSurge must be from 0 to 2147483647, or a share such as 25%"
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`

	// UnavailablePeriodSeconds is how long, in seconds from 0, the rollout waits for an applied object whose
	// availability is not tracked, before the object counts as available. The default is 60.
	// +optional
	// +kubebuilder:default=60
	// +kubebuilder:validation:Minimum=0
	UnavailablePeriodSeconds *int `json:"unavailablePeriodSeconds,omitempty"`

	// FailurePolicy defines when a cluster has failed with a revision, how many clusters may fail, and what happens
	// when more fail. A percentage refers to the desired number of clusters of the placement. Without it the rollout
	// waits for every cluster without a time limit.
	// +optional
	FailurePolicy *FailurePolicy `json:"failurePolicy,omitempty"`
}

// ApplyStrategy defines how objects are applied on a member cluster and what happens to existing objects.
type ApplyStrategy struct {
	// ComparisonOption defines which fields are compared: PartialComparison, the default, compares the fields that the
	// hub's manifest sets; FullComparison compares all fields.
	// +optional
	// +kubebuilder:default=PartialComparison
	ComparisonOption ComparisonOption `json:"comparisonOption,omitempty"`

	// WhenToApply is Always, the default, which overwrites changes made on the member cluster; or IfNotDrifted, which
	// does not overwrite an object that was changed on the member cluster, but reports it.
	// +optional
	// +kubebuilder:default=Always
	WhenToApply WhenToApply `json:"whenToApply,omitempty"`

	// Type is ClientSideApply, the default: a three-way merge with the last applied manifest; ServerSideApply: the
	// member's API server merges by field ownership; or ReportDiff: the agent changes nothing on the member and
	// reports the differences.
	// +optional
	// +kubebuilder:default=ClientSideApply
	Type ApplyStrategyType `json:"type,omitempty"`

	// AllowCoOwnership allows the placement to apply objects that have other owner references too. The default is
	// false: such objects are not taken over.
	// +optional
	AllowCoOwnership bool `json:"allowCoOwnership,omitempty"`

	// ServerSideApplyConfig is for type ServerSideApply only.
	// +optional
	ServerSideApplyConfig *ServerSideApplyConfig `json:"serverSideApplyConfig,omitempty"`

	// WhenToTakeOver defines what happens to an object that already exists on the member cluster: Always, the default,
	// takes it over; IfNoDiff takes it over only if it equals the manifest (see comparisonOption); Never does not
	// change it and reports a failure.
	// +optional
	// +kubebuilder:default=Always
	WhenToTakeOver WhenToTakeOver `json:"whenToTakeOver,omitempty"`
}

// ComparisonOption defines which fields are compared to detect drifts and differences.
// +kubebuilder:validation:Enum=PartialComparison;FullComparison
type ComparisonOption string

const (
	// ComparisonOptionPartialComparison compares the fields that the hub's manifest sets.
	ComparisonOptionPartialComparison ComparisonOption = "PartialComparison"
	// ComparisonOptionFullComparison compares all fields.
	ComparisonOptionFullComparison ComparisonOption = "FullComparison"
)

// WhenToApply defines whether objects that were changed on the member cluster are overwritten.
// +kubebuilder:validation:Enum=Always;IfNotDrifted
type WhenToApply string

const (
	// WhenToApplyAlways overwrites changes made on the member cluster.
	WhenToApplyAlways WhenToApply = "Always"
	// WhenToApplyIfNotDrifted leaves an object that was changed on the member cluster alone.
	WhenToApplyIfNotDrifted WhenToApply = "IfNotDrifted"
)

// ApplyStrategyType is the way objects are applied.
// +kubebuilder:validation:Enum=ClientSideApply;ServerSideApply;ReportDiff
type ApplyStrategyType string

const (
	// ApplyStrategyTypeClientSideApply merges the manifest, the last applied manifest and the object in the agent.
	ApplyStrategyTypeClientSideApply ApplyStrategyType = "ClientSideApply"
	// ApplyStrategyTypeServerSideApply makes the member's API server merge by field ownership.
	ApplyStrategyTypeServerSideApply ApplyStrategyType = "ServerSideApply"
	// ApplyStrategyTypeReportDiff changes nothing and reports differences.
	ApplyStrategyTypeReportDiff ApplyStrategyType = "ReportDiff"
)

// WhenToTakeOver defines what happens to objects that existed on the member cluster before they were placed.
// +kubebuilder:validation:Enum=Always;IfNoDiff;Never
type WhenToTakeOver string

const (
	// WhenToTakeOverAlways takes them over.
	WhenToTakeOverAlways WhenToTakeOver = "Always"
	// WhenToTakeOverIfNoDiff takes over objects that equal their manifest.
	WhenToTakeOverIfNoDiff WhenToTakeOver = "IfNoDiff"
	// WhenToTakeOverNever takes over none.
	WhenToTakeOverNever WhenToTakeOver = "Never"
)

// ServerSideApplyConfig contains the options for server-side apply.
type ServerSideApplyConfig struct {
	// ForceConflicts takes fields over from other field managers instead of failing on a conflict. By default it is
	// false.
	// +optional
	ForceConflicts bool `json:"force"`
}

// DeleteStrategy defines what happens to placed objects when their placement is deleted.
type DeleteStrategy struct {
	// PropagationPolicy is Delete, the default, which removes placed objects, or Abandon, which leaves them on the member
	// clusters without an owner.
	// +optional
	// +kubebuilder:default=Delete
	PropagationPolicy DeletePropagationPolicy `json:"propagationPolicy,omitempty"`

	// ForeignContent defines what happens to a Namespace that the placement created and that contains objects that the
	// fleet did not place: Keep, the default, keeps it on the member cluster; Delete deletes it with everything in it.
	// +optional
	ForeignContent ForeignContentPolicy `json:"foreignContent,omitempty"`
}

// ForeignContentPolicy defines whether Namespaces are deleted together with objects that were not placed.
// +kubebuilder:validation:Enum=Keep;Delete
type ForeignContentPolicy string

const (
	// ForeignContentPolicyKeep keeps a Namespace in which others have objects.
	ForeignContentPolicyKeep ForeignContentPolicy = "Keep"
	// ForeignContentPolicyDelete deletes it with everything in it.
	ForeignContentPolicyDelete ForeignContentPolicy = "Delete"
)

// DeletePropagationPolicy defines whether placed objects are deleted with their placement.
// +kubebuilder:validation:Enum=Abandon;Delete
type DeletePropagationPolicy string

const (
	// DeletePropagationPolicyAbandon leaves placed objects on the member clusters.
	DeletePropagationPolicyAbandon DeletePropagationPolicy = "Abandon"
	// DeletePropagationPolicyDelete removes placed objects from the member clusters.
	DeletePropagationPolicyDelete DeletePropagationPolicy = "Delete"
)

// ReportBackStrategy defines whether, and to where, the status of placed objects is copied back.
type ReportBackStrategy struct {
	// Type is Disabled, the default, which copies no status back; or Mirror, which copies it to the destination.
	// +required
	// +kubebuilder:default=Disabled
	Type ReportBackType `json:"type"`

	// Destination is where type Mirror, which requires it, copies the status: OriginalResource, the object on the hub,
	// for placements of type PickFixed with one name or PickN with one cluster; or WorkAPI, the status of the Work.
	// +optional
	Destination *ReportBackDestination `json:"destination,omitempty"`
}

// ReportBackType defines whether the status of placed objects is copied back.
// +kubebuilder:validation:Enum=Disabled;Mirror
type ReportBackType string

const (
	// ReportBackTypeDisabled copies no status back.
	ReportBackTypeDisabled ReportBackType = "Disabled"
	// ReportBackTypeMirror copies status to the destination.
	ReportBackTypeMirror ReportBackType = "Mirror"
)

// ReportBackDestination defines where status is copied to.
// +kubebuilder:validation:Enum=OriginalResource;WorkAPI
type ReportBackDestination string

const (
	// ReportBackDestinationOriginalResource is the object on the hub.
	ReportBackDestinationOriginalResource ReportBackDestination = "OriginalResource"
	// ReportBackDestinationWorkAPI is the status of the Work that contains the object.
	ReportBackDestinationWorkAPI ReportBackDestination = "WorkAPI"
)
