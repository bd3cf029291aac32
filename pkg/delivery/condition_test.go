package delivery

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// statusWith is the status of a binding of generation 2.
func statusWith(conditions ...metav1.Condition) Status {
	return Status{Generation: 2, Conditions: conditions}
}

func condition(kind string, status metav1.ConditionStatus, generation int64) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, ObservedGeneration: generation}
}

func TestSequence(t *testing.T) {
	onHub := []string{"RolloutStarted", "Overridden", "WorkSynchronized"}
	for name, tc := range map[string]struct{ got, want []string }{
		"content that is applied":  {Sequence(nil), append(slices.Clone(onHub), "Applied", "Available")},
		"content that is compared": {Sequence(&v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}), append(slices.Clone(onHub), "DiffReported")},
		"on the hub":               {OnHub(), onHub},
		"once it has started":      {Outcome(), []string{"Overridden", "WorkSynchronized", "Applied", "Available", "DiffReported"}},
	} {
		if !slices.Equal(tc.got, tc.want) {
			t.Errorf("%s: got %v; want %v", name, tc.got, tc.want)
		}
	}
}

func TestOnlyTheGenerationCounts(t *testing.T) {
	s := statusWith(condition("Applied", metav1.ConditionTrue, 2), condition("Available", metav1.ConditionTrue, 1))
	if c := s.Current("Available"); c != nil {
		t.Errorf("Current returned %v, which is about an older generation", c)
	}
	if s.Current("Overridden") != nil || s.Is("Overridden", metav1.ConditionUnknown) {
		t.Error("a condition that is not there is current")
	}
	if !s.Is("Applied", metav1.ConditionTrue) || s.Is("Applied", metav1.ConditionFalse) || s.Is("Available", metav1.ConditionTrue) {
		t.Error("Is does not follow status and generation")
	}
	if !IsTrue(s.Conditions, "Available", 1) || IsTrue(s.Conditions, "Available", 2) {
		t.Error("IsTrue does not follow the generation")
	}
}

func TestWellAndWrong(t *testing.T) {
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	for name, tc := range map[string]struct {
		conditions []metav1.Condition
		well       bool
		wrong      string
	}{
		"nothing is reported":          {},
		"available":                    {conditions: []metav1.Condition{condition("Applied", yes, 2), condition("Available", yes, 2)}, well: true},
		"compared":                     {conditions: []metav1.Condition{condition("DiffReported", yes, 2)}, well: true},
		"available before the change":  {conditions: []metav1.Condition{condition("Available", yes, 1)}},
		"wrong before the change":      {conditions: []metav1.Condition{condition("Available", no, 1)}},
		"held back":                    {conditions: []metav1.Condition{condition("RolloutStarted", no, 2)}},
		"the first is named":           {conditions: []metav1.Condition{condition("Available", no, 2), condition("Overridden", no, 2)}, wrong: "Overridden"},
		"the only one":                 {conditions: []metav1.Condition{condition("Applied", yes, 2), condition("Available", no, 2)}, wrong: "Available"},
		"not compared":                 {conditions: []metav1.Condition{condition("DiffReported", no, 2)}, wrong: "DiffReported"},
		"not known is not wrong":       {conditions: []metav1.Condition{condition("Applied", metav1.ConditionUnknown, 2)}},
		"another condition is nothing": {conditions: []metav1.Condition{condition("RolledBack", no, 2)}},
	} {
		s := statusWith(tc.conditions...)
		wrong := ""
		if c := s.Wrong(); c != nil {
			wrong = c.Type
		}
		if s.Well() != tc.well || wrong != tc.wrong {
			t.Errorf("%s: well %v and wrong %q; want %v and %q", name, s.Well(), wrong, tc.well, tc.wrong)
		}
	}
}
