package report

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
)

const (
	// ConditionAbandoned is True on a Work that is being deleted, and on a placement that is being deleted, if the
	// placed objects stay on the members.
	ConditionAbandoned = "Abandoned"
	// ReasonObjectsAbandoned means that deleteStrategy.propagationPolicy is Abandon. It is also the reason of an event
	// on the placement, and of the one about a replaced cluster that keeps its objects.
	ReasonObjectsAbandoned = "ObjectsAbandoned"
)

const abandoned = "without the fleet's owner references and annotations, because deleteStrategy.propagationPolicy is Abandon"

// WorkAbandoned returns the status of a Work that is being deleted after the member agent has released its objects.
func WorkAbandoned(old v1beta1.WorkStatus, generation int64, now metav1.Time) v1beta1.WorkStatus {
	status := *old.DeepCopy()
	wanted := yes(generation, ConditionAbandoned, ReasonObjectsAbandoned, "The objects of this Work stay on the member cluster, "+abandoned)
	status.Conditions = with(old.Conditions, wanted, now)
	return status
}

// PlacementAbandoned returns the status of a placement that is being deleted and leaves the placed objects on the
// clusters.
func PlacementAbandoned(placement v1beta1.PlacementObject, now metav1.Time) v1beta1.PlacementStatus {
	status := *placement.GetStatus().DeepCopy()
	var clusters []string
	for i := range status.PerClusterPlacementStatuses {
		if name := status.PerClusterPlacementStatuses[i].ClusterName; name != "" {
			clusters = append(clusters, name)
		}
	}
	slices.Sort(clusters)
	where := "the clusters"
	if len(clusters) > 0 {
		where = brief.List(clusters, mostNamed)
	}
	wanted := yes(placement.GetGeneration(), placement.ConditionType(ConditionAbandoned), ReasonObjectsAbandoned,
		fmt.Sprintf("The placed objects stay on %s, %s", where, abandoned))
	status.Conditions = with(status.Conditions, wanted, now)
	return status
}

// AbandonedOn is the message of the event on a placement that loses a cluster and leaves the placed objects there.
func AbandonedOn(cluster string) string {
	return fmt.Sprintf("The objects placed on cluster %s stay there, because deleteStrategy.propagationPolicy is Abandon", cluster)
}

// LeftOn is the message of the event on a placement that leaves the placed objects on a replaced cluster.
func LeftOn(cluster string) string {
	return fmt.Sprintf("The objects placed on cluster %s, which another cluster replaces, stay there, because policy.failover.purge is Never", cluster)
}

// with returns old with wanted added, or with wanted in place of the condition of the same type.
func with(old []metav1.Condition, wanted metav1.Condition, now metav1.Time) []metav1.Condition {
	out := slices.Clone(old)
	wanted.LastTransitionTime = now
	meta.SetStatusCondition(&out, wanted)
	return out
}
