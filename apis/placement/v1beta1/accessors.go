package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is implemented by every kind of this package, as Kubernetes clients require.
// +kubebuilder:object:generate=false
type Object interface {
	metav1.Object
	runtime.Object
}

// ObjectList is implemented by the list of every kind of this package, as Kubernetes clients require.
// +kubebuilder:object:generate=false
type ObjectList interface {
	metav1.ListInterface
	runtime.Object
}

// PlacementObject is a ClusterResourcePlacement or a ResourcePlacement. Its accessors return pointers into the object.
// +kubebuilder:object:generate=false
type PlacementObject interface {
	Object
	GetSpec() *PlacementSpec
	GetStatus() *PlacementStatus
	GetConditions() *[]metav1.Condition
	// ConditionType returns the condition type on this kind for a name such as ConditionScheduled.
	ConditionType(name string) string
}

// PlacementObjectList is a list of either kind of placement.
// +kubebuilder:object:generate=false
type PlacementObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []PlacementObject
}

// PolicySnapshotObject is a ClusterSchedulingPolicySnapshot or a SchedulingPolicySnapshot. Its accessors return
// pointers into the object.
// +kubebuilder:object:generate=false
type PolicySnapshotObject interface {
	Object
	GetSpec() *SchedulingPolicySnapshotSpec
	GetStatus() *SchedulingPolicySnapshotStatus
	GetConditions() *[]metav1.Condition
}

// PolicySnapshotObjectList is a list of either kind of policy snapshot.
// +kubebuilder:object:generate=false
type PolicySnapshotObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []PolicySnapshotObject
}

// ResourceSnapshotObject is a ClusterResourceSnapshot or a ResourceSnapshot. Its accessors return pointers into the
// object.
// +kubebuilder:object:generate=false
type ResourceSnapshotObject interface {
	Object
	GetSpec() *ResourceSnapshotSpec
	GetStatus() *ResourceSnapshotStatus
	GetConditions() *[]metav1.Condition
}

// ResourceSnapshotObjectList is a list of either kind of resource snapshot.
// +kubebuilder:object:generate=false
type ResourceSnapshotObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []ResourceSnapshotObject
}

// BindingObject is a ClusterResourceBinding or a ResourceBinding. Its accessors return pointers into the object.
// +kubebuilder:object:generate=false
type BindingObject interface {
	Object
	GetSpec() *ResourceBindingSpec
	GetStatus() *ResourceBindingStatus
	GetConditions() *[]metav1.Condition
}

// BindingObjectList is a list of either kind of binding.
// +kubebuilder:object:generate=false
type BindingObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []BindingObject
}

// EnvelopeObject is a ClusterResourceEnvelope or a ResourceEnvelope.
// +kubebuilder:object:generate=false
type EnvelopeObject interface {
	Object
	// GetData returns the envelope's own map of manifests.
	GetData() map[string]runtime.RawExtension
}

// EnvelopeObjectList is a list of either kind of envelope.
// +kubebuilder:object:generate=false
type EnvelopeObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []EnvelopeObject
}

var (
	_ PlacementObject            = &ClusterResourcePlacement{}
	_ PlacementObject            = &ResourcePlacement{}
	_ PlacementObjectList        = &ClusterResourcePlacementList{}
	_ PlacementObjectList        = &ResourcePlacementList{}
	_ PolicySnapshotObject       = &ClusterSchedulingPolicySnapshot{}
	_ PolicySnapshotObject       = &SchedulingPolicySnapshot{}
	_ PolicySnapshotObjectList   = &ClusterSchedulingPolicySnapshotList{}
	_ PolicySnapshotObjectList   = &SchedulingPolicySnapshotList{}
	_ ResourceSnapshotObject     = &ClusterResourceSnapshot{}
	_ ResourceSnapshotObject     = &ResourceSnapshot{}
	_ ResourceSnapshotObjectList = &ClusterResourceSnapshotList{}
	_ ResourceSnapshotObjectList = &ResourceSnapshotList{}
	_ BindingObject              = &ClusterResourceBinding{}
	_ BindingObject              = &ResourceBinding{}
	_ BindingObjectList          = &ClusterResourceBindingList{}
	_ BindingObjectList          = &ResourceBindingList{}
	_ EnvelopeObject             = &ClusterResourceEnvelope{}
	_ EnvelopeObject             = &ResourceEnvelope{}
	_ EnvelopeObjectList         = &ClusterResourceEnvelopeList{}
	_ EnvelopeObjectList         = &ResourceEnvelopeList{}
)

// GetSpec returns the object's spec.
func (o *ClusterResourcePlacement) GetSpec() *PlacementSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ClusterResourcePlacement) GetStatus() *PlacementStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ClusterResourcePlacement) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// ConditionType returns the type of the condition with the given name.
func (o *ClusterResourcePlacement) ConditionType(name string) string {
	return ClusterResourcePlacementConditionPrefix + name
}

