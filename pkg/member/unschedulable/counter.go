// Package unschedulable counts the replicas of workloads for which the member has had no node for some time.
//
// Its input are the pods without a node, and the ReplicaSets that own some of them; the applier asks for the numbers,
// and is called when one changes. Owners are identified by UID and never by label selectors, which may overlap. Pods
// of a Deployment count if they belong to its newest ReplicaSet: those of older ones go away with the rollout.
//
// The API server selects the pods, so pods with a node cost nothing. They are watched only while there is a workload
// to count for, because each new pod of the cluster causes two events. ReplicaSets are read one by one, once their
// pods have waited long enough to count.
package unschedulable

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/apply"
)

const (
	// defaultAfter leaves an autoscaler of nodes the time to add one.
	defaultAfter = 5 * time.Minute
	// retryFailed and retryForbidden are the waits before a ReplicaSet is read again.
	retryFailed, retryForbidden = 10 * time.Second, 10 * time.Minute
)

// Counter counts unschedulable replicas. Set the exported fields before its first use.
type Counter struct {
	// After is how long a pod must have been unschedulable to count; by default 5 minutes.
	After time.Duration
	// Now is the clock.
	Now func() time.Time

	pods cache.Getter
	sets metadata.Interface
	// changed is called for a Work whose numbers have changed.
	changed func(work string)
	// nudged receives when there may be something to do before the time that was planned.
	nudged chan struct{}

	mu sync.Mutex
	// ctx is that of Start; nil before and after.
	ctx     context.Context
	asked   map[types.UID]*question
	run     *watching
	running sync.WaitGroup
	// barred are the resources whose refusal was logged.
	barred sets.Set[string]
}

// question is a workload that Works ask about.
type question struct {
	apply.Workload
	// told is the number that each Work was told; nil if it was not known.
	told map[string]*int32
}

// watching is a run of the watch.
type watching struct {
	stop   context.CancelFunc
	groups groups
	// listed is closed once all pods of the first list are in the groups.
	listed <-chan struct{}
	// refused is whether the pods may not be read.
	refused bool
}

// New returns a Counter for the cluster of cfg.
func New(cfg *rest.Config) (*Counter, error) {
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client for pods: %w", err)
	}
	objects, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client for ReplicaSets: %w", err)
	}
	return &Counter{
		After: defaultAfter, Now: time.Now, pods: clients.CoreV1().RESTClient(), sets: objects, changed: func(string) {},
		nudged: make(chan struct{}, 1), asked: map[types.UID]*question{}, barred: sets.New[string](),
	}, nil
}

// OnChange sets the function that is called, by one goroutine, when Counts would return another number to a Work.
func (c *Counter) OnChange(changed func(work string)) { c.changed = changed }

// Counts returns how many replicas of each workload have been unschedulable for long, by UID. A workload is left out
// as long as its number is not known. If the agent may not read pods or ReplicaSets, the number is 0.
//
// The workloads replace those of earlier calls for the Work; with none, the Work is forgotten.
func (c *Counter) Counts(work string, workloads []apply.Workload) map[types.UID]int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retain(work, workloads) {
		c.cover()
		c.nudge()
	}
	if len(workloads) == 0 {
		return nil
	}
	t, out := c.tally(), map[types.UID]int32{}
	for _, w := range workloads {
		n, known := c.number(w.UID, t)
		if !known {
			c.asked[w.UID].told[work] = nil
			continue
		}
		c.asked[w.UID].told[work] = &n
		out[w.UID] = n
	}
	return out
}

