package v1beta1

// Condition types of a MemberCluster. Healthy is declared but not written there. Joined and Healthy are also the types
// of an agent's entry in agentStatus.
const (
	// ConditionReadyToJoin is True if the hub has set up everything for the cluster.
	ConditionReadyToJoin = "ReadyToJoin"
	// ConditionJoined is True if the cluster, or the agent, is part of the fleet.
	ConditionJoined = "Joined"
	// ConditionHealthy is True if the API server of the agent's cluster is healthy.
	ConditionHealthy = "Healthy"
)

// Condition types that the member agent writes on the InternalMemberCluster and the hub agent copies to the
// MemberCluster, there with the MemberCluster's generation.
const (
	// ConditionClusterPropertyProviderStarted is True if the property provider has started.
	ConditionClusterPropertyProviderStarted = "ClusterPropertyProviderStarted"
	// ConditionClusterPropertyCollectionSucceeded is True if the last collection of properties succeeded.
	ConditionClusterPropertyCollectionSucceeded = "ClusterPropertyCollectionSucceeded"
	// ConditionNamespaceCollectionSucceeded is True if the last collection listed all namespaces.
	ConditionNamespaceCollectionSucceeded = "NamespaceCollectionSucceeded"
	// ConditionAKSClusterCostPropertiesCollectionSucceeded is True if the costs were calculated; only the Azure
	// property provider writes it.
	ConditionAKSClusterCostPropertiesCollectionSucceeded = "AKSClusterCostPropertiesCollectionSucceeded"
)

// Condition types that the hub agent writes on a MemberCluster if there is a problem with the cluster's reports;
// otherwise they are absent.
const (
	// ConditionClocksInStep is False while the clocks of the member agent and the hub differ by more than two minutes.
	ConditionClocksInStep = "ClocksInStep"
	// ConditionHeartbeatsReceived is False while the cluster is silent: its last heartbeat is older than five minutes,
	// or than two heartbeat periods and ten seconds if that is longer.
	ConditionHeartbeatsReceived = "HeartbeatsReceived"
	// ConditionReportAccepted is False while the cluster reports values that are out of range, which the hub agent
	// does not copy unchanged.
	ConditionReportAccepted = "ReportAccepted"
	// ConditionBelievedPropertiesAccepted is False while the annotation kubernetes-fleet.io/believed-properties
	// contains items that cannot be parsed.
	ConditionBelievedPropertiesAccepted = "BelievedPropertiesAccepted"
)

// Reasons of those conditions, all with status False.
const (
	// ReasonClocksApart (ClocksInStep False): the message contains the direction.
	ReasonClocksApart = "ClocksApart"
	// ReasonHeartbeatsMissing (HeartbeatsReceived False): the message contains the time of the last heartbeat.
	ReasonHeartbeatsMissing = "HeartbeatsMissing"
	// ReasonReportOutOfRange (ReportAccepted False): the message names the values.
	ReasonReportOutOfRange = "ReportOutOfRange"
	// ReasonBelievedPropertiesInvalid (BelievedPropertiesAccepted False): the message names the items.
	ReasonBelievedPropertiesInvalid = "BelievedPropertiesInvalid"
)

// Reasons of a MemberCluster's conditions.
const (
	// ReasonMemberClusterReadyToJoin (ReadyToJoin True): namespace, role and InternalMemberCluster exist.
	ReasonMemberClusterReadyToJoin = "MemberClusterReadyToJoin"
	// ReasonMemberClusterNotReadyToJoin (ReadyToJoin False): the cluster has left.
	ReasonMemberClusterNotReadyToJoin = "MemberClusterNotReadyToJoin"
	// ReasonMemberClusterJoined (Joined True): every required agent has joined.
	ReasonMemberClusterJoined = "MemberClusterJoined"
	// ReasonMemberClusterLeft (Joined False): every agent has left.
	ReasonMemberClusterLeft = "MemberClusterLeft"
	// ReasonMemberClusterJoinStateUnknown (Joined Unknown): neither of the two; at least one agent has not reported.
	ReasonMemberClusterJoinStateUnknown = "MemberClusterJoinStateUnknown"
)

// Reasons of the conditions of the member agent's entry in agentStatus.
const (
	// ReasonInternalMemberClusterJoined (Joined True): the agent applies Works.
	ReasonInternalMemberClusterJoined = "InternalMemberClusterJoined"
	// ReasonInternalMemberClusterLeft (Joined False): the agent has stopped applying Works.
	ReasonInternalMemberClusterLeft = "InternalMemberClusterLeft"
	// ReasonInternalMemberClusterFailedToJoin (Joined Unknown): the agent could not start to apply Works.
	ReasonInternalMemberClusterFailedToJoin = "InternalMemberClusterFailedToJoin"
	// ReasonInternalMemberClusterFailedToLeave (Joined Unknown): the agent could not stop applying Works.
	ReasonInternalMemberClusterFailedToLeave = "InternalMemberClusterFailedToLeave"
	// ReasonInternalMemberClusterRefused (Joined Unknown): the cluster belongs to another hub or to another member; the agent
	// applies and removes nothing.
	ReasonInternalMemberClusterRefused = "InternalMemberClusterRefused"
	// ReasonInternalMemberClusterHealthy (Healthy True): the cluster's API server reports that it is ready.
	ReasonInternalMemberClusterHealthy = "InternalMemberClusterHealthy"
	// ReasonInternalMemberClusterUnhealthy (Healthy False): the cluster's API server is not ready, or does not
	// respond.
	ReasonInternalMemberClusterUnhealthy = "InternalMemberClusterUnhealthy"
)

// Reasons of the conditions about properties and namespaces.
const (
	// ReasonPropertyProviderStarted (ClusterPropertyProviderStarted True): the property provider runs.
	ReasonPropertyProviderStarted = "Started"
	// ReasonPropertyProviderFailedToStart (ClusterPropertyProviderStarted False): the property provider returned an
	// error.
	ReasonPropertyProviderFailedToStart = "FailedToStart"
	// ReasonTimedOut (ClusterPropertyProviderStarted False, ClusterPropertyCollectionSucceeded False): the property
	// provider did not respond in time.
	ReasonTimedOut = "TimedOut"

	// ReasonPropertiesCollected (ClusterPropertyCollectionSucceeded True): the properties are up to date.
	ReasonPropertiesCollected = "PropertiesCollected"
	// ReasonTooManyCalls (ClusterPropertyCollectionSucceeded False): too many earlier collections are still running.
	ReasonTooManyCalls = "TooManyCalls"

	// ReasonNamespacesCollected (NamespaceCollectionSucceeded True): every namespace is listed.
	ReasonNamespacesCollected = "Succeeded"
	// ReasonNamespaceCollectionDegraded (NamespaceCollectionSucceeded False): the list omits namespaces, because there
	// are too many.
	ReasonNamespaceCollectionDegraded = "Degraded"

	// ReasonCostsCalculated (AKSClusterCostPropertiesCollectionSucceeded True): costs are known for every node.
	ReasonCostsCalculated = "CostsCalculated"
	// ReasonCostsCalculationDegraded (AKSClusterCostPropertiesCollectionSucceeded True): costs are known for some nodes.
	ReasonCostsCalculationDegraded = "CostsCalculationDegraded"
	// ReasonCostsCalculationFailed (AKSClusterCostPropertiesCollectionSucceeded False): costs are not known.
	ReasonCostsCalculationFailed = "CostsCalculationFailed"
)
