package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func init() {
	register(&ClusterResourcePlacementStatus{}, &ClusterResourcePlacementStatusList{})
}

// ClusterResourcePlacementStatus is a copy of a ClusterResourcePlacement's status in the namespace that it places,
// with the placement's name, for users who may read only that namespace. It exists while the placement's
// statusReportingScope is NamespaceAccessible. The hub agent writes all fields.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=crps,categories={fleet,fleet-placement}
// +kubebuilder:printcolumn:JSONPath=`.sourceStatus.observedResourceIndex`,name="Resource-Index",type=string
// +kubebuilder:printcolumn:JSONPath=`.lastUpdatedTime`,name="Last-Updated",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type ClusterResourcePlacementStatus struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// SourceStatus is the placement's status without its condition StatusSynced.
	// +required
	SourceStatus PlacementStatus `json:"sourceStatus,omitempty"`

	// LastUpdatedTime is when the hub agent wrote the copy.
	// +required
	LastUpdatedTime metav1.Time `json:"lastUpdatedTime,omitempty"`
}

// ClusterResourcePlacementStatusList is a list of ClusterResourcePlacementStatuses.
// +kubebuilder:object:root=true
type ClusterResourcePlacementStatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterResourcePlacementStatus `json:"items"`
}

// PlacementStatus shows the progress of a placement.
type PlacementStatus struct {
	// SelectedResources are the objects of the latest resource snapshot, or of the snapshot that an update run
	// released. An envelope is listed as the envelope.
	// +optional
	SelectedResources []ResourceIdentifier `json:"selectedResources,omitempty"`

	// ObservedResourceIndex is the index of the resource snapshot that the status describes, a decimal number.
	// +optional
	ObservedResourceIndex string `json:"observedResourceIndex,omitempty"`

	// PerClusterPlacementStatuses show the progress on each picked cluster. For each desired cluster that the
	// scheduler could not find, there is an entry without a name.
	// +optional
	PerClusterPlacementStatuses []PerClusterPlacementStatus `json:"placementStatuses,omitempty"`

	// Conditions summarize all clusters. Their types are the placement's kind followed by Scheduled, RolloutStarted,
	// Overridden, WorkSynchronized, and then Applied and Available or, with ReportDiff, DiffReported. A type is
	// present only if all before it are True. StatusSynced is present with statusReportingScope NamespaceAccessible.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// PerClusterPlacementStatus shows the progress of a placement on one cluster.
type PerClusterPlacementStatus struct {
	// ClusterName is the name of the MemberCluster. It is empty for a place that no cluster could fill.
	// +optional
	ClusterName string `json:"clusterName,omitempty"`

	// ObservedResourceIndex is the index of the resource snapshot that the cluster should have, a decimal number.
	// +optional
	ObservedResourceIndex string `json:"observedResourceIndex,omitempty"`

	// ApplicableResourceOverrides are the snapshots of ResourceOverrides that change the content for this cluster.
	// +optional
	ApplicableResourceOverrides []NamespacedName `json:"applicableResourceOverrides,omitempty"`

	// ApplicableClusterResourceOverrides are the snapshots of ClusterResourceOverrides that change the content for this
	// cluster.
	// +optional
	ApplicableClusterResourceOverrides []string `json:"applicableClusterResourceOverrides,omitempty"`

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

	// Conditions are Scheduled, RolloutStarted, Overridden, WorkSynchronized, and then Applied and Available or, with
	// ReportDiff, DiffReported. A type is present only if all before it are True.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Shares are the cluster's shares of the replicas of divided workloads, at most 100.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Shares []ReplicaShare `json:"shares,omitempty"`
}

// NamespacedName names a namespaced object.
// The order of its fields is part of the wire: the override list hash of a Work is taken over its JSON form.
type NamespacedName struct {
	// Name of the object.
	// +required
	Name string `json:"name"`

	// Namespace of the object.
	// +required
	Namespace string `json:"namespace"`
}

// ResourceIdentifier names a selected object.
type ResourceIdentifier struct {
	// Group is the API group of the object; empty for core Kubernetes objects.
	// +optional
	Group string `json:"group,omitempty"`

	// Version is the API version of the object.
	// +required
	Version string `json:"version"`

	// Kind is the kind of the object.
	// +required
	Kind string `json:"kind"`

	// Name of the object.
	// +required
	Name string `json:"name"`

	// Namespace of the object; empty for cluster-scoped ones.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Envelope is the envelope that contained the object, if any.
	// +optional
	Envelope *EnvelopeIdentifier `json:"envelope,omitempty"`
}

// EnvelopeIdentifier names an envelope.
type EnvelopeIdentifier struct {
	// Name of the envelope.
	// +required
	Name string `json:"name"`

	// Namespace of the envelope; empty for cluster-scoped ones.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Type is the kind of the envelope.
	// +optional
	// +kubebuilder:default=ConfigMap
	// +flagship:previous-not-in=v1
	// +kubebuilder:validation:Enum=ConfigMap;ClusterResourceEnvelope;ResourceEnvelope
	// +flagship:previous-not-in=v1
	// +flagship:only-in=v1 +kubebuilder:validation:Enum=ClusterResourceEnvelope;ResourceEnvelope
	Type EnvelopeType `json:"type"`
}

// EnvelopeType is the kind of an envelope.
type EnvelopeType string

const (
	// EnvelopeTypeConfigMap is a kind of envelope that is no longer created; it is accepted in stored objects.
	EnvelopeTypeConfigMap EnvelopeType = "ConfigMap"
	// EnvelopeTypeClusterResourceEnvelope is a ClusterResourceEnvelope.
	EnvelopeTypeClusterResourceEnvelope EnvelopeType = "ClusterResourceEnvelope"
	// EnvelopeTypeResourceEnvelope is a ResourceEnvelope.
	EnvelopeTypeResourceEnvelope EnvelopeType = "ResourceEnvelope"
)

// FailedResourcePlacement is an object that was not applied or is not available.
type FailedResourcePlacement struct {
	ResourceIdentifier `json:",inline"`

	// Condition is the condition of the manifest, Applied or Available, that is False.
	// +required
	Condition metav1.Condition `json:"condition"`
}

// DriftedResourcePlacement is an object that was changed on the member cluster after it was applied.
type DriftedResourcePlacement struct {
	ResourceIdentifier `json:",inline"`

	// ObservationTime is when the object was last compared.
	// +required
	ObservationTime metav1.Time `json:"observationTime"`

	// TargetClusterObservedGeneration is the generation of the object on the member cluster then.
	// +required
	TargetClusterObservedGeneration int64 `json:"targetClusterObservedGeneration"`

	// FirstDriftedObservedTime is since when the object has been found changed.
	// +required
	FirstDriftedObservedTime metav1.Time `json:"firstDriftedObservedTime"`

	// ObservedDrifts are the changed fields, at most 100. The values of Secrets are not shown.
	// +optional
	ObservedDrifts []PatchDetail `json:"observedDrifts,omitempty"`
}

// DiffedResourcePlacement is an object on the member cluster that differs from its manifest.
type DiffedResourcePlacement struct {
	ResourceIdentifier `json:",inline"`

	// ObservationTime is when the object was last compared.
	// +required
	ObservationTime metav1.Time `json:"observationTime"`

	// TargetClusterObservedGeneration is the generation of the object on the member cluster at that time; null if the
	// cluster has no such object.
	// +optional
	TargetClusterObservedGeneration *int64 `json:"targetClusterObservedGeneration"`

	// FirstDiffedObservedTime is since when the object has been found to differ.
	// +required
	FirstDiffedObservedTime metav1.Time `json:"firstDiffedObservedTime"`

	// ObservedDiffs are the fields that differ, at most 100. The values of Secrets are not shown.
	// +optional
	ObservedDiffs []PatchDetail `json:"observedDiffs,omitempty"`
}

// PatchDetail is one field in which the member cluster and the hub differ.
type PatchDetail struct {
	// Path of the field, a JSON pointer.
	// +required
	Path string `json:"path"`

	// ValueInMember is the value on the member cluster, as text; absent if the field is.
	// +optional
	ValueInMember string `json:"valueInMember,omitempty"`

	// ValueInHub is the value in the hub's manifest, as text; absent if the field is.
	// +optional
	ValueInHub string `json:"valueInHub,omitempty"`
}
