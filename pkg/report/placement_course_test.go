package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// course is a placement whose status is worked out again and again while things change.
type placementCourse struct {
	*testing.T
	facts  PlacementFacts
	policy *v1beta1.ClusterSchedulingPolicySnapshot
}

func newCourse(t *testing.T, clusters ...string) *placementCourse {
	policy := decided(metav1.ConditionTrue, clusters, nil).(*v1beta1.ClusterSchedulingPolicySnapshot)
	app := []v1beta1.ResourceIdentifier{{Version: "v1", Kind: "Namespace", Name: "app"}}
	return &placementCourse{T: t, policy: policy, facts: PlacementFacts{
		Placement: newPlacement(false), Policy: policy, Latest: Snapshot{Name: "web-2-snapshot", Index: "2", Resources: app},
		Snapshots: map[string]Snapshot{
			"web-2-snapshot": {Name: "web-2-snapshot", Index: "2", Resources: app}, "web-1-snapshot": {Name: "web-1-snapshot", Index: "1"},
		},
	}}
}

// see computes the next status and formats it: index, conditions, and for each cluster index, last condition and
// lists.
func (c *placementCourse) see(bindings ...v1beta1.BindingObject) string {
	c.Helper()
	c.facts.Bindings = bindings
	status := Placement(c.facts, before).Status
	*c.facts.Placement.GetStatus() = status
	out := []string{fmt.Sprintf("%q/%d", status.ObservedResourceIndex, len(status.SelectedResources))}
	short := func(conditions []metav1.Condition) string {
		var texts []string
		for _, condition := range conditions {
			kind := strings.TrimPrefix(condition.Type, v1beta1.ClusterResourcePlacementConditionPrefix)
			texts = append(texts, kind+string(condition.Status[0]))
		}
		return strings.Join(texts, " ") + " " + conditions[len(conditions)-1].Reason
	}
	out = append(out, short(status.Conditions))
	for _, entry := range status.PerClusterPlacementStatuses {
		out = append(out, fmt.Sprintf("%s@%s: %s; failed %d drifted %d diffed %d",
			entry.ClusterName, entry.ObservedResourceIndex, short(entry.Conditions),
			len(entry.FailedPlacements), len(entry.DriftedPlacements), len(entry.DiffedPlacements)))
	}
	return strings.Join(out, "\n")
}

// change is an edit of the placement that the scheduler has seen.
func (c *placementCourse) change(edit func(*v1beta1.PlacementSpec)) {
	edit(c.facts.Placement.GetSpec())
	c.facts.Placement.(*v1beta1.ClusterResourcePlacement).Generation++
	c.policy.Status.ObservedCRPGeneration++
}

func (c *placementCourse) want(what, got string, want ...string) {
	c.Helper()
	if diff := cmp.Diff(strings.Join(want, "\n"), got); diff != "" {
		c.Fatalf("%s: %s", what, diff)
	}
}

// full is a binding whose lists are full, whatever it reports.
func full(b *v1beta1.ClusterResourceBinding) *v1beta1.ClusterResourceBinding {
	b.Status.FailedPlacements = make([]v1beta1.FailedResourcePlacement, 1)
	b.Status.DriftedPlacements = make([]v1beta1.DriftedResourcePlacement, 2)
	b.Status.DiffedPlacements = make([]v1beta1.DiffedResourcePlacement, 3)
	return b
}

// retold is a binding that was changed and has reported nothing on that yet.
func retold(b *v1beta1.ClusterResourceBinding) *v1beta1.ClusterResourceBinding {
	b.Generation++
	return b
}

const upToWorks = "ScheduledT RolloutStartedT OverriddenT WorkSynchronizedT"

