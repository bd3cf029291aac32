package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestProgress(t *testing.T) {
	none, compare := int32(0), &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
	condition := func(kind, status, reason string, of int64) metav1.Condition {
		kind = v1beta1.ClusterResourcePlacementConditionPrefix + kind
		return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, ObservedGeneration: of, Message: "m"}
	}
	scheduled := condition("Scheduled", "True", "SchedulingPolicyFulfilled", generation)
	upTo := func(more ...metav1.Condition) []metav1.Condition {
		out := []metav1.Condition{scheduled}
		for _, kind := range []string{"RolloutStarted", "Overridden", "WorkSynchronized"} {
			out = append(out, condition(kind, "True", kind, generation))
		}
		return append(out, more...)
	}
	applied, available := condition("Applied", "True", "ApplySucceeded", generation), condition("Available", "True", "ResourceAvailable", generation)
	type told struct {
		Stage, Text  string
		Done, Failed bool
	}
	for name, tc := range map[string]struct {
		spec       v1beta1.PlacementSpec
		conditions []metav1.Condition
		want       told
	}{
		"nothing is reported yet": {want: told{Stage: "RolloutStarted", Text: "pending"}},
		"all is reported about an older generation": {
			conditions: []metav1.Condition{condition("Scheduled", "True", "R", generation-1), condition("RolloutStarted", "True", "R", generation-1)},
			want:       told{Stage: "RolloutStarted", Text: "pending"},
		},
		"the selectors are invalid": {
			conditions: []metav1.Condition{condition("Scheduled", "False", "InvalidResourceSelectors", generation)},
			want: told{
				Stage: "RolloutStarted", Failed: true,
				Text: "ClusterResourcePlacementScheduled False (InvalidResourceSelectors): m",
			},
		},
		"a wanted cluster is not found": {
			conditions: append(upTo(applied, available)[1:], condition("Scheduled", "False", "SchedulingPolicyUnfulfilled", generation)),
			want:       told{Stage: "Available", Text: "ClusterResourcePlacementScheduled False (SchedulingPolicyUnfulfilled): m"},
		},
		"scheduled": {conditions: []metav1.Condition{scheduled}, want: told{Stage: "RolloutStarted", Text: "SchedulingPolicyFulfilled"}},
		"held back": {
			conditions: []metav1.Condition{scheduled, condition("RolloutStarted", "False", "RolloutNotStartedYet", generation)},
			want:       told{Stage: "RolloutStarted", Text: "waiting: m"},
		},
		"applied, availability not reported": {conditions: upTo(applied), want: told{Stage: "Available", Text: "ApplySucceeded"}},
		"not available": {
			conditions: upTo(applied, condition("Available", "False", "ResourceNotAvailableYet", generation)),
			want:       told{Stage: "Available", Text: "ClusterResourcePlacementAvailable False (ResourceNotAvailableYet): m"},
		},
		"available": {conditions: upTo(applied, available), want: told{Stage: "Available", Text: "available", Done: true}},
		"available, but for an object that is too large": {
			conditions: upTo(applied, available, condition("ResourcesFit", "False", "ResourceTooLarge", generation)),
			want:       told{Stage: "Available", Text: "available", Done: true},
		},
		"available, but for objects that the author may not place": {
			conditions: append([]metav1.Condition{condition("ResourcesPermitted", "False", "R", generation)}, upTo(applied, available)...),
			want:       told{Stage: "Available", Text: "available", Done: true},
		},
		"available, and the copy of the status is behind": {
			conditions: upTo(applied, available, condition("StatusSynced", "False", "StatusSyncFailed", generation-1)),
			want:       told{Stage: "Available", Text: "available", Done: true},
		},
		"compared": {
			spec:       v1beta1.PlacementSpec{Strategy: v1beta1.RolloutStrategy{ApplyStrategy: compare}},
			conditions: upTo(condition("DiffReported", "True", "DiffReportingCompleted", generation)),
			want:       told{Stage: "DiffReported", Text: "differences reported", Done: true},
		},
		"no cluster requested": {
			spec:       v1beta1.PlacementSpec{Policy: &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: &none}},
			conditions: []metav1.Condition{scheduled}, want: told{Text: "no cluster requested", Done: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			placement := newPlacement(false)
			*placement.GetSpec() = tc.spec
			p := ProgressOf(placement, &v1beta1.PlacementStatus{Conditions: tc.conditions})
			if diff := cmp.Diff(tc.want, told{Stage: p.Milestone, Text: p.Text(), Done: p.Done(), Failed: p.Failed()}); diff != "" {
				t.Errorf("progress (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProgressOnACluster(t *testing.T) {
	placement := newPlacement(true)
	entry := &v1beta1.PerClusterPlacementStatus{ClusterName: "a"}
	for _, kind := range []string{"Scheduled", "RolloutStarted", "Overridden", "WorkSynchronized", "Applied", "Available"} {
		if p := ProgressOn(placement, entry); p.Done() || p.Milestone != kind && kind != "Scheduled" {
			t.Errorf("before %s: %+v", kind, p)
		}
		entry.Conditions = append(entry.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, ObservedGeneration: generation})
	}
	if p := ProgressOn(placement, entry); !p.Done() {
		t.Errorf("at the end: %+v", p)
	}
}
