package applier

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// strategy builds an apply strategy.
func strategy(edits ...func(*v1beta1.ApplyStrategy)) *v1beta1.ApplyStrategy {
	s := &v1beta1.ApplyStrategy{}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func ifNotDrifted(s *v1beta1.ApplyStrategy) { s.WhenToApply = v1beta1.WhenToApplyIfNotDrifted }
func ifNoDiff(s *v1beta1.ApplyStrategy)     { s.WhenToTakeOver = v1beta1.WhenToTakeOverIfNoDiff }
func fully(s *v1beta1.ApplyStrategy)        { s.ComparisonOption = v1beta1.ComparisonOptionFullComparison }
func reportDiff(s *v1beta1.ApplyStrategy)   { s.Type = v1beta1.ApplyStrategyTypeReportDiff }

// edited replaces an object's data.
func edited(data map[string]any) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) { o.Object["data"] = data }
}

func detail(path, hub, member string) v1beta1.PatchDetail {
	return v1beta1.PatchDetail{Path: path, ValueInHub: hub, ValueInMember: member}
}

// reads waits until the manifest of a Work at index has a condition of this kind and reason, and these details, drifts
// and differences together.
func (w *world) reads(name string, index int, kind, reason string, want ...v1beta1.PatchDetail) v1beta1.ManifestCondition {
	w.Helper()
	var m v1beta1.ManifestCondition
	w.eventually(fmt.Sprintf("manifest %d of %s to be %s %s %v", index, name, kind, reason, want), func() error {
		work := w.readWork(name)
		if len(work.Status.ManifestConditions) <= index {
			return errors.New("it is not reported")
		}
		m = work.Status.ManifestConditions[index]
		c := meta.FindStatusCondition(m.Conditions, kind)
		var got []v1beta1.PatchDetail
		if m.DriftDetails != nil {
			got = append(got, m.DriftDetails.ObservedDrifts...)
		}
		if m.DiffDetails != nil {
			got = append(got, m.DiffDetails.ObservedDiffs...)
		}
		if c == nil || c.Reason != reason || (len(got) > 0 || len(want) > 0) && !reflect.DeepEqual(got, want) {
			return fmt.Errorf("it is %+v with %v", c, got)
		}
		return nil
	})
	return m
}

// contract:128, contract:132, contract:138
func TestReportDiffTouchesNothing(t *testing.T) {
	w := newWorld(t)
	w.onMember(`{apiVersion: v1, kind: Namespace, metadata: {name: reportdiff, labels: {foo: bar}}}`)
	w.onMember(configMap("reportdiff", "cm", "custom-1"))
	before := []string{w.mustObject("v1 Namespace reportdiff").GetResourceVersion(), w.mustObject("v1 ConfigMap reportdiff/cm").GetResourceVersion()}
	w.writes.take()
	w.work("reportdiff", strategy(reportDiff, fully), `{apiVersion: v1, kind: Namespace, metadata: {name: reportdiff, labels: {kubernetes.io/metadata.name: reportdiff}}, spec: {finalizers: [kubernetes]}}`,
		configMap("reportdiff", "cm", "test"), configMap("reportdiff", "absent", "test"))
	diffed := v1beta1.ConditionDiffReported
	w.reads("reportdiff", 0, diffed, "FoundDiff", detail("/metadata/labels/foo", "", "bar"))
	m := w.reads("reportdiff", 1, diffed, "FoundDiff", detail("/data/key", "test", "custom-1"))
	if g := m.DiffDetails.ObservedInMemberClusterGeneration; g == nil || *g != 0 {
		t.Errorf("generation %v; want 0", g)
	}
	m = w.reads("reportdiff", 2, diffed, "FoundDiff", detail("/", contract.TextWholeObject, ""))
	if m.DiffDetails.ObservedInMemberClusterGeneration != nil || len(m.Conditions) != 1 {
		t.Errorf("manifest %+v; want no generation and no other condition", m)
	}
	work := w.settled("reportdiff", "", "")
	if c := meta.FindStatusCondition(work.Status.Conditions, diffed); c == nil || c.Reason != v1beta1.ReasonAllManifestsDiffReported {
		t.Errorf("conditions %+v", work.Status.Conditions)
	}
	w.quiet(time.Second)
	w.expectWrites("comparing", map[string]int{"hub PATCH works/reportdiff/status": 1})
	if after := []string{w.mustObject("v1 Namespace reportdiff").GetResourceVersion(), w.mustObject("v1 ConfigMap reportdiff/cm").GetResourceVersion()}; !reflect.DeepEqual(before, after) {
		t.Errorf("resourceVersions %v; were %v", after, before)
	}
	// What changes on the member is seen.
	w.change("v1 Namespace reportdiff", func(o *unstructured.Unstructured) {
		o.SetLabels(map[string]string{"kubernetes.io/metadata.name": "reportdiff"})
	})
	w.change("v1 ConfigMap reportdiff/cm", edited(map[string]any{"key": "test"}))
	w.onMember(configMap("reportdiff", "absent", "test"))
	for i := range 3 {
		w.reads("reportdiff", i, diffed, "NoDiffFound")
	}
	w.deleteWork("reportdiff")
	w.workGone("reportdiff")
	w.present("v1 ConfigMap reportdiff/cm")
}

