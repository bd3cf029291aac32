package failover

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// health is a report that the cluster is in this state for so long. The hub has known that for so long; zero if it has
// no record.
func health(status metav1.ConditionStatus, claimed, known time.Duration) change {
	return func(c *clusterv1beta1.MemberCluster) {
		agent := &c.Status.AgentStatus[0]
		agent.Conditions = []metav1.Condition{{
			Type: clusterv1beta1.ConditionHealthy, Status: status, LastTransitionTime: metav1.NewTime(noon.Add(-claimed)),
		}}
		if known > 0 {
			agent.HealthSince = &metav1.Time{Time: noon.Add(-known)}
		}
	}
}

// A member cannot claim that it has been healthy, or not, for longer than the hub knows.
func TestHealthCountsByTheHubsClock(t *testing.T) {
	for _, tc := range []struct {
		what           string
		claimed, known time.Duration
		// since is how long it counts.
		since time.Duration
	}{
		{"claimed to be old", time.Hour, time.Minute, time.Minute},
		{"claimed to be new", time.Minute, time.Hour, time.Hour},
		{"not recorded, and old", time.Hour, 0, time.Hour},
		{"not recorded, and new", time.Minute, 0, time.Minute},
	} {
		long := tc.since == time.Hour
		rules := Rules{Policy: &v1beta1.Failover{After: metav1.Duration{Duration: 5 * time.Minute}}, Now: noon}
		if leave := rules.LeaveOf(member("a", 0, health(metav1.ConditionFalse, tc.claimed, tc.known))); leave.Reason != Unhealthy || leave.Now != long ||
			!leave.Since.Equal(noon.Add(-tc.since)) || !long && leave.Again != 4*time.Minute {
			t.Errorf("unhealthy, %s: %+v", tc.what, leave)
		}
		since, ok, again := Trusted(member("a", 0, health(metav1.ConditionTrue, tc.claimed, tc.known)), noon)
		if ok != long || !since.Equal(noon.Add(-tc.since)) || !long && again != 9*time.Minute {
			t.Errorf("healthy, %s: since %s, %t, again in %s", tc.what, since, ok, again)
		}
	}
}