// retain makes the workloads those of the Work, and reports whether that changes anything.
func (c *Counter) retain(work string, workloads []apply.Workload) (changed bool) {
	wanted := sets.New[types.UID]()
	for _, w := range workloads {
		wanted.Insert(w.UID)
		q := c.asked[w.UID]
		if q == nil {
			q = &question{Workload: w, told: map[string]*int32{}}
			c.asked[w.UID] = q
			changed = true
			c.outdate(w)
		} else if q.Revision != w.Revision {
			changed = true
			c.outdate(w)
		}
		q.Workload = w
		if _, asks := q.told[work]; !asks {
			q.told[work] = nil
		}
	}
	for uid, q := range c.asked {
		if _, asks := q.told[work]; !asks || wanted.Has(uid) {
			continue
		}
		changed = true
		if delete(q.told, work); len(q.told) == 0 {
			delete(c.asked, uid)
		}
	}
	return changed
}

func (c *Counter) outdate(w apply.Workload) {
	if c.run != nil {
		c.run.groups.outdate(w, c.asked)
	}
}

// tally counts for all workloads.
func (c *Counter) tally() tally {
	if c.run == nil || c.run.refused {
		return tally{}
	}
	return c.run.groups.count(c.asked, c.Now(), c.After)
}

// number returns the number of a workload in a tally, if it is known.
func (c *Counter) number(uid types.UID, t tally) (n int32, known bool) {
	if c.run == nil {
		return 0, false
	}
	if c.run.refused {
		return 0, true
	}
	select {
	case <-c.run.listed:
		return t.counts[uid], !t.open[c.asked[uid].Namespace]
	default:
		return 0, false
	}
}

func (c *Counter) nudge() {
	select {
	case c.nudged <- struct{}{}:
	default: // it is nudged already
	}
}

// Start counts until ctx ends.
func (c *Counter) Start(ctx context.Context) error {
	c.mu.Lock()
	c.ctx = ctx
	c.cover()
	c.mu.Unlock()
	for ctx.Err() == nil {
		c.await(ctx, c.work(ctx))
	}
	c.mu.Lock()
	c.ctx = nil
	c.cover()
	c.mu.Unlock()
	c.running.Wait()
	return nil
}

// await returns when ctx ends, when there may be something to do, or after wait if it is not 0.
func (c *Counter) await(ctx context.Context, wait time.Duration) {
	var passed <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		passed = timer.C
	}
	select {
	case <-ctx.Done():
	case <-c.nudged:
	case <-passed:
	}
}

// work reads the owners that have to be read, and calls changed for the Works whose numbers are others. It returns
// when to come back if nothing happens before; 0 if not at all.
func (c *Counter) work(ctx context.Context) (wait time.Duration) {
	c.mu.Lock()
	unread := c.tally().read
	c.mu.Unlock()
	for _, of := range unread {
		if err := c.read(ctx, of); err != nil {
			if ctx.Err() == nil {
				ctrl.LoggerFrom(ctx).Error(err, "Failed to read the owner of unschedulable pods; retrying")
			}
			wait = retryFailed // the others are likely to fail, too
			break
		}
	}
	works, next := c.differing()
	for _, work := range works {
		c.changed(work)
	}
	if !next.IsZero() {
		left := max(next.Sub(c.Now()), time.Millisecond)
		if wait == 0 || left < wait {
			wait = left
		}
	}
	return wait
}

// differing returns the Works that were told another number, or none, and the time of the next change.
func (c *Counter) differing() ([]string, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, works := c.tally(), sets.New[string]()
	for uid, q := range c.asked {
		n, known := c.number(uid, t)
		if !known {
			continue
		}
		for work, told := range q.told {
			if told == nil || *told != n {
				q.told[work] = &n
				works.Insert(work)
			}
		}
	}
	return sets.List(works), t.next
}

var replicaSets = appsv1.SchemeGroupVersion.WithResource("replicasets")

