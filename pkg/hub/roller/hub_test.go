package roller

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// hub is a real API server with the CRDs of the chart.
type hub struct {
	*testing.T
	*testworld.Cluster
}

// startHub starts a hub that ends with the test.
func startHub(t *testing.T) *hub {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	return &hub{T: t, Cluster: testworld.StartCluster(t, testworld.ClusterOptions{Name: "hub", CRDs: []string{testworld.HubCRDs}})}
}

// agent is a roller that runs the way the hub agent runs it, and its writes.
type agent struct {
	testworld.Writes
	stop func()
	// sees reads what the agent knows.
	sees client.Reader
	// behind is by how many nanoseconds its clock is behind.
	behind atomic.Int64
}

func (a *agent) now() time.Time { return time.Now().Add(-time.Duration(a.behind.Load())) }

func (h *hub) startAgent() *agent {
	h.Helper()
	a := &agent{}
	mgr, err := ctrl.NewManager(a.Of(h.Config), testworld.ManagerOptions())
	if err != nil {
		h.Fatal(err)
	}
	if err := scope.Index(h.Context(), mgr.GetFieldIndexer()); err != nil {
		h.Fatal(err)
	}
	r := &Roller{Client: mgr.GetClient(), Direct: h.Client, Workers: 10, Namespaced: true, Now: a.now}
	if err := r.SetupWithManager(mgr); err != nil {
		h.Fatal(err)
	}
	a.stop, a.sees = testworld.Run(h.T, mgr), mgr.GetCache()
	return a
}
