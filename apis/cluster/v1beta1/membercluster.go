package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func init() {
	register(&MemberCluster{}, &MemberClusterList{})
}

// MemberCluster is a cluster of the fleet. When you create it, the hub agent creates the namespace fleet-member-<name>
// and grants the member's identity access to it, so that the cluster can join. When you delete it, the cluster leaves.
// The name may have at most 63 characters.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=cluster,categories={fleet,fleet-cluster}
// +kubebuilder:subresource:status
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) < 64",message="metadata.name max length is 63"
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Joined")].status`,name="Joined",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date
// +kubebuilder:printcolumn:JSONPath=`.status.agentStatus[?(@.type=="MemberAgent")].lastReceivedHeartbeat`,name="Member-Agent-Last-Seen",type=date
// +kubebuilder:printcolumn:JSONPath=`.status.properties.kubernetes-fleet\.io/node-count.value`,name="Node-Count",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.resourceUsage.available.cpu`,name="Available-CPU",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.resourceUsage.available.memory`,name="Available-Memory",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.resourceUsage.allocatable.cpu`,name="Allocatable-CPU",priority=1,type=string
// +kubebuilder:printcolumn:JSONPath=`.status.resourceUsage.allocatable.memory`,name="Allocatable-Memory",priority=1,type=string
type MemberCluster struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. Placements pick clusters by its labels. The hub agent adds the label
	// kubernetes-fleet.io/member-name, and a finalizer so that the cluster can leave before it is deleted.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines the cluster's identity and settings. The user, or a tool that joins clusters, writes it.
	// +required
	Spec MemberClusterSpec `json:"spec"`

	// Status is the observed state of the cluster. The hub agent writes it, mostly from the reports of the cluster's
	// agents.
	// +optional
	Status MemberClusterStatus `json:"status,omitempty"`
}

// MemberClusterList is a list of MemberClusters.
// +kubebuilder:object:root=true
type MemberClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []MemberCluster `json:"items"`
}

// MemberClusterSpec defines a cluster's identity and settings.
type MemberClusterSpec struct {
	// Identity is the user, group or service account that the cluster's agents use on the hub. It is granted access
	// only to the cluster's namespace there. For a User or Group without an apiGroup, the default is
	// rbac.authorization.k8s.io.
	// +required
	Identity rbacv1.Subject `json:"identity"`

	// HeartbeatPeriodSeconds is how often, in seconds, the cluster reports: 1 to 600, by default 60.
	// +optional
	// +kubebuilder:default=60
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=600
	HeartbeatPeriodSeconds int32 `json:"heartbeatPeriodSeconds,omitempty"`

	// Taints prevent placements that do not tolerate them from picking the cluster, at most 100. Placements that have
	// already picked the cluster stay there, unless the taint evicts.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Taints []Taint `json:"taints,omitempty"`

	// DeleteOptions define which checks must pass before the MemberCluster can be deleted.
	// +optional
	// +flagship:not-in=v1
	DeleteOptions *DeleteOptions `json:"deleteOptions,omitempty"`
}

// Taint prevents placements that do not tolerate it from picking a cluster, or makes them leave it.
type Taint struct {
	// Key of the taint, a qualified name.
	// +required
	Key string `json:"key"`

	// Value of the taint, a label value.
	// +optional
	Value string `json:"value,omitempty"`

	// Effect of the taint: with NoSchedule, the only one, no placement picks the cluster that does not tolerate the
	// taint.
	// +required
	// +kubebuilder:validation:Enum=NoSchedule
	Effect corev1.TaintEffect `json:"effect"`

	// Evict, if true, makes placements of type PickN that do not tolerate the taint leave the cluster for another one, if
	// there is one, like the effect NoExecute of a node's taint. Those with strategy External leave it when no update run
	// is active. Placements of other types stay there.
	// +optional
	Evict bool `json:"evict,omitempty"`
}

// DeleteOptions define which checks must pass before a MemberCluster can be deleted.
type DeleteOptions struct {
	// ValidationMode is Strict, the default, which refuses the deletion while the cluster exports services to the
	// fleet; or Skip, which does not check.
	// +optional
	// +kubebuilder:default=Strict
	ValidationMode DeleteValidationMode `json:"validationMode,omitempty"`
}

