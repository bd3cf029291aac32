// Package report turns facts into conditions and lists: the outcome of manifests on a member into a Work's status,
// Works into a binding's, bindings into a placement's. It is the only place where conditions are built. Facts come in
// as values, a new status comes out: the same facts give the same bytes, so lists are sorted before they are cut, and
// messages hold neither times nor transient errors.
package report

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Patience is how long the write of a status that only reports progress is delayed. If the outcome settles meanwhile,
// there is one write instead of two; nothing but the report waits for it.
const Patience = time.Second

// Hold is how long a status may be held back: Patience, or zero for one that is settled.
func Hold(settled bool) time.Duration {
	if settled {
		return 0
	}
	return Patience
}

// MostListed is the maximal number of failed, drifted or diffed objects in the lists of one cluster.
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

// merge returns wanted, in its order, with the transition times of old for every condition whose status did not
// change, and now for the others.
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

// mostNamed is how many clusters or objects a message names; it has the number of the others.
const mostNamed = 3
