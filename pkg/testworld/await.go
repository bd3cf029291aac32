package testworld

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
)

// How long a behaviour takes by the contract on an idle machine. No test asserts it: the bench measures speed. Tests
// use it to document the kind of wait, and wait for up to Patience longer before they fail.
const (
	// Soon is for everything that does not wait for pods.
	Soon = 10 * time.Second
	// Workload is for what waits for pods.
	Workload = 45 * time.Second
	// Long is for joining and leaving.
	Long = 2 * time.Minute
)

// Patience is how much longer a wait may take on a loaded machine. Only failing tests take that long.
const Patience = 4 * time.Minute

const (
	// The interval of checks grows from firstLook, for changes that are immediate, to look, to limit requests.
	firstLook, look = 5 * time.Millisecond, 50 * time.Millisecond
	// farewell is how long before the limit of "go test -timeout" a wait ends, so that the test fails with the last
	// results of its check instead of all goroutines.
	farewell = 10 * time.Second
	// sightsKept is how many different results of a check a failure shows.
	sightsKept = 5
)

// Await waits until check returns nil. If that takes longer than limit and Patience, it fails the test with the errors
// of check. It may be called in clean-up functions. Only the goroutine of the test may call it; others call Until.
func Await(t testing.TB, limit time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := untilDeadline(t)
	defer cancel()
	if err := Until(ctx, limit, what, check); err != nil {
		t.Fatal(err)
	}
}

// Until is like Await, but returns an error instead of failing the test. It returns early when ctx ends.
func Until(ctx context.Context, limit time.Duration, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit+Patience)
	defer cancel()
	var seen sights
	begin := time.Now()
	for pause := firstLook; ; pause = min(2*pause, look) {
		began := time.Now()
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			seen.cutOff = fmt.Sprintf("the last check started %s before that and was cancelled: %v", short(time.Since(began)), err)
		} else {
			seen.note(time.Since(begin), err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w:\n%s", short(time.Since(begin)), what, ctx.Err(), &seen)
		}
	}
}

// sights are the last different results of a check.
type sights struct {
	last    string
	kept    []string
	earlier int // how many were dropped
	cutOff  string
}

func (s *sights) note(after time.Duration, err error) {
	if len(s.kept) > 0 && s.last == err.Error() {
		return
	}
	s.last = err.Error()
	s.kept = append(s.kept, fmt.Sprintf("after %s: %v", short(after), err))
	if len(s.kept) > sightsKept {
		s.kept, s.earlier = s.kept[1:], s.earlier+1
	}
}

// String lists them, the last one at the end.
func (s *sights) String() string {
	lines := s.kept
	if s.earlier > 0 {
		lines = append([]string{fmt.Sprintf("%d earlier results are not shown:", s.earlier)}, lines...)
	}
	if s.cutOff != "" {
		lines = append(lines, s.cutOff)
	}
	return strings.Join(lines, "\n")
}

func short(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// untilDeadline returns a context for a test, including its clean-up, that ends shortly before the timeout of go test.
func untilDeadline(t testing.TB) (context.Context, context.CancelFunc) {
	ctx := context.WithoutCancel(t.Context())
	if limited, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if deadline, ok := limited.Deadline(); ok {
			return context.WithDeadline(ctx, deadline.Add(-farewell))
		}
	}
	return context.WithCancel(ctx)
}

// Stable asserts that check returns nil now and for the given time. Await the state first.
func Stable(t testing.TB, during time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := untilDeadline(t)
	defer cancel()
	for end := time.Now().Add(during); ; Pause() {
		if err := check(ctx); err != nil {
			t.Fatalf("%s is not stable: %v", what, err)
		}
		if time.Now().After(end) {
			return
		}
	}
}

// AwaitStill waits until look returns the same value for a while, and returns that value. It fails as Await does.
func AwaitStill[T any](t testing.TB, during time.Duration, what string, look func(context.Context) (T, error)) T {
	t.Helper()
	var last T
	since, changed := time.Now(), "no value yet"
	Await(t, Workload, what+" to be still", func(ctx context.Context) error {
		now, err := look(ctx)
		if err != nil {
			since = time.Now()
			return err
		}
		if !equality.Semantic.DeepEqual(last, now) {
			changed = cmp.Diff(last, now)
			last, since = now, time.Now()
		}
		if time.Since(since) < during {
			return fmt.Errorf("it changed within %s:\n%s", during, changed)
		}
		return nil
	})
	return last
}

// Context returns a context that ends after as long as Await waits with limit Long, for calls without a timeout of
// their own.
func Context(t testing.TB) context.Context {
	ctx, cancel := untilDeadline(t)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, Long+Patience)
	t.Cleanup(cancel)
	return ctx
}

// Seed returns a seed for random choices of a test: FLEET_SEED of the environment, or else a new one. It is printed
// immediately, because a test that go test aborts shows no log.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("FLEET_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("FLEET_SEED: %v", err)
		}
	}
	fmt.Fprintf(os.Stderr, "%s: repeat with FLEET_SEED=%d\n", t.Name(), seed)
	return seed
}

// Pause waits between two checks, for tests that poll in a loop of their own.
func Pause() { time.Sleep(look) }
