package evictor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// scene is one placement on a real hub.
type scene struct {
	*testing.T
	hub *testworld.Cluster
	key types.NamespacedName
}

// inBothScopes plays a scene twice.
func inBothScopes(t *testing.T, name string, play func(*scene)) {
	hub := hubs.Get(t)[0]
	for _, namespace := range []string{"", name} {
		t.Run("in namespace "+namespace, func(t *testing.T) {
			s := &scene{T: t, hub: hub, key: types.NamespacedName{Namespace: namespace, Name: name}}
			if namespace != "" {
				s.must(hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
			}
			play(s)
		})
	}
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// place creates a placement of PickN with bindings to n clusters, and makes it available on all of them.
func (s *scene) place(n int) {
	s.Helper()
	placement := scope.Placements.New(s.key)
	placement.SetNamespace(s.key.Namespace)
	placement.SetName(s.key.Name)
	*placement.GetSpec() = v1beta1.PlacementSpec{
		ResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "ConfigMap", Name: "cm"}},
		Policy:            &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(int32(n))},
	}
	s.must(s.hub.Client.Create(s.Context(), placement))
	for i := range n {
		s.bind(fmt.Sprintf("c%d", i))
	}
}

func (s *scene) bind(cluster string) {
	s.Helper()
	b := scope.Bindings.New(s.key)
	b.SetNamespace(s.key.Namespace)
	b.SetName(s.key.Name + "-" + cluster)
	b.SetLabels(map[string]string{contract.LabelPlacement: s.key.Name})
	b.SetFinalizers([]string{contract.FinalizerWork})
	*b.GetSpec() = v1beta1.ResourceBindingSpec{
		State: v1beta1.BindingStateBound, SchedulingPolicySnapshotName: "policy", TargetCluster: cluster,
		ClusterDecision: v1beta1.ClusterDecision{ClusterName: cluster, Selected: true, Reason: "picked"},
	}
	s.must(s.hub.Client.Create(s.Context(), b))
	*b.GetConditions() = []metav1.Condition{{
		Type: v1beta1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAllWorkAreAvailable,
		ObservedGeneration: b.GetGeneration(), LastTransitionTime: metav1.Now(),
	}}
	s.must(s.hub.Client.Status().Update(s.Context(), b))
}

func (s *scene) guard(spec v1beta1.PlacementDisruptionBudgetSpec) {
	s.Helper()
	budget := scope.DisruptionBudgets.New(s.key)
	budget.SetNamespace(s.key.Namespace)
	budget.SetName(s.key.Name)
	*budget.GetSpec() = spec
	s.must(s.hub.Client.Create(s.Context(), budget))
}

func (s *scene) evict(cluster string) error {
	eviction := scope.Evictions.New(s.key)
	eviction.SetNamespace(s.key.Namespace)
	eviction.SetName(s.key.Name + "-" + cluster)
	*eviction.GetSpec() = v1beta1.PlacementEvictionSpec{PlacementName: s.key.Name, ClusterName: cluster}
	return s.hub.Client.Create(s.Context(), eviction)
}

func (s *scene) bindings() []v1beta1.BindingObject {
	s.Helper()
	list, err := scope.Bindings.List(s.Context(), s.hub.Client, s.key.Namespace, client.MatchingLabels{contract.LabelPlacement: s.key.Name})
	s.must(err)
	return list
}

// outcomes waits until n evictions of the placement have their outcome, and returns the messages of their last
// conditions, by cluster.
func (s *scene) outcomes(n int) map[string]string {
	s.Helper()
	out := map[string]string{}
	testworld.Await(s, testworld.Workload, fmt.Sprintf("%d outcomes", n), func(ctx context.Context) error {
		list, err := scope.Evictions.List(ctx, s.hub.Client, s.key.Namespace)
		if err != nil {
			return err
		}
		clear(out)
		for _, e := range list {
			if scope.EvictedBy(e) == s.key && report.EvictionEnded(e) {
				conditions := *e.GetConditions()
				out[e.GetSpec().ClusterName] = conditions[len(conditions)-1].Message
			}
		}
		if len(out) != n {
			return fmt.Errorf("%d have one", len(out))
		}
		return nil
	})
	return out
}

