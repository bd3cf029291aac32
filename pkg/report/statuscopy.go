package report

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// StatusCopy is where the status of a placement is copied.
type StatusCopy struct {
	// Namespace is the namespace of the copy; empty if the placement requests none, or if its selectors do not name
	// the namespace.
	Namespace string
	// Absent is whether that namespace does not exist on the hub.
	Absent bool
	// Mistake is why the selectors do not allow a copy, for the user. Namespace is then the placed one.
	Mistake string
}

// StatusCopyOf returns where status, the new status of a placement, is copied. The selectors determine the namespace.
// It is a mistake if they no longer select the placed namespace: its users would keep a copy that is no longer
// updated.
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

// CopiedStatus returns the content of the copy of a status.
func CopiedStatus(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) v1beta1.PlacementStatus {
	out := *status.DeepCopy()
	kind := placement.ConditionType(v1beta1.ConditionStatusSynced)
	out.Conditions = slices.DeleteFunc(out.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
	return out
}

// Copyable reports whether a status has the conditions that a copy needs.
func Copyable(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) bool {
	return meta.FindStatusCondition(status.Conditions, placement.ConditionType(v1beta1.ConditionScheduled)) != nil
}

// StatusSynced sets the condition in a status that reports whether its copy in namespace is up to date. failure is why
// it is not, for the user; empty if it is. The condition has the observed generation of the status.
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
