package work

import (
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Claims says whether w names the binding of order, and its placement, as those that it was made for, in the namespace of the binding's
// cluster. That is not yet a reason to believe what is reported in it: any member can make such a Work in its own namespace.
func (o Order) Claims(w *v1beta1.Work) bool {
	binding, ok := scope.BindingOf(w)
	placement, _ := scope.PlacementOf(w)
	return ok && binding == o.Binding && placement == o.Placement && w.Namespace == contract.MemberNamespace(o.Cluster)
}

// Made says whether the dispatcher made w for the very binding of order. Only such Works are believed: their reports make the status of the
// binding, and of objects on the hub.
func (o Order) Made(w *v1beta1.Work) bool {
	return o.Claims(w) && w.Annotations[contract.AnnotationBindingUID] == string(o.UID)
}

// Adopts says whether w was made for the binding of order, or claims to have been by a version that did not mark Works yet: then the mark is
// what it lacks.
func (o Order) Adopts(w *v1beta1.Work) bool { return o.Made(w) || o.Claims(w) && unmarked(w) }

// unmarked says whether a Work does not name the UID of its binding.
func unmarked(w *v1beta1.Work) bool { return w.Annotations[contract.AnnotationBindingUID] == "" }

// sameMark says whether both Works are of the same binding by its UID.
func sameMark(a, b *v1beta1.Work) bool {
	return a.Annotations[contract.AnnotationBindingUID] == b.Annotations[contract.AnnotationBindingUID]
}
