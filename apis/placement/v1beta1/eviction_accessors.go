package v1beta1

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EvictionObject is a ClusterResourcePlacementEviction or a ResourcePlacementEviction. Its accessors return pointers
// into the object.
// +kubebuilder:object:generate=false
type EvictionObject interface {
	Object
	GetSpec() *PlacementEvictionSpec
	GetStatus() *PlacementEvictionStatus
	GetConditions() *[]metav1.Condition
	// Reason returns the reason on this kind for a reason such as ReasonEvictionValid.
	Reason(reason string) string
}

// EvictionObjectList is a list of either kind of eviction.
// +kubebuilder:object:generate=false
type EvictionObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []EvictionObject
}

// DisruptionBudgetObject is a ClusterResourcePlacementDisruptionBudget or a ResourcePlacementDisruptionBudget. Its
// accessors return pointers into the object.
// +kubebuilder:object:generate=false
type DisruptionBudgetObject interface {
	Object
	GetSpec() *PlacementDisruptionBudgetSpec
}

// DisruptionBudgetObjectList is a list of either kind of disruption budget.
// +kubebuilder:object:generate=false
type DisruptionBudgetObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []DisruptionBudgetObject
}

var (
	_ EvictionObject             = &ClusterResourcePlacementEviction{}
	_ EvictionObject             = &ResourcePlacementEviction{}
	_ EvictionObjectList         = &ClusterResourcePlacementEvictionList{}
	_ EvictionObjectList         = &ResourcePlacementEvictionList{}
	_ DisruptionBudgetObject     = &ClusterResourcePlacementDisruptionBudget{}
	_ DisruptionBudgetObject     = &ResourcePlacementDisruptionBudget{}
	_ DisruptionBudgetObjectList = &ClusterResourcePlacementDisruptionBudgetList{}
	_ DisruptionBudgetObjectList = &ResourcePlacementDisruptionBudgetList{}
)

// GetSpec returns the object's spec.
func (o *ClusterResourcePlacementEviction) GetSpec() *PlacementEvictionSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ClusterResourcePlacementEviction) GetStatus() *PlacementEvictionStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ClusterResourcePlacementEviction) GetConditions() *[]metav1.Condition {
	return &o.Status.Conditions
}

// Reason returns the reason on this kind.
func (o *ClusterResourcePlacementEviction) Reason(reason string) string { return reason }

// Objects returns pointers to the items.
func (l *ClusterResourcePlacementEvictionList) Objects() []EvictionObject {
	return pointers(l.Items, func(o *ClusterResourcePlacementEviction) EvictionObject { return o })
}

// GetSpec returns the object's spec.
func (o *ResourcePlacementEviction) GetSpec() *PlacementEvictionSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ResourcePlacementEviction) GetStatus() *PlacementEvictionStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ResourcePlacementEviction) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// Reason returns the reason on this kind.
func (o *ResourcePlacementEviction) Reason(reason string) string {
	return strings.TrimPrefix(reason, "Cluster")
}

// Objects returns pointers to the items.
func (l *ResourcePlacementEvictionList) Objects() []EvictionObject {
	return pointers(l.Items, func(o *ResourcePlacementEviction) EvictionObject { return o })
}

// GetSpec returns the object's spec.
func (o *ClusterResourcePlacementDisruptionBudget) GetSpec() *PlacementDisruptionBudgetSpec {
	return &o.Spec
}

// Objects returns pointers to the items.
func (l *ClusterResourcePlacementDisruptionBudgetList) Objects() []DisruptionBudgetObject {
	return pointers(l.Items, func(o *ClusterResourcePlacementDisruptionBudget) DisruptionBudgetObject { return o })
}

// GetSpec returns the object's spec.
func (o *ResourcePlacementDisruptionBudget) GetSpec() *PlacementDisruptionBudgetSpec { return &o.Spec }

// Objects returns pointers to the items.
func (l *ResourcePlacementDisruptionBudgetList) Objects() []DisruptionBudgetObject {
	return pointers(l.Items, func(o *ResourcePlacementDisruptionBudget) DisruptionBudgetObject { return o })
}
