package health

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The conditions of the convention. A controller reports at least one of the good ones; a bad one that is True
// overrules them.
var (
	good = []string{"Available", "Ready"}
	bad  = []string{"Stalled", "Reconciling"}
)

// observed reports whether the status of an object is about the object's generation; true if it has none. dated is
// whether it has one.
func observed(obj *unstructured.Unstructured) (current, dated bool) {
	seen, dated := generation(obj.Object, "status", "observedGeneration")
	return !dated || seen == obj.GetGeneration(), dated
}

// convention judges an object by the convention that most controllers of custom resources follow: its conditions
// Available and Ready (those that exist, at least one) must be True, and Stalled and Reconciling must not be; the
// object's status or the condition must have observed the current generation, otherwise it may be about the previous
// one. why is for users, and does not change while the object makes progress within one condition.
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
			return false, fmt.Sprintf("Its condition %s is True, but its status does not show for which generation; "+
				"if its controller never reports one, use an expression instead of the convention", kind)
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

// Condition is one of the conditions in the status of an object; nil if it does not exist.
func Condition(obj *unstructured.Unstructured, kind string) map[string]any { return byType(obj)[kind] }

// Cause is a controller's cause for a condition with this status, which the condition has only on a failure; empty if
// it has another status. Such messages do not change while everything else stays.
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

// because is the suffix of a message that adds its cause.
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

// reason is the reason of a condition. Its message may count progress, so it is not used.
func reason(c map[string]any) string {
	if text, ok := c["reason"].(string); ok && text != "" {
		return text
	}
	return "no reason given"
}
