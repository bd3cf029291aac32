package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func init() {
	register(&InternalMemberCluster{}, &InternalMemberClusterList{})
}

// InternalMemberCluster connects the hub agent and the agents of one member cluster. It has the cluster's name, and is
// in the cluster's namespace on the hub. The hub agent writes the desired state to spec; the cluster's agents report
// in status.
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

	// Spec is the desired state of the cluster's membership. The hub agent writes it.
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

// InternalMemberClusterSpec is the desired state of a cluster's membership.
type InternalMemberClusterSpec struct {
	// State is Join if the cluster should be part of the fleet, and Leave if it should not.
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

// ClusterState defines whether a cluster should be part of the fleet.
type ClusterState string

const (
	// ClusterStateJoin requests the agents to join.
	ClusterStateJoin ClusterState = "Join"
	// ClusterStateLeave requests the agents to stop and to leave.
	ClusterStateLeave ClusterState = "Leave"
)

// InternalMemberClusterStatus is what a cluster reports.
type InternalMemberClusterStatus struct {
	// Conditions show whether the member agent could collect the cluster's properties and namespaces. The member agent
	// writes them.
	// +optional
	Conditions []metav1.Condition `json:"conditions"`

	// Properties are facts about the cluster by name. The member agent writes them.
	// +optional
	Properties map[PropertyName]PropertyValue `json:"properties,omitempty"`

	// ResourceUsage contains the total, allocatable and available resources of the cluster's nodes. The member agent
	// writes it.
	// +optional
	ResourceUsage ResourceUsage `json:"resourceUsage,omitempty"`

	// Namespaces are the namespaces of the cluster, at most 200, each with the name of the Work that placed it, or an
	// empty string if no Work did. The member agent writes them if namespace collection is enabled; a
	// ResourcePlacement then picks only clusters that have its namespace.
	// +optional
	// +flagship:not-in=v1
	Namespaces map[string]string `json:"namespaces,omitempty"`

	// ClusterUID identifies the reporting cluster: it is the UID of its namespace kube-system. The hub refuses an
	// agent of another cluster that uses this member's name while this cluster reports.
	// +optional
	// +flagship:not-in=v1
	ClusterUID types.UID `json:"clusterUID,omitempty"`

	// AgentStatus contains the reports of the cluster's agents. Each agent writes its own entry.
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

	// ObservationTime is when the value was observed.
	// +required
	ObservationTime metav1.Time `json:"observationTime"`
}

// ResourceUsage contains the total, allocatable and available resources of a cluster's nodes.
type ResourceUsage struct {
	// Capacity is the sum of the capacities of the nodes, by resource.
	// +optional
	Capacity corev1.ResourceList `json:"capacity,omitempty"`

	// Allocatable is the sum of the resources that the nodes offer to pods, by resource.
	// +optional
	Allocatable corev1.ResourceList `json:"allocatable,omitempty"`

	// Available is the part of the allocatable resources that pods do not request, by resource.
	// +optional
	Available corev1.ResourceList `json:"available,omitempty"`

	// Nodes are the ready nodes that accept new pods without a toleration, in groups of nodes with about the same free
	// resources, at most 32. It is absent if the available resources are not known.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	Nodes []NodeGroup `json:"nodes,omitempty"`

	// ObservationTime is when the values were observed.
	// +optional
	ObservationTime metav1.Time `json:"observationTime,omitempty"`
}

// NodeGroup are nodes with about the same free resources.
type NodeGroup struct {
	// Count is the number of nodes, from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Count int32 `json:"count"`

	// Available are the resources that pods do not request on each of the nodes, by resource: cpu, memory, and pods, the
	// number of pods that it can still run. They are rounded down.
	// +optional
	Available corev1.ResourceList `json:"available,omitempty"`
}

// AgentStatus is the report of an agent in a member cluster.
type AgentStatus struct {
	// Type is the type of the agent.
	// +required
	Type AgentType `json:"type"`

	// Conditions are Joined and Healthy.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// LastReceivedHeartbeat is the time of the agent's last report: by the agent's clock on the InternalMemberCluster,
	// by the hub's clock on the MemberCluster.
	// +optional
	LastReceivedHeartbeat metav1.Time `json:"lastReceivedHeartbeat,omitempty"`

	// ReportedHeartbeat is the lastReceivedHeartbeat that the agent wrote, if it differs from the time at which the
	// hub agent received it. The hub agent writes it, on the MemberCluster only.
	// +optional
	ReportedHeartbeat *metav1.Time `json:"reportedHeartbeat,omitempty"`

	// HealthSince is since when the hub agent knows that the Healthy condition is True, or that it is not, by the hub's
	// clock. It is absent if an earlier version of the hub agent learned of it. The hub agent writes it, on the
	// MemberCluster only, for the member agent.
	// +optional
	HealthSince *metav1.Time `json:"healthSince,omitempty"`
}

// AgentType is one of the agents that may run in a member cluster.
type AgentType string

const (
	// AgentTypeMemberAgent is Flagship's member agent. Every member cluster must run it.
	AgentTypeMemberAgent AgentType = "MemberAgent"
	// AgentTypeMultiClusterServiceAgent is an agent of fleet networking, for services that span clusters.
	AgentTypeMultiClusterServiceAgent AgentType = "MultiClusterServiceAgent"
	// AgentTypeServiceExportImportAgent is an agent of fleet networking, for exported and imported services.
	AgentTypeServiceExportImportAgent AgentType = "ServiceExportImportAgent"
)
