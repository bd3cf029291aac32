package apply

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

var owner = Owner{Name: "w", UID: "u1"}

// object parses YAML as the API server's JSON would be.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	obj, err := Manifest{Raw: data}.Object()
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

// placed is the live object that applying text makes, then edited.
func placed(t *testing.T, text string, s v1beta1.ApplyStrategy, edits ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
	t.Helper()
	action, err := Decide(Input{Manifest: object(t, text), Owner: owner, Strategy: Defaulted(&s)})
	if err != nil || action.Verb != Create {
		t.Fatalf("verb %s, error %v", action.Verb, err)
	}
	live := action.Object
	live.SetUID("live")
	live.SetResourceVersion("7")
	for _, edit := range edits {
		edit(live)
	}
	return live
}

const (
	cm     = "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: n, name: c, labels: {a: b}}, data: {key: value}}"
	cm2    = "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: n, name: c}, data: {key: other}}"
	widget = "{apiVersion: example.test/v1, kind: Widget, metadata: {namespace: n, name: c}, spec: {size: 1, list: [a]}}"
	grown  = "{apiVersion: example.test/v1, kind: Widget, metadata: {namespace: n, name: c}, spec: {size: 2, list: [a]}}"
)

func owners(refs ...string) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) {
		var list []any
		for _, ref := range refs {
			words := strings.Split(ref, " ") // kind name uid
			version := "v1"
			if words[0] == "AppliedWork" {
				version = "placement.kubernetes-fleet.io/v1beta1"
			}
			list = append(list, map[string]any{"apiVersion": version, "kind": words[0], "name": words[1], "uid": words[2], "blockOwnerDeletion": true})
		}
		if list == nil {
			unstructured.RemoveNestedField(o.Object, "metadata", "ownerReferences")
			return
		}
		_ = unstructured.SetNestedSlice(o.Object, list, "metadata", "ownerReferences")
	}
}

func set(value any, path ...string) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) { _ = unstructured.SetNestedField(o.Object, value, path...) }
}

func managed(manager, operation, fields string) map[string]any {
	var f map[string]any
	if err := json.Unmarshal([]byte(fields), &f); err != nil {
		panic(err)
	}
	return map[string]any{"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": f}
}

func fieldsBy(entries ...map[string]any) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) {
		var list []any
		for _, e := range entries {
			list = append(list, e)
		}
		_ = unstructured.SetNestedSlice(o.Object, list, "metadata", "managedFields")
	}
}

