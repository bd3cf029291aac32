package testworld

import (
	"fmt"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kinds "github.com/flagship-fleet/flagship/pkg/scope"
)

// Hub is a hub without agents, for one test: an API server with the CRDs of the hub agent's chart.
type Hub struct {
	*testing.T
	*Cluster
}

// StartHub starts a hub that ends with the test. Without the program for it, the test is skipped.
func StartHub(t *testing.T) Hub {
	t.Helper()
	return Hub{T: t, Cluster: StartCluster(t, hubOptions())}
}

// SharedHub is a hub without agents for all tests of a package. TestMain calls Main; Hub returns it.
func SharedHub() *SharedClusters { return &SharedClusters{Options: []ClusterOptions{hubOptions()}} }

func hubOptions() ClusterOptions { return ClusterOptions{Name: "hub", CRDs: []string{HubCRDs}} }

// On returns the hub for a subtest t.
func (h Hub) On(t *testing.T) Hub { return Hub{T: t, Cluster: h.Cluster} }

// Must ends the test if err is not nil.
func (h Hub) Must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// Agent is an agent of the hub that runs beside the test. Its Writes include those of its uncached client.
type Agent struct {
	Writes
	// Knows reads the agent's cache; see AwaitKnown.
	Knows client.Reader
	// Stop stops the agent; see Run.
	Stop func()
}

// RunAgent runs an agent as the hub agent does, until it is stopped or the test ends. cfg reaches the hub. setUp adds
// the agent to the manager, whose cache has the field indexes of pkg/scope; direct is a client without a cache. change
// changes the manager's options. Logs are discarded unless the test has set a logger.
func RunAgent(t testing.TB, cfg *rest.Config, setUp func(mgr ctrl.Manager, direct client.Client) error, change ...func(*ctrl.Options)) *Agent {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // without effect after the first call
	a := &Agent{}
	mgr, err := newManager(t, a.Of(cfg), setUp, change)
	if err != nil {
		t.Fatalf("set up an agent: %v", err)
	}
	a.Stop, a.Knows = Run(t, mgr), mgr.GetCache()
	return a
}

func newManager(t testing.TB, cfg *rest.Config, setUp func(ctrl.Manager, client.Client) error, change []func(*ctrl.Options)) (ctrl.Manager, error) {
	options := ManagerOptions()
	for _, c := range change {
		c(&options)
	}
	mgr, err := ctrl.NewManager(cfg, options)
	if err != nil {
		return nil, err
	}
	if err := kinds.Index(t.Context(), mgr.GetFieldIndexer()); err != nil {
		return nil, err
	}
	direct, err := client.New(cfg, client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return nil, fmt.Errorf("make an uncached client: %w", err)
	}
	return mgr, setUp(mgr, direct)
}
