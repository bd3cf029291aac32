// Package report turns facts into conditions and lists: what a member did to manifests into a Work's status, Works into a binding's,
// bindings into a placement's. It is the only place where conditions are built. Facts come in as values, a new status comes out:
// the same facts give the same bytes, so lists are sorted before they are cut and messages hold neither times nor passing errors.
package report

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/pkg/brief"
)

// Patience is how long a status that only reports progress is held back. A status that is settled by then is written once instead of
// twice; nothing but the report waits for it.
const Patience = time.Second

// Hold is how long a status may be held back: Patience, or zero for one that is settled.
func Hold(settled bool) time.Duration {
	if settled {
		return 0
	}
	return Patience
}

// MostListed is how many failed, drifted or diffed objects one cluster's lists hold at most.
const MostListed = 100

func condition(generation int64, kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: generation}
}

func yes(generation int64, kind, reason, message string) metav1.Condition {
	return condition(generation, kind, metav1.ConditionTrue, reason, message)
}

func no(generation int64, kind, reason, message string) metav1.Condition {
	return condition(generation, kind, metav1.ConditionFalse, reason, message)
}

func unknown(generation int64, kind, reason, message string) metav1.Condition {
	return condition(generation, kind, metav1.ConditionUnknown, reason, message)
}

// merge returns wanted, in its order, with the transition times of old for every condition whose status did not change,
// and now for the others.
func merge(old, wanted []metav1.Condition, now metav1.Time) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(wanted))
	for _, c := range wanted {
		c.LastTransitionTime = now
		if was := meta.FindStatusCondition(old, c.Type); was != nil && was.Status == c.Status && !was.LastTransitionTime.IsZero() {
			c.LastTransitionTime = was.LastTransitionTime
		}
		out = append(out, c)
	}
	return out
}

// few names the first three of names, and how many more there are.
func few(names []string) string { return brief.List(names, 3) }
