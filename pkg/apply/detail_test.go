package apply

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
)

func TestDetails(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, tc := range map[string]struct {
		hub, member string
		want        []string
	}{
		"equal":                            {"{a: 1, b: [x, {c: d}]}", "{b: [x, {c: d}], a: 1}", nil},
		"null is absent":                   {"{a: null, b: {c: null}}", "{b: {}}", nil},
		"numbers that are written apart":   {"{a: 1000000}", "{a: 1e6}", nil},
		"sorted by path":                   {"{b: 1, a: 1}", "{a: 2, b: 2}", []string{"/a: 1 on the hub, 2 on the member", "/b: 1 on the hub, 2 on the member"}},
		"escaped":                          {"{a/b~c: 1}", "{a/b~c: 2}", []string{"/a~1b~0c: 1 on the hub, 2 on the member"}},
		"only on one side":                 {"{a: {x: 1, z: [p]}}", "{b: true}", []string{"/a: map[x:1 z:[p]] on the hub,  on the member", "/b:  on the hub, true on the member"}},
		"a longer list on the member":      {"{l: [a]}", "{l: [b, c, d]}", []string{"/l/0: a on the hub, b on the member", "/l/-:  on the hub, c on the member", "/l/-:  on the hub, d on the member"}},
		"a longer list on the hub":         {"{l: [a, b, c]}", "{l: [a]}", []string{"/l/1: b on the hub,  on the member", "/l/1: c on the hub,  on the member"}},
		"another type":                     {"{a: [x]}", "{a: {x: z}}", []string{"/a: [x] on the hub, map[x:z] on the member"}},
		"long values from where they part": {"{a: " + long + "1}", "{a: " + long + "2}", []string{"/a: …" + long[:64] + "1 (5001 bytes) on the hub, …" + long[:64] + "2 (5001 bytes) on the member"}},
		"not the machinery's":              {"{metadata: {labels: {a.kubernetes.io/b: x}, uid: u}, status: {a: b}}", "{metadata: {finalizers: [x]}}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := listed(details(object(t, tc.hub), object(t, tc.member)))
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %q; want %q", got, tc.want)
			}
		})
	}
}

func TestDetailsAreBounded(t *testing.T) {
	hub, member := map[string]any{}, map[string]any{}
	for i := range 300 {
		hub[fmt.Sprintf("k%03d", i)], member[fmt.Sprintf("k%03d", i)] = "a", "b"
	}
	got := details(&unstructured.Unstructured{Object: hub}, &unstructured.Unstructured{Object: member})
	if len(got) != 100 || got[99].Path != "/k099" {
		t.Errorf("%d details, the last %+v; want the first 100", len(got), got[len(got)-1])
	}
}

func TestSecretsAreRedacted(t *testing.T) {
	hub := "{apiVersion: v1, kind: Secret, metadata: {labels: {a: b}}, type: Opaque, data: {a: aHVudGVyMg==, b: aHVudGVyMg==}}"
	member := "{apiVersion: v1, kind: Secret, metadata: {labels: {a: c}}, type: Other, data: {a: c3dvcmQ=, c: c3dvcmQ=}, stringData: {x: hunter2}}"
	want := []string{"/data/a: R on the hub, R on the member", "/data/b: R on the hub,  on the member", "/data/c:  on the hub, R on the member",
		"/metadata/labels/a: b on the hub, c on the member", "/stringData:  on the hub, R on the member", "/type: Opaque on the hub, Other on the member"}
	got := listed(details(object(t, hub), object(t, member)))
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], contract.TextRedacted, "R")
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

