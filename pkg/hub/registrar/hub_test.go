package registrar

import (
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// agent runs a registrar, and lists its writes, until it is stopped.
type agent struct {
	testworld.Writes
	registrar *Registrar
	stop      func()
	events    testworld.Recorder
}

// startAgent runs a registrar the way the hub agent does.
func (h *hub) startAgent(forceDeleteWait time.Duration, change ...func(*rest.Config)) *agent {
	h.Helper()
	a := &agent{}
	config := rest.CopyConfig(h.Config)
	for _, c := range change {
		c(config)
	}
	mgr, err := ctrl.NewManager(a.Of(config), testworld.ManagerOptions())
	if err != nil {
		h.Fatal(err)
	}
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme()})
	if err != nil {
		h.Fatal(err)
	}
	uid, err := HubUID(h.Context(), direct)
	if err != nil {
		h.Fatal(err)
	}
	r := &Registrar{
		Client: mgr.GetClient(), Direct: direct, Recorder: &a.events, HubUID: uid, Workers: 2, ForceDeleteWait: forceDeleteWait, Now: time.Now,
	}
	if err := r.SetupWithManager(mgr); err != nil {
		h.Fatal(err)
	}
	a.registrar, a.stop = r, testworld.Run(h.T, mgr)
	return a
}
