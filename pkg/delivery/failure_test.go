package delivery

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestFailurePolicyOf(t *testing.T) {
	rollback := &v1beta1.FailurePolicy{OnFailure: v1beta1.FailureActionRollback, HealthWindow: &metav1.Duration{Duration: time.Minute}}
	for name, tc := range map[string]struct {
		policy *v1beta1.FailurePolicy
		apply  *v1beta1.ApplyStrategy
		want   *FailurePolicy
	}{
		"none":                      {},
		"defaults":                  {policy: &v1beta1.FailurePolicy{}, want: &FailurePolicy{Window: 5 * time.Minute}},
		"rollback":                  {policy: rollback, want: &FailurePolicy{Window: time.Minute, Rollback: true}},
		"rollback, server-side":     {rollback, &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}, &FailurePolicy{Window: time.Minute, Rollback: true}},
		"nothing is changed by it":  {rollback, &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}, &FailurePolicy{Window: time.Minute}},
		"stop, which is no default": {policy: &v1beta1.FailurePolicy{OnFailure: v1beta1.FailureActionStop}, want: &FailurePolicy{Window: 5 * time.Minute}},
	} {
		if diff := cmp.Diff(tc.want, FailurePolicyOf(tc.policy, tc.apply)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestFailureBudget(t *testing.T) {
	for name, tc := range map[string]struct {
		budget   *intstr.IntOrString
		clusters int
		want     int
		wrong    bool
	}{
		"none is 0":             {clusters: 7},
		"a number":              {budget: ptr.To(intstr.FromInt32(3)), clusters: 2, want: 3},
		"a percentage, rounded": {budget: ptr.To(intstr.FromString("34%")), clusters: 5, want: 1},
		"a word":                {budget: ptr.To(intstr.FromString("many")), clusters: 5, wrong: true},
	} {
		got, err := FailureBudget(tc.budget, tc.clusters)
		if got != tc.want || (err != nil) != tc.wrong {
			t.Errorf("%s: got %d, %v; want %d", name, got, err, tc.want)
		}
	}
}

func TestBudgetSpent(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
	for _, tc := range []struct {
		failed int
		names  []string
		want   string
	}{
		{1, names[:1], "Stage x has spent its failure budget of 0: 1 of 20 clusters failed: a"},
		{10, names[:10], "Stage x has spent its failure budget of 0: 10 of 20 clusters failed: a, b, c, d, e, f, g, h, i, j"},
		{12, names, "Stage x has spent its failure budget of 0: 12 of 20 clusters failed: a, b, c, d, e, f, g, h, i, j and 2 more"},
		{15, names, "Stage x has spent its failure budget of 0: 15 of 20 clusters failed: a, b, c, d, e, f, g, h, i, j and 5 more"},
	} {
		if got := BudgetSpent("Stage x", 0, 20, tc.failed, tc.names); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// report is the status of a binding with a condition whose status is from noon.
func report(kind string, status metav1.ConditionStatus, generation int64) Status {
	c := condition(kind, status, generation)
	c.Reason, c.LastTransitionTime = "R", metav1.NewTime(noon)
	return statusWith(c)
}

func TestFailed(t *testing.T) {
	const no, yes, minute = metav1.ConditionFalse, metav1.ConditionTrue, time.Minute
	ill, well, old := report("Available", no, 2), report("Available", yes, 2), report("Available", yes, 1)
	given := noon.Add(-30 * time.Second)
	for name, tc := range map[string]struct {
		from   time.Time
		change Change
		at     time.Time
		failed bool
		left   time.Duration
	}{
		"healthy":                            {change: Change{Status: well, Given: given}, at: noon.Add(time.Hour)},
		"compared":                           {change: Change{Status: report("DiffReported", yes, 2), Given: given}, at: noon.Add(time.Hour)},
		"never healthy: from when it came":   {change: Change{Status: ill, Given: given}, at: noon, left: 30 * time.Second},
		"never healthy, for the window":      {change: Change{Status: ill, Given: given}, at: given.Add(minute), failed: true},
		"never reported":                     {change: Change{Status: statusWith(), Given: given}, at: given.Add(minute), failed: true},
		"only reported before":               {change: Change{Status: old, Given: given}, at: given.Add(minute), failed: true},
		"a relapse: from a second after it":  {change: Change{Status: ill, Given: given, WasHealthy: true}, at: noon, left: minute + time.Second},
		"a relapse, for the window":          {change: Change{Status: ill, Given: given, WasHealthy: true}, at: noon.Add(minute + time.Second), failed: true},
		"a relapse before the last health":   {change: Change{Status: ill, Given: noon.Add(10 * time.Second), WasHealthy: true}, at: noon.Add(minute), left: 10 * time.Second},
		"healthy before, not reported since": {change: Change{Status: old, Given: given, WasHealthy: true}, at: noon.Add(time.Hour)},
		"given at an unknown time":           {change: Change{Status: ill}, at: noon, left: minute + time.Second},
		"given then, and not reported":       {change: Change{Status: statusWith()}, at: noon.Add(time.Hour)},
		"the agent was away":                 {from: noon.Add(time.Hour), change: Change{Status: ill, Given: given}, at: noon.Add(time.Hour), left: minute},
	} {
		policy := FailurePolicy{Window: minute, From: tc.from}
		if failed, left := policy.Failed(tc.change, tc.at); failed != tc.failed || left != tc.left {
			t.Errorf("%s: failed %v, %s left; want %v, %s", name, failed, left, tc.failed, tc.left)
		}
	}
}