func TestDecide(t *testing.T) {
	const us, them = "AppliedWork w u1", "ConfigMap x u9"
	co := v1beta1.ApplyStrategy{AllowCoOwnership: true}
	never := v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverNever}
	ifNoDiff := v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverIfNoDiff}
	careful := v1beta1.ApplyStrategy{WhenToApply: v1beta1.WhenToApplyIfNotDrifted}
	full := v1beta1.ApplyStrategy{ComparisonOption: v1beta1.ComparisonOptionFullComparison}
	ssa := v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}
	edited := set("edited", "data", "key")
	terminating := set("2026-01-01T00:00:00Z", "metadata", "deletionTimestamp")

	for name, tc := range map[string]struct {
		manifest, live string // no live: absent
		edits          []func(*unstructured.Unstructured)
		strategy       v1beta1.ApplyStrategy
		abandoned      []string
		verb           Verb
		reason         string
		kind           types.PatchType
		// patch must contain these pieces, and not those that start with "!".
		patch []string
		force bool
	}{
		"absent is created":                 {manifest: cm, verb: Create, reason: "Applied"},
		"absent is created whatever to own": {manifest: cm, strategy: never, verb: Create, reason: "Applied"},
		"ours and equal costs nothing":      {manifest: cm, live: cm, verb: Nothing, reason: "Applied"},
		"an added field is nobody's business": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){set("x", "data", "added")},
			verb: Nothing, reason: "Applied"},
		"a changed manifest is merged, and drops what it dropped": {manifest: cm2, live: cm, verb: Patch, reason: "Applied",
			kind: types.StrategicMergePatchType, patch: []string{`"key":"other"`, `"labels":null`, "spec-hash", "!ownerReferences"}},
		"an edit on the member is undone": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){edited}, verb: Patch, reason: "Applied",
			kind: types.StrategicMergePatchType, patch: []string{`"key":"value"`}},
		"a custom resource is merged as JSON and keeps its co-owner": {manifest: grown, live: widget, strategy: co,
			edits: []func(*unstructured.Unstructured){owners(us, them)}, verb: Patch, reason: "Applied", kind: types.MergePatchType,
			patch: []string{`"size":2`, "!ownerReferences", "!resourceVersion"}},
		"not ours is taken over by default": {manifest: cm, live: cm2, edits: []func(*unstructured.Unstructured){owners()}, verb: Patch, reason: "Applied",
			kind: types.StrategicMergePatchType, patch: []string{`"key":"value"`, `"uid":"u1"`, `"blockOwnerDeletion":true`}},
		"an equal object that is not ours is only claimed": {manifest: cm, live: cm, strategy: ifNoDiff, edits: []func(*unstructured.Unstructured){owners()},
			verb: Patch, reason: "Applied", kind: types.StrategicMergePatchType, patch: []string{`"uid":"u1"`, `!"key":"value"`}},
		"a claim on a custom resource holds only for what was read": {manifest: widget, live: widget, strategy: co,
			edits: []func(*unstructured.Unstructured){owners(them)}, verb: Patch, reason: "Applied", kind: types.MergePatchType,
			patch: []string{`"uid":"u1"`, `"uid":"u9"`, `"resourceVersion":"7"`}},
		"Never leaves what is not ours": {manifest: cm, live: cm, strategy: never, edits: []func(*unstructured.Unstructured){owners()}, verb: Refuse, reason: "NotTakenOver"},
		"Never goes on with what is ours": {manifest: cm2, live: cm, strategy: never, verb: Patch, reason: "Applied", kind: types.StrategicMergePatchType,
			patch: []string{`"key":"other"`}},
		"IfNoDiff leaves what differs": {manifest: cm, live: cm2, strategy: ifNoDiff, edits: []func(*unstructured.Unstructured){owners()}, verb: Refuse,
			reason: "FailedToTakeOver"},
		"IfNoDiff cannot compare in full": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){owners()}, verb: Refuse, reason: "FailedToTakeOver",
			strategy: v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverIfNoDiff, ComparisonOption: v1beta1.ComparisonOptionFullComparison}},
		"another owner forbids taking over": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){owners(them)}, verb: Refuse,
			reason: "FailedToTakeOver"},
		"another owner forbids applying": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){owners(us, them)}, verb: Refuse,
			reason: "ManifestApplyFailed"},
		"another owner may be allowed": {manifest: cm, live: cm, strategy: co, edits: []func(*unstructured.Unstructured){owners(us, them)}, verb: Nothing, reason: "Applied"},
		"no object is placed twice": {manifest: cm, live: cm, strategy: co, edits: []func(*unstructured.Unstructured){owners("AppliedWork v u2")},
			verb: Refuse, reason: "FailedToTakeOver"},
		"an AppliedWork without a Work is no obstacle": {manifest: cm, live: cm, abandoned: []string{"v"},
			edits: []func(*unstructured.Unstructured){owners("AppliedWork v u2")}, verb: Patch, reason: "Applied", kind: types.StrategicMergePatchType,
			patch: []string{`"uid":"u1"`, `{"$patch":"delete","uid":"u2"}`}},
		"a dead namesake of our AppliedWork is no obstacle": {manifest: widget, live: widget,
			edits: []func(*unstructured.Unstructured){owners("AppliedWork w u0")}, verb: Patch, reason: "Applied", kind: types.MergePatchType,
			patch: []string{`"uid":"u1"`, `!"uid":"u0"`}},
		"what is being deleted is waited for": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){terminating}, verb: Wait, reason: "ManifestApplyFailed"},
		"IfNotDrifted leaves an edit":         {manifest: cm, live: cm, strategy: careful, edits: []func(*unstructured.Unstructured){edited}, verb: Refuse, reason: "FoundDrifts"},
		"IfNotDrifted applies a new manifest": {manifest: cm2, live: cm, strategy: careful, edits: []func(*unstructured.Unstructured){edited}, verb: Patch, reason: "Applied",
			kind: types.StrategicMergePatchType, patch: []string{`"key":"other"`}},
		"IfNotDrifted cannot compare in full": {manifest: cm, live: cm, verb: Refuse, reason: "FailedToRunDriftDetection",
			strategy: v1beta1.ApplyStrategy{WhenToApply: v1beta1.WhenToApplyIfNotDrifted, ComparisonOption: v1beta1.ComparisonOptionFullComparison}},
		"a full comparison is not claimed": {manifest: cm, live: cm, strategy: full, verb: Nothing, reason: "AppliedWithFailedDriftDetection"},
		"ReportDiff writes nothing":        {manifest: cm, strategy: v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}, verb: Refuse, reason: "FailedToReportDiff"},
		"server-side apply overrules only ourselves": {manifest: cm2, live: cm, strategy: ssa, verb: Patch, reason: "Applied", kind: types.ApplyPatchType, force: true,
			edits: []func(*unstructured.Unstructured){fieldsBy(managed("work-api-agent", "Update", `{"f:data":{"f:key":{}}}`))},
			patch: []string{`"key":"other"`, `"uid":"u1"`, "!last-applied"}},
		"server-side apply does not overrule others": {manifest: cm2, live: cm, strategy: ssa, verb: Patch, reason: "Applied", kind: types.ApplyPatchType,
			edits: []func(*unstructured.Unstructured){fieldsBy(managed("somebody", "Update", `{"f:data":{"f:key":{}}}`))}},
		"server-side applied and equal costs nothing": {manifest: cm, live: cm, strategy: ssa, verb: Nothing, reason: "Applied"},
		"a stale base of merges is emptied by server-side apply": {manifest: cm2, live: cm, strategy: ssa, verb: Patch, reason: "Applied",
			kind: types.ApplyPatchType, force: true, edits: []func(*unstructured.Unstructured){set("{}", "metadata", "annotations", contract.AnnotationLastApplied)},
			patch: []string{`last-applied-configuration":""`}},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Manifest: object(t, tc.manifest), Owner: owner, Strategy: Defaulted(&tc.strategy), Abandoned: sets.New(tc.abandoned...)}
			if tc.live != "" {
				how := v1beta1.ApplyStrategy{Type: tc.strategy.Type}
				in.Live = placed(t, tc.live, how, tc.edits...)
			}
			got, err := Decide(in)
			if err != nil {
				t.Fatal(err)
			}
			if got.Verb != tc.verb || got.Applied.Reason != tc.reason || got.Type != tc.kind || got.Force != tc.force {
				t.Fatalf("%s %s type %q force %v, body %s; want %s %s type %q force %v",
					got.Verb, got.Applied.Reason, got.Type, got.Force, got.Body, tc.verb, tc.reason, tc.kind, tc.force)
			}
			for _, piece := range tc.patch {
				without, isNot := strings.CutPrefix(piece, "!")
				if strings.Contains(string(got.Body), without) == isNot {
					t.Errorf("patch %s; want %s", got.Body, piece)
				}
			}
		})
	}
}

