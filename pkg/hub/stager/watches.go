package stager

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// SetupWithManager starts the stager with mgr. After a start every run is reconciled once.
func (s *Stager) SetupWithManager(mgr ctrl.Manager) error {
	s.awake = s.Now()
	b := ctrl.NewControllerManagedBy(mgr).Named("stager").WithOptions(loop.Options(s.Workers))
	for _, kind := range scope.UpdateRuns.Served(s.Namespaced) {
		b = b.Watches(kind, &handler.EnqueueRequestForObject{}, builder.WithPredicates(runs()))
	}
	for _, kind := range scope.ApprovalRequests.Served(s.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(ofRequest), builder.WithPredicates(requests()))
	}
	for _, kind := range scope.Bindings.Served(s.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(s.ofPlacement), builder.WithPredicates(bindings()))
	}
	for _, kind := range scope.PolicySnapshots.Served(s.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(s.ofPlacement), builder.WithPredicates(changed()))
	}
	for _, kind := range scope.Placements.Served(s.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(s.onPlacement), builder.WithPredicates(placements()))
	}
	for _, kind := range scope.OverrideSnapshots.Both() {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(s.onOverride), builder.WithPredicates(appearing()))
	}
	b = b.Watches(&clusterv1beta1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(s.onCluster), builder.WithPredicates(loop.Relabelled()))
	b = b.Watches(&clusterv1beta1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(s.onReturn),
		builder.WithPredicates(predicate.Or(loop.HeardAgain(s.Now), leaving())))
	if err := b.Complete(loop.Settle(loop.Unreserved(s))); err != nil {
		return fmt.Errorf("set up the stager: %w", err)
	}
	return nil
}

// ofRequest enqueues the run of an approval request.
func ofRequest(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{
		Namespace: obj.GetNamespace(), Name: obj.(v1beta1.ApprovalRequestObject).GetSpec().UpdateRunName,
	}}}
}

// ofPlacement enqueues the active runs for the placement of an object.
func (s *Stager) ofPlacement(ctx context.Context, obj client.Object) []reconcile.Request {
	key, ok := scope.PlacementOf(obj)
	if !ok {
		return nil
	}
	return s.runsOf(ctx, key)
}

func (s *Stager) onPlacement(ctx context.Context, obj client.Object) []reconcile.Request {
	return s.runsOf(ctx, client.ObjectKeyFromObject(obj))
}

// runsOf enqueues the active runs for a placement.
func (s *Stager) runsOf(ctx context.Context, key types.NamespacedName) []reconcile.Request {
	runs, err := scope.UpdateRuns.List(ctx, s.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...)
	if err != nil {
		// Only a cache that is being stopped fails; the next start reconciles every run.
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue update runs of a placement", "placement", scope.Name(key))
		return nil
	}
	var out []reconcile.Request
	for _, run := range runs {
		if active(run) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(run)})
		}
	}
	return out
}

// active returns whether a change of another object can make a next step of a run possible.
func active(run v1beta1.UpdateRunObject) bool {
	initialized := meta.FindStatusCondition(*run.GetConditions(), v1beta1.ConditionInitialized)
	return !delivery.Ended(run) &&
		(initialized == nil || meta.IsStatusConditionTrue(*run.GetConditions(), v1beta1.ConditionInitialized) && run.GetSpec().State != v1beta1.UpdateRunInitialize)
}

// onCluster enqueues the active runs for placements with bindings to a cluster.
func (s *Stager) onCluster(ctx context.Context, cluster client.Object) []reconcile.Request {
	return s.runsOn(ctx, cluster, func(v1beta1.BindingObject) bool { return true })
}

// onReturn enqueues the active runs that may wait until they can remove their placement from a cluster.
func (s *Stager) onReturn(ctx context.Context, cluster client.Object) []reconcile.Request {
	return s.runsOn(ctx, cluster, func(b v1beta1.BindingObject) bool { return b.GetSpec().State == v1beta1.BindingStateUnscheduled })
}

// runsOn returns the active runs for placements with such a binding to a cluster.
func (s *Stager) runsOn(ctx context.Context, cluster client.Object, such func(v1beta1.BindingObject) bool) []reconcile.Request {
	found, err := scope.Bindings.AllServed(ctx, s.Client, s.Namespaced, scope.Fast(scope.OnCluster(cluster.GetName()))...)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue update runs after a MemberCluster change", "cluster", cluster.GetName())
		return nil
	}
	var out []reconcile.Request
	for _, b := range found {
		if such(b) {
			out = append(out, s.ofPlacement(ctx, b)...)
		}
	}
	return out
}

// leaving passes clusters that begin to leave, and those that are gone.
func leaving() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// onOverride enqueues the runs without a plan, which may wait for the snapshot of an override.
func (s *Stager) onOverride(ctx context.Context, _ client.Object) []reconcile.Request {
	runs, err := scope.UpdateRuns.AllServed(ctx, s.Client, s.Namespaced, scope.Fast()...)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue update runs after a new override snapshot")
		return nil
	}
	var out []reconcile.Request
	for _, run := range runs {
		initialized := meta.FindStatusCondition(*run.GetConditions(), v1beta1.ConditionInitialized)
		if initialized == nil || initialized.Status == metav1.ConditionUnknown {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(run)})
		}
	}
	return out
}

// appearing passes objects that are created after the start.
func appearing() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return !e.IsInInitialList },
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// runs passes a run that is created or deleted, or whose spec changes.
func runs() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
				e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// requests passes approvals, and the deletion of a request whose approval was not accepted.
func requests() predicate.Predicate {
	open := func(obj client.Object) bool {
		r := obj.(v1beta1.ApprovalRequestObject)
		return !approved(r) && !accepted(r)
	}
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return !e.IsInInitialList && !open(e.Object) },
		UpdateFunc:  func(e event.UpdateEvent) bool { return open(e.ObjectOld) != open(e.ObjectNew) },
		DeleteFunc:  func(e event.DeleteEvent) bool { return !accepted(e.Object.(v1beta1.ApprovalRequestObject)) },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// bindings passes what a run waits for: a binding is created or deleted, its spec changes, its conditions, or its
// replacement.
func bindings() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(v1beta1.BindingObject), e.ObjectNew.(v1beta1.BindingObject)
			return was.GetGeneration() != is.GetGeneration() || !equality.Semantic.DeepEqual(*was.GetConditions(), *is.GetConditions()) ||
				was.GetAnnotations()[contract.AnnotationReplacedBy] != is.GetAnnotations()[contract.AnnotationReplacedBy]
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// changed passes everything but the initial list.
func changed() predicate.Predicate {
	return predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList }}
}

// placements passes changes of the spec, and a placement that is created after its run, or deleted.
func placements() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return !e.IsInInitialList },
		UpdateFunc:  func(e event.UpdateEvent) bool { return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}
