package e2e

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// at is the key of something of the scenario's scope.
func (s contents) at(name string) types.NamespacedName {
	if s.namespaced {
		return types.NamespacedName{Namespace: s.app, Name: name}
	}
	return types.NamespacedName{Name: name}
}

// guard creates the disruption budget of the scenario's placement.
func (s *scene) guard(spec v1beta1.PlacementDisruptionBudgetSpec) {
	s.Helper()
	budget := scope.DisruptionBudgets.New(s.at(s.name))
	budget.SetNamespace(s.at(s.name).Namespace)
	budget.SetName(s.name)
	*budget.GetSpec() = spec
	s.create(budget)
}

func maxUnavailable(value string) v1beta1.PlacementDisruptionBudgetSpec {
	limit := intstr.Parse(value)
	return v1beta1.PlacementDisruptionBudgetSpec{MaxUnavailable: &limit}
}

func minAvailable(value string) v1beta1.PlacementDisruptionBudgetSpec {
	limit := intstr.Parse(value)
	return v1beta1.PlacementDisruptionBudgetSpec{MinAvailable: &limit}
}

// evict evicts the scenario's placement from a member and waits for the outcome.
func (s onCluster) evict(executed bool, message string) {
	s.Helper()
	key := s.at("evict-" + s.name + "-" + s.cluster.name)
	eviction := scope.Evictions.New(key)
	eviction.SetNamespace(key.Namespace)
	eviction.SetName(key.Name)
	*eviction.GetSpec() = v1beta1.PlacementEvictionSpec{PlacementName: s.name, ClusterName: s.cluster.name}
	s.create(eviction)
	want := []string{fmt.Sprintf("Valid True %s Eviction is valid", eviction.Reason(v1beta1.ReasonEvictionValid))}
	if executed {
		want = append(want, fmt.Sprintf("Executed True %s %s", eviction.Reason(v1beta1.ReasonEvictionExecuted), message))
	} else {
		want = append(want, fmt.Sprintf("Executed False %s %s", eviction.Reason(v1beta1.ReasonEvictionNotExecuted), message))
	}
	testworld.Await(s.T, testworld.Soon, "the outcome of "+key.Name, func(ctx context.Context) error {
		if err := theHub.Get(ctx, key, eviction); err != nil {
			return err
		}
		var got []string
		for _, c := range *eviction.GetConditions() {
			if c.ObservedGeneration != eviction.GetGeneration() {
				return fmt.Errorf("%s is of generation %d, not %d", c.Type, c.ObservedGeneration, eviction.GetGeneration())
			}
			got = append(got, fmt.Sprintf("%s %s %s %s", c.Type, c.Status, c.Reason, c.Message))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("it is %q, want %q", got, want)
		}
		return nil
	})
}

// budgetKind is how messages call the budget of the scenario's placement.
func (s contents) budgetKind() string {
	if s.namespaced {
		return "ResourcePlacementDisruptionBudget"
	}
	return "ClusterResourcePlacementDisruptionBudget"
}

func (s contents) free() string {
	return fmt.Sprintf("Eviction is allowed, no %s specified", s.budgetKind())
}

func (s contents) byBudget(verb string, available, total int) string {
	return fmt.Sprintf("Eviction is %s by specified %s, availablePlacements: %d, totalPlacements: %d", verb, s.budgetKind(), available, total)
}

// contract:208
func TestEvictedWithoutABudgetComesBack(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		p := s.place(testworld.PickAll())
		s.of(p).expect(complete())
		old := s.on(c1).bindingTo()
		s.on(c1).evict(true, s.free())
		testworld.Await(s.T, testworld.Workload, "another binding", func(context.Context) error {
			if b := s.on(c1).bindingTo(); b == nil || b.GetUID() == old.GetUID() {
				return fmt.Errorf("the binding to %s is %v", c1.name, b)
			}
			return nil
		})
		s.of(p).expectWithin(testworld.Workload, complete())
		s.placed("test", members()...)
	})
}

