package divider

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
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
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/replicas"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// SetupWithManager starts the divider with mgr. After a start every placement that divides replicas, or whose bindings
// have shares, is reconciled once.
func (d *Divider) SetupWithManager(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("divider").WithOptions(loop.Options(d.Workers))
	for _, kind := range scope.Placements.Served(d.Namespaced) {
		b = b.Watches(kind, &handler.EnqueueRequestForObject{}, builder.WithPredicates(placements()))
	}
	for _, kind := range scope.Bindings.Served(d.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(d.onBinding), builder.WithPredicates(bindings()))
	}
	for _, kind := range scope.ResourceSnapshots.Served(d.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(d.ifDivided), builder.WithPredicates(snapshots()))
	}
	for _, kind := range scope.PolicySnapshots.Served(d.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(d.ifDivided), builder.WithPredicates(decisions()))
	}
	b = b.Watches(&clusterv1beta1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(d.onCluster), builder.WithPredicates(d.clusters()))
	b = b.Watches(&clusterv1beta1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(d.onBrake), builder.WithPredicates(brakes()))
	b = b.Watches(&clusterv1beta1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(d.onRoom), builder.WithPredicates(d.rooms()))
	if err := b.Complete(loop.Settle(loop.Unreserved(d))); err != nil {
		return fmt.Errorf("set up the divider: %w", err)
	}
	return nil
}

// onBinding enqueues the placement of a binding, if there is something to divide or to clear.
func (d *Divider) onBinding(ctx context.Context, o client.Object) []reconcile.Request {
	if b, ok := o.(v1beta1.BindingObject); ok && len(b.GetSpec().Shares) > 0 {
		return scope.RequestPlacement(ctx, o)
	}
	return d.ifDivided(ctx, o)
}

// ifDivided enqueues the placement to which an object belongs, if it divides replicas.
func (d *Divider) ifDivided(ctx context.Context, o client.Object) []reconcile.Request {
	key, ok := scope.PlacementOf(o)
	if !ok {
		return nil
	}
	placement := scope.Placements.New(key)
	err := d.Client.Get(ctx, key, placement, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	if err != nil || replicas.PolicyOf(placement) == nil {
		return nil // if the placement is not in the cache yet, its creation is an event
	}
	return scope.RequestPlacement(ctx, o)
}

// onCluster enqueues the placements that divide replicas and have a binding to a cluster.
func (d *Divider) onCluster(ctx context.Context, cluster client.Object) []reconcile.Request {
	found, err := scope.Bindings.AllServed(ctx, d.Client, d.Namespaced, scope.Fast(scope.OnCluster(cluster.GetName()))...)
	if err != nil {
		// Only a cache that is being stopped fails; the next start reconciles every placement.
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue placements after a MemberCluster change", "cluster", cluster.GetName())
		return nil
	}
	var out []reconcile.Request
	for _, b := range found {
		out = append(out, d.ifDivided(ctx, b)...)
	}
	return out
}

// onRoom enqueues the placements that wait for room and have a binding to a cluster.
func (d *Divider) onRoom(ctx context.Context, cluster client.Object) []reconcile.Request {
	return slices.DeleteFunc(d.onCluster(ctx, cluster), func(r reconcile.Request) bool { return !d.waiting.Has(r.NamespacedName) })
}

// onBrake enqueues all placements that divide replicas: during a brake none moves any.
func (d *Divider) onBrake(ctx context.Context, _ client.Object) []reconcile.Request {
	found, err := scope.Placements.AllServed(ctx, d.Client, d.Namespaced, scope.Fast()...)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue placements after a change of the brake")
		return nil
	}
	var out []reconcile.Request
	for _, p := range found {
		if replicas.PolicyOf(p) != nil {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(p)})
		}
	}
	return out
}

