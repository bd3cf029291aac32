// Package membership decides how a cluster joins the fleet and how it leaves. It takes the MemberCluster, its objects
// on the hub and the reports of its agents, and returns the next step. The registrar uses it.
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
	// NamespaceGone means that the namespace does not exist.
	NamespaceGone Namespace = iota
	NamespaceActive
	// NamespaceTerminating means that the namespace is being deleted and still has content.
	NamespaceTerminating
	// NamespaceForeign means that the namespace was not created for the cluster.
	NamespaceForeign
)

// Seen is the observed state that the next step depends on.
type Seen struct {
	Cluster   *v1beta1.MemberCluster
	Namespace Namespace
	// Internal is the cluster's InternalMemberCluster, nil if there is none.
	Internal *v1beta1.InternalMemberCluster
	// Agents are the agents that must have joined, or left.
	Agents []v1beta1.AgentType
	// ForceDeleteWait is how long the hub waits for the agents of a deleted cluster.
	ForceDeleteWait time.Duration
}

// Action is what to do for a cluster.
type Action int

// Actions.
const (
	// Nothing means that the cluster is deleted and has no finalizer of the hub agent, or none any more.
	Nothing Action = iota
	// Admit creates or repairs all objects of a member on the hub.
	Admit
	// Dismiss requests the agents to leave, and waits for them.
	Dismiss
	// CleanUp removes the finalizers from the agents' objects and deletes the namespace: no agent is left to remove
	// them, and placed objects stay on the member.
	CleanUp
	// AwaitNamespace waits until a namespace is deleted. It removes the finalizers from the agents' remaining objects,
	// because the member lost its access with the namespace. If the cluster itself is not deleted, it is admitted
	// again afterwards.
	AwaitNamespace
	// Refuse does not use a namespace that was not created for the cluster, and reports how to assign it to the
	// cluster.
	Refuse
	// Release removes the finalizer of the MemberCluster.
	Release
)

// Step is the next action. If Again is not zero, the registrar must decide again after that time, even without an
// event.
type Step struct {
	Action Action
	Again  time.Duration
}

// look is the interval at which the registrar checks objects that cause no events for it: a namespace without its
// label, or one whose deletion it forces.
const look = 10 * time.Second

// LeaveForced reports whether the hub's administrator has forced a deleted cluster to leave, whatever is left in its
// namespace.
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

// NeverJoined reports whether no agent of a cluster has reported yet. An agent reports before it applies anything.
func NeverJoined(internal *v1beta1.InternalMemberCluster) bool {
	return len(internal.Status.AgentStatus) == 0
}

// Standing shows whether a cluster is part of the fleet: True if all its agents have joined, False if all have left.
type Standing struct {
	Joined metav1.ConditionStatus
	// Unclear are the agents that make Joined Unknown, sorted.
	Unclear []string
}

// StandingOf summarizes the reports of a cluster's agents; internal may be nil. An agent reports False only after it
// was requested to leave, so the report is valid without a matching generation.
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

// report returns an agent's own Joined, Unknown if it has not reported.
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

// Agents returns the agents that every member must run, including those of fleet networking if it is used.
func Agents(networking bool) []v1beta1.AgentType {
	agents := []v1beta1.AgentType{v1beta1.AgentTypeMemberAgent}
	if networking {
		agents = append(agents, v1beta1.AgentTypeMultiClusterServiceAgent, v1beta1.AgentTypeServiceExportImportAgent)
	}
	return agents
}
