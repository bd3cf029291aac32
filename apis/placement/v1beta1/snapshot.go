package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func init() {
	register(
		&ClusterSchedulingPolicySnapshot{}, &ClusterSchedulingPolicySnapshotList{},
		&SchedulingPolicySnapshot{}, &SchedulingPolicySnapshotList{},
		&ClusterResourceSnapshot{}, &ClusterResourceSnapshotList{},
		&ResourceSnapshot{}, &ResourceSnapshotList{},
	)
}

// ClusterSchedulingPolicySnapshot is a copy of the policy of a ClusterResourcePlacement at one time, with the
// scheduler's decisions. The hub agent creates one, named <placement>-<index>, whenever the policy changes.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=csps,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.metadata.generation`,name="Gen",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type ClusterSchedulingPolicySnapshot struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. Labels contain the placement, the index, and whether this is the latest snapshot;
	// annotations contain the placement's generation and, for PickN, the desired number of clusters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the policy. The hub agent writes it once.
	// +required
	Spec SchedulingPolicySnapshotSpec `json:"spec"`

	// Status contains the scheduler's decisions. The hub agent writes it.
	// +optional
	Status SchedulingPolicySnapshotStatus `json:"status,omitempty"`
}

// ClusterSchedulingPolicySnapshotList is a list of ClusterSchedulingPolicySnapshots.
// +kubebuilder:object:root=true
type ClusterSchedulingPolicySnapshotList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterSchedulingPolicySnapshot `json:"items"`
}

// SchedulingPolicySnapshot is a copy of the policy of a ResourcePlacement of its namespace at one time, with the
// scheduler's decisions. The hub agent creates one, named <placement>-<index>, whenever the policy changes.
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=sps,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.metadata.generation`,name="Gen",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type SchedulingPolicySnapshot struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. Labels contain the placement, the index, and whether this is the latest snapshot;
	// annotations contain the placement's generation and, for PickN, the desired number of clusters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the policy. The hub agent writes it once.
	// +required
	Spec SchedulingPolicySnapshotSpec `json:"spec"`

	// Status contains the scheduler's decisions. The hub agent writes it.
	// +optional
	Status SchedulingPolicySnapshotStatus `json:"status,omitempty"`
}

// SchedulingPolicySnapshotList is a list of SchedulingPolicySnapshots.
// +kubebuilder:object:root=true
type SchedulingPolicySnapshotList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []SchedulingPolicySnapshot `json:"items"`
}

// SchedulingPolicySnapshotSpec is a policy as it stood at one time.
type SchedulingPolicySnapshotSpec struct {
	// Policy is the placement's policy without numberOfClusters, which is in an annotation, because changing it does
	// not create another snapshot. It is absent if the placement has no policy.
	// +optional
	Policy *PlacementPolicy `json:"policy,omitempty"`

	// PolicyHash is the hash of policy: the 64 characters of a hexadecimal SHA-256 over its JSON form.
	// +required
	PolicyHash []byte `json:"policyHash"`
}

// SchedulingPolicySnapshotStatus contains the scheduler's decisions for a policy.
type SchedulingPolicySnapshotStatus struct {
	// ObservedCRPGeneration is the generation of the placement, of either kind, that was scheduled last.
	// +required
	ObservedCRPGeneration int64 `json:"observedCRPGeneration"`

	// Conditions contain Scheduled, which is True if the scheduler found the desired number of clusters.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions"`

	// ClusterDecisions are the decisions for each cluster, with reasons: the picked clusters first, then at most 20 of
	// the others; at most 1000 in total.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	ClusterDecisions []ClusterDecision `json:"targetClusters,omitempty"`

	// HeldRemoval are the clusters that the placement would leave, and on which it is held; absent if there are none.
	// +optional
	HeldRemoval *HeldRemoval `json:"heldRemoval,omitempty"`
}

// ClusterDecision is the scheduler's decision for one cluster.
type ClusterDecision struct {
	// ClusterName is the name of the MemberCluster. It is empty in a decision about a place that no cluster could fill.
	// +required
	ClusterName string `json:"clusterName"`

	// Selected is true if the cluster was picked.
	// +required
	Selected bool `json:"selected"`

	// ClusterScore is the score by which the cluster was ranked. It is null if clusters were not ranked.
	// +optional
	ClusterScore *ClusterScore `json:"clusterScore"`

	// Reason explains in words why the cluster was picked or not.
	// +required
	Reason string `json:"reason"`
}

// ClusterScore is the score of a cluster: first by affinity, then by spread. Higher is better.
type ClusterScore struct {
	// AffinityScore is the sum of the weights of the preferences that the cluster matches.
	// +optional
	AffinityScore *int32 `json:"affinityScore,omitempty"`

	// TopologySpreadScore shows how well picking the cluster would satisfy the topology spread constraints.
	// +optional
	TopologySpreadScore *int32 `json:"priorityScore,omitempty"`
}

// ClusterResourceSnapshot contains the objects that a ClusterResourcePlacement selected at one time, or a part of
// them: a selection too large for one API object is split into a group of snapshots with one index. The first of the
// group is named <placement>-<index>-snapshot, the others <placement>-<index>-<part>. It never changes.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=crs,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.metadata.generation`,name="Gen",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type ClusterResourceSnapshot struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. Labels contain the placement, the index, and whether this is the latest group;
	// annotations contain the hash of the whole selection and the number of parts (on the first) or the number of this
	// part (on the others).
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec contains the objects. The hub agent writes it once.
	// +required
	Spec ResourceSnapshotSpec `json:"spec"`

	// Status is not written at present.
	// +optional
	Status ResourceSnapshotStatus `json:"status,omitempty"`
}

// ClusterResourceSnapshotList is a list of ClusterResourceSnapshots.
// +kubebuilder:object:root=true
type ClusterResourceSnapshotList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterResourceSnapshot `json:"items"`
}

// ResourceSnapshot contains the objects that a ResourcePlacement of its namespace selected at one time, or a part of
// them: a selection too large for one API object is split into a group of snapshots with one index. The first of the
// group is named <placement>-<index>-snapshot, the others <placement>-<index>-<part>. It never changes.
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=rs,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.metadata.generation`,name="Gen",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type ResourceSnapshot struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. Labels contain the placement, the index, and whether this is the latest group;
	// annotations contain the hash of the whole selection and the number of parts (on the first) or the number of this
	// part (on the others).
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec contains the objects. The hub agent writes it once.
	// +required
	Spec ResourceSnapshotSpec `json:"spec"`

	// Status is not written at present.
	// +optional
	Status ResourceSnapshotStatus `json:"status,omitempty"`
}

// ResourceSnapshotList is a list of ResourceSnapshots.
// +kubebuilder:object:root=true
type ResourceSnapshotList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ResourceSnapshot `json:"items"`
}

// ResourceSnapshotSpec contains selected objects. The resource hash is computed over its JSON form.
type ResourceSnapshotSpec struct {
	// SelectedResources are the objects, without fields that apply only to the hub (status, uid, resource version,
	// owners and similar fields), in the order in which kinds depend on each other.
	// +required
	SelectedResources []ResourceContent `json:"selectedResources"`
}

// ResourceContent is one object of the hub, of any kind.
// +kubebuilder:validation:XEmbeddedResource
// +kubebuilder:pruning:PreserveUnknownFields
type ResourceContent struct {
	runtime.RawExtension `json:",inline"`
}

// ResourceSnapshotStatus is empty at present.
type ResourceSnapshotStatus struct {
	// Conditions are not written at present.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions"`
}
