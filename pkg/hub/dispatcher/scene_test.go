package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// scene is one placement, bound to one cluster, on a real hub. The same scene is played in both scopes.
type scene struct {
	*hub
	placement, binding types.NamespacedName
	cluster            string
}

func newScene(h *hub, namespace, name, cluster string) *scene {
	h.Helper()
	s := &scene{
		hub: h, cluster: cluster,
		placement: types.NamespacedName{Namespace: namespace, Name: name},
		binding:   types.NamespacedName{Namespace: namespace, Name: name + "-" + cluster},
	}
	s.ensure(&clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: cluster}, Spec: clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", Name: cluster}},
	})
	s.ensure(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: contract.MemberNamespace(cluster)}})
	if namespace != "" {
		s.ensure(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
	placement := scope.Placements.New(s.placement)
	placement.SetNamespace(namespace)
	placement.SetName(name)
	placement.GetSpec().ResourceSelectors = []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "ConfigMap", Name: "c"}}
	if namespace == "" {
		placement.GetSpec().ResourceSelectors[0] = v1beta1.ResourceSelectorTerm{Version: "v1", Kind: "Namespace", Name: "shop"}
	}
	s.ensure(placement)
	s.pick()
	return s
}

// pick does what the scheduler does for the policy snapshot: the cluster is one of those that are picked.
func (s *scene) pick() {
	s.Helper()
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.placement)
	if err != nil {
		s.Fatal(err)
	}
	want := testworld.Picked(placement, s.cluster)
	s.ensure(want.DeepCopyObject().(client.Object))
	policy, err := scope.PolicySnapshots.Get(s.Context(), s.Client, client.ObjectKeyFromObject(want))
	if err != nil {
		s.Fatal(err)
	}
	status := policy.GetStatus()
	status.ClusterDecisions, status.Conditions = append(status.ClusterDecisions, want.GetStatus().ClusterDecisions...), []metav1.Condition{}
	if err := s.Client.Status().Update(s.Context(), policy); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) ensure(obj client.Object) {
	s.Helper()
	if err := s.Client.Create(s.Context(), obj); err != nil && !apierrors.IsAlreadyExists(err) {
		s.Fatal(err)
	}
}

// snapshot creates the group of index with parts of one ConfigMap each.
func (s *scene) snapshot(index, parts int) {
	s.Helper()
	for sub := -1; sub < parts-1; sub++ {
		s.part(index, sub, parts)
	}
}

