package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/go-logr/logr"

	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld/suite"
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
		fleet, stop, err := suite.Start(context.Background(), "e2e", config())
		if err != nil {
			fmt.Fprintf(os.Stderr, "start a fleet for the scenarios: %v\n", err)
			return 1
		}
		defer stop()
		local = fleet
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

// config describes the fleet of the scenarios: c1 with two nodes, c2 with three, c3 with four.
func config() localfleet.Config {
	member := func(name, region, env string, nodes int) localfleet.Member {
		return localfleet.Member{
			Cluster: localfleet.Cluster{Name: name, Agent: memberAgent},
			Labels:  map[string]string{"region": region, "env": env},
			Nodes:   []localfleet.NodeSet{{Count: nodes, Labels: map[string]string{labelNodeType: "Standard_D4s_v3"}}},
		}
	}
	return localfleet.Config{
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
	}
}
