package report

import (
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestPolicy(t *testing.T) {
	first := metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	later := metav1.NewTime(first.Add(time.Hour))
	facts := PolicyFacts{Generation: 1, Placement: 7, Decisions: []v1beta1.ClusterDecision{{ClusterName: "a", Selected: true}}, Found: 1, Wanted: 2}

	missing := Policy(v1beta1.SchedulingPolicySnapshotStatus{}, facts, first)
	c := missing.Conditions[0]
	if c.Status != metav1.ConditionFalse || c.Reason != v1beta1.ReasonSchedulingPolicyUnfulfilled || c.ObservedGeneration != 1 || missing.ObservedCRPGeneration != 7 {
		t.Errorf("status %+v; want unfulfilled at generation 7", missing)
	}
	if again := Policy(missing, facts, later); !reflect.DeepEqual(again, missing) {
		t.Errorf("the same facts give %+v after %+v", again, missing)
	}
	facts.Found = 2
	complete := Policy(missing, facts, later)
	c = complete.Conditions[0]
	if c.Status != metav1.ConditionTrue || c.Reason != v1beta1.ReasonSchedulingPolicyFulfilled || !c.LastTransitionTime.Equal(&later) {
		t.Errorf("condition %+v; want fulfilled from now on", c)
	}
	facts.Held, facts.AwaitsRun = []string{"a waits"}, true
	held := Policy(complete, facts, later)
	if c := held.Conditions; len(c) != 2 || c[0] != complete.Conditions[0] || c[1].Type != v1beta1.ConditionFailoverComplete ||
		c[1].Status != metav1.ConditionFalse || c[1].Reason != v1beta1.ReasonAwaitingUpdateRun || c[1].Message != "a waits" {
		t.Errorf("conditions %+v; want that a cluster must be left", c)
	}
	facts.AwaitsRun = false
	if c := Policy(held, facts, later).Conditions; len(c) != 2 || c[1].Reason != v1beta1.ReasonNoReplacement {
		t.Errorf("conditions %+v; want that there is no replacement", c)
	}
	facts.Held = nil
	if again := Policy(held, facts, later); !reflect.DeepEqual(again, complete) {
		t.Errorf("status %+v; want %+v", again, complete)
	}
}

func TestRollout(t *testing.T) {
	now := metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	available := yes(3, v1beta1.ConditionAvailable, v1beta1.ReasonAllWorkAreAvailable, "")
	held := Rollout([]metav1.Condition{available}, RolloutBlocked(3, "waits"), now)
	if len(held) != 2 || held[0].Reason != v1beta1.ReasonRolloutNotStartedYet || held[1] != available {
		t.Errorf("conditions %+v; want RolloutStarted False before what was there", held)
	}
	later := metav1.NewTime(now.Add(time.Hour))
	if again := Rollout(held, RolloutBlocked(3, "waits"), later); !reflect.DeepEqual(again, held) {
		t.Errorf("the same gives %+v after %+v", again, held)
	}
	if resumed := Rollout(held, RolloutStarted(3), later); len(resumed) != 2 || resumed[0].Status != metav1.ConditionTrue {
		t.Errorf("conditions %+v; want RolloutStarted True", resumed)
	}
}
