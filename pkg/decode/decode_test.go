package decode_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/decode"
)

func TestHeaderOf(t *testing.T) {
	for name, tc := range map[string]struct {
		raw  string
		want string // of the error; "" if there is none
	}{
		"an object":                       {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"b"},"data":{"Name":"x","name":"y"}}`, ""},
		"null where an object may be":     {`{"apiVersion":"v1","kind":"ConfigMap","metadata":null}`, ""},
		"a long s in namespace":           {`{"kind":"a","metadata":{"name":"a","nameſpace":"b"}}`, `"metadata.name\u017fpace" is spelled like namespace`},
		"an escaped long s in namespace":  {`{"kind":"a","metadata":{"name\u017fpace":"b"}}`, `"metadata.name\u017fpace" is spelled like namespace`},
		"a Kelvin sign in kind":           {"{\"kind\":\"a\",\"\u212aind\":\"b\"}", `"\u212aind" is spelled like kind`},
		"a capital K in kind":             {`{"Kind":"b"}`, `"Kind" is spelled like kind`},
		"a capital in labels":             {`{"metadata":{"Labels":{}}}`, `"metadata.Labels" is spelled like labels`},
		"a capital deeper down":           {`{"spec":{"Kind":1,"kind":2,"metadata":{"Name":1}}}`, ""},
		"in a list":                       {`[{"Kind":1}]`, "it must not be a list"},
		"kind twice":                      {`{"kind":"a","kind":"b"}`, `the field "kind" appears twice`},
		"kind twice, once escaped":        {`{"kind":"a","\u006bind":"b"}`, `the field "kind" appears twice`},
		"twice in what is not read":       {`{"spec":{"a":[{"b":1,"c":2,"b":3}]}}`, `the field "spec.a.b" appears twice`},
		"the same field in two objects":   {`{"spec":[{"b":1},{"b":2}]}`, ""},
		"a value like a field":            {`{"a":"kind","kind":"kind"}`, ""},
		"brackets in texts":               {`{"a":"{[{[\"\\","kind":"b"}`, ""},
		"kind is a number":                {`{"kind":123456}`, "its kind must not be a number"},
		"not JSON":                        {`{"kind":"hunter2`, "it is not valid JSON"},
		"nothing":                         {``, "it is not valid JSON"},
		"two of them":                     {`{}{}`, "it is not valid JSON"},
		"as deep as may be":               {`{"a":` + nested(decode.MaxDepth-1) + `}`, ""},
		"deeper":                          {`{"a":` + nested(decode.MaxDepth) + `}`, "deeper than 100 levels"},
		"deeper than can be decoded":      {`{"a":` + nested(20000) + `}`, "deeper than 100 levels"},
		"deeper, and not closed":          {strings.Repeat("[", 20000), "deeper than 100 levels"},
		"larger than an API server takes": {`{"a":"` + strings.Repeat("x", decode.MaxBytes) + `"}`, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode.HeaderOf([]byte(tc.raw))
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "123456")) {
				t.Errorf("the error quotes a value: %v", err)
			}
		})
	}
}

func TestJSONMatchesNamesExactly(t *testing.T) {
	type inner struct {
		Status string `json:"status"`
	}
	var got inner
	if err := decode.JSON([]byte(`{"Status":"a","ſtatus":"b"}`), &got); err != nil || got != (inner{}) {
		t.Errorf("got %+v, %v; want nothing", got, err)
	}
	var whole any
	if err := decode.JSON([]byte(`{"n":9007199254740993,"f":1.5}`), &whole); err != nil ||
		!reflect.DeepEqual(whole, map[string]any{"n": int64(9007199254740993), "f": 1.5}) {
		t.Errorf("got %#v, %v; want whole numbers whole", whole, err)
	}
}

func TestNamedNamesADeepObject(t *testing.T) {
	raw := []byte(`{"kind":"Gadget","metadata":{"namespace":"a","name":"b"},"spec":` + nested(200) + `}`)
	err := decode.Named(raw, decode.Check(raw))
	if !errors.Is(err, decode.ErrDeep) || !strings.HasPrefix(err.Error(), "Gadget a/b: ") {
		t.Errorf("got %v", err)
	}
}

func nested(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }
