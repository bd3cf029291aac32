package state

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func job(name string) v1beta1.WorkResourceIdentifier {
	return v1beta1.WorkResourceIdentifier{Group: "batch", Version: "v1", Kind: "Job", Resource: "jobs", Namespace: "shop", Name: name}
}

// reported is a Work that reports the statuses of jobs, given as their names and statuses; empty for none.
func reported(name string, statuses ...string) *v1beta1.Work {
	w := &v1beta1.Work{}
	w.Name = name
	for i := 0; i < len(statuses); i += 2 {
		m := v1beta1.ManifestCondition{Identifier: job(statuses[i])}
		if status := statuses[i+1]; status != "" {
			raw := fmt.Sprintf(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"outside"},"status":%s}`, status)
			m.BackReportedStatus = &v1beta1.BackReportedStatus{ObservedStatus: runtime.RawExtension{Raw: []byte(raw)}}
		}
		w.Status.ManifestConditions = append(w.Status.ManifestConditions, m)
	}
	return w
}

func rule(path, annotation string, name ...string) v1beta1.FailoverState {
	return v1beta1.FailoverState{Group: "batch", Kind: "Job", JSONPath: path, Annotation: annotation, Name: strings.Join(name, "")}
}

func annotation(name, key, value string) v1beta1.ObjectAnnotation {
	return v1beta1.ObjectAnnotation{Group: "batch", Kind: "Job", Namespace: "shop", Name: name, Annotation: key, Value: value}
}

func summary(t Taken) (out []string) {
	for _, v := range t.Values {
		out = append(out, v.Name+" "+v.Annotation+"="+v.Value)
	}
	for _, m := range t.Missing {
		out = append(out, "- "+m.String())
	}
	if t.More > 0 {
		out = append(out, fmt.Sprintf("- %d more", t.More))
	}
	return out
}

func TestTake(t *testing.T) {
	step := []v1beta1.FailoverState{rule(".status.step", "step")}
	one := func(works ...*v1beta1.Work) []*v1beta1.Work { return works }
	for name, tc := range map[string]struct {
		rules []v1beta1.FailoverState
		works []*v1beta1.Work
		had   []v1beta1.ObjectAnnotation
		want  []string
	}{
		"a text is taken as it is":         {rules: step, works: one(reported("w", "a", `{"step":"s3://b/7?x=<1>"}`)), want: []string{"a step=s3://b/7?x=<1>"}},
		"an empty text is a value":         {rules: step, works: one(reported("w", "a", `{"step":""}`)), want: []string{"a step="}},
		"a whole number stays whole":       {rules: step, works: one(reported("w", "a", `{"step":9007199254740993}`)), want: []string{"a step=9007199254740993"}},
		"true":                             {rules: step, works: one(reported("w", "a", `{"step":true}`)), want: []string{"a step=true"}},
		"an object has its JSON form":      {rules: step, works: one(reported("w", "a", `{"step":{"n":1,"at":"<a>\n"}}`)), want: []string{`a step={"at":"<a>\n","n":1}`}},
		"a list has, too":                  {rules: step, works: one(reported("w", "a", `{"step":[1,"b"]}`)), want: []string{`a step=[1,"b"]`}},
		"all objects of the kind":          {rules: step, works: one(reported("v", "b", `{"step":2}`), reported("u", "a", `{"step":1}`)), want: []string{"a step=1", "b step=2"}},
		"an object by its name":            {rules: []v1beta1.FailoverState{rule(".status.step", "step", "b")}, works: one(reported("w", "a", `{"step":1}`, "b", `{"step":2}`)), want: []string{"b step=2"}},
		"an element of a list by a field":  {rules: []v1beta1.FailoverState{rule(`.status.conditions[?(@.type=="Saved")].message`, "m")}, works: one(reported("w", "a", `{"conditions":[{"status":"True"},{"type":"Saved","message":"at 7"}]}`)), want: []string{"a m=at 7"}},
		"the last element":                 {rules: []v1beta1.FailoverState{rule(`.status.steps[-1]`, "m")}, works: one(reported("w", "a", `{"steps":[1,2,3]}`)), want: []string{"a m=3"}},
		"nothing is reported":              {rules: step, want: []string{"- Job, .status.step: the cluster has reported no such object"}},
		"another kind is reported":         {rules: []v1beta1.FailoverState{{Kind: "Job", JSONPath: ".status.step", Annotation: "step"}}, works: one(reported("w", "a", `{"step":1}`)), want: []string{"- Job, .status.step: the cluster has reported no such object"}},
		"no status is reported":            {rules: step, works: one(reported("w", "a", "")), want: []string{"- Job shop/a, .status.step: the cluster has not reported its status"}},
		"the status lacks the value":       {rules: step, works: one(reported("w", "a", `{}`, "b", `{"step":1}`)), want: []string{"b step=1", "- Job shop/a, .status.step: the status has no such value"}},
		"the value is null":                {rules: step, works: one(reported("w", "a", `{"step":null}`)), want: []string{"- Job shop/a, .status.step: the value is null"}},
		"the status is null":               {rules: step, works: one(reported("w", "a", `null`)), want: []string{"- Job shop/a, .status.step: the status has no such value"}},
		"the status is a list":             {rules: step, works: one(reported("w", "a", `["secret"]`)), want: []string{"- Job shop/a, .status.step: the status cannot be read: its status must not be a list"}},
		"no index there":                   {rules: []v1beta1.FailoverState{rule(".status.steps[3]", "m")}, works: one(reported("w", "a", `{"steps":["secret"]}`)), want: []string{"- Job shop/a, .status.steps[3]: the path does not fit the status"}},
		"an index of a text":               {rules: []v1beta1.FailoverState{rule(".status.steps[0]", "m")}, works: one(reported("w", "a", `{"steps":"secret"}`)), want: []string{"- Job shop/a, .status.steps[0]: the path does not fit the status"}},
		"the letters of a text":            {rules: []v1beta1.FailoverState{rule(".status.steps.*", "m")}, works: one(reported("w", "a", `{"steps":"s"}`)), want: []string{"- Job shop/a, .status.steps.*: the path does not fit the status"}},
		"several values":                   {rules: []v1beta1.FailoverState{rule(".status.*", "m")}, works: one(reported("w", "a", `{"a":1,"b":2}`)), want: []string{"- Job shop/a, .status.*: the path finds 2 values in the status, and must find one"}},
		"control characters":               {rules: step, works: one(reported("w", "a", `{"step":"a\nb"}`)), want: []string{"- Job shop/a, .status.step: the value has control characters, or is not valid UTF-8"}},
		"half a letter":                    {rules: step, works: one(reported("w", "a", `{"step":"\ud800"}`)), want: []string{"- Job shop/a, .status.step: the value has control characters, or is not valid UTF-8"}},
		"invalid UTF-8":                    {rules: step, works: one(reported("w", "a", "{\"step\":\"\xff\"}")), want: []string{"- Job shop/a, .status.step: the status is not valid UTF-8"}},
		"a field twice":                    {rules: step, works: one(reported("w", "a", `{"step":1,"step":2}`)), want: []string{`- Job shop/a, .status.step: the status cannot be read: the field "status.step" appears twice; remove one of them`}},
		"a deep status":                    {rules: step, works: one(reported("w", "a", strings.Repeat(`{"step":`, 200)+"1"+strings.Repeat("}", 200))), want: []string{"- Job shop/a, .status.step: the status cannot be read: it is nested deeper than 100 levels; reduce the nesting"}},
		"a large status":                   {rules: step, works: one(reported("w", "a", `{"step":1,"x":"`+strings.Repeat("x", mostStatus)+`"}`)), want: []string{"- Job shop/a, .status.step: the status has more than 256 KiB"}},
		"a large value":                    {rules: step, works: one(reported("w", "a", `{"step":"`+strings.Repeat("x", MostValue+1)+`"}`)), want: []string{"- Job shop/a, .status.step: the value has more than 4096 bytes"}},
		"a name that no object can have":   {rules: step, works: one(reported("w", strings.Repeat("n", 254), `{"step":1}`, "", `{"step":1}`, "a\nb", `{"step":1}`)), want: []string{"- Job, .status.step: the cluster has reported no such object"}},
		"a path out of the status":         {rules: []v1beta1.FailoverState{rule(".metadata.name", "m")}, works: one(reported("w", "a", `{}`)), want: []string{`- Job, .metadata.name: the rule is refused: state.jsonPath: Invalid value: ".metadata.name": it must begin with .status, because the hub knows only the status of objects on members`}},
		"the first rule with a value wins": {rules: []v1beta1.FailoverState{rule(".status.new", "m"), rule(".status.old", "m"), rule(".status.step", "m")}, works: one(reported("w", "a", `{"old":1,"step":2}`)), want: []string{"a m=1"}},
		"several values of an object":      {rules: []v1beta1.FailoverState{rule(".status.a", "a"), rule(".status.b", "b")}, works: one(reported("w", "a", `{"a":1,"b":2}`)), want: []string{"a a=1", "a b=2"}},

		"passed on: it reported another object": {rules: step, works: one(reported("w", "a", `{"step":1}`)), had: []v1beta1.ObjectAnnotation{annotation("b", "step", "7")}, want: []string{"a step=1", "b step=7"}},
		"passed on: no value yet":               {rules: step, works: one(reported("w", "a", `{}`)), had: []v1beta1.ObjectAnnotation{annotation("a", "step", "7")}, want: []string{"a step=7"}},
		"passed on: it reported nothing":        {rules: step, had: []v1beta1.ObjectAnnotation{annotation("a", "step", "7")}, want: []string{"a step=7"}},
		"not passed on: it has a value":         {rules: step, works: one(reported("w", "a", `{"step":8}`)), had: []v1beta1.ObjectAnnotation{annotation("a", "step", "7")}, want: []string{"a step=8"}},
		"not passed on: its value is too large": {rules: step, works: one(reported("w", "a", `{"step":"`+strings.Repeat("x", MostValue+1)+`"}`)), had: []v1beta1.ObjectAnnotation{annotation("a", "step", "7")}, want: []string{"- Job shop/a, .status.step: the value has more than 4096 bytes"}},
		"not passed on: no rule asks for it":    {rules: step, works: one(reported("w", "a", `{"step":8}`)), had: []v1beta1.ObjectAnnotation{annotation("a", "other", "7")}, want: []string{"a step=8"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, summary(Take(tc.rules, tc.works, tc.had))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTakeIsBounded(t *testing.T) {
	var many, large []string
	for i := range 250 {
		many = append(many, fmt.Sprintf("j%03d", i), `{"step":1}`)
	}
	for i := range 20 {
		large = append(large, fmt.Sprintf("j%03d", i), `{"step":"`+strings.Repeat("x", MostValue)+`"}`)
	}
	step := []v1beta1.FailoverState{rule(".status.step", "step")}
	for name, tc := range map[string]struct {
		work                  *v1beta1.Work
		values, missing, more int
		why                   string
	}{
		"many values":  {reported("w", many...), 200, 50, 0, "there are more than 200 values"},
		"large values": {reported("w", large...), 16, 4, 0, "all values together have more than 64 KiB"},
	} {
		got := Take(step, []*v1beta1.Work{tc.work}, nil)
		if len(got.Values) != tc.values || len(got.Missing) != tc.missing || got.More != tc.more || got.Missing[0].Why != tc.why {
			t.Errorf("%s: %d values, %d missing and %d more, because %q", name, len(got.Values), len(got.Missing), got.More, got.Missing[0].Why)
		}
	}
	got := Take([]v1beta1.FailoverState{rule(".status.no", "no")}, []*v1beta1.Work{reported("w", many...)}, nil)
	if text := got.WhatMisses(3); got.More != 150 || len(text) > 1000 || !strings.HasSuffix(text, "; and 247 more") {
		t.Errorf("%d more, %q", got.More, text)
	}
}

// hostile draws a status, or something that is none.
func hostile() *rapid.Generator[string] {
	leaf := rapid.SampledFrom([]string{`null`, `""`, `"a"`, `"a\u0000b"`, `"\ud800"`, `1`, `-1e300`, `9223372036854775808`, `true`, `[]`, `{}`, "\"\xff\"",
		`"` + strings.Repeat("x", 5000) + `"`})
	var value func(depth int) *rapid.Generator[string]
	value = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			kind := rapid.IntRange(0, 3).Draw(t, "kind")
			if depth == 0 || kind == 0 {
				return leaf.Draw(t, "leaf")
			}
			var parts []string
			for range rapid.IntRange(0, 4).Draw(t, "n") {
				part := value(depth-1).Draw(t, "part")
				if kind == 1 {
					part = rapid.SampledFrom([]string{`"a"`, `"b"`, `"type"`, `""`, `"a.b"`}).Draw(t, "field") + ":" + part
				}
				parts = append(parts, part)
			}
			if kind == 1 {
				return "{" + strings.Join(parts, ",") + "}"
			}
			return "[" + strings.Join(parts, ",") + "]"
		})
	}
	return rapid.Custom(func(t *rapid.T) string {
		text := value(5).Draw(t, "status")
		if rapid.IntRange(0, 9).Draw(t, "torn") == 0 && len(text) > 1 {
			text = text[:len(text)/2]
		}
		return text
	})
}

// Whatever a member reports, Take returns values that the schema of bindings and of annotations accepts.
func TestTakeOfHostileStatuses(t *testing.T) {
	steps := []string{".a", ".b", ".*", "[0]", "[-1]", "[*]", "[1:]", "[::2]", "['a']", `[?(@.type=="a")]`, "[?(@.a)]", "[?(@.a>@.b)]", "[?(@.b!=1)]", "[9223372036854775807]", "..", "[0,1]"}
	rapid.Check(t, func(t *rapid.T) {
		var rules []v1beta1.FailoverState
		for i := range rapid.IntRange(1, 4).Draw(t, "rules") {
			path := ".status" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(steps), 1, 6).Draw(t, "path"), "")
			rules = append(rules, rule(path, fmt.Sprintf("key-%d", i)))
		}
		var statuses []string
		for range rapid.IntRange(0, 3).Draw(t, "objects") {
			statuses = append(statuses, rapid.SampledFrom([]string{"a", "b", "", "\xff"}).Draw(t, "name"), hostile().Draw(t, "status"))
		}
		works := []*v1beta1.Work{reported("w", statuses...)}
		got := Take(rules, works, nil)
		seen := map[key]bool{}
		for _, v := range got.Values {
			if seen[keyOf(v)] || len(v.Value) > MostValue || !utf8.ValidString(v.Value) || !printable(v.Value) || v.Name == "" || v.Name == "\xff" {
				t.Fatalf("it takes %+v", v)
			}
			seen[keyOf(v)] = true
		}
		if len(got.Values)+len(got.Missing) == 0 {
			t.Fatal("nothing is taken, and nothing is missing")
		}
		if again := Take(rules, works, nil); cmp.Diff(got, again) != "" {
			t.Fatalf("another time it takes %+v instead of %+v", again, got)
		}
	})
}

// FuzzValue checks that no status makes a path fail, or take what is outside the status.
func FuzzValue(f *testing.F) {
	f.Add(`.status.conditions[?(@.type=="Saved")].message`, []byte(`{"conditions":[{"type":"Saved","message":"m"}]}`))
	f.Add(".status.a[-1].b", []byte(`{"a":[{"b":null},{"b":[1]}]}`))
	f.Add(".status.*.a", []byte(`{"x":"text","y":{"a":1e400}}`))
	f.Fuzz(func(t *testing.T, path string, status []byte) {
		w := reported("w", "a", string(status))
		got := Take([]v1beta1.FailoverState{rule(path, "key")}, []*v1beta1.Work{w}, nil)
		for _, v := range got.Values {
			if len(v.Value) > MostValue || !printable(v.Value) || strings.Contains(v.Value, "outside") && !strings.Contains(string(status), "outside") {
				t.Fatalf("it takes %q", v.Value)
			}
		}
	})
}

func TestSet(t *testing.T) {
	const object = `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","namespace":"shop","annotations":{"step":"0","other":"x"}},"spec":{"n":9007199254740993}}`
	values := []v1beta1.ObjectAnnotation{annotation("a", "step", "7"), annotation("a", "more", "<m>"), annotation("b", "step", "8")}
	for name, tc := range map[string]struct{ object, want string }{
		"it replaces one with the same key": {object, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"annotations":{"more":"<m>","other":"x","step":"7"},"name":"a","namespace":"shop"},"spec":{"n":9007199254740993}}`},
		"no annotations":                    {`{"apiVersion":"batch/v2","kind":"Job","metadata":{"name":"b","namespace":"shop"}}`, `{"apiVersion":"batch/v2","kind":"Job","metadata":{"annotations":{"step":"8"},"name":"b","namespace":"shop"}}`},
		"another name":                      {`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"c","namespace":"shop"}}`, ""},
		"another namespace":                 {`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","namespace":"else"}}`, ""},
		"another group":                     {`{"apiVersion":"v1","kind":"Job","metadata":{"name":"a","namespace":"shop"}}`, ""},
		"annotations that are none":         {`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","namespace":"shop","annotations":"x"}}`, ""},
		"no JSON":                           {`{`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Set([]byte(tc.object), values)
			if tc.want == "" {
				tc.want = tc.object
			} else {
				tc.want = canonical(t, tc.want)
			}
			if err != nil || string(got) != tc.want {
				t.Errorf("%s, %v; want %s", got, err, tc.want)
			}
		})
	}
	if got := Within([][]byte{[]byte(object), []byte(`{`)}, values); len(got) != 2 {
		t.Errorf("within: %+v", got)
	}
}

