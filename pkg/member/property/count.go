package property

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// amount is what is reported of any resources: cpu in thousandths, memory in bytes.
type amount struct{ cpu, memory int64 }

func amountOf(list corev1.ResourceList) amount {
	return amount{cpu: list.Cpu().MilliValue(), memory: list.Memory().Value()}
}

func (a amount) plus(b amount) amount  { return amount{a.cpu + b.cpu, a.memory + b.memory} }
func (a amount) minus(b amount) amount { return amount{a.cpu - b.cpu, a.memory - b.memory} }

func (a amount) list() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(max(0, a.cpu), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(max(0, a.memory), resource.BinarySI),
	}
}

// node is all that is kept of a Node.
type node struct {
	metav1.ObjectMeta
	capacity, allocatable amount
}

func nodeOf(n *corev1.Node) *node {
	return &node{ObjectMeta: identity(&n.ObjectMeta), capacity: amountOf(n.Status.Capacity), allocatable: amountOf(n.Status.Allocatable)}
}

// pod is all that is kept of a Pod: what it takes from the nodes.
type pod struct {
	metav1.ObjectMeta
	takes amount
}

// podOf counts as the scheduler does: init containers, sidecars, overhead, requests of the pod as a whole, and resizes that are under
// way. A pod without a node, or one that has finished, takes nothing.
func podOf(p *corev1.Pod) *pod {
	small := &pod{ObjectMeta: identity(&p.ObjectMeta)}
	if p.Spec.NodeName != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
		small.takes = amountOf(resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{
			UseStatusResources: true,
			InPlacePodLevelResourcesVerticalScalingEnabled: true,
		}))
	}
	return small
}

// identity is what an informer needs to know of an object.
func identity(o *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion}
}

// total is the sum over a cluster. It is kept up to date object by object; nothing is ever counted anew.
type total struct {
	nodes                        int
	capacity, allocatable, taken amount
}

// moveNode takes the place of was by is; nil is a node that is not there.
func (t *total) moveNode(was, is *node) {
	if was != nil {
		t.nodes--
		t.capacity, t.allocatable = t.capacity.minus(was.capacity), t.allocatable.minus(was.allocatable)
	}
	if is != nil {
		t.nodes++
		t.capacity, t.allocatable = t.capacity.plus(is.capacity), t.allocatable.plus(is.allocatable)
	}
}

// movePod takes the place of was by is; nil is a pod that is not there.
func (t *total) movePod(was, is *pod) {
	if was != nil {
		t.taken = t.taken.minus(was.takes)
	}
	if is != nil {
		t.taken = t.taken.plus(is.takes)
	}
}

// inventory is the report. Without the pods it is not known what is available, and that is left out.
func (t *total) inventory(pods bool) *report.Inventory {
	usage := &clusterv1beta1.ResourceUsage{Capacity: t.capacity.list(), Allocatable: t.allocatable.list()}
	if pods {
		usage.Available = t.allocatable.minus(t.taken).list()
	}
	return &report.Inventory{
		Properties: map[clusterv1beta1.PropertyName]string{contract.PropertyNodeCount: strconv.Itoa(t.nodes)},
		Usage:      usage,
	}
}
