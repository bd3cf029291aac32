package testworld

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A wait that fails shows the answers that it got, also when its last look was cut off.
func TestAWaitShowsWhatItSaw(t *testing.T) {
	looks := 0
	answers := func(context.Context) error {
		looks++
		return fmt.Errorf("answer %d", looks)
	}
	for name, tc := range map[string]struct {
		check func(context.Context) error
		want  []string
	}{
		"one answer": {
			func(context.Context) error { return errors.New("not yet") },
			[]string{"waited 4m10s for rain: context deadline exceeded", "after 0s: not yet"},
		},
		"many results": {answers, []string{"earlier results are not shown:", "after 4m9."}},
		"cancelled": {
			func(ctx context.Context) error {
				if looks++; looks < 3 {
					return fmt.Errorf("answer %d", looks)
				}
				<-ctx.Done()
				return ctx.Err()
			},
			[]string{"after 0s: answer 1", "after 10ms: answer 2", "cancelled: context deadline exceeded"},
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			looks = 0
			err := Until(context.WithoutCancel(t.Context()), Soon, "rain", tc.check)
			if err == nil {
				t.Fatalf("%s: no error", name)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s: %q is not in: %v", name, part, err)
				}
			}
		})
	}
}

// A wait ends with its context and returns the reason.
func TestAWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := Until(ctx, Soon, "rain", func(context.Context) error {
		cancel()
		return errors.New("not yet")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Clean-up may wait as well: the context of a test has ended by then.
func TestCleanUpMayAwait(t *testing.T) {
	t.Run("inner", func(t *testing.T) {
		t.Cleanup(func() {
			Await(t, Soon, "clean-up", func(ctx context.Context) error { return ctx.Err() })
		})
	})
}

// Each event is awaited once, in whatever order they came.
func TestEventsAreAwaited(t *testing.T) {
	var r Recorder
	stop := Go(t, "the agent", func(context.Context) error {
		for i := range 3 {
			Pause()
			r.Eventf(&corev1.Pod{}, "Normal", "Seen", "number %d", i)
		}
		return nil
	}).Stop
	if got := r.Await(t, "Seen", "number 2"); got.String() != "Normal Seen number 2" {
		t.Errorf("got %s", got)
	}
	r.Await(t, "Seen")
	r.Await(t, "Normal")
	stop()
	if left := r.All(); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}

// What runs beside a test has ended when Stop returns.
func TestStopWaits(t *testing.T) {
	ended := false
	running := Go(t, "a game", func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(firstLook) //nolint:forbidigo // the last move, which is not broken off
		ended = true
		return nil
	})
	running.Stop()
	running.Stop()
	if !ended {
		t.Error("it runs")
	}
}
