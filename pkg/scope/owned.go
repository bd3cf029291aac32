package scope

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// OwnedBy reports whether the placement owns a snapshot. Snapshots of an earlier placement with its name, and
// snapshots that another client created, have another owner or none.
func OwnedBy(snapshot client.Object, placement v1beta1.PlacementObject) bool {
	owner := metav1.GetControllerOf(snapshot)
	return owner != nil && owner.UID == placement.GetUID() && owner.Name == placement.GetName() && owner.Kind == placement.ConditionType("")
}

// Marked reports whether a binding records its placement's UID. Earlier versions did not write it; the scheduler adds
// it.
func Marked(b v1beta1.BindingObject) bool {
	return b.GetAnnotations()[contract.AnnotationPlacementUID] != ""
}

// Of reports whether a binding with the name of placement belongs to it and not to an earlier placement with the same
// name. A binding without a recorded UID counts as belonging to it.
func Of(b v1beta1.BindingObject, placement v1beta1.PlacementObject) bool {
	return !Marked(b) || b.GetAnnotations()[contract.AnnotationPlacementUID] == string(placement.GetUID())
}

// OnlyOf omits the bindings of an earlier placement with the same name.
func OnlyOf(placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject) []v1beta1.BindingObject {
	return slices.DeleteFunc(bindings, func(b v1beta1.BindingObject) bool { return !Of(b, placement) })
}
