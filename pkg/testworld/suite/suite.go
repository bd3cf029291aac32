// Package suite starts and stops the local fleets of test suites that run against the charts and agents of this tree.
package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// Main is the body of a TestMain: it starts a local fleet, passes it to connect, runs the tests of the package, stops
// the fleet and exits. name is the name of the suite.
func Main(m *testing.M, name string, config localfleet.Config, connect func(context.Context, *localfleet.Fleet) error) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(run(m, name, config, connect))
}

func run(m *testing.M, name string, config localfleet.Config, connect func(context.Context, *localfleet.Fleet) error) int {
	ctx := context.Background()
	fleet, stop, err := Start(ctx, name, config)
	if err != nil {
		fmt.Fprintf(os.Stderr, "start the fleet of suite %s: %v\n", name, err)
		return 1
	}
	defer stop()
	if err := connect(ctx, fleet); err != nil {
		fmt.Fprintf(os.Stderr, "connect to the fleet of suite %s: %v\n", name, err)
		return 1
	}
	return m.Run()
}

// Start starts a local fleet for a suite that has a TestMain of its own. It prints the progress. stop stops the fleet,
// and deletes the logs unless the environment has FLEET_KEEP_LOGS.
func Start(ctx context.Context, name string, config localfleet.Config) (fleet *localfleet.Fleet, stop func(), err error) {
	dir, err := os.MkdirTemp("", "flagship-"+name+"-")
	if err != nil {
		return nil, nil, err
	}
	begin := time.Now()
	fleet, err = localfleet.Start(ctx, localfleet.Options{
		Dir: dir, Config: config, Patience: 3 * testworld.Long,
		Progress: func(e localfleet.Event) {
			fmt.Fprintf(os.Stderr, "%5.1fs %s: %s\n", time.Since(begin).Seconds(), e.Cluster, e.Text)
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w\nlogs are in %s", err, dir)
	}
	return fleet, func() {
		err := fleet.Stop(context.WithoutCancel(ctx))
		if keep := os.Getenv("FLEET_KEEP_LOGS"); keep != "" && !strings.EqualFold(keep, "no") {
			fmt.Fprintf(os.Stderr, "logs are kept in %s\n", dir)
		} else {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "stop the fleet of suite %s: %v\n", name, err)
		}
	}, nil
}
