package report

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Event is an event on an object, recorded once.
type Event struct {
	Warning         bool
	Reason, Message string
}

// Reasons of events on placements; milestoneOf has the others. A warning has the reason of its condition.
const (
	eventScheduled = "PlacementScheduled"
	eventCompleted = "PlacementRolloutCompleted"
)

// maxEvent is the most bytes in the message of an event.
const maxEvent = 1000

// PlacementEvents returns the events on a placement whose status changes to status. For success it is one event, for
// the furthest milestone reached: it implies the others, and each event is a write. For failures there is one event
// for each condition that has not failed before in the same way.
func PlacementEvents(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) []Event {
	change := placementChange{placement: placement, old: placement.GetStatus(), status: status}
	var out []Event
	if good := change.reached(); good != nil {
		out = append(out, *good)
	}
	if back := change.back(); back != nil {
		out = append(out, *back)
	}
	if leftOut := change.newlyLeftOut(); leftOut != nil {
		out = append(out, *leftOut)
	}
	for _, kind := range []string{v1beta1.ConditionScheduled, v1beta1.ConditionResourcesFit, v1beta1.ConditionResourcesPermitted,
		v1beta1.ConditionStatusSynced, v1beta1.ConditionWithinFailureBudget, v1beta1.ConditionRolledBack, v1beta1.ConditionFailoverComplete,
		v1beta1.ConditionReplicasDivided} {
		if bad := change.turned(placement.ConditionType(kind)); bad != nil {
			out = append(out, *bad)
		}
	}
	if held := change.newlyHeld(); held != nil {
		out = append(out, *held)
	}
	for _, s := range milestones(placement.GetSpec()) {
		if bad := change.failed(s); bad != nil {
			out = append(out, *bad)
		}
	}
	if bad := change.unavailable(); bad != nil {
		out = append(out, *bad)
	}
	for i := range out {
		out[i].Message = cut(out[i].Message, maxEvent)
	}
	return out
}

// placementChange is a change of a placement's status.
type placementChange struct {
	placement   v1beta1.PlacementObject
	old, status *v1beta1.PlacementStatus
}

// reached returns the event for the furthest milestone that is newly reached.
func (change placementChange) reached() *Event {
	generation := change.placement.GetGeneration()
	var out *Event
	newly := func(kind, event string) (is bool) {
		c := delivery.Current(change.status.Conditions, kind, generation)
		if c == nil || c.Status != metav1.ConditionTrue {
			return false
		}
		if !delivery.IsTrue(change.old.Conditions, kind, generation) && event != "" {
			out = &Event{Reason: event, Message: c.Message}
		}
		return true
	}
	scheduled := newly(change.placement.ConditionType(v1beta1.ConditionScheduled), eventScheduled)
	all := milestones(change.placement.GetSpec())
	for i, s := range all {
		event := s.event
		if scheduled && i == len(all)-1 {
			event = eventCompleted
		}
		if !newly(change.placement.ConditionType(s.name), event) {
			break
		}
	}
	return out
}

// back returns the event for the end of a rollback: every cluster is on a healthy revision again.
func (change placementChange) back() *Event {
	kind := change.placement.ConditionType(v1beta1.ConditionRolledBack)
	c := meta.FindStatusCondition(change.status.Conditions, kind)
	if c == nil || c.Status != metav1.ConditionTrue || meta.IsStatusConditionTrue(change.old.Conditions, kind) {
		return nil
	}
	return &Event{Reason: c.Reason, Message: c.Message}
}

// turned returns the event for a condition that newly is False, or False for another reason.
func (change placementChange) turned(kind string) *Event {
	c, was := meta.FindStatusCondition(change.status.Conditions, kind), meta.FindStatusCondition(change.old.Conditions, kind)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason == v1beta1.ReasonReplicasMoving || c.Reason == v1beta1.ReasonDivisionPending || was != nil && was.Status == c.Status && was.Reason == c.Reason {
		return nil
	}
	return &Event{Warning: true, Reason: c.Reason, Message: c.Message}
}

// newlyHeld returns the event for a removal that is held from now on.
func (change placementChange) newlyHeld() *Event {
	kind := change.placement.ConditionType(v1beta1.ConditionRemovalHeld)
	c := meta.FindStatusCondition(change.status.Conditions, kind)
	if c == nil || c.Status != metav1.ConditionTrue || meta.IsStatusConditionTrue(change.old.Conditions, kind) {
		return nil
	}
	return &Event{Warning: true, Reason: v1beta1.ConditionRemovalHeld, Message: c.Message}
}

// unavailable returns the event for content that was available everywhere and no longer is.
func (change placementChange) unavailable() *Event {
	kind := change.placement.ConditionType(v1beta1.ConditionAvailable)
	if change.old.ObservedResourceIndex != change.status.ObservedResourceIndex || !lost(change.old.Conditions, change.status.Conditions, kind) {
		return nil
	}
	c := meta.FindStatusCondition(change.status.Conditions, kind)
	return &Event{Warning: true, Reason: c.Reason, Message: c.Message}
}

// failed returns the event for a milestone at which some cluster fails and none failed before.
func (change placementChange) failed(s milestone) *Event {
	at := func(entry v1beta1.PerClusterPlacementStatus) bool {
		return failing(&entry) && entry.Conditions[len(entry.Conditions)-1].Type == s.name && entry.ClusterName != ""
	}
	if slices.ContainsFunc(change.old.PerClusterPlacementStatuses, at) {
		return nil
	}
	var clusters []string
	cause, all := "", 0
	for _, entry := range change.status.PerClusterPlacementStatuses {
		if entry.ClusterName != "" {
			all++
		}
		if at(entry) {
			if clusters = append(clusters, entry.ClusterName); len(clusters) == 1 {
				cause = entry.Conditions[len(entry.Conditions)-1].Message
			}
		}
	}
	if len(clusters) == 0 {
		return nil
	}
	message := fmt.Sprintf("%s: %s; on %s: %s", ofClusters(s.isNot, len(clusters), all), brief.List(clusters, mostNamed), clusters[0], cause)
	return &Event{Warning: true, Reason: s.bad, Message: message}
}
