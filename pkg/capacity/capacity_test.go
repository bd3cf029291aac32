package capacity

import (
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

func list(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func usage(nodes ...Free) *clusterv1beta1.ResourceUsage {
	var sum Free
	for _, n := range nodes {
		sum = Free{sum.MilliCPU + n.MilliCPU, sum.Memory + n.Memory, sum.Pods + n.Pods}
	}
	return &clusterv1beta1.ResourceUsage{Nodes: Groups(nodes), Available: corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(sum.MilliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(sum.Memory, resource.BinarySI),
	}}
}

func TestRoom(t *testing.T) {
	const gi = 1 << 30
	two := usage(Free{1500, 4 * gi, 100}, Free{1500, 4 * gi, 100})
	capped := usage(Free{4000, 16 * gi, 100})
	capped.Available[corev1.ResourceCPU] = resource.MustParse("2")
	for name, c := range map[string]struct {
		usage    *clusterv1beta1.ResourceUsage
		requests corev1.ResourceList
		want     int64
		known    bool
	}{
		"one on each node, not three on the sum":     {two, list("1", "1Gi"), 2, true},
		"memory is short":                            {two, list("100m", "3Gi"), 2, true},
		"too large for each node":                    {two, list("2", "1Gi"), 0, true},
		"without requests, the number of pods":       {two, corev1.ResourceList{}, 200, true},
		"a node without room for pods":               {usage(Free{8000, 64 * gi, 0}), list("1", "1Gi"), 0, true},
		"no open node":                               {usage(), list("1", "1Gi"), 0, true},
		"no open node, and no requests":              {usage(), nil, 0, true},
		"what is believed to be available limits it": {capped, list("1", "1Gi"), 2, true},
		"an older agent does not report its nodes":   {&clusterv1beta1.ResourceUsage{Available: list("8", "8Gi")}, list("1", "1Gi"), 0, false},
		"other resources are not checked":            {two, corev1.ResourceList{"example.com/gpu": resource.MustParse("8")}, 200, true},
		"more than any workload has":                 {usage(Free{1 << 40, 1 << 60, 1 << 40}), list("1m", "1"), 1<<31 - 1, true},
		"a resource that a group lacks does not fit": {&clusterv1beta1.ResourceUsage{Nodes: []clusterv1beta1.NodeGroup{{Count: 3}}}, list("1", "1Gi"), 0, true},
		"a group without a number of pods fits none": {&clusterv1beta1.ResourceUsage{Nodes: []clusterv1beta1.NodeGroup{{Count: 3, Available: list("9", "9Gi")}}}, list("1", "1Gi"), 0, true},
	} {
		if got, known := Room(c.usage, c.requests, nil); got != c.want || known != c.known {
			t.Errorf("%s: %d, %t; want %d, %t", name, got, known, c.want, c.known)
		}
	}
}

func TestGroupsAreFewAndPromiseNoMoreThanThereIs(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		nodes := make([]Free, r.IntN(500))
		for i := range nodes {
			nodes[i] = Free{r.Int64N(128_000), r.Int64N(1 << 40), r.Int64N(250)}
		}
		groups := Groups(nodes)
		var count int32
		for _, g := range groups {
			count += g.Count
		}
		if len(groups) < 1 || len(groups) > MostGroups || len(nodes) > 0 && int(count) != len(nodes) {
			t.Fatalf("seed %d: %d groups of %d nodes, want %d nodes", seed, len(groups), count, len(nodes))
		}
		requests := corev1.ResourceList{
			corev1.ResourceCPU: *resource.NewMilliQuantity(1+r.Int64N(4000), resource.DecimalSI), corev1.ResourceMemory: *resource.NewQuantity(1+r.Int64N(1<<33), resource.BinarySI),
		}
		var most int64
		for _, n := range nodes {
			most += min(n.Pods, n.MilliCPU/requests.Cpu().MilliValue(), n.Memory/requests.Memory().Value())
		}
		if room, ok := Room(usage(nodes...), requests, nil); !ok || room > most {
			t.Fatalf("seed %d: room for %d, and %d fit", seed, room, most)
		}
	}
}

func TestFewNodesAreReportedAlmostExactly(t *testing.T) {
	nodes := []Free{{3920, 15 << 30, 97}, {1870, 6<<30 + 12345, 80}}
	if room, _ := Room(usage(nodes...), list("70m", "64Mi"), nil); room != 56+26 {
		t.Errorf("room for %d, want 82", room)
	}
}

func TestRequestsOf(t *testing.T) {
	const workload = `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{"spec":{
		"containers":[{"name":"a","resources":{"requests":{"cpu":"250m"},"limits":{"cpu":"1","memory":"1Gi"}}},{"name":"b","resources":{"requests":{"cpu":"50m"}}}],
		"initContainers":[{"name":"i","resources":{"requests":{"cpu":"1"}}}]}}}}`
	requests, ok := RequestsOf([]byte(workload))
	if !ok || requests.Cpu().String() != "1" || requests.Memory().String() != "1Gi" {
		t.Errorf("requests are %v, %t", requests, ok)
	}
	for _, bad := range []string{`{"spec":{"replicas":3}}`, `{"spec":{"template":7}}`, `7`, ``} {
		if _, ok := RequestsOf([]byte(bad)); ok {
			t.Errorf("%s has requests", bad)
		}
	}
}

func TestPromisesTakeRoom(t *testing.T) {
	u := usage(Free{4000, 16 << 30, 100})
	promised := corev1.ResourceList{}
	Add(promised, Times(list("1", "1Gi"), 2))
	Add(promised, Times(list("500m", "0"), 1))
	if room, _ := Room(u, list("1", "1Gi"), promised); room != 1 {
		t.Errorf("room for %d, want 1", room)
	}
	if room, _ := Room(u, nil, promised); room != 97 {
		t.Errorf("room for %d pods without requests, want 97", room)
	}
	Add(promised, Times(list("9", "0"), 1))
	if room, _ := Room(u, list("1", "1Gi"), promised); room != 0 {
		t.Errorf("room for %d, want none", room)
	}
}
