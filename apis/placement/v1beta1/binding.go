package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func init() {
	register(
		&ClusterResourceBinding{}, &ClusterResourceBindingList{},
		&ResourceBinding{}, &ResourceBindingList{},
	)
}

// ClusterResourceBinding binds a ClusterResourcePlacement to one member cluster: the scheduler makes it, a rollout or an
// update run says which content the cluster gets, and its status says what became of it there.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=crb,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="WorkSynchronized")].status`,name="WorkSynchronized",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Applied")].status`,name="ResourcesApplied",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Available")].status`,name="ResourceAvailable",priority=1,type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type ClusterResourceBinding struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. A label holds the placement. Finalizers keep a deleted binding until everything placed
	// through it is gone from the cluster.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which content goes to which cluster. The hub agent writes it.
	// +required
	Spec ResourceBindingSpec `json:"spec"`

	// Status says what became of the content. The hub agent writes it.
	// +optional
	Status ResourceBindingStatus `json:"status,omitempty"`
}

// ClusterResourceBindingList is a list of ClusterResourceBindings.
// +kubebuilder:object:root=true
type ClusterResourceBindingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterResourceBinding `json:"items"`
}

// ResourceBinding binds a ResourcePlacement of its namespace to one member cluster: the scheduler makes it, a rollout or
// an update run says which content the cluster gets, and its status says what became of it there.
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=rb,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="WorkSynchronized")].status`,name="WorkSynchronized",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Applied")].status`,name="ResourcesApplied",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Available")].status`,name="ResourceAvailable",priority=1,type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type ResourceBinding struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. A label holds the placement. Finalizers keep a deleted binding until everything placed
	// through it is gone from the cluster.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which content goes to which cluster. The hub agent writes it.
	// +required
	Spec ResourceBindingSpec `json:"spec"`

	// Status says what became of the content. The hub agent writes it.
	// +optional
	Status ResourceBindingStatus `json:"status,omitempty"`
}

// ResourceBindingList is a list of ResourceBindings.
// +kubebuilder:object:root=true
type ResourceBindingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ResourceBinding `json:"items"`
}

// ResourceBindingSpec says which content goes to which cluster.
type ResourceBindingSpec struct {
	// State is Scheduled while the cluster is chosen and nothing is placed there yet, Bound while the content is to be
	// there, and Unscheduled from when the cluster is no longer chosen until the binding is deleted. The scheduler writes
	// it; a rollout or an update run moves it from Scheduled to Bound.
	// +required
	State BindingState `json:"state"`

	// ResourceSnapshotName is the first resource snapshot of the group to place. It is empty until a rollout or an update
	// run, which write it, turn to the binding.
	// +required
	ResourceSnapshotName string `json:"resourceSnapshotName"`

	// ResourceOverrideSnapshots are the snapshots of ResourceOverrides that change the content for this cluster. A rollout
	// or an update run writes it.
	// +optional
	ResourceOverrideSnapshots []NamespacedName `json:"resourceOverrideSnapshots,omitempty"`

	// ClusterResourceOverrideSnapshots are the snapshots of ClusterResourceOverrides that change the content for this
	// cluster. A rollout or an update run writes it.
	// +optional
	ClusterResourceOverrideSnapshots []string `json:"clusterResourceOverrideSnapshots,omitempty"`

	// OverrideFingerprint stands for what the override snapshots make of the cluster's labels: which of their rules match,
	// and the values of the variables in these. A rollout or an update run writes it, and so notices when a label has changed what the
	// cluster should have. It is empty if no label counts.
	// +optional
	OverrideFingerprint string `json:"overrideFingerprint,omitempty"`

	// SchedulingPolicySnapshotName is the policy snapshot for which the cluster was chosen, or last confirmed. The
	// scheduler writes it.
	// +required
	SchedulingPolicySnapshotName string `json:"schedulingPolicySnapshotName"`

	// TargetCluster is the name of the MemberCluster. The scheduler writes it once.
	// +required
	TargetCluster string `json:"targetCluster"`

	// ClusterDecision says why the cluster was chosen. The scheduler writes it.
	// +required
	ClusterDecision ClusterDecision `json:"clusterDecision"`

	// ApplyStrategy is the placement's, copied by a rollout or an update run.
	// +optional
	ApplyStrategy *ApplyStrategy `json:"applyStrategy,omitempty"`
}

// BindingState says how far a binding is in its life.
type BindingState string

const (
	// BindingStateScheduled is a cluster that is chosen and has nothing placed on it yet.
	BindingStateScheduled BindingState = "Scheduled"
	// BindingStateBound is a cluster that is to have the content.
	BindingStateBound BindingState = "Bound"
	// BindingStateUnscheduled is a cluster that is no longer chosen; it keeps its content until the binding is deleted.
	BindingStateUnscheduled BindingState = "Unscheduled"
)

// ResourceBindingStatus says what became of the content on the cluster.
type ResourceBindingStatus struct {
	// FailedPlacements are objects that were not applied or are not available, at most 100.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	FailedPlacements []FailedResourcePlacement `json:"failedPlacements,omitempty"`

	// DriftedPlacements are objects that were changed on the member cluster, at most 100.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	DriftedPlacements []DriftedResourcePlacement `json:"driftedPlacements,omitempty"`

	// DiffedPlacements are objects on the member cluster that differ from their manifest and were not taken over or, with
	// ReportDiff, are only compared; at most 100.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	DiffedPlacements []DiffedResourcePlacement `json:"diffedPlacements,omitempty"`

	// LastHealthy is what the cluster was given when everything in it was last available there: what the spec says while it
	// is healthy, and what it said before while it is not. It is absent if the cluster has never been healthy.
	// +optional
	LastHealthy *Revision `json:"lastHealthy,omitempty"`

	// Conditions are RolloutStarted, Overridden, WorkSynchronized, and then Applied and Available or, with ReportDiff,
	// DiffReported.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions"`
}