// A hundred evictions at once, and two evictors that know nothing of each other: the budget holds at every moment, and
// everything that it allows is done. Evicted clusters vanish in between, as they do when their member has cleaned up.
func TestHundredEvictions(t *testing.T) {
	inBothScopes(t, "hundred", func(s *scene) {
		clusters, most := 100, 10
		if s.key.Namespace != "" { // the same code: fewer will do
			clusters, most = 20, 2
		}
		s.place(clusters)
		s.guard(v1beta1.PlacementDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromString("10%"))})
		first, second := startAgent(s.T, s.hub), startAgent(s.T, s.hub)
		stop := s.cleanUp(clusters - most)
		var names []string
		for i := range clusters {
			names = append(names, fmt.Sprintf("c%d", i))
		}
		s.must(loop.Each(s.Context(), 20, names, func(_ context.Context, cluster string) error { return s.evict(cluster) }))
		allowed := 0
		for _, message := range s.outcomes(clusters) {
			// The evictor that records it need not be the one that deleted: then the message reports that the cluster
			// is being left.
			if strings.HasPrefix(message, "Eviction is allowed") {
				allowed++
			}
		}
		stop()
		first.Stop()
		second.Stop()
		// What the clean-up did not come to any more is gone as far as the budget goes.
		left := len(slices.DeleteFunc(s.bindings(), func(b v1beta1.BindingObject) bool { return !b.GetDeletionTimestamp().IsZero() }))
		if allowed != most || left != clusters-most {
			s.Errorf("%d evictions were allowed and %d bindings are left; want %d and %d", allowed, left, most, clusters-most)
		}
	})
}

// cleanUp does what members and dispatcher do for deleted bindings, and sees to it that there are never fewer than
// least others.
func (s *scene) cleanUp(least int) (stop func()) {
	return testworld.Go(s, "the clean-up", func(ctx context.Context) error {
		for ; ctx.Err() == nil; testworld.Pause() {
			list, err := scope.Bindings.List(ctx, s.hub.Client, s.key.Namespace, client.MatchingLabels{contract.LabelPlacement: s.key.Name})
			if err != nil {
				continue
			}
			living := slices.DeleteFunc(slices.Clone(list), func(b v1beta1.BindingObject) bool { return !b.GetDeletionTimestamp().IsZero() })
			if len(living) < least {
				return fmt.Errorf("%d clusters are left; at least %d must be", len(living), least)
			}
			for _, b := range list {
				if !b.GetDeletionTimestamp().IsZero() {
					b.SetFinalizers(nil)
					_ = s.hub.Client.Update(ctx, b) // the next round looks again
				}
			}
		}
		return nil
	}).Stop
}

func TestWithoutABudget(t *testing.T) {
	inBothScopes(t, "free", func(s *scene) {
		s.place(2)
		a := startAgent(s.T, s.hub)
		s.must(s.evict("c0"))
		kind := "ClusterResourcePlacementDisruptionBudget"
		if s.key.Namespace != "" {
			kind = "ResourcePlacementDisruptionBudget"
		}
		if got := s.outcomes(1)["c0"]; got != "Eviction is allowed, no "+kind+" specified" {
			s.Errorf("message is %q", got)
		}
		if writes := a.Take(); len(writes) != 3 {
			s.Errorf("writes are %v; want the mark, the deletion and the outcome", writes)
		}
		s.must(s.evict("nowhere"))
		if got := s.outcomes(2)["nowhere"]; got != "Failed to find scheduler decision for placement in cluster targeted by eviction" {
			s.Errorf("message is %q", got)
		}
		if writes := a.Take(); len(writes) != 1 {
			s.Errorf("writes are %v; want the outcome", writes)
		}
		a.Stop()
		// Nothing has changed: another leader writes nothing.
		again := startAgent(s.T, s.hub)
		testworld.Stable(s, 500*time.Millisecond, "silence after a start", func(context.Context) error {
			if writes := again.Take(); len(writes) > 0 {
				return fmt.Errorf("writes: %v", writes)
			}
			return nil
		})
	})
}

// The last report of a cluster that was given up counts in a budget as long as the cluster is heard.
func TestGivenUpClusters(t *testing.T) {
	inBothScopes(t, "given-up", func(s *scene) {
		s.place(2)
		gone := "left-by-" + cmp.Or(s.key.Namespace, "all")
		s.bind(gone)
		s.giveUp(gone)
		s.guard(v1beta1.PlacementDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(2))})
		startAgent(s.T, s.hub)
		s.must(s.evict("c0"))
		if got := s.outcomes(1)["c0"]; !strings.HasSuffix(got, "availablePlacements: 2, totalPlacements: 2") || !strings.Contains(got, "blocked") {
			s.Errorf("message is %q", got)
		}
		s.hear(gone)
		s.must(s.evict("c1"))
		if got := s.outcomes(2)["c1"]; !strings.HasSuffix(got, "availablePlacements: 3, totalPlacements: 3") || !strings.Contains(got, "allowed") {
			s.Errorf("message is %q", got)
		}
	})
}

// giveUp makes the binding of a cluster Unscheduled, with everything still available there.
func (s *scene) giveUp(cluster string) {
	s.Helper()
	b := scope.Bindings.New(s.key)
	s.must(s.hub.Client.Get(s.Context(), types.NamespacedName{Namespace: s.key.Namespace, Name: s.key.Name + "-" + cluster}, b))
	conditions := slices.Clone(*b.GetConditions())
	b.SetAnnotations(map[string]string{contract.AnnotationPreviousState: string(v1beta1.BindingStateBound)})
	b.GetSpec().State = v1beta1.BindingStateUnscheduled
	s.must(s.hub.Client.Update(s.Context(), b))
	conditions[0].ObservedGeneration = b.GetGeneration()
	*b.GetConditions() = conditions
	s.must(s.hub.Client.Status().Update(s.Context(), b))
}

