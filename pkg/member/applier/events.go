package applier

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// workEvents enqueues Works whose spec changed, or that now have divided workloads, or none. Only this agent writes
// their statuses.
type workEvents struct{}

var _ handler.EventHandler = workEvents{}

func (workEvents) Create(_ context.Context, e event.CreateEvent, q queue) {
	priority := priorityIntent
	// After a restart every Work is new; those without a report go first.
	if work, ok := e.Object.(*v1beta1.Work); ok && work.DeletionTimestamp.IsZero() && reported(work) {
		priority = priorityRestart
	}
	add(q, priority, client.ObjectKeyFromObject(e.Object))
}

func (workEvents) Update(_ context.Context, e event.UpdateEvent, q queue) {
	if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
		isDivided(e.ObjectOld) != isDivided(e.ObjectNew) || rewritten(e.ObjectOld, e.ObjectNew) {
		add(q, priorityIntent, client.ObjectKeyFromObject(e.ObjectNew))
	}
}

// rewritten reports whether a Work was replaced by another one, or has other content under the same generation, as on
// a hub that was restored to an older state and changed differently from there.
func rewritten(before, after client.Object) bool {
	if before.GetUID() != after.GetUID() {
		return true
	}
	was, ok := before.(*v1beta1.Work)
	is, also := after.(*v1beta1.Work)
	return ok && also && !equality.Semantic.DeepEqual(was.Spec, is.Spec)
}

func (workEvents) Delete(_ context.Context, e event.DeleteEvent, q queue) {
	add(q, priorityIntent, client.ObjectKeyFromObject(e.Object))
}

func (workEvents) Generic(_ context.Context, e event.GenericEvent, q queue) {
	add(q, priorityRecheck, client.ObjectKeyFromObject(e.Object))
}

func add(q queue, priority int, key types.NamespacedName) {
	if pq, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		pq.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, reconcile.Request{NamespacedName: key})
		return
	}
	q.Add(reconcile.Request{NamespacedName: key})
}

// reported reports whether the Work's status is about its generation.
func reported(work *v1beta1.Work) bool {
	return delivery.Current(work.Status.Conditions, v1beta1.ConditionApplied, work.Generation) != nil ||
		delivery.Current(work.Status.Conditions, v1beta1.ConditionDiffReported, work.Generation) != nil
}

// concluded reports whether the Work's status has the outcome of its generation, after which passes have other causes.
func concluded(work *v1beta1.Work) bool {
	available := delivery.Current(work.Status.Conditions, v1beta1.ConditionAvailable, work.Generation)
	return available != nil && available.Status == metav1.ConditionTrue ||
		delivery.Current(work.Status.Conditions, v1beta1.ConditionDiffReported, work.Generation) != nil
}

// ledgerEvents enqueues the Work of an AppliedWork whose deletion begins or ends, or that was released, and of each
// existing one at start: its Work may be gone. Other changes are the agent's own.
func ledgerEvents(namespace string) handler.EventHandler {
	key := func(obj client.Object) types.NamespacedName {
		return types.NamespacedName{Namespace: namespace, Name: obj.GetName()}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if e.IsInInitialList {
				add(q, priorityRestart, key(e.Object))
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.GetAnnotations(), e.ObjectNew.GetAnnotations()
			if e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
				was[contract.AnnotationHeld] != is[contract.AnnotationHeld] || was[contract.AnnotationReleaseRemoval] != is[contract.AnnotationReleaseRemoval] {
				add(q, priorityRecheck, key(e.ObjectNew))
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			add(q, priorityIntent, key(e.Object))
		},
	}
}
