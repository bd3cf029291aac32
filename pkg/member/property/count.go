package property

import (
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/capacity"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// amount is the reported part of resources: cpu in thousandths of a core, memory in bytes, and the number of pods.
type amount struct{ cpu, memory, pods int64 }

func amountOf(list corev1.ResourceList) amount {
	return amount{cpu: list.Cpu().MilliValue(), memory: list.Memory().Value(), pods: list.Pods().Value()}
}

func (a amount) plus(b amount) amount {
	return amount{a.cpu + b.cpu, a.memory + b.memory, a.pods + b.pods}
}

func (a amount) minus(b amount) amount {
	return amount{a.cpu - b.cpu, a.memory - b.memory, a.pods - b.pods}
}

func (a amount) list() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(max(0, a.cpu), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(max(0, a.memory), resource.BinarySI),
	}
}

// node holds the needed fields of a Node.
type node struct {
	metav1.ObjectMeta
	load
	// region is the node's region; "" if it has no label for it.
	region string
}

// load is a node's part of the sums; a change of it is worth a report.
type load struct {
	// size is its machine type.
	size                  string
	capacity, allocatable amount
	// open is whether the node is ready and accepts new pods without a toleration.
	open bool
}

// sizeUnknown is the machine type of a node without a label for it.
const sizeUnknown = "undefined"

func nodeOf(n *corev1.Node) *node {
	size := n.Labels[corev1.LabelInstanceType] // the contract names the older label
	if size == "" {
		size = n.Labels[corev1.LabelInstanceTypeStable]
	}
	if size == "" {
		size = sizeUnknown
	}
	return &node{
		ObjectMeta: identity(&n.ObjectMeta),
		load:       load{size: size, capacity: amountOf(n.Status.Capacity), allocatable: amountOf(n.Status.Allocatable), open: isOpen(n)},
		region:     n.Labels[corev1.LabelTopologyRegion],
	}
}

func isOpen(n *corev1.Node) bool {
	closes := func(t corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	}
	ready := func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	return !n.Spec.Unschedulable && !slices.ContainsFunc(n.Spec.Taints, closes) && slices.ContainsFunc(n.Status.Conditions, ready)
}

// pod holds the needed fields of a Pod: its node and its resource requests.
type pod struct {
	metav1.ObjectMeta
	node  string
	takes amount
}

// podOf counts as the scheduler does: init containers, sidecars, overhead, requests of the whole pod, and resizes in
// progress. A pod without a node, or a finished one, takes nothing.
func podOf(p *corev1.Pod) *pod {
	small := &pod{ObjectMeta: identity(&p.ObjectMeta), node: p.Spec.NodeName}
	if p.Spec.NodeName != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
		small.takes = amountOf(resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{
			UseStatusResources: true,
			InPlacePodLevelResourcesVerticalScalingEnabled: true,
		}))
		small.takes.pods = 1
	}
	return small
}

// identity holds the fields that an informer needs of an object.
func identity(o *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion}
}

// total is the sum over a cluster. It is updated with each object and never recounted.
type total struct {
	nodes                        int
	capacity, allocatable, taken amount
	// sizes and regions count the nodes by each; a node without a region is not counted.
	sizes, regions map[string]int
	// each are the nodes by name, and those with pods that are not known yet.
	each map[string]use
}

// use is what a node offers, and what its pods take.
type use struct {
	known bool
	load
	taken amount
}

func newTotal() total {
	return total{sizes: map[string]int{}, regions: map[string]int{}, each: map[string]use{}}
}

func (t *total) clone() total {
	out := *t
	out.sizes, out.regions, out.each = maps.Clone(t.sizes), maps.Clone(t.regions), nil
	return out
}

// moveNode replaces was by is; nil is an absent node.
func (t *total) moveNode(was, is *node) {
	if was != nil {
		t.nodes--
		t.capacity, t.allocatable = t.capacity.minus(was.capacity), t.allocatable.minus(was.allocatable)
		count(t.sizes, was.size, -1)
		count(t.regions, was.region, -1)
		t.change(was.Name, func(u *use) { u.known, u.load = false, load{} })
	}
	if is != nil {
		t.nodes++
		t.capacity, t.allocatable = t.capacity.plus(is.capacity), t.allocatable.plus(is.allocatable)
		count(t.sizes, is.size, 1)
		count(t.regions, is.region, 1)
		t.change(is.Name, func(u *use) { u.known, u.load = true, is.load })
	}
}

// change changes the use of a node, and forgets one that is neither known nor used.
func (t *total) change(node string, by func(*use)) {
	u := t.each[node]
	by(&u)
	if u == (use{}) {
		delete(t.each, node)
		return
	}
	t.each[node] = u
}

// count adds n to the count of name, and deletes a count of zero.
func count(counts map[string]int, name string, n int) {
	if name == "" {
		return
	}
	if counts[name] += n; counts[name] == 0 {
		delete(counts, name)
	}
}

// movePod replaces was by is; nil is an absent pod.
func (t *total) movePod(was, is *pod) {
	if was != nil {
		t.taken = t.taken.minus(was.takes)
		t.change(was.node, func(u *use) { u.taken = u.taken.minus(was.takes) })
	}
	if is != nil {
		t.taken = t.taken.plus(is.takes)
		t.change(is.node, func(u *use) { u.taken = u.taken.plus(is.takes) })
	}
}

// properties are those of every cluster.
func (t *total) properties() map[clusterv1beta1.PropertyName]string {
	return map[clusterv1beta1.PropertyName]string{contract.PropertyNodeCount: strconv.Itoa(t.nodes)}
}

// usage is the capacity of the nodes. Without the pods the available resources are unknown and left out.
func (t *total) usage(pods bool) *clusterv1beta1.ResourceUsage {
	usage := &clusterv1beta1.ResourceUsage{Capacity: t.capacity.list(), Allocatable: t.allocatable.list()}
	if pods {
		usage.Available = t.allocatable.minus(t.taken).list()
		usage.Nodes = t.groups()
	}
	return usage
}

// groups returns the open nodes by their free resources.
func (t *total) groups() []clusterv1beta1.NodeGroup {
	var free []capacity.Free
	for _, u := range t.each {
		if u.known && u.open {
			left := u.allocatable.minus(u.taken)
			free = append(free, capacity.Free{MilliCPU: max(0, left.cpu), Memory: max(0, left.memory), Pods: max(0, left.pods)})
		}
	}
	return capacity.Groups(free)
}
