// Package health decides whether an object is available: by the rule in its annotation, which is an expression in the
// Common Expression Language or the convention by which controllers report conditions, and without one by the rule of
// its kind. An object comes in as a value; its state comes out, with a reason that its owner can act on. pkg/apply and
// the member's applier use it.
//
// To add the rule of a kind, add a row to checks (or to data) in kinds.go, to the table of docs/availability.md and to
// that of TestStates.
package health

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// State is the availability of an object.
type State string

// The states.
const (
	Available State = "Available"
	NotYet    State = "NotYet"
	// Untracked objects are of kinds without a rule.
	Untracked State = "Untracked"
)

const notObserved = "Its controller on the member cluster has not seen the latest change yet"

// Tracked reports whether the availability of an object depends on its status.
func Tracked(obj *unstructured.Unstructured) bool {
	return checks[obj.GroupVersionKind()] != nil || Rule(obj) != ""
}

// Rule is the availability rule of the object's owner; empty if there is none. Secrets are available when they exist:
// the result of a rule could reveal their contents.
func Rule(obj *unstructured.Unstructured) string {
	if obj.GroupVersionKind() == secret {
		return ""
	}
	return obj.GetAnnotations()[contract.AnnotationAvailableWhen]
}

// Of returns the state of an applied object, and why it is NotYet available. The reason does not change while the
// object makes progress, so that progress alone changes no status.
func Of(obj *unstructured.Unstructured, rules *Rules) (State, string) {
	gvk := obj.GroupVersionKind()
	if rule := Rule(obj); rule != "" {
		return ruled(obj, rule, rules)
	}
	if data[gvk] {
		return Available, ""
	}
	if check := checks[gvk]; check != nil {
		return check(obj)
	}
	return Untracked, ""
}

// ruled judges by the rule of the object's owner. A status of an earlier generation does not count.
func ruled(obj *unstructured.Unstructured, rule string, rules *Rules) (State, string) {
	ok, why := false, notObserved
	if rule == contract.AvailableByConditions {
		ok, why = convention(obj)
	} else if current, _ := observed(obj); current {
		var err error
		ok, err = rules.holds(rule, obj.Object)
		why = fmt.Sprintf("The rule in its annotation %s is not fulfilled yet", contract.AnnotationAvailableWhen)
		if err != nil {
			why = fmt.Sprintf("The rule in its annotation %s %v; correct it on the hub, and where a field may be missing, "+
				"test has(object.field) first", contract.AnnotationAvailableWhen, err)
		}
	}
	if ok {
		return Available, ""
	}
	if obj.GroupVersionKind() == job {
		why += because(Cause(obj, "Failed", "True"))
	}
	return NotYet, why
}
