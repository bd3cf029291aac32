package v1beta1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func init() {
	register(
		&ClusterResourceOverride{}, &ClusterResourceOverrideList{},
		&ResourceOverride{}, &ResourceOverrideList{},
		&ClusterResourceOverrideSnapshot{}, &ClusterResourceOverrideSnapshotList{},
		&ResourceOverrideSnapshot{}, &ResourceOverrideSnapshotList{},
	)
}

// ClusterResourceOverride changes cluster-scoped objects for selected member clusters. The objects on the hub stay as
// they are; only the objects on the members change. If it selects a Namespace, it also changes the objects in it.
// +flagship:versions=v1,v1alpha1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,categories={fleet,fleet-placement}
// +kubebuilder:validation:XValidation:rule="!has(self.spec.placement) || self.spec.placement.scope != 'Namespaced'",message="clusterResourceOverride placement reference cannot be Namespaced scope"
type ClusterResourceOverride struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The hub agent adds a finalizer so that it can remove the snapshots of a deleted override.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines which objects are changed, where and how. The user writes it.
	// +required
	Spec ClusterResourceOverrideSpec `json:"spec"`
}

// ClusterResourceOverrideList is a list of ClusterResourceOverrides.
// +kubebuilder:object:root=true
type ClusterResourceOverrideList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterResourceOverride `json:"items"`
}

// ResourceOverride changes objects of its own namespace for selected member clusters. The objects on the hub stay as
// they are; only the objects on the members change.
// +flagship:versions=v1,v1alpha1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,categories={fleet,fleet-placement}
type ResourceOverride struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The hub agent adds a finalizer so that it can remove the snapshots of a deleted override.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines which objects are changed, where and how. The user writes it.
	// +required
	Spec ResourceOverrideSpec `json:"spec"`
}

// ResourceOverrideList is a list of ResourceOverrides.
// +kubebuilder:object:root=true
type ResourceOverrideList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ResourceOverride `json:"items"`
}

// ClusterResourceOverrideSpec is the spec of a ClusterResourceOverride.
//
// The order of its fields is part of the wire format: the override hash is computed over its JSON form.
// +kubebuilder:validation:XValidation:rule="(has(oldSelf.placement) && has(self.placement) && oldSelf.placement == self.placement) || (!has(oldSelf.placement) && !has(self.placement))",message="The placement field is immutable"
// +flagship:previous-not-in=v1alpha1
type ClusterResourceOverrideSpec struct {
	// Placement limits the override to one ClusterResourcePlacement. Without it, the override applies to every
	// placement that selects one of its objects. It cannot be changed, added or removed later.
	// +flagship:previous-not-in=v1alpha1
	// +optional
	Placement *PlacementRef `json:"placement,omitempty"`

	// ClusterResourceSelectors name the 1 to 20 objects to change, each by name: label selectors are refused at
	// admission. A Namespace also stands for every object in it. No two ClusterResourceOverrides may select the same
	// object.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	ClusterResourceSelectors []ResourceSelectorTerm `json:"clusterResourceSelectors"`

	// Policy defines on which clusters the objects change and how.
	// +required
	Policy *OverridePolicy `json:"policy"`
}

// ResourceOverrideSpec is the spec of a ResourceOverride.
//
// The order of its fields is part of the wire format: the override hash is computed over its JSON form.
// +kubebuilder:validation:XValidation:rule="(has(oldSelf.placement) && has(self.placement) && oldSelf.placement == self.placement) || (!has(oldSelf.placement) && !has(self.placement))",message="The placement field is immutable"
// +flagship:previous-not-in=v1alpha1
type ResourceOverrideSpec struct {
	// Placement limits the override to one placement: a ResourcePlacement of the override's namespace, or a
	// ClusterResourcePlacement. Without it, the override applies to every placement that selects one of its objects.
	// It cannot be changed, added or removed later.
	// +flagship:previous-not-in=v1alpha1
	// +optional
	Placement *PlacementRef `json:"placement,omitempty"`

	// ResourceSelectors name the objects to change, 1 to 20 of them, all in the override's own namespace. No two
	// ResourceOverrides of a namespace may select the same object.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	ResourceSelectors []ResourceSelector `json:"resourceSelectors"`

	// Policy defines on which clusters the objects change and how.
	// +required
	Policy *OverridePolicy `json:"policy"`
}

// PlacementRef names the placement an override is limited to.
type PlacementRef struct {
	// Name of the placement.
	// +required
	Name string `json:"name"`

	// Scope is the kind of the placement: Cluster for a ClusterResourcePlacement, Namespaced for a ResourcePlacement
	// in the namespace of the override. Defaults to Cluster. A ClusterResourceOverride accepts only Cluster.
	// +optional
	// +kubebuilder:default=Cluster
	Scope PlacementScope `json:"scope,omitempty"`
}

// PlacementScope distinguishes cluster-wide and namespaced placements.
// +kubebuilder:validation:Enum=Cluster;Namespaced
type PlacementScope string

const (
	// PlacementScopeCluster means a ClusterResourcePlacement.
	PlacementScopeCluster PlacementScope = "Cluster"
	// PlacementScopeNamespaced means a ResourcePlacement.
	PlacementScopeNamespaced PlacementScope = "Namespaced"
)

// ResourceSelector names one object in the namespace of the object that contains the selector.
type ResourceSelector struct {
	// Group is the API group of the object; empty for the core group.
	// +required
	Group string `json:"group"`

	// Version is the API version of the object.
	// +required
	Version string `json:"version"`

	// Kind is the kind of the object.
	// +required
	Kind string `json:"kind"`

	// Name is the name of the object.
	// +required
	Name string `json:"name"`
}

