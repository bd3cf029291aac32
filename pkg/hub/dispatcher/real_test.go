package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// scene is one placement, bound to one cluster, on a real hub. The same scene plays in both scopes.
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

// snapshot makes the group of index with parts that hold one ConfigMap each.
func (s *scene) snapshot(index, parts int) {
	s.Helper()
	for sub := -1; sub < parts-1; sub++ {
		s.part(index, sub, parts)
	}
}

// part makes one part of the group of index, which has so many: -1 is the first, the master.
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

// report lets the member report on all Works.
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

// both plays a scene in either scope.
func both(t *testing.T, h *hub, name string, play func(t *testing.T, s *scene)) {
	for label, namespace := range map[string]string{"cluster-wide": "", "namespaced": "shop"} {
		t.Run(label, func(t *testing.T) {
			here := *h
			here.T = t
			play(t, newScene(&here, namespace, name, "east"))
		})
	}
}

// withWork plays with the Work of a binding in both scopes. The placement and the binding go in the end.
func withWork(t *testing.T, h *hub, name string, play func(t *testing.T, s *scene, work v1beta1.Work)) {
	both(t, h, name, func(t *testing.T, s *scene) {
		s.startAgent()
		s.snapshot(0, 1)
		s.bind(0)
		s.awaitWorks(1, 0)
		play(t, s, s.works()[0])
		s.deletePlacementAndBinding()
	})
}

