package v1beta1

// Condition types of a MemberCluster. Healthy is declared and not written there. Joined and Healthy are also the types
// of an agent's entry in agentStatus.
const (
	// ConditionReadyToJoin says whether the hub has everything set up for the cluster.
	ConditionReadyToJoin = "ReadyToJoin"
	// ConditionJoined says whether the cluster, or the agent, is part of the fleet.
	ConditionJoined = "Joined"
	// ConditionHealthy says whether the agent finds the API server of its cluster well.
	ConditionHealthy = "Healthy"
)

// Condition types that the member agent writes on the InternalMemberCluster and the hub agent copies to the
// MemberCluster, there with the MemberCluster's generation.
const (
	// ConditionClusterPropertyProviderStarted says whether the property provider has started.
	ConditionClusterPropertyProviderStarted = "ClusterPropertyProviderStarted"
	// ConditionClusterPropertyCollectionSucceeded says whether properties were collected the last time.
	ConditionClusterPropertyCollectionSucceeded = "ClusterPropertyCollectionSucceeded"
	// ConditionNamespaceCollectionSucceeded says whether all namespaces were listed the last time.
	ConditionNamespaceCollectionSucceeded = "NamespaceCollectionSucceeded"
	// ConditionAKSClusterCostPropertiesCollectionSucceeded says whether costs were worked out; the Azure property provider
	// alone writes it.
	ConditionAKSClusterCostPropertiesCollectionSucceeded = "AKSClusterCostPropertiesCollectionSucceeded"
)

// Condition types that the hub agent writes on a MemberCluster when something is wrong with what the cluster reports; otherwise
// they are absent.
const (
	// ConditionClocksInStep is False while the clock of the member agent is apart from the hub's by more than two minutes.
	ConditionClocksInStep = "ClocksInStep"
	// ConditionReportAccepted is False while the cluster reports values out of range, which are not copied as they are.
	ConditionReportAccepted = "ReportAccepted"
	// ConditionBelievedPropertiesAccepted is False while the annotation kubernetes-fleet.io/believed-properties holds items
	// that cannot be read.
	ConditionBelievedPropertiesAccepted = "BelievedPropertiesAccepted"
)

// Reasons of those conditions, all with status False.
const (
	// ReasonClocksApart (ClocksInStep False): the message names the direction.
	ReasonClocksApart = "ClocksApart"
	// ReasonReportOutOfRange (ReportAccepted False): the message names the values.
	ReasonReportOutOfRange = "ReportOutOfRange"
	// ReasonBelievedPropertiesInvalid (BelievedPropertiesAccepted False): the message names the items.
	ReasonBelievedPropertiesInvalid = "BelievedPropertiesInvalid"
)

// Reasons of a MemberCluster's conditions.
const (
	// ReasonMemberClusterReadyToJoin (ReadyToJoin True): namespace, role and InternalMemberCluster are there.
	ReasonMemberClusterReadyToJoin = "MemberClusterReadyToJoin"
	// ReasonMemberClusterNotReadyToJoin (ReadyToJoin False): the cluster has left.
	ReasonMemberClusterNotReadyToJoin = "MemberClusterNotReadyToJoin"
	// ReasonMemberClusterJoined (Joined True): every agent that must has joined.
	ReasonMemberClusterJoined = "MemberClusterJoined"
	// ReasonMemberClusterLeft (Joined False): every agent has left.
	ReasonMemberClusterLeft = "MemberClusterLeft"
	// ReasonMemberClusterJoinStateUnknown (Joined Unknown): neither of the two; some agent has not reported.
	ReasonMemberClusterJoinStateUnknown = "MemberClusterJoinStateUnknown"
)

// Reasons of the conditions of the member agent's entry in agentStatus.
const (
	// ReasonInternalMemberClusterJoined (Joined True): the agent applies Works.
	ReasonInternalMemberClusterJoined = "InternalMemberClusterJoined"
	// ReasonInternalMemberClusterLeft (Joined False): the agent has stopped applying Works.
	ReasonInternalMemberClusterLeft = "InternalMemberClusterLeft"
	// ReasonInternalMemberClusterFailedToJoin (Joined Unknown): starting to apply Works failed.
	ReasonInternalMemberClusterFailedToJoin = "InternalMemberClusterFailedToJoin"
	// ReasonInternalMemberClusterFailedToLeave (Joined Unknown): ceasing to apply Works failed.
	ReasonInternalMemberClusterFailedToLeave = "InternalMemberClusterFailedToLeave"
	// ReasonInternalMemberClusterRefused (Joined Unknown): the cluster belongs to another hub or to another member; the agent
	// applies and removes nothing.
	ReasonInternalMemberClusterRefused = "InternalMemberClusterRefused"
	// ReasonInternalMemberClusterHealthy (Healthy True): the cluster's API server says that it is ready.
	ReasonInternalMemberClusterHealthy = "InternalMemberClusterHealthy"
	// ReasonInternalMemberClusterUnhealthy (Healthy False): it does not, or does not answer.
	ReasonInternalMemberClusterUnhealthy = "InternalMemberClusterUnhealthy"
)

// Reasons of the conditions about properties and namespaces.
const (
	// ReasonPropertyProviderStarted (ClusterPropertyProviderStarted True): the property provider runs.
	ReasonPropertyProviderStarted = "Started"
	// ReasonPropertyProviderFailedToStart (ClusterPropertyProviderStarted False): the property provider erred.
	ReasonPropertyProviderFailedToStart = "FailedToStart"
	// ReasonTimedOut (ClusterPropertyProviderStarted False, ClusterPropertyCollectionSucceeded False): the property
	// provider did not answer in time.
	ReasonTimedOut = "TimedOut"

	// ReasonPropertiesCollected (ClusterPropertyCollectionSucceeded True): the properties are up to date.
	ReasonPropertiesCollected = "PropertiesCollected"
	// ReasonTooManyCalls (ClusterPropertyCollectionSucceeded False): too many earlier collections have not ended yet.
	ReasonTooManyCalls = "TooManyCalls"

	// ReasonNamespacesCollected (NamespaceCollectionSucceeded True): every namespace is listed.
	ReasonNamespacesCollected = "Succeeded"
	// ReasonNamespaceCollectionDegraded (NamespaceCollectionSucceeded False): there are more namespaces than are listed.
	ReasonNamespaceCollectionDegraded = "Degraded"

	// ReasonCostsCalculated (AKSClusterCostPropertiesCollectionSucceeded True): costs are known for every node.
	ReasonCostsCalculated = "CostsCalculated"
	// ReasonCostsCalculationDegraded (AKSClusterCostPropertiesCollectionSucceeded True): costs are known for some nodes.
	ReasonCostsCalculationDegraded = "CostsCalculationDegraded"
	// ReasonCostsCalculationFailed (AKSClusterCostPropertiesCollectionSucceeded False): costs are not known.
	ReasonCostsCalculationFailed = "CostsCalculationFailed"
)
