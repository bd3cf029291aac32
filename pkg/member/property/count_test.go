package property

import (
	"fmt"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func resources(cpu, memory string) corev1.ResourceList {
	out := corev1.ResourceList{}
	if cpu != "" {
		out[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		out[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return out
}

func container(cpu, memory string) corev1.Container {
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: resources(cpu, memory)}}
}

func TestPodTakes(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	sidecar := container("100m", "")
	sidecar.RestartPolicy = &always
	one := corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{container("250m", "1Gi")}}
	with := func(change func(*corev1.PodSpec)) corev1.PodSpec { s := *one.DeepCopy(); change(&s); return s }

	for name, tc := range map[string]struct {
		spec  corev1.PodSpec
		phase corev1.PodPhase
		want  amount
	}{
		"containers are added up":     {with(func(s *corev1.PodSpec) { s.Containers = append(s.Containers, container("1", "")) }), corev1.PodRunning, amount{1250, 1 << 30, 1}},
		"one that is starting counts": {one, corev1.PodPending, amount{250, 1 << 30, 1}},
		"one without a node does not": {with(func(s *corev1.PodSpec) { s.NodeName = "" }), corev1.PodPending, amount{}},
		"one that succeeded does not": {one, corev1.PodSucceeded, amount{}},
		"one that failed does not":    {one, corev1.PodFailed, amount{}},
		"a larger init container counts instead": {with(func(s *corev1.PodSpec) { s.InitContainers = []corev1.Container{container("2", "")} }),
			corev1.PodRunning, amount{2000, 1 << 30, 1}},
		"a sidecar counts beside": {with(func(s *corev1.PodSpec) { s.InitContainers = []corev1.Container{sidecar} }), corev1.PodRunning, amount{350, 1 << 30, 1}},
		"overhead counts":         {with(func(s *corev1.PodSpec) { s.Overhead = resources("50m", "1Mi") }), corev1.PodRunning, amount{300, 1<<30 + 1<<20, 1}},
		"requests of the whole pod count instead": {with(func(s *corev1.PodSpec) {
			s.Resources = &corev1.ResourceRequirements{Requests: resources("3", "2Gi")}
		}), corev1.PodRunning, amount{3000, 2 << 30, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			p := podOf(&corev1.Pod{Spec: tc.spec, Status: corev1.PodStatus{Phase: tc.phase}})
			if p.takes != tc.want {
				t.Errorf("takes %+v; want %+v", p.takes, tc.want)
			}
		})
	}
}

// Whatever happens to nodes and pods, in whatever order, the sums are those of what is there.
func TestSumsFollowTheObjects(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kept := newTotal()
		nodes, pods := map[string]*node{}, map[string]*pod{}
		amounts := rapid.Custom(func(t *rapid.T) amount {
			return amount{rapid.Int64Range(0, 64000).Draw(t, "cpu"), rapid.Int64Range(0, 1<<40).Draw(t, "memory"), rapid.Int64Range(0, 110).Draw(t, "pods")}
		})
		t.Repeat(map[string]func(*rapid.T){
			"node is": func(t *rapid.T) {
				name := fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "node"))
				is := &node{
					ObjectMeta: metav1.ObjectMeta{Name: name},
					load: load{
						open:     rapid.Bool().Draw(t, "open"),
						size:     rapid.SampledFrom([]string{"small", "large", sizeUnknown}).Draw(t, "size"),
						capacity: amounts.Draw(t, "capacity"), allocatable: amounts.Draw(t, "allocatable"),
					},
					region: rapid.SampledFrom([]string{"", "east"}).Draw(t, "region"),
				}
				kept.moveNode(nodes[name], is)
				nodes[name] = is
			},
			"node goes": func(t *rapid.T) {
				name := fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "node"))
				kept.moveNode(nodes[name], nil)
				delete(nodes, name)
			},
			"pod is": func(t *rapid.T) {
				name := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "pod"))
				is := &pod{node: fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "on")), takes: amounts.Draw(t, "takes")}
				kept.movePod(pods[name], is)
				pods[name] = is
			},
			"pod goes": func(t *rapid.T) {
				name := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "pod"))
				kept.movePod(pods[name], nil)
				delete(pods, name)
			},
			"": func(t *rapid.T) {
				counted := newTotal()
				for _, n := range nodes {
					counted.nodes++
					counted.sizes[n.size]++
					if n.region != "" {
						counted.regions[n.region]++
					}
					counted.capacity, counted.allocatable = counted.capacity.plus(n.capacity), counted.allocatable.plus(n.allocatable)
					counted.each[n.Name] = use{known: true, load: n.load}
				}
				for _, p := range pods {
					counted.taken = counted.taken.plus(p.takes)
					u := counted.each[p.node]
					if u.taken = u.taken.plus(p.takes); u != (use{}) {
						counted.each[p.node] = u
					}
				}
				if !reflect.DeepEqual(kept, counted) {
					t.Fatalf("kept %+v; counted %+v", kept, counted)
				}
			},
		})
	})
}

