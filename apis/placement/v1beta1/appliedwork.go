package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func init() {
	register(&AppliedWork{}, &AppliedWorkList{})
}

// AppliedWork is the member cluster's record of a Work, under the same name, and the owner of every object applied for
// it: deleting it removes them. It exists on member clusters only.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,categories={fleet,fleet-placement}
// +kubebuilder:subresource:status
type AppliedWork struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec names the Work. The member agent writes it once.
	// +required
	Spec AppliedWorkSpec `json:"spec"`

	// Status lists what was applied. The member agent writes it.
	// +optional
	Status AppliedWorkStatus `json:"status,omitempty"`
}

// AppliedWorkList is a list of AppliedWorks.
// +kubebuilder:object:root=true
type AppliedWorkList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AppliedWork `json:"items"`
}

// AppliedWorkSpec names a Work on the hub.
type AppliedWorkSpec struct {
	// WorkName is the name of the Work.
	// +required
	WorkName string `json:"workName"`

	// WorkNamespace is the namespace of the Work on the hub.
	// +required
	WorkNamespace string `json:"workNamespace"`
}

// AppliedWorkStatus lists what was applied for a Work.
type AppliedWorkStatus struct {
	// AppliedResources are the objects on this cluster that the AppliedWork owns. It is the ledger by which objects that
	// left the Work are found and removed.
	// +optional
	AppliedResources []AppliedResourceMeta `json:"appliedResources,omitempty"`

	// Conditions say why objects are kept although no Work asks for them any more: Held.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AppliedResourceMeta is one object that was applied.
type AppliedResourceMeta struct {
	WorkResourceIdentifier `json:",inline"`

	// UID of the object, so that another object of the same name is not taken for it.
	// +optional
	UID types.UID `json:"uid,omitempty"`
}
