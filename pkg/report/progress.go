package report

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Progress is how far the content of a placement has come, everywhere or on one cluster. Conditions that are no
// milestones, such as ResourcesFit or StatusSynced, do not count: they do not change during a rollout.
type Progress struct {
	// Scheduled is the condition of that name for the present generation; nil if there is none yet.
	Scheduled *metav1.Condition
	// Milestone is the type, without prefix, of the first condition after Scheduled that is not reached, or the last one
	// if all are. It is empty if no cluster is wanted.
	Milestone string
	// Condition is that of the milestone for the present generation; nil if there is none yet.
	Condition *metav1.Condition
	// Reached is whether all milestones after Scheduled are reached.
	Reached bool

	// before is the reason of the last condition that is True; empty if none is.
	before string
}

// ProgressOf returns how far a placement with this status has come.
func ProgressOf(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) Progress {
	spec := placement.GetSpec()
	if wantsNone(spec.Policy) {
		return Progress{
			Scheduled: delivery.Current(status.Conditions, placement.ConditionType(v1beta1.ConditionScheduled), placement.GetGeneration()), Reached: true,
		}
	}
	return progressOf(placement, status.Conditions, placement.ConditionType)
}

// ProgressOn returns how far a placement has come on the cluster of an entry in its status.
func ProgressOn(placement v1beta1.PlacementObject, entry *v1beta1.PerClusterPlacementStatus) Progress {
	return progressOf(placement, entry.Conditions, func(name string) string { return name })
}

func progressOf(placement v1beta1.PlacementObject, conditions []metav1.Condition, kind func(string) string) Progress {
	generation := placement.GetGeneration()
	p := Progress{Scheduled: delivery.Current(conditions, kind(v1beta1.ConditionScheduled), generation)}
	if p.Scheduled != nil && p.Scheduled.Status == metav1.ConditionTrue {
		p.before = p.Scheduled.Reason
	}
	for _, s := range milestones(placement.GetSpec()) {
		p.Milestone, p.Condition = s.name, delivery.Current(conditions, kind(s.name), generation)
		if p.Condition == nil || p.Condition.Status != metav1.ConditionTrue {
			return p
		}
		p.before = p.Condition.Reason
	}
	p.Reached = true
	return p
}

// Done reports whether the placement has reached everything its spec requests.
func (p Progress) Done() bool {
	return p.Reached && p.Scheduled != nil && p.Scheduled.Status == metav1.ConditionTrue
}

// Failed reports whether a user must correct the placement before it continues.
func (p Progress) Failed() bool {
	return p.Scheduled != nil && p.Scheduled.Status == metav1.ConditionFalse && p.Scheduled.Reason == v1beta1.ReasonInvalidResourceSelectors
}

// Text is what the placement waits for, or what is reached.
func (p Progress) Text() string {
	switch c := p.Condition; {
	case p.Scheduled != nil && p.Scheduled.Status != metav1.ConditionTrue:
		return conditionText(p.Scheduled)
	case p.Done() && p.Milestone == v1beta1.ConditionDiffReported:
		return "differences reported"
	case p.Done() && p.Milestone == "":
		return "no cluster requested"
	case p.Done():
		return "available"
	case c == nil && p.before != "":
		return p.before
	case c == nil:
		return "pending"
	case c.Status == metav1.ConditionFalse && c.Reason == v1beta1.ReasonRolloutNotStartedYet:
		return "waiting: " + c.Message
	default:
		return conditionText(c)
	}
}

func conditionText(c *metav1.Condition) string {
	return fmt.Sprintf("%s %s (%s): %s", c.Type, c.Status, c.Reason, c.Message)
}

// wantsNone reports whether a policy requests no cluster, so that no cluster fulfills it.
func wantsNone(policy *v1beta1.PlacementPolicy) bool {
	if policy == nil {
		return false
	}
	switch policy.PlacementType {
	case v1beta1.PlacementTypePickN:
		return policy.NumberOfClusters != nil && *policy.NumberOfClusters == 0
	case v1beta1.PlacementTypePickFixed:
		return len(policy.ClusterNames) == 0
	}
	return false
}