func TestFirstObject(t *testing.T) {
	live := placed(t, `{apiVersion: v1, kind: Secret, metadata: {namespace: n, name: s, uid: theirs, resourceVersion: "9", creationTimestamp: null,
	  annotations: {kubectl.kubernetes.io/last-applied-configuration: x, keep: me}, ownerReferences: [{kind: A, name: b, uid: c, apiVersion: v1}], finalizers: [a/b]},
	  stringData: {p: q}, status: {x: y}}`, v1beta1.ApplyStrategy{})
	refs := live.GetOwnerReferences()
	if len(refs) != 1 || !reflect.DeepEqual(refs[0], owner.Reference()) {
		t.Errorf("owner references %+v; want ours", refs)
	}
	annotations := live.GetAnnotations()
	if annotations["keep"] != "me" || annotations[contract.AnnotationKubectlLastApplied] != "" || len(annotations[contract.AnnotationSpecHash]) != 64 {
		t.Errorf("annotations %v", annotations)
	}
	if live.Object["status"] != nil || live.Object["stringData"] != nil || fmt.Sprint(live.Object["data"]) != "map[p:cQ==]" || len(live.GetFinalizers()) != 1 {
		t.Errorf("object %v", live.Object)
	}
	var record map[string]any
	if err := json.Unmarshal([]byte(annotations[contract.AnnotationLastApplied]), &record); err != nil || record["kind"] != "Secret" {
		t.Errorf("last-applied %s: %v", annotations[contract.AnnotationLastApplied], err)
	}
}

func TestLargeManifestsGoServerSide(t *testing.T) {
	large := "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: n, name: c}, data: {key: " + strings.Repeat("x", mostAnnotations) + "}}"
	live := placed(t, large, v1beta1.ApplyStrategy{})
	if text, ok := live.GetAnnotations()[contract.AnnotationLastApplied]; !ok || text != "" {
		t.Errorf("last-applied of %d bytes, present %v; want it empty", len(text), ok)
	}
	small := placed(t, cm, v1beta1.ApplyStrategy{})
	got, err := Decide(Input{Manifest: object(t, large), Live: small, Owner: owner, Strategy: Defaulted(nil)})
	if err != nil || got.Verb != Patch || got.Type != types.ApplyPatchType {
		t.Errorf("%s %s, error %v; want server-side apply", got.Verb, got.Type, err)
	}
}

