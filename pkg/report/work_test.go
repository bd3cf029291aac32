package report

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

var (
	noon      = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	oneOClock = metav1.NewTime(noon.Add(time.Hour))
)

func made(name string, reasons ...string) Manifest {
	m := Manifest{Identifier: v1beta1.WorkResourceIdentifier{Version: "v1", Kind: "ConfigMap", Namespace: "n", Name: name}}
	m.Applied = Finding{reasons[0], "m"}
	if len(reasons) > 1 {
		m.Available = Finding{reasons[1], "m"}
	}
	return m
}

func passing(m Manifest) Manifest { m.Passing = true; return m }

func TestWorkSummary(t *testing.T) {
	ready := made("a", v1beta1.ReasonManifestApplied, v1beta1.ReasonManifestAvailable)
	untracked := made("u", v1beta1.ReasonManifestApplied, v1beta1.ReasonManifestNotTrackable)
	starting := made("s", v1beta1.ReasonManifestApplied, v1beta1.ReasonManifestNotAvailableYet)
	failed := made("f", v1beta1.ReasonManifestApplyFailed)
	for name, tc := range map[string]struct {
		pass    Pass
		want    map[string]string // condition type: reason
		status  map[string]metav1.ConditionStatus
		settled bool
	}{
		"an empty Work is applied": {want: map[string]string{"Applied": "AllManifestsApplied", "Available": "AllManifestsAvailable"}, settled: true},
		"all available":            {pass: Pass{Manifests: []Manifest{ready}}, want: map[string]string{"Applied": "AllManifestsApplied", "Available": "AllManifestsAvailable"}, settled: true},
		"one cannot be tracked":    {pass: Pass{Manifests: []Manifest{ready, untracked}}, want: map[string]string{"Applied": "AllManifestsApplied", "Available": "WorkNotTrackable"}, settled: true},
		"one is starting":          {pass: Pass{Manifests: []Manifest{untracked, starting}}, want: map[string]string{"Applied": "AllManifestsApplied", "Available": "SomeManifestsAreNotAvailable"}},
		"one failed":               {pass: Pass{Manifests: []Manifest{ready, failed}}, want: map[string]string{"Applied": "SomeManifestsAreNotApplied"}, settled: true},
		"one failed, one is starting: the failure is news": {pass: Pass{Manifests: []Manifest{starting, failed}}, want: map[string]string{"Applied": "SomeManifestsAreNotApplied"}, settled: true},
		"one waits":               {pass: Pass{Manifests: []Manifest{ready, passing(failed)}}, want: map[string]string{"Applied": "SomeManifestsAreNotApplied"}},
		"a left-over stays":       {pass: Pass{Manifests: []Manifest{ready}, Remaining: []string{"ConfigMap n/x (forbidden)"}}, want: map[string]string{"Applied": "SomeManifestsAreNotApplied"}, settled: true},
		"compared":                {pass: Pass{DiffOnly: true, Manifests: []Manifest{{Diffed: Finding{Reason: v1beta1.ReasonManifestFoundDiff}}}}, want: map[string]string{"DiffReported": "AllManifestsDiffReported"}, settled: true},
		"compared in a poor mode": {pass: Pass{DiffOnly: true, Manifests: []Manifest{{Diffed: Finding{Reason: v1beta1.ReasonManifestFoundDiffInDegradedMode}}}}, want: map[string]string{"DiffReported": "SomeManifestsHaveNotReportedDiff"}, settled: true},
	} {
		t.Run(name, func(t *testing.T) {
			status, settled := Work(v1beta1.WorkStatus{}, 3, tc.pass, noon)
			got := map[string]string{}
			for _, c := range status.Conditions {
				got[c.Type] = c.Reason
				if c.ObservedGeneration != 3 || c.LastTransitionTime != noon {
					t.Errorf("condition %+v", c)
				}
			}
			if !reflect.DeepEqual(got, tc.want) || settled != tc.settled {
				t.Errorf("conditions %v, settled %v; want %v, %v", got, settled, tc.want, tc.settled)
			}
			again, _ := Work(status, 3, tc.pass, oneOClock)
			if !reflect.DeepEqual(again, status) {
				t.Errorf("the same facts oneOClock: %+v; want %+v", again, status)
			}
		})
	}
}

