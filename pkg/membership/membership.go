// Package membership decides how a cluster joins the fleet and how it leaves. In come the MemberCluster, what the hub holds for it and
// what its agents report; out comes the next step. The registrar uses it.
package membership

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Namespace is the state of a member's namespace on the hub.
type Namespace int

// States of a namespace.
const (
	// NamespaceGone is a namespace that does not exist.
	NamespaceGone Namespace = iota
	NamespaceActive
	// NamespaceTerminating is a namespace that is deleted and still has content.
	NamespaceTerminating
	// NamespaceForeign is a namespace that was not made for the cluster.
	NamespaceForeign
)

// Seen is all that the next step depends on.
type Seen struct {
	Cluster   *v1beta1.MemberCluster
	Namespace Namespace
	// Internal is the cluster's InternalMemberCluster, nil if there is none.
	Internal *v1beta1.InternalMemberCluster
	// Agents are those that must have joined, or left.
	Agents []v1beta1.AgentType
	// ForceDeleteWait is how long the agents of a deleted cluster have to answer.
	ForceDeleteWait time.Duration
}

// Action is what to do for a cluster.
type Action int

// Actions.
const (
	// Nothing is for a cluster that is deleted and not, or no longer, in our care.
	Nothing Action = iota
	// Admit makes or repairs everything the hub holds for a member.
	Admit
	// Dismiss asks the agents to leave, and waits for them.
	Dismiss
	// CleanUp frees what the agents write of its finalizers and deletes the namespace: no agent is left to act on them, and what they placed
	// stays on the member.
	CleanUp
	// AwaitNamespace waits for the end of a namespace that is deleted. What the agents write and left in it is freed of its finalizers: the
	// member's access went with the namespace, so it cannot. A cluster that was not deleted itself is then admitted anew.
	AwaitNamespace
	// Refuse leaves a namespace alone that was not made for the cluster, and says how the cluster can have one.
	Refuse
	// Release lets the MemberCluster go.
	Release
)

// Step is what to do now. If Again is not zero, time alone will make another step due then.
type Step struct {
	Action Action
	Again  time.Duration
}

// look is how often the registrar looks at what sends it no event: a namespace that does not bear its label, or one whose end it forces.
const look = 10 * time.Second

// LeaveForced reports whether the hub's admin lets a cluster that is being deleted go whatever is left in its namespace.
func LeaveForced(cluster *v1beta1.MemberCluster) bool {
	return !cluster.DeletionTimestamp.IsZero() && cluster.Annotations[contract.AnnotationForceLeave] == "true"
}

// Next returns the step for a cluster at time now.
func Next(seen Seen, now time.Time) Step {
	if seen.Cluster.DeletionTimestamp.IsZero() {
		switch seen.Namespace {
		case NamespaceTerminating:
			return Step{Action: AwaitNamespace}
		case NamespaceForeign:
			return Step{Action: Refuse, Again: look}
		}
		return Step{Action: Admit}
	}
	wait := seen.Cluster.DeletionTimestamp.Add(seen.ForceDeleteWait).Sub(now)
	switch {
	case !slices.Contains(seen.Cluster.Finalizers, contract.FinalizerMemberCluster):
		return Step{Action: Nothing}
	case seen.Namespace == NamespaceGone, seen.Namespace == NamespaceForeign:
		return Step{Action: Release}
	case seen.Namespace == NamespaceTerminating && LeaveForced(seen.Cluster):
		return Step{Action: AwaitNamespace, Again: look}
	case seen.Namespace == NamespaceTerminating:
		return Step{Action: AwaitNamespace}
	case seen.Internal == nil:
		return Step{Action: CleanUp}
	case seen.Internal.Spec.State != v1beta1.ClusterStateLeave:
		return Step{Action: Dismiss, Again: max(wait, 0)}
	case StandingOf(seen.Internal, seen.Agents).Joined == metav1.ConditionFalse, wait <= 0, NeverJoined(seen.Internal):
		return Step{Action: CleanUp}
	}
	return Step{Action: Dismiss, Again: wait}
}

// NeverJoined reports whether no agent has reported for a cluster yet. An agent does before it applies anything.
func NeverJoined(internal *v1beta1.InternalMemberCluster) bool {
	return len(internal.Status.AgentStatus) == 0
}

// Standing is whether a cluster is part of the fleet: True if all its agents have joined, False if all have left.
type Standing struct {
	Joined metav1.ConditionStatus
	// Unclear are the agents that keep Joined Unknown, sorted.
	Unclear []string
}

// StandingOf sums up what the agents of a cluster report; internal may be nil. An agent reports False only when it was asked to leave,
// so its report needs no generation to be believed.
func StandingOf(internal *v1beta1.InternalMemberCluster, agents []v1beta1.AgentType) Standing {
	var joined, left, unclear []string
	for _, agent := range agents {
		switch report(internal, agent) {
		case metav1.ConditionTrue:
			joined = append(joined, string(agent))
		case metav1.ConditionFalse:
			left = append(left, string(agent))
		default:
			unclear = append(unclear, string(agent))
		}
	}
	switch {
	case len(unclear) == 0 && len(left) == 0:
		return Standing{Joined: metav1.ConditionTrue}
	case len(unclear) == 0 && len(joined) == 0:
		return Standing{Joined: metav1.ConditionFalse}
	case len(unclear) == 0:
		unclear = left
	}
	slices.SortFunc(unclear, strings.Compare)
	return Standing{Joined: metav1.ConditionUnknown, Unclear: unclear}
}

// report is an agent's own Joined, Unknown if it has not reported.
func report(internal *v1beta1.InternalMemberCluster, agent v1beta1.AgentType) metav1.ConditionStatus {
	if internal == nil {
		return metav1.ConditionUnknown
	}
	for _, status := range internal.Status.AgentStatus {
		if status.Type == agent {
			if c := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionJoined); c != nil {
				return c.Status
			}
		}
	}
	return metav1.ConditionUnknown
}

// Agents are the agents that every member must have, with those of fleet networking if it is in use.
func Agents(networking bool) []v1beta1.AgentType {
	agents := []v1beta1.AgentType{v1beta1.AgentTypeMemberAgent}
	if networking {
		agents = append(agents, v1beta1.AgentTypeMultiClusterServiceAgent, v1beta1.AgentTypeServiceExportImportAgent)
	}
	return agents
}
