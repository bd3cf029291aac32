package evictor

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// SetupWithManager adds the evictor to mgr. After a start it carries out every eviction without an outcome.
func (e *Evictor) SetupWithManager(mgr ctrl.Manager) error {
	kinds, err := e.served(mgr)
	if err != nil || len(kinds) == 0 {
		return err
	}
	if err := scope.IndexEvictions(context.Background(), mgr.GetFieldIndexer(), kinds...); err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(mgr).Named("evictor").WithOptions(loop.Options(e.Workers))
	for _, kind := range kinds {
		b = b.Watches(kind, handler.Funcs{CreateFunc: created, UpdateFunc: updated, DeleteFunc: deleted})
	}
	if err := b.Complete(loop.Settle(loop.Unreserved(e))); err != nil {
		return fmt.Errorf("set up the evictor: %w", err)
	}
	return nil
}

// served are the kinds of evictions that the hub serves. A hub that was set up for another agent may lack the
// namespaced one; that must not prevent the start.
func (e *Evictor) served(mgr ctrl.Manager) ([]v1beta1.EvictionObject, error) {
	all := scope.Evictions.Both()
	if !e.Namespaced {
		all = all[:1]
	}
	var out []v1beta1.EvictionObject
	for _, kind := range all {
		gvk, err := apiutil.GVKForObject(kind, mgr.GetScheme())
		if err != nil {
			return nil, fmt.Errorf("set up the evictor: %w", err)
		}
		_, err = mgr.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
		switch {
		case meta.IsNoMatchError(err):
			mgr.GetLogger().Info("Evictions disabled: install their CustomResourceDefinition and restart the agent", "kind", gvk.Kind)
		case err != nil:
			return nil, fmt.Errorf("look up %s: %w", gvk.Kind, err)
		default:
			out = append(out, kind)
		}
	}
	return out, nil
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func created(_ context.Context, event event.CreateEvent, q queue) { add(event.Object, q) }

// updated enqueues evictions whose outcome another client removed. The evictor's own writes end them.
func updated(_ context.Context, event event.UpdateEvent, q queue) {
	if report.EvictionEnded(event.ObjectOld.(v1beta1.EvictionObject)) {
		add(event.ObjectNew, q)
	}
}

func deleted(_ context.Context, event event.DeleteEvent, _ queue) {
	complete.DeletePartialMatch(prometheus.Labels{"name": scope.Name(client.ObjectKeyFromObject(event.Object))})
}

// add enqueues the placement of an eviction that has no outcome yet.
func add(obj client.Object, q queue) {
	if eviction := obj.(v1beta1.EvictionObject); !report.EvictionEnded(eviction) {
		q.Add(reconcile.Request{NamespacedName: scope.EvictedBy(eviction)})
	}
}
