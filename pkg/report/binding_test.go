package report

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

var (
	atFirst    = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	afterwards = metav1.NewTime(atFirst.Add(time.Minute))
)

// workHaving is a Work of generation 4 whose member has reported conditions.
func workHaving(name string, conditions ...metav1.Condition) *v1beta1.Work {
	return &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 4}, Status: v1beta1.WorkStatus{Conditions: conditions}}
}

func listing(w *v1beta1.Work, manifests ...v1beta1.ManifestCondition) *v1beta1.Work {
	w.Status.ManifestConditions = manifests
	return w
}

func said(generation int64, kind string, status bool, reason string) metav1.Condition {
	if status {
		return yes(generation, kind, reason, "")
	}
	return no(generation, kind, reason, "")
}

func reportedManifest(name string, conditions ...metav1.Condition) v1beta1.ManifestCondition {
	return v1beta1.ManifestCondition{
		Identifier: v1beta1.WorkResourceIdentifier{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "shop", Name: name},
		Conditions: conditions,
	}
}

func havingDrifted(m v1beta1.ManifestCondition) v1beta1.ManifestCondition {
	m.DriftDetails = &v1beta1.DriftDetails{ObservedInMemberClusterGeneration: 2}
	return m
}

func havingDiffed(m v1beta1.ManifestCondition) v1beta1.ManifestCondition {
	m.DiffDetails = &v1beta1.DiffDetails{}
	return m
}

// bindingTold is an update as tests compare it.
type bindingTold struct {
	Conditions              []string
	Failed, Drifted, Diffed []string
	Settled                 bool
}

func tellBinding(v BindingUpdate) bindingTold {
	out := bindingTold{Settled: v.Settled, Conditions: conditionTexts(v.Status.Conditions)}
	for _, f := range v.Status.FailedPlacements {
		out.Failed = append(out.Failed, f.Name+" "+f.Condition.Reason)
	}
	for _, d := range v.Status.DriftedPlacements {
		out.Drifted = append(out.Drifted, d.Name)
	}
	for _, d := range v.Status.DiffedPlacements {
		out.Diffed = append(out.Diffed, d.Name)
	}
	return out
}

// conditionTexts writes conditions as Type=Status/Reason@generation.
func conditionTexts(conditions []metav1.Condition) []string {
	var out []string
	for _, c := range conditions {
		out = append(out, fmt.Sprintf("%s=%s/%s@%d", c.Type, c.Status, c.Reason, c.ObservedGeneration))
	}
	return out
}

