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

// Patience is how long a watch may fail before the agent becomes unready.
const Patience = time.Minute

// Watches records since when the watches of caches fail, by kind. The zero value is empty and ready.
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

// Failing describes the watches that have failed for longer than Patience, sorted.
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

// Reset forgets all failures, before caches are created again.
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

// observe records the outcome of a request for a kind. Only a successful watch ends a failure; a list does not.
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

// observed wraps a ListerWatcher so that its outcomes are recorded.
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
