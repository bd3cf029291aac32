package dispatcher

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover/state"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/replicas"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// SetupWithManager starts the dispatcher with mgr.
func (d *Dispatcher) SetupWithManager(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("dispatcher").WithOptions(d.Trace.Options(loop.Options(d.Workers)))
	for _, kind := range scope.Bindings.Served(d.Namespaced) {
		b = b.Watches(kind, &handler.EnqueueRequestForObject{}, builder.WithPredicates(bindings()))
	}
	b = b.Watches(&v1beta1.Work{}, handler.EnqueueRequestsFromMapFunc(d.forWork), builder.WithPredicates(d.works()))
	b = b.Watches(&v1beta1.Work{}, handler.EnqueueRequestsFromMapFunc(d.forGoneWork), builder.WithPredicates(only(deletions)))
	for _, kind := range scope.ResourceSnapshots.Served(d.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(d.forSnapshot), builder.WithPredicates(only(creations)))
	}
	for _, kind := range scope.PolicySnapshots.Served(d.Namespaced) {
		b = b.Watches(kind, handler.Funcs{UpdateFunc: d.picked})
	}
	for _, kind := range scope.Placements.Served(d.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(d.forPlacement), builder.WithPredicates(d.placements()))
	}
	b = b.Watches(&clusterv1beta1.InternalMemberCluster{}, handler.EnqueueRequestsFromMapFunc(d.forCluster), builder.WithPredicates(only(creations)))
	b = b.Watches(&clusterv1beta1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(d.forCluster), builder.WithPredicates(only(deletions)))
	b = b.Watches(&clusterv1beta1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(d.forRelabelled), builder.WithPredicates(loop.Relabelled()))
	for _, kind := range scope.OverrideSnapshots.Both() {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(d.forOverride), builder.WithPredicates(overrides()))
	}
	if err := b.Complete(loop.Settle(d)); err != nil {
		return fmt.Errorf("set up the dispatcher: %w", err)
	}
	return nil
}

// bindings passes changes of a binding's request. Its status is written by this agent or the roller and needs no
// reaction.
func bindings() predicate.Predicate {
	waits := func(o client.Object) bool {
		binding, ok := o.(v1beta1.BindingObject)
		return ok && binding.GetSpec().State == v1beta1.BindingStateScheduled && o.GetDeletionTimestamp().IsZero()
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !waits(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			if waits(e.ObjectNew) {
				return false
			}
			return e.ObjectNew.GetGeneration() != e.ObjectOld.GetGeneration() ||
				e.ObjectNew.GetAnnotations()[contract.AnnotationPlacementUID] != e.ObjectOld.GetAnnotations()[contract.AnnotationPlacementUID] ||
				e.ObjectNew.GetDeletionTimestamp().IsZero() != e.ObjectOld.GetDeletionTimestamp().IsZero()
		},
	}
}

// works passes reports of a Work's member, and changes of marks and specs by other clients. The agent's own writes,
// and the start of a deletion, need no reaction.
func (d *Dispatcher) works() predicate.Predicate {
	return predicate.Funcs{
		// A Work that is new to the cache and already has a report comes from an interrupted watch.
		CreateFunc: func(e event.CreateEvent) bool {
			w, ok := e.Object.(*v1beta1.Work)
			return ok && len(w.Status.Conditions) > 0
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false }, // see forGoneWork
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*v1beta1.Work)
			after, ok2 := e.ObjectNew.(*v1beta1.Work)
			if !ok1 || !ok2 {
				return false
			}
			if !equality.Semantic.DeepEqual(before.Status, after.Status) {
				return true
			}
			if before.Generation != after.Generation {
				return after.DeletionTimestamp.IsZero() && !d.hands.own(after)
			}
			return (!maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations))
		},
	}
}

// placements passes changes of the settings that bindings do not carry.
func (d *Dispatcher) placements() predicate.Predicate {
	setting := func(o client.Object) [7]any {
		if placement, ok := o.(v1beta1.PlacementObject); ok {
			strategy := placement.GetSpec().Strategy
			return [7]any{
				state.ReportBack(placement.GetSpec()), strategy.DeleteStrategy, replicas.PolicyOf(placement) != nil,
				strategy.Removal, placement.GetAnnotations()[contract.AnnotationReleaseRemoval],
				removal.Waits(placement, d.Removal), placement.GetDeletionTimestamp().IsZero() || !removal.WouldHold(placement, d.Removal),
			}
		}
		return [7]any{}
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList }, // a binding may have been reconciled before its placement was in the cache
		DeleteFunc: func(e event.DeleteEvent) bool { // another client may have removed all finalizers of one that was held
			placement, ok := e.Object.(v1beta1.PlacementObject)
			return ok && (removal.Waits(placement, d.Removal) || placement.GetNamespace() != "" && removal.WouldHold(placement, d.Removal))
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			return !equality.Semantic.DeepEqual(setting(e.ObjectOld), setting(e.ObjectNew))
		},
	}
}

