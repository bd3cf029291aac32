package delivery

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// FailurePolicy is a failure policy of a placement or an update strategy, with defaults filled in. How many clusters
// may fail is not part of it; see FailureBudget.
type FailurePolicy struct {
	// Window is how long a cluster may be unhealthy before it counts as failed.
	Window time.Duration
	// Rollback is whether changed clusters are rolled back when the budget is spent.
	Rollback bool
	// From is when the agent started, or the user resumed the rollout; no window begins earlier. Zero is no limit.
	From time.Time
}

// defaultWindow is the health window of a policy that sets none.
const defaultWindow = 5 * time.Minute

// FailurePolicyOf reads a failure policy for content that is applied with a strategy. It returns nil for nil. Content
// that is only compared (ReportDiff) is never rolled back: it changed nothing on the cluster, and what was last
// healthy there would be applied.
func FailurePolicyOf(policy *v1beta1.FailurePolicy, apply *v1beta1.ApplyStrategy) *FailurePolicy {
	if policy == nil {
		return nil
	}
	return &FailurePolicy{
		Window:   ptr.Deref(policy.HealthWindow, metav1.Duration{Duration: defaultWindow}).Duration,
		Rollback: policy.OnFailure == v1beta1.FailureActionRollback && !Compared(apply),
	}
}

// FailureBudget returns how many of a number of clusters may fail. The budget is a number or a percentage, which is
// rounded down; nil is 0.
func FailureBudget(budget *intstr.IntOrString, clusters int) (int, error) {
	return intstr.GetScaledValueFromIntOrPercent(ptr.To(ptr.Deref(budget, intstr.FromInt32(0))), clusters, false)
}

// mostFailed is how many failed clusters a message names.
const mostFailed = 10

// BudgetSpent is the message for a spent failure budget. subject is a revision or a stage; failed of its clusters have
// failed, and names are all of them, or at least the first ten.
func BudgetSpent(subject string, budget, clusters, failed int, names []string) string {
	list := strings.Join(names[:min(len(names), mostFailed)], ", ")
	if failed > mostFailed {
		list += fmt.Sprintf(" and %d more", failed-mostFailed)
	}
	return fmt.Sprintf("%s has spent its failure budget of %d: %d of %d clusters failed: %s", subject, budget, failed, clusters, list)
}

// Change is content that a cluster was given under a failure policy, and the report about it.
type Change struct {
	Status
	// Given is when the cluster was given the content, or when it was last known to be healthy with it. Zero if it is
	// not known: then only a condition that is False starts the window.
	Given time.Time
	// WasHealthy is whether the cluster has been healthy with the content since it was given it.
	WasHealthy bool
	// Before is what the cluster was last healthy with before a rollout changed it; nil if it never was healthy.
	Before *v1beta1.Revision
	// Sent is whether the content is Before, which the cluster was given to roll it back.
	Sent bool
	// Obstacle is why the cluster cannot be given Before, or does not have what it was given; empty if there is none.
	Obstacle string
}

// unhealthySince returns the start of the health window; unhealthy is false while no window runs.
//
// A binding that is written is not reported on until the dispatcher has read it, although its cluster may be as
// healthy as before. So the window of a cluster that was healthy begins with a condition that is False, not with
// silence.
func (p FailurePolicy) unhealthySince(c Change) (since time.Time, unhealthy bool) {
	if c.Well() {
		return time.Time{}, false
	}
	since = c.Given
	if c.WasHealthy || c.Given.IsZero() {
		wrong := c.Wrong()
		if wrong == nil {
			return time.Time{}, false
		}
		// The API cuts off fractions of seconds. Counted from the time it holds, the window would end too early.
		since = latest(since, wrong.LastTransitionTime.Add(time.Second))
	}
	return latest(since, p.From), true
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Failed returns whether a cluster has been unhealthy for the whole window. left is how much of its window is left,
// zero if none runs.
func (p FailurePolicy) Failed(c Change, now time.Time) (failed bool, left time.Duration) {
	since, unhealthy := p.unhealthySince(c)
	if !unhealthy {
		return false, 0
	}
	if left = p.Window - now.Sub(since); left > 0 {
		return false, left
	}
	return true, 0
}

// Complaint is what keeps a cluster from being healthy. It is the same as long as the conditions keep their statuses
// and reasons.
func (s Status) Complaint() string {
	if c := s.Wrong(); c != nil {
		return fmt.Sprintf("%s is False (%s)", c.Type, c.Reason)
	}
	return "no condition is reported yet; check that the hub agent and the member agent are running"
}