// From applying to comparing and back, at no moment is anything left of the other.
func TestPlacementBetweenApplyAndReportDiff(t *testing.T) {
	c := newCourse(t, "a", "b")
	failed := func() *v1beta1.ClusterResourceBinding {
		return full(bound("a", also(synced, "Applied=False NotAllWorkHaveBeenApplied")...))
	}
	compared := func(cluster string) *v1beta1.ClusterResourceBinding {
		return full(bound(cluster, also(synced, "DiffReported=True AllWorkHaveDiffReported")...))
	}
	c.want("applying", c.see(failed(), bound("b", complete...)), `"2"/1`, upToWorks+" AppliedF ApplyFailed",
		"a@2: "+upToWorks+" AppliedF NotAllWorkHaveBeenApplied; failed 1 drifted 2 diffed 3",
		"b@2: "+upToWorks+" AppliedT AvailableT AllWorkAreAvailable; failed 0 drifted 0 diffed 0")

	c.change(func(s *v1beta1.PlacementSpec) {
		s.Strategy.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
	})
	c.want("the clusters do not know yet", c.see(failed(), bound("b", complete...)), `"2"/1`, upToWorks+" DiffReportedU DiffReportingPending",
		"a@2: "+upToWorks+" DiffReportedU DiffReportingPending; failed 0 drifted 0 diffed 0",
		"b@2: "+upToWorks+" DiffReportedU DiffReportingPending; failed 0 drifted 0 diffed 0")
	c.want("one was told", c.see(retold(failed()), bound("b", complete...)), `"2"/1`, "ScheduledT RolloutStartedU RolloutStartedUnknown",
		"a@2: ScheduledT RolloutStartedU RolloutStartedUnknown; failed 0 drifted 0 diffed 0",
		"b@2: "+upToWorks+" DiffReportedU DiffReportingPending; failed 0 drifted 0 diffed 0")
	uncompared := full(bound("b", also(synced, "DiffReported=False NotAllWorkHaveDiffReported")...))
	c.want("one could not compare", c.see(compared("a"), uncompared), `"2"/1`,
		upToWorks+" DiffReportedF DiffReportingIncompleteOrFailed",
		"a@2: "+upToWorks+" DiffReportedT AllWorkHaveDiffReported; failed 0 drifted 0 diffed 3",
		"b@2: "+upToWorks+" DiffReportedF NotAllWorkHaveDiffReported; failed 0 drifted 0 diffed 3")
	c.want("both have compared", c.see(compared("a"), compared("b")), `"2"/1`, upToWorks+" DiffReportedT DiffReportingCompleted",
		"a@2: "+upToWorks+" DiffReportedT AllWorkHaveDiffReported; failed 0 drifted 0 diffed 3",
		"b@2: "+upToWorks+" DiffReportedT AllWorkHaveDiffReported; failed 0 drifted 0 diffed 3")

	c.change(func(s *v1beta1.PlacementSpec) { s.Strategy.ApplyStrategy = nil })
	c.want("the clusters still compare", c.see(compared("a"), compared("b")), `"2"/1`, upToWorks+" AppliedU ApplyPending",
		"a@2: "+upToWorks+" AppliedU ApplyPending; failed 0 drifted 0 diffed 0",
		"b@2: "+upToWorks+" AppliedU ApplyPending; failed 0 drifted 0 diffed 0")
	c.want("applied again", c.see(bound("a", complete...), bound("b", complete...)), `"2"/1`,
		upToWorks+" AppliedT AvailableT ResourceAvailable",
		"a@2: "+upToWorks+" AppliedT AvailableT AllWorkAreAvailable; failed 0 drifted 0 diffed 0",
		"b@2: "+upToWorks+" AppliedT AvailableT AllWorkAreAvailable; failed 0 drifted 0 diffed 0")
}

