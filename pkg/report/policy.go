package report

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
)

// PolicyFacts are what the scheduler decided for a policy snapshot.
type PolicyFacts struct {
	// Generation is the policy snapshot's, Placement that of the placement it reflects.
	Generation, Placement int64
	// Decisions are in the order in which the status shows them.
	Decisions []v1beta1.ClusterDecision
	// Found is how many clusters are chosen, Wanted how many the policy asks for.
	Found, Wanted int
	// Held are the reasons why the placement has to leave chosen clusters and does not, AwaitsRun whether it waits until
	// an update run ends.
	Held      []string
	AwaitsRun bool
	// Removal is what the policy would give up, and is held; nil for nothing.
	Removal *v1beta1.HeldRemoval
}

// Policy returns the status of a policy snapshot whose status has been old.
func Policy(old v1beta1.SchedulingPolicySnapshotStatus, f PolicyFacts, now metav1.Time) v1beta1.SchedulingPolicySnapshotStatus {
	conditions := []metav1.Condition{scheduled(f)}
	if held := mustLeave(f); held != nil {
		conditions = append(conditions, *held)
	}
	return v1beta1.SchedulingPolicySnapshotStatus{
		ObservedCRPGeneration: f.Placement,
		Conditions:            merge(old.Conditions, conditions, now),
		ClusterDecisions:      f.Decisions,
		HeldRemoval:           f.Removal.DeepCopy(),
	}
}

func scheduled(f PolicyFacts) metav1.Condition {
	if f.Found != f.Wanted {
		return no(f.Generation, v1beta1.ConditionScheduled, v1beta1.ReasonSchedulingPolicyUnfulfilled,
			fmt.Sprintf("Found %d of the %d clusters that the policy requests", f.Found, f.Wanted))
	}
	return yes(f.Generation, v1beta1.ConditionScheduled, v1beta1.ReasonSchedulingPolicyFulfilled,
		fmt.Sprintf("Found all %d clusters that the policy requests", f.Found))
}

// mustLeave is the condition about chosen clusters that the placement has to leave; nil if there are none.
func mustLeave(f PolicyFacts) *metav1.Condition {
	if len(f.Held) == 0 {
		return nil
	}
	reason := v1beta1.ReasonNoReplacement
	if f.AwaitsRun {
		reason = v1beta1.ReasonAwaitingUpdateRun
	}
	c := no(f.Generation, v1beta1.ConditionFailoverComplete, reason, brief.List(f.Held, mostNamed))
	return &c
}
