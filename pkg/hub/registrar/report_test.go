package registrar

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A heartbeat counts by the hub's clock, and one in the future counts once, also for the next agent.
func TestHeartbeatCountsByTheClockOfTheHub(t *testing.T) {
	h := onHub(t)
	first := h.startAgent(time.Hour)
	h.invite("ahead")
	began := time.Now().Truncate(time.Second)
	h.beat("ahead", metav1.ConditionTrue, time.Now().Add(1000*time.Hour))
	cluster := h.await("ahead", v1beta1.ConditionClocksInStep, metav1.ConditionFalse)
	received := cluster.Status.AgentStatus[0].LastReceivedHeartbeat
	if received.Time.Before(began) || received.After(time.Now()) {
		t.Fatalf("received at %s; it is %s", received, time.Now())
	}
	first.Stop()
	second := h.startAgent(time.Hour)
	testworld.Await(t, testworld.Soon, "the second agent to have looked", func(context.Context) error {
		if _, looked := second.registrar.known.Load(cluster.UID); !looked {
			return errors.New("it has not")
		}
		return nil
	})
	testworld.Stable(t, 2*time.Second, "quiet", func(context.Context) error {
		return writesNaming("ahead", second)
	})
	h.beat("ahead", metav1.ConditionTrue, time.Now())
	testworld.Await(t, testworld.Soon, "the clocks to be in step", func(context.Context) error {
		h.Must(h.get(cluster, "", "ahead"))
		if c := meta.FindStatusCondition(cluster.Status.Conditions, v1beta1.ConditionClocksInStep); c != nil {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

// A silent cluster is reported without an event that shows it, and until it is heard again.
func TestSilentClusterIsReported(t *testing.T) {
	h := onHub(t)
	a := h.startAgent(time.Hour)
	h.invite("quiet")
	cluster := h.await("quiet", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)
	cluster.Spec.HeartbeatPeriodSeconds = 1 // the grace after the start of the agent is two periods and 10 seconds
	h.Must(h.Client.Update(t.Context(), cluster))
	h.beat("quiet", metav1.ConditionTrue, time.Now().Add(-20*time.Minute))
	h.await("quiet", v1beta1.ConditionHeartbeatsReceived, metav1.ConditionFalse)
	a.events.Await(t, "Warning", v1beta1.ReasonHeartbeatsMissing, "No heartbeat from the member agent since ")
	a.Take()
	testworld.Stable(t, time.Second, "quiet", func(context.Context) error { return writesNaming("quiet", a) })
	h.beat("quiet", metav1.ConditionTrue, time.Now())
	testworld.Await(t, testworld.Soon, "the cluster to be heard", func(context.Context) error {
		h.Must(h.get(cluster, "", "quiet"))
		if c := meta.FindStatusCondition(cluster.Status.Conditions, v1beta1.ConditionHeartbeatsReceived); c != nil {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	a.events.Await(t, "Normal", v1beta1.ConditionHeartbeatsReceived, "again")
}

func TestSilenceAfterAStart(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	reported := []metav1.Condition{{Type: v1beta1.ConditionHeartbeatsReceived, Status: metav1.ConditionFalse}}
	for what, tc := range map[string]struct {
		age, awake time.Duration
		conditions []metav1.Condition
		leaving    bool
		silent     bool
		again      time.Duration
	}{
		"heard":                             {age: time.Minute, awake: time.Hour, again: 4 * time.Minute},
		"silent":                            {age: 6 * time.Minute, awake: time.Hour, silent: true},
		"silent, just after a start":        {age: 6 * time.Minute, awake: time.Minute, again: 70 * time.Second},
		"silent, as the last agent saw too": {age: 6 * time.Minute, conditions: reported, silent: true},
		"silent, and leaving":               {age: 6 * time.Minute, awake: time.Hour, leaving: true},
	} {
		t.Run(what, func(t *testing.T) {
			cluster := &v1beta1.MemberCluster{}
			cluster.Status.Conditions = tc.conditions
			if tc.leaving {
				cluster.DeletionTimestamp = &metav1.Time{Time: noon}
			}
			cluster.Status.AgentStatus = []v1beta1.AgentStatus{{Type: v1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.NewTime(noon.Add(-tc.age))}}
			r := &Registrar{Now: func() time.Time { return noon }, Awake: noon.Add(-tc.awake)}
			if got := r.silence(cluster, cluster.Status.AgentStatus); (got != nil) != tc.silent {
				t.Errorf("silent since %v", got)
			}
			if got := r.untilSilent(cluster); got.Truncate(time.Second) != tc.again {
				t.Errorf("looks again in %s; want %s", got, tc.again)
			}
		})
	}
}

// A cluster reports properties within bounds; the administrator of the hub sets others.
func TestReportedPropertiesAreBounded(t *testing.T) {
	h := onHub(t)
	h.startAgent(time.Hour)
	h.invite("boastful")
	const cost = v1beta1.PropertyName(contract.PropertyCoreCost)
	agent, internal := h.as("agent-of-boastful"), &v1beta1.InternalMemberCluster{}
	testworld.Await(t, testworld.Soon, "the agent's report", func(ctx context.Context) error {
		if err := agent.Get(ctx, types.NamespacedName{Namespace: "fleet-member-boastful", Name: "boastful"}, internal); err != nil {
			return err
		}
		internal.Status = v1beta1.InternalMemberClusterStatus{
			Conditions: []metav1.Condition{},
			Properties: map[v1beta1.PropertyName]v1beta1.PropertyValue{
				cost:                       {Value: "0.0001", ObservationTime: metav1.Now()},
				contract.PropertyNodeCount: {Value: "1e12", ObservationTime: metav1.Now()},
			},
		}
		return agent.Status().Update(ctx, internal)
	})
	cluster := h.await("boastful", v1beta1.ConditionReportAccepted, metav1.ConditionFalse)
	if _, ok := cluster.Status.Properties[contract.PropertyNodeCount]; ok || cluster.Status.Properties[cost].Value != "0.0001" {
		t.Fatalf("%+v", cluster.Status.Properties)
	}
	cluster.Annotations = map[string]string{contract.AnnotationBelieved: string(cost) + ">=0.1 kubernetes-fleet.io/node-count=3"}
	h.Must(h.Client.Update(t.Context(), cluster))
	testworld.Await(t, testworld.Soon, "the properties that the administrator set", func(context.Context) error {
		h.Must(h.get(cluster, "", "boastful"))
		if p := cluster.Status.Properties; p[cost].Value != "0.1" || p[contract.PropertyNodeCount].Value != "3" {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
}

// An agent that starts writes nothing about a cluster that has not changed.
func TestRestartWritesNothing(t *testing.T) {
	h := onHub(t)
	first := h.startAgent(time.Hour)
	h.invite("again")
	h.beat("again", metav1.ConditionTrue, time.Now())
	h.await("again", v1beta1.ConditionJoined, metav1.ConditionTrue)
	first.Stop()
	second := h.startAgent(time.Hour)
	testworld.Stable(t, 2*time.Second, "quiet", func(context.Context) error {
		return writesNaming("again", second)
	})
}
