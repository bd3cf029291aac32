package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func init() {
	register(&InternalMemberCluster{}, &InternalMemberClusterList{})
}

// InternalMemberCluster is where the hub and the agents of one member cluster talk about membership: it lies, under the
// cluster's name, in the cluster's namespace on the hub. The hub agent writes what it wants in spec, the cluster's
// agents write what they found in status.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=imc,categories={fleet,fleet-cluster}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
type InternalMemberCluster struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the hub wants of the cluster. The hub agent writes it.
	// +required
	Spec InternalMemberClusterSpec `json:"spec"`

	// Status is what the cluster reports. Its agents write it.
	// +optional
	Status InternalMemberClusterStatus `json:"status,omitempty"`
}

// InternalMemberClusterList is a list of InternalMemberClusters.
// +kubebuilder:object:root=true
type InternalMemberClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []InternalMemberCluster `json:"items"`
}

// InternalMemberClusterSpec is what the hub wants of a cluster.
type InternalMemberClusterSpec struct {
	// State is Join or Leave: whether the cluster is to be part of the fleet.
	// +required
	State ClusterState `json:"state"`

	// HeartbeatPeriodSeconds is how often, in seconds, the cluster reports: 1 to 600, by default 60. It is copied from
	// the MemberCluster.
	// +optional
	// +kubebuilder:default=60
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=600
	HeartbeatPeriodSeconds int32 `json:"heartbeatPeriodSeconds,omitempty"`
}

// ClusterState is whether a cluster is to be part of the fleet.
type ClusterState string

const (
	// ClusterStateJoin asks the agents to join.
	ClusterStateJoin ClusterState = "Join"
	// ClusterStateLeave asks the agents to stop and to leave.
	ClusterStateLeave ClusterState = "Leave"
)

// InternalMemberClusterStatus is what a cluster reports.
type InternalMemberClusterStatus struct {
	// Conditions say whether the cluster's properties and namespaces could be collected. The member agent writes them.
	// +optional
	Conditions []metav1.Condition `json:"conditions"`

	// Properties are facts about the cluster by name. The member agent writes them.
	// +optional
	Properties map[PropertyName]PropertyValue `json:"properties,omitempty"`

	// ResourceUsage is how much the cluster's nodes hold and have left. The member agent writes it.
	// +optional
	ResourceUsage ResourceUsage `json:"resourceUsage,omitempty"`

	// Namespaces are the namespaces of the cluster, at most 200, each with the name of the Work that placed it, or an
	// empty text if none did. The member agent writes them if it was started to; ResourcePlacements then choose only
	// clusters that have their namespace.
	// +optional
	// +flagship:not-in=v1
	Namespaces map[string]string `json:"namespaces,omitempty"`

	// ClusterUID identifies the cluster that reports: the UID of its namespace kube-system. The agent of another cluster that
	// uses this member's name is refused while this one reports.
	// +optional
	// +flagship:not-in=v1
	ClusterUID types.UID `json:"clusterUID,omitempty"`

	// AgentStatus is what each of the cluster's agents reports of itself. Each agent writes its own entry.
	// +optional
	AgentStatus []AgentStatus `json:"agentStatus,omitempty"`
}

// PropertyName is the name of a fact about a cluster, such as kubernetes-fleet.io/node-count.
type PropertyName string

// PropertyValue is a fact about a cluster.
type PropertyValue struct {
	// Value of the property. Placements can compare values that are resource quantities, such as 4, 500m or 16Gi.
	// +required
	Value string `json:"value"`

	// ObservationTime is when the value was found.
	// +required
	ObservationTime metav1.Time `json:"observationTime"`
}

// ResourceUsage is how much the nodes of a cluster hold and have left.
type ResourceUsage struct {
	// Capacity is the sum of what the nodes have, by resource.
	// +optional
	Capacity corev1.ResourceList `json:"capacity,omitempty"`

	// Allocatable is the sum of what the nodes offer to pods, by resource.
	// +optional
	Allocatable corev1.ResourceList `json:"allocatable,omitempty"`

	// Available is what is allocatable and not requested by pods, by resource.
	// +optional
	Available corev1.ResourceList `json:"available,omitempty"`

	// ObservationTime is when the figures were taken.
	// +optional
	ObservationTime metav1.Time `json:"observationTime,omitempty"`
}

// AgentStatus is what an agent in a member cluster reports of itself.
type AgentStatus struct {
	// Type says which agent this is.
	// +required
	Type AgentType `json:"type"`

	// Conditions are Joined and Healthy.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// LastReceivedHeartbeat is when the agent last reported: on the InternalMemberCluster by the clock of the agent, on the
	// MemberCluster by that of the hub.
	// +optional
	LastReceivedHeartbeat metav1.Time `json:"lastReceivedHeartbeat,omitempty"`

	// ReportedHeartbeat is the lastReceivedHeartbeat that the agent wrote, if that is not when the hub agent received it.
	// The hub agent writes it, on the MemberCluster only.
	// +optional
	ReportedHeartbeat *metav1.Time `json:"reportedHeartbeat,omitempty"`
}

// AgentType is one of the agents that may run in a member cluster.
type AgentType string

const (
	// AgentTypeMemberAgent is Flagship's own agent, without which a cluster is not a member.
	AgentTypeMemberAgent AgentType = "MemberAgent"
	// AgentTypeMultiClusterServiceAgent is an agent of fleet networking, for services that span clusters.
	AgentTypeMultiClusterServiceAgent AgentType = "MultiClusterServiceAgent"
	// AgentTypeServiceExportImportAgent is an agent of fleet networking, for exported and imported services.
	AgentTypeServiceExportImportAgent AgentType = "ServiceExportImportAgent"
)
