// Package capacity answers how many replicas of a workload a cluster has room for. A member describes its nodes in
// groups with about the same free resources, because a sum over nodes says nothing about whether a pod fits on one.
package capacity

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// MostGroups limits the groups in a report, as the schema does.
const MostGroups = 32

// Free are the resources of a node that its pods do not request: cpu in thousandths of a core, memory in bytes, and
// how many more pods it can run. None is negative.
type Free struct{ MilliCPU, Memory, Pods int64 }

// Groups returns the groups of nodes, those with the most free cpu first. Free resources are rounded down, as little
// as it takes to have at most MostGroups groups. There is always one, so that a report without any is from an older
// agent.
func Groups(nodes []Free) []clusterv1beta1.NodeGroup {
	groups := []group{{count: 1}}
	for digits := 16; len(nodes) > 0 && digits > 1; digits-- {
		if groups = rounded(nodes, digits); len(groups) <= MostGroups {
			break
		}
	}
	out := make([]clusterv1beta1.NodeGroup, 0, MostGroups)
	for chunk := range slices.Chunk(groups, (len(groups)+MostGroups-1)/MostGroups) {
		least := chunk[0]
		for _, g := range chunk[1:] {
			least.count += g.count
			least.Free = Free{min(least.MilliCPU, g.MilliCPU), min(least.Memory, g.Memory), min(least.Pods, g.Pods)}
		}
		out = append(out, least.form())
	}
	return out
}

// group are nodes with the same free resources.
type group struct {
	count int32
	Free
}

// rounded returns the groups after the free resources are rounded down to that many binary digits.
func rounded(nodes []Free, digits int) []group {
	counts := map[Free]int32{}
	for _, n := range nodes {
		counts[Free{round(n.MilliCPU, digits), round(n.Memory, digits), round(n.Pods, digits)}]++
	}
	out := make([]group, 0, len(counts))
	for f, n := range counts {
		out = append(out, group{n, f})
	}
	slices.SortFunc(out, func(a, b group) int {
		return cmp.Or(cmp.Compare(b.MilliCPU, a.MilliCPU), cmp.Compare(b.Memory, a.Memory), cmp.Compare(b.Pods, a.Pods))
	})
	return out
}

func round(n int64, digits int) int64 {
	n = max(n, 0)
	drop := max(bits.Len64(uint64(n))-digits, 0)
	return n >> drop << drop
}

func (g group) form() clusterv1beta1.NodeGroup {
	return clusterv1beta1.NodeGroup{Count: g.count, Available: corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(g.MilliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(g.Memory, resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(g.Pods, resource.DecimalSI),
	}}
}

// Room returns how many pods with these requests fit on the nodes of a cluster, beside those that run there; ok is
// false if the cluster does not report its nodes. What the hub's administrator believes to be available limits it,
// without what is promised to pods that the report does not contain yet.
func Room(usage *clusterv1beta1.ResourceUsage, requests, promised corev1.ResourceList) (pods int64, ok bool) {
	if len(usage.Nodes) == 0 {
		return 0, false
	}
	for _, g := range usage.Nodes {
		fit := times(g.Available, requests)
		if most := g.Available[corev1.ResourcePods]; most.Value() < fit {
			fit = max(most.Value(), 0)
		}
		if pods > math.MaxInt32 {
			break
		}
		pods += min(fit, math.MaxInt32) * int64(g.Count)
	}
	left := corev1.ResourceList{}
	for name, amount := range usage.Available {
		amount = amount.DeepCopy()
		amount.Sub(promised[name])
		left[name] = amount
	}
	pods -= promised.Pods().Value()
	return max(0, min(pods, times(left, within(left, requests)), math.MaxInt32)), true
}

// Times returns the requests of n replicas, with their number as pods.
func Times(requests corev1.ResourceList, n int64) corev1.ResourceList {
	out := corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(n, resource.DecimalSI)}
	for _, name := range reported {
		amount := requests[name].DeepCopy() // a very precise one shares its number with its copies
		amount.Mul(n)
		out[name] = amount
	}
	return out
}

// Add adds more to the amounts in to.
func Add(to, more corev1.ResourceList) {
	for name, amount := range more {
		sum := to[name].DeepCopy()
		sum.Add(amount)
		to[name] = sum
	}
}

// reported are the resources of nodes that members report.
var reported = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// within are the requests for resources whose sum the cluster reports.
func within(available, requests corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, amount := range requests {
		if _, ok := available[name]; ok {
			out[name] = amount
		}
	}
	return out
}

// times returns how often requests fit into available; a requested resource that is not available does not fit. cpu
// and memory are what members report: other resources are not checked.
func times(available, requests corev1.ResourceList) int64 {
	out := int64(math.MaxInt32)
	for _, name := range reported {
		wanted, has := requests[name], available[name]
		if wanted.Sign() <= 0 {
			continue
		}
		n := has.Value() / max(wanted.Value(), 1)
		if name == corev1.ResourceCPU {
			n = has.MilliValue() / max(wanted.MilliValue(), 1)
		}
		out = min(out, max(n, 0))
	}
	return out
}

// RequestsOf returns what one replica of a workload requests: that of the pod template in its spec. ok is false if it
// has none that can be read.
func RequestsOf(workload []byte) (requests corev1.ResourceList, ok bool) {
	var w struct {
		Spec struct {
			Template *corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if decode.JSON(workload, &w) != nil || w.Spec.Template == nil {
		return nil, false
	}
	pod := &corev1.Pod{Spec: w.Spec.Template.Spec}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			defaultRequests(&list[i].Resources)
		}
	}
	return resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}), true
}

// defaultRequests sets missing requests to the limits, as API servers do.
func defaultRequests(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, set := r.Requests[name]; set {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = limit
	}
}
