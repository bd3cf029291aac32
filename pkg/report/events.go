package report

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// News is an event for the owner of an object, recorded once.
type News struct {
	Warning         bool
	Reason, Message string
}

// Reasons of events on placements. milestoneTexts have those in between; a warning has the reason of its condition.
const (
	eventScheduled = "PlacementScheduled"
	eventCompleted = "PlacementRolloutCompleted"
)

// maxEvent is how many bytes the message of an event may have.
const maxEvent = 1000

// PlacementNews returns the events for the owner of a placement whose status changes to status. For success it is one
// event, the furthest milestone reached: it implies the others, and each event is a write. For failures it is every
// one that did not fail before in the same way.
func PlacementNews(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) []News {
	n := placementNews{placement: placement, old: placement.GetStatus(), status: status}
	var out []News
	if good := n.reached(); good != nil {
		out = append(out, *good)
	}
	if back := n.back(); back != nil {
		out = append(out, *back)
	}
	if kept := n.kept(); kept != nil {
		out = append(out, *kept)
	}
	for _, kind := range []string{v1beta1.ConditionScheduled, v1beta1.ConditionResourcesFit, v1beta1.ConditionResourcesPermitted,
		v1beta1.ConditionStatusSynced, v1beta1.ConditionWithinFailureBudget, v1beta1.ConditionRolledBack} {
		if bad := n.turned(placement.ConditionType(kind)); bad != nil {
			out = append(out, *bad)
		}
	}
	for _, s := range milestones(placement.GetSpec()) {
		if bad := n.failed(s); bad != nil {
			out = append(out, *bad)
		}
	}
	if bad := n.unavailable(); bad != nil {
		out = append(out, *bad)
	}
	for i := range out {
		out[i].Message = cut(out[i].Message, maxEvent)
	}
	return out
}

type placementNews struct {
	placement   v1beta1.PlacementObject
	old, status *v1beta1.PlacementStatus
}

// reached returns the event for the furthest milestone that is newly reached.
func (n placementNews) reached() *News {
	generation := n.placement.GetGeneration()
	var out *News
	newly := func(kind, event string) (is bool) {
		c := delivery.Current(n.status.Conditions, kind, generation)
		if c == nil || c.Status != metav1.ConditionTrue {
			return false
		}
		if !delivery.IsTrue(n.old.Conditions, kind, generation) && event != "" {
			out = &News{Reason: event, Message: c.Message}
		}
		return true
	}
	scheduled := newly(n.placement.ConditionType(v1beta1.ConditionScheduled), eventScheduled)
	all := milestones(n.placement.GetSpec())
	for i, s := range all {
		event := s.event
		if scheduled && i == len(all)-1 {
			event = eventCompleted
		}
		if !newly(n.placement.ConditionType(s.name), event) {
			break
		}
	}
	return out
}

// back returns the event for the end of a rollback: every cluster is on a healthy revision again.
func (n placementNews) back() *News {
	kind := n.placement.ConditionType(v1beta1.ConditionRolledBack)
	c := meta.FindStatusCondition(n.status.Conditions, kind)
	if c == nil || c.Status != metav1.ConditionTrue || meta.IsStatusConditionTrue(n.old.Conditions, kind) {
		return nil
	}
	return &News{Reason: c.Reason, Message: c.Message}
}

// turned returns the event for a condition that newly is False, or False for another reason.
func (n placementNews) turned(kind string) *News {
	c, was := meta.FindStatusCondition(n.status.Conditions, kind), meta.FindStatusCondition(n.old.Conditions, kind)
	if c == nil || c.Status != metav1.ConditionFalse || was != nil && was.Status == c.Status && was.Reason == c.Reason {
		return nil
	}
	return &News{Warning: true, Reason: c.Reason, Message: c.Message}
}

// unavailable returns the event for content that was available everywhere and no longer is.
func (n placementNews) unavailable() *News {
	kind := n.placement.ConditionType(v1beta1.ConditionAvailable)
	if n.old.ObservedResourceIndex != n.status.ObservedResourceIndex || !lost(n.old.Conditions, n.status.Conditions, kind) {
		return nil
	}
	c := meta.FindStatusCondition(n.status.Conditions, kind)
	return &News{Warning: true, Reason: c.Reason, Message: c.Message}
}

// failed returns the event for a milestone at which some cluster fails and none failed before.
func (n placementNews) failed(s milestone) *News {
	at := func(entry v1beta1.PerClusterPlacementStatus) bool {
		return failing(&entry) && entry.Conditions[len(entry.Conditions)-1].Type == s.name && entry.ClusterName != ""
	}
	if slices.ContainsFunc(n.old.PerClusterPlacementStatuses, at) {
		return nil
	}
	var clusters []string
	cause, all := "", 0
	for _, entry := range n.status.PerClusterPlacementStatuses {
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
	message := fmt.Sprintf("%s: %s; on %s: %s", ofClusters(s.isNot, len(clusters), all), few(clusters), clusters[0], cause)
	return &News{Warning: true, Reason: s.bad, Message: message}
}
