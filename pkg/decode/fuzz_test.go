package decode_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/decode"
)

// FuzzReadingsAgree checks that accepted input means the same to every decoder: to the one of the header, to the one
// of the whole object, and to Go's own, which matches field names case-insensitively.
func FuzzReadingsAgree(f *testing.F) {
	for _, text := range []string{
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"b"}}`,
		`{"apiVersion":"v1","kind":"ConfigMap","Kind":"Secret","metadata":{"name":"a"}}`,
		`{"kind":"ConfigMap","metadata":{"name":"a","nameſpace":"b"},"metadata":{"namespace":"c"}}`,
		`{"kind":"a","Kind":"b","\u004bind":"c","metadata":{"GENERATENAME":"x"}}`,
		`{"metadata":[{"name":"a"}]}`, `{"metadata":null,"kind":null}`, `[]`, `null`, `"kind"`, `{"a":{"b":[1,2,{"c":1e400}]}}`,
		"{\"k\xffnd\":1,\"k\xfend\":2}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		header, err := decode.HeaderOf(raw)
		object, whole := decode.Object(raw)
		var folded decode.Header
		foldedErr := json.Unmarshal(raw, &folded)
		if err == nil && (foldedErr != nil || folded != header) {
			t.Fatalf("not refused, and read as %+v and as %+v (%v)", header, folded, foldedErr)
		}
		if err == nil && whole == nil {
			metadata, _ := object.Object["metadata"].(map[string]any)
			text := func(in map[string]any, key string) string { s, _ := in[key].(string); return s }
			is := decode.Header{APIVersion: text(object.Object, "apiVersion"), Kind: text(object.Object, "kind")}
			is.Metadata.Name, is.Metadata.Namespace = text(metadata, "name"), text(metadata, "namespace")
			is.Metadata.GenerateName = text(metadata, "generateName")
			if is != header {
				t.Fatalf("the header is %+v, the object has %+v", header, is)
			}
		}
		lookalike := new(decode.LookalikeError)
		if whole == nil && errors.As(err, &lookalike) {
			t.Fatalf("the header is refused and the object is not: %v", err)
		}
	})
}
