package report

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Mirrored says where the status of a placement is to be copied to.
type Mirrored struct {
	// Namespace is where the copy belongs; empty if the placement asks for none, or if there is no telling.
	Namespace string
	// Absent is whether the placement has not found that namespace on the hub.
	Absent bool
	// Mistake, for the user, says why the selectors do not allow for a copy. The namespace is then the one that is placed so far.
	Mistake string
}

// MirrorOf says where the status of a placement, which is to be status, is copied to. The selectors decide, and the namespace that
// the placement has placed so far holds them to it: people there would be left with a copy that nobody keeps up to date.
func MirrorOf(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) Mirrored {
	spec := placement.GetSpec()
	if placement.GetNamespace() != "" || spec.StatusReportingScope != v1beta1.StatusReportingScopeNamespaceAccessible {
		return Mirrored{}
	}
	placed := ""
	for _, r := range status.SelectedResources {
		if r.Group == "" && r.Kind == "Namespace" {
			placed = r.Name
			break
		}
	}
	wanted, wrong := validate.StatusNamespace(spec, placed)
	if len(wrong) > 0 {
		return Mirrored{Namespace: placed, Mistake: wrong[0].Detail}
	}
	external := spec.Strategy.Type == v1beta1.RolloutStrategyTypeExternal
	return Mirrored{Namespace: wanted, Absent: placed == "" && !external}
}

// Mirror is what the copy of a status holds.
func Mirror(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) v1beta1.PlacementStatus {
	out := *status.DeepCopy()
	kind := placement.ConditionType(v1beta1.ConditionStatusSynced)
	out.Conditions = slices.DeleteFunc(out.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
	return out
}

// Mirrorable says whether a status says anything that could be copied yet.
func Mirrorable(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) bool {
	return meta.FindStatusCondition(status.Conditions, placement.ConditionType(v1beta1.ConditionScheduled)) != nil
}

// StatusSynced puts into a status whether its copy in namespace is up to date. failure, for the user, says why it is not. It speaks
// of the generation that the status speaks of.
func StatusSynced(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus, namespace, failure string, now metav1.Time) {
	kind := placement.ConditionType(v1beta1.ConditionStatusSynced)
	scheduled := meta.FindStatusCondition(status.Conditions, placement.ConditionType(v1beta1.ConditionScheduled))
	if scheduled == nil {
		return
	}
	synced := yes(scheduled.ObservedGeneration, kind, v1beta1.ReasonStatusSyncSucceeded,
		"The ClusterResourcePlacementStatus of this name in namespace "+namespace+" says the same")
	if failure != "" {
		synced = no(scheduled.ObservedGeneration, kind, v1beta1.ReasonStatusSyncFailed, failure)
	}
	synced = merge(status.Conditions, []metav1.Condition{synced}, now)[0]
	i := slices.IndexFunc(status.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
	if i < 0 {
		status.Conditions = append(status.Conditions, synced)
		return
	}
	status.Conditions[i] = synced
}
