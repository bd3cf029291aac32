package report

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

func TestKeptNote(t *testing.T) {
	named := func(names ...string) []selection.LeftOut {
		var out []selection.LeftOut
		for _, name := range names {
			out = append(out, selection.LeftOut{What: name, Why: "why"})
		}
		return out
	}
	for want, given := range map[string][]selection.LeftOut{
		"":                             nil,
		"; left out: a (why), b (why)": named("b", "a", "b"),
		"; left out: a (why), b (why), c (why) and 1 more": named("d", "c", "b", "a"),
	} {
		if got := leftOutNote(given); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The owner of a placement gets one event for left out objects, and another if they change.
func TestLeftOutObjectsAreRecordedOnce(t *testing.T) {
	status := func(message string) *v1beta1.PlacementStatus {
		return &v1beta1.PlacementStatus{Conditions: []metav1.Condition{{
			Type: "ClusterResourcePlacementScheduled", Status: metav1.ConditionTrue, Message: message,
		}}}
	}
	for name, tc := range map[string]struct{ old, new, event string }{
		"nothing":             {old: "Found 1 cluster", new: "Found 2 clusters"},
		"new":                 {old: "Found 1 cluster", new: "Found 1 cluster; left out: a (why)", event: "Selected and not placed: a (why)"},
		"known":               {old: "x; left out: a (why)", new: "y; left out: a (why); objects are not removed yet from m1"},
		"more":                {old: "x; left out: a (why)", new: "x; left out: a (why), b (why)", event: "Selected and not placed: a (why), b (why)"},
		"nothing is left out": {old: "x; left out: a (why)", new: "x"},
	} {
		placement := &v1beta1.ClusterResourcePlacement{Status: *status(tc.old)}
		event := ""
		for _, n := range PlacementEvents(placement, status(tc.new)) {
			if n.Reason == "ResourcesLeftOut" {
				event = n.Message
			}
		}
		if event != tc.event {
			t.Errorf("%s: event %q, want %q", name, event, tc.event)
		}
	}
}
