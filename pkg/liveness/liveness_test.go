package liveness

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// cluster has that heartbeat period in seconds and was heard that long before noon.
func cluster(period int32, age time.Duration) *clusterv1beta1.MemberCluster {
	c := &clusterv1beta1.MemberCluster{Spec: clusterv1beta1.MemberClusterSpec{HeartbeatPeriodSeconds: period}}
	c.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
		Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.NewTime(noon.Add(-age)),
	}}
	return c
}

func TestStates(t *testing.T) {
	for _, tc := range []struct {
		what    string
		cluster *clusterv1beta1.MemberCluster
		want    State
		// silent is when the cluster falls silent without a heartbeat.
		silent time.Duration
	}{
		{"no report", &clusterv1beta1.MemberCluster{}, Unreported, 0},
		{"every minute, just heard", cluster(60, 0), Heard, 5 * time.Minute},
		{"every minute, after one late by 13 s", cluster(60, 73*time.Second), Heard, 227 * time.Second},
		{"every minute, the next is late", cluster(60, 74*time.Second), Overdue, 226 * time.Second},
		{"every minute, after 5 minutes", cluster(60, 5*time.Minute), Overdue, 0},
		{"every minute, after more than 5 minutes", cluster(60, 301*time.Second), Silent, 0},
		{"every second", cluster(1, 12*time.Second), Overdue, 288 * time.Second},
		{"every 10 minutes, within the period", cluster(600, 9*time.Minute), Heard, 670 * time.Second},
		{"every 10 minutes, the next is late", cluster(600, 11*time.Minute), Overdue, 550 * time.Second},
		{"every 10 minutes, after two periods", cluster(600, 1211*time.Second), Silent, 0},
		{"without a period", cluster(0, 72*time.Second), Heard, 228 * time.Second},
		{"with a period over the limit", cluster(1_000_000, 21*time.Minute), Silent, 0},
		{"received after now", cluster(60, -time.Hour), Heard, time.Hour + 5*time.Minute},
	} {
		t.Run(tc.what, func(t *testing.T) {
			if got := Of(tc.cluster, noon); got != tc.want {
				t.Errorf("state %d; want %d", got, tc.want)
			}
			got := UntilSilent(tc.cluster, noon)
			if got.Truncate(time.Second) != tc.silent {
				t.Errorf("silent in %s; want %s", got, tc.silent)
			}
			if got == 0 {
				return
			}
			if before := Of(tc.cluster, noon.Add(got-time.Nanosecond)); before == Silent {
				t.Error("silent before that time")
			}
			if after := Of(tc.cluster, noon.Add(got)); after != Silent {
				t.Errorf("at that time the state is %d", after)
			}
		})
	}
}
