package report

import (
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

var (
	agentBefore = metav1.NewTime(time.Date(2031, 5, 1, 10, 0, 0, 0, time.UTC))
	agentNow    = metav1.NewTime(agentBefore.Add(time.Minute))
)

func agentCondition(kind string, status metav1.ConditionStatus, reason string, since metav1.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, ObservedGeneration: 2, LastTransitionTime: since}
}

// withoutWords drops the messages, which are for people.
func withoutWords(status v1beta1.InternalMemberClusterStatus) v1beta1.InternalMemberClusterStatus {
	status = *status.DeepCopy()
	for i := range status.AgentStatus {
		for j := range status.AgentStatus[i].Conditions {
			status.AgentStatus[i].Conditions[j].Message = ""
		}
	}
	return status
}

func TestAgentJoined(t *testing.T) {
	cores := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")}
	inventory := &Inventory{
		Properties: map[v1beta1.PropertyName]string{"kubernetes-fleet.io/node-count": "2"},
		Usage:      &v1beta1.ResourceUsage{Capacity: cores},
	}
	joined := agentCondition(v1beta1.ConditionJoined, metav1.ConditionTrue, v1beta1.ReasonInternalMemberClusterJoined, agentNow)
	healthy := agentCondition(v1beta1.ConditionHealthy, metav1.ConditionTrue, v1beta1.ReasonInternalMemberClusterHealthy, agentNow)
	since := func(c metav1.Condition, t metav1.Time) metav1.Condition { c.LastTransitionTime = t; return c }
	other := v1beta1.AgentStatus{Type: v1beta1.AgentTypeMultiClusterServiceAgent, LastReceivedHeartbeat: agentBefore}

	for name, tc := range map[string]struct {
		old   v1beta1.InternalMemberClusterStatus
		facts AgentFacts
		want  v1beta1.InternalMemberClusterStatus
	}{
		"the first report says everything": {
			facts: AgentFacts{Generation: 2, Healthy: true, Inventory: inventory},
			want: v1beta1.InternalMemberClusterStatus{
				Conditions:    []metav1.Condition{},
				Properties:    map[v1beta1.PropertyName]v1beta1.PropertyValue{"kubernetes-fleet.io/node-count": {Value: "2", ObservationTime: agentNow}},
				ResourceUsage: v1beta1.ResourceUsage{Capacity: cores, ObservationTime: agentNow},
				AgentStatus: []v1beta1.AgentStatus{{Type: v1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: agentNow,
					Conditions: []metav1.Condition{healthy, joined}}},
			},
		},
		"what did not change keeps its time, other agents keep their entries, and what is not known keeps its value": {
			old: v1beta1.InternalMemberClusterStatus{
				Conditions:    []metav1.Condition{{Type: "ClusterPropertyProviderStarted"}},
				ResourceUsage: v1beta1.ResourceUsage{Capacity: cores, ObservationTime: agentBefore},
				AgentStatus: []v1beta1.AgentStatus{other, {Type: v1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: agentBefore,
					Conditions: []metav1.Condition{since(healthy, agentBefore), since(joined, agentBefore)}}},
			},
			facts: AgentFacts{Generation: 2},
			want: v1beta1.InternalMemberClusterStatus{
				Conditions:    []metav1.Condition{{Type: "ClusterPropertyProviderStarted"}},
				ResourceUsage: v1beta1.ResourceUsage{Capacity: cores, ObservationTime: agentBefore},
				AgentStatus: []v1beta1.AgentStatus{other, {Type: v1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: agentNow,
					Conditions: []metav1.Condition{
						agentCondition(v1beta1.ConditionHealthy, metav1.ConditionFalse, v1beta1.ReasonInternalMemberClusterUnhealthy, agentNow),
						since(joined, agentBefore),
					}}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			was, err := json.Marshal(tc.old)
			if err != nil {
				t.Fatal(err)
			}
			got := withoutWords(AgentJoined(tc.old, tc.facts, agentNow))
			if !equality.Semantic.DeepEqual(got, tc.want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, tc.want)
			}
			if is, err := json.Marshal(tc.old); err != nil || string(is) != string(was) {
				t.Errorf("the old status was changed to %s (%v)", is, err)
			}
		})
	}
}

func TestAgentLeft(t *testing.T) {
	old := AgentJoined(v1beta1.InternalMemberClusterStatus{}, AgentFacts{Generation: 2, Healthy: true}, agentBefore)
	for name, tc := range map[string]struct {
		left   bool
		status metav1.ConditionStatus
		reason string
	}{
		"left":              {true, metav1.ConditionFalse, v1beta1.ReasonInternalMemberClusterLeft},
		"could not release": {false, metav1.ConditionUnknown, v1beta1.ReasonInternalMemberClusterFailedToLeave},
	} {
		t.Run(name, func(t *testing.T) {
			status := AgentLeft(old, 3, tc.left, agentNow)
			agent := Agent(&status, v1beta1.AgentTypeMemberAgent)
			joined := meta.FindStatusCondition(agent.Conditions, v1beta1.ConditionJoined)
			if joined.Status != tc.status || joined.Reason != tc.reason || joined.ObservedGeneration != 3 {
				t.Errorf("Joined is %+v", joined)
			}
			if healthy := meta.FindStatusCondition(agent.Conditions, v1beta1.ConditionHealthy); healthy == nil || healthy.LastTransitionTime != agentBefore {
				t.Errorf("Healthy is %+v; nothing was found out about it", healthy)
			}
		})
	}
}
