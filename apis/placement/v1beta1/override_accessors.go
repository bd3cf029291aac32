package v1beta1

// OverrideObject is a ClusterResourceOverride or a ResourceOverride. Its accessors return pointers into the object.
// +kubebuilder:object:generate=false
type OverrideObject interface {
	Object
	GetPlacement() *PlacementRef
	GetPolicy() *OverridePolicy
}

// OverrideObjectList is a list of either kind of override.
// +kubebuilder:object:generate=false
type OverrideObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []OverrideObject
}

// OverrideSnapshotObject is a ClusterResourceOverrideSnapshot or a ResourceOverrideSnapshot. Its accessors return
// pointers into the object.
// +kubebuilder:object:generate=false
type OverrideSnapshotObject interface {
	Object
	GetPlacement() *PlacementRef
	GetPolicy() *OverridePolicy
	GetHash() []byte
}

// OverrideSnapshotObjectList is a list of either kind of override snapshot.
// +kubebuilder:object:generate=false
type OverrideSnapshotObjectList interface {
	ObjectList
	// Objects returns pointers to the items.
	Objects() []OverrideSnapshotObject
}

var (
	_ OverrideObject             = &ClusterResourceOverride{}
	_ OverrideObject             = &ResourceOverride{}
	_ OverrideObjectList         = &ClusterResourceOverrideList{}
	_ OverrideObjectList         = &ResourceOverrideList{}
	_ OverrideSnapshotObject     = &ClusterResourceOverrideSnapshot{}
	_ OverrideSnapshotObject     = &ResourceOverrideSnapshot{}
	_ OverrideSnapshotObjectList = &ClusterResourceOverrideSnapshotList{}
	_ OverrideSnapshotObjectList = &ResourceOverrideSnapshotList{}
)

// GetPlacement returns the placement the override is limited to; nil means any.
func (o *ClusterResourceOverride) GetPlacement() *PlacementRef { return o.Spec.Placement }

// GetPolicy returns the override's policy.
func (o *ClusterResourceOverride) GetPolicy() *OverridePolicy { return o.Spec.Policy }

// Objects returns pointers to the items.
func (l *ClusterResourceOverrideList) Objects() []OverrideObject {
	return pointers(l.Items, func(o *ClusterResourceOverride) OverrideObject { return o })
}

// GetPlacement returns the placement the override is limited to; nil means any.
func (o *ResourceOverride) GetPlacement() *PlacementRef { return o.Spec.Placement }

// GetPolicy returns the override's policy.
func (o *ResourceOverride) GetPolicy() *OverridePolicy { return o.Spec.Policy }

// Objects returns pointers to the items.
func (l *ResourceOverrideList) Objects() []OverrideObject {
	return pointers(l.Items, func(o *ResourceOverride) OverrideObject { return o })
}

// GetPlacement returns the placement the override is limited to; nil means any.
func (o *ClusterResourceOverrideSnapshot) GetPlacement() *PlacementRef {
	return o.Spec.OverrideSpec.Placement
}

// GetPolicy returns the override's policy.
func (o *ClusterResourceOverrideSnapshot) GetPolicy() *OverridePolicy {
	return o.Spec.OverrideSpec.Policy
}

// GetHash returns the hash of the override.
func (o *ClusterResourceOverrideSnapshot) GetHash() []byte { return o.Spec.OverrideHash }

// Objects returns pointers to the items.
func (l *ClusterResourceOverrideSnapshotList) Objects() []OverrideSnapshotObject {
	return pointers(l.Items, func(o *ClusterResourceOverrideSnapshot) OverrideSnapshotObject { return o })
}

// GetPlacement returns the placement the override is limited to; nil means any.
func (o *ResourceOverrideSnapshot) GetPlacement() *PlacementRef { return o.Spec.OverrideSpec.Placement }

// GetPolicy returns the override's policy.
func (o *ResourceOverrideSnapshot) GetPolicy() *OverridePolicy { return o.Spec.OverrideSpec.Policy }

// GetHash returns the hash of the override.
func (o *ResourceOverrideSnapshot) GetHash() []byte { return o.Spec.OverrideHash }

// Objects returns pointers to the items.
func (l *ResourceOverrideSnapshotList) Objects() []OverrideSnapshotObject {
	return pointers(l.Items, func(o *ResourceOverrideSnapshot) OverrideSnapshotObject { return o })
}