// Objects returns pointers to the items.
func (l *ClusterResourcePlacementList) Objects() []PlacementObject {
	return pointers(l.Items, func(o *ClusterResourcePlacement) PlacementObject { return o })
}

// GetSpec returns the object's spec.
func (o *ResourcePlacement) GetSpec() *PlacementSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ResourcePlacement) GetStatus() *PlacementStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ResourcePlacement) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// ConditionType returns the type of the condition with the given name.
func (o *ResourcePlacement) ConditionType(name string) string {
	return ResourcePlacementConditionPrefix + name
}

// Objects returns pointers to the items.
func (l *ResourcePlacementList) Objects() []PlacementObject {
	return pointers(l.Items, func(o *ResourcePlacement) PlacementObject { return o })
}

// GetSpec returns the object's spec.
func (o *ClusterSchedulingPolicySnapshot) GetSpec() *SchedulingPolicySnapshotSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ClusterSchedulingPolicySnapshot) GetStatus() *SchedulingPolicySnapshotStatus {
	return &o.Status
}

// GetConditions returns the list of conditions in the object's status.
func (o *ClusterSchedulingPolicySnapshot) GetConditions() *[]metav1.Condition {
	return &o.Status.Conditions
}

// Objects returns pointers to the items.
func (l *ClusterSchedulingPolicySnapshotList) Objects() []PolicySnapshotObject {
	return pointers(l.Items, func(o *ClusterSchedulingPolicySnapshot) PolicySnapshotObject { return o })
}

// GetSpec returns the object's spec.
func (o *SchedulingPolicySnapshot) GetSpec() *SchedulingPolicySnapshotSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *SchedulingPolicySnapshot) GetStatus() *SchedulingPolicySnapshotStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *SchedulingPolicySnapshot) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// Objects returns pointers to the items.
func (l *SchedulingPolicySnapshotList) Objects() []PolicySnapshotObject {
	return pointers(l.Items, func(o *SchedulingPolicySnapshot) PolicySnapshotObject { return o })
}

// GetSpec returns the object's spec.
func (o *ClusterResourceSnapshot) GetSpec() *ResourceSnapshotSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ClusterResourceSnapshot) GetStatus() *ResourceSnapshotStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ClusterResourceSnapshot) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// Objects returns pointers to the items.
func (l *ClusterResourceSnapshotList) Objects() []ResourceSnapshotObject {
	return pointers(l.Items, func(o *ClusterResourceSnapshot) ResourceSnapshotObject { return o })
}

// GetSpec returns the object's spec.
func (o *ResourceSnapshot) GetSpec() *ResourceSnapshotSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ResourceSnapshot) GetStatus() *ResourceSnapshotStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ResourceSnapshot) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// Objects returns pointers to the items.
func (l *ResourceSnapshotList) Objects() []ResourceSnapshotObject {
	return pointers(l.Items, func(o *ResourceSnapshot) ResourceSnapshotObject { return o })
}

// GetSpec returns the object's spec.
func (o *ClusterResourceBinding) GetSpec() *ResourceBindingSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ClusterResourceBinding) GetStatus() *ResourceBindingStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ClusterResourceBinding) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// Objects returns pointers to the items.
func (l *ClusterResourceBindingList) Objects() []BindingObject {
	return pointers(l.Items, func(o *ClusterResourceBinding) BindingObject { return o })
}

// GetSpec returns the object's spec.
func (o *ResourceBinding) GetSpec() *ResourceBindingSpec { return &o.Spec }

// GetStatus returns the object's status.
func (o *ResourceBinding) GetStatus() *ResourceBindingStatus { return &o.Status }

// GetConditions returns the list of conditions in the object's status.
func (o *ResourceBinding) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// Objects returns pointers to the items.
func (l *ResourceBindingList) Objects() []BindingObject {
	return pointers(l.Items, func(o *ResourceBinding) BindingObject { return o })
}

// GetData returns the manifests by their keys.
func (o *ClusterResourceEnvelope) GetData() map[string]runtime.RawExtension { return o.Data }

// Objects returns pointers to the items.
func (l *ClusterResourceEnvelopeList) Objects() []EnvelopeObject {
	return pointers(l.Items, func(o *ClusterResourceEnvelope) EnvelopeObject { return o })
}

// GetData returns the manifests by their keys.
func (o *ResourceEnvelope) GetData() map[string]runtime.RawExtension { return o.Data }

// Objects returns pointers to the items.
func (l *ResourceEnvelopeList) Objects() []EnvelopeObject {
	return pointers(l.Items, func(o *ResourceEnvelope) EnvelopeObject { return o })
}

// pointers converts a pointer to each item with as.
func pointers[T, I any](items []T, as func(*T) I) []I {
	objects := make([]I, len(items))
	for i := range items {
		objects[i] = as(&items[i])
	}
	return objects
}
