package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

const (
	nodeCount         = contract.PropertyNodeCount
	totalCPU          = contract.PropertyResourcePrefix + "total-cpu"
	totalMemory       = contract.PropertyResourcePrefix + "total-memory"
	allocatableCPU    = contract.PropertyResourcePrefix + "allocatable-cpu"
	allocatableMemory = contract.PropertyResourcePrefix + "allocatable-memory"
	availableMemory   = contract.PropertyResourcePrefix + "available-memory"
	coreCost          = contract.PropertyCoreCost
	memoryCost        = contract.PropertyMemoryCost

	eq, ne, lt, le, gt, ge = v1beta1.PropertySelectorOperatorEq, v1beta1.PropertySelectorOperatorNe, v1beta1.PropertySelectorOperatorLt,
		v1beta1.PropertySelectorOperatorLe, v1beta1.PropertySelectorOperatorGt, v1beta1.PropertySelectorOperatorGe
	ascending, descending = v1beta1.PropertySortOrderAscending, v1beta1.PropertySortOrderDescending
)

// having is a term of properties alone.
func having(property string, operator v1beta1.PropertySelectorOperator, value string) v1beta1.ClusterSelectorTerm {
	return testworld.Having(v1beta1.ClusterSelectorTerm{}, property, operator, value)
}

// sorted is a term that every cluster fits, better or worse.
func sorted(property string, order v1beta1.PropertySortOrder) v1beta1.ClusterSelectorTerm {
	return testworld.SortedBy(v1beta1.ClusterSelectorTerm{}, property, order)
}

// known waits until the hub knows the nodes of every member.
func (s *scene) known() {
	s.Helper()
	for i, m := range members() {
		s.on(m).hasNodes(i + 2)
	}
}

// hasNodes waits until the hub knows that a member has so many nodes.
func (s onCluster) hasNodes(count int) {
	s.Helper()
	testworld.Await(s.T, testworld.Workload, fmt.Sprintf("%s to report %d nodes", s.cluster.name, count), func(ctx context.Context) error {
		var mc clusterv1beta1.MemberCluster
		if err := theHub.Get(ctx, client.ObjectKey{Name: s.cluster.name}, &mc); err != nil {
			return err
		}
		if got := mc.Status.Properties[nodeCount].Value; got != fmt.Sprint(count) || mc.Status.ResourceUsage.Available == nil {
			return fmt.Errorf("it reports %q nodes, %v available", got, mc.Status.ResourceUsage.Available)
		}
		return nil
	})
}

// priced is known for scenarios about what nodes cost. Only the fleet that the suite starts has prices.
func (s *scene) priced() {
	s.Helper()
	if local == nil {
		s.Skip("the nodes of this fleet have no prices")
	}
	s.known()
	for _, m := range members() {
		testworld.Await(s.T, testworld.Workload, m.name+" to report its costs", func(ctx context.Context) error {
			var mc clusterv1beta1.MemberCluster
			if err := theHub.Get(ctx, client.ObjectKey{Name: m.name}, &mc); err != nil {
				return err
			}
			if mc.Status.Properties[coreCost].Value == "" || mc.Status.Properties[memoryCost].Value == "" {
				return fmt.Errorf("its properties are %v, its conditions %v", mc.Status.Properties, mc.Status.Conditions)
			}
			return nil
		})
	}
}

// contract:22 contract:32
func TestPickAllByNodes(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.known()
		p := s.place(testworld.PickAll(having(nodeCount, ge, "3")))
		s.of(p).settles(testworld.Complete(c2.name, c3.name))
		s.placed("test", c2, c3)
	})
}

// contract:23 contract:33
func TestPickAllByNodesAndResources(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.known()
		many := testworld.Having(having(nodeCount, ge, "3"), totalCPU, lt, "10000")
		p := s.place(testworld.PickAll(many))
		s.of(p).settles(testworld.Complete(c2.name, c3.name))
		s.of(p).edit(testworld.PickAll(many, testworld.Having(having(nodeCount, eq, "4"), availableMemory, ne, "20000Gi")))
		s.of(p).settles(testworld.Complete(c2.name, c3.name))
		s.placed("test", c2, c3)
	})
}

// contract:24
func TestPickAllByLabelAndNodes(t *testing.T) {
	s := begin(t)
	s.known()
	p := s.place(testworld.PickAll(testworld.Having(east, nodeCount, ge, "3")))
	s.of(p).settles(testworld.Complete(c2.name))
	s.placed("test", c2)
}

// contract:25 contract:35
func TestPickAllByLabelAndResources(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.known()
		p := s.place(testworld.PickAll(testworld.Having(east, allocatableCPU, le, "10000")))
		s.of(p).expect(testworld.Complete(c1.name, c2.name))
		s.placed("test", c1, c2)

		tiny := testworld.Having(testworld.Labelled(map[string]string{"region": "east"}, testworld.In("env", "canary")), allocatableMemory, lt, "1Ki")
		two := testworld.Having(testworld.Labelled(nil, testworld.NotIn("region", "west"), testworld.In("env", "prod")), nodeCount, eq, "2")
		s.of(p).edit(testworld.PickAll(tiny, testworld.Having(two, totalMemory, ge, "1Ki")))
		s.of(p).settles(testworld.Complete(c1.name))
		s.placed("test", c1)
	})
}

