package report

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// RolloutBlocked is the condition of a binding that cannot get its content yet. message says why.
func RolloutBlocked(generation int64, message string) metav1.Condition {
	return no(generation, v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutNotStartedYet, message)
}

// Rollout sets one of a binding's conditions that the rollout owns: RolloutStarted or RolledBack. It is first; the
// others stay as they are.
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