// Handing the rollout over to update runs changes nothing by itself; from then on every cluster is shown where it is.
func TestPlacementFromRollingUpdateToExternal(t *testing.T) {
	c := newCourse(t, "a", "b")
	on := func(cluster, snapshot string) *v1beta1.ClusterResourceBinding {
		b := bound(cluster, complete...)
		b.Spec.ResourceSnapshotName = snapshot
		return b
	}
	wanted := func(index string, a, b string) []string {
		return []string{index, "ScheduledT RolloutStartedU RolloutControlledByExternalController", a, b}
	}
	all := []string{`"2"/1`, upToWorks + " AppliedT AvailableT ResourceAvailable",
		"a@2: " + upToWorks + " AppliedT AvailableT AllWorkAreAvailable; failed 0 drifted 0 diffed 0",
		"b@2: " + upToWorks + " AppliedT AvailableT AllWorkAreAvailable; failed 0 drifted 0 diffed 0"}
	c.want("rolling", c.see(on("a", "web-2-snapshot"), on("b", "web-2-snapshot")), all...)
	c.change(func(s *v1beta1.PlacementSpec) { s.Strategy.Type = v1beta1.RolloutStrategyTypeExternal })
	c.facts.Latest = Snapshot{}
	c.want("handed over", c.see(on("a", "web-2-snapshot"), on("b", "web-2-snapshot")), all...)
	c.want("a run takes one cluster back", c.see(on("a", "web-2-snapshot"), on("b", "web-1-snapshot")), wanted(`""/0`, all[2],
		strings.Replace(all[3], "b@2", "b@1", 1))...)
	c.want("the revision of one is gone", c.see(on("a", "web-2-snapshot"), on("b", "web-0-snapshot")), wanted(`""/0`, all[2],
		strings.Replace(all[3], "b@2", "b@0", 1))...)
	c.want("the revisions of all are gone", c.see(on("a", "web-0-snapshot"), on("b", "web-0-snapshot")), `"0"/0`, all[1],
		strings.Replace(all[2], "a@2", "a@0", 1), strings.Replace(all[3], "b@2", "b@0", 1))
	silent := retold(on("b", "web-2-snapshot"))
	c.want("all have the same, one has not reported on it", c.see(on("a", "web-2-snapshot"), silent), wanted(`"2"/1`, all[2],
		"b@2: ScheduledT RolloutStartedU RolloutStartedUnknown; failed 0 drifted 0 diffed 0")...)
	late := on("b", "web-2-snapshot")
	late.Status = bound("b", synced...).Status
	c.want("all have the same, one is not done", c.see(on("a", "web-2-snapshot"), late), `"2"/1`, upToWorks+" AppliedU ApplyPending", all[2],
		"b@2: "+upToWorks+" AppliedU ApplyPending; failed 0 drifted 0 diffed 0")

	c.policy.Status.ClusterDecisions = nil
	c.want("no cluster is selected any more", c.see(), `"2"/1`, "ScheduledT SchedulingPolicyFulfilled")
}

// An edit that the scheduler has yet to see changes nothing that is shown, until it has taken too long.
func TestPlacementWaitsForTheScheduler(t *testing.T) {
	placement := newPlacement(true)
	facts := PlacementFacts{
		Placement: placement, Latest: Snapshot{Name: "web-2-snapshot", Index: "2"}, Bindings: []v1beta1.BindingObject{bound("a", complete...)},
	}
	first := Placement(facts, before)
	if first.Delay != Patience {
		t.Errorf("of a new placement it may be delayed for %s; want %s", first.Delay, Patience)
	}
	facts.Policy = decided(metav1.ConditionTrue, []string{"a"}, nil)
	*placement.GetStatus() = Placement(facts, before).Status
	placement.(*v1beta1.ResourcePlacement).Generation++
	if edited := Placement(facts, before); edited.Delay != 5*time.Second {
		t.Errorf("of one that was scheduled before it may be delayed for %s", edited.Delay)
	}

	facts.Policy = decided(metav1.ConditionFalse, nil, nil)
	facts.Policy.GetStatus().ObservedCRPGeneration++
	want := "run: kubectl fleet explain placement web -n app"
	if got := Placement(facts, before).Status.Conditions[0].Message; !strings.HasSuffix(got, want) {
		t.Errorf("message %q; want it to end in %q", got, want)
	}
}

// A slow removal from a cluster is reported, and nothing before that; it changes nothing else.
func TestPlacementReportsSlowRemovals(t *testing.T) {
	placement := newPlacement(false)
	left := bound("b", complete...)
	left.DeletionTimestamp = &before
	facts := PlacementFacts{Placement: placement, Latest: Snapshot{Name: "web-2-snapshot", Index: "2"},
		Policy: decided(metav1.ConditionTrue, []string{"a"}, nil), Bindings: []v1beta1.BindingObject{bound("a", complete...), left}}
	update := Placement(facts, metav1.NewTime(before.Add(10*time.Second)))
	if message := update.Status.Conditions[0].Message; update.Again != 20*time.Second || message != "" {
		t.Errorf("after 10 s: again in %s, message %q", update.Again, message)
	}
	update = Placement(facts, metav1.NewTime(before.Add(30*time.Second)))
	want := "; objects are not removed yet from b: see the Works of this placement in namespace fleet-member-b"
	if message := update.Status.Conditions[0].Message; update.Again != 0 || message != want {
		t.Errorf("after 30 s: again in %s, message %q; want %q", update.Again, message, want)
	}
	reason, entries := update.Status.Conditions[5].Reason, len(update.Status.PerClusterPlacementStatuses)
	if reason != v1beta1.ReasonResourceAvailable || entries != 1 {
		t.Errorf("status %+v", update.Status)
	}
}