func TestLastHealthy(t *testing.T) {
	one, two := v1beta1.Revision{ResourceSnapshotName: "p-1-snapshot"}, v1beta1.Revision{
		ResourceSnapshotName: "p-2-snapshot", ClusterResourceOverrideSnapshots: []string{"o-3"}, ApplyStrategy: &v1beta1.ApplyStrategy{AllowCoOwnership: true},
	}
	work := func(available bool) []*v1beta1.Work {
		return []*v1beta1.Work{workHaving("a", said(4, "Applied", true, "AllManifestsApplied"), said(4, "Available", available, "any"))}
	}
	diffed := []*v1beta1.Work{workHaving("a", said(4, "DiffReported", true, "any"))}
	for name, tc := range map[string]struct {
		old   *v1beta1.Revision
		facts BindingFacts
		want  *v1beta1.Revision
	}{
		"never healthy":                  {facts: BindingFacts{Content: two, Works: work(false)}},
		"healthy for the first time":     {facts: BindingFacts{Content: two, Works: work(true)}, want: &two},
		"healthy with something else":    {old: &one, facts: BindingFacts{Content: two, Works: work(true)}, want: &two},
		"not healthy any more":           {old: &one, facts: BindingFacts{Content: two, Works: work(false)}, want: &one},
		"nothing came of it":             {old: &one, facts: BindingFacts{Content: two, SyncFailure: "no"}, want: &one},
		"differences are no health":      {old: &one, facts: BindingFacts{Content: two, ReportDiff: true, Works: diffed}, want: &one},
		"the report is of another state": {old: &one, facts: BindingFacts{Content: two, Works: []*v1beta1.Work{workHaving("a", said(3, "Available", true, "any"))}}, want: &one},
	} {
		t.Run(name, func(t *testing.T) {
			tc.facts.Generation = 7
			v := Binding(v1beta1.ResourceBindingStatus{LastHealthy: tc.old}, tc.facts, afterwards)
			if diff := cmp.Diff(tc.want, v.Status.LastHealthy); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnavailableSince(t *testing.T) {
	one, two := v1beta1.Revision{ResourceSnapshotName: "p-1-snapshot"}, v1beta1.Revision{ResourceSnapshotName: "p-2-snapshot"}
	applied := said(4, "Applied", true, "AllManifestsApplied")
	good := []*v1beta1.Work{workHaving("a", applied, said(4, "Available", true, "any"))}
	bad := []*v1beta1.Work{workHaving("a", applied, said(4, "Available", false, "any"))}
	old := []*v1beta1.Work{workHaving("a", applied, said(3, "Available", false, "any"))}
	since, now := &atFirst, &afterwards
	for name, tc := range map[string]struct {
		healthy *v1beta1.Revision
		since   *metav1.Time
		facts   BindingFacts
		want    *metav1.Time
	}{
		"never available":                  {facts: BindingFacts{Content: two, Works: bad}},
		"available":                        {healthy: &two, facts: BindingFacts{Content: two, Works: good}},
		"available with another revision":  {healthy: &one, facts: BindingFacts{Content: two, Works: bad}},
		"not available any more":           {healthy: &two, facts: BindingFacts{Content: two, Works: bad}, want: now},
		"still not":                        {healthy: &two, since: since, facts: BindingFacts{Content: two, Works: bad}, want: since},
		"available again":                  {healthy: &two, since: since, facts: BindingFacts{Content: two, Works: good}},
		"a new revision":                   {healthy: &one, since: since, facts: BindingFacts{Content: two, Works: bad}},
		"the Works are new, no report yet": {healthy: &two, facts: BindingFacts{Content: two, Works: old}},
		"and it was not before":            {healthy: &two, since: since, facts: BindingFacts{Content: two, Works: old}, want: since},
		"not applied any more": {healthy: &two, facts: BindingFacts{Content: two, Works: []*v1beta1.Work{
			workHaving("a", said(4, "Applied", false, "any")),
		}}},
		"the Works cannot be written": {healthy: &two, since: since, facts: BindingFacts{Content: two, SyncFailure: "no"}, want: since},
		"only compared":               {healthy: &two, since: since, facts: BindingFacts{Content: two, ReportDiff: true, Works: bad}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.facts.Generation = 7
			v := Binding(v1beta1.ResourceBindingStatus{LastHealthy: tc.healthy, UnavailableSince: tc.since}, tc.facts, afterwards)
			if diff := cmp.Diff(tc.want, v.Status.UnavailableSince); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBinding(t *testing.T) {
	const (
		started = "RolloutStarted=True/RolloutStarted@7"
		plain   = "Overridden=True/NoOverrideSpecified@7"
		synced  = "WorkSynchronized=True/AllWorkSynced@7"
		applied = "Applied=True/AllWorkHaveBeenApplied@7"
	)
	good := func(name string) *v1beta1.Work {
		return workHaving(name, said(4, "Applied", true, "AllManifestsApplied"), said(4, "Available", true, "AllManifestsAvailable"))
	}
	stale := func(name string) *v1beta1.Work {
		return workHaving(name, said(3, "Applied", true, "AllManifestsApplied"))
	}
	unavailable := func(name, reason string) *v1beta1.Work {
		return listing(workHaving(name, said(4, "Applied", true, "AllManifestsApplied"), said(4, "Available", false, "SomeManifestsAreNotAvailable")),
			havingDiffed(havingDrifted(reportedManifest("d", said(1, "Applied", true, "Applied"), said(1, "Available", false, reason)))))
	}
	for name, tc := range map[string]struct {
		old   []metav1.Condition
		facts BindingFacts
		want  bindingTold
	}{
		"all is well": {
			facts: BindingFacts{Works: []*v1beta1.Work{good("a"), good("b")}},
			want:  bindingTold{Conditions: []string{started, plain, synced, applied, "Available=True/AllWorkAreAvailable@7"}, Settled: true},
		},
		"overrides are mentioned": {
			facts: BindingFacts{Overridden: true, Works: []*v1beta1.Work{good("a")}},
			want:  bindingTold{Conditions: []string{started, "Overridden=True/OverriddenSucceeded@7", synced, applied, "Available=True/AllWorkAreAvailable@7"}, Settled: true},
		},
		"nothing has been reported yet": {
			facts: BindingFacts{Works: []*v1beta1.Work{stale("a"), workHaving("b")}},
			want:  bindingTold{Conditions: []string{started, plain, synced, "Applied=False/ApplyInProgress@7"}},
		},
		"one work has not reported yet": {
			facts: BindingFacts{Works: []*v1beta1.Work{stale("a"), good("b")}},
			want:  bindingTold{Conditions: []string{started, plain, synced, "Applied=False/NotAllWorkHaveBeenApplied@7"}},
		},
		"while a report is missing the lists stay empty, though another work has failed": {
			facts: BindingFacts{Works: []*v1beta1.Work{stale("a"), listing(workHaving("b", said(4, "Applied", false, "SomeManifestsAreNotApplied")),
				havingDiffed(reportedManifest("x", said(1, "Applied", false, "NotTakenOver"))))}},
			want: bindingTold{Conditions: []string{started, plain, synced, "Applied=False/NotAllWorkHaveBeenApplied@7"}},
		},
		"a failed apply fills all lists": {
			facts: BindingFacts{Works: []*v1beta1.Work{
				listing(good("a"), havingDrifted(reportedManifest("fine", said(1, "Applied", true, "Applied")))),
				listing(workHaving("b", said(4, "Applied", false, "SomeManifestsAreNotApplied")), havingDiffed(reportedManifest("x", said(1, "Applied", false, "NotTakenOver")))),
			}},
			want: bindingTold{
				Conditions: []string{started, plain, synced, "Applied=False/NotAllWorkHaveBeenApplied@7"},
				Failed:     []string{"x NotTakenOver"}, Drifted: []string{"fine"}, Diffed: []string{"x"}, Settled: true,
			},
		},
		"what is only about to be applied is progress": {
			facts: BindingFacts{Works: []*v1beta1.Work{
				listing(workHaving("b", said(4, "Applied", false, "SomeManifestsAreNotApplied")), reportedManifest("x", said(4, "Applied", false, "PreparingToProcess"))),
			}},
			want: bindingTold{
				Conditions: []string{started, plain, synced, "Applied=False/NotAllWorkHaveBeenApplied@7"},
				Failed:     []string{"x PreparingToProcess"},
			},
		},
		"what is not available yet is progress": {
			facts: BindingFacts{Works: []*v1beta1.Work{good("a"), unavailable("b", "ManifestNotAvailableYet")}},
			want: bindingTold{
				Conditions: []string{started, plain, synced, applied, "Available=False/NotAllWorkAreAvailable@7"},
				Failed:     []string{"d ManifestNotAvailableYet"}, Drifted: []string{"d"},
			},
		},
		"unless it was available before": {
			old:   []metav1.Condition{said(7, "Available", true, "AllWorkAreAvailable")},
			facts: BindingFacts{Works: []*v1beta1.Work{unavailable("b", "ManifestNotAvailableYet")}},
			want: bindingTold{
				Conditions: []string{started, plain, synced, applied, "Available=False/NotAllWorkAreAvailable@7"},
				Failed:     []string{"d ManifestNotAvailableYet"}, Drifted: []string{"d"}, Settled: true,
			},
		},
		"with this content, that is": {
			old:   []metav1.Condition{said(6, "Available", true, "AllWorkAreAvailable")},
			facts: BindingFacts{Works: []*v1beta1.Work{unavailable("b", "ManifestNotAvailableYet")}},
			want: bindingTold{
				Conditions: []string{started, plain, synced, applied, "Available=False/NotAllWorkAreAvailable@7"},
				Failed:     []string{"d ManifestNotAvailableYet"}, Drifted: []string{"d"},
			},
		},
		"an availability that cannot be found out is a failure": {
			facts: BindingFacts{Works: []*v1beta1.Work{unavailable("b", "Failed")}},
			want: bindingTold{
				Conditions: []string{started, plain, synced, applied, "Available=False/NotAllWorkAreAvailable@7"},
				Failed:     []string{"d Failed"}, Drifted: []string{"d"}, Settled: true,
			},
		},
		"applied and silent on availability": {
			facts: BindingFacts{Works: []*v1beta1.Work{listing(workHaving("a", said(4, "Applied", true, "AllManifestsApplied")), havingDrifted(reportedManifest("d")))}},
			want:  bindingTold{Conditions: []string{started, plain, synced, applied, "Available=False/NotAllWorkAreAvailable@7"}, Drifted: []string{"d"}},
		},
		"what cannot be tracked is said": {
			facts: BindingFacts{Works: []*v1beta1.Work{good("a"), workHaving("b", said(4, "Applied", true, ""), said(4, "Available", true, "WorkNotTrackable"))}},
			want:  bindingTold{Conditions: []string{started, plain, synced, applied, "Available=True/NotAllWorkAreAvailabilityTrackable@7"}, Settled: true},
		},
		"in the newer word for it too": {
			facts: BindingFacts{Works: []*v1beta1.Work{workHaving("b", said(4, "Applied", true, ""), said(4, "Available", true, "SomeManifestsAreNotAvailabilityTrackable"))}},
			want:  bindingTold{Conditions: []string{started, plain, synced, applied, "Available=True/NotAllWorkAreAvailabilityTrackable@7"}, Settled: true},
		},
		"differences are reported": {
			facts: BindingFacts{ReportDiff: true, Works: []*v1beta1.Work{
				listing(workHaving("a", said(4, "DiffReported", true, "AllManifestsDiffReported")), havingDrifted(havingDiffed(reportedManifest("x", said(1, "DiffReported", true, "FoundDiff"))))),
			}},
			want: bindingTold{Conditions: []string{started, plain, synced, "DiffReported=True/AllWorkHaveDiffReported@7"}, Diffed: []string{"x"}, Settled: true},
		},
		"differences are listed beside one that could not be found": {
			facts: BindingFacts{ReportDiff: true, Works: []*v1beta1.Work{
				listing(workHaving("a", said(4, "DiffReported", false, "SomeManifestsHaveNotReportedDiff")), havingDiffed(reportedManifest("x", said(1, "DiffReported", false, "FailedToReportDiff")))),
			}},
			want: bindingTold{Conditions: []string{started, plain, synced, "DiffReported=False/NotAllWorkHaveDiffReported@7"}, Diffed: []string{"x"}, Settled: true},
		},
		"no differences are listed beside a manifest that could not be read": {
			facts: BindingFacts{ReportDiff: true, Works: []*v1beta1.Work{
				listing(workHaving("a", said(4, "DiffReported", false, "SomeManifestsHaveNotReportedDiff")),
					havingDiffed(reportedManifest("x", said(1, "DiffReported", true, "FoundDiff"))),
					v1beta1.ManifestCondition{Identifier: v1beta1.WorkResourceIdentifier{Ordinal: 1, Group: "dummy", Version: "v10", Kind: "Fake", Name: "x"},
						Conditions: []metav1.Condition{said(1, "DiffReported", false, "FailedToReportDiff")}}),
			}},
			want: bindingTold{Conditions: []string{started, plain, synced, "DiffReported=False/NotAllWorkHaveDiffReported@7"}, Settled: true},
		},
		"nobody has looked for differences yet": {
			facts: BindingFacts{ReportDiff: true, Works: []*v1beta1.Work{good("a")}},
			want:  bindingTold{Conditions: []string{started, plain, synced, "DiffReported=False/DiffReportInProgress@7"}},
		},
		"one work has not been compared yet": {
			facts: BindingFacts{ReportDiff: true, Works: []*v1beta1.Work{
				workHaving("a"), workHaving("b", said(4, "DiffReported", true, "AllManifestsDiffReported")),
			}},
			want: bindingTold{Conditions: []string{started, plain, synced, "DiffReported=False/DiffReportInProgress@7"}},
		},
		"an override that fails is the end of it": {
			facts: BindingFacts{Overridden: true, OverrideFailure: "no such label", Works: []*v1beta1.Work{good("a")}},
			want:  bindingTold{Conditions: []string{started, "Overridden=False/OverriddenFailed@7"}, Settled: true},
		},
		"content on its way is progress": {
			facts: BindingFacts{OverrideFailure: "1 of 2 parts", Passing: true},
			want:  bindingTold{Conditions: []string{started, "Overridden=False/OverriddenFailed@7"}},
		},
		"so is a write that fails": {
			facts: BindingFacts{SyncFailure: "refused", Works: []*v1beta1.Work{good("a")}},
			want:  bindingTold{Conditions: []string{started, plain, "WorkSynchronized=False/SyncWorkFailed@7"}, Settled: true},
		},
		"a rollout that is held back stays so": {
			old:   []metav1.Condition{said(7, "RolloutStarted", false, "RolloutNotStartedYet")},
			facts: BindingFacts{Works: []*v1beta1.Work{good("a")}},
			want:  bindingTold{Conditions: []string{"RolloutStarted=False/RolloutNotStartedYet@7", plain, synced, applied, "Available=True/AllWorkAreAvailable@7"}, Settled: true},
		},
		"a binding that was told something new since is not held back": {
			old:   []metav1.Condition{said(6, "RolloutStarted", false, "RolloutNotStartedYet")},
			facts: BindingFacts{Works: []*v1beta1.Work{good("a")}},
			want:  bindingTold{Conditions: []string{started, plain, synced, applied, "Available=True/AllWorkAreAvailable@7"}, Settled: true},
		},
		"old findings go, foreign conditions stay": {
			old:   []metav1.Condition{said(6, "DiffReported", true, "AllWorkHaveDiffReported"), said(2, "Audited", true, "Fine")},
			facts: BindingFacts{Works: []*v1beta1.Work{good("a")}},
			want:  bindingTold{Conditions: []string{started, plain, synced, applied, "Available=True/AllWorkAreAvailable@7", "Audited=True/Fine@2"}, Settled: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.facts.Generation, tc.facts.Bound = 7, true
			if diff := cmp.Diff(tc.want, tellBinding(Binding(v1beta1.ResourceBindingStatus{Conditions: tc.old}, tc.facts, afterwards))); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestBindingUnscheduledIsNotStarted(t *testing.T) {
	got := Binding(v1beta1.ResourceBindingStatus{}, BindingFacts{Generation: 7, Works: []*v1beta1.Work{workHaving("a")}}, afterwards)
	if c := meta.FindStatusCondition(got.Status.Conditions, v1beta1.ConditionRolloutStarted); c != nil {
		t.Fatalf("got %+v", c)
	}
}

func TestBindingTimes(t *testing.T) {
	works := []*v1beta1.Work{workHaving("a", said(4, "Applied", true, ""), said(4, "Available", true, "WorkNotTrackable"))}
	first := Binding(v1beta1.ResourceBindingStatus{}, BindingFacts{Generation: 7, Bound: true, Works: works}, atFirst).Status
	same := Binding(first, BindingFacts{Generation: 7, Bound: true, Works: works}, afterwards).Status
	if diff := cmp.Diff(first, same); diff != "" {
		t.Fatalf("the same facts say something else: %s", diff)
	}
	next := Binding(first, BindingFacts{Generation: 8, Bound: true, Works: works}, afterwards).Status
	for _, kind := range []string{v1beta1.ConditionApplied, v1beta1.ConditionAvailable} {
		if c := meta.FindStatusCondition(next.Conditions, kind); !c.LastTransitionTime.Equal(&afterwards) {
			t.Errorf("%s of new content counts from %s, when the old was there", kind, c.LastTransitionTime)
		}
	}
	if c := meta.FindStatusCondition(next.Conditions, v1beta1.ConditionRolloutStarted); !c.LastTransitionTime.Equal(&atFirst) {
		t.Errorf("RolloutStarted did not change and says it did at %s", c.LastTransitionTime)
	}
}

func TestBindingQuotesNoMoreThanAStatusHolds(t *testing.T) {
	got := Binding(v1beta1.ResourceBindingStatus{}, BindingFacts{SyncFailure: strings.Repeat("größer ", 10_000)}, afterwards).Status
	c := meta.FindStatusCondition(got.Conditions, v1beta1.ConditionWorkSynchronized)
	if len(c.Message) > 2100 || !utf8.ValidString(c.Message) {
		t.Fatalf("%d bytes", len(c.Message))
	}
}

// Whatever agent a member runs: what it reports of a Secret is not its contents.
func TestBindingShowsNoSecretThatAMemberReports(t *testing.T) {
	details := []v1beta1.PatchDetail{{Path: "/data/password", ValueInHub: "hunter2", ValueInMember: "swordfish"}}
	m := reportedManifest("s", no(4, "Applied", "FailedToApply", `Secret "s" is invalid: data[password]: Invalid value: "hunter2": no good`))
	m.Identifier.Kind, m.Identifier.Resource = "Secret", "secrets"
	m.DriftDetails = &v1beta1.DriftDetails{ObservedDrifts: details}
	m.DiffDetails = &v1beta1.DiffDetails{ObservedDiffs: details}
	work := listing(workHaving("a", said(4, "Applied", false, "SomeManifestsAreNotApplied"), said(4, "DiffReported", true, "any")), m)
	for _, diffOnly := range []bool{false, true} {
		got := Binding(v1beta1.ResourceBindingStatus{}, BindingFacts{ReportDiff: diffOnly, Works: []*v1beta1.Work{work}}, afterwards).Status
		text := fmt.Sprintf("%+v", got)
		if strings.Contains(text, "hunter2") || strings.Contains(text, "swordfish") || len(got.DiffedPlacements) != 1 || !diffOnly && len(got.DriftedPlacements)+len(got.FailedPlacements) != 2 {
			t.Errorf("only compared %t: %s", diffOnly, text)
		}
	}
}

func TestBindingListsAreSortedThenCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.Permutation(numbered(150)).Draw(t, "order")
		var manifests []v1beta1.ManifestCondition
		for _, n := range names {
			manifests = append(manifests, havingDiffed(reportedManifest(n, said(1, "Applied", false, "NotTakenOver"))))
		}
		cut := rapid.IntRange(1, 149).Draw(t, "cut")
		refused := said(4, "Applied", false, "SomeManifestsAreNotApplied")
		envelope := listing(workHaving("b", refused), manifests[cut:]...)
		envelope.Labels = map[string]string{contract.LabelEnvelopeKind: "ResourceEnvelope", contract.LabelEnvelopeName: "e", contract.LabelEnvelopeNamespace: "shop"}
		got := Binding(v1beta1.ResourceBindingStatus{}, BindingFacts{Works: []*v1beta1.Work{listing(workHaving("a", refused), manifests[:cut]...), envelope}}, afterwards).Status
		for i, want := range numbered(MostListed) {
			f, d := got.FailedPlacements[i], got.DiffedPlacements[i]
			fromEnvelope := slices.Index(names, want) >= cut
			if f.Name != want || d.Name != want || (f.Envelope != nil) != fromEnvelope {
				t.Fatalf("place %d: %s and %s, envelope %v; want %s, envelope %v", i, f.Name, d.Name, f.Envelope, want, fromEnvelope)
			}
		}
		if len(got.FailedPlacements) != MostListed || len(got.DiffedPlacements) != MostListed {
			t.Fatalf("%d and %d entries", len(got.FailedPlacements), len(got.DiffedPlacements))
		}
	})
}

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%03d", i)
	}
	return out
}

// The order in which Works are read must not show.
func TestBindingSameFactsSameBytes(t *testing.T) {
	works := []*v1beta1.Work{
		listing(workHaving("a", said(4, "Applied", false, "")), reportedManifest("x", said(1, "Applied", false, "NotTakenOver"))),
		listing(workHaving("b", said(4, "Applied", false, "")), havingDrifted(reportedManifest("y", said(1, "Applied", false, "FoundDrifts")))),
		workHaving("c", said(4, "Applied", true, "")), workHaving("d", said(4, "Applied", false, "")), workHaving("e", said(4, "Applied", false, "")),
	}
	want, _ := json.Marshal(Binding(v1beta1.ResourceBindingStatus{}, BindingFacts{Works: works}, afterwards))
	rapid.Check(t, func(t *rapid.T) {
		shuffled := rapid.Permutation(works).Draw(t, "works")
		got, _ := json.Marshal(Binding(v1beta1.ResourceBindingStatus{}, BindingFacts{Works: shuffled}, afterwards))
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Fatal(diff)
		}
	})
}
