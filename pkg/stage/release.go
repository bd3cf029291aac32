package stage

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// release is what a run gives to clusters.
type release struct {
	run       types.UID
	snapshot  string
	apply     v1beta1.ApplyStrategy
	overrides map[string]delivery.Overrides
}

// to returns the revision for a cluster.
func (r release) to(cluster string) v1beta1.Revision {
	return delivery.NewRevision(r.snapshot, r.overrides[cluster], &r.apply)
}

// on returns whether a binding has the release.
func (r release) on(b v1beta1.BindingObject) bool {
	return delivery.Has(b, r.to(b.GetSpec().TargetCluster))
}

// relabelled returns whether the labels of the binding's cluster give the overrides of the release another result than
// when the binding was given them.
func (r release) relabelled(b v1beta1.BindingObject) bool {
	now := r.overrides[b.GetSpec().TargetCluster].Fingerprint
	return now != "" && now != delivery.Unresolved && now != b.GetSpec().OverrideFingerprint
}

// mark returns the run's mark on a binding; nil if the run has not changed the binding, or would not roll it back.
func (r release) mark(b v1beta1.BindingObject) *delivery.Mark { return delivery.RunMark(b, r.run) }

// newMark returns the mark for a binding that gets the release. A binding with a mark of this run was changed by it
// before, and keeps it.
func (r release) newMark(b v1beta1.BindingObject) *delivery.Mark {
	if m := r.mark(b); m != nil {
		return m
	}
	// Marks of other runs do not name what they gave.
	before := delivery.ReturnTo(b.GetStatus().LastHealthy, r.to(b.GetSpec().TargetCluster), nil)
	return &delivery.Mark{Run: r.run, Before: before}
}

// started returns whether the binding, as it is now, has the condition that its rollout has started.
func started(b v1beta1.BindingObject) bool {
	return delivery.StatusOf(b).Is(v1beta1.ConditionRolloutStarted, metav1.ConditionTrue)
}

// divided returns whether a binding has shares of replicas. Writing them makes another generation of the binding, and
// changes nothing that a run gives.
func divided(b v1beta1.BindingObject) bool { return len(b.GetSpec().Shares) > 0 }

// healthy returns whether everything is available on the cluster of a binding, as the binding is now.
func healthy(b v1beta1.BindingObject) bool { return delivery.StatusOf(b).Well() }
