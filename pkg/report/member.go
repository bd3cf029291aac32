package report

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// MemberFacts describe a cluster's membership.
type MemberFacts struct {
	Generation int64
	// Internal is the report of the cluster's agents; nil keeps their last report.
	Internal *v1beta1.InternalMemberClusterStatus
	// Joined is whether the cluster is part of the fleet, and Unclear names the agents that keep it Unknown.
	Joined  metav1.ConditionStatus
	Unclear []string
	// Waiting is what the hub still has to create for the cluster; empty if all is ready.
	Waiting string
	// Doubts name what of the report is out of range, Mistakes the items of the admin's annotation that cannot be
	// parsed.
	Doubts, Mistakes []string
	// ClockKnown is whether this report allows a comparison with the agent's clock. Clock is how far it is from the
	// hub's; empty if it agrees.
	ClockKnown bool
	Clock      string
	// Silent is when the last heartbeat arrived if the cluster is silent, and nil if it is not.
	Silent *metav1.Time
	// Silence is what was concluded from missing heartbeats; nil if none were missing.
	Silence *v1beta1.ClusterSilence
	// Taints are the evicting taints, each since it was first seen.
	Taints []v1beta1.SeenTaint
}

// doubted are the types of the conditions that a MemberCluster has only if there is a problem.
var doubted = []string{
	v1beta1.ConditionHeartbeatsReceived, v1beta1.ConditionClocksInStep, v1beta1.ConditionReportAccepted, v1beta1.ConditionBelievedPropertiesAccepted,
}

// Member returns the status of a MemberCluster whose status has been old.
func Member(old v1beta1.MemberClusterStatus, f MemberFacts, now metav1.Time) v1beta1.MemberClusterStatus {
	status := *old.DeepCopy()
	status.Silence, status.Taints = f.Silence.DeepCopy(), slices.Clone(f.Taints)
	status.Conditions = merge(old.Conditions, []metav1.Condition{f.readyToJoin(), f.joined()}, now)
	if f.Internal == nil {
		return withRest(status, old.Conditions, nil)
	}
	reported := f.Internal.DeepCopy()
	status.Conditions = append(status.Conditions, merge(old.Conditions, f.wrong(old.Conditions), now)...)
	status.Conditions = append(status.Conditions, withGeneration(ordered(reported.Conditions), f.Generation)...)
	status.Properties = reported.Properties
	status.ResourceUsage = reported.ResourceUsage
	status.Namespaces = reported.Namespaces
	status.AgentStatus = reported.AgentStatus
	for i := range status.AgentStatus {
		status.AgentStatus[i].Conditions = withGeneration(status.AgentStatus[i].Conditions, f.Generation)
	}
	return withRest(status, old.Conditions, slices.Concat(collected, doubted))
}

// wrong are the conditions for problems in a report. ClocksInStep is kept if this report does not show the agent's
// clock.
func (f MemberFacts) wrong(old []metav1.Condition) (out []metav1.Condition) {
	if f.Silent != nil {
		out = append(out, no(f.Generation, v1beta1.ConditionHeartbeatsReceived, v1beta1.ReasonHeartbeatsMissing,
			"No heartbeat from the member agent since "+f.Silent.UTC().Format(time.RFC3339)+
				", so nothing new is placed on the cluster; "+f.consequence()+"check the member agent and its connection to the hub"))
	}
	was := meta.FindStatusCondition(old, v1beta1.ConditionClocksInStep)
	switch {
	case f.Clock != "":
		out = append(out, no(f.Generation, v1beta1.ConditionClocksInStep, v1beta1.ReasonClocksApart,
			"The clock of the member agent is "+f.Clock+"; set the clocks of the cluster's nodes"))
	case !f.ClockKnown && was != nil:
		out = append(out, no(f.Generation, v1beta1.ConditionClocksInStep, v1beta1.ReasonClocksApart, was.Message))
	}
	if len(f.Doubts) > 0 {
		out = append(out, no(f.Generation, v1beta1.ConditionReportAccepted, v1beta1.ReasonReportOutOfRange,
			"Reported values out of range: "+brief.List(f.Doubts, mostNamed)+"; check the member agent of the cluster"))
	}
	if len(f.Mistakes) > 0 {
		out = append(out, no(f.Generation, v1beta1.ConditionBelievedPropertiesAccepted, v1beta1.ReasonBelievedPropertiesInvalid,
			"Annotation "+contract.AnnotationBelieved+" has items that cannot be parsed:  "+brief.List(f.Mistakes, mostNamed)+
				"; write NAME=VALUE, NAME<=QUANTITY or NAME>=QUANTITY"))
	}
	return out
}

// consequence is what the silence means for placements with a failover policy, as the begin of a message.
func (f MemberFacts) consequence() string {
	if f.Silence == nil {
		return ""
	}
	switch f.Silence.State {
	case v1beta1.SilenceSuspected:
		return "placements with a failover policy leave it if it counts as lost; "
	case v1beta1.SilenceBraked:
		return "no placement leaves it, because so many clusters are silent that the hub's own network may be the cause " +
			"(\"kubectl fleet failover status\" shows them); "
	case v1beta1.SilenceLost:
		return "it counts as lost, and placements with a failover policy leave it; "
	case v1beta1.SilenceReleased:
		return "an administrator declared it lost, and placements with a failover policy leave it; "
	}
	return ""
}

func (f MemberFacts) readyToJoin() metav1.Condition {
	switch {
	case f.Waiting != "":
		return no(f.Generation, v1beta1.ConditionReadyToJoin, v1beta1.ReasonMemberClusterNotReadyToJoin, f.Waiting)
	case f.Joined == metav1.ConditionFalse:
		return no(f.Generation, v1beta1.ConditionReadyToJoin, v1beta1.ReasonMemberClusterNotReadyToJoin, "The cluster has left the fleet")
	}
	return yes(f.Generation, v1beta1.ConditionReadyToJoin, v1beta1.ReasonMemberClusterReadyToJoin, "The cluster's namespace, access rights and InternalMemberCluster exist")
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

// withGeneration sets the observed generation of conditions. Their transition times are the reporter's and stay.
func withGeneration(conditions []metav1.Condition, generation int64) []metav1.Condition {
	for i := range conditions {
		conditions[i].ObservedGeneration = generation
	}
	return conditions
}

// withRest adds the conditions of old that status lacks, except those of the types in dropped.
func withRest(status v1beta1.MemberClusterStatus, old []metav1.Condition, dropped []string) v1beta1.MemberClusterStatus {
	for _, c := range old {
		if !slices.Contains(dropped, c.Type) && meta.FindStatusCondition(status.Conditions, c.Type) == nil {
			status.Conditions = append(status.Conditions, c)
		}
	}
	return status
}
