package report

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// StatusCopy is where the status of a placement is copied to.
type StatusCopy struct {
	// Namespace is where the copy belongs; empty if the placement asks for none, or if its selectors do not name the namespace.
	Namespace string
	// Absent is whether the placement has not found that namespace on the hub.
	Absent bool
	// Mistake is why the selectors do not allow a copy, for the user. Namespace is then the one that is placed so far.
	Mistake string
}

// StatusCopyOf is where status, which a placement is about to have, is copied to. The selectors decide. They must not leave the namespace
// that is placed so far: its users would keep a copy that is no longer updated.
func StatusCopyOf(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) StatusCopy {
	spec := placement.GetSpec()
	if placement.GetNamespace() != "" || spec.StatusReportingScope != v1beta1.StatusReportingScopeNamespaceAccessible {
		return StatusCopy{}
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
		return StatusCopy{Namespace: placed, Mistake: wrong[0].Detail}
	}
	external := spec.Strategy.Type == v1beta1.RolloutStrategyTypeExternal
	return StatusCopy{Namespace: wanted, Absent: placed == "" && !external}
}

// CopiedStatus is the content of the copy of a status.
func CopiedStatus(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) v1beta1.PlacementStatus {
	out := *status.DeepCopy()
	kind := placement.ConditionType(v1beta1.ConditionStatusSynced)
	out.Conditions = slices.DeleteFunc(out.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
	return out
}

// Copyable is whether a status has conditions yet that can be copied.
func Copyable(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) bool {
	return meta.FindStatusCondition(status.Conditions, placement.ConditionType(v1beta1.ConditionScheduled)) != nil
}

// StatusSynced sets in a status whether its copy in namespace is up to date. failure is why it is not, for the user; empty if it is. The
// condition is of the generation that the status is about.
func StatusSynced(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus, namespace, failure string, now metav1.Time) {
	kind := placement.ConditionType(v1beta1.ConditionStatusSynced)
	scheduled := meta.FindStatusCondition(status.Conditions, placement.ConditionType(v1beta1.ConditionScheduled))
	if scheduled == nil {
		return
	}
	synced := yes(scheduled.ObservedGeneration, kind, v1beta1.ReasonStatusSyncSucceeded,
		fmt.Sprintf("Status copied to ClusterResourcePlacementStatus %s/%s", namespace, placement.GetName()))
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
