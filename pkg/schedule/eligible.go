package schedule

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// patience is how old a heartbeat may be, and for how long a cluster may be unhealthy, before it is no longer chosen.
const patience = 5 * time.Minute

// Ineligible says why nothing new can be placed on cluster at all, and nothing if it can be. The text holds no times: it goes into
// statuses, which change only when something happens.
func Ineligible(cluster *clusterv1beta1.MemberCluster, now time.Time) string {
	if !cluster.DeletionTimestamp.IsZero() {
		return "the cluster has left the fleet"
	}
	agent := memberAgent(cluster)
	if agent == nil {
		return "not connected: its member agent is not online yet"
	}
	if now.Sub(agent.LastReceivedHeartbeat.Time) > patience {
		return "not connected: no recent heartbeat from its member agent"
	}
	if !meta.IsStatusConditionTrue(agent.Conditions, clusterv1beta1.ConditionJoined) {
		return "not connected: its member agent has not joined"
	}
	healthy := meta.FindStatusCondition(agent.Conditions, clusterv1beta1.ConditionHealthy)
	if healthy == nil {
		return "its health condition is not available"
	}
	if healthy.Status != metav1.ConditionTrue && now.Sub(healthy.LastTransitionTime.Time) > patience {
		return "it is unhealthy"
	}
	return ""
}

func memberAgent(cluster *clusterv1beta1.MemberCluster) *clusterv1beta1.AgentStatus {
	for i := range cluster.Status.AgentStatus {
		if cluster.Status.AgentStatus[i].Type == clusterv1beta1.AgentTypeMemberAgent {
			return &cluster.Status.AgentStatus[i]
		}
	}
	return nil
}
