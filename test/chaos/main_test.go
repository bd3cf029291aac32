// Package chaos holds what happens to fleets rather than what users do with them: agents killed at any moment, several
// that each believe to lead, hubs that come back from a backup. Each test ends by comparing members with what the hub
// says, object by object.
package chaos

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/localfleet/freeport"
	"github.com/flagship-fleet/flagship/pkg/testworld"
	"github.com/flagship-fleet/flagship/pkg/testworld/suite"
)

var (
	kills = flag.Int("kills", 30, "how often the member agent is killed")
	blows = flag.Int("blows", 15, "how often, at least, an agent is killed, halted or stopped during update runs")
	seed  = flag.Uint64("seed", 0, "of everything that is random; 0 takes FLEET_SEED of the environment, or else the time")
)

// The fleet under test: a hub and members; most tests need only the first. Their label ring says when it is
// their turn in an update run.
const (
	hubName    = "hub"
	memberName = "c1"
	ringLabel  = "ring"
	// unsound is the one member whose node lacks a label: there, what asks for it never gets ready.
	unsound, soundLabel = "c3", "sound"
)

var rings = map[string]string{memberName: "canary", "c2": "most", "c3": "most", "c4": "most", "c5": "last"}

var (
	fleet   *localfleet.Fleet
	theHub  client.WithWatch
	c1      client.Client
	members = map[string]client.Client{}
	onHub   = contract.MemberNamespace(memberName)
)

func TestMain(m *testing.M) {
	config, err := configure()
	if err != nil {
		fmt.Fprintf(os.Stderr, "configure a fleet: %v\n", err)
		os.Exit(1)
	}
	suite.Main(m, "chaos", config, func(_ context.Context, local *localfleet.Fleet) error {
		fleet = local
		return connectAll()
	})
}

// configure describes the fleet. The hub has a port of its own, which stays the same when the hub restarts.
func configure() (localfleet.Config, error) {
	port, err := freeport.Next(context.Background())
	if err != nil {
		return localfleet.Config{}, err
	}
	config := localfleet.Config{Hub: localfleet.Hub{Cluster: localfleet.Cluster{Name: hubName, Port: port}}}
	for _, name := range slices.Sorted(maps.Keys(rings)) {
		nodes := localfleet.NodeSet{Count: 1}
		if name != unsound {
			nodes.Labels = map[string]string{soundLabel: "yes"}
		}
		config.Members = append(config.Members, localfleet.Member{
			Cluster: localfleet.Cluster{Name: name}, Labels: map[string]string{ringLabel: rings[name]}, Nodes: []localfleet.NodeSet{nodes},
		})
	}
	return config, nil
}

func connectAll() (err error) {
	if theHub, err = connect(hubName); err != nil {
		return err
	}
	for name := range rings {
		if members[name], err = connect(name); err != nil {
			return err
		}
	}
	c1 = members[memberName]
	return nil
}

func connect(name string) (client.WithWatch, error) {
	cfg, err := fleet.RestConfig(name)
	if err != nil {
		return nil, err
	}
	return client.NewWithWatch(cfg, client.Options{Scheme: apis.Scheme()})
}

// randomSeed is the one to use; it is printed, so that a run can be repeated.
func randomSeed(t *testing.T) uint64 {
	t.Helper()
	s := *seed
	if s == 0 {
		s = testworld.Seed(t)
	}
	t.Logf("repeat with -seed %d -kills %d -blows %d", s, *kills, *blows)
	return s
}
