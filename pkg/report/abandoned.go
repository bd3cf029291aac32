package report

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

const (
	// ConditionAbandoned is True on a Work that goes, and on a placement that is being deleted, if the placed objects stay on the members.
	ConditionAbandoned = "Abandoned"
	// ReasonObjectsAbandoned means that deleteStrategy.propagationPolicy is Abandon. It is the reason of an event on the placement, too.
	ReasonObjectsAbandoned = "ObjectsAbandoned"
)

const abandoned = "without owner reference and annotations of the fleet, because deleteStrategy.propagationPolicy is Abandon"

// WorkAbandoned is the status of a Work that goes, and whose objects the member agent has let go.
func WorkAbandoned(old v1beta1.WorkStatus, generation int64, now metav1.Time) v1beta1.WorkStatus {
	status := *old.DeepCopy()
	wanted := yes(generation, ConditionAbandoned, ReasonObjectsAbandoned, "What this Work placed stays on the member cluster, "+abandoned)
	status.Conditions = with(old.Conditions, wanted, now)
	return status
}

// PlacementAbandoned is the status of a placement that is being deleted and leaves on the clusters what it placed.
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
		where = few(clusters)
	}
	wanted := yes(placement.GetGeneration(), placement.ConditionType(ConditionAbandoned), ReasonObjectsAbandoned,
		fmt.Sprintf("What was placed stays on %s, %s", where, abandoned))
	status.Conditions = with(status.Conditions, wanted, now)
	return status
}

// AbandonedOn is the message of the event on a placement that no longer has a cluster and leaves there what it placed.
func AbandonedOn(cluster string) string {
	return fmt.Sprintf("What was placed on cluster %s stays there, because deleteStrategy.propagationPolicy is Abandon", cluster)
}

// with are conditions with one more, or with that in place of the one of its type.
func with(old []metav1.Condition, wanted metav1.Condition, now metav1.Time) []metav1.Condition {
	out := slices.Clone(old)
	wanted.LastTransitionTime = now
	meta.SetStatusCondition(&out, wanted)
	return out
}
