package scheduler

import (
	"context"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// SetupWithManager adds the scheduler to mgr. A start reconciles every placement once, when its policy snapshot
// appears.
func (s *Scheduler) SetupWithManager(mgr ctrl.Manager) error {
	s.awake = s.Now()
	// The indexes exist as long as the cache, which is not started yet.
	if err := s.indexTopics(context.Background(), mgr.GetFieldIndexer()); err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(mgr).Named("scheduler").WithOptions(s.Trace.Options(loop.Options(s.Workers)))
	for _, kind := range scope.PolicySnapshots.Served(s.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(scope.RequestPlacement), builder.WithPredicates(snapshots()))
	}
	for _, kind := range scope.Placements.Served(s.Namespaced) {
		b = b.Watches(kind, &handler.EnqueueRequestForObject{}, builder.WithPredicates(placements()))
	}
	for _, kind := range scope.Bindings.Served(s.Namespaced) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(scope.RequestPlacement), builder.WithPredicates(s.bindings()))
	}
	for _, kind := range scope.Placements.Served(s.Namespaced) {
		b = b.Watches(kind, s.otherPlacements())
	}
	for _, kind := range scope.Bindings.Served(s.Namespaced) {
		b = b.Watches(kind, s.otherBindings())
	}
	if s.Runs {
		for _, kind := range scope.UpdateRuns.Served(s.Namespaced) {
			b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(requestOfRun), builder.WithPredicates(runs()))
		}
	}
	b = b.Watches(&clusterv1beta1.MemberCluster{}, s.clusters())
	if err := mgr.Add(&s.silences); err != nil {
		return fmt.Errorf("set up the scheduler: %w", err)
	}
	if err := b.Complete(loop.Settle(loop.Unreserved(measured(s, s.Now)))); err != nil {
		return fmt.Errorf("set up the scheduler: %w", err)
	}
	return nil
}

