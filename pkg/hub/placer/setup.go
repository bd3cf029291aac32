package placer

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
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
		b.Watches(scope.Bindings.New(key), handler.EnqueueRequestsFromMapFunc(scope.RequestPlacement))
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

// wanted passes changes of a placement's spec, its author and its deletion. Status is ignored because no other client
// writes it, and so are the finalizers of others.
var wanted = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
		e.ObjectOld.GetAnnotations()[contract.AnnotationAuthor] != e.ObjectNew.GetAnnotations()[contract.AnnotationAuthor] ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
}}

// notCreated drops create events of snapshots, because the placer creates them itself. Changes and deletions by other
// clients pass.
var notCreated = predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }}
