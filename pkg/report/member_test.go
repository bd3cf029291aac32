package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

func TestMember(t *testing.T) {
	const ready, joined = "ReadyToJoin=True/MemberClusterReadyToJoin@3", "Joined=True/MemberClusterJoined@3"
	collected := said(9, "NamespaceCollectionSucceeded", true, "Succeeded")
	agents := []v1beta1.AgentStatus{{
		Type: v1beta1.AgentTypeMemberAgent, Conditions: []metav1.Condition{said(9, "Joined", true, "InternalMemberClusterJoined")}, LastReceivedHeartbeat: afterwards,
	}}
	for name, tc := range map[string]struct {
		old        v1beta1.MemberClusterStatus
		facts      MemberFacts
		want       []string
		heartbeats int
	}{
		"what agents report is copied, and speaks of the member cluster": {
			facts: MemberFacts{Joined: metav1.ConditionTrue, Internal: &v1beta1.InternalMemberClusterStatus{
				Conditions: []metav1.Condition{collected}, AgentStatus: agents}},
			want: []string{ready, joined, "NamespaceCollectionSucceeded=True/Succeeded@3"}, heartbeats: 1,
		},
		"what agents report comes in one order, whatever they have it in": {
			old: v1beta1.MemberClusterStatus{Conditions: []metav1.Condition{collected, said(2, "Billed", true, "Yes")}},
			facts: MemberFacts{Joined: metav1.ConditionTrue, Internal: &v1beta1.InternalMemberClusterStatus{Conditions: []metav1.Condition{
				said(9, "Other", true, "Yes"), collected, said(9, "AKSClusterCostPropertiesCollectionSucceeded", true, "CostsCalculated"),
				said(9, "ClusterPropertyCollectionSucceeded", true, "PropertiesCollected"), said(9, "ClusterPropertyProviderStarted", true, "Started")}}},
			want: []string{ready, joined, "ClusterPropertyProviderStarted=True/Started@3", "ClusterPropertyCollectionSucceeded=True/PropertiesCollected@3",
				"AKSClusterCostPropertiesCollectionSucceeded=True/CostsCalculated@3", "NamespaceCollectionSucceeded=True/Succeeded@3", "Other=True/Yes@3",
				"Billed=True/Yes@2"},
		},
		"a condition that agents no longer report goes, others stay": {
			old:   v1beta1.MemberClusterStatus{Conditions: []metav1.Condition{collected, said(2, "Billed", true, "Yes")}},
			facts: MemberFacts{Joined: metav1.ConditionTrue, Internal: &v1beta1.InternalMemberClusterStatus{}},
			want:  []string{ready, joined, "Billed=True/Yes@2"},
		},
		"a silent cluster": {
			facts: MemberFacts{Joined: metav1.ConditionTrue, Silent: &afterwards, Internal: &v1beta1.InternalMemberClusterStatus{}},
			want:  []string{ready, joined, "HeartbeatsReceived=False/HeartbeatsMissing@3"},
		},
		"a cluster that is heard again": {
			old:   v1beta1.MemberClusterStatus{Conditions: []metav1.Condition{said(3, "HeartbeatsReceived", false, "HeartbeatsMissing")}},
			facts: MemberFacts{Joined: metav1.ConditionTrue, Internal: &v1beta1.InternalMemberClusterStatus{}},
			want:  []string{ready, joined},
		},
		"without a report the last one is kept": {
			old:   v1beta1.MemberClusterStatus{AgentStatus: agents, Conditions: []metav1.Condition{collected}},
			facts: MemberFacts{Joined: metav1.ConditionUnknown, Unclear: []string{"MemberAgent"}, Waiting: "its namespace"},
			want: []string{"ReadyToJoin=False/MemberClusterNotReadyToJoin@3", "Joined=Unknown/MemberClusterJoinStateUnknown@3",
				"NamespaceCollectionSucceeded=True/Succeeded@9"},
			heartbeats: 1,
		},
		"a cluster that has left is not ready to join": {
			facts: MemberFacts{Joined: metav1.ConditionFalse, Internal: &v1beta1.InternalMemberClusterStatus{}},
			want:  []string{"ReadyToJoin=False/MemberClusterNotReadyToJoin@3", "Joined=False/MemberClusterLeft@3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.facts.Generation = 3
			got := Member(tc.old, tc.facts, afterwards)
			if diff := cmp.Diff(tc.want, conditionTexts(got.Conditions)); diff != "" {
				t.Fatal(diff)
			}
			if len(got.AgentStatus) != tc.heartbeats {
				t.Fatalf("agents %+v", got.AgentStatus)
			}
			if tc.facts.Internal != nil && tc.heartbeats > 0 && got.AgentStatus[0].Conditions[0].ObservedGeneration != 3 {
				t.Fatalf("agents %+v", got.AgentStatus)
			}
			if again := Member(got, tc.facts, atFirst); !cmp.Equal(got, again) {
				t.Fatalf("the same facts say something else: %s", cmp.Diff(got, again))
			}
		})
	}
	if agents[0].Conditions[0].ObservedGeneration != 9 {
		t.Fatal("what agents reported was changed in place")
	}
}

func TestSilenceOfAMember(t *testing.T) {
	since := metav1.NewTime(atFirst.Add(-time.Minute))
	silence := func(state v1beta1.SilenceState) *v1beta1.ClusterSilence {
		return &v1beta1.ClusterSilence{Since: since, State: state, StateSince: atFirst}
	}
	for _, tc := range []struct {
		state v1beta1.SilenceState
		want  string
	}{
		{v1beta1.SilenceSuspected, "leave it if it counts as lost; check the member agent"},
		{v1beta1.SilenceBraked, "no placement leaves it"},
		{v1beta1.SilenceLost, "it counts as lost, and placements with a failover policy leave it"},
		{v1beta1.SilenceReleased, "an administrator declared it lost"},
		{v1beta1.SilenceOver, "is placed on the cluster; check the member agent"},
	} {
		facts := MemberFacts{Silent: &since, Silence: silence(tc.state), Internal: &v1beta1.InternalMemberClusterStatus{}}
		got := Member(v1beta1.MemberClusterStatus{Silence: silence(v1beta1.SilenceSuspected)}, facts, afterwards)
		if !cmp.Equal(got.Silence, facts.Silence) || got.Silence == facts.Silence {
			t.Errorf("%s: %+v", tc.state, got.Silence)
		}
		if c := meta.FindStatusCondition(got.Conditions, v1beta1.ConditionHeartbeatsReceived); c == nil || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: %+v; want %q", tc.state, c, tc.want)
		}
	}
	facts := MemberFacts{Internal: &v1beta1.InternalMemberClusterStatus{}}
	if got := Member(v1beta1.MemberClusterStatus{Silence: silence(v1beta1.SilenceLost)}, facts, afterwards); got.Silence != nil {
		t.Errorf("without a silence: %+v", got.Silence)
	}
	facts = MemberFacts{Silence: silence(v1beta1.SilenceLost)}
	if got := Member(v1beta1.MemberClusterStatus{}, facts, afterwards); !cmp.Equal(got.Silence, facts.Silence) {
		t.Errorf("without a report: %+v", got.Silence)
	}
}
