// Package defaults fills in what a ClusterResourcePlacement leaves out and its schema cannot default, because it
// depends on other fields or lies in what is absent itself.
package defaults

import (
	"cmp"
	"reflect"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// object is a decoded JSON object. Fields that this release does not know stay in it.
type object = map[string]any

// Placement completes the JSON of a ClusterResourcePlacement. What has another form than the schema's is left to its
// validation.
func Placement(placement object) {
	spec, ok := placement["spec"].(object)
	if !ok {
		return
	}
	set(spec, "revisionHistoryLimit", int64(10))
	if policy := child(spec, "policy"); policy != nil {
		set(policy, "placementType", string(v1beta1.PlacementTypePickAll))
		each(policy, "topologySpreadConstraints", func(constraint object) {
			set(constraint, "maxSkew", int64(1))
			set(constraint, "whenUnsatisfiable", "DoNotSchedule")
		})
		each(policy, "tolerations", func(toleration object) { set(toleration, "operator", "Equal") })
	}
	if strategy := child(spec, "strategy"); strategy != nil {
		set(strategy, "type", string(v1beta1.RolloutStrategyTypeRollingUpdate))
		if strategy["type"] == string(v1beta1.RolloutStrategyTypeRollingUpdate) {
			if rolling := child(strategy, "rollingUpdate"); rolling != nil {
				set(rolling, "maxUnavailable", "25%")
				set(rolling, "maxSurge", "25%")
				set(rolling, "unavailablePeriodSeconds", int64(60))
			}
		}
		if apply := child(strategy, "applyStrategy"); apply != nil {
			applyStrategy(apply)
		}
	}
}

func applyStrategy(apply object) {
	kind, _ := apply["type"].(string)
	strategy := (&v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyType(kind)}).WithDefaults()
	set(apply, "type", string(strategy.Type))
	set(apply, "comparisonOption", string(strategy.ComparisonOption))
	set(apply, "whenToApply", string(strategy.WhenToApply))
	set(apply, "whenToTakeOver", string(strategy.WhenToTakeOver))
	if config := strategy.ServerSideApplyConfig; config != nil {
		if server := child(apply, "serverSideApplyConfig"); server != nil {
			set(server, "force", config.ForceConflicts)
		}
	}
}

// DropUnused removes what Placement filled in for a type that an update of the placement from old leaves: validation
// refuses it for the new type, and neither a merge patch nor an apply of a manifest without it removes it. What the
// update itself changes stays, for validation to refuse.
func DropUnused(placement, old object) {
	is, was := nested(placement, "spec", "strategy"), nested(old, "spec", "strategy")
	leave(is, was, v1beta1.RolloutStrategyTypeRollingUpdate, v1beta1.RolloutStrategyTypeRollingUpdate, "rollingUpdate")
	leave(nested(is, "applyStrategy"), nested(was, "applyStrategy"), v1beta1.ApplyStrategyTypeServerSideApply, v1beta1.ApplyStrategyTypeClientSideApply, "serverSideApplyConfig")
}

// leave removes a field that belongs to the type only, if an update leaves that type and does not change the field. An
// object without a type has the standard one.
func leave[T ~string](is, was object, only, standard T, field string) {
	kind := func(o object) T {
		text, _ := o["type"].(string)
		return cmp.Or(T(text), standard)
	}
	if kind(was) == only && kind(is) != only && reflect.DeepEqual(is[field], was[field]) {
		delete(is, field)
	}
}

// nested returns the object at a path, or nil.
func nested(in object, path ...string) object {
	for _, field := range path {
		in, _ = in[field].(object)
	}
	return in
}

// set gives a field a value unless it has one. Null is none.
func set(in object, field string, value any) {
	if in[field] == nil || in[field] == "" {
		in[field] = value
	}
}

// child returns the object in a field, and makes an empty one where there is none; nil if there is something else.
func child(in object, field string) object {
	if in[field] == nil {
		in[field] = object{}
	}
	out, _ := in[field].(object)
	return out
}

func each(in object, field string, do func(object)) {
	list, _ := in[field].([]any)
	for _, item := range list {
		if o, ok := item.(object); ok {
			do(o)
		}
	}
}
