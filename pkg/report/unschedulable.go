package report

import (
	"cmp"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/replicas"
)

// unschedulable lists the divided workloads for whose replicas the cluster has no room, by its Works. Members are not
// trusted: only workloads with a share count, up to that share. While a failure hides the Works, the old list stays.
func (f BindingFacts) unschedulable(old []v1beta1.UnschedulableReplicas) []v1beta1.UnschedulableReplicas {
	if f.OverrideFailure != "" || f.SyncFailure != "" {
		return old
	}
	found := map[replicas.Key]int32{}
	for _, w := range f.Works {
		for _, m := range w.Status.ManifestConditions {
			id := m.Identifier
			k := replicas.Key{Group: id.Group, Kind: id.Kind, Namespace: id.Namespace, Name: id.Name}
			found[k] = max(found[k], m.UnschedulableReplicas)
		}
	}
	var out []v1beta1.UnschedulableReplicas
	for _, s := range f.Shares {
		k := replicas.KeyOf(s)
		if n := min(found[k], s.Replicas); n > 0 {
			out = append(out, v1beta1.UnschedulableReplicas{Group: k.Group, Kind: k.Kind, Namespace: k.Namespace, Name: k.Name, Replicas: n})
		}
	}
	return first(out, func(a, b v1beta1.UnschedulableReplicas) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
