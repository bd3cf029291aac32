package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PlacementPolicy defines which member clusters are picked.
//
// The order of its fields, and of those below it, is part of the wire format: the policy hash is computed over its
// JSON form.
type PlacementPolicy struct {
	// PlacementType is PickAll, the default, which picks every eligible cluster; PickN, which picks the best
	// numberOfClusters clusters; or PickFixed, which picks the clusters in clusterNames. It cannot be changed later.
	// +optional
	// +kubebuilder:default=PickAll
	PlacementType PlacementType `json:"placementType,omitempty"`

	// ClusterNames are the MemberClusters of type PickFixed, at most 100. It is for that type only.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	ClusterNames []string `json:"clusterNames,omitempty"`

	// NumberOfClusters is the number of clusters that type PickN picks, from 0. It is for that type only, which
	// requires it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	NumberOfClusters *int32 `json:"numberOfClusters,omitempty"`

	// Affinity restricts the clusters to pick from and defines which are preferred. PickAll uses the required part
	// only, PickN both, PickFixed neither.
	// +optional
	Affinity *Affinity `json:"affinity,omitempty"`

	// TopologySpreadConstraints spread the picked clusters over the values of a cluster label. They are for type PickN
	// only.
	// +optional
	TopologySpreadConstraints []TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// Tolerations allow clusters with matching taints to be picked, at most 100. They apply to PickAll and PickN. You
	// can add tolerations later, but neither change nor remove them, except for their tolerationSeconds.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:XValidation:rule="self.all(x, x.operator != 'Exists' || !has(x.value) || size(x.value) == 0)",message="value must be empty when operator is Exists"
	// +kubebuilder:validation:XValidation:rule="self.all(x, (has(x.key) && size(x.key) > 0) || x.operator == 'Exists')",message="operator must be Exists when key is empty"
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// Failover defines when the placement leaves a lost cluster for another one. Without it a picked cluster stays
	// picked for as long as it is in the fleet. It is for type PickN, and with replicas for every type: then other
	// clusters get the replicas of a lost one. With strategy External it is for type PickN only, and the placement leaves
	// a cluster when no update run is active. Changing it picks no cluster anew.
	// +optional
	Failover *Failover `json:"failover,omitempty"`

	// Replicas defines how the replicas of workloads are divided over the picked clusters. Without it, every cluster gets
	// all replicas. Changing it picks no cluster anew.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.by == 'Weights' || !has(self.weights) || size(self.weights) == 0",message="weights are for by: Weights only"
	// +kubebuilder:validation:XValidation:rule="!has(self.minPerCluster) || !has(self.maxPerCluster) || self.minPerCluster <= self.maxPerCluster",message="minPerCluster must not be greater than maxPerCluster"
	Replicas *ReplicaPolicy `json:"replicas,omitempty"`
}

// PlacementType defines how clusters are picked.
// +kubebuilder:validation:Enum=PickAll;PickN;PickFixed
type PlacementType string

const (
	// PlacementTypePickAll picks every eligible cluster.
	PlacementTypePickAll PlacementType = "PickAll"
	// PlacementTypePickN picks the given number of clusters, the best first.
	PlacementTypePickN PlacementType = "PickN"
	// PlacementTypePickFixed picks the named clusters.
	PlacementTypePickFixed PlacementType = "PickFixed"
)

// Affinity defines which clusters are picked by their labels and properties, and by the clusters of other placements.
type Affinity struct {
	// ClusterAffinity selects clusters by the labels and properties of their MemberClusters.
	// +optional
	ClusterAffinity *ClusterAffinity `json:"clusterAffinity,omitempty"`

	// PlacementAffinity selects clusters by those that other placements have picked.
	// +optional
	PlacementAffinity *PlacementAffinity `json:"placementAffinity,omitempty"`
}

// ClusterAffinity selects clusters by the labels and properties of their MemberClusters. It applies only when clusters
// are picked: a picked cluster that no longer matches stays picked until the policy changes.
type ClusterAffinity struct {
	// RequiredDuringSchedulingIgnoredDuringExecution must match for a cluster to be picked.
	// +optional
	RequiredDuringSchedulingIgnoredDuringExecution *ClusterSelector `json:"requiredDuringSchedulingIgnoredDuringExecution,omitempty"`

	// PreferredDuringSchedulingIgnoredDuringExecution adds to the score of clusters that match. It is for PickN only.
	// +optional
	PreferredDuringSchedulingIgnoredDuringExecution []PreferredClusterSelector `json:"preferredDuringSchedulingIgnoredDuringExecution,omitempty"`
}

// ClusterSelector matches a cluster that at least one of its terms matches.
type ClusterSelector struct {
	// ClusterSelectorTerms are the terms, at most 10. An empty list matches every cluster.
	// +required
	// +kubebuilder:validation:MaxItems=10
	ClusterSelectorTerms []ClusterSelectorTerm `json:"clusterSelectorTerms"`
}

// ClusterSelectorTerm matches a cluster if all its fields match. An empty term matches every cluster.
type ClusterSelectorTerm struct {
	// LabelSelector matches the labels of the MemberCluster.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`

	// PropertySelector matches the properties that the cluster reports. It is for required terms only.
	// +optional
	PropertySelector *PropertySelector `json:"propertySelector,omitempty"`

	// PropertySorter gives a cluster a fraction of the weight, by the value of a property. It is for preferred terms
	// only.
	// +optional
	PropertySorter *PropertySorter `json:"propertySorter,omitempty"`
}

