package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ReplicaPolicy defines how the replicas of workloads are divided over the picked clusters. Without it, every cluster
// gets a workload with all its replicas.
//
// A cluster keeps its share when something else changes: more replicas add to shares, fewer replicas take from them. A
// cluster that joins gets its minimum, and a part of what is added later. All shares are computed anew when the policy
// changes.
type ReplicaPolicy struct {
	// By is what the shares are proportional to: Weights, the default; Capacity, the replicas that a cluster has and has
	// room for; or Aggregate, which uses as few clusters as have room, in proportion to their capacity. Capacity is known
	// of clusters whose agent reports free resources; other clusters keep what they have.
	// +optional
	// +kubebuilder:default=Weights
	By ReplicaDivision `json:"by,omitempty"`

	// Weights give clusters a weight, at most 100. If several match a cluster, the highest counts; a cluster that none
	// matches has weight 0, and gets only its minimum. If the list is empty, or matches no picked cluster, all picked
	// clusters have weight 1. They are for Weights only.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Weights []ClusterWeight `json:"weights,omitempty"`

	// MinPerCluster is the least share of each picked cluster, from 0, which is the default. If there are too few
	// replicas for all minima, they are divided without minima.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	MinPerCluster *int32 `json:"minPerCluster,omitempty"`

	// MaxPerCluster is the greatest share of a cluster, from 1. By default there is no limit. Replicas for which there is
	// no room are not placed; the condition ReplicasDivided of the placement says how many.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxPerCluster *int32 `json:"maxPerCluster,omitempty"`

	// Kinds are the kinds of workloads to divide, 1 to 20 that have spec.replicas; by default Deployments of group apps.
	// The parts of a divided StatefulSet have their own ordinals and volumes in each cluster. Other workloads are placed
	// with all their replicas. If a HorizontalPodAutoscaler of the placement scales a workload, its minReplicas and
	// maxReplicas are divided instead, and the members keep the number that it sets.
	// +optional
	// +kubebuilder:default={{group: "apps", kind: "Deployment"}}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:XValidation:rule="self.all(k, !(k.kind in ['Pod', 'DaemonSet', 'Job', 'CronJob', 'HorizontalPodAutoscaler']))",message="a Pod, DaemonSet, Job or CronJob has no spec.replicas to divide, and a HorizontalPodAutoscaler is divided with the workload that it scales"
	Kinds []ReplicaKind `json:"kinds,omitempty"`
}

// ReplicaDivision defines what the shares of clusters are proportional to.
// +kubebuilder:validation:Enum=Weights;Capacity;Aggregate
type ReplicaDivision string

const (
	// ReplicaDivisionWeights divides in proportion to weights.
	ReplicaDivisionWeights ReplicaDivision = "Weights"
	// ReplicaDivisionCapacity divides in proportion to the replicas that clusters have and have room for.
	ReplicaDivisionCapacity ReplicaDivision = "Capacity"
	// ReplicaDivisionAggregate divides over as few clusters as have room.
	ReplicaDivisionAggregate ReplicaDivision = "Aggregate"
)

// ClusterWeight gives the clusters that it selects a weight.
type ClusterWeight struct {
	// ClusterSelector selects MemberClusters by their labels. An empty selector matches all.
	// +required
	ClusterSelector metav1.LabelSelector `json:"clusterSelector"`

	// Weight is the weight of a cluster, 0 to 1000000. Clusters get replicas in proportion to their weights.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Weight int32 `json:"weight"`
}

// ReplicaKind is a kind of workload.
type ReplicaKind struct {
	// Group is the API group; empty for core Kubernetes objects.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`

	// Kind is the kind of the workload, which has a number of replicas in spec.replicas.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
}

// RevisionShares are a cluster's shares of the divided workloads of one revision of the content.
type RevisionShares struct {
	// ResourceSnapshotName is the first resource snapshot of the revision.
	// +required
	// +kubebuilder:validation:MaxLength=253
	ResourceSnapshotName string `json:"resourceSnapshotName"`

	// Rules identifies the rules by which the shares were computed. It is another one while shares still move to what the
	// present rules demand.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Rules string `json:"rules,omitempty"`

	// Lost is whether the replicas are given to other clusters because the cluster is lost, or because the placement left
	// it. The shares here are then the last ones before.
	// +optional
	Lost bool `json:"lost,omitempty"`

	// Workloads are the shares, at most 500.
	// +optional
	// +kubebuilder:validation:MaxItems=500
	Workloads []ReplicaShare `json:"workloads,omitempty"`
}

// UnschedulableReplicas are replicas of a workload for which a cluster has no room.
type UnschedulableReplicas struct {
	// Group is the API group of the workload.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`

	// Kind is the kind of the workload.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// Namespace of the workload; empty for a cluster-scoped one.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Namespace string `json:"namespace,omitempty"`

	// Name of the workload.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Replicas is their number, from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	Replicas int32 `json:"replicas"`
}

// ReplicaShare is a cluster's share of the replicas of one workload.
type ReplicaShare struct {
	// Group is the API group of the workload.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`

	// Kind is the kind of the workload.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// Namespace of the workload; empty for a cluster-scoped one.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Namespace string `json:"namespace,omitempty"`

	// Name of the workload.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Field is the field of the spec that is divided: replicas, which is the default, or minReplicas or maxReplicas of an
	// autoscaler.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Field string `json:"field,omitempty"`

	// Replicas is the share, from 0.
	// +required
	// +kubebuilder:validation:Minimum=0
	Replicas int32 `json:"replicas"`

	// Target is what the share moves to, from 0. It is absent if the share is already what it should be.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Target *int32 `json:"target,omitempty"`

	// Of is the number that is divided over the clusters, from 0.
	// +required
	// +kubebuilder:validation:Minimum=0
	Of int32 `json:"of"`

	// Limit is the greatest share that the cluster gets until LimitedUntil, because more replicas had no node; from 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Limit *int32 `json:"limit,omitempty"`

	// LimitedUntil is when the limit ends.
	// +optional
	LimitedUntil *metav1.Time `json:"limitedUntil,omitempty"`

	// Pinned is whether an override sets the number for this cluster. The other clusters divide the rest.
	// +optional
	Pinned bool `json:"pinned,omitempty"`
}
