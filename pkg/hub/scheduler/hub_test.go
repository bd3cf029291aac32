package scheduler

import (
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// hub is a real API server on which a scheduler runs.
type hub struct{ testworld.Hub }

func startHub(t *testing.T) *hub {
	t.Helper()
	return &hub{testworld.StartHub(t)}
}

func (h *hub) startAgent() *testworld.Agent {
	h.Helper()
	return testworld.RunAgent(h.T, h.Config, func(mgr ctrl.Manager, direct client.Client) error {
		s := &Scheduler{
			Client: mgr.GetClient(), Direct: direct, Workers: 10, Namespaced: true, Now: time.Now,
			Recorder: mgr.GetEventRecorderFor(RecorderName), //nolint:staticcheck // core/v1 events, as the hub agent records them
		}
		return s.SetupWithManager(mgr)
	})
}
