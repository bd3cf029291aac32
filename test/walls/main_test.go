package walls

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// local is the fleet under attack. One is started for the whole suite.
var local *localfleet.Fleet

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) int {
	stop, err := startFleet(context.Background())
	if err != nil {
		fmt.Fprintf(os.Stderr, "start a fleet to attack: %v\n", err)
		return 1
	}
	defer stop()
	if err := connect(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "connect to the fleet: %v\n", err)
		return 1
	}
	return m.Run()
}

// startFleet starts a hub and two members as the charts make them: no value of theirs is changed that grants or
// refuses anything.
func startFleet(ctx context.Context) (stop func(), err error) {
	dir, err := os.MkdirTemp("", "flagship-walls-")
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	local, err = localfleet.Start(ctx, localfleet.Options{
		Dir: dir,
		Config: localfleet.Config{
			Hub: localfleet.Hub{Cluster: localfleet.Cluster{Name: "hub", Agent: localfleet.Agent{Flags: map[string]string{
				"resource-snapshot-creation-minimum-interval": "0s",
				"resource-changes-collection-duration":        "0s",
				"force-delete-wait-time":                      "30s",
			}}}},
			Members: []localfleet.Member{
				{Cluster: localfleet.Cluster{Name: "rg-m1"}},
				{Cluster: localfleet.Cluster{Name: "rg-m2"}},
			},
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
			fmt.Fprintf(os.Stderr, "stop the fleet: %v\n", err)
		}
	}, nil
}

// connect makes the clients of all who act on the fleet, and the tenant.
func connect(ctx context.Context) error {
	var err error
	if theHub, err = administrator(local.Hub()); err != nil {
		return err
	}
	if hubAgent, err = agentOf(local.Hub()); err != nil {
		return err
	}
	var group errgroup.Group
	for i, name := range local.Members() {
		group.Go(func() (err error) {
			members[i], err = newMember(ctx, name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	m1, m2 = members[0], members[1]
	theTenant, err = newTenant(ctx, "rg-tenant")
	return err
}
