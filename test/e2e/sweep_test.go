package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// mark is in each value of each Secret of the scenarios: nothing of the fleet may show it, at any time, on any
// cluster.
var (
	mark   = "marked" + strings.ToLower(rand.Text())
	search = testworld.NewSweep(mark)
)

// marked is the content of a Secret, which names the place of the Secret.
func marked(place string) string { return mark + "-" + place }

// beginSweep searches all clusters from now on until ctx ends.
func beginSweep(ctx context.Context) error {
	for _, c := range append(members(), theHub) {
		if err := search.Watch(ctx, c.name, c.config); err != nil {
			return err
		}
	}
	widely.until = ctx
	return nil
}

// widely is when metrics, and new kinds, were last looked at.
var widely struct {
	sync.Mutex
	last  time.Time
	until context.Context
}

// sweep fails a scenario at whose end a Secret is known to have been shown. What was shown in its last moment fails
// the next one.
func sweep(t *testing.T) {
	t.Helper()
	widely.Lock()
	defer widely.Unlock()
	if err := glance(widely.until, time.Since(widely.last) > 15*time.Second); err != nil {
		t.Error(err)
	}
}

// endSweep lists everything once more, and returns what was shown and failed no scenario.
func endSweep(ctx context.Context) error {
	widely.Lock()
	defer widely.Unlock()
	return errors.Join(search.List(ctx), glance(ctx, true))
}

// glance searches the logs of the agents and, if all, their metrics and kinds that are new.
func glance(ctx context.Context, all bool) error {
	var errs []error
	if local != nil {
		for _, c := range append(members(), theHub) {
			if err := search.Log(local.AgentLog(c.name)); err != nil {
				errs = append(errs, fmt.Errorf("search the log of the agent of %s: %w", c.name, err))
			}
			if !all || !local.AgentRunning(c.name) {
				continue
			}
			if metrics, err := local.Metrics(ctx, c.name); err == nil { // it may be on its way up or down
				search.Text("metrics of the agent of "+c.name, metrics)
			}
		}
	}
	if all {
		widely.last = time.Now()
		errs = append(errs, search.Refresh(ctx))
	}
	for _, leak := range search.Leaks() {
		errs = append(errs, errors.New("the content of a Secret is not secret: "+leak))
	}
	return errors.Join(errs...)
}
