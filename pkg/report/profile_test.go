package report_test

import (
	"encoding/pem"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	inventoryv1alpha1 "sigs.k8s.io/cluster-inventory-api/apis/v1alpha1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/report"
)

func TestControlPlaneHealthy(t *testing.T) {
	const silence = 3 * time.Minute
	now := time.Date(2031, 5, 1, 10, 0, 0, 0, time.UTC)
	agent := func(age time.Duration, health ...metav1.ConditionStatus) []v1beta1.AgentStatus {
		out := v1beta1.AgentStatus{Type: v1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: metav1.NewTime(now.Add(-age))}
		for _, status := range health {
			out.Conditions = append(out.Conditions, metav1.Condition{Type: v1beta1.ConditionHealthy, Status: status})
		}
		return []v1beta1.AgentStatus{{Type: v1beta1.AgentTypeMultiClusterServiceAgent, LastReceivedHeartbeat: metav1.NewTime(now)}, out}
	}
	for name, tc := range map[string]struct {
		agents []v1beta1.AgentStatus
		status metav1.ConditionStatus
		reason string
		// again is when the update will change by time alone; 0: never.
		again time.Duration
	}{
		"nothing was reported":              {nil, "Unknown", "MemberAgentReportedNoStatus", 0},
		"nothing on health":                 {agent(time.Hour), "Unknown", "MemberAgentReportedNoHealthInfo", 0},
		"not heard of for long":             {agent(silence+time.Second, "True"), "False", "MemberAgentHeartbeatLost", 0},
		"not heard of for long, and unwell": {agent(silence+time.Second, "False"), "False", "MemberAgentHeartbeatLost", 0},
		"heard of just in time":             {agent(silence, "True"), "True", "MemberClusterAPIServerHealthy", time.Millisecond},
		"health is not known":               {agent(time.Minute, "Unknown"), "Unknown", "MemberAgentReportedNoHealthInfo", 2 * time.Minute},
		"unwell":                            {agent(time.Minute, "False"), "False", "MemberClusterAPIServerUnhealthy", 2 * time.Minute},
		"well":                              {agent(time.Minute, "True"), "True", "MemberClusterAPIServerHealthy", 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := &v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Generation: 4}, Status: v1beta1.MemberClusterStatus{AgentStatus: tc.agents}}
			status, again := report.Profile(inventoryv1alpha1.ClusterProfileStatus{}, cluster, silence, now)
			if len(status.Conditions) != 1 {
				t.Fatalf("conditions %+v", status.Conditions)
			}
			c := status.Conditions[0]
			if c.Type != "ControlPlaneHealthy" || c.Status != tc.status || c.Reason != tc.reason || c.ObservedGeneration != 4 {
				t.Errorf("%+v; want %s %s", c, tc.status, tc.reason)
			}
			if again.Truncate(time.Second) != tc.again.Truncate(time.Second) || (again == 0) != (tc.again == 0) {
				t.Errorf("again after %s; want %s", again, tc.again)
			}
		})
	}
}

func TestProfileHasTheAccessToTheCluster(t *testing.T) {
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	cluster := &v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	cluster.Status.Properties = map[v1beta1.PropertyName]v1beta1.PropertyValue{
		"k8s.io/k8s-version": {Value: "v1.36.3"}, "k8s.io/cluster-certificate-authority-data": {Value: authority}, "k8s.io/cluster-entrypoint": {Value: "https://m"},
	}
	cluster.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionClusterPropertyCollectionSucceeded, Status: metav1.ConditionTrue, ObservedGeneration: 1}}
	var was inventoryv1alpha1.ClusterProfileStatus
	status, _ := report.Profile(was, cluster, time.Minute, time.Now())
	if status.Version.Kubernetes != "" || len(status.AccessProviders) != 0 {
		t.Errorf("properties of an older generation are believed: %+v", status)
	}
	cluster.Status.Conditions[0].ObservedGeneration = 2
	status, _ = report.Profile(status, cluster, time.Minute, time.Now())
	if len(status.AccessProviders) != 1 {
		t.Fatalf("access providers %+v", status.AccessProviders)
	}
	got := status.AccessProviders[0]
	if status.Version.Kubernetes != "v1.36.3" || got.Name != "KubeFleet" || got.Cluster.Server != "https://m" || string(got.Cluster.CertificateAuthorityData) != authority {
		t.Errorf("%+v", status)
	}
	// What is not known any more is kept.
	cluster.Status.Conditions[0].Status = metav1.ConditionFalse
	if kept, _ := report.Profile(status, cluster, time.Minute, time.Now()); kept.Version.Kubernetes != "v1.36.3" || len(kept.AccessProviders) != 1 {
		t.Errorf("%+v", kept)
	}
}
