package report

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// RolloutBlocked is the condition of a binding that cannot get its content yet. message says why.
func RolloutBlocked(generation int64, message string) metav1.Condition {
	return no(generation, v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutNotStartedYet, message)
}

// Rollout sets one of a binding's conditions that the rollout owns: RolloutStarted or RolledBack. It is first; the others stay as they are.
func Rollout(old []metav1.Condition, condition metav1.Condition, now metav1.Time) []metav1.Condition {
	condition = merge(old, []metav1.Condition{condition}, now)[0]
	out := make([]metav1.Condition, 0, len(old)+1)
	out = append(out, condition)
	for _, c := range old {
		if c.Type != condition.Type {
			out = append(out, c)
		}
	}
	return out
}

// Arrived returns whether a binding has the resource snapshot of this name, and its cluster has reported on it.
func Arrived(binding v1beta1.BindingObject, snapshot string) bool {
	if binding.GetSpec().ResourceSnapshotName != snapshot {
		return false
	}
	status := delivery.StatusOf(binding)
	for _, kind := range []string{v1beta1.ConditionApplied, v1beta1.ConditionDiffReported} {
		c := status.Current(kind)
		if c != nil && (c.Status != metav1.ConditionFalse || delivery.MeaningOf(*c, status.FailedObjects) > delivery.Unreported) {
			return true
		}
	}
	return false
}
