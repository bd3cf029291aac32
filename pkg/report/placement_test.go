package report

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

var (
	before = metav1.NewTime(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	after  = metav1.NewTime(before.Add(time.Hour))
)

const generation = 7

// newPlacement is a placement of generation 7, whose policy snapshot web-0 and resource snapshot web-2-snapshot are in
// force.
func newPlacement(namespaced bool) v1beta1.PlacementObject {
	meta := metav1.ObjectMeta{Name: "web", Generation: generation}
	if namespaced {
		meta.Namespace = "app"
		return &v1beta1.ResourcePlacement{ObjectMeta: meta}
	}
	return &v1beta1.ClusterResourcePlacement{ObjectMeta: meta}
}

// decided is a policy snapshot whose scheduler has picked clusters and left out others.
func decided(status metav1.ConditionStatus, picked, others []string) v1beta1.PolicySnapshotObject {
	s := &v1beta1.ClusterSchedulingPolicySnapshot{ObjectMeta: metav1.ObjectMeta{Name: "web-0", Generation: 1}}
	reason := v1beta1.ReasonSchedulingPolicyFulfilled
	if status == metav1.ConditionFalse {
		reason = v1beta1.ReasonSchedulingPolicyUnfulfilled
	}
	s.Status.ObservedCRPGeneration = generation
	s.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionScheduled, Status: status, Reason: reason, ObservedGeneration: 1}}
	for _, name := range picked {
		s.Status.ClusterDecisions = append(s.Status.ClusterDecisions, v1beta1.ClusterDecision{ClusterName: name, Selected: true, Reason: "picked " + name})
	}
	for _, name := range others {
		s.Status.ClusterDecisions = append(s.Status.ClusterDecisions, v1beta1.ClusterDecision{ClusterName: name, Reason: "not " + name})
	}
	return s
}

// bound is a binding of generation 4 on the revision in force, that has reported conditions written as "Type=Status
// Reason".
func bound(cluster string, reported ...string) *v1beta1.ClusterResourceBinding {
	b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{Name: "web-" + cluster, Generation: 4}}
	b.Spec = v1beta1.ResourceBindingSpec{State: v1beta1.BindingStateBound, TargetCluster: cluster, SchedulingPolicySnapshotName: "web-0", ResourceSnapshotName: "web-2-snapshot"}
	for _, text := range reported {
		kind, rest, _ := strings.Cut(text, "=")
		status, reason, _ := strings.Cut(rest, " ")
		b.Status.Conditions = append(b.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, ObservedGeneration: 4})
	}
	return b
}

var (
	synced   = []string{"RolloutStarted=True RolloutStarted", "Overridden=True NoOverrideSpecified", "WorkSynchronized=True AllWorkSynced"}
	complete = append(slices.Clone(synced), "Applied=True AllWorkHaveBeenApplied", "Available=True AllWorkAreAvailable")
)

func also(reported []string, more ...string) []string { return append(slices.Clone(reported), more...) }

// says formats conditions in the form that bound reads, without the kind of the placement.
func says(t *testing.T, conditions []metav1.Condition) []string {
	t.Helper()
	var out []string
	for _, c := range conditions {
		if c.ObservedGeneration != generation {
			t.Errorf("%s speaks of generation %d", c.Type, c.ObservedGeneration)
		}
		kind := strings.TrimPrefix(strings.TrimPrefix(c.Type, "Cluster"), "ResourcePlacement")
		out = append(out, fmt.Sprintf("%s=%s %s", kind, c.Status, c.Reason))
	}
	return out
}

