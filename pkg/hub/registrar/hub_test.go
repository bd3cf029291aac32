package registrar

import (
	"testing"
	"time"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// hub is a real API server on which a registrar runs.
type hub struct{ testworld.Hub }

func startHub(t *testing.T) *hub {
	t.Helper()
	return &hub{testworld.StartHub(t)}
}

// agent is a running registrar.
type agent struct {
	*testworld.Agent
	registrar *Registrar
	events    testworld.Recorder
}

func (h *hub) startAgent(forceDeleteWait time.Duration) *agent {
	h.Helper()
	return h.startAgentAs(h.Config, forceDeleteWait)
}

// startAgentAs runs a registrar with the access rights of cfg.
func (h *hub) startAgentAs(cfg *rest.Config, forceDeleteWait time.Duration) *agent {
	h.Helper()
	a := &agent{}
	a.Agent = testworld.RunAgent(h.T, cfg, func(mgr ctrl.Manager, direct client.Client) error {
		uid, err := HubUID(h.Context(), direct)
		if err != nil {
			return err
		}
		a.registrar = &Registrar{
			Client: mgr.GetClient(), Direct: direct, Recorder: &a.events, HubUID: uid, Workers: 2, ForceDeleteWait: forceDeleteWait, Now: time.Now,
		}
		return a.registrar.SetupWithManager(mgr)
	})
	return a
}