// part creates one part of the group of index; -1 is the first, the master. parts is their number.
func (s *scene) part(index, sub, parts int) {
	s.Helper()
	snapshot := scope.ResourceSnapshots.New(s.placement)
	snapshot.SetNamespace(s.placement.Namespace)
	snapshot.SetLabels(map[string]string{contract.LabelPlacement: s.placement.Name, contract.LabelResourceIndex: fmt.Sprint(index)})
	if sub < 0 {
		snapshot.SetName(contract.MasterSnapshotName(s.placement.Name, index))
		snapshot.SetAnnotations(map[string]string{contract.AnnotationSnapshotCount: fmt.Sprint(parts)})
	} else {
		snapshot.SetName(contract.SubSnapshotName(s.placement.Name, index, sub))
		snapshot.SetAnnotations(map[string]string{contract.AnnotationSubindex: fmt.Sprint(sub)})
	}
	snapshot.GetSpec().SelectedResources = []v1beta1.ResourceContent{{RawExtension: runtime.RawExtension{
		Raw: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"shop"},"data":{"index":"%d"}}`, index),
	}}}
	testworld.OwnedOn(s, s.Client, s.placement, snapshot)
	s.ensure(snapshot)
}

// bind binds the placement to the group of index. The agent may write the binding's status meanwhile.
func (s *scene) bind(index int) {
	s.Helper()
	testworld.Await(s, testworld.Soon, fmt.Sprintf("a binding to index %d", index), func(ctx context.Context) error {
		binding := scope.Bindings.New(s.binding)
		err := s.Client.Get(ctx, s.binding, binding)
		binding.GetSpec().ResourceSnapshotName = contract.MasterSnapshotName(s.placement.Name, index)
		if err == nil {
			return s.Client.Update(ctx, binding)
		}
		binding.SetNamespace(s.binding.Namespace)
		binding.SetName(s.binding.Name)
		binding.SetLabels(map[string]string{contract.LabelPlacement: s.placement.Name})
		binding.SetFinalizers([]string{contract.FinalizerBinding, contract.FinalizerWork})
		binding.GetSpec().State, binding.GetSpec().TargetCluster = v1beta1.BindingStateBound, s.cluster
		binding.GetSpec().ClusterDecision = v1beta1.ClusterDecision{ClusterName: s.cluster, Selected: true, Reason: "test"}
		return s.Client.Create(ctx, binding)
	})
}

func (s *scene) works() []v1beta1.Work {
	s.Helper()
	var list v1beta1.WorkList
	if err := s.Client.List(s.Context(), &list, client.InNamespace(contract.MemberNamespace(s.cluster)), client.MatchingLabels{contract.LabelBinding: s.binding.Name}); err != nil {
		s.Fatal(err)
	}
	return list.Items
}

// awaitWorks waits until there are count Works, all of index.
func (s *scene) awaitWorks(count, index int) {
	s.Helper()
	testworld.Await(s, testworld.Soon, fmt.Sprintf("%d works of index %d", count, index), func(context.Context) error {
		works := s.works()
		for _, w := range works {
			content := fmt.Sprintf(`{"index":"%d"}`, index)
			if w.Labels[contract.LabelWorkResourceIndex] != fmt.Sprint(index) || !strings.Contains(string(w.Spec.Workload.Manifests[0].Raw), content) {
				return fmt.Errorf("%s is of index %s", w.Name, w.Labels[contract.LabelWorkResourceIndex])
			}
		}
		if len(works) != count {
			return fmt.Errorf("%d works", len(works))
		}
		return nil
	})
}

// report reports on all Works as the member.
func (s *scene) report(status metav1.ConditionStatus, reason string) {
	s.Helper()
	for _, w := range s.works() {
		w.Status.Conditions = nil
		for _, kind := range []string{v1beta1.ConditionApplied, v1beta1.ConditionAvailable} {
			w.Status.Conditions = append(w.Status.Conditions, metav1.Condition{
				Type: kind, Status: status, Reason: reason, ObservedGeneration: w.Generation, LastTransitionTime: metav1.Now(),
			})
		}
		if err := s.Client.Status().Update(s.Context(), &w); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *scene) awaitStatus(kind string, status metav1.ConditionStatus) {
	s.Helper()
	testworld.Await(s, testworld.Soon, kind+" "+string(status), func(ctx context.Context) error {
		binding, err := scope.Bindings.Get(ctx, s.Client, s.binding)
		if err != nil {
			return err
		}
		c := meta.FindStatusCondition(*binding.GetConditions(), kind)
		if c == nil || c.Status != status || c.ObservedGeneration != binding.GetGeneration() {
			return fmt.Errorf("generation %d, conditions %+v", binding.GetGeneration(), *binding.GetConditions())
		}
		return nil
	})
}

// scopesOfScenes are the namespaces of placements; "" is of cluster-wide ones. Each has a cluster of its own, because
// bindings of both scopes may have the same name.
var scopesOfScenes = []struct{ name, namespace, cluster string }{{"cluster-wide", "", "east"}, {"namespaced", "shop", "west"}}

// inBothScopes plays a scene in one scope after the other, without an agent.
func inBothScopes(t *testing.T, name string, play func(*scene)) {
	t.Helper()
	for _, of := range scopesOfScenes {
		t.Run(of.name, func(t *testing.T) { play(newScene(onHub(t), of.namespace, name, of.cluster)) })
	}
}

// besideOneAgent plays a scene in both scopes in parallel, beside one dispatcher. In the end the scene's placement and
// binding are deleted.
func besideOneAgent(t *testing.T, name string, play func(*scene)) {
	t.Helper()
	agent := onHub(t).startAgent()
	for _, of := range scopesOfScenes {
		t.Run(of.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(onHub(t), of.namespace, name, of.cluster)
			s.agent = agent
			play(s)
			s.deletePlacementAndBinding()
		})
	}
}

// freeWorks lets the member finish with the Works that are deleted.
func (s *scene) freeWorks() {
	s.Helper()
	for _, w := range s.works() {
		if !w.DeletionTimestamp.IsZero() {
			w.Finalizers = nil
			if err := s.Client.Update(s.Context(), &w); err != nil {
				s.Fatal(err)
			}
		}
	}
}

// deletePlacementAndBinding ends a scene: the binding must go, and its Works before it.
func (s *scene) deletePlacementAndBinding() {
	s.Helper()
	placement, binding := scope.Placements.New(s.placement), scope.Bindings.New(s.binding)
	placement.SetNamespace(s.placement.Namespace)
	placement.SetName(s.placement.Name)
	binding.SetNamespace(s.binding.Namespace)
	binding.SetName(s.binding.Name)
	placement.SetFinalizers(nil)
	for _, o := range []client.Object{placement, binding} {
		if err := s.Client.Delete(s.Context(), o); err != nil {
			s.Fatal(err)
		}
	}
	testworld.Await(s, testworld.Soon, "works to be deleted", func(context.Context) error {
		for _, w := range s.works() {
			if w.DeletionTimestamp.IsZero() {
				return errors.New(w.Name + " lives")
			}
		}
		return nil
	})
	if err := s.Client.Get(s.Context(), s.binding, scope.Bindings.New(s.binding)); err != nil {
		s.Fatalf("the binding did not wait for its works: %v", err)
	}
	// The agent takes off the scheduler's finalizer too, if it knows by then that the placement is gone.
	testworld.Await(s, testworld.Soon, "the agent to know that the placement is gone", func(ctx context.Context) error {
		if err := s.agent.Knows.Get(ctx, s.placement, scope.Placements.New(s.placement)); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it knows of it: %w", err)
		}
		return nil
	})
	s.freeWorks()
	testworld.Await(s, testworld.Soon, "the binding to go", func(ctx context.Context) error {
		if _, err := scope.Bindings.Get(ctx, s.Client, s.binding); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}
