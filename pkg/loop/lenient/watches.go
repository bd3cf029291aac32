package lenient

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// Patience is how long a watch may fail before the agent is not ready any more.
const Patience = time.Minute

// Watches are the kinds that caches watch, and since when they have failed. The zero value knows none.
type Watches struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	mu     sync.Mutex
	failed map[schema.GroupVersionKind]failure
}

type failure struct {
	since time.Time
	why   string
}

// Failing names the watches that have failed for longer than Patience, in order, with why.
func (w *Watches) Failing() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for gvk, f := range w.failed {
		if w.now().Sub(f.since) >= Patience {
			out = append(out, fmt.Sprintf("%s cannot be watched since %s: %s", gvk.Kind, f.since.UTC().Format(time.RFC3339), f.why))
		}
	}
	slices.Sort(out)
	return out
}

// Reset forgets everything, for caches that begin anew.
func (w *Watches) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = nil
}

func (w *Watches) now() time.Time {
	if w.Now == nil {
		return time.Now()
	}
	return w.Now()
}

// observe notes how a request for a kind ended. That a list succeeds ends no failure: its watch has to.
func (w *Watches) observe(gvk schema.GroupVersionKind, watching bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, failing := w.failed[gvk]
	switch {
	case err == nil && watching:
		delete(w.failed, gvk)
	case err != nil:
		if !failing {
			f.since = w.now()
		}
		f.why = short(err.Error())
		if w.failed == nil {
			w.failed = map[schema.GroupVersionKind]failure{}
		}
		w.failed[gvk] = f
	}
}

// observed is a ListerWatcher whose outcomes are noted.
func (w *Watches) observed(gvk schema.GroupVersionKind, lw toolscache.ListerWatcher) toolscache.ListerWatcher {
	if w == nil {
		return lw
	}
	inner := toolscache.ToListerWatcherWithContext(lw)
	note := func(ctx context.Context, watching bool, err error) {
		if ctx.Err() == nil {
			w.observe(gvk, watching, err)
		}
	}
	return &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := inner.ListWithContext(ctx, o)
			note(ctx, false, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			events, err := inner.WatchWithContext(ctx, o)
			note(ctx, true, err)
			return events, err
		},
	}
}
