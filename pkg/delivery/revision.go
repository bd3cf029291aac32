package delivery

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Of returns the revision that a binding was given; its snapshot has no name if nothing was.
func Of(b v1beta1.BindingObject) v1beta1.Revision {
	return NewRevision(b.GetSpec().ResourceSnapshotName, OverridesOf(b), b.GetSpec().ApplyStrategy)
}

// NewRevision puts together what a cluster is given.
func NewRevision(snapshot string, overrides Overrides, strategy *v1beta1.ApplyStrategy) v1beta1.Revision {
	return v1beta1.Revision{
		ResourceSnapshotName: snapshot, ApplyStrategy: strategy.DeepCopy(),
		ClusterResourceOverrideSnapshots: overrides.Cluster, ResourceOverrideSnapshots: overrides.Namespaced,
	}
}

// Same returns whether two revisions mean the same.
func Same(a, b v1beta1.Revision) bool {
	return a.ResourceSnapshotName == b.ResourceSnapshotName && SameStrategy(a.ApplyStrategy, b.ApplyStrategy) &&
		slices.Equal(a.ClusterResourceOverrideSnapshots, b.ClusterResourceOverrideSnapshots) &&
		slices.Equal(a.ResourceOverrideSnapshots, b.ResourceOverrideSnapshots)
}

// SameStrategy returns whether two apply strategies mean the same: older agents stored some without defaults.
func SameStrategy(a, b *v1beta1.ApplyStrategy) bool {
	return equality.Semantic.DeepEqual(a.WithDefaults(), b.WithDefaults())
}

// Has returns whether a binding is bound to a revision.
func Has(b v1beta1.BindingObject, r v1beta1.Revision) bool {
	return b.GetSpec().State == v1beta1.BindingStateBound && Same(Of(b), r)
}

// Overrides are the snapshots of overrides that change the content for one cluster; each list is sorted.
type Overrides struct {
	Cluster    []string                 `json:"cluster,omitempty"`
	Namespaced []v1beta1.NamespacedName `json:"namespaced,omitempty"`
	// Fingerprint identifies their result for the cluster's labels; empty if they use none, or if it is not known.
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Unresolved is the fingerprint of overrides that need a label which the cluster lacks.
const Unresolved = "unresolved"

// OverridesOf returns the overrides that a binding was given.
func OverridesOf(b v1beta1.BindingObject) Overrides {
	spec := b.GetSpec()
	return Overrides{
		Cluster: spec.ClusterResourceOverrideSnapshots, Namespaced: spec.ResourceOverrideSnapshots, Fingerprint: spec.OverrideFingerprint,
	}
}

// OverridesIn returns the overrides of a revision. Their fingerprint is not kept in one.
func OverridesIn(r v1beta1.Revision) Overrides {
	return Overrides{Cluster: r.ClusterResourceOverrideSnapshots, Namespaced: r.ResourceOverrideSnapshots}
}

// None returns whether no snapshot is named.
func (o Overrides) None() bool { return len(o.Cluster)+len(o.Namespaced) == 0 }

// IsZero returns whether there is nothing to store of them.
func (o Overrides) IsZero() bool { return o.None() && o.Fingerprint == "" }

// Keeps returns whether a cluster that was given the overrides in has may keep its content where it should get o: they are the same, or their
// result cannot be computed now, which must not remove what was computed before.
func (o Overrides) Keeps(has Overrides) bool {
	return slices.Equal(has.Cluster, o.Cluster) && slices.Equal(has.Namespaced, o.Namespaced) &&
		(has.Fingerprint == o.Fingerprint || has.Fingerprint == "" || o.Fingerprint == "" || o.Fingerprint == Unresolved)
}

// Keys name the snapshots of both lists; those of cluster-wide overrides have no namespace.
func (o Overrides) Keys() []types.NamespacedName {
	out := make([]types.NamespacedName, 0, len(o.Cluster)+len(o.Namespaced))
	for _, name := range o.Cluster {
		out = append(out, types.NamespacedName{Name: name})
	}
	for _, s := range o.Namespaced {
		out = append(out, types.NamespacedName{Namespace: s.Namespace, Name: s.Name})
	}
	return out
}
