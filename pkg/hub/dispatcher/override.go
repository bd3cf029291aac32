package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// Reasons of events about overrides that fail or have no effect.
const (
	eventFailed = "OverriddenFailed"
	eventIdle   = "OverrideSelectsNothing"
)

// errNoOverride means that a binding names an override snapshot which does not exist (any more).
var errNoOverride = errors.New("the override snapshot does not exist")

// overrides reads the override snapshots of the order, in its order. The error wraps errNoOverride, or is a failed
// read.
func (d *Dispatcher) overrides(ctx context.Context, order work.Order) ([]v1beta1.OverrideSnapshotObject, error) {
	var out []v1beta1.OverrideSnapshotObject
	for _, key := range delivery.OverridesIn(order.Content).Keys() {
		s := scope.OverrideSnapshots.New(key)
		err := d.Client.Get(ctx, key, s, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("%s: %w", scope.Name(key), errNoOverride)
		}
		if err != nil {
			return nil, fmt.Errorf("get override snapshot %s: %w", scope.Name(key), err)
		}
		out = append(out, s)
	}
	return out, nil
}

// contentOf identifies the content of override snapshots. It is empty if there are none.
func contentOf(snapshots []v1beta1.OverrideSnapshotObject) (string, error) {
	if len(snapshots) == 0 {
		return "", nil
	}
	var hashes [][]byte
	for _, s := range snapshots {
		hashes = append(hashes, s.GetHash())
	}
	return contract.Hash(hashes)
}

// inPlace is the plan for content whose overrides fail now, but did not when it was written: a label that a variable
// names has been removed from the cluster since. The existing Works stay, and are what the binding requests. ok is
// false if they do not exist.
func inPlace(seen *observed, group work.Group) (out plan, ok bool) {
	wanted, err := work.Wanted(seen.order, group, work.AsIs)
	if err != nil {
		return plan{}, false
	}
	changes, err := work.Compare(wanted, seen.works, nil)
	if err != nil || len(changes.Create)+len(changes.Update)+len(changes.Delete)+len(changes.Await) > 0 {
		return plan{}, false
	}
	return plan{changes: changes, wanted: names(wanted)}, true
}

// idle returns the overrides that are limited to the order's placement and select none of its objects. They are only
// reported, so an undecodable one, of any placement, delays nothing.
func (d *Dispatcher) idle(ctx context.Context, order work.Order, group work.Group) []v1beta1.OverrideSnapshotObject {
	limited, err := scope.OverridesLimitedTo(ctx, d.Client, order.Placement, scope.Fast()...)
	if err != nil {
		ctrl.LoggerFrom(ctx).V(1).Info("Failed to list overrides limited to the placement", "reason", err.Error())
		return nil
	}
	named := delivery.OverridesIn(order.Content).Keys()
	limited = slices.DeleteFunc(limited, func(s v1beta1.OverrideSnapshotObject) bool {
		return slices.Contains(named, client.ObjectKeyFromObject(s))
	})
	if len(limited) == 0 {
		return nil
	}
	var objects [][]byte
	for _, part := range group.Parts {
		objects = append(objects, part.Objects...)
	}
	return override.Idle(limited, override.ContentsOf(objects))
}

// happening is an event to record when a binding's status reports its cause for the first time.
type happening struct {
	about           runtime.Object
	reason, message string
}

// failing is the event on the override, among snapshots, that cannot be applied.
func failing(order work.Order, snapshots []v1beta1.OverrideSnapshotObject, err error) []happening {
	bad := new(override.Error)
	if !errors.As(err, &bad) {
		return nil
	}
	for _, s := range snapshots {
		if s.GetName() == bad.Snapshot && s.GetNamespace() == bad.Namespace {
			message := fmt.Sprintf("Cluster %s does not get the content of placement %s: %v", order.Cluster, scope.Name(order.Placement), err)
			return []happening{{about: overrideOf(s), reason: eventFailed, message: message}}
		}
	}
	return nil
}

// overrideOf refers to the override of a snapshot.
func overrideOf(s v1beta1.OverrideSnapshotObject) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{
		APIVersion: v1beta1.GroupVersion.String(), Kind: override.KindOf(s), Namespace: s.GetNamespace(),
	}
	if key, ok := scope.OverrideOf(s); ok {
		ref.Name = key.Name
	}
	if owner := metav1.GetControllerOf(s); owner != nil {
		ref.UID = owner.UID
	}
	return ref
}

// idleEvents are the events on overrides that select nothing, each once.
func (d *Dispatcher) idleEvents(order work.Order, idle []v1beta1.OverrideSnapshotObject) []happening {
	var out []happening
	for _, s := range idle {
		if _, known := d.idleReported.LoadOrStore(s.GetUID(), true); !known {
			message := fmt.Sprintf("Selects no object of placement %s", scope.Name(order.Placement))
			out = append(out, happening{about: overrideOf(s), reason: eventIdle, message: message})
		}
	}
	return out
}

// forOverride maps an override snapshot to the bindings that name it, and, if it is limited to a placement, to all
// bindings of that one, which report it if it selects nothing.
func (d *Dispatcher) forOverride(ctx context.Context, o client.Object) []reconcile.Request {
	s, ok := o.(v1beta1.OverrideSnapshotObject)
	if !ok {
		return nil
	}
	if limit, limited := scope.LimitOf(s); limited {
		if limit.Namespace != "" && !d.Namespaced {
			return nil
		}
		return d.requests(ctx, limit, func(v1beta1.BindingObject) bool { return true })
	}
	key, ok := scope.OverrideOf(s)
	if !ok {
		return nil
	}
	list, err := scope.Bindings.AllServed(ctx, d.Client, d.Namespaced, scope.Fast(scope.OfOverride(key))...)
	return matching(ctx, list, err, func(v1beta1.BindingObject) bool { return true })
}

// forRelabelled maps a cluster to the bindings to it that name overrides: one that failed because of a missing label
// may succeed now.
func (d *Dispatcher) forRelabelled(ctx context.Context, o client.Object) []reconcile.Request {
	list, err := scope.Bindings.AllServed(ctx, d.Client, d.Namespaced, scope.Fast(scope.OnCluster(o.GetName()))...)
	return matching(ctx, list, err, func(b v1beta1.BindingObject) bool {
		return len(b.GetSpec().ClusterResourceOverrideSnapshots)+len(b.GetSpec().ResourceOverrideSnapshots) > 0
	})
}

// idleNames lists overrides for a message.
func idleNames(idle []v1beta1.OverrideSnapshotObject) []string {
	var out []string
	for _, s := range idle {
		ref := overrideOf(s)
		out = append(out, ref.Kind+" "+scope.Name(types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}))
	}
	return out
}
