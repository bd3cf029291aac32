package trace

import (
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Options returns o with a queue that notes when requests become due and when a worker takes them.
func (a *Agent) Options(o controller.Options) controller.Options {
	if a == nil {
		return o
	}
	o.NewQueue = func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
		return queue{times: &a.times, PriorityQueue: priorityqueue.New(name, func(o *priorityqueue.Opts[reconcile.Request]) { o.RateLimiter = limiter })}
	}
	return o
}

// queue is controller-runtime's default queue with times.
type queue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	times *times
}

// Add adds a request that is due.
func (q queue) Add(r reconcile.Request) {
	q.times.add(0, r)
	q.PriorityQueue.Add(r)
}

// AddAfter adds a request that is due later.
func (q queue) AddAfter(r reconcile.Request, after time.Duration) {
	q.times.add(after, r)
	q.PriorityQueue.AddAfter(r, after)
}

// AddWithOpts adds requests. When those that are retried after a failure become due is not known.
func (q queue) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	if !o.RateLimited {
		q.times.add(o.After, requests...)
	}
	q.PriorityQueue.AddWithOpts(o, requests...)
}

// Get waits for a request and takes it.
func (q queue) Get() (reconcile.Request, bool) {
	r, _, shutdown := q.GetWithPriority()
	return r, shutdown
}

// GetWithPriority waits for a request and takes it.
func (q queue) GetWithPriority() (r reconcile.Request, priority int, shutdown bool) {
	if r, priority, shutdown = q.PriorityQueue.GetWithPriority(); !shutdown {
		q.times.take(r)
	}
	return r, priority, shutdown
}

// Done ends the work on a request.
func (q queue) Done(r reconcile.Request) {
	q.times.done(r)
	q.PriorityQueue.Done(r)
}

// times are those of the requests in a queue, and of those that workers have. The zero value is ready.
type times struct {
	mu     sync.Mutex
	due    map[reconcile.Request]time.Time
	worked map[reconcile.Request]turn
}

// turn is the work on a request: when it became due, zero if that is not known, and when a worker took it.
type turn struct{ due, taken time.Time }

func (t *times) add(after time.Duration, requests ...reconcile.Request) {
	at := time.Now().Add(after)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.due == nil {
		t.due, t.worked = map[reconcile.Request]time.Time{}, map[reconcile.Request]turn{}
	}
	for _, r := range requests {
		if was, ok := t.due[r]; !ok || at.Before(was) {
			t.due[r] = at
		}
	}
}

func (t *times) take(r reconcile.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.worked == nil {
		return
	}
	t.worked[r] = turn{due: t.due[r], taken: time.Now()}
	delete(t.due, r)
}

func (t *times) done(r reconcile.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.worked, r)
}

// of returns the turn of a request that a worker has; zero for another one.
func (t *times) of(r reconcile.Request) turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.worked[r]
}
