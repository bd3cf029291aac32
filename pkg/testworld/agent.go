package testworld

import (
	"context"
	"fmt"
	"net/http"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/loop/consistent"
)

// ManagerOptions returns the options of the agents' managers, without ports, so that a process can run several
// managers. The timeouts are for a loaded machine; a manager that exceeds one ends with an error.
func ManagerOptions() ctrl.Options {
	yes, shutdown := true, Patience/2
	return ctrl.Options{
		Scheme:                  apis.Scheme(),
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		NewClient:               consistent.NewClient,
		Controller:              config.Controller{SkipNameValidation: &yes, CacheSyncTimeout: Patience},
		GracefulShutdownTimeout: &shutdown,
	}
}

// Run runs a manager until it is stopped, or the test ends. Stop returns when the manager has ended, and may be called
// again. Writes that are still pending then are lost: await the manager's last writes, including events, before.
func Run(t testing.TB, mgr ctrl.Manager) (stop func()) {
	t.Helper()
	return Go(t, "the agent", mgr.Start).Stop
}

// Running is a function that Go has started.
type Running struct {
	t     testing.TB
	what  string
	stop  context.CancelFunc
	ended chan struct{}
	err   error
}

// Go runs a function in the background until Stop or the end of the test, which waits for it. The function may use t,
// but must not call t.Fatal.
func Go(t testing.TB, what string, run func(context.Context) error) *Running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &Running{t: t, what: what, stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = run(ctx)
	}()
	t.Cleanup(r.Stop)
	return r
}

// Stop cancels the function's context, waits until it returns, and fails the test if it returns an error. It may be
// called again.
func (r *Running) Stop() {
	r.t.Helper()
	r.stop()
	select {
	case <-r.ended:
	case <-time.After(Patience):
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1) // a builder takes everything
		r.t.Errorf("%s does not end within %s after it was stopped:\n%s", r.what, Patience, &stacks)
		return
	}
	if err := r.err; err != nil {
		r.err = nil // reported once
		r.t.Errorf("%s ended: %v", r.what, err)
	}
}

// Wait waits until the function returns by itself, and returns its error, which Stop then does not report.
func (r *Running) Wait() error {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(Workload + Patience):
		r.t.Fatalf("%s is still running", r.what)
	}
	err := r.err
	r.err = nil
	return err
}

// Ended returns a channel that is closed when the function has returned.
func (r *Running) Ended() <-chan struct{} { return r.ended }

// AwaitProgress waits until a running writer has done twenty more writes, which it counts in done, or has ended.
func AwaitProgress(t testing.TB, writer *Running, done *atomic.Int64) {
	t.Helper()
	before := done.Load()
	Await(t, Soon, "more writes", func(context.Context) error {
		select {
		case <-writer.Ended():
			return nil
		default:
		}
		if now := done.Load(); now < before+20 {
			return fmt.Errorf("%d writes, then %d", before, now)
		}
		return nil
	})
}

// AwaitKnown waits until an agent's cache has an object in the resource version of obj, or a later one. Caches receive
// objects of different kinds in any order: call it for the objects that an agent must know before you write the one
// that it acts on.
func AwaitKnown(t testing.TB, cache client.Reader, obj client.Object) {
	t.Helper()
	is := obj.DeepCopyObject().(client.Object)
	Await(t, Soon, fmt.Sprintf("the agent's cache to have %T %s", obj, obj.GetName()), func(ctx context.Context) error {
		if err := cache.Get(ctx, client.ObjectKeyFromObject(obj), is); err != nil {
			return err
		}
		order, err := resourceversion.CompareResourceVersion(is.GetResourceVersion(), obj.GetResourceVersion())
		if err == nil && order < 0 {
			return fmt.Errorf("the cache has resource version %s, want %s", is.GetResourceVersion(), obj.GetResourceVersion())
		}
		return err
	})
}

// Writes records an agent's requests except reads and dry runs, each as its method and path. The zero value is ready.
type Writes struct {
	mu   sync.Mutex
	list []string
}

// Of returns a copy of cfg whose writes are recorded.
func (w *Writes) Of(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodGet && !r.URL.Query().Has("dryRun") {
				w.mu.Lock()
				w.list = append(w.list, r.Method+" "+r.URL.Path)
				w.mu.Unlock()
			}
			return next.RoundTrip(r)
		})
	})
	return cfg
}

// All returns the writes so far, or since the last Take.
func (w *Writes) All() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.list)
}

// Take returns the writes since the last call.
func (w *Writes) Take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.list
	w.list = nil
	return out
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