// bindingTo is the binding of the scenario's placement to a member; nil if there is none.
func (s onCluster) bindingTo() v1beta1.BindingObject {
	s.Helper()
	all := must(scope.Bindings.List(s.Context(), theHub, s.at("").Namespace))
	for _, b := range all {
		if key, ok := scope.PlacementOf(b); ok && key == s.at(s.name) && b.GetSpec().TargetCluster == s.cluster.name {
			return b
		}
	}
	return nil
}

// contract:209
func TestMinAvailableKeepsAllOfPickAll(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		p := s.place(testworld.PickAll())
		s.of(p).expect(complete())
		s.guard(minAvailable("3"))
		s.on(c1).evict(false, s.byBudget("blocked", 3, 3))
		s.of(p).stays(complete())
		s.placed("test", members()...)
	})
}

// contract:210 contract:213 contract:215
func TestBudgetsThatAllowNothing(t *testing.T) {
	for name, budget := range map[string]v1beta1.PlacementDisruptionBudgetSpec{
		"maxUnavailable 0": maxUnavailable("0"), "maxUnavailable 0%": maxUnavailable("0%"), "minAvailable 100%": minAvailable("100%"),
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t)
			p := s.place(testworld.PickN(3))
			s.of(p).expect(complete())
			s.guard(budget)
			s.on(c1).evict(false, s.byBudget("blocked", 3, 3))
			s.of(p).stays(complete())
			s.placed("test", members()...)
		})
	}
}

// Evictions from a member that takes nothing new. Not beside others: the taint keeps their placements off too.
//
// contract:211 contract:212 contract:214
func TestBudgetsThatAllowOne(t *testing.T) {
	type scenario struct {
		*scene
		p      v1beta1.PlacementObject
		budget v1beta1.PlacementDisruptionBudgetSpec
	}
	var all []scenario
	for _, budget := range []v1beta1.PlacementDisruptionBudgetSpec{maxUnavailable("1"), maxUnavailable("33%"), minAvailable("66%")} {
		s := bare(t)
		s.open()
		all = append(all, scenario{s, s.place(testworld.PickN(3)), budget})
	}
	narrow := bare(t)
	narrow.open()
	narrow.carry(c1.name, c2.name, c3.name)
	all = append(all, scenario{narrow, narrow.place(testworld.PickN(3)), maxUnavailable("1")})
	for _, s := range all {
		s.of(s.p).expect(complete())
	}
	all[0].on(c1).taintMember(testworld.Taint("evicted", "yes"))
	for _, s := range all {
		s.guard(s.budget)
		s.on(c1).evict(true, s.byBudget("allowed", 3, 3))
	}
	for _, s := range all {
		s.of(s.p).expect(testworld.Partial(1, c2.name, c3.name))
		s.placed("test", c2, c3)
	}
	for _, s := range []*scene{all[0].scene, narrow} {
		testworld.Await(t, testworld.Workload, "the binding to go", func(context.Context) error {
			if b := s.on(c1).bindingTo(); b != nil {
				return fmt.Errorf("%s is still there", b.GetName())
			}
			return nil
		})
	}
	// What was taken from the budget stays taken: two of three are left, and one may be missing.
	all[0].on(c2).evict(false, all[0].byBudget("blocked", 2, 2))
	narrow.on(c2).evict(false, narrow.byBudget("blocked", 2, 2))
}

func TestEvictionOfNothing(t *testing.T) {
	s := begin(t)
	key := client.ObjectKey{Name: "evict-" + s.name}
	eviction := &v1beta1.ClusterResourcePlacementEviction{ObjectMeta: metav1.ObjectMeta{Name: key.Name},
		Spec: v1beta1.PlacementEvictionSpec{PlacementName: s.name, ClusterName: c1.name}}
	s.create(eviction)
	testworld.Await(t, testworld.Soon, "the eviction to be refused", func(ctx context.Context) error {
		if err := theHub.Get(ctx, key, eviction); err != nil {
			return err
		}
		c := eviction.Status.Conditions
		if len(c) != 1 || c[0].Reason != v1beta1.ReasonEvictionInvalid || c[0].Message != "Failed to find ClusterResourcePlacement targeted by eviction" {
			return fmt.Errorf("conditions are %+v", c)
		}
		return nil
	})
}