// What a manifest calls itself does not matter, and tools keep copies of contents in annotations.
func TestSecretsAreRedactedWhateverTheManifest(t *testing.T) {
	hub := "{apiVersion: v1, kind: ConfigMap, metadata: {annotations: {applied: hunter2}}}"
	member := "{apiVersion: v1, kind: Secret, metadata: {annotations: {applied: swordfish}}, data: {a: c3dvcmQ=}}"
	for _, pair := range [][2]string{{hub, member}, {member, hub}} {
		for _, line := range listed(details(object(t, pair[0]), object(t, pair[1]))) {
			if strings.Contains(line, "hunter2") || strings.Contains(line, "swordfish") || strings.Contains(line, "c3dvcmQ=") {
				t.Errorf("shown: %s", line)
			}
		}
	}
}

// What the trial changed beside the manifest's fields is left as it is, and so is the order of lists with keys.
func TestOverlay(t *testing.T) {
	for name, tc := range map[string]struct{ live, trial, now, before, want string }{
		"a field":                      {"{a: 1, b: 1}", "{a: 2, b: 2}", `{"f:a":{}}`, "{}", "{a: 2, b: 1}"},
		"a field that a webhook added": {"{a: 1}", "{a: 1, stamp: now}", `{"f:a":{}}`, "{}", "{a: 1}"},
		"a field no longer applied":    {"{a: 1, b: 1}", "{a: 1}", `{"f:a":{}}`, `{"f:a":{},"f:b":{}}`, "{a: 1}"},
		"a keyed list": {"{l: [{id: q, v: 1}, {id: x, v: 1}]}", "{l: [{id: x, v: 2}, {id: q, v: 1}]}",
			`{"f:l":{"k:{\"id\":\"x\"}":{"f:id":{},"f:v":{}}}}`, "{}", "{l: [{id: q, v: 1}, {id: x, v: 2}]}"},
		"a missing element":    {"{l: [{id: q}]}", "{l: [{id: x, d: 1}, {id: q}]}", `{"f:l":{"k:{\"id\":\"x\"}":{"f:id":{}}}}`, "{}", "{l: [{id: q}, {id: x, d: 1}]}"},
		"an element withdrawn": {"{l: [{id: q}, {id: x}]}", "{l: [{id: q}]}", `{"f:l":{"k:{\"id\":\"q\"}":{"f:id":{}}}}`, `{"f:l":{"k:{\"id\":\"x\"}":{"f:id":{}}}}`, "{l: [{id: q}]}"},
		"a set":                {"{l: [c, a]}", "{l: [a, b, c]}", `{"f:l":{"v:\"a\"":{},"v:\"b\"":{}}}`, "{}", "{l: [c, a, b]}"},
		"a list as a whole":    {"{l: [c, a]}", "{l: [a]}", `{"f:l":{}}`, "{}", "{l: [a]}"},
	} {
		t.Run(name, func(t *testing.T) {
			var now, before map[string]any
			for text, into := range map[string]*map[string]any{tc.now: &now, tc.before: &before} {
				if err := json.Unmarshal([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			got := overlay(object(t, tc.live).Object, object(t, tc.trial).Object, now, before)
			if want := object(t, tc.want).Object; !reflect.DeepEqual(got, any(want)) {
				t.Errorf("got %v; want %v", got, want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`, `{"apiVersion":"a/b/c"}`, `null`, `[]`, ``, `{"metadata":{"name":1}}`,
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","annotations":null,"labels":[1]},"stringData":{"a":1}}`, `{"apiVersion":"v1","kind":"X","metadata":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := v1beta1.Manifest{}
		m.Raw = raw
		for i, got := range Decode([]v1beta1.Manifest{m, m}) {
			named := got.Identifier.Name != "" && got.Identifier.Kind != "" && got.Identifier.Version != ""
			if got.Problem.Reason == "" && !named {
				t.Fatalf("%q is no problem and names nothing: %+v", raw, got.Identifier)
			}
			if got.Problem.Reason == "" && i == 1 {
				t.Fatalf("%q twice is no duplicate", raw)
			}
			if obj, err := got.Object(); err == nil && got.Problem.Reason == "" {
				if _, err := prepare(obj, Stamp{}); err != nil {
					t.Fatalf("%q: %v", raw, err)
				}
			}
		}
	})
}

// Whatever manifest meets whatever object: nothing panics, and what was just applied is not applied again.
func FuzzDecide(f *testing.F) {
	for _, pair := range [][2]string{{cm, cm2}, {widget, grown}, {cm, widget},
		{`{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}`, `{apiVersion: v1, kind: Service, metadata: {name: s, managedFields: [{manager: work-api-agent, fieldsV1: {"f:spec": {}}}]}, spec: {ports: 7}}`},
	} {
		var texts [2][]byte
		for i, text := range pair {
			texts[i] = jsonOf(f, text)
		}
		f.Add(texts[0], texts[1], uint8(0))
		f.Add(texts[0], texts[1], uint8(7))
	}
	f.Fuzz(func(t *testing.T, manifest, live []byte, how uint8) {
		m := v1beta1.Manifest{}
		m.Raw = manifest
		decoded := Decode([]v1beta1.Manifest{m})[0]
		want, err := decoded.Object()
		if err != nil || decoded.Problem.Reason != "" {
			return
		}
		have, err := Manifest{Raw: live}.Object()
		if err != nil || have.Object == nil {
			return
		}
		s := strategyOf(how)
		for _, trial := range []*Trial{nil, {Same: true}, {Invalid: true}, {Failure: "x"}, {Object: have.DeepCopy()}} {
			_, _ = Decide(Input{Manifest: want, Live: have, Owner: owner, Strategy: s, Trial: trial})
		}
		first, err := Decide(Input{Manifest: want, Owner: owner, Strategy: s})
		if err != nil || first.Verb != Create {
			return
		}
		if again, err := Decide(Input{Manifest: want, Live: first.Object, Owner: owner, Strategy: s}); err == nil && again.Verb == Create {
			t.Fatalf("%s after %s", again.Verb, first.Verb)
		}
	})
}

func strategyOf(how uint8) v1beta1.ApplyStrategy {
	var s v1beta1.ApplyStrategy
	if how&1 != 0 {
		s.WhenToApply = v1beta1.WhenToApplyIfNotDrifted
	}
	if how&2 != 0 {
		s.ComparisonOption = v1beta1.ComparisonOptionFullComparison
	}
	if how&4 != 0 {
		s.WhenToTakeOver = v1beta1.WhenToTakeOverIfNoDiff
	}
	switch how >> 3 & 3 {
	case 1:
		s.Type = v1beta1.ApplyStrategyTypeServerSideApply
	case 2:
		s.Type = v1beta1.ApplyStrategyTypeReportDiff
	}
	return with(s)
}

// Details never show a Secret, are bounded, and are empty for what is equal.
func FuzzDetails(f *testing.F) {
	for _, pair := range [][2]string{{`{"data":{"a":"x"}}`, `{"data":{"a":"y","b":[1,2,{"c":null}]}}`}, {`{"metadata":{"labels":null}}`, `{"metadata":[]}`}, {`{"a/b":1.5}`, `{"a~b":"é"}`}} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		hub, errA := Manifest{Raw: a}.Object()
		member, errB := Manifest{Raw: b}.Object()
		if errA != nil || errB != nil || hub.Object == nil || member.Object == nil {
			return
		}
		self := hub.DeepCopy()
		hub.SetAPIVersion("v1")
		hub.SetKind("Secret")
		got := details(hub, member)
		if len(got) > mostDetails {
			t.Fatalf("%d details", len(got))
		}
		for _, d := range got {
			for _, value := range []string{d.ValueInHub, d.ValueInMember} {
				if len(value) > 2*mostValue {
					t.Fatalf("%s shows %q", d.Path, value)
				}
			}
		}
		if !reflect.DeepEqual(got, secrecy.Redact(got)) {
			t.Fatalf("not redacted: %v", got)
		}
		if same := details(self, self.DeepCopy()); len(same) > 0 {
			t.Fatalf("%s differs from itself: %v", a, same)
		}
	})
}
