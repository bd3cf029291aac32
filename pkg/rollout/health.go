package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// health is what is known of the content on a binding's cluster.
type health int

const (
	// unknown: the cluster has not reported on what the binding says now.
	unknown health = iota
	// ready: it is up, or its differences are reported where that is all that is asked.
	ready
	// unseen: it is applied, of a kind whose readiness nobody can see, and not long enough there.
	unseen
	// down: the cluster reports that it failed to apply it, or that it is not available.
	down
	// stuck: it could not be worked out or written for the cluster. What was there before may still be up.
	stuck
)

// health judges by reports on the binding's present generation alone. wait is how long unseen content still has to wait.
func (p *plan) health(b Binding) (h health, wait time.Duration) {
	if !b.holdsContent() {
		return unknown, 0
	}
	if b.Is(v1beta1.ConditionDiffReported, metav1.ConditionTrue) {
		return ready, 0
	}
	if b.Is(v1beta1.ConditionAvailable, metav1.ConditionTrue) {
		return p.seen(*meta.FindStatusCondition(b.Conditions, v1beta1.ConditionAvailable))
	}
	if b.Is(v1beta1.ConditionOverridden, metav1.ConditionFalse) || b.Is(v1beta1.ConditionWorkSynchronized, metav1.ConditionFalse) {
		return stuck, 0
	}
	// Without failed objects the cluster has only not finished yet.
	if b.FailedObjects > 0 &&
		(b.Is(v1beta1.ConditionApplied, metav1.ConditionFalse) || b.Is(v1beta1.ConditionAvailable, metav1.ConditionFalse)) {
		return down, 0
	}
	return unknown, 0
}

// seen says whether available content counts as ready. A cluster that has something which cannot be tracked is given time.
func (p *plan) seen(available metav1.Condition) (health, time.Duration) {
	switch available.Reason {
	case v1beta1.ReasonNotAllWorkAreAvailabilityTrackable, v1beta1.ReasonWorkNotTrackable:
		if wait := p.budget.Period - p.now.Sub(available.LastTransitionTime.Time); wait > 0 {
			return unseen, wait
		}
	}
	return ready, 0
}

// held says whether the binding was told to wait, of what it says now.
func held(b Binding) bool { return b.Is(v1beta1.ConditionRolloutStarted, metav1.ConditionFalse) }
