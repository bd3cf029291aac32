package schedule

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// patience is how old a heartbeat may be, and for how long a cluster may be unhealthy, before it is no longer chosen.
const patience = 5 * time.Minute

// What Ineligible says. The texts hold no times: they go into statuses, which change only when something happens.
const (
	left       = "the cluster has left the fleet"
	offline    = "not connected: its member agent is not online yet"
	silent     = "not connected: no recent heartbeat from its member agent"
	unjoined   = "not connected: its member agent has not joined"
	unexamined = "its health condition is not available"
	unhealthy  = "it is unhealthy"
)

// Ineligible says why nothing new can be placed on cluster at all, and nothing if it can be.
func Ineligible(cluster *clusterv1beta1.MemberCluster, now time.Time) string {
	if !cluster.DeletionTimestamp.IsZero() {
		return left
	}
	agent := memberAgent(cluster)
	if agent == nil {
		return offline
	}
	if now.Sub(agent.LastReceivedHeartbeat.Time) > patience {
		return silent
	}
	if !meta.IsStatusConditionTrue(agent.Conditions, clusterv1beta1.ConditionJoined) {
		return unjoined
	}
	healthy := healthOf(agent)
	if healthy == nil {
		return unexamined
	}
	if healthy.Status != metav1.ConditionTrue && now.Sub(healthy.LastTransitionTime.Time) > patience {
		return unhealthy
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

func healthOf(agent *clusterv1beta1.AgentStatus) *metav1.Condition {
	return meta.FindStatusCondition(agent.Conditions, clusterv1beta1.ConditionHealthy)
}