// contract:26 contract:36
func TestPickAllByCost(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.priced()
		p := s.place(testworld.PickAll(testworld.Having(east, memoryCost, ge, "9999")))
		s.of(p).settles(testworld.None())
		s.placed("")
		// The price is what kept it away, not that there is none.
		s.of(p).edit(testworld.PickAll(testworld.Having(east, memoryCost, lt, "9999")))
		s.of(p).expect(testworld.Complete(c1.name, c2.name))
	})
}

// contract:27
func TestPickAllByATypeOfNodeThatNobodyHas(t *testing.T) {
	s := begin(t)
	s.known()
	p := s.place(testworld.PickAll(testworld.Having(east, contract.PropertySizePrefix+"Standard_D8s_v3"+contract.PropertySizeSuffix, ge, "1")))
	s.of(p).settles(testworld.None())
	s.placed("")
}

// contract:34
func TestNamespacedPickAllByCostAndResources(t *testing.T) {
	s := beginNamespaced(t)
	s.priced()
	p := s.place(testworld.PickAll(testworld.Having(having(coreCost, ge, "0.01"), allocatableCPU, gt, "10000")))
	s.of(p).settles(testworld.None())
	s.placed("")
	s.of(p).edit(testworld.PickAll(having(coreCost, ge, "0.01")))
	s.of(p).expect(testworld.Complete(c1.name, c2.name, c3.name))
}

// contract:50 contract:57
func TestPickNWithFewNodes(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.known()
		p := s.place(testworld.PickN(2), testworld.Prefer(20, sorted(nodeCount, ascending)))
		s.of(p).settles(testworld.Complete(c1.name, c2.name))
		s.placed("test", c1, c2)
	})
}

// contract:51
func TestPickNBalancesNodesAndMemory(t *testing.T) {
	s := begin(t)
	s.known()
	p := s.place(testworld.PickN(2), testworld.Prefer(20, sorted(nodeCount, ascending)), testworld.Prefer(20, sorted(availableMemory, descending)))
	s.of(p).settles(testworld.Complete(c2.name, c3.name))
	s.placed("test", c2, c3)
}

// contract:52 contract:58
func TestPickNPrefersAmongSome(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.known()
		canary := testworld.Labelled(map[string]string{"env": "canary"})
		p := s.place(testworld.PickN(2), testworld.Prefer(20, testworld.SortedBy(east, nodeCount, ascending)),
			testworld.Prefer(20, testworld.SortedBy(canary, availableMemory, descending)))
		s.of(p).settles(testworld.Complete(c1.name, c2.name))
		s.placed("test", c1, c2)
	})
}

// contract:53 contract:59
func TestPickOneOfThoseThatQualify(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.priced()
		prod := testworld.Labelled(map[string]string{"env": "prod"})
		required := testworld.Having(testworld.Having(prod, coreCost, ge, "0"), nodeCount, ne, "3")
		p := s.place(testworld.PickN(1, required), testworld.Prefer(30, sorted(nodeCount, ascending)), testworld.Prefer(40, sorted(availableMemory, descending)))
		s.of(p).settles(testworld.Complete(c3.name))
		s.placed("test", c3)
	})
}

// A node joins c3, bigger than all others together. Not beside other scenarios: they would notice.
//
// contract:171 contract:189 contract:179 contract:195 contract:184 contract:200 contract:185
func TestNodeJoins(t *testing.T) {
	everywhere, onC3 := testworld.Complete(c1.name, c2.name, c3.name), testworld.Complete(c3.name)
	small := testworld.PickAll(having(totalCPU, lt, "10000"))
	bigOne := testworld.PickN(1, having(allocatableMemory, gt, "10000Gi"))
	four := testworld.PickN(1, having(nodeCount, eq, "4"))
	cases := []struct {
		policy        testworld.Option
		before, after testworld.Status
	}{
		{small, everywhere, everywhere},          // 171
		{small, everywhere, everywhere},          // 189
		{bigOne, testworld.Unfulfilled(1), onC3}, // 179
		{bigOne, testworld.Unfulfilled(1), onC3}, // 195
		{four, onC3, onC3},                       // 184
		{four, onC3, onC3},                       // 200
		{testworld.PickAll(having(nodeCount, gt, "4")), testworld.None(), onC3}, // 185
	}
	scenes, placements := together(t, false, true, false, true, false, true, true), make([]v1beta1.PlacementObject, len(cases))
	scenes[0].known()
	for i, c := range cases {
		placements[i] = scenes[i].place(c.policy)
	}
	for i, c := range cases {
		scenes[i].of(placements[i]).expect(c.before)
	}
	s := scenes[0]
	s.of(placements[len(cases)-1]).stays(testworld.None())

	big := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("10k"), corev1.ResourceMemory: resource.MustParse("10000Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "big-" + s.name, Labels: map[string]string{labelNodeType: "Standard_D4s_v3"}},
		Status:     corev1.NodeStatus{Capacity: big, Allocatable: big},
	}
	s.on(c3).createHere(node)
	s.on(c3).hasNodes(5)
	for i, c := range cases {
		scenes[i].of(placements[i]).expect(c.after)
	}
	testworld.Stable(t, calm, "what was picked", func(ctx context.Context) error {
		for i, c := range cases {
			if err := statusIs(placements[i], c.after)(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	scenes[2].placed("test", c3)
	scenes[3].placed("test", c3)
	scenes[6].placed("test", c3)
	remove(t, c3, node)
	s.on(c3).hasNodes(4)
}
