package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func init() {
	register(&Work{}, &WorkList{})
}

// Work contains manifests for one member cluster. It is in the cluster's namespace on the hub, fleet-member-<cluster>.
// The hub agent writes what to apply, and the member agent reports the result.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
type Work struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. Labels name the placement, the binding and the resource index of the content. A
	// finalizer keeps a deleted Work until the member agent has removed the objects that it applied.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines what to apply and how. The hub agent writes it.
	// +optional
	Spec WorkSpec `json:"spec,omitempty"`

	// Status shows the result for the manifests. The member agent writes it.
	// +optional
	Status WorkStatus `json:"status,omitempty"`
}

// WorkList is a list of Works.
// +kubebuilder:object:root=true
type WorkList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Work `json:"items"`
}

// WorkSpec defines what to apply on the member cluster and how.
type WorkSpec struct {
	// Workload contains the manifests.
	// +optional
	Workload WorkloadTemplate `json:"workload,omitempty"`

	// ApplyStrategy defines how to apply them.
	// +optional
	ApplyStrategy *ApplyStrategy `json:"applyStrategy,omitempty"`

	// ReportBackStrategy defines whether the status of applied objects is copied back to the hub.
	// +optional
	// +flagship:not-in=v1
	ReportBackStrategy *ReportBackStrategy `json:"reportBackStrategy,omitempty"`

	// DeleteStrategy defines what happens to the applied objects when the Work is deleted.
	// +optional
	// +flagship:not-in=v1
	DeleteStrategy *DeleteStrategy `json:"deleteStrategy,omitempty"`
}

// WorkloadTemplate contains the manifests of a Work.
type WorkloadTemplate struct {
	// Manifests are the objects to apply. An object that leaves the list is removed from the member cluster.
	// +optional
	Manifests []Manifest `json:"manifests,omitempty"`
}

// Manifest is one object to apply, of any kind.
// +kubebuilder:validation:XEmbeddedResource
// +kubebuilder:pruning:PreserveUnknownFields
type Manifest struct {
	runtime.RawExtension `json:",inline"`
}

// WorkStatus shows the result for the manifests of a Work.
type WorkStatus struct {
	// Conditions sum up the manifests: Applied, Available and, with ReportDiff, DiffReported instead of both;
	// StatusTrimmed, if details were left out to keep the Work small enough for the API server.
	// +required
	Conditions []metav1.Condition `json:"conditions"`

	// ManifestConditions show the result for each manifest, in the order of the manifests.
	// +optional
	ManifestConditions []ManifestCondition `json:"manifestConditions,omitempty"`
}

// ManifestCondition shows the result for one manifest.
type ManifestCondition struct {
	// Identifier identifies the manifest.
	// +required
	Identifier WorkResourceIdentifier `json:"identifier,omitempty"`

	// Conditions are Applied and Available or, with ReportDiff, DiffReported. Their observedGeneration is that of the
	// object on the member cluster.
	// +required
	Conditions []metav1.Condition `json:"conditions"`

	// DriftDetails show how the object was changed on the member cluster, if it was.
	// +optional
	DriftDetails *DriftDetails `json:"driftDetails,omitempty"`

	// DiffDetails show how the object, if it was not taken over or is only compared, differs from its manifest.
	// +optional
	DiffDetails *DiffDetails `json:"diffDetails,omitempty"`

	// BackReportedStatus is the status of the object, if it is copied back to the hub.
	// +optional
	// +flagship:not-in=v1
	BackReportedStatus *BackReportedStatus `json:"backReportedStatus,omitempty"`

	// UnschedulableReplicas is how many replicas of a workload that is divided over clusters have had no node for 5
	// minutes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	UnschedulableReplicas int32 `json:"unschedulableReplicas,omitempty"`
}

// WorkResourceIdentifier names an object of a Work. An undecodable manifest is known by its ordinal alone.
type WorkResourceIdentifier struct {
	// Ordinal is the place of the manifest in the Work, counted from 0.
	// +required
	Ordinal int `json:"ordinal"`

	// Group is the API group of the object; empty for core Kubernetes objects.
	// +optional
	Group string `json:"group,omitempty"`

	// Version is the API version of the object.
	// +optional
	Version string `json:"version,omitempty"`

	// Kind is the kind of the object.
	// +optional
	Kind string `json:"kind,omitempty"`

	// Resource is the plural name of the kind, as in URLs of the API server.
	// +optional
	Resource string `json:"resource,omitempty"`

	// Namespace of the object; empty for cluster-scoped ones.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Name of the object.
	// +optional
	Name string `json:"name,omitempty"`
}

// DriftDetails show how an object was changed on the member cluster.
type DriftDetails struct {
	// ObservationTime is when the object was last compared.
	// +required
	ObservationTime metav1.Time `json:"observationTime"`

	// ObservedInMemberClusterGeneration is the generation of the object then.
	// +required
	ObservedInMemberClusterGeneration int64 `json:"observedInMemberClusterGeneration"`

	// FirstDriftedObservedTime is since when the object has been found changed.
	// +required
	FirstDriftedObservedTime metav1.Time `json:"firstDriftedObservedTime"`

	// ObservedDrifts are the changed fields, at most 100. The values of Secrets are not shown.
	// +optional
	ObservedDrifts []PatchDetail `json:"observedDrifts,omitempty"`
}

// DiffDetails show how an object on the member cluster differs from its manifest.
type DiffDetails struct {
	// ObservationTime is when the object was last compared.
	// +required
	ObservationTime metav1.Time `json:"observationTime"`

	// ObservedInMemberClusterGeneration is the generation of the object at that time; null if the member cluster has
	// no such object.
	// +optional
	ObservedInMemberClusterGeneration *int64 `json:"observedInMemberClusterGeneration"`

	// FirstDiffedObservedTime is since when the object has been found to differ.
	// +required
	FirstDiffedObservedTime metav1.Time `json:"firstDiffedObservedTime"`

	// ObservedDiffs are the fields that differ, at most 100. The values of Secrets are not shown.
	// +optional
	ObservedDiffs []PatchDetail `json:"observedDiffs,omitempty"`
}

// BackReportedStatus is the status of an object as the member cluster has it.
type BackReportedStatus struct {
	// ObservedStatus is the object with its apiVersion, kind, metadata and status only.
	// +optional
	// +kubebuilder:validation:XEmbeddedResource
	// +kubebuilder:pruning:PreserveUnknownFields
	ObservedStatus runtime.RawExtension `json:"observedStatus,omitempty"`

	// ObservationTime is when the status was read.
	// +required
	ObservationTime metav1.Time `json:"observationTime"`
}
