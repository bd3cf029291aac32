package evictor

import (
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// hubs is one real API server with the CRDs of the chart, for all tests.
var hubs = testworld.SharedClusters{Options: []testworld.ClusterOptions{{Name: "hub", CRDs: []string{testworld.HubCRDs}}}}

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	code := m.Run()
	hubs.Stop()
	os.Exit(code)
}

// agent runs an evictor, and notes its writes, until it is stopped.
type agent struct {
	testworld.Writes
	stop func()
}

// startAgent runs an evictor the way the hub agent does.
func startAgent(t *testing.T, hub *testworld.Cluster) *agent {
	t.Helper()
	a := &agent{}
	mgr, err := ctrl.NewManager(a.Of(hub.Config), testworld.ManagerOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := scope.Index(t.Context(), mgr.GetFieldIndexer()); err != nil {
		t.Fatal(err)
	}
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme()})
	if err != nil {
		t.Fatal(err)
	}
	e := &Evictor{Client: mgr.GetClient(), Direct: direct, Workers: 4, Namespaced: true, Now: time.Now}
	if err := e.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	a.stop = testworld.Run(t, mgr)
	return a
}
