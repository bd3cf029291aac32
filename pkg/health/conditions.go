package health

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The conditions of the convention. A controller reports at least one of the good ones; the bad ones overrule them while True.
var (
	good = []string{"Available", "Ready"}
	bad  = []string{"Stalled", "Reconciling"}
)

const notObserved = "Its controller on the member cluster has not seen the latest change yet"

// Observed says whether the status of an object, if it tells at all, speaks of the object's generation. told is whether it does tell.
func Observed(obj *unstructured.Unstructured) (current, told bool) {
	seen, told := observed(obj.Object, "status", "observedGeneration")
	return !told || seen == obj.GetGeneration(), told
}

// Conditions judges an object by the convention that most controllers of custom resources follow: a condition Available or Ready (all of
// them that there are) must be True, none of Stalled and Reconciling may be, and the object's status or its condition must say that the
// current generation was observed, for else it may speak of the one before. why is for people, and does not change while the object
// makes progress within one condition.
func Conditions(obj *unstructured.Unstructured) (ok bool, why string) {
	current, told := Observed(obj)
	if !current {
		return false, notObserved
	}
	conditions := byType(obj)
	for _, kind := range bad {
		if c, there := conditions[kind]; there && c["status"] == "True" {
			return false, fmt.Sprintf("Its condition %s is True: %s", kind, said(c))
		}
	}
	found := false
	for _, kind := range good {
		c, there := conditions[kind]
		if !there {
			continue
		}
		found = true
		seen, dated := observed(c, "observedGeneration")
		switch {
		case dated && seen != obj.GetGeneration():
			return false, notObserved
		case c["status"] != "True":
			return false, fmt.Sprintf("Its condition %s is %v: %s", kind, c["status"], said(c))
		case !dated && !told && obj.GetGeneration() > 1:
			return false, fmt.Sprintf("Its condition %s is True, but nothing in its status says of which generation; "+
				"if its controller never says, use an expression instead of the convention", kind)
		}
	}
	if !found {
		return false, "It has neither a condition Available nor a condition Ready yet"
	}
	return true, ""
}

func observed(in map[string]any, path ...string) (generation int64, told bool) {
	n, told, err := unstructured.NestedInt64(in, path...)
	return n, told && err == nil
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

// said is what a condition gives as its reason. Its message may count progress, so it stays on the object.
func said(c map[string]any) string {
	if reason, ok := c["reason"].(string); ok && reason != "" {
		return reason
	}
	return "it gives no reason"
}
