// Package chaos holds what happens to fleets rather than what users do with them: agents killed at any moment, several
// that each believe to lead, hubs that come back from a backup. Each test ends by comparing members with what the hub
// says, object by object.
package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/testworld"
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
	fleet       *localfleet.Fleet
	theHub      client.WithWatch
	c1          client.Client
	members     = map[string]client.Client{}
	onHub       = contract.MemberNamespace(memberName)
	errNotBuilt = errors.New("bin/embedded-cluster is not built: run make build")
)

func TestMain(m *testing.M) {
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) int {
	stop, err := start()
	if errors.Is(err, errNotBuilt) {
		fmt.Fprintln(os.Stderr, err)
		return 0
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "start a fleet: %v\n", err)
		return 1
	}
	defer stop()
	return m.Run()
}

func start() (stop func(), err error) {
	if _, err := os.Stat("../../bin/embedded-cluster"); err != nil {
		return nil, errNotBuilt
	}
	dir, err := os.MkdirTemp("", "flagship-chaos-")
	if err != nil {
		return nil, err
	}
	address, err := testworld.FreeAddress()
	if err != nil {
		return nil, err
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	config := localfleet.Config{Hub: localfleet.Hub{Cluster: localfleet.Cluster{Name: hubName, Port: port}}} // the same one after a restart
	for _, name := range slices.Sorted(maps.Keys(rings)) {
		nodes := localfleet.NodeSet{Count: 1}
		if name != unsound {
			nodes.Labels = map[string]string{soundLabel: "yes"}
		}
		config.Members = append(config.Members, localfleet.Member{
			Cluster: localfleet.Cluster{Name: name}, Labels: map[string]string{ringLabel: rings[name]}, Nodes: []localfleet.NodeSet{nodes},
		})
	}
	fleet, err = localfleet.Start(context.Background(), localfleet.Options{Dir: dir, Config: config, Patience: 3 * testworld.Long})
	if err != nil {
		return nil, fmt.Errorf("%w; logs are in %s", err, dir)
	}
	stop = func() {
		if err := fleet.Stop(context.Background()); err != nil {
			fmt.Fprintf(os.Stderr, "stop the fleet: %v\n", err)
		}
		if os.Getenv("FLEET_KEEP_LOGS") != "" {
			fmt.Fprintf(os.Stderr, "logs are kept in %s\n", dir)
			return
		}
		_ = os.RemoveAll(dir)
	}
	if err := connectAll(); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
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
