package validate

import (
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Eviction returns why a placement cannot be taken off any cluster, in the words of the contract; placement is the one
// that the eviction names. One that does not exist (nil) is no mistake when the eviction is created: it may be made
// after it.
func Eviction(placement v1beta1.PlacementObject) field.ErrorList {
	path := specPath.Child("placementName")
	switch {
	case placement == nil:
		return nil
	case leaving(placement):
		return field.ErrorList{field.Invalid(path, placement.GetName(), "Found deleting "+kindOf(placement)+" targeted by eviction")}
	case placementType(placement.GetSpec().Policy) == v1beta1.PlacementTypePickFixed:
		return field.ErrorList{field.Invalid(path, placement.GetName(),
			"Found "+kindOf(placement)+" with PickFixed placement type targeted by eviction")}
	}
	return nil
}

// DisruptionBudget returns what of a disruption budget the placement that it guards, nil for none, cannot have: one of
// type PickAll wants no number of clusters, which shares could be of.
func DisruptionBudget(budget *v1beta1.PlacementDisruptionBudgetSpec, placement v1beta1.PlacementObject) (wrong field.ErrorList) {
	if placement == nil || placementType(placement.GetSpec().Policy) != v1beta1.PlacementTypePickAll {
		return nil
	}
	if budget.MaxUnavailable != nil {
		wrong = append(wrong, field.Forbidden(specPath.Child("maxUnavailable"), kindOf(placement)+" "+placement.GetName()+
			" has placement type PickAll, which wants no number of clusters; set minAvailable to a number instead"))
	}
	if budget.MinAvailable != nil && budget.MinAvailable.Type == intstr.String {
		wrong = append(wrong, field.Invalid(specPath.Child("minAvailable"), budget.MinAvailable.String(), kindOf(placement)+" "+placement.GetName()+
			" has placement type PickAll, which wants no number of clusters; set it to a number"))
	}
	return wrong
}

// DisruptionBudgetUpdate returns why a budget must not be changed from old to budget. Metadata alone may be: agents
// write annotations.
func DisruptionBudgetUpdate(old, budget v1beta1.DisruptionBudgetObject, placement v1beta1.PlacementObject) field.ErrorList {
	if leaving(budget) || equality.Semantic.DeepEqual(old.GetSpec(), budget.GetSpec()) {
		return nil
	}
	return DisruptionBudget(budget.GetSpec(), placement)
}

func kindOf(p v1beta1.PlacementObject) string {
	if p.GetNamespace() == "" {
		return "ClusterResourcePlacement"
	}
	return "ResourcePlacement"
}