// canonical is JSON with its special characters as Go writes them.
func canonical(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	escaped := strings.NewReplacer("<", `\u003c`, ">", `\u003e`)
	if _, err := escaped.WriteString(&b, text); err != nil || !json.Valid([]byte(b.String())) {
		t.Fatalf("%s, %v", b.String(), err)
	}
	return b.String()
}

func TestReportBack(t *testing.T) {
	mirror := func(to v1beta1.ReportBackDestination) *v1beta1.ReportBackStrategy {
		return &v1beta1.ReportBackStrategy{Type: v1beta1.ReportBackTypeMirror, Destination: ptr.To(to)}
	}
	works, origin := mirror(v1beta1.ReportBackDestinationWorkAPI), mirror(v1beta1.ReportBackDestinationOriginalResource)
	disabled := &v1beta1.ReportBackStrategy{Type: v1beta1.ReportBackTypeDisabled}
	for name, tc := range map[string]struct {
		takes       bool
		asked, want *v1beta1.ReportBackStrategy
	}{
		"nothing is asked for":              {false, nil, nil},
		"it takes values along":             {true, nil, works},
		"it takes values along, else not":   {true, disabled, works},
		"nothing, and it takes none":        {false, disabled, disabled},
		"the hub's objects get them":        {true, origin, origin},
		"the Works get them anyway":         {true, works, works},
		"the hub's objects get them, alone": {false, origin, origin},
	} {
		spec := &v1beta1.PlacementSpec{Strategy: v1beta1.RolloutStrategy{ReportBackStrategy: tc.asked}, Policy: &v1beta1.PlacementPolicy{}}
		if tc.takes {
			spec.Policy.Failover = &v1beta1.Failover{State: []v1beta1.FailoverState{rule(".status.a", "a")}}
		}
		if diff := cmp.Diff(tc.want, ReportBack(spec)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
