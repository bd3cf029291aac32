package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func init() {
	register(
		&ClusterResourcePlacementEviction{}, &ClusterResourcePlacementEvictionList{},
		&ClusterResourcePlacementDisruptionBudget{}, &ClusterResourcePlacementDisruptionBudgetList{},
		&ResourcePlacementEviction{}, &ResourcePlacementEvictionList{},
		&ResourcePlacementDisruptionBudget{}, &ResourcePlacementDisruptionBudgetList{},
	)
}

// ClusterResourcePlacementEviction requests, once, that a placement is removed from one cluster. The hub agent checks
// it, removes the placement from the cluster if the disruption budget allows it, and records the outcome. It never
// retries; create another eviction for another attempt. Without a taint or a changed policy, the scheduler may pick
// the cluster again.
// +flagship:versions=v1alpha1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=crpe,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Valid")].status`,name="Valid",type=string
// +flagship:previous-not-in=v1alpha1
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Executed")].status`,name="Executed",type=string
// +flagship:previous-not-in=v1alpha1
type ClusterResourcePlacementEviction struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec names the placement and the cluster. The user writes it and cannot change it later.
	// +required
	Spec PlacementEvictionSpec `json:"spec"`

	// Status is the outcome. The hub agent writes it.
	// +optional
	Status PlacementEvictionStatus `json:"status,omitempty"`
}

// ClusterResourcePlacementEvictionList is a list of ClusterResourcePlacementEvictions.
// +kubebuilder:object:root=true
type ClusterResourcePlacementEvictionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterResourcePlacementEviction `json:"items"`
}

// ResourcePlacementEviction requests, once, that a ResourcePlacement of its namespace is removed from one cluster. It
// corresponds to ClusterResourcePlacementEviction for cluster-wide placements.
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=rpe,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Valid")].status`,name="Valid",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Executed")].status`,name="Executed",type=string
type ResourcePlacementEviction struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec names the placement and the cluster. The user writes it and cannot change it later.
	// +required
	Spec PlacementEvictionSpec `json:"spec"`

	// Status is the outcome. The hub agent writes it.
	// +optional
	Status PlacementEvictionStatus `json:"status,omitempty"`
}

// ResourcePlacementEvictionList is a list of ResourcePlacementEvictions.
// +kubebuilder:object:root=true
type ResourcePlacementEvictionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ResourcePlacementEviction `json:"items"`
}

// PlacementEvictionSpec names the placement to evict and the cluster.
type PlacementEvictionSpec struct {
	// PlacementName is the name of the placement, at most 255 characters: a ClusterResourcePlacement, or for a
	// ResourcePlacementEviction a ResourcePlacement of its namespace. It must not be of type PickFixed.
	// +required
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="The PlacementName field is immutable"
	PlacementName string `json:"placementName"`

	// ClusterName is the name of the MemberCluster to take the placement off, at most 255 characters.
	// +required
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="The ClusterName field is immutable"
	ClusterName string `json:"clusterName"`
}

// PlacementEvictionStatus is the outcome of an eviction.
type PlacementEvictionStatus struct {
	// Conditions are Valid, which is False if the eviction is invalid, and Executed, which shows whether it was
	// carried out. Valid False and any Executed are final.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Condition types of evictions.
const (
	// ConditionEvictionValid is True if the placement can be evicted from the cluster at all.
	ConditionEvictionValid = "Valid"
	// ConditionEvictionExecuted is True if the eviction was carried out.
	ConditionEvictionExecuted = "Executed"
)

// Reasons of the conditions of ClusterResourcePlacementEvictions. On a ResourcePlacementEviction they begin with that
// kind.
const (
	// ReasonEvictionValid (Valid True): the eviction is considered.
	ReasonEvictionValid = "ClusterResourcePlacementEvictionValid"
	// ReasonEvictionInvalid (Valid False): the placement is missing, being deleted or of type PickFixed, or it has no
	// binding, or more than one, for the cluster.
	ReasonEvictionInvalid = "ClusterResourcePlacementEvictionInvalid"
	// ReasonEvictionExecuted (Executed True): the placement leaves the cluster, or was already leaving it.
	ReasonEvictionExecuted = "ClusterResourcePlacementEvictionExecuted"
	// ReasonEvictionNotExecuted (Executed False): nothing is placed yet, or the disruption budget does not allow it.
	ReasonEvictionNotExecuted = "ClusterResourcePlacementEvictionNotExecuted"
)

// ClusterResourcePlacementDisruptionBudget limits evictions of the ClusterResourcePlacement of the same name. It
// limits only evictions, not rollouts, scheduling and outages. Set at most one of its two fields. With neither, it
// allows no eviction, except from clusters where the placement has failed.
// +flagship:versions=v1alpha1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,shortName=crpdb,categories={fleet,fleet-placement}
type ClusterResourcePlacementDisruptionBudget struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name is that of the ClusterResourcePlacement to guard.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the limit. The user writes it.
	// +required
	Spec PlacementDisruptionBudgetSpec `json:"spec"`
}

// ClusterResourcePlacementDisruptionBudgetList is a list of ClusterResourcePlacementDisruptionBudgets.
// +kubebuilder:object:root=true
type ClusterResourcePlacementDisruptionBudgetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterResourcePlacementDisruptionBudget `json:"items"`
}

// ResourcePlacementDisruptionBudget limits evictions of the ResourcePlacement of the same name in its namespace. It
// corresponds to ClusterResourcePlacementDisruptionBudget for cluster-wide placements.
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,shortName=rpdb,categories={fleet,fleet-placement}
type ResourcePlacementDisruptionBudget struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name is that of the ResourcePlacement to guard.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the limit. The user writes it.
	// +required
	Spec PlacementDisruptionBudgetSpec `json:"spec"`
}

// ResourcePlacementDisruptionBudgetList is a list of ResourcePlacementDisruptionBudgets.
// +kubebuilder:object:root=true
type ResourcePlacementDisruptionBudgetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ResourcePlacementDisruptionBudget `json:"items"`
}

// PlacementDisruptionBudgetSpec is the limit a disruption budget sets.
// +kubebuilder:validation:XValidation:rule="!(has(self.maxUnavailable) && has(self.minAvailable))",message="Both MaxUnavailable and MinAvailable cannot be specified"
type PlacementDisruptionBudgetSpec struct {
	// MaxUnavailable is the number of the placement's clusters that may be unavailable after an eviction: a number
	// from 0, or a percentage from 0% to 100% of the desired number of clusters, rounded up. It is refused at
	// admission for a placement of type PickAll, whose number of clusters is not fixed.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[0-9]{1,2})%$') : self >= 0",message="If supplied value is String should match regex '^(100|[0-9]{1,2})%$' or If supplied value is Integer must be greater than or equal to 0"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self <= 2147483647",message="maxUnavailable must be at most 2147483647"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// MinAvailable is the number of the placement's clusters that must be available after an eviction: a number from
	// 0, or a percentage from 0% to 100% of the desired number of clusters, rounded up. For a placement of type
	// PickAll it must be a number.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[0-9]{1,2})%$') : self >= 0",message="If supplied value is String should match regex '^(100|[0-9]{1,2})%$' or If supplied value is Integer must be greater than or equal to 0"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self <= 2147483647",message="minAvailable must be at most 2147483647"
	MinAvailable *intstr.IntOrString `json:"minAvailable,omitempty"`
}