func TestPlacement(t *testing.T) {
	latest := Snapshot{Name: "web-2-snapshot", Index: "2", Resources: []v1beta1.ResourceIdentifier{{Version: "v1", Kind: "Namespace", Name: "app"}}}
	fulfilled := "Scheduled=True SchedulingPolicyFulfilled"
	type cluster struct {
		name       string
		index      string
		conditions []string
		failed     int
		drifted    int
		diffed     int
	}
	scheduled := "Scheduled=True Scheduled"
	type test struct {
		change   func(*PlacementFacts)
		policy   v1beta1.PolicySnapshotObject
		bindings []v1beta1.BindingObject
		want     []string
		clusters []cluster
		index    string // "2" if empty, none if "-"
		settled  bool
		event    string
		message  string // of the last condition, in part
	}
	failing := bound("b", also(synced, "Applied=False NotAllWorkHaveBeenApplied")...)
	failing.Status.FailedPlacements = make([]v1beta1.FailedResourcePlacement, 2)
	failing.Status.DriftedPlacements = make([]v1beta1.DriftedResourcePlacement, 1)
	failing.Status.DiffedPlacements = make([]v1beta1.DiffedResourcePlacement, 1)
	drifting := bound("a", complete...)
	drifting.Status.DriftedPlacements = make([]v1beta1.DriftedResourcePlacement, 1)
	drifting.Status.DiffedPlacements = make([]v1beta1.DiffedResourcePlacement, 1)
	onOld := func(reported ...string) *v1beta1.ClusterResourceBinding {
		b := bound("b", reported...)
		b.Spec.ResourceSnapshotName = "web-1-snapshot"
		return b
	}
	replaced := onOld("RolloutStarted=False RolloutNotStartedYet")
	replaced.Spec.State = v1beta1.BindingStateUnscheduled
	replaced.Annotations = map[string]string{contract.AnnotationReplacedBy: failover.Exchange{With: "a", Reason: failover.Lost}.String()}
	overriding := bound("a", "RolloutStarted=True RolloutStarted", "Overridden=True OverriddenSucceeded")
	overriding.Spec.ClusterResourceOverrideSnapshots = []string{"o-0"}
	stale := bound("a", complete...)
	stale.Generation = 5
	deleting := bound("a", complete...)
	deleting.DeletionTimestamp = &after
	elsewhere := bound("a", complete...)
	elsewhere.Spec.SchedulingPolicySnapshotName = "web-9"
	waiting := bound("b")
	waiting.Spec.State, waiting.Spec.ResourceSnapshotName = v1beta1.BindingStateScheduled, ""
	compared := bound("a", also(synced, "DiffReported=True AllWorkHaveDiffReported")...)
	compared.Status.DiffedPlacements = make([]v1beta1.DiffedResourcePlacement, 3)
	compared.Status.FailedPlacements = make([]v1beta1.FailedResourcePlacement, 3)

	pickN := func(n int32) func(*PlacementFacts) {
		return func(f *PlacementFacts) {
			f.Placement.GetSpec().Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: &n}
		}
	}
	reportDiff := func(f *PlacementFacts) {
		f.Placement.GetSpec().Strategy.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
	}
	external := func(f *PlacementFacts) {
		f.Placement.GetSpec().Strategy.Type = v1beta1.RolloutStrategyTypeExternal
		f.Latest = Snapshot{}
		f.Snapshots = map[string]Snapshot{latest.Name: latest, "web-1-snapshot": {Name: "web-1-snapshot", Index: "1"}}
	}
	unobserved := decided(metav1.ConditionTrue, []string{"a"}, nil)
	unobserved.GetStatus().ObservedCRPGeneration = generation - 1

	for name, tc := range map[string]test{
		"nothing is decided yet": {want: []string{"Scheduled=Unknown SchedulePending"}},
		"the scheduler has seen an older generation": {
			policy: unobserved, bindings: []v1beta1.BindingObject{bound("a", complete...)},
			want: []string{"Scheduled=Unknown SchedulePending"},
		},
		"no cluster is selected": {
			event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, nil, []string{"x"}), settled: true,
			want: []string{fulfilled},
		},
		"no binding yet": {
			event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, []string{"a"}, nil),
			want:     []string{fulfilled, "RolloutStarted=Unknown RolloutStartedUnknown"},
			clusters: []cluster{{name: "a", conditions: []string{scheduled, "RolloutStarted=Unknown RolloutStartedUnknown"}}},
			message:  "No report yet from 1 of 1 cluster: a",
		},
		"a binding that is going, or of another policy, does not count": {
			event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, []string{"a"}, nil), bindings: []v1beta1.BindingObject{deleting, elsewhere},
			want:     []string{fulfilled, "RolloutStarted=Unknown RolloutStartedUnknown"},
			clusters: []cluster{{name: "a", conditions: []string{scheduled, "RolloutStarted=Unknown RolloutStartedUnknown"}}},
		},
		"a report on an older generation of the binding does not count": {
			event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, []string{"a"}, nil), bindings: []v1beta1.BindingObject{stale},
			want:     []string{fulfilled, "RolloutStarted=Unknown RolloutStartedUnknown"},
			clusters: []cluster{{name: "a", index: "2", conditions: []string{scheduled, "RolloutStarted=Unknown RolloutStartedUnknown"}}},
		},
		"complete": {
			policy: decided(metav1.ConditionTrue, []string{"a", "b"}, nil), bindings: []v1beta1.BindingObject{bound("b", complete...), bound("a", complete...)},
			settled: true, event: "PlacementRolloutCompleted", message: "Available on 2 of 2 clusters",
			want: []string{fulfilled, "RolloutStarted=True RolloutStarted", "Overridden=True NoOverrideSpecified", "WorkSynchronized=True WorkSynchronized",
				"Applied=True ApplySucceeded", "Available=True ResourceAvailable"},
			clusters: []cluster{{name: "a", index: "2", conditions: also([]string{scheduled}, complete...)}, {name: "b", index: "2", conditions: also([]string{scheduled}, complete...)}},
		},
		"drift is shown on a cluster that is well, diffs are not": {
			policy: decided(metav1.ConditionTrue, []string{"a"}, nil), bindings: []v1beta1.BindingObject{drifting},
			settled: true, event: "PlacementRolloutCompleted",
			want: []string{fulfilled, "RolloutStarted=True RolloutStarted", "Overridden=True NoOverrideSpecified", "WorkSynchronized=True WorkSynchronized",
				"Applied=True ApplySucceeded", "Available=True ResourceAvailable"},
			clusters: []cluster{{name: "a", index: "2", conditions: also([]string{scheduled}, complete...), drifted: 1}},
		},
		"a failed apply is told at once, with everything that is known": {
			policy: decided(metav1.ConditionTrue, []string{"a", "b"}, nil), bindings: []v1beta1.BindingObject{bound("a", complete...), failing},
			settled: true, event: "PlacementWorkSynchronized !ApplyFailed", message: "Not applied on 1 of 2 clusters: b; see placementStatuses",
			want: []string{fulfilled, "RolloutStarted=True RolloutStarted", "Overridden=True NoOverrideSpecified", "WorkSynchronized=True WorkSynchronized", "Applied=False ApplyFailed"},
			clusters: []cluster{{name: "a", index: "2", conditions: also([]string{scheduled}, complete...)},
				{name: "b", index: "2", conditions: also([]string{scheduled}, also(synced, "Applied=False NotAllWorkHaveBeenApplied")...), failed: 2, drifted: 1, diffed: 1}},
		},
		"an apply under way is progress": {
			policy: decided(metav1.ConditionTrue, []string{"a"}, nil), bindings: []v1beta1.BindingObject{bound("a", also(synced, "Applied=False ApplyInProgress")...)},
			event:    "PlacementWorkSynchronized",
			want:     []string{fulfilled, "RolloutStarted=True RolloutStarted", "Overridden=True NoOverrideSpecified", "WorkSynchronized=True WorkSynchronized", "Applied=False ApplyFailed"},
			clusters: []cluster{{name: "a", index: "2", conditions: also([]string{scheduled}, also(synced, "Applied=False ApplyInProgress")...)}},
		},
		"what is not known outweighs what has failed": {
			event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, []string{"a", "b"}, nil), bindings: []v1beta1.BindingObject{bound("a"), onOld("RolloutStarted=False RolloutNotStartedYet")},
			want: []string{fulfilled, "RolloutStarted=Unknown RolloutStartedUnknown"},
			clusters: []cluster{{name: "a", index: "2", conditions: []string{scheduled, "RolloutStarted=Unknown RolloutStartedUnknown"}},
				{name: "b", index: "2", conditions: []string{scheduled, "RolloutStarted=False RolloutNotStartedYet"}}},
		},
		"a failing cluster shows its failure while others are held back": {
			event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, []string{"a", "b"}, nil),
			bindings: []v1beta1.BindingObject{bound("a", also(synced, "Applied=True AllWorkHaveBeenApplied", "Available=False NotAllWorkAreAvailable")...),
				onOld("RolloutStarted=False RolloutNotStartedYet")},
			message: "Rollout not started on 1 of 2 clusters: b",
			want:    []string{fulfilled, "RolloutStarted=False RolloutNotStartedYet"},
			clusters: []cluster{{name: "a", index: "2", conditions: also([]string{scheduled}, also(synced, "Applied=True AllWorkHaveBeenApplied", "Available=False NotAllWorkAreAvailable")...)},
				{name: "b", index: "2", conditions: []string{scheduled, "RolloutStarted=False RolloutNotStartedYet"}}},
		},
		"a cluster on an older revision that is not held back is not known": {
			event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, []string{"b"}, nil), bindings: []v1beta1.BindingObject{onOld(complete...)},
			want:     []string{fulfilled, "RolloutStarted=Unknown RolloutStartedUnknown"},
			clusters: []cluster{{name: "b", index: "2", conditions: []string{scheduled, "RolloutStarted=Unknown RolloutStartedUnknown"}}},
		},
		"a replaced cluster that keeps an older revision does not count": {
			event: "PlacementRolloutCompleted", policy: decided(metav1.ConditionTrue, []string{"a"}, []string{"b"}),
			bindings: []v1beta1.BindingObject{bound("a", complete...), replaced},
			want: []string{
				fulfilled, "RolloutStarted=True RolloutStarted", "Overridden=True NoOverrideSpecified", "WorkSynchronized=True WorkSynchronized",
				"Applied=True ApplySucceeded", "Available=True ResourceAvailable",
			},
			clusters: []cluster{{name: "a", index: "2", conditions: also([]string{scheduled}, complete...)}}, settled: true,
		},
		"overrides": {
			policy: decided(metav1.ConditionTrue, []string{"a"}, nil), bindings: []v1beta1.BindingObject{overriding},
			event:    "PlacementOverriddenSucceeded",
			want:     []string{fulfilled, "RolloutStarted=True RolloutStarted", "Overridden=True OverriddenSucceeded", "WorkSynchronized=Unknown WorkSynchronizedUnknown"},
			clusters: []cluster{{name: "a", index: "2", conditions: []string{scheduled, "RolloutStarted=True RolloutStarted", "Overridden=True OverriddenSucceeded", "WorkSynchronized=Unknown WorkSynchronizedUnknown"}}},
		},
		"fewer clusters than wanted": {
			change: pickN(3), policy: decided(metav1.ConditionFalse, []string{"a"}, []string{"x", "y", "z"}), bindings: []v1beta1.BindingObject{bound("a", complete...)},
			settled: true,
			want: []string{"Scheduled=False SchedulingPolicyUnfulfilled", "RolloutStarted=True RolloutStarted", "Overridden=True NoOverrideSpecified",
				"WorkSynchronized=True WorkSynchronized", "Applied=True ApplySucceeded", "Available=True ResourceAvailable"},
			event: "PlacementAvailable !SchedulingPolicyUnfulfilled",
			clusters: []cluster{{name: "a", index: "2", conditions: also([]string{scheduled}, complete...)},
				{conditions: []string{"Scheduled=False ScheduleFailed"}}, {conditions: []string{"Scheduled=False ScheduleFailed"}}},
		},
		"no cluster at all, and some wanted": {
			change: func(f *PlacementFacts) {
				f.Placement.GetSpec().Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"x", "y"}}
			},
			event: "!SchedulingPolicyUnfulfilled", policy: decided(metav1.ConditionFalse, nil, []string{"x"}), settled: true,
			want:     []string{"Scheduled=False SchedulingPolicyUnfulfilled"},
			clusters: []cluster{{conditions: []string{"Scheduled=False ScheduleFailed"}}},
		},
		"more clusters than wanted are no entries": {
			change: pickN(0), event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, []string{"a"}, []string{"x"}), bindings: []v1beta1.BindingObject{bound("a")},
			want:     []string{fulfilled, "RolloutStarted=Unknown RolloutStartedUnknown"},
			clusters: []cluster{{name: "a", index: "2", conditions: []string{scheduled, "RolloutStarted=Unknown RolloutStartedUnknown"}}},
		},
		"comparing instead of applying": {
			change: reportDiff, policy: decided(metav1.ConditionTrue, []string{"a"}, nil), bindings: []v1beta1.BindingObject{compared},
			settled: true, event: "PlacementRolloutCompleted",
			want: []string{fulfilled, "RolloutStarted=True RolloutStarted", "Overridden=True NoOverrideSpecified", "WorkSynchronized=True WorkSynchronized", "DiffReported=True DiffReportingCompleted"},
			clusters: []cluster{{name: "a", index: "2", diffed: 3,
				conditions: also([]string{scheduled}, also(synced, "DiffReported=True AllWorkHaveDiffReported")...)}},
		},
		"external: no cluster has any content": {
			change: external, event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, []string{"b"}, nil), bindings: []v1beta1.BindingObject{waiting},
			index: "-", message: "ClusterStagedUpdateRun",
			want:     []string{fulfilled, "RolloutStarted=Unknown RolloutControlledByExternalController"},
			clusters: []cluster{{name: "b", conditions: []string{scheduled, "RolloutStarted=Unknown RolloutStartedUnknown"}}},
		},
		"external: clusters on different revisions": {
			change: external, event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, []string{"a", "b"}, nil), bindings: []v1beta1.BindingObject{bound("a", complete...), onOld(complete...)},
			index: "-", settled: true,
			want: []string{fulfilled, "RolloutStarted=Unknown RolloutControlledByExternalController"},
			clusters: []cluster{{name: "a", index: "2", conditions: also([]string{scheduled}, complete...)},
				{name: "b", index: "1", conditions: also([]string{scheduled}, complete...)}},
		},
		"external: what a rolling update held back waits for a run": {
			change: external, event: "PlacementScheduled", policy: decided(metav1.ConditionTrue, []string{"a", "b"}, nil),
			bindings: []v1beta1.BindingObject{bound("a", complete...), onOld("RolloutStarted=False RolloutNotStartedYet")},
			index:    "-",
			want:     []string{fulfilled, "RolloutStarted=Unknown RolloutControlledByExternalController"},
			clusters: []cluster{{name: "a", index: "2", conditions: also([]string{scheduled}, complete...)},
				{name: "b", index: "1", conditions: []string{scheduled, "RolloutStarted=Unknown RolloutStartedUnknown"}}},
		},
		"external: all on one revision": {
			change: external, policy: decided(metav1.ConditionTrue, []string{"a"}, nil), bindings: []v1beta1.BindingObject{bound("a", complete...)},
			settled: true, event: "PlacementRolloutCompleted",
			want: []string{fulfilled, "RolloutStarted=True RolloutStarted", "Overridden=True NoOverrideSpecified", "WorkSynchronized=True WorkSynchronized",
				"Applied=True ApplySucceeded", "Available=True ResourceAvailable"},
			clusters: []cluster{{name: "a", index: "2", conditions: also([]string{scheduled}, complete...)}},
		},
	} {
		for _, namespaced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/namespaced=%v", name, namespaced), func(t *testing.T) {
				facts := PlacementFacts{Placement: newPlacement(namespaced), Policy: tc.policy, Bindings: tc.bindings, Latest: latest}
				if tc.change != nil {
					tc.change(&facts)
				}
				got := Placement(facts, before)
				events := PlacementEvents(facts.Placement, &got.Status)
				if said := says(t, got.Status.Conditions); !slices.Equal(said, tc.want) {
					t.Errorf("conditions %v\nwant %v", said, tc.want)
				}
				last := got.Status.Conditions[len(got.Status.Conditions)-1]
				message := tc.message
				if namespaced {
					message = strings.ReplaceAll(message, "ClusterStaged", "Staged")
				}
				if !strings.Contains(last.Message, message) {
					t.Errorf("message %q; want %q in it", last.Message, message)
				}
				if (got.Delay == 0) != tc.settled {
					t.Errorf("may be delayed for %s; want %v", got.Delay, tc.settled)
				}
				if got := reasonsOf(events); strings.Join(got, " ") != tc.event {
					t.Errorf("events %v; want %s", got, tc.event)
				}
				if len(got.Status.PerClusterPlacementStatuses) != len(tc.clusters) {
					t.Fatalf("clusters %+v; want %d", got.Status.PerClusterPlacementStatuses, len(tc.clusters))
				}
				for i, entry := range got.Status.PerClusterPlacementStatuses {
					want := tc.clusters[i]
					said := says(t, entry.Conditions)
					if entry.ClusterName != want.name || entry.ObservedResourceIndex != want.index || !slices.Equal(said, want.conditions) ||
						len(entry.FailedPlacements) != want.failed || len(entry.DriftedPlacements) != want.drifted || len(entry.DiffedPlacements) != want.diffed {
						t.Errorf("entry %d: %+v, says %v; want %+v", i, entry, said, want)
					}
				}
				index := map[string]string{"": "2", "-": ""}[tc.index]
				if got.Status.ObservedResourceIndex != index || (index == "2") != (len(got.Status.SelectedResources) == 1) {
					t.Errorf("index %q, resources %v; want index %q", got.Status.ObservedResourceIndex, got.Status.SelectedResources, index)
				}

				// The same facts, at a later time, give the same status and no events.
				*facts.Placement.GetStatus() = got.Status
				again := Placement(facts, after)
				if events := PlacementEvents(facts.Placement, &again.Status); !equality.Semantic.DeepEqual(again.Status, got.Status) || len(events) > 0 {
					t.Errorf("seen again: %+v, events %v", again.Status, events)
				}
			})
		}
	}
}

