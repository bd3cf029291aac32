package report

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// reasonsOf returns the reasons of events, those of warnings with "!".
func reasonsOf(events []Event) []string {
	var out []string
	for _, n := range events {
		if n.Warning {
			n.Reason = "!" + n.Reason
		}
		out = append(out, n.Reason)
	}
	return out
}

// Each event is recorded when it happens, and not again while it lasts.
func TestPlacementEventsAreRecordedOnce(t *testing.T) {
	placement := newPlacement(false)
	facts := PlacementFacts{Placement: placement, Latest: Snapshot{Name: "web-2-snapshot", Index: "2"}}
	failed := func(cluster string) *v1beta1.ClusterResourceBinding {
		b := bound(cluster, also(synced, "Applied=False NotAllWorkHaveBeenApplied")...)
		b.Status.FailedPlacements = make([]v1beta1.FailedResourcePlacement, 1)
		b.Status.Conditions[3].Message = "refused"
		return b
	}
	unavailable := bound("a", also(synced, "Applied=True AllWorkHaveBeenApplied", "Available=False NotAllWorkAreAvailable")...)
	both := decided(metav1.ConditionTrue, []string{"a", "b"}, nil)
	for _, step := range []struct {
		what     string
		policy   v1beta1.PolicySnapshotObject
		bindings []v1beta1.BindingObject
		want     []string
		message  string
	}{
		{what: "nothing yet"},
		{what: "too few clusters", policy: decided(metav1.ConditionFalse, []string{"a"}, []string{"x"}),
			want:    []string{"!SchedulingPolicyUnfulfilled"},
			message: "to see why, run: kubectl fleet explain placement web"},
		{what: "still too few", policy: decided(metav1.ConditionFalse, nil, []string{"y"})},
		{what: "enough", policy: both, bindings: []v1beta1.BindingObject{bound("a"), bound("b")}, want: []string{"PlacementScheduled"}},
		{what: "both have begun", policy: both, bindings: []v1beta1.BindingObject{bound("a", synced[:2]...), bound("b", synced[0])},
			want: []string{"PlacementRolloutStarted"}},
		{what: "one fails", policy: both, bindings: []v1beta1.BindingObject{bound("a", synced[:2]...), failed("b")},
			want: []string{"PlacementOverriddenSucceeded", "!ApplyFailed"}, message: "Not applied on 1 of 2 clusters: b; on b: refused"},
		{what: "the other, too", policy: both, bindings: []v1beta1.BindingObject{failed("a"), failed("b")},
			want: []string{"PlacementWorkSynchronized"}},
		{what: "what takes time is no failure", policy: both, bindings: []v1beta1.BindingObject{unavailable, bound("b", complete...)},
			want: []string{"PlacementApplied"}},
		{what: "complete", policy: both, bindings: []v1beta1.BindingObject{bound("a", complete...), bound("b", complete...)},
			want: []string{"PlacementRolloutCompleted"}},
		{what: "one is not available any more", policy: both, bindings: []v1beta1.BindingObject{unavailable, bound("b", complete...)},
			want: []string{"!ResourceNotAvailableYet"}},
		{what: "one fails again", policy: both, bindings: []v1beta1.BindingObject{failed("a"), bound("b", complete...)},
			want: []string{"!ApplyFailed"}},
	} {
		facts.Policy, facts.Bindings = step.policy, step.bindings
		status := Placement(facts, before).Status
		events := PlacementEvents(placement, &status)
		if !slices.Equal(reasonsOf(events), step.want) {
			t.Errorf("%s: events %v; want %v", step.what, reasonsOf(events), step.want)
		} else if step.message != "" && !strings.Contains(events[len(events)-1].Message, step.message) {
			t.Errorf("%s: %q; want %q in it", step.what, events[len(events)-1].Message, step.message)
		}
		*placement.GetStatus() = status
		if again := PlacementEvents(placement, &status); len(again) > 0 {
			t.Errorf("%s: events again: %v", step.what, again)
		}
	}

	// That new content is not available yet is no loss of the old.
	*placement.GetStatus() = Placement(PlacementFacts{Placement: placement, Policy: both, Latest: facts.Latest,
		Bindings: []v1beta1.BindingObject{bound("a", complete...), bound("b", complete...)}}, before).Status
	facts.Latest.Index, facts.Bindings = "3", []v1beta1.BindingObject{unavailable, bound("b", complete...)}
	update := Placement(facts, before)
	if events := PlacementEvents(placement, &update.Status); len(events) > 0 || update.Delay == 0 {
		t.Errorf("events %v about new content", reasonsOf(events))
	}

	refused := InvalidPlacement(placement, "no such kind", before)
	if got := reasonsOf(PlacementEvents(placement, &refused)); !slices.Equal(got, []string{"!InvalidResourceSelectors"}) {
		t.Errorf("events %v about selectors that are refused", got)
	}
	long := InvalidPlacement(placement, strings.Repeat("long ", 1000), before)
	if n := len(PlacementEvents(placement, &long)[0].Message); n > 1024 {
		t.Errorf("an event of %d bytes", n)
	}
	unsynced := *placement.GetStatus().DeepCopy()
	StatusSynced(placement, &unsynced, "app", "no such namespace", before)
	if got := reasonsOf(PlacementEvents(placement, &unsynced)); !slices.Equal(got, []string{"!StatusSyncFailed"}) {
		t.Errorf("events %v about a copy that cannot be made", got)
	}
}