// drawBinding is a binding of one of three clusters in any state.
func drawBinding(t *rapid.T) *v1beta1.ClusterResourceBinding {
	b := bound(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "cluster"))
	b.Name += rapid.SampledFrom([]string{"-0", "-1"}).Draw(t, "twin")
	b.Generation = rapid.Int64Range(3, 4).Draw(t, "generation")
	states := []v1beta1.BindingState{v1beta1.BindingStateScheduled, v1beta1.BindingStateBound, v1beta1.BindingStateUnscheduled}
	b.Spec.State = rapid.SampledFrom(states).Draw(t, "state")
	b.Spec.ResourceSnapshotName = rapid.SampledFrom([]string{"", "web-1-snapshot", "web-2-snapshot"}).Draw(t, "snapshot")
	b.Spec.SchedulingPolicySnapshotName = rapid.SampledFrom([]string{"web-0", "web-0", "web-0", "web-9"}).Draw(t, "policy")
	if rapid.IntRange(0, 5).Draw(t, "deleting") == 0 {
		b.DeletionTimestamp = &after
	}
	reasons := []string{"Fine", "NotAllWorkHaveBeenApplied", "NotAllWorkAreAvailable", "ApplyInProgress"}
	for _, kind := range []string{"RolloutStarted", "Overridden", "WorkSynchronized", "Applied", "Available", "DiffReported"} {
		status := rapid.SampledFrom([]metav1.ConditionStatus{"", "True", "True", "True", "False", "Unknown"}).Draw(t, kind)
		if status != "" {
			reason := rapid.SampledFrom(reasons).Draw(t, "reason")
			b.Status.Conditions = append(b.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, ObservedGeneration: 4})
		}
	}
	if rapid.Bool().Draw(t, "lists") {
		full(b)
	}
	return b
}

// Whatever bindings report, in whatever order they come: the same facts give the same bytes, cause one event, and the
// placement's conditions follow from those of its clusters.
func TestPlacementFollowsFromItsClusters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		placement := newPlacement(rapid.Bool().Draw(t, "namespaced"))
		n := rapid.Int32Range(0, 4).Draw(t, "wanted")
		spec := placement.GetSpec()
		spec.Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: &n}
		if rapid.Bool().Draw(t, "external") {
			spec.Strategy.Type = v1beta1.RolloutStrategyTypeExternal
		}
		compare := rapid.Bool().Draw(t, "compare")
		if compare {
			spec.Strategy.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
		}
		facts := PlacementFacts{Placement: placement, Latest: Snapshot{Name: "web-2-snapshot", Index: "2"},
			Snapshots: map[string]Snapshot{
				"web-2-snapshot": {Name: "web-2-snapshot", Index: "2"}, "web-1-snapshot": {Name: "web-1-snapshot", Index: "1"},
			}}
		bindings := rapid.SliceOfNDistinct(rapid.Custom(drawBinding), 0, 5, (*v1beta1.ClusterResourceBinding).GetName)
		for range 3 {
			clusters := rapid.Permutation([]string{"a", "b", "c"}).Draw(t, "decided")
			picked := rapid.IntRange(0, 3).Draw(t, "picked")
			scheduled := rapid.SampledFrom([]metav1.ConditionStatus{"True", "False", "Unknown"}).Draw(t, "scheduled")
			facts.Policy = decided(scheduled, clusters[:picked], clusters[picked:])
			facts.Bindings = nil
			for _, b := range bindings.Draw(t, "bindings") {
				facts.Bindings = append(facts.Bindings, b)
			}
			input, _ := json.Marshal(facts)
			update := Placement(facts, before)
			if now, _ := json.Marshal(facts); string(now) != string(input) {
				t.Fatalf("facts were changed: %s", cmp.Diff(string(input), string(now)))
			}
			shuffled := facts
			shuffled.Bindings = rapid.Permutation(facts.Bindings).Draw(t, "order")
			if diff := cmp.Diff(update, Placement(shuffled, before)); diff != "" {
				t.Fatalf("the order shows: %s", diff)
			}
			consistent(t, facts, update.Status, compare)

			*placement.GetStatus() = update.Status
			again := Placement(facts, after)
			if !equality.Semantic.DeepEqual(again.Status, update.Status) || len(PlacementEvents(placement, &again.Status)) > 0 {
				t.Fatalf("seen again: %s", cmp.Diff(update.Status, again.Status))
			}
		}
	})
}

