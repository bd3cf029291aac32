package delivery

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Current returns the condition of kind if it is about generation, else nil: what was reported on an older one counts
// no more.
func Current(conditions []metav1.Condition, kind string, generation int64) *metav1.Condition {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil || c.ObservedGeneration != generation {
		return nil
	}
	return c
}

// IsTrue returns whether the condition of kind is True for generation.
func IsTrue(conditions []metav1.Condition, kind string, generation int64) bool {
	c := Current(conditions, kind, generation)
	return c != nil && c.Status == metav1.ConditionTrue
}

// sequence is the way of content to a cluster. What is compared instead of applied goes from WorkSynchronized to
// DiffReported.
var sequence = []string{
	v1beta1.ConditionRolloutStarted,
	v1beta1.ConditionOverridden,
	v1beta1.ConditionWorkSynchronized,
	v1beta1.ConditionApplied,
	v1beta1.ConditionAvailable,
	v1beta1.ConditionDiffReported,
}

// onHub is how many of them come about on the hub alone.
const onHub = 3

// Sequence returns the conditions that content with this apply strategy passes, in order.
func Sequence(strategy *v1beta1.ApplyStrategy) []string {
	return slices.DeleteFunc(slices.Clone(sequence), func(kind string) bool {
		if Compared(strategy) {
			return kind == v1beta1.ConditionApplied || kind == v1beta1.ConditionAvailable
		}
		return kind == v1beta1.ConditionDiffReported
	})
}

// Compared returns whether content with this apply strategy is only compared.
func Compared(strategy *v1beta1.ApplyStrategy) bool {
	return strategy != nil && strategy.Type == v1beta1.ApplyStrategyTypeReportDiff
}

// OnHub returns the conditions of the sequence that come about on the hub alone.
func OnHub() []string { return slices.Clone(sequence[:onHub]) }

// Outcome returns what is reported of content once its rollout has started, applied or compared, in order.
func Outcome() []string { return slices.Clone(sequence[1:]) }

// Status is what is reported on a binding.
type Status struct {
	// Generation is the binding's. Conditions of an older one do not count.
	Generation int64
	Conditions []metav1.Condition
	// FailedObjects is how many objects the cluster reports as not applied or not available.
	FailedObjects int
}

// StatusOf returns what is reported on a binding.
func StatusOf(b v1beta1.BindingObject) Status {
	status := b.GetStatus()
	return Status{Generation: b.GetGeneration(), Conditions: status.Conditions, FailedObjects: len(status.FailedPlacements)}
}

// Current returns the condition of kind, nil if there is none for what the binding asks for now.
func (s Status) Current(kind string) *metav1.Condition {
	return Current(s.Conditions, kind, s.Generation)
}

// Is returns whether the condition of kind has status for what the binding asks for now.
func (s Status) Is(kind string, status metav1.ConditionStatus) bool {
	c := s.Current(kind)
	return c != nil && c.Status == status
}

// Well returns whether everything is available on the cluster, or compared where that is all that is asked.
func (s Status) Well() bool {
	return s.Is(v1beta1.ConditionAvailable, metav1.ConditionTrue) || s.Is(v1beta1.ConditionDiffReported, metav1.ConditionTrue)
}

// Wrong returns the first condition of the outcome that is False, nil if none is.
func (s Status) Wrong() *metav1.Condition {
	for _, kind := range sequence[1:] {
		if c := s.Current(kind); c != nil && c.Status == metav1.ConditionFalse {
			return c
		}
	}
	return nil
}
