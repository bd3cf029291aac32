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
	*testing.T
	hub   *testworld.Cluster
	agent *testworld.Agent
	key   types.NamespacedName
}

func start(t *testing.T, hub *testworld.Cluster, patience time.Duration) *testworld.Agent {
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

func TestOverrider(t *testing.T) {
	hub := hubs.Get(t)[0]
	if err := hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "app"}}); err != nil {
		t.Fatal(err)
	}
	agent := start(t, hub, time.Hour)
	defer agent.Stop()
	for _, namespace := range []string{"", "app"} {
		t.Run("in namespace "+namespace, func(t *testing.T) {
			s := &scene{T: t, hub: hub, agent: agent, key: types.NamespacedName{Namespace: namespace, Name: "o"}}
			s.agent.Take()
			s.create()
			s.await("0")
			if got := s.agent.Take(); len(got) != 2 {
				t.Errorf("writes are %v; want the finalizer and the snapshot", got)
			}
			s.edit("1")
			s.await("0f 1")
			if got := s.agent.Take(); len(got) != 2 {
				t.Errorf("writes are %v; want the snapshot and the label of the one before", got)
			}
			s.edit("2")
			s.edit("3")
			s.bindTo("1", "2")
			s.recorded("3")
			for i := 4; i < 13; i++ {
				s.edit(strconv.Itoa(i))
			}
			// Ten are kept, with the one that a binding names, the one with which its cluster was healthy before, and
			// the one that a run would take it back to.
			s.await("1f 2f 3f 6f 7f 8f 9f 10f 11f 12")
			s.repairs()
			s.quiet()
			s.deletes()
		})
	}
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *scene) create() {
	s.Helper()
	var o v1beta1.OverrideObject = testworld.ClusterOverride(s.key.Name, "app", testworld.Patching(testworld.Everywhere(), testworld.Annotating("k", "0")))
	if s.key.Namespace != "" {
		o = testworld.Override(s.key.Namespace, s.key.Name, testworld.Patching(testworld.Everywhere(), testworld.Annotating("k", "0")))
	}
	s.must(s.hub.Client.Create(s.Context(), o))
}

// edit changes what the override does and waits for the snapshot of that.
func (s *scene) edit(value string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "an edit", func(ctx context.Context) error {
		o, err := scope.Overrides.Get(ctx, s.hub.Client, s.key)
		if err != nil {
			return err
		}
		o.GetPolicy().OverrideRules[0].JSONPatchOverrides[0] = testworld.Annotating("k", value)
		return s.hub.Client.Update(ctx, o)
	})
	testworld.Await(s, testworld.Soon, "its snapshot", func(context.Context) error {
		if got := s.snapshots(); !strings.HasSuffix(got, " "+value) {
			return fmt.Errorf("there are %s", got)
		}
		return nil
	})
}

