package report

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

// eventLeftOut is the reason of the event for selected objects that stay on the hub.
const eventLeftOut = "ResourcesLeftOut"

// leftOut starts the list of objects that stay on the hub in the message of a placement's first condition. There is no
// separate condition: users of this API treat every condition that is not True as a failure, and it is no failure that
// an object which every cluster creates itself is not placed.
const leftOut = "; left out: "

// leftOutNote is the suffix of the first condition's message; empty if no object is left out.
func leftOutNote(objects []selection.LeftOut) string {
	if len(objects) == 0 {
		return ""
	}
	names := make([]string, len(objects))
	for i, o := range objects {
		names[i] = o.What + " (" + o.Why + ")"
	}
	slices.Sort(names)
	return leftOut + brief.List(slices.Compact(names), mostNamed)
}

// newlyLeftOut returns the event for objects that are newly left out; nil if there are none.
func (change placementChange) newlyLeftOut() *Event {
	now := leftOutOf(change.placement, change.status)
	if now == "" || now == leftOutOf(change.placement, change.old) {
		return nil
	}
	return &Event{Warning: true, Reason: eventLeftOut, Message: "Selected and not placed: " + now}
}

// leftOutOf returns the list of left out objects in a status.
func leftOutOf(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) string {
	c := meta.FindStatusCondition(status.Conditions, placement.ConditionType(v1beta1.ConditionScheduled))
	if c == nil {
		return ""
	}
	_, list, _ := strings.Cut(c.Message, leftOut)
	list, _, _ = strings.Cut(list, "; ")
	return list
}
