package overrider

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var hubs = testworld.SharedHub()

func TestMain(m *testing.M) { hubs.Main(m) }

// scene is one override on a real hub.
type scene struct {
	testworld.Hub
	agent *testworld.Agent
	key   types.NamespacedName
	// counted is how many writes of the agent, to overrides of this scope, writes has returned.
	counted int
}

func start(t *testing.T, hub testworld.Hub, patience time.Duration) *testworld.Agent {
	t.Helper()
	return testworld.RunAgent(t, hub.Config, func(mgr ctrl.Manager, _ client.Client) error {
		o := &Overrider{
			Client: mgr.GetClient(), Workers: 2, Namespaced: true, Now: time.Now,
			Recorder: mgr.GetEventRecorderFor(RecorderName), //nolint:staticcheck // what the hub uses
			Patience: patience,
		}
		return o.SetupWithManager(mgr)
	})
}

// newScene creates an override, in a namespace or cluster-wide, and waits for its snapshot.
func newScene(t *testing.T, agent *testworld.Agent, namespace, name string) *scene {
	t.Helper()
	s := &scene{Hub: hubs.Hub(t), agent: agent, key: types.NamespacedName{Namespace: namespace, Name: name}}
	s.create()
	s.await("0")
	return s
}

// besideOneAgent plays scenes in parallel, each of them in both scopes, beside one agent.
func besideOneAgent(t *testing.T, scenes map[string]func(*scene)) {
	t.Helper()
	hub := hubs.Hub(t)
	agent := start(t, hub, time.Hour)
	for name, play := range scenes {
		hub.Must(hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
		for _, namespace := range []string{"", name} {
			t.Run(name+" in namespace "+namespace, func(t *testing.T) {
				t.Parallel()
				play(newScene(t, agent, namespace, name))
			})
		}
	}
}

func (s *scene) create() {
	s.Helper()
	var o v1beta1.OverrideObject = testworld.ClusterOverride(s.key.Name, s.key.Name, testworld.Patching(testworld.Everywhere(), testworld.Annotating("k", "0")))
	if s.key.Namespace != "" {
		o = testworld.Override(s.key.Namespace, s.key.Name, testworld.Patching(testworld.Everywhere(), testworld.Annotating("k", "0")))
	}
	s.Must(s.Client.Create(s.Context(), o))
}

// edit changes what the override does and waits for its snapshot.
func (s *scene) edit(value string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "an edit", func(ctx context.Context) error {
		o, err := scope.Overrides.Get(ctx, s.Client, s.key)
		if err != nil {
			return err
		}
		o.GetPolicy().OverrideRules[0].JSONPatchOverrides[0] = testworld.Annotating("k", value)
		return s.Client.Update(ctx, o)
	})
	testworld.Await(s, testworld.Soon, "its snapshot", func(context.Context) error {
		if got := s.snapshots(); !strings.HasSuffix(got, " "+value) {
			return fmt.Errorf("there are %s", got)
		}
		return nil
	})
}

// snapshots shows the indexes of the override's snapshots, with an f if they are not the latest. Each must have the
// content that its name stands for.
func (s *scene) snapshots() string {
	s.Helper()
	list, err := scope.OverrideSnapshots.List(s.Context(), s.Client, s.key.Namespace, client.MatchingLabels{contract.LabelOverride: s.key.Name})
	s.Must(err)
	index := func(o v1beta1.OverrideSnapshotObject) int {
		n, err := strconv.Atoi(o.GetLabels()[contract.LabelOverrideIndex])
		s.Must(err)
		return n
	}
	slices.SortFunc(list, func(a, b v1beta1.OverrideSnapshotObject) int { return index(a) - index(b) })
	var out []string
	for _, o := range list {
		n := strconv.Itoa(index(o))
		if want := `{"k":"` + n + `"}`; string(o.GetPolicy().OverrideRules[0].JSONPatchOverrides[0].Value.Raw) != want || o.GetName() != s.key.Name+"-"+n {
			s.Errorf("snapshot %s holds %s", o.GetName(), o.GetPolicy().OverrideRules[0].JSONPatchOverrides[0].Value.Raw)
		}
		if owner := metav1.GetControllerOf(o); owner == nil || owner.Name != s.key.Name || len(o.GetHash()) != 64 {
			s.Errorf("snapshot %s has owner %v and hash %s", o.GetName(), owner, o.GetHash())
		}
		if o.GetLabels()[contract.LabelLatest] != "true" {
			n += "f"
		}
		out = append(out, n)
	}
	return strings.Join(out, " ")
}

func (s *scene) await(want string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "snapshots "+want, func(context.Context) error {
		if got := s.snapshots(); got != want {
			return fmt.Errorf("there are %s", got)
		}
		return nil
	})
}

// writes returns the agent's writes to overrides of this scope, and to their snapshots, since the last call.
func (s *scene) writes() []string {
	all := slices.DeleteFunc(s.agent.All(), func(write string) bool {
		if s.key.Namespace == "" {
			return !strings.Contains(write, "/clusterresourceoverride")
		}
		return !strings.Contains(write, "/namespaces/"+s.key.Namespace+"/resourceoverride")
	})
	fresh := all[s.counted:]
	s.counted = len(all)
	return fresh
}
