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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// An override has a snapshot for each of its specs, written without a write more than it needs. The last one is the
// latest.
func TestEachSpecHasASnapshot(t *testing.T) {
	besideOneAgent(t, map[string]func(*scene){"specs": func(s *scene) {
		if got := s.writes(); len(got) != 2 {
			s.Errorf("writes are %v; want the finalizer and the snapshot", got)
		}
		s.edit("1")
		s.await("0f 1")
		if got := s.writes(); len(got) != 2 {
			s.Errorf("writes are %v; want the snapshot and the label of the one before", got)
		}
	}})
}

func TestSnapshots(t *testing.T) {
	besideOneAgent(t, map[string]func(*scene){"pruned": prunesSnapshots, "repaired": repairsTheLatest, "deleted": deletesSnapshots})
}

// Ten snapshots are kept, among them the one that a binding names, the one with which its cluster was last healthy,
// and the one to which a run would return a cluster.
func prunesSnapshots(s *scene) {
	for i := 1; i < 4; i++ {
		s.edit(strconv.Itoa(i))
	}
	s.bindTo("1", "2")
	s.recorded("3")
	for i := 4; i < 13; i++ {
		s.edit(strconv.Itoa(i))
	}
	s.await("1f 2f 3f 6f 7f 8f 9f 10f 11f 12")
}

// The latest snapshot gets its label back, and is created again after it was deleted.
func repairsTheLatest(s *scene) {
	s.edit("1")
	s.await("0f 1")
	latest := scope.OverrideSnapshots.New(s.key)
	latest.SetNamespace(s.key.Namespace)
	latest.SetName(s.key.Name + "-1")
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"false"}}}`, contract.LabelLatest)
	s.Must(s.Client.Patch(s.Context(), latest, client.RawPatch(types.MergePatchType, patch)))
	s.await("0f 1")
	s.Must(s.Client.Delete(s.Context(), latest))
	s.await("0f 1")
}

// The snapshots of a deleted override are deleted, the latest one last.
func deletesSnapshots(s *scene) {
	s.edit("1")
	s.edit("2")
	s.await("0f 1f 2")
	o, err := scope.Overrides.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	if f := o.GetFinalizers(); !slices.Equal(f, []string{contract.FinalizerOverride}) {
		s.Errorf("finalizers are %v", f)
	}
	s.Must(s.Client.Delete(s.Context(), o))
	testworld.AwaitGone(s.T, s.Client, o, nil)
	if got := s.snapshots(); got != "" {
		s.Errorf("there are still %s", got)
	}
	deletions := slices.DeleteFunc(s.writes(), func(write string) bool {
		return !strings.HasPrefix(write, "DELETE") || !strings.Contains(write, "/"+s.key.Name+"-")
	})
	if len(deletions) == 0 || !strings.HasSuffix(deletions[len(deletions)-1], s.key.Name+"-2") {
		s.Errorf("deleted in the order %v", deletions)
	}
}

// An agent that starts writes nothing, and the running one does not either.
func TestRestartWritesNothing(t *testing.T) {
	hub := hubs.Hub(t)
	hub.Must(hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "restart"}}))
	agent := start(t, hub, time.Hour)
	for _, namespace := range []string{"", "restart"} {
		s := newScene(t, agent, namespace, "restart")
		s.edit("1")
		s.await("0f 1")
	}
	another := start(t, hub, 0)
	agent.Take()
	testworld.Stable(t, 500*time.Millisecond, "silence", func(context.Context) error {
		if all := append(another.Take(), agent.Take()...); len(all) > 0 {
			return fmt.Errorf("writes: %v", all)
		}
		return nil
	})
}

// lists returns the lists of a binding that name snapshot index of the override.
func (s *scene) lists(index string) (wide []string, narrow []v1beta1.NamespacedName) {
	name := s.key.Name + "-" + index
	if s.key.Namespace == "" {
		return []string{name}, nil
	}
	return nil, []v1beta1.NamespacedName{{Namespace: s.key.Namespace, Name: name}}
}

// bindTo creates a binding that names a snapshot of the override, and one with which its cluster was last healthy.
func (s *scene) bindTo(index, healthy string) {
	s.Helper()
	b := scope.Bindings.New(s.key)
	b.SetNamespace(s.key.Namespace)
	b.SetName("b")
	b.GetSpec().TargetCluster, b.GetSpec().State = "c1", v1beta1.BindingStateBound
	b.GetSpec().ClusterDecision = v1beta1.ClusterDecision{ClusterName: "c1", Selected: true, Reason: "test"}
	b.GetSpec().ClusterResourceOverrideSnapshots, b.GetSpec().ResourceOverrideSnapshots = s.lists(index)
	s.Must(s.Client.Create(s.Context(), b))
	b.GetStatus().LastHealthy = &v1beta1.Revision{ResourceSnapshotName: "p-0-snapshot"}
	b.GetStatus().LastHealthy.ClusterResourceOverrideSnapshots, b.GetStatus().LastHealthy.ResourceOverrideSnapshots = s.lists(healthy)
	b.GetStatus().Conditions = []metav1.Condition{}
	s.Must(s.Client.Status().Update(s.Context(), b))
}

// recorded creates an update run in progress that would return a cluster to a snapshot of the override.
func (s *scene) recorded(index string) {
	s.Helper()
	run := scope.UpdateRuns.New(s.key)
	run.SetNamespace(s.key.Namespace)
	run.SetName("r")
	run.GetSpec().PlacementName, run.GetSpec().StagedUpdateStrategyName = "p", "s"
	s.Must(s.Client.Create(s.Context(), run))
	last := &v1beta1.Revision{ResourceSnapshotName: "p-0-snapshot"}
	last.ClusterResourceOverrideSnapshots, last.ResourceOverrideSnapshots = s.lists(index)
	run.GetStatus().StagesStatus = []v1beta1.StageUpdatingStatus{{
		StageName: "all", Clusters: []v1beta1.ClusterUpdatingStatus{{ClusterName: "c1", LastHealthy: last}},
	}}
	s.Must(s.Client.Status().Update(s.Context(), run))
}
