package placer

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// SetupWithManager registers the controller. All fields must be set before the call.
func (p *Placer) SetupWithManager(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("placer").WithOptions(p.Trace.Options(loop.Options(p.Workers)))
	scopes := []types.NamespacedName{{}}
	if p.Namespaced {
		scopes = append(scopes, types.NamespacedName{Namespace: "any"})
		mostWorkers.WithLabelValues(controllerNamespaced).Set(float64(p.Workers))
	}
	mostWorkers.WithLabelValues(controllerWide).Set(float64(p.Workers))
	for _, key := range scopes {
		b.Watches(scope.Placements.New(key), &handler.EnqueueRequestForObject{}, builder.WithPredicates(wanted))
		b.Watches(scope.PolicySnapshots.New(key), handler.EnqueueRequestsFromMapFunc(scope.RequestPlacement), builder.WithPredicates(notCreated))
		b.Watches(scope.ResourceSnapshots.New(key), handler.EnqueueRequestsFromMapFunc(scope.RequestPlacement), builder.WithPredicates(notCreated))
		b.Watches(scope.Bindings.New(key), p.bindings())
	}
	copies := &v1beta1.ClusterResourcePlacementStatus{}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), copies, indexCopy, copyName); err != nil {
		return fmt.Errorf("index status copies: %w", err)
	}
	b.Watches(copies, handler.EnqueueRequestsFromMapFunc(placementOfCopy), builder.WithPredicates(edited))
	b.WatchesRawSource(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		p.Objects.Subscribe(func(key types.NamespacedName) { queue.Add(reconcile.Request{NamespacedName: key}) })
		return nil
	}))
	if err := b.Complete(counted(loop.Settle(loop.Unreserved(p)))); err != nil {
		return fmt.Errorf("set up the placer: %w", err)
	}
	return nil
}

// perCluster is for how long changes of a placement's bindings are gathered, for each of its clusters. A pass computes
// the status of all of them, which takes a fraction of that.
const perCluster = 100 * time.Microsecond

// bindings enqueues the placement of a binding that has changed. After a start every placement is reconciled anyway.
func (p *Placer) bindings() handler.EventHandler {
	enqueue := func(ctx context.Context, o client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		for _, request := range scope.RequestPlacement(ctx, o) {
			q.AddAfter(request, p.gathering(request.NamespacedName))
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if !e.IsInInitialList {
				enqueue(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() { // not a resync
				enqueue(ctx, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(ctx, e.Object, q)
		},
	}
}

// gathering is for how long changes of the bindings of a placement are gathered.
func (p *Placer) gathering(placement types.NamespacedName) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.memories[placement]; m != nil {
		return time.Duration(m.clusters) * perCluster
	}
	return 0
}

// wanted passes changes of a placement's spec, its author, its deletion, and the release of that. Status is ignored
// because no other client writes it, and so are the finalizers of others.
var wanted = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
		e.ObjectOld.GetAnnotations()[contract.AnnotationAuthor] != e.ObjectNew.GetAnnotations()[contract.AnnotationAuthor] ||
		e.ObjectOld.GetAnnotations()[contract.AnnotationReleaseRemoval] != e.ObjectNew.GetAnnotations()[contract.AnnotationReleaseRemoval] &&
			!e.ObjectNew.GetDeletionTimestamp().IsZero() ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
}}

// notCreated drops create events of snapshots, because the placer creates them itself. Changes and deletions by other
// clients pass.
var notCreated = predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }}
