package roller

import (
	"sync/atomic"
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// hub is a real API server on which a roller runs.
type hub struct{ testworld.Hub }

func startHub(t *testing.T) *hub {
	t.Helper()
	return &hub{testworld.StartHub(t)}
}

// agent is a running roller.
type agent struct {
	*testworld.Agent
	// behind is by how many nanoseconds its clock is behind.
	behind atomic.Int64
}

func (a *agent) now() time.Time { return time.Now().Add(-time.Duration(a.behind.Load())) }

func (h *hub) startAgent() *agent {
	h.Helper()
	a := &agent{}
	a.Agent = testworld.RunAgent(h.T, h.Config, func(mgr ctrl.Manager, direct client.Client) error {
		r := &Roller{Client: mgr.GetClient(), Direct: direct, Workers: 10, Namespaced: true, Now: a.now}
		return r.SetupWithManager(mgr)
	})
	return a
}
