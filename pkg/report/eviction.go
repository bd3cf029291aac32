package report

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// EvictionFacts are the outcome of an eviction. Message is why it is not valid, or else why it was executed or not.
type EvictionFacts struct {
	Valid, Executed bool
	Message         string
}

// Eviction puts the outcome into the conditions of an eviction.
func Eviction(e v1beta1.EvictionObject, f EvictionFacts, now metav1.Time) {
	generation := e.GetGeneration()
	wanted := []metav1.Condition{
		no(generation, v1beta1.ConditionEvictionValid, e.Reason(v1beta1.ReasonEvictionInvalid), f.Message),
	}
	if f.Valid {
		executed := no(generation, v1beta1.ConditionEvictionExecuted, e.Reason(v1beta1.ReasonEvictionNotExecuted), f.Message)
		if f.Executed {
			executed = yes(generation, v1beta1.ConditionEvictionExecuted, e.Reason(v1beta1.ReasonEvictionExecuted), f.Message)
		}
		valid := yes(generation, v1beta1.ConditionEvictionValid, e.Reason(v1beta1.ReasonEvictionValid), "Eviction is valid")
		wanted = []metav1.Condition{valid, executed}
	}
	*e.GetConditions() = merge(*e.GetConditions(), wanted, now)
}

// EvictionEnded returns whether an eviction has its outcome, which is final.
func EvictionEnded(e v1beta1.EvictionObject) bool {
	for _, c := range *e.GetConditions() {
		if c.Type == v1beta1.ConditionEvictionExecuted && c.Status != metav1.ConditionUnknown ||
			c.Type == v1beta1.ConditionEvictionValid && c.Status == metav1.ConditionFalse {
			return true
		}
	}
	return false
}
