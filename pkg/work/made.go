package work

import (
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Claims reports whether w names the binding of order, and its placement, as its source, in the namespace of the
// binding's cluster. That alone is no reason to trust its report: any member can create such a Work in its own
// namespace.
func (o Order) Claims(w *v1beta1.Work) bool {
	binding, ok := scope.BindingOf(w)
	placement, _ := scope.PlacementOf(w)
	return ok && binding == o.Binding && placement == o.Placement && w.Namespace == contract.MemberNamespace(o.Cluster)
}

// Made reports whether the dispatcher created w for the binding of order with the same UID. Only the reports of such
// Works are used for the status of the binding, and of objects on the hub.
func (o Order) Made(w *v1beta1.Work) bool {
	return o.Claims(w) && w.Annotations[contract.AnnotationBindingUID] == string(o.UID)
}

// Adopts reports whether w was made for the binding of order, or claims to be and has no mark because an earlier
// version created it: then only the mark is missing.
func (o Order) Adopts(w *v1beta1.Work) bool { return o.Made(w) || o.Claims(w) && unmarked(w) }

// unmarked reports whether a Work does not name the UID of its binding.
func unmarked(w *v1beta1.Work) bool { return w.Annotations[contract.AnnotationBindingUID] == "" }

// sameMark reports whether both Works are of the same binding by its UID.
func sameMark(a, b *v1beta1.Work) bool {
	return a.Annotations[contract.AnnotationBindingUID] == b.Annotations[contract.AnnotationBindingUID]
}
