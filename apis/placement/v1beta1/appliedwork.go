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

	// Spec names the Work. The member agent writes it when it creates the AppliedWork and when another Work takes it up.
	// +required
	Spec AppliedWorkSpec `json:"spec"`

	// Status lists the applied objects. The member agent writes it.
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

	// HubUID is the identity of the hub: the UID of its namespace kube-system. Empty if the hub did not report it.
	// Objects are removed and taken up again only for the same hub and namespace.
	// +optional
	HubUID types.UID `json:"hubUID,omitempty"`

	// WorkUID is the UID of the Work that the objects were last applied for. Another Work of the same name takes up the
	// objects it lists and removes none of the others.
	// +optional
	WorkUID types.UID `json:"workUID,omitempty"`
}

// AppliedWorkStatus lists the objects that were applied for a Work.
type AppliedWorkStatus struct {
	// AppliedResources are the objects on this cluster that the AppliedWork owns. It is the ledger by which objects that
	// left the Work are found and removed.
	// +optional
	AppliedResources []AppliedResourceMeta `json:"appliedResources,omitempty"`

	// Conditions contain Held, which shows why objects are kept although no Work of this cluster lists them.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// HeldRemoval is what the hub wants removed and the agent does not remove, because it is more than the agent's flags
	// --removal-max and --removal-protect allow. The annotation kubernetes-fleet.io/release-removal of the AppliedWork
	// lets it through if its value is the digest.
	// +optional
	HeldRemoval *HeldRemoval `json:"heldRemoval,omitempty"`
}

// AppliedResourceMeta is one object that was applied.
type AppliedResourceMeta struct {
	WorkResourceIdentifier `json:",inline"`

	// UID of the object, so that another object of the same name is not taken for it.
	// +optional
	UID types.UID `json:"uid,omitempty"`

	// TakenOver is true for an object that existed on the cluster before it was placed. When its Work is deleted, the
	// object stays if it is a CustomResourceDefinition or a volume, or if it contains more than was placed.
	// +optional
	TakenOver bool `json:"takenOver,omitempty"`

	// Held is true for an object that an earlier Work placed and that the current Work does not list: only the owner
	// of this cluster can have it removed.
	// +optional
	Held bool `json:"held,omitempty"`

	// Finished is set for an object that runs once (a Job, or a Pod that is not restarted) and has finished. If the
	// object is removed, it is not created again with the same content.
	// +optional
	Finished *FinishedRun `json:"finished,omitempty"`
}

// FinishedRun is the end of an object that runs once.
type FinishedRun struct {
	// SpecHash identifies the content that ran: it is the annotation kubernetes-fleet.io/spec-hash of the object.
	// +required
	// +kubebuilder:validation:MaxLength=128
	SpecHash string `json:"specHash"`

	// Succeeded is false for an object that failed for good.
	// +required
	Succeeded bool `json:"succeeded"`

	// Cause is the cause of the failure, as the controller of the object reported it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Cause string `json:"cause,omitempty"`

	// RuleHeld is the last result of the rule in the annotation kubernetes-fleet.io/available-when before the object
	// finished; absent if the object had no rule.
	// +optional
	RuleHeld *bool `json:"ruleHeld,omitempty"`
}
