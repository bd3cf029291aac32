package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// health is the reported state of the content on a binding's cluster.
type health int

const (
	// unknown: the cluster has not reported on what the binding asks for now.
	unknown health = iota
	// ready: it is available, or compared if the apply strategy is ReportDiff.
	ready
	// untracked: it is applied, its availability is not tracked, and it has not been there long enough to count as ready.
	untracked
	// down: the cluster reports objects that are not applied or not available.
	down
	// stuck: the hub could not compute or write it for the cluster. What was there before may still be up.
	stuck
)

// health goes by reports on the binding's current generation alone. wait is how long untracked content still does not count as ready.
func (p *plan) health(b Binding) (h health, wait time.Duration) {
	if !b.mayHaveContent() {
		return unknown, 0
	}
	if b.Is(v1beta1.ConditionDiffReported, metav1.ConditionTrue) {
		return ready, 0
	}
	if b.Is(v1beta1.ConditionAvailable, metav1.ConditionTrue) {
		return p.availability(*meta.FindStatusCondition(b.Conditions, v1beta1.ConditionAvailable))
	}
	if b.Is(v1beta1.ConditionOverridden, metav1.ConditionFalse) || b.Is(v1beta1.ConditionWorkSynchronized, metav1.ConditionFalse) {
		return stuck, 0
	}
	// Without failed objects the cluster has just not finished yet.
	if b.FailedObjects > 0 &&
		(b.Is(v1beta1.ConditionApplied, metav1.ConditionFalse) || b.Is(v1beta1.ConditionAvailable, metav1.ConditionFalse)) {
		return down, 0
	}
	return unknown, 0
}

// availability returns whether available content counts as ready, which content that is not fully tracked does only after a time.
func (p *plan) availability(available metav1.Condition) (health, time.Duration) {
	switch available.Reason {
	case v1beta1.ReasonNotAllWorkAreAvailabilityTrackable, v1beta1.ReasonWorkNotTrackable:
		if wait := p.budget.Period - p.now.Sub(available.LastTransitionTime.Time); wait > 0 {
			return untracked, wait
		}
	}
	return ready, 0
}

// isBlocked returns whether the binding, as it is now, has the condition that it is blocked.
func isBlocked(b Binding) bool { return b.Is(v1beta1.ConditionRolloutStarted, metav1.ConditionFalse) }
