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

// ClusterResourceBinding binds a ClusterResourcePlacement to one member cluster. The scheduler creates it, a rollout
// or an update run sets the content that the cluster gets, and its status shows the state of the content on the
// cluster.
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
	// Standard object metadata. A label names the placement. Finalizers keep a deleted binding until everything that
	// was placed through it is removed from the cluster.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines which content the cluster gets. The hub agent writes it.
	// +required
	Spec ResourceBindingSpec `json:"spec"`

	// Status shows the state of the content on the cluster. The hub agent writes it.
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

// ResourceBinding binds a ResourcePlacement of its namespace to one member cluster. The scheduler creates it, a
// rollout or an update run sets the content that the cluster gets, and its status shows the state of the content on
// the cluster.
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
	// Standard object metadata. A label names the placement. Finalizers keep a deleted binding until everything that
	// was placed through it is removed from the cluster.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines which content the cluster gets. The hub agent writes it.
	// +required
	Spec ResourceBindingSpec `json:"spec"`

	// Status shows the state of the content on the cluster. The hub agent writes it.
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

// ResourceBindingSpec defines which content a cluster gets.
type ResourceBindingSpec struct {
	// State is Scheduled while the cluster is picked and nothing is placed there yet, Bound while the content should
	// be there, and Unscheduled after the cluster is no longer picked, until the binding is deleted. The scheduler
	// writes it; a rollout or an update run changes it from Scheduled to Bound.
	// +required
	State BindingState `json:"state"`

	// ResourceSnapshotName is the first resource snapshot of the group to place. It is empty until a rollout or an update
	// run, which write it, turn to the binding.
	// +required
	ResourceSnapshotName string `json:"resourceSnapshotName"`

	// ResourceOverrideSnapshots are the snapshots of ResourceOverrides that change the content for this cluster. A
	// rollout or an update run writes it.
	// +optional
	ResourceOverrideSnapshots []NamespacedName `json:"resourceOverrideSnapshots,omitempty"`

	// ClusterResourceOverrideSnapshots are the snapshots of ClusterResourceOverrides that change the content for this
	// cluster. A rollout or an update run writes it.
	// +optional
	ClusterResourceOverrideSnapshots []string `json:"clusterResourceOverrideSnapshots,omitempty"`

	// OverrideFingerprint identifies the result of the override snapshots for the cluster's labels: the rules that
	// match, and the values of the variables in them. A rollout or an update run writes it, to detect when a changed
	// label changes the cluster's content. It is empty if the content depends on no label.
	// +optional
	OverrideFingerprint string `json:"overrideFingerprint,omitempty"`

	// SchedulingPolicySnapshotName is the policy snapshot for which the cluster was picked, or last confirmed. The
	// scheduler writes it.
	// +required
	SchedulingPolicySnapshotName string `json:"schedulingPolicySnapshotName"`

	// TargetCluster is the name of the MemberCluster. The scheduler writes it once.
	// +required
	TargetCluster string `json:"targetCluster"`

	// ClusterDecision shows why the cluster was picked. The scheduler writes it.
	// +required
	ClusterDecision ClusterDecision `json:"clusterDecision"`

	// ApplyStrategy is the placement's, copied by a rollout or an update run.
	// +optional
	ApplyStrategy *ApplyStrategy `json:"applyStrategy,omitempty"`

	// Shares are the cluster's shares of the replicas of divided workloads, for each revision in use, at most 50. The
	// divider writes them. They are absent if the placement does not divide replicas.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	Shares []RevisionShares `json:"shares,omitempty"`

	// FailoverState are the values that the placement took along from the cluster that this one replaced, at most 200.
	// The scheduler writes them when it picks the cluster.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=200
	FailoverState []ObjectAnnotation `json:"failoverState,omitempty"`
}

// BindingState is the phase of a binding.
type BindingState string

const (
	// BindingStateScheduled means that the cluster is picked, and has no content yet.
	BindingStateScheduled BindingState = "Scheduled"
	// BindingStateBound means that the cluster should have the content.
	BindingStateBound BindingState = "Bound"
	// BindingStateUnscheduled means that the cluster is no longer picked; it keeps its content until the binding is
	// deleted.
	BindingStateUnscheduled BindingState = "Unscheduled"
)

// ResourceBindingStatus shows the state of the content on the cluster.
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

	// LastHealthy is the revision that the cluster had when everything in it was last available there: the revision in
	// the spec while the cluster is healthy, an earlier one otherwise. It is absent if the cluster has never been
	// healthy.
	// +optional
	LastHealthy *Revision `json:"lastHealthy,omitempty"`

	// UnavailableSince is since when what was available on the cluster, with the revision in the spec, has not been
	// available there. It is absent while it is, and if it never was with this revision.
	// +optional
	UnavailableSince *metav1.Time `json:"unavailableSince,omitempty"`

	// UnschedulableReplicas are the divided workloads with replicas that have had no node for 5 minutes, at most 100.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	UnschedulableReplicas []UnschedulableReplicas `json:"unschedulableReplicas,omitempty"`

	// HeldRemoval is what the content in the spec would remove from the cluster, and is held there; absent if nothing
	// is.
	// +optional
	HeldRemoval *HeldRemoval `json:"heldRemoval,omitempty"`

	// Conditions are RolloutStarted, Overridden, WorkSynchronized, and then Applied and Available or, with ReportDiff,
	// DiffReported.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions"`
}
