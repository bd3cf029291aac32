package roller

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// A cluster is silent once it should have been heard of, and that depends on how often it is to be.
func TestSilent(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	is := func(kind string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}
	}
	for _, tc := range []struct {
		period int32
		heard  time.Duration
		want   bool
	}{
		{period: 60, heard: 4 * time.Minute}, {period: 60, heard: 6 * time.Minute, want: true},
		{period: 600, heard: 19 * time.Minute}, {period: 600, heard: 21 * time.Minute, want: true},
	} {
		c := &clusterv1beta1.MemberCluster{Spec: clusterv1beta1.MemberClusterSpec{HeartbeatPeriodSeconds: tc.period}}
		c.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
			Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.NewTime(now.Add(-tc.heard)),
			Conditions: []metav1.Condition{is(clusterv1beta1.ConditionJoined), is(clusterv1beta1.ConditionHealthy)},
		}}
		if got := silent(c, now); got != tc.want {
			t.Errorf("every %d s, heard of %s ago: silent %v; want %v", tc.period, tc.heard, got, tc.want)
		}
	}
	if !silent(&clusterv1beta1.MemberCluster{}, now) {
		t.Error("one that was never heard of is not silent")
	}
}
