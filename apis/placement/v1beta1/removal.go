package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// RemovalPolicy limits what one change may remove from member clusters. A change that is beyond it is held whole
// before anything is removed: objects that leave a cluster stay there, clusters that leave the placement stay, and a
// placement that is deleted keeps its objects. What the change adds or modifies goes on. "kubectl fleet release"
// lets the change through; to revert the change ends the hold.
type RemovalPolicy struct {
	// Max is how much one change may remove: a number from 0, or a percentage from 0% to 100%. It counts objects of
	// the placement on a cluster, or clusters of the placement. A percentage is not rounded: one of three is beyond
	// 20%, and not beyond 34%. Without it there is no limit by number.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^((100|[0-9]{1,2})%|[0-9]+)$"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || (self >= 0 && self <= 2147483647)",message="max must be from 0 to 2147483647, or a share such as 20%"
	Max *intstr.IntOrString `json:"max,omitempty"`

	// Protect are kinds of objects, at most 32, that no change may remove, not even one of them. With any, no change of
	// the policy, or of the clusters, may make the placement leave a cluster.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	Protect []ProtectedKind `json:"protect,omitempty"`
}

// ProtectedKind is a kind of objects.
type ProtectedKind struct {
	// Group is the API group of the kind; empty for core Kubernetes objects.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`

	// Kind is the kind, such as Namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
}

// HeldRemoval is a removal that is held because it is beyond the placement's removal policy.
type HeldRemoval struct {
	// Digest identifies exactly what would be removed, and since when it is held. The value of the placement's
	// annotation kubernetes-fleet.io/release-removal lets the removal through if it contains the digest.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest"`

	// Since is when this removal was held first.
	// +required
	Since metav1.Time `json:"since"`

	// Removed is how many objects, or clusters, would be removed, and total of how many.
	// +required
	// +kubebuilder:validation:Minimum=0
	Removed int32 `json:"removed"`

	// Total is how many objects of the placement are on the cluster, or on how many clusters the placement is.
	// +required
	// +kubebuilder:validation:Minimum=0
	Total int32 `json:"total"`

	// Protected is how many of the removed objects are of a protected kind.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Protected int32 `json:"protected,omitempty"`

	// First are the first of the removed objects, as kind and name, or clusters: at most 10, protected kinds first.
	// +optional
	// +kubebuilder:validation:MaxItems=10
	First []string `json:"first,omitempty"`
}
