package health

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The conditions of the convention. A controller reports at least one of the good ones; the bad ones overrule them while True.
var (
	good = []string{"Available", "Ready"}
	bad  = []string{"Stalled", "Reconciling"}
)

// observed reports whether the status of an object is of the object's generation, as far as it has one: dated is whether it has.
func observed(obj *unstructured.Unstructured) (current, dated bool) {
	seen, dated := generation(obj.Object, "status", "observedGeneration")
	return !dated || seen == obj.GetGeneration(), dated
}

// convention judges an object by the convention that most controllers of custom resources follow: a condition Available or Ready (all of
// them that there are) must be True, none of Stalled and Reconciling may be, and the object's status or its condition must have observed
// the current generation, for else it may be of the one before. why is for people, and does not change while the object makes progress
// within one condition.
func convention(obj *unstructured.Unstructured) (ok bool, why string) {
	current, statusDated := observed(obj)
	if !current {
		return false, notObserved
	}
	conditions := byType(obj)
	for _, kind := range bad {
		if c, there := conditions[kind]; there && c["status"] == "True" {
			return false, fmt.Sprintf("Its condition %s is True: %s", kind, reason(c))
		}
	}
	found := false
	for _, kind := range good {
		c, there := conditions[kind]
		if !there {
			continue
		}
		found = true
		seen, dated := generation(c, "observedGeneration")
		switch {
		case dated && seen != obj.GetGeneration():
			return false, notObserved
		case c["status"] != "True":
			return false, fmt.Sprintf("Its condition %s is %v: %s", kind, c["status"], reason(c))
		case !dated && !statusDated && obj.GetGeneration() > 1:
			return false, fmt.Sprintf("Its condition %s is True, but nothing in its status says of which generation; "+
				"if its controller never says, use an expression instead of the convention", kind)
		}
	}
	if !found {
		return false, "It has neither a condition Available nor a condition Ready yet"
	}
	return true, ""
}

func generation(in map[string]any, path ...string) (n int64, found bool) {
	n, found, err := unstructured.NestedInt64(in, path...)
	return n, found && err == nil
}

// Condition is one of the conditions in the status of an object, nil if it is not there.
func Condition(obj *unstructured.Unstructured, kind string) map[string]any { return byType(obj)[kind] }

// Cause is what a controller gives as the cause of a condition that has this status, which it has only for a failure; empty if it has
// another. Such messages do not change while nothing else does.
func Cause(obj *unstructured.Unstructured, kind, status string) string {
	const most = 512
	c := Condition(obj, kind)
	if c["status"] != status {
		return ""
	}
	words := fmt.Sprint(c["reason"])
	if message, ok := c["message"].(string); ok && message != "" {
		words += ", " + message
	}
	if len(words) > most {
		words = strings.ToValidUTF8(words[:most], "") + "..."
	}
	return words
}

// because is a cause behind the sentence that it explains.
func because(cause string) string {
	if cause == "" {
		return ""
	}
	return ": " + cause
}

func byType(obj *unstructured.Unstructured) map[string]map[string]any {
	list, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	out := make(map[string]map[string]any, len(list))
	for _, item := range list {
		if c, ok := item.(map[string]any); ok {
			if kind, ok := c["type"].(string); ok {
				out[kind] = c
			}
		}
	}
	return out
}

// reason is what a condition gives as its reason. Its message may count progress, so it stays on the object.
func reason(c map[string]any) string {
	if text, ok := c["reason"].(string); ok && text != "" {
		return text
	}
	return "it gives no reason"
}
