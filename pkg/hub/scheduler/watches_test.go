package scheduler

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

func placement(deleting bool, finalizers ...string) client.Object {
	p := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Finalizers: finalizers}}
	if deleting {
		now := metav1.Now()
		p.DeletionTimestamp = &now
	}
	return p
}

// A placement can enter the cache after its policy snapshot, which then has been looked at in vain.
func TestPlacementsThatComeLateAreLookedAt(t *testing.T) {
	const ours = contract.FinalizerScheduler
	p := placements()
	if !p.Create(event.CreateEvent{Object: placement(false, ours)}) {
		t.Error("a new placement with the finalizer is not looked at")
	}
	if p.Create(event.CreateEvent{Object: placement(false)}) {
		t.Error("a new placement without the finalizer is looked at; nothing can be done yet")
	}
	for name, tc := range map[string]struct {
		was, is client.Object
		want    bool
	}{
		"the finalizer comes":  {was: placement(false), is: placement(false, ours), want: true},
		"an edit":              {was: placement(false, ours), is: placement(false, ours)},
		"a deletion":           {was: placement(false, ours), is: placement(true, ours), want: true},
		"somebody else's wait": {was: placement(true, ours, "x"), is: placement(true, "x")},
	} {
		if got := p.Update(event.UpdateEvent{ObjectOld: tc.was, ObjectNew: tc.is}); got != tc.want {
			t.Errorf("%s: looked at %v; want %v", name, got, tc.want)
		}
	}
}

// A placement returns to a cluster only when its former binding there is gone.
func TestTheEndOfBindings(t *testing.T) {
	now := metav1.Now()
	binding := func(deleted *metav1.Time, state v1beta1.BindingState) client.Object {
		return &v1beta1.ClusterResourceBinding{
			ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: deleted}, Spec: v1beta1.ResourceBindingSpec{State: state},
		}
	}
	for name, tc := range map[string]struct {
		object client.Object
		want   bool
	}{
		"one that was given up":             {binding(&now, v1beta1.BindingStateUnscheduled), true},
		"one that was evicted":              {binding(&now, v1beta1.BindingStateBound), false},
		"one that lost its finalizer first": {binding(nil, v1beta1.BindingStateBound), true},
	} {
		if got := bindings().Delete(event.DeleteEvent{Object: tc.object}); got != tc.want {
			t.Errorf("%s: looked at %v; want %v", name, got, tc.want)
		}
	}
}