// snapshots shows the indexes of the override's snapshots, with an f if they are not the latest. Each must hold what
// it is named for.
func (s *scene) snapshots() string {
	s.Helper()
	list, err := scope.OverrideSnapshots.List(s.Context(), s.hub.Client, s.key.Namespace, client.MatchingLabels{contract.LabelOverride: s.key.Name})
	s.must(err)
	index := func(o v1beta1.OverrideSnapshotObject) int {
		n, err := strconv.Atoi(o.GetLabels()[contract.LabelOverrideIndex])
		s.must(err)
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

// lists are the lists of a binding that name snapshot index of the override.
func (s *scene) lists(index string) (wide []string, narrow []v1beta1.NamespacedName) {
	name := s.key.Name + "-" + index
	if s.key.Namespace == "" {
		return []string{name}, nil
	}
	return nil, []v1beta1.NamespacedName{{Namespace: s.key.Namespace, Name: name}}
}

// bindTo makes a binding that names a snapshot of the override, and another one as that with which its cluster was
// last healthy.
func (s *scene) bindTo(index, healthy string) {
	s.Helper()
	b := scope.Bindings.New(s.key)
	b.SetNamespace(s.key.Namespace)
	b.SetName("b")
	b.GetSpec().TargetCluster, b.GetSpec().State = "c1", v1beta1.BindingStateBound
	b.GetSpec().ClusterDecision = v1beta1.ClusterDecision{ClusterName: "c1", Selected: true, Reason: "test"}
	b.GetSpec().ClusterResourceOverrideSnapshots, b.GetSpec().ResourceOverrideSnapshots = s.lists(index)
	s.must(s.hub.Client.Create(s.Context(), b))
	b.GetStatus().LastHealthy = &v1beta1.Revision{ResourceSnapshotName: "p-0-snapshot"}
	b.GetStatus().LastHealthy.ClusterResourceOverrideSnapshots, b.GetStatus().LastHealthy.ResourceOverrideSnapshots = s.lists(healthy)
	b.GetStatus().Conditions = []metav1.Condition{}
	s.must(s.hub.Client.Status().Update(s.Context(), b))
}

// recorded makes an update run, at work, that would take a cluster back to a snapshot of the override.
func (s *scene) recorded(index string) {
	s.Helper()
	run := scope.UpdateRuns.New(s.key)
	run.SetNamespace(s.key.Namespace)
	run.SetName("r")
	run.GetSpec().PlacementName, run.GetSpec().StagedUpdateStrategyName = "p", "s"
	s.must(s.hub.Client.Create(s.Context(), run))
	last := &v1beta1.Revision{ResourceSnapshotName: "p-0-snapshot"}
	last.ClusterResourceOverrideSnapshots, last.ResourceOverrideSnapshots = s.lists(index)
	run.GetStatus().StagesStatus = []v1beta1.StageUpdatingStatus{{
		StageName: "all", Clusters: []v1beta1.ClusterUpdatingStatus{{ClusterName: "c1", LastHealthy: last}},
	}}
	s.must(s.hub.Client.Status().Update(s.Context(), run))
}

// repairs sees the latest snapshot lose its label, and go.
func (s *scene) repairs() {
	s.Helper()
	before := s.snapshots()
	latest := scope.OverrideSnapshots.New(s.key)
	latest.SetNamespace(s.key.Namespace)
	latest.SetName(s.key.Name + "-12")
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"false"}}}`, contract.LabelLatest)
	s.must(s.hub.Client.Patch(s.Context(), latest, client.RawPatch(types.MergePatchType, patch)))
	s.await(before)
	s.must(s.hub.Client.Delete(s.Context(), latest))
	s.await(before)
}

// quiet sees nothing written after a start.
func (s *scene) quiet() {
	s.Helper()
	another := start(s.T, s.hub, 0)
	defer another.Stop()
	s.agent.Take()
	testworld.Stable(s, 500*time.Millisecond, "silence", func(context.Context) error {
		if all := append(another.Take(), s.agent.Take()...); len(all) > 0 {
			return fmt.Errorf("writes: %v", all)
		}
		return nil
	})
}

func (s *scene) deletes() {
	s.Helper()
	o, err := scope.Overrides.Get(s.Context(), s.hub.Client, s.key)
	s.must(err)
	if f := o.GetFinalizers(); !slices.Equal(f, []string{contract.FinalizerOverride}) {
		s.Errorf("finalizers are %v", f)
	}
	s.must(s.hub.Client.Delete(s.Context(), o))
	testworld.AwaitGone(s.T, s.hub.Client, o, func(client.Object) error { return nil })
	if got := s.snapshots(); got != "" {
		s.Errorf("there are still %s", got)
	}
	// The one in force went last.
	writes := slices.DeleteFunc(s.agent.All(), func(w string) bool { return !strings.HasPrefix(w, "DELETE") })
	if len(writes) == 0 || !strings.HasSuffix(writes[len(writes)-1], s.key.Name+"-12") {
		s.Errorf("deleted in the order %v", writes)
	}
}
