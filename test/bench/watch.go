package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// log has the latest state of each object of one kind on one cluster, from a watch. Waiting on it causes no further
// requests.
type log struct {
	mu     sync.Mutex
	latest map[string]event // by namespace/name
	grown  chan struct{}    // closed and replaced whenever latest changes
}

type event struct {
	at     time.Time
	object client.Object
	gone   bool
}

// follow starts a log of list's kind. The watch ends with ctx.
func follow(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (*log, error) {
	l := &log{latest: map[string]event{}, grown: make(chan struct{})}
	if err := c.List(ctx, list, opts...); err != nil {
		return nil, err
	}
	w, err := onwards(ctx, c, list, opts)
	if err != nil {
		return nil, err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		l.add(item.(client.Object), false)
	}
	go func() {
		defer w.Stop()
		for e := range w.ResultChan() {
			if obj, ok := e.Object.(client.Object); ok && e.Type != watch.Bookmark && e.Type != watch.Error {
				l.add(obj, e.Type == watch.Deleted)
			}
		}
	}()
	return l, nil
}

// onwards watches from the resource version of the list, and watches again whenever the API server closes the watch.
func onwards(ctx context.Context, c client.WithWatch, list client.ObjectList, opts []client.ListOption) (watch.Interface, error) {
	kind := list.DeepCopyObject().(client.ObjectList)
	return toolswatch.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return c.Watch(ctx, kind, append(slices.Clone(opts), &client.ListOptions{Raw: &o})...)
		},
	})
}

func (l *log) add(obj client.Object, gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latest[key(obj.GetNamespace(), obj.GetName())] = event{at: time.Now(), object: obj, gone: gone}
	close(l.grown)
	l.grown = make(chan struct{})
}

func key(namespace, name string) string { return namespace + "/" + name }

// when waits until the latest event of key satisfies is, and returns the time of that event.
func (l *log) when(ctx context.Context, what string, is func(event, bool) bool) (time.Time, error) {
	for {
		l.mu.Lock()
		e, ok := l.latest[what]
		grown := l.grown
		l.mu.Unlock()
		if is(e, ok) {
			if !ok {
				return time.Now(), nil
			}
			return e.at, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
}

// counter counts the events since the log began.
type counter struct {
	mu sync.Mutex
	n  int
}

// countWrites counts every change of a kind, as a stand-in for the writes that made them.
func countWrites(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (*counter, error) {
	var n counter
	if err := c.List(ctx, list, opts...); err != nil {
		return nil, err
	}
	w, err := onwards(ctx, c, list, opts)
	if err != nil {
		return nil, err
	}
	go func() {
		defer w.Stop()
		for e := range w.ResultChan() {
			if e.Type != watch.Bookmark && e.Type != watch.Error {
				n.mu.Lock()
				n.n++
				n.mu.Unlock()
			}
		}
	}()
	return &n, nil
}

func (c *counter) value() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func holds(value string) func(event, bool) bool {
	return func(e event, ok bool) bool {
		if !ok || e.gone {
			return false
		}
		cm, ok := e.object.(*corev1.ConfigMap)
		return ok && cm.Data["data"] == value
	}
}

func isGone(e event, ok bool) bool { return !ok || e.gone }

func isAvailable(e event, ok bool) bool {
	if !ok || e.gone {
		return false
	}
	p, ok := e.object.(*v1beta1.ClusterResourcePlacement)
	if !ok {
		return false
	}
	c := meta.FindStatusCondition(p.Status.Conditions, p.ConditionType(v1beta1.ConditionAvailable))
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == p.Generation
}