func TestOnARealHub(t *testing.T) {
	h := startHub(t)

	t.Run("a binding becomes works and a status, within its budget of writes", func(t *testing.T) {
		both(t, h, "budget", func(t *testing.T, s *scene) {
			began := time.Now()
			a := s.startAgentAt(func() time.Time { return began }) // a status that only reports progress is delayed for ever
			bindings := "clusterresourcebindings"
			if s.binding.Namespace != "" {
				bindings = "resourcebindings"
			}
			s.snapshot(0, 1)
			s.bind(0)
			s.awaitWorks(1, 0)
			s.report(metav1.ConditionTrue, "Done")
			s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
			s.awaitStatus(v1beta1.ConditionRolloutStarted, metav1.ConditionTrue)
			want := map[string]int{"POST works": 1, "PUT " + bindings + "/status": 1}
			if diff := cmp.Diff(want, counts(a)); diff != "" {
				t.Fatalf("create: %s", diff)
			}
			s.snapshot(1, 1)
			s.bind(1)
			s.awaitWorks(1, 1)
			s.report(metav1.ConditionTrue, "Done")
			s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
			want["PATCH works"], want["PUT "+bindings+"/status"] = 1, 2
			if diff := cmp.Diff(want, counts(a)); diff != "" {
				t.Fatalf("edit: %s", diff)
			}
			s.deletePlacementAndBinding()
			want["DELETE works"], want["PATCH "+bindings] = 1, 1
			if diff := cmp.Diff(want, counts(a)); diff != "" {
				t.Fatalf("delete: %s", diff)
			}
		})
	})

	t.Run("what was last healthy is remembered in the status that says so", func(t *testing.T) {
		both(t, h, "healthy", func(_ *testing.T, s *scene) {
			s.startAgent()
			s.snapshot(0, 1)
			s.bind(0)
			s.awaitWorks(1, 0)
			s.report(metav1.ConditionFalse, "Failed")
			s.awaitStatus(v1beta1.ConditionApplied, metav1.ConditionFalse)
			s.lastHealthy("")
			s.report(metav1.ConditionTrue, "Done")
			s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
			s.lastHealthy(contract.MasterSnapshotName(s.placement.Name, 0))
			s.snapshot(1, 1)
			s.bind(1)
			s.awaitWorks(1, 1)
			s.report(metav1.ConditionFalse, "Failed")
			s.awaitStatus(v1beta1.ConditionApplied, metav1.ConditionFalse)
			s.lastHealthy(contract.MasterSnapshotName(s.placement.Name, 0))
			s.report(metav1.ConditionTrue, "Done")
			s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
			s.lastHealthy(contract.MasterSnapshotName(s.placement.Name, 1))
			s.deletePlacementAndBinding()
		})
	})

	t.Run("a group of three makes three works, and shrinks", func(t *testing.T) {
		both(t, h, "shrinks", func(t *testing.T, s *scene) {
			s.startAgent()
			s.snapshot(0, 3)
			s.bind(0)
			s.awaitWorks(3, 0)
			s.snapshot(1, 1)
			s.bind(1)
			testworld.Await(t, testworld.Soon, "two works to go", func(context.Context) error {
				going := 0
				for _, w := range s.works() {
					if !w.DeletionTimestamp.IsZero() {
						going++
					}
				}
				if going != 2 {
					return fmt.Errorf("%d are going", going)
				}
				return nil
			})
			s.freeWorks()
			s.awaitWorks(1, 1)
			s.deletePlacementAndBinding()
		})
	})

	t.Run("a group that is not complete changes nothing until it is", func(t *testing.T) {
		both(t, h, "partial", func(_ *testing.T, s *scene) {
			s.startAgent()
			s.snapshot(0, 2)
			s.bind(0)
			s.awaitWorks(2, 0)
			s.part(1, -1, 2)
			s.bind(1)
			s.awaitStatus(v1beta1.ConditionOverridden, metav1.ConditionFalse)
			s.awaitWorks(2, 0)
			s.snapshot(1, 2) // only the second is missing
			s.awaitWorks(2, 1)
			s.deletePlacementAndBinding()
		})
	})

	t.Run("a work that is edited by hand is put right", func(t *testing.T) {
		withWork(t, h, "edited", func(t *testing.T, s *scene, want v1beta1.Work) {
			for what, edit := range map[string]func(*v1beta1.Work){
				"a manifest": func(w *v1beta1.Work) {
					w.Spec.Workload.Manifests[0].Raw = []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"shop"},"data":{"index":"7"}}`)
				},
				"all manifests": func(w *v1beta1.Work) { w.Spec.Workload.Manifests = nil },
				"one more manifest": func(w *v1beta1.Work) {
					w.Spec.Workload.Manifests = append(w.Spec.Workload.Manifests, v1beta1.Manifest{RawExtension: runtime.RawExtension{
						Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"more","namespace":"shop"}}`),
					}})
				},
				"the strategy": func(w *v1beta1.Work) {
					w.Spec.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
				},
				"how it goes":      func(w *v1beta1.Work) { w.Spec.DeleteStrategy = &v1beta1.DeleteStrategy{PropagationPolicy: "Abandon"} },
				"its revision":     func(w *v1beta1.Work) { w.Annotations[contract.AnnotationWorkSnapshot] = "other-0-snapshot" },
				"its index":        func(w *v1beta1.Work) { w.Labels[contract.LabelWorkResourceIndex] = "7" },
				"number and count": func(w *v1beta1.Work) { w.Annotations[contract.AnnotationManifests] = "7" },
			} {
				work := s.works()[0]
				edit(&work)
				if err := s.Client.Update(t.Context(), &work); err != nil {
					t.Fatal(err)
				}
				testworld.Await(t, testworld.Soon, what+" to be as it was", func(context.Context) error {
					got := s.works()[0]
					if diff := cmp.Diff(want.Spec, got.Spec) + cmp.Diff(want.Labels, got.Labels) + cmp.Diff(want.Annotations, got.Annotations); diff != "" {
						return errors.New(diff)
					}
					return nil
				})
			}
		})
	})

	t.Run("a work that is deleted by hand is made again once the member is done", func(t *testing.T) {
		withWork(t, h, "byhand", func(t *testing.T, s *scene, was v1beta1.Work) {
			if err := s.Client.Delete(t.Context(), &was); err != nil {
				t.Fatal(err)
			}
			s.freeWorks()
			testworld.Await(t, testworld.Soon, "another work", func(context.Context) error {
				if works := s.works(); len(works) != 1 || works[0].UID == was.UID {
					return fmt.Errorf("works %d", len(works))
				}
				return nil
			})
		})
	})

	t.Run("a namespace that is missing is reported and waited for", func(t *testing.T) {
		both(t, h, "early", func(_ *testing.T, s *scene) {
			s.startAgent()
			s.snapshot(0, 1)
			s.cluster = "new" + s.binding.Namespace
			s.binding.Name += "-new"
			member := &clusterv1beta1.MemberCluster{
				ObjectMeta: metav1.ObjectMeta{Name: s.cluster}, Spec: clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", Name: s.cluster}},
			}
			s.ensure(member)
			testworld.AwaitKnown(s, s.agent.Knows, member) // a binding to a cluster that is not known waits for its InternalMemberCluster
			s.bind(0)
			s.awaitStatus(v1beta1.ConditionWorkSynchronized, metav1.ConditionFalse) // the scheduler has not reported that it picked the cluster
			s.pick()
			s.awaitStatus(v1beta1.ConditionWorkSynchronized, metav1.ConditionFalse)
			s.ensure(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: contract.MemberNamespace(s.cluster)}})
			s.ensure(&clusterv1beta1.InternalMemberCluster{
				ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(s.cluster), Name: s.cluster},
				Spec:       clusterv1beta1.InternalMemberClusterSpec{State: clusterv1beta1.ClusterStateJoin},
			})
			s.awaitWorks(1, 0)
			s.report(metav1.ConditionTrue, "Done")
			s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
			s.deletePlacementAndBinding()
		})
	})

	t.Run("a restart writes nothing", func(t *testing.T) {
		here := *h
		here.T = t
		s := newScene(&here, "", "restart", "east")
		done := newScene(&here, "shop", "restarts", "east")
		first := s.startAgent()
		s.snapshot(0, 2)
		s.bind(0)
		s.awaitWorks(2, 0)
		s.awaitStatus(v1beta1.ConditionApplied, metav1.ConditionFalse) // in progress, and for good
		done.snapshot(0, 1)
		done.bind(0)
		done.awaitWorks(1, 0)
		done.report(metav1.ConditionTrue, "Done")
		done.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
		first.Stop()
		second := s.startAgent()
		// A write that is held back would come within this time.
		testworld.Stable(t, 2*report.Patience, "quiet", func(context.Context) error {
			if diff := cmp.Diff(map[string]int{}, counts(second)); diff != "" {
				return errors.New(diff)
			}
			return nil
		})
	})
}

// lastHealthy compares the last healthy revision in the binding; "" is none. It is written together with the
// conditions.
func (s *scene) lastHealthy(want string) {
	s.Helper()
	binding, err := scope.Bindings.Get(s.Context(), s.Client, s.binding)
	if err != nil {
		s.Fatal(err)
	}
	got := ""
	if last := binding.GetStatus().LastHealthy; last != nil {
		got = last.ResourceSnapshotName
	}
	if got != want {
		s.Errorf("the binding was last healthy with %q, want %q", got, want)
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
