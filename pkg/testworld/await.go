package testworld

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// How long a behaviour takes by the contract, on a machine that has nothing else to do. No test asserts it: the bench
// measures speed. A test names it to show what kind of wait this is, and waits for up to Patience more before it
// fails.
const (
	// Soon is for everything that needs no workload to start.
	Soon = 10 * time.Second
	// Workload is for what waits for pods.
	Workload = 45 * time.Second
	// Long is for joining and leaving.
	Long = 2 * time.Minute
)

// Patience is what a loaded machine may add to any wait. It costs time only where a test fails.
const Patience = 4 * time.Minute

const (
	// The first looks come quickly, for what is a function call away; the later ones spare the API server.
	firstLook, look = 5 * time.Millisecond, 50 * time.Millisecond
	// farewell is left of the time that "go test -timeout" allows, so that the test fails with what it saw and not
	// with all goroutines.
	farewell = 10 * time.Second
	// sightsKept is how many different answers a failure shows.
	sightsKept = 5
)

// Await waits until check returns nil, and fails the test with what check returned if that takes much longer than
// limit. It works in clean-up functions too. Only the goroutine of the test may call it; others call Until.
func Await(t testing.TB, limit time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := untilDeadline(t)
	defer cancel()
	if err := Until(ctx, limit, what, check); err != nil {
		t.Fatal(err)
	}
}

// Until is Await where the test must not end: it returns why check did not return nil. It ends early when ctx does.
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
			seen.cutOff = fmt.Sprintf("the last look began %s before that and was cut off: %v", short(time.Since(began)), err)
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

// sights are the last different answers of a check.
type sights struct {
	last    string
	kept    []string
	earlier int // how many came before the kept ones
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
		lines = append([]string{fmt.Sprintf("%d earlier answers differ from these:", s.earlier)}, lines...)
	}
	if s.cutOff != "" {
		lines = append(lines, s.cutOff)
	}
	return strings.Join(lines, "\n")
}

func short(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// untilDeadline is a context for the whole life of a test, its clean-up included, that ends shortly before go test
// gives up.
func untilDeadline(t testing.TB) (context.Context, context.CancelFunc) {
	ctx := context.WithoutCancel(t.Context())
	if limited, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if deadline, ok := limited.Deadline(); ok {
			return context.WithDeadline(ctx, deadline.Add(-farewell))
		}
	}
	return context.WithCancel(ctx)
}

// Stable asserts that check holds now and keeps holding for a while. What it checks must have settled: await that
// first.
func Stable(t testing.TB, during time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := untilDeadline(t)
	defer cancel()
	for end := time.Now().Add(during); ; Pause() {
		if err := check(ctx); err != nil {
			t.Fatalf("%s does not hold: %v", what, err)
		}
		if time.Now().After(end) {
			return
		}
	}
}

// AwaitStill waits until look returns the same for a while, and returns that. It fails as Await does.
func AwaitStill[T any](t testing.TB, during time.Duration, what string, look func(context.Context) (T, error)) T {
	t.Helper()
	var last T
	since, changed := time.Now(), "nothing has been seen yet"
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

// Context ends when a test has waited as long as Await would for what takes Long: for calls that have no limit of
// their own.
func Context(t testing.TB) context.Context {
	ctx, cancel := untilDeadline(t)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, Long+Patience)
	t.Cleanup(cancel)
	return ctx
}

// AwaitGone waits until obj does not exist. While it does, nudge may let go of what the test itself holds it with.
func AwaitGone(t testing.TB, c client.Client, obj client.Object, nudge func(client.Object) error) {
	t.Helper()
	ctx, cancel := untilDeadline(t)
	defer cancel()
	err := Until(ctx, Workload, fmt.Sprintf("%T %s to go", obj, obj.GetName()), func(ctx context.Context) error {
		err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = nudge(obj)
		}
		return errors.Join(fmt.Errorf("finalizers %v", obj.GetFinalizers()), err)
	})
	if err != nil {
		t.Error(err)
	}
}

// Seed is for what a test does at random: that of the environment, FLEET_SEED, or another each time. It is printed at
// once, as a test that is ended by go test shows no log.
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

// Pause waits for one look of a hand-made loop.
func Pause() { time.Sleep(look) }
