package dispatcher

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
	"github.com/flagship-fleet/flagship/pkg/work"
)

var hubs = testworld.SharedHub()

func TestMain(m *testing.M) { hubs.Main(m) }

// hub is a real API server on which one dispatcher at a time runs. All tests share it: each has placements with names
// of its own, and deletes their bindings.
type hub struct {
	testworld.Hub
	// agent is the dispatcher that was started last.
	agent *testworld.Agent
}

func onHub(t *testing.T) *hub {
	t.Helper()
	return &hub{Hub: hubs.Hub(t)}
}

// counts returns how often an agent sent each verb to each resource.
func counts(a *testworld.Agent) map[string]int {
	counts := map[string]int{}
	for _, write := range a.All() {
		verb, path, _ := strings.Cut(write, " ")
		parts := strings.Split(strings.TrimPrefix(path, "/apis/placement.kubernetes-fleet.io/v1beta1/"), "/")
		if parts[0] == "namespaces" {
			parts = parts[2:]
		}
		what := verb + " " + parts[0]
		if len(parts) > 2 {
			what += "/" + parts[2]
		}
		counts[what]++
	}
	return counts
}

// scopes gets the scope of every kind from the hub.
func scopes(mapper meta.RESTMapper) work.Scopes {
	return func(kind schema.GroupKind) (bool, error) {
		mapping, err := mapper.RESTMapping(kind)
		if meta.IsNoMatchError(err) {
			return false, nil
		}
		return err == nil && mapping.Scope.Name() == meta.RESTScopeNameRoot, err
	}
}

func (h *hub) startAgent() *testworld.Agent {
	h.Helper()
	return h.startAgentAt(time.Now)
}

// startAgentAt runs a dispatcher with a clock.
func (h *hub) startAgentAt(now func() time.Time) *testworld.Agent {
	h.Helper()
	h.agent = testworld.RunAgent(h.T, h.Config, func(mgr ctrl.Manager, direct client.Client) error {
		d := &Dispatcher{
			Client: mgr.GetClient(), Direct: direct, Recorder: &testworld.Recorder{}, NamespacedRecorder: &testworld.Recorder{},
			Workers: 10, Namespaced: true, ClusterScoped: scopes(mgr.GetRESTMapper()), Now: now,
		}
		return d.SetupWithManager(mgr)
	}, func(options *ctrl.Options) {
		options.Cache.ByObject = map[client.Object]cache.ByObject{&v1beta1.Work{}: {Transform: Strip}}
	})
	return h.agent
}
