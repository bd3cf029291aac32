package joiner

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/report"
)

var start = time.Date(2031, 5, 1, 10, 0, 0, 0, time.UTC)

func facts(generation int64, healthy bool, nodes, available string) report.AgentFacts {
	return report.AgentFacts{Generation: generation, Healthy: healthy, Inventory: &report.Inventory{
		Properties: map[clusterv1beta1.PropertyName]string{"kubernetes-fleet.io/node-count": nodes},
		Usage: &clusterv1beta1.ResourceUsage{
			Capacity:  corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(nodes)},
			Available: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(available)},
		},
	}}
}

func TestNext(t *testing.T) {
	const period = time.Minute
	known := facts(1, true, "3", "2")
	for name, tc := range map[string]struct {
		last  *report.AgentFacts // reported at start; nil: nothing was
		facts report.AgentFacts
		after time.Duration
		write bool
		// latest is the most that may pass until the next look.
		latest time.Duration
	}{
		"the first report is due at once":                      {facts: known, write: true},
		"nothing new is not written before its time":           {last: &known, facts: known, after: 30 * time.Second, latest: lookAround},
		"not even by an agent that has just started":           {last: &known, facts: known, after: 0, latest: lookAround},
		"nor one moment before the earliest jitter":            {last: &known, facts: known, after: 57*time.Second - 1, latest: 6 * time.Second},
		"a heartbeat is due after the period":                  {last: &known, facts: known, after: 63 * time.Second, write: true},
		"a change of available waits for the heartbeat":        {last: &known, facts: facts(1, true, "3", "1"), after: 30 * time.Second, latest: lookAround},
		"a change of the nodes does not":                       {last: &known, facts: facts(1, true, "4", "2"), after: 30 * time.Second, write: true},
		"but it keeps its distance from the last report":       {last: &known, facts: facts(1, true, "4", "2"), after: 2 * time.Second, latest: 3 * time.Second},
		"health likewise":                                      {last: &known, facts: facts(1, false, "3", "2"), after: 30 * time.Second, write: true},
		"health likewise keeps its distance":                   {last: &known, facts: facts(1, false, "3", "2"), after: time.Second, latest: 4 * time.Second},
		"a new generation is answered at once":                 {last: &known, facts: facts(2, true, "3", "2"), after: 0, write: true},
		"a heartbeat from the future counts for little":        {last: &known, facts: known, after: -time.Hour, write: true},
		"a clock that was set back a little does not hurry it": {last: &known, facts: known, after: -time.Second, latest: lookAround},
	} {
		t.Run(name, func(t *testing.T) {
			var was clusterv1beta1.InternalMemberClusterStatus
			if tc.last != nil {
				was = report.AgentJoined(was, *tc.last, metav1.NewTime(start))
			}
			now := start.Add(tc.after)
			wanted := report.AgentJoined(was, tc.facts, metav1.NewTime(now))
			got := next("m", &was, &wanted, period, now)
			if got.write != tc.write {
				t.Fatalf("write %v; want %v (again %s)", got.write, tc.write, got.again)
			}
			if !got.write && (got.again <= 0 || got.again > tc.latest) {
				t.Fatalf("again after %s; want a time of at most %s", got.again, tc.latest)
			}
		})
	}
}

// What decides over scheduling is reported when it changes; what was observed again, or is taken from the nodes, is
// not.
func TestSameFacts(t *testing.T) {
	was := func() clusterv1beta1.InternalMemberClusterStatus {
		return clusterv1beta1.InternalMemberClusterStatus{
			Properties: map[clusterv1beta1.PropertyName]clusterv1beta1.PropertyValue{"a": {Value: "1", ObservationTime: metav1.NewTime(start)}},
			ResourceUsage: clusterv1beta1.ResourceUsage{
				Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000m")},
				Available:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
			},
			Namespaces: map[string]string{"n": ""},
			Conditions: []metav1.Condition{{Type: "C", Status: metav1.ConditionTrue, Reason: "R", Message: "m"}},
		}
	}
	for name, tc := range map[string]struct {
		change func(*clusterv1beta1.InternalMemberClusterStatus)
		same   bool
	}{
		"nothing": {func(*clusterv1beta1.InternalMemberClusterStatus) {}, true},
		"a property": {func(s *clusterv1beta1.InternalMemberClusterStatus) {
			s.Properties["a"] = clusterv1beta1.PropertyValue{Value: "2"}
		}, false},
		"a property, observed again": {func(s *clusterv1beta1.InternalMemberClusterStatus) {
			s.Properties["a"] = clusterv1beta1.PropertyValue{Value: "1"}
		}, true},
		"one more property": {func(s *clusterv1beta1.InternalMemberClusterStatus) {
			s.Properties["b"] = clusterv1beta1.PropertyValue{}
		}, false},
		"allocatable, written otherwise": {func(s *clusterv1beta1.InternalMemberClusterStatus) {
			s.ResourceUsage.Allocatable[corev1.ResourceCPU] = resource.MustParse("1")
		}, true},
		"allocatable":    {func(s *clusterv1beta1.InternalMemberClusterStatus) { s.ResourceUsage.Allocatable = nil }, false},
		"available":      {func(s *clusterv1beta1.InternalMemberClusterStatus) { s.ResourceUsage.Available = nil }, true},
		"a namespace":    {func(s *clusterv1beta1.InternalMemberClusterStatus) { s.Namespaces["o"] = "" }, false},
		"its owner":      {func(s *clusterv1beta1.InternalMemberClusterStatus) { s.Namespaces["n"] = "w" }, false},
		"how it went":    {func(s *clusterv1beta1.InternalMemberClusterStatus) { s.Conditions[0].Reason = "S" }, false},
		"how that reads": {func(s *clusterv1beta1.InternalMemberClusterStatus) { s.Conditions[0].Message = "n" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := was(), was()
			if tc.change(&after); sameFacts(&before, &after) != tc.same {
				t.Errorf("the same: %v; want %v", !tc.same, tc.same)
			}
		})
	}
}

func TestHeartbeatsAreSpread(t *testing.T) {
	const period = 100 * time.Second
	least, most := period, period
	for i := range 500 {
		last := start.Add(time.Duration(i) * time.Second)
		wait := dueAfter("m", last, period).Sub(last)
		least, most = min(least, wait), max(most, wait)
		if again := dueAfter("m", last, period).Sub(last); again != wait {
			t.Fatalf("asked twice, it is due after %s and after %s", wait, again)
		}
	}
	if least < 95*time.Second || most > 105*time.Second || most-least < 8*time.Second {
		t.Errorf("due after %s to %s; want about 95 s to 105 s", least, most)
	}
	if a, b := dueAfter("a", start, period), dueAfter("b", start, period); a.Equal(b) {
		t.Errorf("two members beat at the same time")
	}
}