func TestEverythingThatStaysIsNamed(t *testing.T) {
	const held, occupied, unserved = "ConfigMap n/held", "Namespace n (it holds what was not placed: ConfigMap n/x)", "Gone n/unserved"
	for name, tc := range map[string]struct {
		pass   Pass
		reason string
		names  []string
	}{
		"nothing":            {},
		"one held":           {Pass{Held: []string{held}}, ReasonWorkWentBack, []string{held}},
		"one occupied":       {Pass{Occupied: []string{occupied}}, ReasonForeignContent, []string{occupied}},
		"one not served":     {Pass{Unserved: []string{unserved}}, ReasonKindNotServed, []string{unserved}},
		"a namespace too":    {Pass{Held: []string{held}, Occupied: []string{occupied}}, ReasonWorkWentBack, []string{held, occupied}},
		"a kind too":         {Pass{Held: []string{held}, Unserved: []string{unserved}, Incomplete: true}, ReasonWorkIncomplete, []string{held, unserved}},
		"a namespace, kinds": {Pass{Unserved: []string{unserved}, Occupied: []string{occupied}}, ReasonForeignContent, []string{occupied, unserved}},
		"much of each": {
			Pass{Held: long("h"), Occupied: long("o"), Unserved: long("u")}, ReasonWorkWentBack, []string{"h0", "o0", "u0", "release them", "foreignContent"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			status, _ := Work(v1beta1.WorkStatus{}, 1, tc.pass, noon)
			c := meta.FindStatusCondition(status.Conditions, ConditionHeld)
			if c == nil {
				c = &metav1.Condition{}
			}
			if c.Reason != tc.reason || len(c.Message) > 4*maxCause {
				t.Errorf("reason %s and %d bytes; want %s and at most %d", c.Reason, len(c.Message), tc.reason, 4*maxCause)
			}
			for _, text := range tc.names {
				if !strings.Contains(c.Message, text) {
					t.Errorf("%q does not name %q", c.Message, text)
				}
			}
		})
	}
}

// long are texts; ten of them are too long for a message.
func long(start string) []string {
	out := make([]string, 20)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d-%s", start, i, strings.Repeat("x", 4000))
	}
	return out
}

func TestReportedFailureIsNotUrgent(t *testing.T) {
	failed := made("f", v1beta1.ReasonManifestApplyFailed)
	starting := made("s", v1beta1.ReasonManifestApplied, v1beta1.ReasonManifestNotAvailableYet)
	status, _ := Work(v1beta1.WorkStatus{}, 1, Pass{Manifests: []Manifest{failed, starting}}, noon)
	if _, settled := Work(status, 1, Pass{Manifests: []Manifest{failed, starting}}, oneOClock); settled {
		t.Error("settled although one manifest is starting and the failure is reported already")
	}
	if _, settled := Work(status, 2, Pass{Manifests: []Manifest{failed, starting}}, oneOClock); !settled {
		t.Error("a failure of a new generation is not reported at once")
	}
}

func TestManifestsKeepTheirTimes(t *testing.T) {
	undecodable := Manifest{Identifier: v1beta1.WorkResourceIdentifier{Ordinal: 0}, Applied: Finding{v1beta1.ReasonManifestDecodingErred, "m"}}
	first := made("a", v1beta1.ReasonManifestApplied, v1beta1.ReasonManifestAvailable)
	first.Identifier.Ordinal = 1
	twin := made("a", v1beta1.ReasonManifestDuplicated)
	twin.Identifier.Ordinal = 2
	pass := Pass{Manifests: []Manifest{undecodable, first, twin}}
	old, _ := Work(v1beta1.WorkStatus{}, 1, pass, noon)
	if now, _ := Work(old, 1, pass, oneOClock); !reflect.DeepEqual(now, old) {
		t.Errorf("nothing changed, yet %+v became %+v", old, now)
	}
	// Moved in the list, and in a new version: still the same object.
	first.Identifier.Ordinal, first.Identifier.Version = 0, "v2"
	now, _ := Work(old, 2, Pass{Manifests: []Manifest{first}}, oneOClock)
	for _, c := range now.ManifestConditions[0].Conditions {
		if c.LastTransitionTime != noon {
			t.Errorf("condition %+v; want the time of before", c)
		}
	}
	// What changed its status has the time of now.
	now, _ = Work(old, 2, Pass{Manifests: []Manifest{undecodable, made("a", v1beta1.ReasonManifestApplyFailed)}}, oneOClock)
	if c := now.ManifestConditions[1].Conditions[0]; c.LastTransitionTime != oneOClock {
		t.Errorf("condition %+v; want the time of now", c)
	}
}

