package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// local is a hub without members. One is started for the whole suite.
var local *localfleet.Fleet

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) int {
	stop, err := startHub(context.Background())
	if err != nil {
		fmt.Fprintf(os.Stderr, "start a hub with webhooks: %v\n", err)
		return 1
	}
	defer stop()
	if err := connect(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "connect to the hub: %v\n", err)
		return 1
	}
	return m.Run()
}

// hubAgent is the hub's agent, with the chart's values changed by values: all webhooks are on. The policy on what the
// agent writes is off, because it answers before the guard rail.
func hubAgent(values map[string]any) localfleet.Agent {
	all := map[string]any{
		"enableWebhook": true, "enableGuardRail": true, "denyWorkloads": true, "enablePDBs": false, "admissionPolicies": map[string]any{"internals": false},
	}
	maps.Copy(all, values)
	return localfleet.Agent{Values: all}
}

func startHub(ctx context.Context) (stop func(), err error) {
	dir, err := os.MkdirTemp("", "flagship-admission-")
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	local, err = localfleet.Start(ctx, localfleet.Options{
		Dir: dir,
		Config: localfleet.Config{
			Hub:     localfleet.Hub{Cluster: localfleet.Cluster{Name: "hub", Agent: hubAgent(nil)}},
			Members: []localfleet.Member{},
		},
		Progress: func(e localfleet.Event) {
			fmt.Fprintf(os.Stderr, "%5.1fs %s: %s\n", time.Since(begin).Seconds(), e.Cluster, e.Text)
		},
		Patience: 3 * testworld.Long,
	})
	if err != nil {
		return nil, fmt.Errorf("%w\nlogs are in %s", err, dir)
	}
	return func() {
		err := local.Stop(context.WithoutCancel(ctx))
		if os.Getenv("FLEET_KEEP_LOGS") == "" {
			err = errors.Join(err, os.RemoveAll(dir))
		} else {
			fmt.Fprintf(os.Stderr, "logs are kept in %s\n", dir)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "stop the hub: %v\n", err)
		}
	}, nil
}