// consistent checks a status against the rules for rolling up, spelled out here once more.
func consistent(t *rapid.T, facts PlacementFacts, status v1beta1.PlacementStatus, compare bool) {
	order := []string{"Scheduled", "RolloutStarted", "Overridden", "WorkSynchronized", "Applied", "Available"}
	if compare {
		order = append(order[:4], "DiffReported")
	}
	ladder := func(conditions []metav1.Condition, from int) {
		for i, c := range conditions {
			kind := strings.TrimPrefix(strings.TrimPrefix(c.Type, "Cluster"), "ResourcePlacement")
			if i >= len(order) || kind != order[i] || c.ObservedGeneration != generation {
				t.Fatalf("condition %d is %+v", i, c)
			}
			if last := i == len(conditions)-1; i >= from && !last && c.Status != metav1.ConditionTrue {
				t.Fatalf("something follows %+v", c)
			}
		}
	}
	ladder(status.Conditions, 1)
	if status.Conditions[0].Status == metav1.ConditionUnknown {
		if len(status.Conditions) != 1 || len(status.PerClusterPlacementStatuses) > 0 {
			t.Fatalf("nothing is decided, and there is %+v", status)
		}
		return
	}
	var named []v1beta1.PerClusterPlacementStatus
	indexes := map[string]bool{}
	for _, entry := range status.PerClusterPlacementStatuses {
		ladder(entry.Conditions, 0)
		if entry.ClusterName != "" {
			named, indexes[entry.ObservedResourceIndex] = append(named, entry), true
		}
		last := entry.Conditions[len(entry.Conditions)-1]
		if len(entry.FailedPlacements) > 0 && (compare || last.Status != metav1.ConditionFalse) || compare && len(entry.DriftedPlacements) > 0 {
			t.Fatalf("lists that do not belong there: %+v", entry)
		}
	}
	wanted := int(*facts.Placement.GetSpec().Policy.NumberOfClusters)
	decisions := facts.Policy.GetStatus().ClusterDecisions
	picked := 0
	for _, d := range decisions {
		if d.Selected {
			picked++
		}
	}
	unnamed := len(status.PerClusterPlacementStatuses) - len(named)
	if slots := min(len(decisions)-picked, max(0, wanted-picked)); len(named) != picked || unnamed != slots {
		t.Fatalf("%d of %d clusters are picked, and there are %d and %d entries", picked, wanted, len(named), unnamed)
	}
	if picked == 0 {
		if len(status.Conditions) != 1 {
			t.Fatalf("no cluster, and %+v", status.Conditions)
		}
		return
	}
	apart := facts.Placement.GetSpec().Strategy.Type == v1beta1.RolloutStrategyTypeExternal && (len(indexes) > 1 || indexes[""])
	unknown := len(status.Conditions) == 2 && status.Conditions[1].Status == metav1.ConditionUnknown && status.ObservedResourceIndex == ""
	if len(status.Conditions) == 1 || apart && !unknown {
		t.Fatalf("clusters on %v, and %+v", indexes, status)
	}
	for i, c := range status.Conditions[1:] {
		want := metav1.ConditionTrue
		for _, entry := range named {
			said := metav1.ConditionUnknown
			if len(entry.Conditions) > i+1 {
				said = entry.Conditions[i+1].Status
			} else if last := entry.Conditions[len(entry.Conditions)-1]; last.Status != metav1.ConditionUnknown && !apart {
				t.Fatalf("%s was summed up although %s has got no further than %+v", c.Type, entry.ClusterName, last)
			}
			if said == metav1.ConditionUnknown || said == metav1.ConditionFalse && want == metav1.ConditionTrue {
				want = said
			}
		}
		if !apart && c.Status != want {
			t.Fatalf("%s is %s where the clusters say %s", c.Type, c.Status, want)
		}
	}
}
