package dispatcher

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// hub is a real API server with the CRDs of the chart.
type hub struct {
	*testing.T
	*testworld.Cluster
	// knows reads what the agent that was started last knows.
	knows client.Reader
}

// startHub starts a hub that ends with the test.
func startHub(t *testing.T) *hub {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	return &hub{T: t, Cluster: testworld.StartCluster(t, testworld.ClusterOptions{Name: "hub", CRDs: []string{testworld.HubCRDs}})}
}

// agent runs a dispatcher, and notes its writes, until it is stopped.
type agent struct {
	testworld.Writes
	stop func()
}

// counts is how often the agent sent each verb to each resource.
func (a *agent) counts() map[string]int {
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

// startAgent runs a dispatcher the way the hub agent does.
func (h *hub) startAgent() *agent {
	h.Helper()
	return h.startAgentAt(time.Now)
}

// startAgentAt runs one with a clock.
func (h *hub) startAgentAt(now func() time.Time) *agent {
	h.Helper()
	a := &agent{}
	options := testworld.ManagerOptions()
	options.Cache.ByObject = map[client.Object]cache.ByObject{&v1beta1.Work{}: {Transform: Strip}}
	mgr, err := ctrl.NewManager(a.Of(h.Config), options)
	if err != nil {
		h.Fatal(err)
	}
	if err := scope.Index(h.Context(), mgr.GetFieldIndexer()); err != nil {
		h.Fatal(err)
	}
	d := &Dispatcher{
		Client: mgr.GetClient(), Direct: mgr.GetAPIReader(), Recorder: &testworld.Recorder{}, NamespacedRecorder: &testworld.Recorder{},
		Workers: 10, Namespaced: true, ClusterScoped: scopes(mgr.GetRESTMapper()), Now: now,
	}
	if err := d.SetupWithManager(mgr); err != nil {
		h.Fatal(err)
	}
	a.stop, h.knows = testworld.Run(h.T, mgr), mgr.GetCache()
	return a
}