func TestDetailsMoveOnlyWithTheirContent(t *testing.T) {
	m := made("a", v1beta1.ReasonManifestFoundDrifts)
	m.Drifts = &Comparison{Generation: 4, Details: []v1beta1.PatchDetail{{Path: "/data/x", ValueInMember: "1", ValueInHub: "2"}}}
	m.Diffs = &Comparison{Absent: true, Details: []v1beta1.PatchDetail{{Path: "/", ValueInHub: contract.TextWholeObject}}}
	m.Mirror = []byte(`{"kind":"X","status":{"a":1}}`)
	old, _ := Work(v1beta1.WorkStatus{}, 1, Pass{Manifests: []Manifest{m}}, noon)
	m.Mirror = []byte(`{"status":{"a":1},"kind":"X"}`)
	if now, _ := Work(old, 1, Pass{Manifests: []Manifest{m}}, oneOClock); !reflect.DeepEqual(now, old) {
		t.Errorf("nothing changed, yet %+v became %+v", old, now)
	}
	m.Drifts = &Comparison{Generation: 5, Details: m.Drifts.Details}
	now, _ := Work(old, 1, Pass{Manifests: []Manifest{m}}, oneOClock)
	drift := now.ManifestConditions[0].DriftDetails
	if drift.ObservationTime != oneOClock || drift.FirstDriftedObservedTime != noon || drift.ObservedInMemberClusterGeneration != 5 {
		t.Errorf("drift %+v; want first seen before, last seen now", drift)
	}
	if diff := now.ManifestConditions[0].DiffDetails; diff.ObservedInMemberClusterGeneration != nil || diff.ObservationTime != noon {
		t.Errorf("diff %+v; want no generation, and unchanged", diff)
	}
}

func TestFit(t *testing.T) {
	m := made("a", v1beta1.ReasonManifestFoundDrifts)
	m.Drifts = &Comparison{Details: []v1beta1.PatchDetail{
		{Path: "/data/x", ValueInHub: strings.Repeat("x", mostWork/2)}, {Path: "/data/y", ValueInHub: strings.Repeat("y", mostWork/2)}}}
	m.Mirror = []byte(`{"status":{"a":1}}`)
	fit := func(old v1beta1.WorkStatus, m Manifest, now metav1.Time) *v1beta1.Work {
		work := &v1beta1.Work{}
		work.Status, _ = Work(old, 1, Pass{Manifests: []Manifest{m}}, now)
		if err := Fit(work, old, now); err != nil {
			t.Fatal(err)
		}
		return work
	}
	work := fit(v1beta1.WorkStatus{}, m, noon)
	got := work.Status.ManifestConditions[0]
	want := []v1beta1.PatchDetail{{Path: "/data/x and 1 more path(s)", ValueInMember: contract.TextOmitted, ValueInHub: contract.TextOmitted}}
	if !reflect.DeepEqual(got.DriftDetails.ObservedDrifts, want) || got.BackReportedStatus != nil {
		t.Errorf("trimmed to %+v, %+v", got.DriftDetails, got.BackReportedStatus)
	}
	if !meta.IsStatusConditionTrue(work.Status.Conditions, v1beta1.ConditionStatusTrimmed) {
		t.Errorf("conditions %+v; want StatusTrimmed", work.Status.Conditions)
	}
	if again := fit(work.Status, m, oneOClock); !reflect.DeepEqual(again.Status, work.Status) {
		t.Errorf("nothing changed, yet %+v became %+v", work.Status, again.Status)
	}
	m.Drifts.Details = m.Drifts.Details[:1]
	if small := fit(work.Status, m, oneOClock); meta.FindStatusCondition(small.Status.Conditions, v1beta1.ConditionStatusTrimmed) != nil {
		t.Error("StatusTrimmed stays although everything fits")
	}
}

func TestUnremovedIsReportedOnce(t *testing.T) {
	old, _ := Work(v1beta1.WorkStatus{}, 1, Pass{}, noon)
	status := Unremoved(old, 2, noon, []string{"ConfigMap n/c (finalizers a/b)"}, noon)
	if c := meta.FindStatusCondition(status.Conditions, ConditionRemoved); c == nil || !strings.Contains(c.Message, "a/b") || len(status.Conditions) != 3 {
		t.Errorf("conditions %+v", status.Conditions)
	}
	if again := Unremoved(status, 2, noon, []string{"ConfigMap n/c (finalizers a/b)"}, oneOClock); !reflect.DeepEqual(again, status) {
		t.Errorf("nothing changed, yet %+v became %+v", status, again)
	}
}
