package delivery

import (
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// MayHaveContent returns whether there may be content on the cluster of a binding in a state; snapshot is what it
// names, and previous the state noted when it was given up, empty if none was. A binding keeps the name of its
// snapshot: one without was never given anything.
func MayHaveContent(state, previous v1beta1.BindingState, snapshot string) bool {
	switch state {
	case v1beta1.BindingStateBound:
		return true
	case v1beta1.BindingStateUnscheduled:
		return snapshot != "" || previous == v1beta1.BindingStateBound
	}
	return false
}

// Previous returns the state that was noted on a binding when it was given up, empty if none was.
func Previous(b v1beta1.BindingObject) v1beta1.BindingState {
	return v1beta1.BindingState(b.GetAnnotations()[contract.AnnotationPreviousState])
}
