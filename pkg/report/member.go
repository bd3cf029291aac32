package report

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// MemberFacts are what is known of a cluster's membership.
type MemberFacts struct {
	Generation int64
	// Internal is what the cluster's agents report; nil keeps what they reported last.
	Internal *v1beta1.InternalMemberClusterStatus
	// Joined is whether the cluster is part of the fleet, and Unclear names the agents that keep it Unknown.
	Joined  metav1.ConditionStatus
	Unclear []string
	// Waiting says what keeps the hub from having everything ready for the cluster, if anything does.
	Waiting string
}

// Member works out the status of a MemberCluster whose status has been old.
func Member(old v1beta1.MemberClusterStatus, f MemberFacts, now metav1.Time) v1beta1.MemberClusterStatus {
	status := *old.DeepCopy()
	status.Conditions = merge(old.Conditions, []metav1.Condition{f.readyToJoin(), f.joined()}, now)
	if f.Internal == nil {
		return withRest(status, old.Conditions, nil)
	}
	reported := f.Internal.DeepCopy()
	status.Conditions = append(status.Conditions, withGeneration(reported.Conditions, f.Generation)...)
	status.Properties = reported.Properties
	status.ResourceUsage = reported.ResourceUsage
	status.Namespaces = reported.Namespaces
	status.AgentStatus = reported.AgentStatus
	for i := range status.AgentStatus {
		status.AgentStatus[i].Conditions = withGeneration(status.AgentStatus[i].Conditions, f.Generation)
	}
	return withRest(status, old.Conditions, collected)
}

func (f MemberFacts) readyToJoin() metav1.Condition {
	switch {
	case f.Waiting != "":
		return no(f.Generation, v1beta1.ConditionReadyToJoin, v1beta1.ReasonMemberClusterNotReadyToJoin, f.Waiting)
	case f.Joined == metav1.ConditionFalse:
		return no(f.Generation, v1beta1.ConditionReadyToJoin, v1beta1.ReasonMemberClusterNotReadyToJoin, "The cluster has left the fleet")
	}
	return yes(f.Generation, v1beta1.ConditionReadyToJoin, v1beta1.ReasonMemberClusterReadyToJoin, "The cluster's namespace, access rights and InternalMemberCluster are there")
}

func (f MemberFacts) joined() metav1.Condition {
	switch f.Joined {
	case metav1.ConditionTrue:
		return yes(f.Generation, v1beta1.ConditionJoined, v1beta1.ReasonMemberClusterJoined, "Every agent has joined")
	case metav1.ConditionFalse:
		return no(f.Generation, v1beta1.ConditionJoined, v1beta1.ReasonMemberClusterLeft, "Every agent has left")
	}
	return unknown(f.Generation, v1beta1.ConditionJoined, v1beta1.ReasonMemberClusterJoinStateUnknown,
		"No clear report from: "+strings.Join(f.Unclear, ", "))
}

// withGeneration makes conditions speak of generation. Their transition times are the reporter's and stay.
func withGeneration(conditions []metav1.Condition, generation int64) []metav1.Condition {
	for i := range conditions {
		conditions[i].ObservedGeneration = generation
	}
	return conditions
}

// withRest adds the conditions of old that status lacks, but for those of the types in dropped.
func withRest(status v1beta1.MemberClusterStatus, old []metav1.Condition, dropped []string) v1beta1.MemberClusterStatus {
	for _, c := range old {
		if !slices.Contains(dropped, c.Type) && meta.FindStatusCondition(status.Conditions, c.Type) == nil {
			status.Conditions = append(status.Conditions, c)
		}
	}
	return status
}