// read reads the ReplicaSet that owns a group.
func (c *Counter) read(ctx context.Context, of *group) error {
	c.mu.Lock()
	round := of.round
	c.mu.Unlock()
	known := &replicaSet{}
	found, err := c.sets.Resource(replicaSets).Namespace(of.namespace).Get(ctx, of.name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		c.refuse("replicasets", err)
		known.again = c.Now().Add(retryForbidden)
	case apierrors.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("get ReplicaSet %s/%s: %w", of.namespace, of.name, err)
	case found.UID == of.uid:
		c.allow("replicasets")
		known = replicaSetOf(found)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if of.round == round {
		of.known = known
	}
	return nil
}

// refuse logs, once, that a resource may not be read.
func (c *Counter) refuse(resource string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.barred.Has(resource) && c.ctx != nil {
		c.barred.Insert(resource)
		ctrl.LoggerFrom(c.ctx).Error(err, "Cannot count unschedulable replicas; reporting 0", "resource", resource)
	}
}

func (c *Counter) allow(resource string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.barred.Delete(resource)
}

// cover starts the watch if there is a workload to count for, and stops it if there is none.
func (c *Counter) cover() {
	switch needed := c.ctx != nil && len(c.asked) > 0; {
	case needed && c.run == nil:
		c.watch()
	case !needed && c.run != nil:
		c.run.stop()
		c.run = nil
	}
}

// watch starts a run of the watch.
func (c *Counter) watch() {
	ctx, stop := context.WithCancel(c.ctx)
	run := &watching{stop: stop, groups: groups{}}
	informer := cache.NewSharedInformer(c.source(run), &corev1.Pod{}, 0)
	handler, err := c.follow(run, informer)
	if err != nil {
		stop()
		ctrl.LoggerFrom(ctx).Error(err, "Failed to watch pods without a node")
		return
	}
	run.listed = handler.HasSyncedChecker().Done()
	c.run = run
	c.running.Go(func() { informer.RunWithContext(ctx) })
	c.running.Go(func() {
		select {
		case <-run.listed:
			c.nudge()
		case <-ctx.Done():
		}
	})
}

// source lists and watches the pods that have no node and are not finished. It notes for run whether that is allowed.
func (c *Counter) source(run *watching) *cache.ListWatch {
	source := cache.NewListWatchFromClient(c.pods, "pods", metav1.NamespaceAll, fields.AndSelectors(
		fields.OneTermEqualSelector("spec.nodeName", ""),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	))
	list, open := source.ListWithContextFunc, source.WatchFuncWithContext
	source.ListWithContextFunc = func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		pods, err := list(ctx, options)
		c.note(run, err)
		return pods, err
	}
	source.WatchFuncWithContext = func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		events, err := open(ctx, options)
		c.note(run, err)
		return events, err
	}
	return source
}

// note notes the answer to a list or watch of pods.
func (c *Counter) note(run *watching, err error) {
	refused := apierrors.IsForbidden(err)
	switch {
	case refused:
		c.refuse("pods", err)
	case err == nil:
		c.allow("pods")
	default:
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if run.refused != refused {
		run.refused = refused
		c.nudge()
	}
}

// follow keeps the groups of run.
func (c *Counter) follow(run *watching, informer cache.SharedInformer) (cache.ResourceEventHandlerRegistration, error) {
	if err := informer.SetTransform(shrink); err != nil {
		return nil, err
	}
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		if !apierrors.IsForbidden(err) { // that is logged once
			cache.DefaultWatchErrorHandler(ctx, r, err)
		}
	}); err != nil {
		return nil, err
	}
	move := func(was, is any) {
		before, _ := was.(*pod)
		after, _ := is.(*pod)
		c.mu.Lock()
		defer c.mu.Unlock()
		if run.groups.move(before, after, c.Now()) {
			c.nudge()
		}
	}
	return informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { move(nil, obj) },
		UpdateFunc: move,
		DeleteFunc: func(obj any) {
			if missed, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = missed.Obj
			}
			move(obj, nil)
		},
	})
}

func shrink(obj any) (any, error) {
	if p, ok := obj.(*corev1.Pod); ok {
		return podOf(p), nil
	}
	return obj, nil // already shrunk
}
