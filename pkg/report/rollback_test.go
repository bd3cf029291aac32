package report

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/rollout"
)

// A placement says what became of a rolling update that failed, as long as it has a policy, and its owner is told each
// of it once.
func TestRetreatOfAPlacement(t *testing.T) {
	const held = "RolloutStarted=False RolloutNotStartedYet"
	is := func(status metav1.ConditionStatus, reason string) string {
		return "RolledBack=" + string(status) + " " + reason
	}
	at := func(cluster, snapshot string, back bool, reported ...string) *v1beta1.ClusterResourceBinding {
		b := bound(cluster, reported...)
		b.Spec.ResourceSnapshotName = snapshot
		b.Status.LastHealthy = &v1beta1.Revision{ResourceSnapshotName: "web-1-snapshot"}
		mark := `{"to":{"resourceSnapshotName":"` + snapshot + `"},"at":"2029-01-01T00:00:00Z","before":{"resourceSnapshotName":"web-1-snapshot"}`
		if back {
			mark += `,"back":true`
		}
		b.Annotations = map[string]string{"kubernetes-fleet.io/changed-by-rolling-update": mark + "}"}
		return b
	}
	const old, bad = "web-1-snapshot", "web-2-snapshot"
	spent := rollout.Course{Spent: &rollout.Rejection{Of: 3, Count: 1, Failed: []rollout.Failure{{Cluster: "b"}}}}
	for _, tc := range []struct {
		name     string
		action   v1beta1.FailureAction
		course   rollout.Course
		bindings []*v1beta1.ClusterResourceBinding
		want     []string
		events   []string
		part     string
	}{
		{name: "nothing failed", action: "Rollback", bindings: []*v1beta1.ClusterResourceBinding{at("a", bad, false, complete...)}},
		{name: "no policy", course: spent, bindings: []*v1beta1.ClusterResourceBinding{at("a", bad, false, complete...)}},
		{
			name: "Stop", action: "Stop", course: spent, want: []string{"WithinFailureBudget=False FailureBudgetSpent"}, part: "1 of 3 clusters failed: b",
			bindings: []*v1beta1.ClusterResourceBinding{at("a", bad, false, complete...)}, events: []string{"FailureBudgetSpent"},
		},
		{
			name: "on the way", action: "Rollback", course: spent,
			want: []string{"WithinFailureBudget=False FailureBudgetSpent", is("Unknown", "RollbackStarted")}, part: "1 of 3 clusters; rolling back: a, c",
			bindings: []*v1beta1.ClusterResourceBinding{
				at("a", bad, false, complete...), at("b", old, true, held, is("True", "RollbackSucceeded")), at("c", old, true, held, is("Unknown", "RollbackStarted")),
			}, events: []string{"FailureBudgetSpent"},
		},
		{
			name: "back", action: "Rollback", course: spent,
			want:     []string{"WithinFailureBudget=False FailureBudgetSpent", is("True", "RollbackSucceeded")},
			bindings: []*v1beta1.ClusterResourceBinding{at("b", old, true, held, is("True", "RollbackSucceeded"))},
			events:   []string{"RollbackSucceeded", "FailureBudgetSpent"},
		},
		{
			name: "not back", action: "Rollback", course: spent,
			want: []string{"WithinFailureBudget=False FailureBudgetSpent", is("False", "RollbackFailed")}, part: "not rolled back: c; never healthy: a",
			bindings: []*v1beta1.ClusterResourceBinding{
				at("a", bad, false, also(complete, is("False", "NeverHealthy"))...), at("b", old, true, held, is("True", "RollbackSucceeded")),
				at("c", old, true, held, is("False", "RollbackFailed")),
			}, events: []string{"FailureBudgetSpent", "RollbackFailed"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPlacement(false)
			if p.GetSpec().Strategy.RollingUpdate = new(v1beta1.RollingUpdateConfig); tc.action != "" {
				p.GetSpec().Strategy.RollingUpdate.FailurePolicy = &v1beta1.FailurePolicy{OnFailure: tc.action}
			}
			facts := PlacementFacts{Placement: p, Latest: Snapshot{Name: bad, Index: "2"}, Course: tc.course}
			var picked []string
			for _, b := range tc.bindings {
				facts.Bindings, picked = append(facts.Bindings, b), append(picked, b.Spec.TargetCluster)
			}
			facts.Policy = decided(metav1.ConditionTrue, picked, nil)
			update := Placement(facts, after)
			got := slices.DeleteFunc(says(t, update.Status.Conditions), func(s string) bool {
				return !strings.HasPrefix(s, "WithinFailureBudget") && !strings.HasPrefix(s, "RolledBack")
			})
			if !slices.Equal(got, tc.want) || len(got) > 0 && update.Delay > 0 {
				t.Errorf("says %q after %s, want %q at once", got, update.Delay, tc.want)
			}
			if len(tc.want) > 0 {
				c := meta.FindStatusCondition(update.Status.Conditions, "ClusterResourcePlacement"+strings.Split(tc.want[len(tc.want)-1], "=")[0])
				if c == nil || !strings.Contains(c.Message, tc.part) {
					t.Errorf("says %+v, want %q", c, tc.part)
				}
			}
			var events []string
			for _, n := range PlacementEvents(p, &update.Status) {
				if strings.HasPrefix(n.Reason, "Rollback") || n.Reason == v1beta1.ReasonFailureBudgetSpent {
					events = append(events, n.Reason)
				}
			}
			if !slices.Equal(events, tc.events) {
				t.Errorf("events %q, want %q", events, tc.events)
			}
			*p.GetStatus() = update.Status
			facts.Placement = p
			again := Placement(facts, metav1.NewTime(after.Add(1e9)))
			if told := PlacementEvents(p, &again.Status); len(told) > 0 {
				t.Errorf("tells again %+v", told)
			}
		})
	}
}

// What a binding says of a way back is past when it is given something else.
func TestRolledBackGoesWithItsGeneration(t *testing.T) {
	old := v1beta1.ResourceBindingStatus{Conditions: []metav1.Condition{
		{Type: v1beta1.ConditionRolledBack, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonRollbackSucceeded, ObservedGeneration: 7},
	}}
	for generation, want := range map[int64]bool{7: true, 8: false} {
		v := Binding(old, BindingFacts{Generation: generation, Bound: true, SyncFailure: "no"}, afterwards)
		if got := meta.FindStatusCondition(v.Status.Conditions, v1beta1.ConditionRolledBack) != nil; got != want {
			t.Errorf("generation %d: kept %v, want %v", generation, got, want)
		}
	}
}
