package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/go-logr/logr"

	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// local is the fleet that this suite started itself; nil on a fleet given by the environment, where agents are not
// ours to stop.
var local *localfleet.Fleet

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) int {
	kubeconfig, hubName, memberNames, given := fromEnvironment()
	if !given {
		stop, err := startFleet()
		if err != nil {
			fmt.Fprintf(os.Stderr, "start a fleet for the scenarios: %v\n", err)
			return 1
		}
		defer stop()
		kubeconfig, hubName, memberNames = local.Kubeconfig(), local.Hub(), local.Members()
	}
	if err := connect(kubeconfig, hubName, memberNames); err != nil {
		fmt.Fprintf(os.Stderr, "connect to the fleet: %v\n", err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := beginSweep(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "search the fleet for contents of Secrets: %v\n", err)
		return 1
	}
	code := m.Run()
	if err := endSweep(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// labelNodeType is where the property provider reads what machine a node is, which has a price.
const labelNodeType = "beta.kubernetes.io/instance-type"

// memberAgent is how the agents of the members run.
var memberAgent = localfleet.Agent{Flags: map[string]string{
	"property-provider": "azure",
	"region":            "somewhere",
	"enable-namespace-collection-in-property-provider": "true",
}}

// startFleet starts the fleet that the scenarios describe: c1 with two nodes, c2 with three, c3 with four.
func startFleet() (stop func(), err error) {
	dir, err := os.MkdirTemp("", "flagship-e2e-")
	if err != nil {
		return nil, err
	}
	member := func(name, region, env string, nodes int) localfleet.Member {
		return localfleet.Member{
			Cluster: localfleet.Cluster{Name: name, Agent: memberAgent},
			Labels:  map[string]string{"region": region, "env": env},
			Nodes:   []localfleet.NodeSet{{Count: nodes, Labels: map[string]string{labelNodeType: "Standard_D4s_v3"}}},
		}
	}
	begin := time.Now()
	local, err = localfleet.Start(context.Background(), localfleet.Options{
		Dir: dir, Patience: 3 * testworld.Long,
		Config: localfleet.Config{
			Hub: localfleet.Hub{Cluster: localfleet.Cluster{Name: "hub", Agent: localfleet.Agent{Flags: map[string]string{
				"resource-snapshot-creation-minimum-interval": "0s",
				"resource-changes-collection-duration":        "0s",
				"force-delete-wait-time":                      "1m",
				"enable-workload":                             "true",
			}}}},
			Members: []localfleet.Member{
				member("c1", "east", "prod", 2),
				member("c2", "east", "canary", 3),
				member("c3", "west", "prod", 4),
			},
		},
		Progress: func(e localfleet.Event) {
			fmt.Fprintf(os.Stderr, "%5.1fs %s: %s\n", time.Since(begin).Seconds(), e.Cluster, e.Text)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("%w\nlogs are in %s", err, dir)
	}
	return func() {
		if err := local.Stop(context.Background()); err != nil {
			fmt.Fprintf(os.Stderr, "stop the fleet: %v\n", err)
		}
		if keep := os.Getenv("FLEET_KEEP_LOGS"); keep != "" && !strings.EqualFold(keep, "no") {
			fmt.Fprintf(os.Stderr, "logs are kept in %s\n", dir)
			return
		}
		_ = os.RemoveAll(dir)
	}, nil
}
