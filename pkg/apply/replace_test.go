package apply

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

func TestReplaceable(t *testing.T) {
	const (
		a, b = "aaaaaaaa", "bbbbbbbb"
		job  = "{apiVersion: batch/v1, kind: Job, metadata: {namespace: ns, name: j}}"
		set1 = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {namespace: ns, name: s}}"
		keep = "{apiVersion: batch/v1, kind: Job, metadata: {namespace: ns, name: j, annotations: {kubernetes-fleet.io/keep: 'true'}}}"
	)
	note := func(key, value string) func(*unstructured.Unstructured) {
		return set(value, "metadata", "annotations", key)
	}
	was := note(contract.AnnotationPlacedOrigin, a)
	retention := func(when string) func(*unstructured.Unstructured) {
		return set(when, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted")
	}
	type edits = []func(*unstructured.Unstructured)
	for name, tc := range map[string]struct {
		text  string
		edits edits
		is    string
		stamp Stamp
		entry Entry
		want  bool
		why   string
	}{
		"the hub's object is another one":      {text: job, edits: edits{was}, is: b, want: true},
		"it is the same":                       {text: job, edits: edits{was}, is: a},
		"it is not known which it is":          {text: job, edits: edits{was}},
		"it is not known which it was":         {text: job, is: b},
		"it is being deleted":                  {text: job, edits: edits{was, func(o *unstructured.Unstructured) { o.SetDeletionTimestamp(ptr.To(metav1.Now())) }}, is: b},
		"it is not ours":                       {text: job, edits: edits{was, owners("AppliedWork w u0")}, is: b},
		"it was there before":                  {text: job, edits: edits{was, note(contract.AnnotationTakenOver, "true")}, is: b, why: "before it was placed"},
		"it was there before, says the ledger": {text: job, edits: edits{was}, is: b, entry: Entry{TakenOver: true}, why: "before it was placed"},
		"others own it, too":                   {text: job, edits: edits{was, owners("AppliedWork w u1", "ConfigMap x u9")}, is: b, why: "other owners"},
		"manifests were taken out of the Work": {text: job, edits: edits{was}, is: b, stamp: Stamp{Incomplete: true}, why: "hub agent wrote"},
		"a later state of the Work placed it":  {text: job, edits: edits{was, note(contract.AnnotationPlacedWork, "w:5")}, is: b, stamp: Stamp{Work: "w", Generation: 4}, why: "later state"},
		"an earlier state of the Work did":     {text: job, edits: edits{was, note(contract.AnnotationPlacedWork, "w:3")}, is: b, stamp: Stamp{Work: "w", Generation: 4}, want: true},
		"another Work placed it":               {text: job, edits: edits{was, note(contract.AnnotationPlacedWork, "v:3")}, is: b, stamp: Stamp{Work: "w", Generation: 4}, why: "another Work"},
		"it is held":                           {text: job, edits: edits{was, note(contract.AnnotationHeld, contract.HeldYes)}, is: b, why: "another Work"},
		"its entry is held":                    {text: job, edits: edits{was}, is: b, entry: Entry{Held: true}, why: "another Work"},
		"the member's owner keeps it":          {text: job, edits: edits{was, note(contract.AnnotationKeep, "true")}, is: b, why: contract.AnnotationKeep},
		"the hub keeps it":                     {text: keep, edits: edits{was}, is: b, why: contract.AnnotationKeep},
		"a Namespace":                          {text: "{apiVersion: v1, kind: Namespace, metadata: {name: n}}", edits: edits{was}, is: b, why: "Namespace"},
		"a claim":                              {text: "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: ns, name: n}}", edits: edits{was}, is: b, why: "PersistentVolumeClaim"},
		"a volume":                             {text: "{apiVersion: v1, kind: PersistentVolume, metadata: {name: n}}", edits: edits{was}, is: b, why: "PersistentVolume"},
		"a definition": {text: "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: n}}", edits: edits{was}, is: b,
			why: "CustomResourceDefinition"},
		"a StatefulSet":                       {text: set1, edits: edits{was}, is: b, want: true},
		"a StatefulSet that keeps its claims": {text: set1, edits: edits{was, retention("Retain")}, is: b, want: true},
		"a StatefulSet that does not":         {text: set1, edits: edits{was, retention("Delete")}, is: b, why: "volume claims"},
	} {
		t.Run(name, func(t *testing.T) {
			stamp := tc.stamp
			stamp.Origin = tc.is
			in := Input{Manifest: object(t, tc.text), Live: placed(t, tc.text, v1beta1.ApplyStrategy{}, tc.edits...), Owner: owner,
				Strategy: with(v1beta1.ApplyStrategy{}), Stamp: stamp}
			got, why := Replaceable(in, tc.entry)
			if got != tc.want || (why == "") != (tc.why == "") || !strings.Contains(why, tc.why) {
				t.Errorf("replaceable %t, %q; want %t, %q", got, why, tc.want, tc.why)
			}
		})
	}
}

func TestInherit(t *testing.T) {
	const job = "{apiVersion: batch/v1, kind: Job, metadata: {namespace: ns, name: j}}"
	ours := Stamp{Hub: "h", Placement: "p", Work: "w", Generation: 4, Origin: "b"}
	note := func(key, value string) func(*unstructured.Unstructured) {
		return set(value, "metadata", "annotations", key)
	}
	left := func(placement string, refs ...string) []func(*unstructured.Unstructured) {
		return []func(*unstructured.Unstructured){note(contract.AnnotationPlacedHub, "h"), note(contract.AnnotationPlacedBy, placement),
			note(contract.AnnotationPlacedOrigin, "a"), note(contract.AnnotationPlacedWork, "v:9"), owners(refs...), set("7", "metadata", "resourceVersion")}
	}
	for name, tc := range map[string]struct {
		live []func(*unstructured.Unstructured)
		want string
	}{
		"it is ours":                    {live: left("p", "AppliedWork w u1")},
		"another Work has it":           {live: left("p", "AppliedWork v u0")},
		"another placement left it":     {live: left("q")},
		"another owner may not have it": {live: left("p", "ConfigMap x u9")},
		"it is being deleted":           {live: append(left("p"), set("2026-01-01T00:00:00Z", "metadata", "deletionTimestamp"))},
		"another Work left it": {live: left("p"), want: `{"metadata":{"annotations":{"kubernetes-fleet.io/placed-by-work":"w:4"},"ownerReferences":[` +
			`{"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":"AppliedWork","name":"w","uid":"u1","blockOwnerDeletion":true}],"resourceVersion":"7"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Inherit(Input{Manifest: object(t, job), Live: placed(t, job, v1beta1.ApplyStrategy{}, tc.live...), Owner: owner,
				Strategy: with(v1beta1.ApplyStrategy{}), Stamp: ours})
			if err != nil || string(got) != tc.want {
				t.Errorf("got %s, %v; want %s", got, err, tc.want)
			}
		})
	}
}