func TestPlacementKeepsConditionsOfOtherAgents(t *testing.T) {
	placement := newPlacement(false)
	placement.GetStatus().Conditions = []metav1.Condition{
		{Type: "ClusterResourcePlacementStatusSynced", Status: metav1.ConditionTrue, ObservedGeneration: generation},
		{Type: "ClusterResourcePlacementApplied", Status: metav1.ConditionTrue, ObservedGeneration: generation - 1},
	}
	got := Placement(PlacementFacts{Placement: placement}, before)
	if said := says(t, got.Status.Conditions); !slices.Equal(said, []string{"Scheduled=Unknown SchedulePending", "StatusSynced=True "}) {
		t.Errorf("conditions %v", said)
	}
}

func TestFailureIsRecordedOnce(t *testing.T) {
	placement := newPlacement(false)
	failing := bound("b", also(synced, "Applied=False NotAllWorkHaveBeenApplied")...)
	failing.Status.FailedPlacements = make([]v1beta1.FailedResourcePlacement, 1)
	facts := PlacementFacts{Placement: placement, Policy: decided(metav1.ConditionTrue, []string{"a", "b"}, nil), Latest: Snapshot{Name: "web-2-snapshot", Index: "2"},
		Bindings: []v1beta1.BindingObject{bound("a"), failing}}
	first := Placement(facts, before)
	if first.Delay > 0 {
		t.Error("a failure is held back")
	}
	*placement.GetStatus() = first.Status
	facts.Bindings = []v1beta1.BindingObject{bound("a", synced[0]), failing}
	if second := Placement(facts, before); second.Delay == 0 {
		t.Error("progress of another cluster is told at once because of a failure that is known")
	}
}

func TestInvalidPlacementLeavesTheRest(t *testing.T) {
	placement := newPlacement(true)
	placement.GetStatus().ObservedResourceIndex = "1"
	placement.GetStatus().Conditions = []metav1.Condition{
		{Type: "ResourcePlacementScheduled", Status: metav1.ConditionTrue, Reason: "SchedulingPolicyFulfilled", ObservedGeneration: generation - 1, LastTransitionTime: before},
		{Type: "ResourcePlacementApplied", Status: metav1.ConditionTrue, Reason: "ApplySucceeded", ObservedGeneration: generation - 1, LastTransitionTime: before},
	}
	got := InvalidPlacement(placement, "no such kind", after)
	want := v1beta1.PlacementStatus{ObservedResourceIndex: "1", Conditions: []metav1.Condition{
		{Type: "ResourcePlacementScheduled", Status: metav1.ConditionFalse, Reason: "InvalidResourceSelectors", ObservedGeneration: generation, LastTransitionTime: after,
			Message: "The resource selectors are invalid: no such kind"},
		placement.GetStatus().Conditions[1],
	}}
	if !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
