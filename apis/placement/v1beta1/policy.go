package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PlacementPolicy says which member clusters are chosen.
// The order of its fields, and of those below it, is part of the wire: the policy hash is taken over its JSON form.
type PlacementPolicy struct {
	// PlacementType is PickAll, the default: every eligible cluster; PickN: the numberOfClusters best ones; or PickFixed:
	// those that clusterNames lists. It cannot be changed later.
	// +optional
	// +kubebuilder:default=PickAll
	PlacementType PlacementType `json:"placementType,omitempty"`

	// ClusterNames are the MemberClusters of type PickFixed, at most 100. It is for that type only.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	ClusterNames []string `json:"clusterNames,omitempty"`

	// NumberOfClusters is how many clusters type PickN wants, from 0. It is for that type only, which requires it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	NumberOfClusters *int32 `json:"numberOfClusters,omitempty"`

	// Affinity limits the clusters to choose from and says which are preferred. PickAll knows the required part only,
	// PickN both, PickFixed neither.
	// +optional
	Affinity *Affinity `json:"affinity,omitempty"`

	// TopologySpreadConstraints spread the chosen clusters over the values of a cluster label. It is for type PickN only.
	// +optional
	TopologySpreadConstraints []TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// Tolerations let clusters with matching taints be chosen, at most 100. It is for PickAll and PickN. Tolerations can be
	// added later, but neither changed nor removed.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:XValidation:rule="self.all(x, x.operator != 'Exists' || !has(x.value) || size(x.value) == 0)",message="value must be empty when operator is Exists"
	// +kubebuilder:validation:XValidation:rule="self.all(x, (has(x.key) && size(x.key) > 0) || x.operator == 'Exists')",message="operator must be Exists when key is empty"
	Tolerations []Toleration `json:"tolerations,omitempty"`
}

// PlacementType is the way clusters are chosen.
// +kubebuilder:validation:Enum=PickAll;PickN;PickFixed
type PlacementType string

const (
	// PlacementTypePickAll chooses every eligible cluster.
	PlacementTypePickAll PlacementType = "PickAll"
	// PlacementTypePickN chooses the given number of clusters, the best first.
	PlacementTypePickN PlacementType = "PickN"
	// PlacementTypePickFixed chooses the clusters named.
	PlacementTypePickFixed PlacementType = "PickFixed"
)

// Affinity says by which of their traits clusters are chosen.
type Affinity struct {
	// ClusterAffinity looks at the labels and properties of MemberClusters.
	// +optional
	ClusterAffinity *ClusterAffinity `json:"clusterAffinity,omitempty"`
}

// ClusterAffinity looks at labels and properties of MemberClusters. It is about choosing: a cluster that was chosen
// stays chosen when it ceases to match, until the policy is changed.
type ClusterAffinity struct {
	// RequiredDuringSchedulingIgnoredDuringExecution is what a cluster must match to be chosen.
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

// ClusterSelectorTerm matches a cluster if everything that is set in it does. An empty term matches every cluster.
type ClusterSelectorTerm struct {
	// LabelSelector looks at the labels of the MemberCluster.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`

	// PropertySelector looks at the properties the cluster reports. It is for required terms only.
	// +optional
	PropertySelector *PropertySelector `json:"propertySelector,omitempty"`

	// PropertySorter gives a cluster a share of the weight, by the value of a property. It is for preferred terms only.
	// +optional
	PropertySorter *PropertySorter `json:"propertySorter,omitempty"`
}

// PreferredClusterSelector adds to the score of the clusters that match it.
type PreferredClusterSelector struct {
	// Weight is what a matching cluster's affinity score gains, from -100 to 100. With a property sorter a cluster gains
	// a share of it.
	// +required
	// +kubebuilder:validation:Minimum=-100
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`

	// Preference is what to match.
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
	// resources.kubernetes-fleet.io/allocatable-cpu (or total-, or available-) for a figure of the cluster's resource
	// usage. A cluster without the property does not match, whatever the operator.
	// +required
	Name string `json:"name"`

	// Operator is Gt, Ge, Eq, Ne, Lt or Le: how the property must compare with the value.
	// +required
	Operator PropertySelectorOperator `json:"operator"`

	// Values holds the one value to compare with, a resource quantity such as 4, 500m or 16Gi.
	// +required
	// +kubebuilder:validation:MaxItems=1
	Values []string `json:"values"`
}

// PropertySelectorOperator is how a property must compare with a value.
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

// PropertySorter gives clusters a share of a weight by where their value of a property lies between the lowest and the
// highest one.
type PropertySorter struct {
	// Name of the property, as in a property selector. A cluster without it gains nothing; nor does any if all values
	// are the same.
	// +required
	Name string `json:"name"`

	// SortOrder says which end gains the full weight, the other end gaining nothing: with Descending the highest value
	// does, with Ascending the lowest.
	// +required
	SortOrder PropertySortOrder `json:"sortOrder"`
}

// PropertySortOrder says which end of an order comes first.
// +kubebuilder:validation:Enum=Ascending;Descending
type PropertySortOrder string

const (
	// PropertySortOrderAscending puts the lowest value first.
	PropertySortOrderAscending PropertySortOrder = "Ascending"
	// PropertySortOrderDescending puts the highest value first.
	PropertySortOrderDescending PropertySortOrder = "Descending"
)

// TopologySpreadConstraint spreads the chosen clusters over the values of a label.
type TopologySpreadConstraint struct {
	// MaxSkew is by how many chosen clusters two values of the label may differ, from 1, which is the default.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	MaxSkew *int32 `json:"maxSkew,omitempty"`

	// TopologyKey is the label of MemberClusters whose values are the topology domains.
	// +required
	TopologyKey string `json:"topologyKey"`

	// WhenUnsatisfiable is DoNotSchedule, the default, which leaves out a cluster that would exceed maxSkew; or
	// ScheduleAnyway, which only lowers its score.
	// +optional
	// +kubebuilder:default=DoNotSchedule
	// +kubebuilder:validation:Enum=DoNotSchedule;ScheduleAnyway
	WhenUnsatisfiable corev1.UnsatisfiableConstraintAction `json:"whenUnsatisfiable,omitempty"`
}

// Toleration lets clusters with matching taints be chosen.
type Toleration struct {
	// Key of the taint. Empty, with operator Exists, it matches every taint.
	// +optional
	Key string `json:"key,omitempty"`

	// Operator is Equal, the default, which compares key and value; or Exists, which compares the key alone.
	// +optional
	// +kubebuilder:default=Equal
	// +kubebuilder:validation:Enum=Equal;Exists
	Operator corev1.TolerationOperator `json:"operator,omitempty"`

	// Value of the taint. With operator Exists it must be empty.
	// +optional
	Value string `json:"value,omitempty"`

	// Effect of the taint. Empty, it matches every effect; NoSchedule is the only one there is.
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule
	Effect corev1.TaintEffect `json:"effect,omitempty"`
}