// placements passes changes of the policy and of the strategy.
func placements() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return replicas.PolicyOf(e.Object.(v1beta1.PlacementObject)) != nil },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(v1beta1.PlacementObject), e.ObjectNew.(v1beta1.PlacementObject)
			if replicas.PolicyOf(before) == nil && replicas.PolicyOf(after) == nil {
				return false
			}
			was, is := before.GetSpec(), after.GetSpec()
			return before.GetAnnotations()[contract.AnnotationRebalance] != after.GetAnnotations()[contract.AnnotationRebalance] ||
				before.GetGeneration() != after.GetGeneration() && (!equality.Semantic.DeepEqual(was.Strategy, is.Strategy) || !equality.Semantic.DeepEqual(was.Policy, is.Policy))
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// bindings passes bindings that come or go, and changes of what decides about shares: the state, the revision, the
// overrides, a replacement, and whether the content is available.
func bindings() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(v1beta1.BindingObject), e.ObjectNew.(v1beta1.BindingObject)
			return was.GetGeneration() != is.GetGeneration() ||
				was.GetDeletionTimestamp().IsZero() != is.GetDeletionTimestamp().IsZero() ||
				was.GetAnnotations()[contract.AnnotationReplacedBy] != is.GetAnnotations()[contract.AnnotationReplacedBy] ||
				delivery.StatusOf(was).Well() != delivery.StatusOf(is).Well() || reported(was) != reported(is) ||
				!equality.Semantic.DeepEqual(was.GetStatus().UnschedulableReplicas, is.GetStatus().UnschedulableReplicas)
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// reported is whether the cluster has reported whether what it has now is available.
func reported(b v1beta1.BindingObject) bool {
	return delivery.StatusOf(b).Current(v1beta1.ConditionAvailable) != nil
}

// snapshots passes snapshots that may make a group the latest or complete.
func snapshots() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return scope.IsLatest(e.ObjectNew) && (!scope.IsLatest(e.ObjectOld) ||
				e.ObjectOld.GetAnnotations()[contract.AnnotationSnapshotCount] != e.ObjectNew.GetAnnotations()[contract.AnnotationSnapshotCount])
		},
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// decisions passes changes of the scheduler's decisions.
func decisions() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(v1beta1.PolicySnapshotObject), e.ObjectNew.(v1beta1.PolicySnapshotObject)
			return !equality.Semantic.DeepEqual(was.GetStatus().ClusterDecisions, is.GetStatus().ClusterDecisions)
		},
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// clusters passes clusters that leave, or whose labels, silence or health change.
func (d *Divider) clusters() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is, now := e.ObjectOld.(*clusterv1beta1.MemberCluster), e.ObjectNew.(*clusterv1beta1.MemberCluster), d.Now()
			return was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
				!equality.Semantic.DeepEqual(was.Labels, is.Labels) ||
				!equality.Semantic.DeepEqual(was.Status.Silence, is.Status.Silence) ||
				failover.Healthy(was) != failover.Healthy(is) ||
				(liveness.Of(was, now) == liveness.Heard) != (liveness.Of(is, now) == liveness.Heard)
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// brakes passes clusters whose silence may begin or end a brake.
func brakes() predicate.Predicate {
	braked := func(o client.Object) bool {
		s := o.(*clusterv1beta1.MemberCluster).Status.Silence
		return s != nil && s.State == clusterv1beta1.SilenceBraked
	}
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		UpdateFunc:  func(e event.UpdateEvent) bool { return braked(e.ObjectOld) != braked(e.ObjectNew) },
		DeleteFunc:  func(e event.DeleteEvent) bool { return braked(e.Object) },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// rooms passes reports of clusters while a placement waits for room.
func (d *Divider) rooms() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(*clusterv1beta1.MemberCluster), e.ObjectNew.(*clusterv1beta1.MemberCluster)
			return len(d.waiting.All()) > 0 && !was.Status.ResourceUsage.ObservationTime.Equal(&is.Status.ResourceUsage.ObservationTime)
		},
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}