func TestUsage(t *testing.T) {
	sum := newTotal()
	for i := range 2 {
		sum.moveNode(nil, nodeOf(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i)},
			Status:     corev1.NodeStatus{Capacity: resources("4", "8Gi"), Allocatable: resources("3500m", "7Gi")},
		}))
	}
	sum.movePod(nil, &pod{node: "0", takes: amount{8000, 1 << 30, 1}})

	if got := sum.properties(); got["kubernetes-fleet.io/node-count"] != "2" || len(got) != 1 {
		t.Errorf("properties %v; want a node count of 2 alone", got)
	}
	got := sum.usage(true)
	for name, pair := range map[string][2]corev1.ResourceList{
		"capacity":    {got.Capacity, resources("8", "16Gi")},
		"allocatable": {got.Allocatable, resources("7", "14Gi")},
		"available":   {got.Available, resources("0", "13Gi")}, // never less than nothing
	} {
		if !equality.Semantic.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s is %v; want %v", name, pair[0], pair[1])
		}
	}
	if usage := sum.usage(false); usage.Available != nil {
		t.Errorf("available is %v though the pods are not known", usage.Available)
	}
}

func TestSizeOfANode(t *testing.T) {
	for name, tc := range map[string]struct {
		labels map[string]string
		want   string
	}{
		"the label that the contract names":   {map[string]string{"beta.kubernetes.io/instance-type": "a", "node.kubernetes.io/instance-type": "b"}, "a"},
		"its successor":                       {map[string]string{"node.kubernetes.io/instance-type": "b"}, "b"},
		"a node that does not say what it is": {nil, "undefined"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nodeOf(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels}}); got.size != tc.want {
				t.Errorf("size %q; want %q", got.size, tc.want)
			}
		})
	}
}

func TestOfObjectsLittleIsKept(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", ResourceVersion: "7", Labels: map[string]string{"a": "b"},
		Annotations: map[string]string{"c": "d"}, ManagedFields: []metav1.ManagedFieldsEntry{{}}}
	small, err := shrinkPod(&corev1.Pod{ObjectMeta: meta})
	if err != nil {
		t.Fatal(err)
	}
	want := metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", ResourceVersion: "7"}
	if got := small.(*pod).ObjectMeta; !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("kept %+v", got)
	}
}

func TestNodesAreReportedInGroups(t *testing.T) {
	sum := newTotal()
	ready := corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}, Allocatable: resources("4", "8Gi"),
	}
	ready.Allocatable[corev1.ResourcePods] = resource.MustParse("110")
	add := func(name string, status corev1.NodeStatus, spec corev1.NodeSpec) {
		sum.moveNode(nil, nodeOf(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec, Status: status}))
	}
	if got := sum.usage(true).Nodes; len(got) != 1 || len(got[0].Available) != 3 || !got[0].Available.Pods().IsZero() {
		t.Errorf("without nodes %+v; want one group without room", got)
	}
	sum.movePod(nil, &pod{node: "used", takes: amount{1000, 1 << 30, 1}})
	for _, name := range []string{"a", "b", "used"} {
		add(name, ready, corev1.NodeSpec{})
	}
	add("cordoned", ready, corev1.NodeSpec{Unschedulable: true})
	add("tainted", ready, corev1.NodeSpec{Taints: []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoExecute}}})
	add("late", corev1.NodeStatus{Allocatable: ready.Allocatable}, corev1.NodeSpec{})
	got := sum.usage(true).Nodes
	if len(got) != 2 || got[0].Count != 2 || got[0].Available.Cpu().String() != "4" || got[1].Count != 1 ||
		got[1].Available.Cpu().String() != "3" || got[1].Available.Pods().Value() != 109 {
		t.Errorf("groups are %+v; want two nodes with 4 cores and one with 3", got)
	}
	if sum.usage(false).Nodes != nil {
		t.Error("nodes are reported although pods are not known")
	}
}