// What the server rewrote is not written again, and what somebody else changed is, although both look different from the manifest.
func TestHeld(t *testing.T) {
	const manifest = `{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: n, name: d}, spec: {replicas: 1, selector: {matchLabels: {a: b}},
	  template: {spec: {containers: [{name: c, resources: {requests: {cpu: 1000m}}, ports: [{containerPort: 80}]}], tolerations: [{key: k}]}}}}`
	const ours = `{"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:spec":{"f:tolerations":{},"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{},
	  "f:resources":{"f:requests":{"f:cpu":{}}},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}`
	rewrite := func(o *unstructured.Unstructured) {
		_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{"name": "c", "image": "x",
			"resources": map[string]any{"requests": map[string]any{"cpu": "1"}},
			"ports":     []any{map[string]any{"containerPort": int64(80), "protocol": "TCP"}}}}, "spec", "template", "spec", "containers")
		_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{"key": "k", "operator": "Equal"}}, "spec", "template", "spec", "tolerations")
	}
	// Our fields without one of them: somebody else has it.
	lost := func(field string) string { return strings.Replace(ours, field, "", 1) }
	for name, tc := range map[string]struct {
		fields string
		others string
		edit   func(*unstructured.Unstructured)
		verb   Verb
	}{
		"rewritten by the server":        {fields: ours, verb: Nothing},
		"a quantity edited by another":   {fields: lost(`"f:cpu":{}`), others: `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:resources":{"f:requests":{"f:cpu":{}}}}}}}}}`, verb: Patch},
		"a whole list edited by another": {fields: lost(`"f:tolerations":{},`), verb: Patch},
		"replicas edited by another":     {fields: lost(`"f:replicas":{},`), edit: set(int64(3), "spec", "replicas"), verb: Patch},
		"nothing recorded":               {fields: `{}`, verb: Patch},
	} {
		t.Run(name, func(t *testing.T) {
			entries := []map[string]any{managed(contract.ManagerMember, "Update", tc.fields)}
			if tc.others != "" {
				entries = append(entries, managed("somebody", "Update", tc.others))
			}
			live := placed(t, manifest, v1beta1.ApplyStrategy{}, rewrite, fieldsBy(entries...))
			if tc.edit != nil {
				tc.edit(live)
			}
			got, err := Decide(Input{Manifest: object(t, manifest), Live: live, Owner: owner, Strategy: Defaulted(nil)})
			if err != nil || got.Verb != tc.verb {
				t.Errorf("%s with %s, error %v; want %s", got.Verb, got.Body, err, tc.verb)
			}
		})
	}
}

func TestSpecHash(t *testing.T) {
	base := object(t, cm)
	want, err := contract.Hash(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"key": "value"}, "metadata": map[string]any{
		"annotations": map[string]any{}, "labels": map[string]any{"a": "b"}, "finalizers": []any{}, "managedFields": []any{}, "ownerReferences": []any{}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*unstructured.Unstructured){
		"as it is":                   func(*unstructured.Unstructured) {},
		"another cluster's metadata": set("9", "metadata", "resourceVersion"),
		"a machinery label":          set("x", "metadata", "labels", "app.kubernetes.io/name"),
		"a finalizer":                func(o *unstructured.Unstructured) { o.SetFinalizers([]string{"a/b"}) },
		"a status":                   set("y", "status", "x"),
	} {
		obj := base.DeepCopy()
		edit(obj)
		if got, err := SpecHash(obj); err != nil || got != want {
			t.Errorf("%s: hash %s, error %v; want %s", name, got, err, want)
		}
	}
	changed := base.DeepCopy()
	set("x", "data", "key")(changed)
	if got, _ := SpecHash(changed); got == want {
		t.Error("a change of content does not change the hash")
	}
}

func TestDecode(t *testing.T) {
	raw := []string{
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"n","name":"a"}}`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"n","name":"a"},"data":{"x":"y"}}`,
		`{"apiVersion":"dummy/v10","kind":"Fake","metadata":{"name":"f"}}`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"n","generateName":"g-"}}`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"n"}}`,
		`{"kind":"ConfigMap","metadata":{"name":"a"}}`,
		`"hunter2"`,
		`{"apiVersion":"v1","kind":"Secret","metadata":`,
		``,
	}
	want := []string{"", "Duplicated", "", "FoundGenerateName", "DecodingErred", "DecodingErred", "DecodingErred", "DecodingErred", "DecodingErred"}
	var list []v1beta1.Manifest
	for _, text := range raw {
		m := v1beta1.Manifest{}
		m.Raw = []byte(text)
		list = append(list, m)
	}
	for i, m := range Decode(list) {
		if m.Problem.Reason != want[i] || m.Identifier.Ordinal != i || m.Opaque() != (want[i] == "DecodingErred") {
			t.Errorf("%s: problem %q, ordinal %d, opaque %v; want %q", raw[i], m.Problem.Reason, m.Identifier.Ordinal, m.Opaque(), want[i])
		}
		if strings.Contains(m.Problem.Message, "hunter2") {
			t.Errorf("message %q quotes the manifest", m.Problem.Message)
		}
	}
}
