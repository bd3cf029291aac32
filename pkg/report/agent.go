package report

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// AgentFacts are the input of an agent's report.
type AgentFacts struct {
	// Generation is that of the InternalMemberCluster that the agent acted on.
	Generation int64
	// Healthy is whether the member's API server reports that it is ready.
	Healthy bool
	// Cluster identifies the cluster that reports.
	Cluster types.UID
	// Inventory replaces the reported inventory; nil keeps it.
	Inventory *Inventory
}

// AgentJoined returns the status of an InternalMemberCluster whose agent has joined. It counts as a heartbeat.
func AgentJoined(old v1beta1.InternalMemberClusterStatus, f AgentFacts, now metav1.Time) v1beta1.InternalMemberClusterStatus {
	health := yes(f.Generation, v1beta1.ConditionHealthy, v1beta1.ReasonInternalMemberClusterHealthy, "The cluster's API server is ready")
	if !f.Healthy {
		health = no(f.Generation, v1beta1.ConditionHealthy, v1beta1.ReasonInternalMemberClusterUnhealthy,
			"The cluster's API server does not answer /readyz with 200; see the log of the member agent for its answer")
	}
	status := beat(old, now, health,
		yes(f.Generation, v1beta1.ConditionJoined, v1beta1.ReasonInternalMemberClusterJoined, "The member agent applies Works"))
	status.ClusterUID = f.Cluster
	f.Inventory.into(&status, f.Generation, now)
	return status
}

// AgentRefused returns the status for an agent whose cluster belongs to another hub or member.
func AgentRefused(old v1beta1.InternalMemberClusterStatus, generation int64, message string, now metav1.Time) v1beta1.InternalMemberClusterStatus {
	return beat(old, now, unknown(generation, v1beta1.ConditionJoined, v1beta1.ReasonInternalMemberClusterRefused, message))
}

// AgentLeft returns the status after the hub requested that the agent leave. left is false if the agent has not
// managed to yet.
func AgentLeft(old v1beta1.InternalMemberClusterStatus, generation int64, left bool, now metav1.Time) v1beta1.InternalMemberClusterStatus {
	if !left {
		return beat(old, now, unknown(generation, v1beta1.ConditionJoined, v1beta1.ReasonInternalMemberClusterFailedToLeave,
			"The member agent could not release all of its Works and retries; see its log for the cause"))
	}
	return beat(old, now, no(generation, v1beta1.ConditionJoined, v1beta1.ReasonInternalMemberClusterLeft,
		"The member agent has stopped applying Works; applied objects are kept"))
}

// Agent returns the reported status of the agent of a kind; nil if it has not reported.
func Agent(status *v1beta1.InternalMemberClusterStatus, kind v1beta1.AgentType) *v1beta1.AgentStatus {
	i := slices.IndexFunc(status.AgentStatus, func(a v1beta1.AgentStatus) bool { return a.Type == kind })
	if i < 0 {
		return nil
	}
	return &status.AgentStatus[i]
}

// beat returns old with the member agent's heartbeat set to now and with the given conditions. Its conditions of other
// types and the entries of other agents are kept.
func beat(old v1beta1.InternalMemberClusterStatus, now metav1.Time, conditions ...metav1.Condition) v1beta1.InternalMemberClusterStatus {
	status := *old.DeepCopy()
	if status.Conditions == nil {
		status.Conditions = []metav1.Condition{} // the list is required on the wire
	}
	agent := Agent(&status, v1beta1.AgentTypeMemberAgent)
	if agent == nil {
		status.AgentStatus = append(status.AgentStatus, v1beta1.AgentStatus{Type: v1beta1.AgentTypeMemberAgent})
		agent = &status.AgentStatus[len(status.AgentStatus)-1]
	}
	for _, c := range agent.Conditions {
		if meta.FindStatusCondition(conditions, c.Type) == nil {
			conditions = append(conditions, c)
		}
	}
	slices.SortFunc(conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	agent.Conditions = merge(agent.Conditions, conditions, now)
	agent.LastReceivedHeartbeat = now
	return status
}
