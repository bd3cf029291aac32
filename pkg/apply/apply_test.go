package apply

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

var owner = Owner{Name: "w", UID: "u1"}

func jsonOf(t testing.TB, text string) []byte {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// object parses YAML as the API server's JSON would be.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	obj, err := Manifest{Raw: jsonOf(t, text)}.Object()
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

// with is a strategy with its defaults.
func with(s v1beta1.ApplyStrategy) v1beta1.ApplyStrategy { return s.WithDefaults() }

// placed is the live object that applying text makes, then edited.
func placed(t *testing.T, text string, s v1beta1.ApplyStrategy, edits ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
	t.Helper()
	action, err := Decide(Input{Manifest: object(t, text), Owner: owner, Strategy: with(s)})
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
	cm     = "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: ns, name: c, labels: {a: b}}, data: {key: value}}"
	cm2    = "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: ns, name: c}, data: {key: other}}"
	widget = "{apiVersion: example.test/v1, kind: Widget, metadata: {namespace: ns, name: c}, spec: {size: 1, list: [a]}}"
	grown  = "{apiVersion: example.test/v1, kind: Widget, metadata: {namespace: ns, name: c}, spec: {size: 2, list: [a]}}"
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

// scaledBy makes manager the owner of the replicas, through the scale subresource.
func scaledBy(manager string) func(*unstructured.Unstructured) {
	entry := managed(manager, "Update", `{"f:spec":{"f:replicas":{}}}`)
	entry["subresource"] = "scale"
	return fieldsBy(entry)
}

// merged is what a server makes of objects without lists.
func merged(live, want map[string]any) map[string]any {
	for key, value := range want {
		have, ok := live[key].(map[string]any)
		if more, both := value.(map[string]any); ok && both {
			live[key] = merged(have, more)
			continue
		}
		live[key] = value
	}
	return live
}

func listed(details []v1beta1.PatchDetail) []string {
	var out []string
	for _, d := range details {
		out = append(out, fmt.Sprintf("%s: %s on the hub, %s on the member", d.Path, d.ValueInHub, d.ValueInMember))
	}
	return out
}

func TestDecide(t *testing.T) {
	const us, them = "AppliedWork w u1", "ConfigMap x u9"
	co := v1beta1.ApplyStrategy{AllowCoOwnership: true}
	never := v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverNever}
	ifNoDiff := v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverIfNoDiff}
	careful := v1beta1.ApplyStrategy{WhenToApply: v1beta1.WhenToApplyIfNotDrifted}
	full := v1beta1.ApplyStrategy{ComparisonOption: v1beta1.ComparisonOptionFullComparison}
	ssa := v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}
	diff := v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
	const deploy = "{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: ns, name: c}, spec: {replicas: 2, paused: false}}"
	edited := set("edited", "data", "key")
	terminating := set("2026-01-01T00:00:00Z", "metadata", "deletionTimestamp")

	for name, tc := range map[string]struct {
		manifest, live string // no live: absent
		edits          []func(*unstructured.Unstructured)
		strategy       v1beta1.ApplyStrategy
		abandoned      []string
		autoscaled     bool
		verb           Verb
		reason         string
		kind           types.PatchType
		// patch must contain these pieces, and not those that start with "!".
		patch []string
		force bool
		// trial is the server's answer; without one it merges the maps.
		trial         *Trial
		drifts, diffs []string
	}{
		"absent is created":                 {manifest: cm, verb: Create, reason: "Applied"},
		"absent is created whatever to own": {manifest: cm, strategy: never, verb: Create, reason: "Applied"},
		"ours and equal costs nothing":      {manifest: cm, live: cm, verb: Nothing, reason: "Applied"},
		"an added field is nobody's business": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){set("x", "data", "added")},
			verb: Nothing, reason: "Applied"},
		"a changed manifest is merged, and drops what it dropped": {manifest: cm2, live: cm, verb: Patch, reason: "Applied",
			kind: types.StrategicMergePatchType, patch: []string{`"key":"other"`, `"labels":{"a":null}`, "spec-hash", "!ownerReferences"}},
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
			reason: "FailedToTakeOver", diffs: []string{"/data/key: value on the hub, other on the member", "/metadata/labels/a: b on the hub,  on the member"}},
		"IfNoDiff comparing in full leaves what has more": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){owners(), set("x", "data", "added")},
			verb: Refuse, reason: "FailedToTakeOver", diffs: []string{"/data/added:  on the hub, x on the member"},
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
		"IfNotDrifted leaves an edit": {manifest: cm, live: cm, strategy: careful, edits: []func(*unstructured.Unstructured){edited}, verb: Refuse,
			reason: "FoundDrifts", drifts: []string{"/data/key: value on the hub, edited on the member"}},
		"IfNotDrifted leaves additions alone": {manifest: cm, live: cm, strategy: careful, edits: []func(*unstructured.Unstructured){set("x", "data", "added")},
			verb: Nothing, reason: "Applied"},
		"IfNotDrifted applies a new manifest": {manifest: cm2, live: cm, strategy: careful, edits: []func(*unstructured.Unstructured){edited}, verb: Patch, reason: "Applied",
			kind: types.StrategicMergePatchType, patch: []string{`"key":"other"`, `"resourceVersion":"7"`}},
		"IfNotDrifted comparing in full leaves additions": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){set("x", "data", "added")},
			verb: Refuse, reason: "FoundDrifts", drifts: []string{"/data/added:  on the hub, x on the member"},
			strategy: v1beta1.ApplyStrategy{WhenToApply: v1beta1.WhenToApplyIfNotDrifted, ComparisonOption: v1beta1.ComparisonOptionFullComparison}},
		"an addition is reported by a full comparison": {manifest: cm, live: cm, strategy: full, edits: []func(*unstructured.Unstructured){set("x", "data", "added")},
			verb: Nothing, reason: "Applied", drifts: []string{"/data/added:  on the hub, x on the member"}},
		"ReportDiff of nothing":       {manifest: cm, strategy: diff, verb: Compared, reason: "FoundDiff", diffs: []string{"/: (the whole object) on the hub,  on the member"}},
		"ReportDiff of what is equal": {manifest: cm, live: cm, strategy: diff, edits: []func(*unstructured.Unstructured){owners()}, verb: Compared, reason: "NoDiffFound"},
		"ReportDiff of what differs": {manifest: cm, live: cm, strategy: diff, edits: []func(*unstructured.Unstructured){owners(), edited}, verb: Compared,
			reason: "FoundDiff", diffs: []string{"/data/key: value on the hub, edited on the member"}},
		"an edit that the server makes nothing of is no drift": {manifest: cm, live: cm, strategy: careful, edits: []func(*unstructured.Unstructured){edited},
			trial: &Trial{Same: true}, verb: Nothing, reason: "Applied"},
		"nor is it repaired": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){edited}, trial: &Trial{Same: true}, verb: Nothing, reason: "Applied"},
		"what the server refuses is compared in full": {manifest: cm, live: cm, strategy: careful, trial: &Trial{Invalid: true, Failure: "immutable"},
			edits: []func(*unstructured.Unstructured){edited, set("x", "data", "added")}, verb: Refuse, reason: "FoundDriftsInDegradedMode",
			drifts: []string{"/data/added:  on the hub, x on the member", "/data/key: value on the hub, edited on the member"}},
		"what the server cannot try is not overwritten": {manifest: cm, live: cm, strategy: careful, edits: []func(*unstructured.Unstructured){edited},
			trial: &Trial{Failure: "no dry run"}, verb: Refuse, reason: "FailedToRunDriftDetection"},
		"what the server cannot try is repaired where it may be": {manifest: cm, live: cm, edits: []func(*unstructured.Unstructured){edited},
			trial: &Trial{Failure: "no dry run"}, verb: Patch, reason: "Applied", kind: types.StrategicMergePatchType, patch: []string{`"key":"value"`}},
		"what the server cannot try is not taken over": {manifest: cm, live: cm, strategy: ifNoDiff, edits: []func(*unstructured.Unstructured){owners()},
			trial: &Trial{Failure: "no dry run"}, verb: Refuse, reason: "FailedToTakeOver"},
		"what the server cannot try is not compared": {manifest: cm, live: cm, strategy: diff, trial: &Trial{Failure: "no dry run"}, verb: Compared,
			reason: "FailedToReportDiff"},
		"replicas that an autoscaler set are left": {manifest: deploy, live: deploy, autoscaled: true, verb: Nothing, reason: "Applied",
			edits: []func(*unstructured.Unstructured){set(int64(5), "spec", "replicas"), scaledBy("k3s")}},
		"replicas that an autoscaler set are the hub's again when it is gone": {manifest: deploy, live: deploy, verb: Patch, reason: "Applied",
			kind:  types.StrategicMergePatchType,
			edits: []func(*unstructured.Unstructured){set(int64(5), "spec", "replicas"), scaledBy("kube-controller-manager")}, patch: []string{`"replicas":2`}},
		"replicas that were edited are not left": {manifest: deploy, live: deploy, autoscaled: true, verb: Patch, reason: "Applied",
			kind:  types.StrategicMergePatchType,
			edits: []func(*unstructured.Unstructured){set(int64(5), "spec", "replicas")}, patch: []string{`"replicas":2`}},
		"a new manifest leaves them too": {autoscaled: true, manifest: strings.Replace(deploy, "paused: false", "paused: true", 1), live: deploy, verb: Patch, reason: "Applied",
			kind: types.StrategicMergePatchType, patch: []string{`"paused":true`, `!{"replicas`, `!,"replicas`},
			edits: []func(*unstructured.Unstructured){set(int64(5), "spec", "replicas"), scaledBy("kube-controller-manager")}},
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
			in := Input{Manifest: object(t, tc.manifest), Owner: owner, Strategy: with(tc.strategy), Abandoned: sets.New(tc.abandoned...)}
			in.Autoscaled = tc.autoscaled
			if tc.live != "" {
				how := v1beta1.ApplyStrategy{Type: tc.strategy.Type}
				if how.Type == v1beta1.ApplyStrategyTypeReportDiff {
					how.Type = ""
				}
				in.Live = placed(t, tc.live, how, tc.edits...)
			}
			got, err := Decide(in)
			if err == nil && got.Verb == Try {
				in.Trial = tc.trial
				if in.Trial == nil {
					in.Trial = &Trial{Object: &unstructured.Unstructured{Object: merged(in.Live.DeepCopy().Object, got.Object.Object)}}
				}
				got, err = Decide(in)
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(listed(got.Drifts), tc.drifts) || !slices.Equal(listed(got.Diffs), tc.diffs) {
				t.Errorf("drifts %q, differences %q; want %q, %q", listed(got.Drifts), listed(got.Diffs), tc.drifts, tc.diffs)
			}
			if got.Verb != tc.verb || got.Applied.Reason+got.Diffed.Reason != tc.reason || got.Type != tc.kind || got.Force != tc.force {
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
	live := placed(t, `{apiVersion: v1, kind: Secret, metadata: {namespace: ns, name: s, uid: theirs, resourceVersion: "9", creationTimestamp: null,
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
	large := "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: ns, name: c}, data: {key: " + strings.Repeat("x", mostAnnotations) + "}}"
	live := placed(t, large, v1beta1.ApplyStrategy{})
	if text, ok := live.GetAnnotations()[contract.AnnotationLastApplied]; !ok || text != "" {
		t.Errorf("last-applied of %d bytes, present %v; want it empty", len(text), ok)
	}
	small := placed(t, cm, v1beta1.ApplyStrategy{})
	got, err := Decide(Input{Manifest: object(t, large), Live: small, Owner: owner, Strategy: with(v1beta1.ApplyStrategy{})})
	if err != nil || got.Verb != Patch || got.Type != types.ApplyPatchType {
		t.Errorf("%s %s, error %v; want server-side apply", got.Verb, got.Type, err)
	}
}

// A value that the server normalized costs nothing, and for a value that another client changed the server makes a dry
// run, although both look different from the manifest.
func TestHeld(t *testing.T) {
	const manifest = `{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: ns, name: d}, spec: {replicas: 1, selector: {matchLabels: {a: b}},
	  template: {spec: {containers: [{name: c, resources: {requests: {cpu: 1000m}}, ports: [{containerPort: 80}]}], tolerations: [{key: k}]}}}}`
	const ours = `{"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:spec":{"f:tolerations":{},"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{},
	  "f:resources":{"f:requests":{"f:cpu":{}}},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}`
	rewrite := func(o *unstructured.Unstructured) {
		_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{"name": "c", "image": "x",
			"resources": map[string]any{"requests": map[string]any{"cpu": "1"}},
			"ports":     []any{map[string]any{"containerPort": int64(80), "protocol": "TCP"}}}}, "spec", "template", "spec", "containers")
		_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{"key": "k", "operator": "Equal"}}, "spec", "template", "spec", "tolerations")
	}
	// Our fields without one of them, which another manager owns.
	lost := func(field string) string { return strings.Replace(ours, field, "", 1) }
	for name, tc := range map[string]struct {
		fields string
		others string
		edit   func(*unstructured.Unstructured)
		verb   Verb
	}{
		"rewritten by the server":        {fields: ours, verb: Nothing},
		"a quantity edited by another":   {fields: lost(`"f:cpu":{}`), others: `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:resources":{"f:requests":{"f:cpu":{}}}}}}}}}`, verb: Try},
		"a whole list edited by another": {fields: lost(`"f:tolerations":{},`), verb: Try},
		"replicas edited by another":     {fields: lost(`"f:replicas":{},`), edit: set(int64(3), "spec", "replicas"), verb: Try},
		"nothing recorded":               {fields: `{}`, verb: Try},
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
			got, err := Decide(Input{Manifest: object(t, manifest), Live: live, Owner: owner, Strategy: with(v1beta1.ApplyStrategy{})})
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

// A manifest whose header names one object and whose content names another has no object, and nothing is removed
// because of it.
func TestDecodeRefusesTwoReadings(t *testing.T) {
	for raw, want := range map[string]string{
		`{"apiVersion":"v1","kind":"ConfigMap","Kind":"Secret","metadata":{"name":"a","namespace":"b"}}`:                                 `"Kind" is spelled like kind`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"kube-system","nameſpace":"b"}}`:                       `is spelled like namespace`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"metadata":{"namespace":"b"}}`:                                    `"metadata" appears twice`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`: "deeper than 100",
	} {
		m := Decode([]v1beta1.Manifest{{RawExtension: runtime.RawExtension{Raw: []byte(raw)}}})[0]
		if !m.Opaque() || !strings.Contains(m.Problem.Message, want) {
			t.Errorf("%s: %+v, want %q", raw, m.Problem, want)
		}
		if obj, err := m.Object(); err == nil {
			t.Errorf("%s is read as %v", raw, obj)
		}
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

// A dry run has none of our annotations. That alone is no change, whether or not the object has others.
func TestATrialWithoutOurAnnotationsMovesNothing(t *testing.T) {
	const text = "{apiVersion: example.test/v1, kind: Widget, metadata: {namespace: ns, name: c}, spec: {size: 1, list: []}}"
	fields := fieldsBy(managed(contract.ManagerMember, "Apply", `{"f:metadata":{"f:annotations":{"f:kubernetes-fleet.io/spec-hash":{}}},"f:spec":{"f:size":{}}}`))
	s := v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}
	live := placed(t, text, s, fields, func(o *unstructured.Unstructured) { unstructured.RemoveNestedField(o.Object, "spec", "list") })
	trial := live.DeepCopy()
	unstructured.RemoveNestedField(trial.Object, "metadata", "annotations")
	got, err := Decide(Input{Manifest: object(t, text), Live: live, Owner: owner, Strategy: with(s), Trial: &Trial{Object: trial}})
	if err != nil || got.Verb != Nothing {
		t.Errorf("%s %s, error %v", got.Verb, got.Body, err)
	}
}
