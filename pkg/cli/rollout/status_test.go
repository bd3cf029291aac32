package rollout

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// watched is a hub with a run, whose watches fail as a test configures; n counts them from 1.
func watched(fault func(n int32, w watch.Interface) (watch.Interface, error), run client.Object) client.WithWatch {
	var watches atomic.Int32
	named := func(o client.Object) []string { return []string{o.GetName()} }
	return fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(run).
		WithIndex(&v1beta1.ClusterStagedUpdateRun{}, metav1.ObjectNameField, named).
		WithInterceptorFuncs(interceptor.Funcs{
			Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
				w, err := c.Watch(ctx, list, opts...)
				if n := watches.Add(1); err == nil && fault != nil {
					return fault(n, w)
				}
				return w, err
			},
		}).Build()
}

// kept is what everything drawn is written to.
type kept struct {
	mu  sync.Mutex
	all strings.Builder
}

func (k *kept) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.all.Write(p)
}

func (k *kept) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.all.String()
}

func lookAtRun(_ context.Context, subject client.Object) (terminal.View, error) {
	return viewOfRun(subject.(v1beta1.UpdateRunObject)), nil
}

func TestAwaitOnATerminal(t *testing.T) {
	run := atProd()
	hub := watched(nil, run)
	out := &kept{}
	s := &terminal.Screen{Out: out, Size: func() (int, int) { return 200, 24 }, Now: time.Now}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	look := func(ctx context.Context, obj client.Object) (terminal.View, error) {
		v, err := lookAtRun(ctx, obj)
		v.Lines[0].Due, v.Lines[0].DueFor = time.Now().Add(time.Minute), "patience" // it runs
		return v, err
	}
	ended := make(chan error, 1)
	go func() { ended <- await(ctx, hub, s, run, look) }()
	up := "\033[6A\033[J" // over the run, two stages, what to approve, and the two clusters of prod; canary's are still
	waitFor(t, out, up+"run     web-1")
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the rollout continues") {
		t.Errorf("error %v", err)
	}
	if !strings.HasSuffix(out.String(), "\n\r\033[K") {
		t.Errorf("it leaves %q", out.String())
	}
}

func waitFor(t *testing.T, out *kept, text string) {
	t.Helper()
	testworld.Await(t, testworld.Soon, text, func(context.Context) error {
		if got := out.String(); !strings.Contains(got, text) {
			return fmt.Errorf("there is %q", got)
		}
		return nil
	})
}

func TestAwaitInAPipe(t *testing.T) {
	run := atProd()
	away := apierrors.NewServiceUnavailable("away")
	again := make(chan struct{}) // a fake hub does not repeat to a watch what was before it
	hub := watched(func(n int32, w watch.Interface) (watch.Interface, error) {
		switch n {
		case 1:
			w.Stop()
			return nil, away
		case 2:
			close(again)
		}
		return w, nil
	}, run)
	out := &kept{}
	s := &terminal.Screen{Out: out, Now: time.Now}
	ended := make(chan error, 1)
	go func() {
		ended <- await(t.Context(), hub, s, run, lookAtRun)
	}()
	waitFor(t, out, "hub connection: lost, retrying: away\n")
	waitFor(t, out, "hub connection: restored\n")
	select {
	case <-again:
	case err := <-ended:
		t.Fatalf("it ended: %v", err)
	}
	run.Status.Conditions = append(run.Status.Conditions, is("Succeeded", metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed, "c3 is gone"))
	if err := hub.Update(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || err.Error() != "the rollout failed: c3 is gone" {
		t.Errorf("error %v", err)
	}
	if strings.Contains(out.String(), "\033") || strings.Count(out.String(), "stage canary: ") != 1 || strings.Count(out.String(), "lost") != 1 {
		t.Errorf("the pipe has %q", out.String())
	}
}
