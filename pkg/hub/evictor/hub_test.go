package evictor

import (
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var hubs = testworld.SharedHub()

func TestMain(m *testing.M) { hubs.Main(m) }

func startAgent(t *testing.T, hub *testworld.Cluster) *testworld.Agent {
	t.Helper()
	return testworld.RunAgent(t, hub.Config, func(mgr ctrl.Manager, direct client.Client) error {
		e := &Evictor{Client: mgr.GetClient(), Direct: direct, Workers: 4, Namespaced: true, Now: time.Now}
		return e.SetupWithManager(mgr)
	})
}