// snapshots passes policies that need a decision: a new one, one that is the latest again, one that requests another
// number of clusters or reflects another generation of its placement.
func snapshots() predicate.Predicate {
	differs := func(e event.UpdateEvent, annotation string) bool {
		return e.ObjectOld.GetAnnotations()[annotation] != e.ObjectNew.GetAnnotations()[annotation]
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return scope.IsLatest(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return scope.IsLatest(e.ObjectNew) && (!scope.IsLatest(e.ObjectOld) ||
				differs(e, contract.AnnotationNumberOfClusters) || differs(e, contract.AnnotationGeneration))
		},
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// placements passes what the scheduler waits for: its finalizer on the placement, and then the deletion and the end of
// the placement. A placement may come with the finalizer, and after its policy snapshot: the two are watched
// separately. The strategy, a failover policy and tolerationSeconds are read from the placement, because they are not
// part of the policy snapshot.
func placements() predicate.Predicate {
	ours := func(o client.Object) bool { return controllerutil.ContainsFinalizer(o, contract.FinalizerScheduler) }
	doomed := func(o client.Object) bool { return ours(o) && !o.GetDeletionTimestamp().IsZero() }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return ours(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(v1beta1.PlacementObject), e.ObjectNew.(v1beta1.PlacementObject)
			return doomed(is) || ours(is) && !ours(was) || external(is) != external(was) ||
				was.GetAnnotations()[contract.AnnotationRebalance] != is.GetAnnotations()[contract.AnnotationRebalance] ||
				was.GetAnnotations()[contract.AnnotationReleaseRemoval] != is.GetAnnotations()[contract.AnnotationReleaseRemoval] ||
				!equality.Semantic.DeepEqual(failover.SettingsOf(was), failover.SettingsOf(is))
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// bindings passes those that are being deleted and have the scheduler's finalizer: they must be released, and their
// placement needs another cluster. The same holds for one that vanished without its finalizer being removed. It passes
// those that are carried over, too: their cluster may be heard already; the end of those that were given up: the
// placement may return to the cluster then; and what becomes available or unavailable, if a decision waits for it.
func (s *Scheduler) bindings() predicate.Predicate {
	doomed := func(o client.Object) bool {
		return !o.GetDeletionTimestamp().IsZero() && controllerutil.ContainsFinalizer(o, contract.FinalizerBinding)
	}
	blocked := func(o client.Object) bool { return controllerutil.ContainsFinalizer(o, contract.FinalizerWork) }
	serves := func(b v1beta1.BindingObject) bool {
		return delivery.StatusOf(b).Is(v1beta1.ConditionAvailable, metav1.ConditionTrue)
	}
	fails := func(b v1beta1.BindingObject) bool { return b.GetStatus().UnavailableSince != nil }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return doomed(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(v1beta1.BindingObject), e.ObjectNew.(v1beta1.BindingObject)
			if key, ok := scope.PlacementOf(is); ok && serves(was) != serves(is) && s.waiting.Has(key) {
				return true
			}
			return fails(is) != fails(was) && s.leavesUnavailable(is) || schedule.CarriedOver(is) && !schedule.CarriedOver(was) || doomed(e.ObjectNew) && (!doomed(e.ObjectOld) || blocked(e.ObjectOld) != blocked(e.ObjectNew))
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			return e.Object.GetDeletionTimestamp().IsZero() || e.Object.(v1beta1.BindingObject).GetSpec().State == v1beta1.BindingStateUnscheduled
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// leavesUnavailable reports whether the placement of a binding leaves clusters where it is unavailable. One that cannot
// be read may.
func (s *Scheduler) leavesUnavailable(b v1beta1.BindingObject) bool {
	key, ok := scope.PlacementOf(b)
	if !ok {
		return false
	}
	placement := scope.Placements.New(key)
	err := s.Client.Get(context.Background(), key, placement, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	policy := failover.PolicyOf(placement)
	return policy != nil && policy.AfterUnavailable != nil
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// clusters enqueues the placements for which a change of a cluster can matter: also that it falls silent, which no
// event shows, and that it is heard again. A cluster that becomes less suitable has no effect on the choices that
// exist, except for one with an evicting taint, nor has one that starts to leave: they stay until the cluster is gone.
func (s *Scheduler) clusters() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			cluster := e.Object.(*clusterv1beta1.MemberCluster)
			s.awaitSilence(ctx, cluster, q)
			if !e.IsInInitialList {
				s.enqueue(ctx, cluster.Name, schedule.ClusterChangeOf(nil, cluster, s.Now()), q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*clusterv1beta1.MemberCluster), e.ObjectNew.(*clusterv1beta1.MemberCluster)
			s.awaitSilence(ctx, is, q)
			if is.DeletionTimestamp.IsZero() {
				s.enqueue(ctx, is.Name, schedule.ClusterChangeOf(was, is, s.Now()), q)
			}
			s.enqueueFailovers(ctx, was, is, q)
			if now := s.Now(); !schedule.Decidable(was, now) && schedule.Decidable(is, now) {
				s.enqueueCarriedOver(ctx, is.Name, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			was := e.Object.(*clusterv1beta1.MemberCluster)
			s.silences.stop(was.Name)
			s.enqueue(ctx, was.Name, schedule.ClusterChangeOf(was, nil, s.Now()), q)
			s.enqueueBound(ctx, was.Name, q)
		},
	}
}

func (s *Scheduler) enqueue(ctx context.Context, cluster string, change schedule.ClusterChange, q queue) {
	for _, topic := range change.Topics() {
		policies, err := s.everyPolicy(ctx, client.MatchingFields{indexTopic: topic})
		if err != nil {
			// Only a stopping cache fails to answer; the next start reconciles every placement.
			ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue placements after a MemberCluster change", "cluster", cluster)
			return
		}
		for _, policy := range policies {
			if key, ok := scope.PlacementOf(policy); ok && change.Matters(watchOf(policy)) {
				q.Add(reconcile.Request{NamespacedName: key})
			}
		}
	}
}

// enqueueBound enqueues every placement that has a binding to a cluster that is gone.
func (s *Scheduler) enqueueBound(ctx context.Context, cluster string, q queue) {
	bindings, err := s.everyBinding(ctx, scope.OnCluster(cluster))
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue the placements with bindings to a MemberCluster", "cluster", cluster)
	}
	for _, b := range bindings {
		if key, ok := scope.PlacementOf(b); ok {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
}

// enqueueCarriedOver enqueues the placements whose policy can be decided for a cluster now, and those that left it. A
// binding that the cache does not have yet enqueues its placement when it appears.
func (s *Scheduler) enqueueCarriedOver(ctx context.Context, cluster string, q queue) {
	bindings, err := scope.Bindings.AllServed(ctx, s.Client, s.Namespaced, scope.Fast(scope.OnCluster(cluster))...)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue the placements with bindings to a MemberCluster", "cluster", cluster)
	}
	for _, b := range bindings {
		if key, ok := scope.PlacementOf(b); ok && (schedule.CarriedOver(b) || failover.ReplacedBy(b) != nil) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
}

// indexTopic is the index of the latest policy snapshots by the topics that they wait for.
const indexTopic = "flagship.topic"

// indexTopics registers the index. Snapshots that wait for nothing are not in it, so that in a large fleet a change is
// processed only for the placements that wait for it.
func (s *Scheduler) indexTopics(ctx context.Context, indexer client.FieldIndexer) error {
	for _, kind := range scope.PolicySnapshots.Served(s.Namespaced) {
		if err := indexer.IndexField(ctx, kind, indexTopic, topicsOf); err != nil {
			return fmt.Errorf("index %T by %s: %w", kind, indexTopic, err)
		}
	}
	return nil
}

func topicsOf(o client.Object) []string {
	policy, ok := o.(v1beta1.PolicySnapshotObject)
	if !ok || !scope.IsLatest(o) {
		return nil
	}
	return watchOf(policy).Topics()
}

func watchOf(policy v1beta1.PolicySnapshotObject) schedule.Watch {
	return schedule.Watch{
		Policy:    policy.GetSpec().Policy,
		Namespace: policy.GetNamespace(),
		Fulfilled: fulfilled(policy),
		Listed:    policy.GetStatus().ClusterDecisions,
	}
}

// fulfilled reports whether the policy, for the current generation of its placement, has all clusters it requests, and
// need not leave any of them.
func fulfilled(snapshot v1beta1.PolicySnapshotObject) bool {
	seen := strconv.FormatInt(snapshot.GetStatus().ObservedCRPGeneration, 10)
	return seen == snapshot.GetAnnotations()[contract.AnnotationGeneration] &&
		!meta.IsStatusConditionFalse(*snapshot.GetConditions(), v1beta1.ConditionFailoverComplete) &&
		delivery.IsTrue(*snapshot.GetConditions(), v1beta1.ConditionScheduled, snapshot.GetGeneration())
}

func (s *Scheduler) everyPolicy(ctx context.Context, opts ...client.ListOption) ([]v1beta1.PolicySnapshotObject, error) {
	if s.Namespaced {
		return scope.PolicySnapshots.All(ctx, s.Client, scope.Fast(opts...)...)
	}
	return scope.PolicySnapshots.List(ctx, s.Client, "", scope.Fast(opts...)...)
}

// everyBinding waits for bindings that are being written: one to a cluster that is gone must not be missed.
func (s *Scheduler) everyBinding(ctx context.Context, opts ...client.ListOption) ([]v1beta1.BindingObject, error) {
	return scope.Bindings.AllServed(ctx, s.Client, s.Namespaced, append(opts, client.UnsafeDisableDeepCopy)...)
}
