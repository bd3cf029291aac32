package testworld

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Time limits of scenarios, from the contract: they bound how long a behaviour may take, and no test waits longer than it must.
const (
	// Soon is for everything that needs no workload to start.
	Soon = 10 * time.Second
	// Workload is for what waits for pods.
	Workload = 45 * time.Second
	// Long is for joining and leaving.
	Long = 2 * time.Minute
	// look is how often a condition is asked for: often enough not to be what a test waits for.
	look = 50 * time.Millisecond
)

// patience is how much longer than the contract a test waits before it fails. The contract's limits are for a fleet that has the machine
// to itself; scenarios run in parallel on a small one, and speed is measured by the bench, not by tests.
const patience = 6

// Await waits until check returns nil and fails the test with its last error if that takes longer than limit allows.
func Await(t testing.TB, limit time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit*patience)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if !errors.Is(err, context.DeadlineExceeded) || last == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %s for %s: %v", limit*patience, what, last)
		}
	}
}

// Stable asserts that check holds now and keeps holding for a while.
func Stable(t testing.TB, during time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	for end := time.Now().Add(during); ; {
		if err := check(t.Context()); err != nil {
			t.Fatalf("%s does not hold: %v", what, err)
		}
		if time.Now().After(end) {
			return
		}
		select {
		case <-time.After(look):
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, t.Context().Err())
		}
	}
}

// AwaitGone waits until obj does not exist. While it does, nudge may let go of what the test itself holds it with.
func AwaitGone(t testing.TB, c client.Client, obj client.Object, nudge func(client.Object) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Workload*patience)
	defer cancel()
	for {
		err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) {
			return
		}
		if err == nil {
			err = nudge(obj)
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			t.Errorf("%T %s does not go: finalizers %v, %v", obj, obj.GetName(), obj.GetFinalizers(), err)
			return
		}
	}
}

// Pause waits for one look of a hand-made loop, where a failing wait must not end the test.
func Pause() { time.Sleep(look) }
