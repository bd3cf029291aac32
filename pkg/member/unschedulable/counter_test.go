package unschedulable

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A number is not known before the pods are listed, and 0 if they may not be read. An API server that does not answer
// leaves it unknown.
func TestCountsAreUnknownUntilThePodsAreListed(t *testing.T) {
	var status, requests atomic.Int64
	status.Store(http.StatusServiceUnavailable)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		requests.Add(1)
	}))
	t.Cleanup(server.Close)
	c, err := New(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan string, 1)
	c.OnChange(func(work string) { woken <- work })
	counts := func() map[types.UID]int32 { return c.Counts("work", []apply.Workload{{UID: "web", Namespace: "shop"}}) }
	if got := counts(); len(got) != 0 {
		t.Errorf("before the start: %v", got)
	}
	testworld.Go(t, "the counter", c.Start)
	testworld.Await(t, testworld.Soon, "requests for pods", func(context.Context) error {
		if requests.Load() == 0 {
			return errors.New("there was none")
		}
		return nil
	})
	if got := counts(); len(got) != 0 {
		t.Errorf("without a list: %v", got)
	}
	status.Store(http.StatusForbidden)
	testworld.Await(t, testworld.Workload, "a call for the Work", func(context.Context) error {
		select {
		case work := <-woken:
			if work != "work" {
				t.Errorf("it was for %s", work)
			}
			return nil
		default:
			return errors.New("there was none")
		}
	})
	if got := counts(); !maps.Equal(got, map[types.UID]int32{"web": 0}) {
		t.Errorf("without permission: %v", got)
	}
}

// The pods are watched only while there is a workload to count for.
func TestPodsAreWatchedForWorkloads(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	c, err := New(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	testworld.Go(t, "the counter", c.Start)
	watching := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.run != nil
	}
	web, db := apply.Workload{UID: "web"}, apply.Workload{UID: "db"}
	c.Counts("one", []apply.Workload{web})
	testworld.Await(t, testworld.Soon, "the watch", func(context.Context) error {
		if !watching() {
			return errors.New("there is none")
		}
		return nil
	})
	for _, step := range []struct {
		work      string
		workloads []apply.Workload
		want      bool
	}{
		{"two", []apply.Workload{web, db}, true}, {"one", nil, true}, {"two", []apply.Workload{db}, true}, {"two", nil, false},
		{"two", nil, false}, {"one", []apply.Workload{web}, true}, {"one", nil, false},
	} {
		c.Counts(step.work, step.workloads)
		if got := watching(); got != step.want {
			t.Fatalf("after %+v: watching %t", step, got)
		}
	}
	if len(c.asked) != 0 {
		t.Errorf("it still knows %v", c.asked)
	}
}