// hear creates a cluster that has just reported.
func (s *scene) hear(cluster string) {
	s.Helper()
	mc := testworld.NewMemberCluster(cluster)
	mc.Spec.HeartbeatPeriodSeconds = 600 // it reports once
	s.must(s.hub.Client.Create(s.Context(), mc))
	mc.Status.AgentStatus = []clusterv1beta1.AgentStatus{{Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.Now()}}
	s.must(s.hub.Client.Status().Update(s.Context(), mc))
}

// An eviction of what cannot be there has its outcome like one of what is not there: who waits for it must not wait
// for ever.
func TestNamesThatNoPlacementHas(t *testing.T) {
	inBothScopes(t, "unheard", func(s *scene) {
		for i, placement := range []string{"", "..", "a/b", "A B", strings.Repeat("x", 254)} {
			eviction := scope.Evictions.New(s.key)
			eviction.SetNamespace(s.key.Namespace)
			eviction.SetName(fmt.Sprintf("%s-%d", s.key.Name, i))
			*eviction.GetSpec() = v1beta1.PlacementEvictionSpec{PlacementName: placement, ClusterName: "c0"}
			s.must(s.hub.Client.Create(s.Context(), eviction))
		}
		s.key.Name = strings.Repeat("y", 70) // its bindings would carry it in a label
		s.place(0)
		s.must(s.evict("c0"))
		startAgent(s.T, s.hub)
		kind := "ClusterResourcePlacement"
		if s.key.Namespace != "" {
			kind = "ResourcePlacement"
		}
		testworld.Await(s, testworld.Workload, "the outcomes", func(ctx context.Context) error {
			list, err := scope.Evictions.List(ctx, s.hub.Client, s.key.Namespace)
			if err != nil {
				return err
			}
			for _, e := range list {
				name := e.GetSpec().PlacementName
				want := "Failed to find " + kind + " targeted by eviction"
				switch {
				case name == s.key.Name:
					want = "Failed to find scheduler decision for placement in cluster targeted by eviction"
				case !strings.HasPrefix(e.GetName(), "unheard-"):
					continue
				}
				conditions := *e.GetConditions()
				if len(conditions) == 0 || conditions[0].Message != want {
					return fmt.Errorf("the eviction of %q says %v; want %q", name, conditions, want)
				}
			}
			return nil
		})
	})
}

// An eviction whose process ended before it recorded the outcome is not carried out again on the binding that was
// created since.
func TestCarriedOutOnce(t *testing.T) {
	inBothScopes(t, "once", func(s *scene) {
		s.place(1)
		old := s.bindings()[0]
		s.must(s.evict("c0"))
		eviction, err := scope.Evictions.Get(s.Context(), s.hub.Client, types.NamespacedName{Namespace: s.key.Namespace, Name: s.key.Name + "-c0"})
		s.must(err)
		eviction.SetAnnotations(map[string]string{contract.AnnotationEvicting: string(old.GetUID())})
		s.must(s.hub.Client.Update(s.Context(), eviction))
		old.SetFinalizers(nil)
		s.must(s.hub.Client.Update(s.Context(), old))
		s.must(s.hub.Client.Delete(s.Context(), old))
		s.bind("c0")
		startAgent(s.T, s.hub)
		if got := s.outcomes(1)["c0"]; !strings.Contains(got, "currently being removed") {
			s.Errorf("message is %q", got)
		}
		if b := s.bindings(); len(b) != 1 || !b[0].GetDeletionTimestamp().IsZero() {
			s.Errorf("bindings are %v", b)
		}
	})
}

// An eviction that was begun, and whose binding is still there, is decided like any other.
func TestBegunAndNotCarriedOut(t *testing.T) {
	inBothScopes(t, "begun", func(s *scene) {
		s.place(2)
		s.guard(v1beta1.PlacementDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(0))})
		s.must(s.evict("c0"))
		eviction, err := scope.Evictions.Get(s.Context(), s.hub.Client, types.NamespacedName{Namespace: s.key.Namespace, Name: s.key.Name + "-c0"})
		s.must(err)
		eviction.SetAnnotations(map[string]string{contract.AnnotationEvicting: string(s.bindings()[0].GetUID())})
		s.must(s.hub.Client.Update(s.Context(), eviction))
		startAgent(s.T, s.hub)
		if got := s.outcomes(1)["c0"]; !strings.HasPrefix(got, "Eviction is blocked by specified") {
			s.Errorf("message is %q", got)
		}
	})
}