// PreferredClusterSelector adds to the score of the clusters that match it.
type PreferredClusterSelector struct {
	// Weight is added to the affinity score of a matching cluster, from -100 to 100. With a property sorter, a
	// fraction of it is added.
	// +required
	// +kubebuilder:validation:Minimum=-100
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`

	// Preference is the term to match.
	// +required
	Preference ClusterSelectorTerm `json:"preference"`
}

// PropertySelector matches a cluster whose properties meet every requirement.
type PropertySelector struct {
	// MatchExpressions are the requirements. All of them must be met.
	// +required
	MatchExpressions []PropertySelectorRequirement `json:"matchExpressions"`
}

// PropertySelectorRequirement compares one property of a cluster with a value.
type PropertySelectorRequirement struct {
	// Name of the property, for example kubernetes-fleet.io/node-count, or
	// resources.kubernetes-fleet.io/allocatable-cpu (or total-, or available-) for a value of the cluster's resource
	// usage. A cluster without the property does not match, whatever the operator.
	// +required
	Name string `json:"name"`

	// Operator is Gt, Ge, Eq, Ne, Lt or Le: how the property must compare with the value.
	// +required
	Operator PropertySelectorOperator `json:"operator"`

	// Values contains the one value to compare with, a resource quantity such as 4, 500m or 16Gi.
	// +required
	// +kubebuilder:validation:MaxItems=1
	Values []string `json:"values"`
}

// PropertySelectorOperator defines how a property must compare with a value.
type PropertySelectorOperator string

const (
	// PropertySelectorOperatorGt is greater than.
	PropertySelectorOperatorGt PropertySelectorOperator = "Gt"
	// PropertySelectorOperatorGe is greater than or equal.
	PropertySelectorOperatorGe PropertySelectorOperator = "Ge"
	// PropertySelectorOperatorEq is equal.
	PropertySelectorOperatorEq PropertySelectorOperator = "Eq"
	// PropertySelectorOperatorNe is not equal.
	PropertySelectorOperatorNe PropertySelectorOperator = "Ne"
	// PropertySelectorOperatorLt is less than.
	PropertySelectorOperatorLt PropertySelectorOperator = "Lt"
	// PropertySelectorOperatorLe is less than or equal.
	PropertySelectorOperatorLe PropertySelectorOperator = "Le"
)

// PropertySorter gives clusters a fraction of a weight, by the position of their value of a property between the
// lowest and the highest one.
type PropertySorter struct {
	// Name of the property, as in a property selector. A cluster without it gains nothing. If all values are equal, no
	// cluster gains anything.
	// +required
	Name string `json:"name"`

	// SortOrder defines which value gains the full weight: the highest with Descending, the lowest with Ascending. The
	// opposite value gains nothing.
	// +required
	SortOrder PropertySortOrder `json:"sortOrder"`
}

// PropertySortOrder defines which value ranks first.
// +kubebuilder:validation:Enum=Ascending;Descending
type PropertySortOrder string

const (
	// PropertySortOrderAscending ranks the lowest value first.
	PropertySortOrderAscending PropertySortOrder = "Ascending"
	// PropertySortOrderDescending ranks the highest value first.
	PropertySortOrderDescending PropertySortOrder = "Descending"
)

// TopologySpreadConstraint spreads the picked clusters over the values of a label.
type TopologySpreadConstraint struct {
	// MaxSkew is the maximum difference in the number of picked clusters between two values of the label, from 1,
	// which is the default.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	MaxSkew *int32 `json:"maxSkew,omitempty"`

	// TopologyKey is the label of MemberClusters whose values are the topology domains.
	// +required
	TopologyKey string `json:"topologyKey"`

	// WhenUnsatisfiable is DoNotSchedule, the default, which rejects a cluster that would exceed maxSkew; or
	// ScheduleAnyway, which only lowers its score.
	// +optional
	// +kubebuilder:default=DoNotSchedule
	// +kubebuilder:validation:Enum=DoNotSchedule;ScheduleAnyway
	WhenUnsatisfiable corev1.UnsatisfiableConstraintAction `json:"whenUnsatisfiable,omitempty"`
}

// Toleration allows clusters with matching taints to be picked.
type Toleration struct {
	// Key of the taint. An empty key with operator Exists matches every taint.
	// +optional
	Key string `json:"key,omitempty"`

	// Operator is Equal, the default, which compares key and value; or Exists, which compares only the key.
	// +optional
	// +kubebuilder:default=Equal
	// +kubebuilder:validation:Enum=Equal;Exists
	Operator corev1.TolerationOperator `json:"operator,omitempty"`

	// Value of the taint. With operator Exists it must be empty.
	// +optional
	Value string `json:"value,omitempty"`

	// Effect of the taint. An empty effect matches every effect; NoSchedule is the only effect.
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule
	Effect corev1.TaintEffect `json:"effect,omitempty"`

	// TolerationSeconds is how long a placement of type PickN stays on a cluster that gets a matching taint with evict:
	// true, from when the hub agent first saw the taint, at most 31536000. Without it the placement stays for ever, with
	// 0 or less not at all. Of several matching tolerations the smallest counts. The placement leaves the cluster when
	// the time has passed and another cluster can replace it, and meanwhile picks no cluster that it would have to leave.
	// With strategy External it also waits until no update run is active. Other placement types ignore it. Changing it
	// picks no cluster anew.
	// +optional
	// +kubebuilder:validation:Maximum=31536000
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}
