package roller

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// SetupWithManager starts the roller with mgr. After a start every placement with bindings is reconciled once.
func (r *Roller) SetupWithManager(mgr ctrl.Manager) error {
	r.awake = r.Now()
	b := ctrl.NewControllerManagedBy(mgr).Named("roller").WithOptions(r.Trace.Options(loop.Options(r.Workers)))
	for _, kind := range scope.ResourceSnapshots.Served(r.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(scope.RequestPlacement), builder.WithPredicates(snapshots()))
	}
	for _, kind := range scope.Bindings.Served(r.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(scope.RequestPlacement), builder.WithPredicates(bindings()))
	}
	for _, kind := range scope.Placements.Served(r.Namespaced) {
		b = b.Watches(kind, &handler.EnqueueRequestForObject{}, builder.WithPredicates(placements()))
	}
	b = b.Watches(&clusterv1beta1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(r.onCluster), builder.WithPredicates(r.clusters()))
	b = b.Watches(&clusterv1beta1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(r.onHeard), builder.WithPredicates(loop.HeardAgain(r.Now)))
	b = b.Watches(&clusterv1beta1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(r.onLabels), builder.WithPredicates(loop.Relabelled()))
	for _, kind := range scope.OverrideSnapshots.Both() {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(r.onOverride), builder.WithPredicates(overrides()))
	}
	if err := b.Complete(loop.Settle(loop.Unreserved(r))); err != nil {
		return fmt.Errorf("set up the roller: %w", err)
	}
	return nil
}

// onCluster enqueues the placements with bindings to a cluster.
func (r *Roller) onCluster(ctx context.Context, cluster client.Object) []reconcile.Request {
	return r.placementsOn(ctx, cluster, func(v1beta1.BindingObject) bool { return true })
}

// onHeard enqueues the placements with bindings that were given up and wait until the cluster is heard, or that wait
// until the placement is ready on others, which this may be one of.
func (r *Roller) onHeard(ctx context.Context, cluster client.Object) []reconcile.Request {
	return r.placementsOn(ctx, cluster, func(b v1beta1.BindingObject) bool {
		return b.GetDeletionTimestamp().IsZero() && (b.GetSpec().State == v1beta1.BindingStateUnscheduled || r.mayReplace(ctx, b))
	})
}

// mayReplace returns whether the placement of a binding has replaced bindings. It reads nothing else: many clusters
// may be heard again at once, with a placement on all of them.
func (r *Roller) mayReplace(ctx context.Context, b v1beta1.BindingObject) bool {
	key, ok := scope.PlacementOf(b)
	if !ok {
		return false
	}
	replaced, err := scope.Bindings.List(ctx, r.Client, key.Namespace, scope.Fast(scope.Replaced(key), client.Limit(1))...)
	return err == nil && len(replaced) > 0
}

// placementsOn returns the placements with such a binding to a cluster.
func (r *Roller) placementsOn(ctx context.Context, cluster client.Object, such func(v1beta1.BindingObject) bool) []reconcile.Request {
	found, err := scope.Bindings.AllServed(ctx, r.Client, r.Namespaced, scope.Fast(scope.OnCluster(cluster.GetName()))...)
	if err != nil {
		// Only a cache that is being stopped fails; the next start reconciles every placement.
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue placements after a MemberCluster change", "cluster", cluster.GetName())
		return nil
	}
	var out []reconcile.Request
	for _, b := range found {
		if such(b) {
			out = append(out, scope.RequestPlacement(ctx, b)...)
		}
	}
	return out
}

// snapshots passes snapshots that may make a group the latest or complete, and changes of the rollout course of the
// latest.
func snapshots() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return scope.IsLatest(e.Object) || !isMaster(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.GetAnnotations(), e.ObjectNew.GetAnnotations()
			return scope.IsLatest(e.ObjectNew) && (!scope.IsLatest(e.ObjectOld) ||
				was[contract.AnnotationSnapshotCount] != is[contract.AnnotationSnapshotCount] ||
				was[contract.AnnotationRolloutCourse] != is[contract.AnnotationRolloutCourse])
		},
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// isMaster returns whether a resource snapshot is the first of its group.
func isMaster(o client.Object) bool {
	_, ok := o.GetAnnotations()[contract.AnnotationResourceHash]
	return ok
}

// bindings passes what can make a next step possible: a binding is created or deleted, its spec changes, its health,
// or its replacement.
func bindings() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld, e.ObjectNew
			return was.GetGeneration() != is.GetGeneration() ||
				was.GetDeletionTimestamp().IsZero() != is.GetDeletionTimestamp().IsZero() ||
				was.GetAnnotations()[contract.AnnotationReplacedBy] != is.GetAnnotations()[contract.AnnotationReplacedBy] ||
				healthChanged(was.(v1beta1.BindingObject), is.(v1beta1.BindingObject))
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

func healthChanged(was, is v1beta1.BindingObject) bool {
	if (len(was.GetStatus().FailedPlacements) > 0) != (len(is.GetStatus().FailedPlacements) > 0) {
		return true
	}
	for _, kind := range delivery.Outcome() {
		before, after := meta.FindStatusCondition(*was.GetConditions(), kind), meta.FindStatusCondition(*is.GetConditions(), kind)
		if (before == nil) != (after == nil) || before != nil && !sameReport(*before, *after) {
			return true
		}
	}
	return false
}

// sameReport compares conditions without their messages.
func sameReport(a, b metav1.Condition) bool {
	return a.Status == b.Status && a.Reason == b.Reason && a.ObservedGeneration == b.ObservedGeneration && a.LastTransitionTime.Equal(&b.LastTransitionTime)
}

// placements passes changes of the strategy and of the policy, and of whether the scheduler finds too few clusters;
// and a new placement, which may appear in the cache after its snapshots and bindings.
func placements() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(v1beta1.PlacementObject), e.ObjectNew.(v1beta1.PlacementObject)
			was, is := before.GetSpec(), after.GetSpec()
			return short(before) != short(after) || before.GetGeneration() != after.GetGeneration() &&
				(!equality.Semantic.DeepEqual(was.Strategy, is.Strategy) || !equality.Semantic.DeepEqual(was.Policy, is.Policy))
		},
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// clusters passes clusters that are created, begin to leave, or are deleted, and those whose agent reports again:
// their bindings may have been blocked. A cluster that falls silent makes no step possible.
func (r *Roller) clusters() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(*clusterv1beta1.MemberCluster), e.ObjectNew.(*clusterv1beta1.MemberCluster)
			now := r.Now()
			return was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
				schedule.Ineligible(was, now) != "" && schedule.Ineligible(is, now) == ""
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// overrides passes override snapshots that become the latest, are replaced, or are deleted. It drops those of the
// initial list: after a start every placement is reconciled.
func overrides() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return !e.IsInInitialList },
		UpdateFunc:  func(e event.UpdateEvent) bool { return scope.IsLatest(e.ObjectOld) != scope.IsLatest(e.ObjectNew) },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}