// contract:116, contract:124
func TestFromReportDiffToApplyAndBack(t *testing.T) {
	w := newWorld(t)
	const ns = "andback"
	w.work(ns, nil, namespaceText(ns), configMap(ns, "stays", "a"), configMap(ns, "goes", "a"))
	w.settled(ns, yes, yes)
	set := func(s *v1beta1.ApplyStrategy, manifests ...string) {
		w.eventually("edit the Work", func() error {
			work := w.readWork(ns)
			work.Spec.ApplyStrategy, work.Spec.Workload.Manifests = s, w.manifests(manifests)
			return w.hub.Update(t.Context(), work)
		})
	}
	set(strategy(reportDiff), namespaceText(ns), configMap(ns, "stays", "b"))
	w.reads(ns, 1, v1beta1.ConditionDiffReported, "FoundDiff", detail("/data/key", "b", "a"))
	w.present("v1 ConfigMap andback/goes")
	set(nil, namespaceText(ns), configMap(ns, "stays", "b"))
	work := w.settled(ns, yes, yes)
	if m := work.Status.ManifestConditions[1]; m.DiffDetails != nil || meta.FindStatusCondition(m.Conditions, v1beta1.ConditionDiffReported) != nil {
		t.Errorf("manifest %+v; want nothing of the comparison left", m)
	}
	w.value("v1 ConfigMap andback/stays", "b", "data", "key")
	w.gone("v1 ConfigMap andback/goes")
}

// contract:127, contract:137
func TestDriftsAreKeptAndReported(t *testing.T) {
	w := newWorld(t)
	const ns = "drifts"
	w.work(ns, strategy(fully, ifNotDrifted), namespaceText(ns)[:len(namespaceText(ns))-1]+", spec: {finalizers: [kubernetes]}}", configMap(ns, "cm", "test"))
	w.settled(ns, yes, yes)
	w.change("v1 Namespace drifts", func(o *unstructured.Unstructured) {
		labels := o.GetLabels()
		labels["foo"] = "bar"
		o.SetLabels(labels)
	})
	w.change("v1 ConfigMap drifts/cm", edited(map[string]any{"key": "custom-1"}))
	w.reads(ns, 0, v1beta1.ConditionApplied, "FoundDrifts", detail("/metadata/labels/foo", "", "bar"))
	first := w.reads(ns, 1, v1beta1.ConditionApplied, "FoundDrifts", detail("/data/key", "test", "custom-1"))
	w.settled(ns, no, "")
	w.quiet(time.Second)
	versions := w.versions()
	w.writes.take()
	w.restart()
	w.quiet(3 * time.Second)
	if got := w.writes.take(); len(got) > 0 {
		t.Errorf("a restart with standing drifts wrote %q", got)
	}
	if after := w.versions(); !reflect.DeepEqual(versions, after) {
		t.Errorf("resourceVersions %v; were %v", after, versions)
	}
	w.change("v1 ConfigMap drifts/cm", edited(map[string]any{"key": "custom-2"}))
	then := w.reads(ns, 1, v1beta1.ConditionApplied, "FoundDrifts", detail("/data/key", "test", "custom-2"))
	if !then.DriftDetails.FirstDriftedObservedTime.Equal(&first.DriftDetails.FirstDriftedObservedTime) ||
		!first.DriftDetails.ObservationTime.Before(&then.DriftDetails.ObservationTime) {
		t.Errorf("drift %+v after %+v; want the same first time and a later last time", then.DriftDetails, first.DriftDetails)
	}
	// Undone by hand, all is well again.
	w.change("v1 ConfigMap drifts/cm", edited(map[string]any{"key": "test"}))
	w.reads(ns, 1, v1beta1.ConditionApplied, "Applied")
}

func TestConflictNamesTheManager(t *testing.T) {
	w := newWorld(t)
	w.onMember(namespaceText("conflict"))
	secret := "{apiVersion: v1, kind: Secret, metadata: {namespace: conflict, name: s}, data: {key: %s}}"
	for _, text := range []string{configMap("conflict", "cm", "theirs"), fmt.Sprintf(secret, "dGhlaXJz")} {
		obj := &unstructured.Unstructured{}
		w.must(yaml.Unmarshal([]byte(text), &obj.Object))
		w.must(w.member.Create(t.Context(), obj, client.FieldOwner("their-operator")))
	}
	w.work("conflict", strategy(func(s *v1beta1.ApplyStrategy) { s.Type = v1beta1.ApplyStrategyTypeServerSideApply }),
		configMap("conflict", "cm", "ours"), fmt.Sprintf(secret, "b3Vycw=="))
	for i, name := range []string{"cm", "s"} {
		w.reads("conflict", i, v1beta1.ConditionApplied, v1beta1.ReasonManifestApplyFailed)
		for _, word := range []string{`"their-operator"`, ".data.key"} {
			w.message("conflict", name, v1beta1.ConditionApplied, word)
		}
	}
}
