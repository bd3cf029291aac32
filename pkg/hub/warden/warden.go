// Package warden reports on placements, bindings, overrides and similar objects in reserved namespaces that the other
// agents ignore them, and finishes their deletion. An older version served them, so they may have its finalizers and
// bindings; or a member created them, which has credentials for its own namespace on the hub.
package warden

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// RecorderName is the name under which the warden records events.
const RecorderName = "warden"

// eventIgnored is the reason of the event on an object that has no condition for it.
const eventIgnored = v1beta1.ReasonReservedNamespace

// Warden reconciles the namespaced kinds of the fleet in reserved namespaces.
type Warden struct {
	// Client reads from the cache and writes; Direct reads from the API server.
	Client, Direct client.Client
	Recorder       record.EventRecorder
	// Namespaced, Evictions and Runs are whether ResourcePlacements, evictions and update runs are served.
	Namespaced, Evictions, Runs bool
	// Now is the clock.
	Now func() time.Time

	// reported are the UIDs of objects for which an event was recorded.
	reported sync.Map
}

// SetupWithManager adds the warden to mgr. Of kinds that no other agent watches, it watches the metadata.
func (w *Warden) SetupWithManager(mgr ctrl.Manager) error {
	kinds := map[string]func() client.Object{
		"ResourceOverride": func() client.Object { return &v1beta1.ResourceOverride{} },
		"ResourceEnvelope": metadataOf("ResourceEnvelope"),
	}
	if w.Namespaced {
		kinds["ResourcePlacement"] = func() client.Object { return &v1beta1.ResourcePlacement{} }
		kinds["ResourceBinding"] = func() client.Object { return &v1beta1.ResourceBinding{} }
		if w.Evictions {
			kinds["ResourcePlacementEviction"] = func() client.Object { return &v1beta1.ResourcePlacementEviction{} }
			kinds["ResourcePlacementDisruptionBudget"] = metadataOf("ResourcePlacementDisruptionBudget")
		}
		if w.Runs {
			kinds["StagedUpdateRun"] = func() client.Object { return &v1beta1.StagedUpdateRun{} }
			kinds["StagedUpdateStrategy"] = metadataOf("StagedUpdateStrategy")
		}
	}
	var errs []error
	for name, kind := range kinds {
		errs = append(errs, ctrl.NewControllerManagedBy(mgr).Named("warden-"+strings.ToLower(name)).WithOptions(loop.Options(1)).
			Watches(kind(), &handler.EnqueueRequestForObject{}, builder.WithPredicates(reserved())).
			Complete(loop.Settle(w.reconciler(kind))))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("set up the warden: %w", err)
	}
	return nil
}

// metadataOf returns a constructor for objects of a kind without a condition; the warden needs only their
// metadata.
func metadataOf(kind string) func() client.Object {
	return func() client.Object {
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(v1beta1.GroupVersion.WithKind(kind))
		return o
	}
}

// reserved passes objects in a reserved namespace.
func reserved() predicate.Predicate {
	in := predicate.NewPredicateFuncs(func(o client.Object) bool { return scope.Reserved(client.ObjectKeyFromObject(o)) })
	return predicate.And(in, predicate.Funcs{DeleteFunc: func(event.DeleteEvent) bool { return false }})
}

func (w *Warden) reconciler(kind func() client.Object) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		obj := kind()
		err := w.Client.Get(ctx, req.NamespacedName, obj)
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, nil
		}
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("get %T %s: %w", obj, req.NamespacedName, err)
		}
		if !obj.GetDeletionTimestamp().IsZero() {
			return reconcile.Result{}, w.release(ctx, obj)
		}
		return reconcile.Result{}, w.report(ctx, obj)
	})
}

// report writes the condition, or records an event on an object of a kind without one.
func (w *Warden) report(ctx context.Context, obj client.Object) error {
	before := obj.DeepCopyObject().(client.Object)
	if !report.Reserved(obj, metav1.NewTime(w.Now())) {
		if _, known := w.reported.LoadOrStore(obj.GetUID(), true); !known {
			w.Recorder.Event(obj, corev1.EventTypeWarning, eventIgnored, report.InReserved(obj.GetNamespace()))
		}
		return nil
	}
	wrote, err := loop.WriteStatus(ctx, w.Client, before, obj)
	if wrote {
		ctrl.LoggerFrom(ctx).Info("Reported that the object is ignored", "object", client.ObjectKeyFromObject(obj), "kind", fmt.Sprintf("%T", obj))
	}
	return err
}

// release finishes the deletion of an object: objects that an older version created for it are deleted, and the
// fleet's finalizers are removed.
func (w *Warden) release(ctx context.Context, obj client.Object) error {
	w.reported.Delete(obj.GetUID())
	key := client.ObjectKeyFromObject(obj)
	switch obj.(type) {
	case v1beta1.BindingObject:
		if slices.Contains(obj.GetFinalizers(), contract.FinalizerWork) {
			return nil // the dispatcher deletes its Works, and removes the finalizer when they are gone
		}
	case v1beta1.PlacementObject:
		if err := w.deleteBindings(ctx, key); err != nil {
			return err
		}
	case v1beta1.UpdateRunObject:
		err := w.Direct.DeleteAllOf(ctx, scope.ApprovalRequests.New(key), client.InNamespace(key.Namespace),
			client.MatchingLabels{contract.LabelApprovalRun: key.Name})
		if err != nil {
			return fmt.Errorf("delete the approval requests of update run %s: %w", key, err)
		}
	}
	before := obj.DeepCopyObject().(client.Object)
	obj.SetFinalizers(slices.DeleteFunc(obj.GetFinalizers(), func(f string) bool { return strings.HasPrefix(f, contract.Prefix) }))
	if len(obj.GetFinalizers()) == len(before.GetFinalizers()) {
		return nil
	}
	err := w.Client.Patch(ctx, obj, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove finalizers of %T %s: %w", obj, key, err)
	}
	ctrl.LoggerFrom(ctx).Info("Released ignored object", "object", key, "kind", fmt.Sprintf("%T", obj))
	return nil
}

// deleteBindings deletes the bindings that an older version's scheduler created for a placement. No other agent looks
// for the bindings of a deleted one.
func (w *Warden) deleteBindings(ctx context.Context, placement types.NamespacedName) error {
	if !contract.FitsLabel(placement.Name) {
		return nil // it never had any: they need its name as a label
	}
	bindings, err := scope.Bindings.ListMetadata(ctx, w.Direct, placement.Namespace, client.MatchingLabels{contract.LabelPlacement: placement.Name})
	if err != nil {
		return err
	}
	var errs []error
	for i := range bindings {
		if b := &bindings[i]; b.DeletionTimestamp.IsZero() {
			errs = append(errs, client.IgnoreNotFound(w.Direct.Delete(ctx, b, client.Preconditions{UID: &b.UID})))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete the bindings of placement %s: %w", placement, err)
	}
	return nil
}
