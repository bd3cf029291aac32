package testworld

import (
	"context"
	"fmt"
	"net/http"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
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

// ManagerOptions are those of the agents, without their ports: several managers of one process get along. Their limits
// are for a loaded machine; a manager that reaches one ends with an error.
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
// again. What the manager has not written by then, it never will: await its last writes, events among them, before.
func Run(t testing.TB, mgr ctrl.Manager) (stop func()) {
	t.Helper()
	return Go(t, "the agent", mgr.Start).Stop
}

// Running is what Go has started.
type Running struct {
	t     testing.TB
	what  string
	stop  context.CancelFunc
	ended chan struct{}
	err   error
}

// Go runs an agent or a game beside the test, until Stop or the end of the test. The one that ends then has not
// outlived the test: it may use t up to its end, but must not end the test (t.Fatal).
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

// Stop asks it to end, waits until it has, and fails the test if it ended with an error. It may be called again.
func (r *Running) Stop() {
	r.t.Helper()
	r.stop()
	select {
	case <-r.ended:
	case <-time.After(Patience):
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1) // a builder takes everything
		r.t.Errorf("%s does not end within %s of being stopped:\n%s", r.what, Patience, &stacks)
		return
	}
	if err := r.err; err != nil {
		r.err = nil // reported once
		r.t.Errorf("%s ended: %v", r.what, err)
	}
}

// Wait waits until it ends without being asked to, and returns its error, which Stop does not report then.
func (r *Running) Wait() error {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(Workload + Patience):
		r.t.Fatalf("%s goes on", r.what)
	}
	err := r.err
	r.err = nil
	return err
}

// Ended is closed when it has ended, stopped or not.
func (r *Running) Ended() <-chan struct{} { return r.ended }

// AwaitKnown waits until an agent knows of an object in the version that the test has of it, or a later one. Agents
// learn of objects of different kinds in any order: await what one must know before you write what it acts on. Knows
// reads what it knows, as a manager's cache.
func AwaitKnown(t testing.TB, knows client.Reader, obj client.Object) {
	t.Helper()
	is := obj.DeepCopyObject().(client.Object)
	Await(t, Soon, fmt.Sprintf("the agent to know of %T %s", obj, obj.GetName()), func(ctx context.Context) error {
		if err := knows.Get(ctx, client.ObjectKeyFromObject(obj), is); err != nil {
			return err
		}
		order, err := resourceversion.CompareResourceVersion(is.GetResourceVersion(), obj.GetResourceVersion())
		if err == nil && order < 0 {
			return fmt.Errorf("it knows of version %s, not %s", is.GetResourceVersion(), obj.GetResourceVersion())
		}
		return err
	})
}

// Writes notes the requests of an agent that are not reads nor dry runs, each as its method and path. The zero value
// is ready.
type Writes struct {
	mu   sync.Mutex
	list []string
}

// Of returns a copy of cfg whose writes are noted.
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