// Values for only.
const (
	creations = true
	deletions = false
)

// only passes the creations, or else the deletions, of objects.
func only(created bool) predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return created },
		DeleteFunc: func(event.DeleteEvent) bool { return !created },
		UpdateFunc: func(event.UpdateEvent) bool { return false },
	}
}

// overrides passes override snapshots that appear or disappear: bindings may wait for them, or report them. Those that
// exist at the start are read with the bindings.
func overrides() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
		UpdateFunc: func(event.UpdateEvent) bool { return false },
	}
}

// forWork maps a Work to its binding.
func (d *Dispatcher) forWork(_ context.Context, o client.Object) []reconcile.Request {
	if w, ok := o.(*v1beta1.Work); ok {
		if key, ok := scope.BindingOf(w); ok {
			return []reconcile.Request{{NamespacedName: key}}
		}
	}
	return nil
}

// forGoneWork maps a deleted Work to its binding, and to any other binding of the same placement and cluster, which
// may have waited to create a Work of the same name.
func (d *Dispatcher) forGoneWork(ctx context.Context, o client.Object) []reconcile.Request {
	out := d.forWork(ctx, o)
	d.hands.forget(o.GetUID())
	placement, ok := scope.PlacementOf(o)
	cluster, isMember := contract.MemberOf(o.GetNamespace())
	if !ok || !isMember {
		return out
	}
	d.foreignReported.Delete(o.GetUID())
	there := func(b v1beta1.BindingObject) bool { return b.GetSpec().TargetCluster == cluster }
	return append(out, d.requests(ctx, placement, there)...)
}

// forSnapshot maps a resource snapshot to the bindings that place its group.
func (d *Dispatcher) forSnapshot(ctx context.Context, o client.Object) []reconcile.Request {
	placement, ok := scope.PlacementOf(o)
	index, err := strconv.Atoi(o.GetLabels()[contract.LabelResourceIndex])
	if !ok || err != nil {
		return nil
	}
	master := contract.MasterSnapshotName(placement.Name, index)
	return d.requests(ctx, placement, func(b v1beta1.BindingObject) bool { return b.GetSpec().ResourceSnapshotName == master })
}

// picked enqueues the bindings to clusters that a policy snapshot has just picked: they may have waited for that.
func (d *Dispatcher) picked(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	was, ok1 := e.ObjectOld.(v1beta1.PolicySnapshotObject)
	is, ok2 := e.ObjectNew.(v1beta1.PolicySnapshotObject)
	placement, ok3 := scope.PlacementOf(e.ObjectNew)
	if !ok1 || !ok2 || !ok3 {
		return
	}
	newly := map[string]bool{}
	for _, decision := range is.GetStatus().ClusterDecisions {
		newly[decision.ClusterName] = decision.Selected
	}
	for _, decision := range was.GetStatus().ClusterDecisions {
		newly[decision.ClusterName] = newly[decision.ClusterName] && !decision.Selected
	}
	for _, request := range d.requests(ctx, placement, func(b v1beta1.BindingObject) bool {
		return newly[b.GetSpec().TargetCluster] && b.GetSpec().State != v1beta1.BindingStateScheduled
	}) {
		q.Add(request)
	}
}

// forPlacement maps a placement to its bindings.
func (d *Dispatcher) forPlacement(ctx context.Context, o client.Object) []reconcile.Request {
	return d.requests(ctx, client.ObjectKeyFromObject(o), func(v1beta1.BindingObject) bool { return true })
}

// requests maps a placement to its bindings that match.
func (d *Dispatcher) requests(ctx context.Context, placement types.NamespacedName, match func(v1beta1.BindingObject) bool) []reconcile.Request {
	list, err := scope.Bindings.List(ctx, d.Client, placement.Namespace, scope.Fast(scope.OfPlacement(placement))...)
	return matching(ctx, list, err, match)
}

// forCluster maps a cluster to the bindings that target it.
func (d *Dispatcher) forCluster(ctx context.Context, o client.Object) []reconcile.Request {
	list, err := scope.Bindings.AllServed(ctx, d.Client, d.Namespaced, scope.Fast(scope.OnCluster(o.GetName()))...)
	return matching(ctx, list, err, func(v1beta1.BindingObject) bool { return true })
}

func matching(ctx context.Context, list []v1beta1.BindingObject, err error, match func(v1beta1.BindingObject) bool) []reconcile.Request {
	if err != nil {
		// A read from the cache fails only while the process stops; the next start enqueues all bindings.
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list the bindings for an event")
		return nil
	}
	var out []reconcile.Request
	for _, b := range list {
		if match(b) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(b)})
		}
	}
	return out
}

// Strip is a transform for the cache of Works: it drops their manifests, which the dispatcher writes and never reads;
// they would hold all content once more for every cluster.
func Strip(object any) (any, error) {
	if w, ok := object.(*v1beta1.Work); ok {
		w.Spec.Workload.Manifests = nil
		w.ManagedFields = nil
	}
	return object, nil
}