// OverridePolicy defines how the selected objects differ between clusters.
type OverridePolicy struct {
	// OverrideRules are tried in order, 1 to 20 of them. Every rule that matches a cluster is applied to the result of the
	// rules before it.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	OverrideRules []OverrideRule `json:"overrideRules"`
}

// OverrideRule changes the selected objects on the clusters it matches.
type OverrideRule struct {
	// ClusterSelector picks the clusters by the labels of their MemberCluster. Without it the rule matches no cluster; with
	// an empty list of terms it matches every cluster. Selection by property is refused at admission.
	// +optional
	ClusterSelector *ClusterSelector `json:"clusterSelector,omitempty"`

	// OverrideType defines what happens to the objects: JSONPatch edits them, Delete keeps them off the cluster.
	// Defaults to JSONPatch.
	// +optional
	// +kubebuilder:default=JSONPatch
	OverrideType OverrideType `json:"overrideType,omitempty"`

	// JSONPatchOverrides are the edits, applied in order, 1 to 20 of them. Type JSONPatch needs them and type Delete
	// forbids them.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	JSONPatchOverrides []JSONPatchOverride `json:"jsonPatchOverrides,omitempty"`
}

// OverrideType defines what an override rule does to an object.
// +kubebuilder:validation:Enum=JSONPatch;Delete
type OverrideType string

const (
	// OverrideTypeJSONPatch edits the object with JSON patch operations.
	OverrideTypeJSONPatch OverrideType = "JSONPatch"
	// OverrideTypeDelete keeps the object off the cluster.
	OverrideTypeDelete OverrideType = "Delete"
)

// JSONPatchOverride is one operation of a JSON patch (RFC 6902).
type JSONPatchOverride struct {
	// Operator is the operation at the path: add, remove or replace.
	// +required
	Operator JSONPatchOperator `json:"op"`

	// Path is a JSON pointer (RFC 6901) to the place to change; it starts with a slash. The fields kind, apiVersion and
	// status, and everything under metadata but labels and annotations, cannot be changed.
	// +required
	Path string `json:"path"`

	// Value is the JSON to put at the path; remove takes none. In its strings ${MEMBER-CLUSTER-NAME} becomes the name of
	// the cluster and ${MEMBER-CLUSTER-LABEL-KEY-<key>} the value of that label on its MemberCluster; a label the
	// cluster does not have fails the override for that cluster.
	// +optional
	Value apiextensionsv1.JSON `json:"value,omitempty"`
}

// JSONPatchOperator is the kind of a JSON patch operation.
// +kubebuilder:validation:Enum=add;remove;replace
type JSONPatchOperator string

const (
	// JSONPatchAdd adds a value, or replaces the existing one.
	JSONPatchAdd JSONPatchOperator = "add"
	// JSONPatchRemove removes a value, which must exist.
	JSONPatchRemove JSONPatchOperator = "remove"
	// JSONPatchReplace replaces a value, which must exist.
	JSONPatchReplace JSONPatchOperator = "replace"
)

// ClusterResourceOverrideSnapshot is a copy of a ClusterResourceOverride at one time. The hub agent creates one
// whenever the spec of the override changes, keeps the newest ten, and labels the newest as the latest. Rollouts name
// the snapshots that they use.
// +flagship:versions=v1,v1alpha1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,categories={fleet,fleet-placement}
type ClusterResourceOverrideSnapshot struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name is that of the override followed by a hyphen and the index of the snapshot.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the frozen copy. The hub agent writes it once.
	// +required
	Spec ClusterResourceOverrideSnapshotSpec `json:"spec"`
}

// ClusterResourceOverrideSnapshotList is a list of ClusterResourceOverrideSnapshots.
// +kubebuilder:object:root=true
type ClusterResourceOverrideSnapshotList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterResourceOverrideSnapshot `json:"items"`
}

// ResourceOverrideSnapshot is a copy of a ResourceOverride at one time. The hub agent creates one whenever the spec of
// the override changes, keeps the newest ten, and labels the newest as the latest. Rollouts name the snapshots that
// they use.
// +flagship:versions=v1,v1alpha1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,categories={fleet,fleet-placement}
type ResourceOverrideSnapshot struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name is that of the override followed by a hyphen and the index of the snapshot.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the frozen copy. The hub agent writes it once.
	// +required
	Spec ResourceOverrideSnapshotSpec `json:"spec"`
}

// ResourceOverrideSnapshotList is a list of ResourceOverrideSnapshots.
// +kubebuilder:object:root=true
type ResourceOverrideSnapshotList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ResourceOverrideSnapshot `json:"items"`
}

// ClusterResourceOverrideSnapshotSpec contains a copy of the spec of a ClusterResourceOverride.
type ClusterResourceOverrideSnapshotSpec struct {
	// OverrideSpec is the spec of the override at the time of the snapshot.
	// +required
	OverrideSpec ClusterResourceOverrideSpec `json:"overrideSpec"`

	// OverrideHash is the SHA-256 of the override's spec in JSON form, as lower-case hexadecimal characters.
	// +required
	OverrideHash []byte `json:"overrideHash"`
}

// ResourceOverrideSnapshotSpec contains a copy of the spec of a ResourceOverride.
type ResourceOverrideSnapshotSpec struct {
	// OverrideSpec is the spec of the override at the time of the snapshot.
	// +required
	OverrideSpec ResourceOverrideSpec `json:"overrideSpec"`

	// OverrideHash is the SHA-256 of the override's spec in JSON form, as lower-case hexadecimal characters.
	// +required
	OverrideHash []byte `json:"overrideHash"`
}
