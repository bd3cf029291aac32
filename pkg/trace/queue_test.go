package trace

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestQueueNotesTimes(t *testing.T) {
	a := &Agent{}
	limiter := workqueue.DefaultTypedItemBasedRateLimiter[reconcile.Request]()
	q, ok := a.Options(controller.Options{}).NewQueue("test", limiter).(priorityqueue.PriorityQueue[reconcile.Request])
	if !ok {
		t.Fatal("the queue has no priorities")
	}
	defer q.ShutDown()
	request := func(name string) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
	}
	begin := time.Now()
	q.AddAfter(request("a"), time.Hour)
	q.Add(request("a"))
	q.AddWithOpts(priorityqueue.AddOpts{After: time.Nanosecond}, request("a"))
	taken, _, _ := q.GetWithPriority()
	got := a.times.of(taken)
	if taken != request("a") || got.due.Before(begin) || got.taken.Before(got.due) || time.Since(got.taken) < 0 {
		t.Errorf("%v was due at %s and taken at %s, after %s", taken, got.due, got.taken, begin)
	}
	q.Add(request("a")) // while it is worked on
	if again := a.times.of(taken); again != got {
		t.Errorf("the work on it was due at %s, and then at %s", got.due, again.due)
	}
	q.Done(taken)
	if left := a.times.of(taken); left != (turn{}) {
		t.Errorf("it is still worked on since %s", left.taken)
	}
	if taken, _ = q.Get(); a.times.of(taken).due.Before(got.taken) {
		t.Errorf("the second time it was due at %s; it was added after %s", a.times.of(taken).due, got.taken)
	}
	q.Done(taken)
	q.AddRateLimited(request("b"))
	if taken, _ = q.Get(); taken != request("b") || !a.times.of(taken).due.IsZero() || a.times.of(taken).taken.IsZero() {
		t.Errorf("a retried request: %+v", a.times.of(taken))
	}
	q.Done(taken)
	if len(a.times.due)+len(a.times.worked) != 0 {
		t.Errorf("times of requests that are done: %v, %v", a.times.due, a.times.worked)
	}
}
