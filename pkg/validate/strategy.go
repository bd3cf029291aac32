package validate

import (
	"errors"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func strategy(s v1beta1.RolloutStrategy, path *field.Path) field.ErrorList {
	wrong := RollingUpdate(s.RollingUpdate, path.Child("rollingUpdate"))
	if s.Type == v1beta1.RolloutStrategyTypeExternal && s.RollingUpdate != nil {
		wrong = append(wrong, field.Forbidden(path.Child("rollingUpdate"), "update runs move the clusters of a placement of strategy type "+
			"External; remove it, and set limits in the update strategy"))
	}
	if a := s.ApplyStrategy; a != nil && a.ServerSideApplyConfig != nil && a.Type != v1beta1.ApplyStrategyTypeServerSideApply {
		wrong = append(wrong, field.Forbidden(path.Child("applyStrategy", "serverSideApplyConfig"),
			"it is for apply strategy type ServerSideApply only; remove it, or set the type"))
	}
	return wrong
}

// RollingUpdate returns which limits of a rolling update cannot be read; nil has none. Their ranges are the schema's.
func RollingUpdate(config *v1beta1.RollingUpdateConfig, path *field.Path) (wrong field.ErrorList) {
	if config == nil {
		return nil
	}
	for _, limit := range []struct {
		name  string
		value *intstr.IntOrString
	}{{"maxUnavailable", config.MaxUnavailable}, {"maxSurge", config.MaxSurge}} {
		if limit.value != nil && isNumber(limit.value.StrVal) {
			continue // the API takes a number as text here
		}
		wrong = append(wrong, share(limit.value, path.Child(limit.name), "")...)
	}
	if config.FailurePolicy != nil {
		wrong = append(wrong, share(config.FailurePolicy.FailureBudget, path.Child("failurePolicy", "failureBudget"), "")...)
	}
	return wrong
}

// isNumber reports whether text is a number, however great.
func isNumber(text string) bool {
	_, err := strconv.ParseInt(text, 10, 32)
	return err == nil || errors.Is(err, strconv.ErrRange)
}

// share refuses what is neither a number nor a percentage, with a detail that begins with prefix; nil is left out.
func share(value *intstr.IntOrString, path *field.Path, prefix string) field.ErrorList {
	if value == nil {
		return nil
	}
	if _, err := intstr.GetScaledValueFromIntOrPercent(value, 1, true); err != nil {
		return field.ErrorList{field.Invalid(path, value.String(),
			fmt.Sprintf("%s%q is neither a number nor a percentage; set it to one, such as 2 or 25%%", prefix, value.String()))}
	}
	return nil
}

// ReportBack returns why the status of the objects of a placement that asks for it cannot be carried back to the
// objects of the hub: they may be on several clusters. Users may store such a spec; nothing is carried back.
func ReportBack(spec *v1beta1.PlacementSpec) field.ErrorList {
	if p := spec.Policy; p != nil {
		fixed := p.PlacementType == v1beta1.PlacementTypePickFixed && len(p.ClusterNames) == 1
		best := p.PlacementType == v1beta1.PlacementTypePickN && p.NumberOfClusters != nil && *p.NumberOfClusters == 1
		if fixed || best {
			return nil
		}
	}
	return field.ErrorList{field.Invalid(specPath.Child("strategy", "reportBackStrategy", "destination"), v1beta1.ReportBackDestinationOriginalResource,
		"status can be carried back from one cluster only: the policy must be of type PickFixed with one name, "+
			"or PickN with numberOfClusters 1; or set strategy.reportBackStrategy.destination to WorkAPI")}
}