// DeleteValidationMode defines whether the deletion of a MemberCluster is checked.
// +kubebuilder:validation:Enum=Skip;Strict
type DeleteValidationMode string

const (
	// DeleteValidationModeSkip deletes without a check.
	DeleteValidationModeSkip DeleteValidationMode = "Skip"
	// DeleteValidationModeStrict refuses the deletion while the cluster exports services.
	DeleteValidationModeStrict DeleteValidationMode = "Strict"
)

// MemberClusterStatus is the observed state of a cluster.
type MemberClusterStatus struct {
	// Conditions are ReadyToJoin and Joined, and those that the cluster reports about its properties.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions"`

	// Properties are facts about the cluster by name, copied from the InternalMemberCluster. Placements can pick
	// clusters by them.
	// +optional
	Properties map[PropertyName]PropertyValue `json:"properties,omitempty"`

	// ResourceUsage contains the total, allocatable and available resources of the cluster's nodes, copied from the
	// InternalMemberCluster.
	// +optional
	ResourceUsage ResourceUsage `json:"resourceUsage,omitempty"`

	// Namespaces are the namespaces of the cluster, at most 200, each with the name of the Work that placed it, or an
	// empty string if no Work did. The hub agent copies it from the InternalMemberCluster.
	// +optional
	// +flagship:not-in=v1
	Namespaces map[string]string `json:"namespaces,omitempty"`

	// AgentStatus contains the reports of the cluster's agents, copied from the InternalMemberCluster.
	// +optional
	AgentStatus []AgentStatus `json:"agentStatus,omitempty"`

	// Silence is the last time that heartbeats of the member agent were missing. It is absent if they never were, or if
	// they arrived again before the hub considered the cluster lost.
	// +optional
	Silence *ClusterSilence `json:"silence,omitempty"`

	// Taints are the taints that evict, at most 100, each since the hub agent first saw it. The
	// tolerationSeconds of placements count from then, by the hub's clock. A taint whose value changes is another one.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Taints []SeenTaint `json:"taints,omitempty"`
}

// SeenTaint is a taint that evicts, and since when it is on the cluster.
type SeenTaint struct {
	// Key of the taint.
	// +required
	Key string `json:"key"`

	// Value of the taint.
	// +optional
	Value string `json:"value,omitempty"`

	// Since is when the hub agent first saw the taint.
	// +required
	Since metav1.Time `json:"since"`
}

// ClusterSilence is a time in which heartbeats of a cluster were missing.
type ClusterSilence struct {
	// Since is the time from which the silence counts: when the last heartbeat arrived, or later if the hub could not
	// have received heartbeats, because its agent started or because it suspected its own network until then.
	// +required
	Since metav1.Time `json:"since"`

	// State is what the hub concludes: Suspected, Braked, Lost, Released or Over.
	// +required
	State SilenceState `json:"state"`

	// StateSince is when the state began.
	// +required
	StateSince metav1.Time `json:"stateSince"`
}

// SilenceState is what the hub concludes from missing heartbeats.
// +kubebuilder:validation:Enum=Suspected;Braked;Lost;Released;Over
type SilenceState string

const (
	// SilenceSuspected is the state when two heartbeat periods and 10 seconds have passed without a heartbeat.
	SilenceSuspected SilenceState = "Suspected"
	// SilenceBraked is the state when so many clusters are silent that the hub suspects its own network. No placement
	// leaves the cluster.
	SilenceBraked SilenceState = "Braked"
	// SilenceLost is the state when three periods have passed without a heartbeat, and enough other clusters are heard.
	// Placements with a failover policy leave the cluster.
	SilenceLost SilenceState = "Lost"
	// SilenceReleased is the state when an administrator declared the cluster lost although many are silent.
	SilenceReleased SilenceState = "Released"
	// SilenceOver is the state when heartbeats of a cluster that was lost arrive again.
	SilenceOver SilenceState = "Over"
)
