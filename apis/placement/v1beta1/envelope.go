package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func init() {
	register(
		&ClusterResourceEnvelope{}, &ClusterResourceEnvelopeList{},
		&ResourceEnvelope{}, &ResourceEnvelopeList{},
	)
}

// ClusterResourceEnvelope wraps cluster-scoped objects that should not take effect on the hub, such as webhook
// configurations. A placement that selects the envelope applies the objects in it on member clusters, and not the
// envelope itself.
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Cluster,categories={fleet,fleet-placement}
type ClusterResourceEnvelope struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Data contains 1 to 50 manifests of cluster-scoped objects. The keys are free text and have no meaning. The user
	// writes it.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=50
	Data map[string]runtime.RawExtension `json:"data"`
}

// ClusterResourceEnvelopeList is a list of ClusterResourceEnvelopes.
// +kubebuilder:object:root=true
type ClusterResourceEnvelopeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterResourceEnvelope `json:"items"`
}

// ResourceEnvelope wraps objects of its namespace that should not take effect on the hub, such as resource quotas. A
// placement that selects the envelope applies the objects in it on member clusters, and not the envelope itself.
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:scope=Namespaced,categories={fleet,fleet-placement}
type ResourceEnvelope struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Data contains 1 to 50 manifests of objects in the envelope's namespace. The keys are free text and have no
	// meaning. The user writes it.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=50
	Data map[string]runtime.RawExtension `json:"data"`
}

// ResourceEnvelopeList is a list of ResourceEnvelopes.
// +kubebuilder:object:root=true
type ResourceEnvelopeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ResourceEnvelope `json:"items"`
}
