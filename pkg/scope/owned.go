package scope

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// OwnedBy says whether a snapshot was made for this very placement, rather than for an earlier one of its name, or by another hand than the
// placer's.
func OwnedBy(snapshot client.Object, placement v1beta1.PlacementObject) bool {
	owner := metav1.GetControllerOf(snapshot)
	return owner != nil && owner.UID == placement.GetUID() && owner.Name == placement.GetName() && owner.Kind == placement.ConditionType("")
}

// Marked says whether a binding names the placement for which it was made. Earlier versions did not write that; the scheduler adds it.
func Marked(b v1beta1.BindingObject) bool {
	return b.GetAnnotations()[contract.AnnotationPlacementUID] != ""
}

// Of says whether a binding that bears the name of placement was made for this very one. One that is not marked is taken to be.
func Of(b v1beta1.BindingObject, placement v1beta1.PlacementObject) bool {
	return !Marked(b) || b.GetAnnotations()[contract.AnnotationPlacementUID] == string(placement.GetUID())
}

// OnlyOf leaves out the bindings that were made for an earlier placement of the same name.
func OnlyOf(placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject) []v1beta1.BindingObject {
	return slices.DeleteFunc(bindings, func(b v1beta1.BindingObject) bool { return !Of(b, placement) })
}
