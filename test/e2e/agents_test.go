package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// restartAgent stops the agent of a cluster of the local fleet, and starts it, as agent describes it unless that is
// nil. It returns when the agent is ready.
func restartAgent(t *testing.T, cluster string, agent *localfleet.Agent) {
	t.Helper()
	ctx := t.Context()
	if err := local.StopAgent(ctx, cluster); err != nil {
		t.Fatalf("stop the agent of %s: %v", cluster, err)
	}
	if agent != nil {
		if err := local.ConfigureAgent(ctx, cluster, *agent); err != nil {
			t.Errorf("configure the agent of %s: %v", cluster, err)
		}
	}
	if err := local.StartAgent(ctx, cluster); err != nil {
		t.Fatalf("start the agent of %s: %v", cluster, err)
	}
	testworld.Await(t, testworld.Long, "the agent of "+cluster+" to be ready", func(ctx context.Context) error { return ready(ctx, cluster) })
}

// ready returns what an agent of the local fleet waits for before it is ready; nil for nothing.
func ready(ctx context.Context, name string) error {
	for _, url := range local.AgentReadyURLs(name) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		waiting, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, waiting)
		}
	}
	return nil
}
