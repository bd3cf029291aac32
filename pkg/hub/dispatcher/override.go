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

// Reasons of the events about overrides that do not do what they are for.
const (
	eventFailed = "OverriddenFailed"
	eventIdle   = "OverrideSelectsNothing"
)

// errNoOverride is a binding that names an override snapshot which does not exist (any more).
var errNoOverride = errors.New("the override snapshot does not exist")

// overrides reads the override snapshots that the order names, in its order. The error wraps errNoOverride, or is a failed read.
func (d *Dispatcher) overrides(ctx context.Context, order work.Order) ([]v1beta1.OverrideSnapshotObject, error) {
	var out []v1beta1.OverrideSnapshotObject
	for _, key := range delivery.OverridesIn(order.Content).Keys() {
		s := scope.OverrideSnapshots.New(key)
		err := d.Client.Get(ctx, key, s, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("%s: %w", nameOf(key), errNoOverride)
		}
		if err != nil {
			return nil, fmt.Errorf("get override snapshot %s: %w", nameOf(key), err)
		}
		out = append(out, s)
	}
	return out, nil
}

// contentOf stands for what override snapshots say. It is empty if there are none.
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

func nameOf(key types.NamespacedName) string {
	if key.Namespace == "" {
		return key.Name
	}
	return key.String()
}

// inPlace is the plan for content whose overrides fail now, and which was written when they did not: a label that a variable names has
// been taken off the cluster since. What is there stays, and is what the binding asks for. ok is false if it is not there.
func inPlace(seen *seen, group work.Group) (out plan, ok bool) {
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

// idle returns the overrides that are limited to the order's placement and select nothing of its content. It is only told of them, so
// one that cannot be read, wherever it is, holds up nothing.
func (d *Dispatcher) idle(ctx context.Context, order work.Order, group work.Group) []v1beta1.OverrideSnapshotObject {
	limited, err := scope.OverridesLimitedTo(ctx, d.Client, order.Placement, scope.Fast()...)
	if err != nil {
		ctrl.LoggerFrom(ctx).V(1).Info("Could not list the overrides that select nothing", "reason", err.Error())
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

// happening is an event worth recording when a binding's status says something for the first time.
type happening struct {
	about           runtime.Object
	reason, message string
}

// failing is the event on an override that cannot be worked in, found among snapshots.
func failing(order work.Order, snapshots []v1beta1.OverrideSnapshotObject, err error) []happening {
	bad := new(override.Error)
	if !errors.As(err, &bad) {
		return nil
	}
	for _, s := range snapshots {
		if s.GetName() == bad.Snapshot && s.GetNamespace() == bad.Namespace {
			message := fmt.Sprintf("Cluster %s does not get the content of %s: %v", order.Cluster, nameOf(order.Placement), err)
			return []happening{{about: overrideOf(s), reason: eventFailed, message: message}}
		}
	}
	return nil
}

// overrideOf refers to the override that a snapshot is of.
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

// idleEvents are events on overrides that select nothing, each once.
func (d *Dispatcher) idleEvents(order work.Order, idle []v1beta1.OverrideSnapshotObject) []happening {
	var out []happening
	for _, s := range idle {
		if _, told := d.toldIdle.LoadOrStore(s.GetUID(), true); !told {
			message := fmt.Sprintf("Selects nothing that %s places", nameOf(order.Placement))
			out = append(out, happening{about: overrideOf(s), reason: eventIdle, message: message})
		}
	}
	return out
}

// forOverride leads from an override snapshot to the bindings that name it, and, if it is limited to a placement, to all of that one: they
// say so if it selects nothing.
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

// forRelabelled leads from a cluster to the bindings to it that name overrides: what failed for want of a label may succeed now.
func (d *Dispatcher) forRelabelled(ctx context.Context, o client.Object) []reconcile.Request {
	list, err := scope.Bindings.AllServed(ctx, d.Client, d.Namespaced, scope.Fast(scope.OnCluster(o.GetName()))...)
	return matching(ctx, list, err, func(b v1beta1.BindingObject) bool {
		return len(b.GetSpec().ClusterResourceOverrideSnapshots)+len(b.GetSpec().ResourceOverrideSnapshots) > 0
	})
}

// idleNames names overrides for a message.
func idleNames(idle []v1beta1.OverrideSnapshotObject) []string {
	var out []string
	for _, s := range idle {
		ref := overrideOf(s)
		out = append(out, ref.Kind+" "+nameOf(types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}))
	}
	return out
}
