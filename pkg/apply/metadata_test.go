package apply

import (
	"encoding/json"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// The last annotation, and the last label, that a manifest had go with it; those of others stay.
func TestTheLastOfTheMetadataGoes(t *testing.T) {
	for _, kind := range []string{"{apiVersion: v1, kind: ConfigMap, ", "{apiVersion: example.test/v1, kind: Widget, "} {
		live := placed(t, kind+"metadata: {namespace: ns, name: c, annotations: {k: v}, labels: {a: b}}}", v1beta1.ApplyStrategy{},
			set("kept", "metadata", "annotations", "other"), set("kept", "metadata", "labels", "other"))
		action, err := Decide(Input{Manifest: object(t, kind+"metadata: {namespace: ns, name: c}}"), Live: live, Owner: owner, Strategy: with(v1beta1.ApplyStrategy{})})
		if err != nil || action.Verb != Patch {
			t.Fatalf("verb %s, error %v", action.Verb, err)
		}
		before, err := json.Marshal(live.Object)
		if err != nil {
			t.Fatal(err)
		}
		after, err := jsonpatch.MergePatch(before, action.Body) // on maps, a strategic merge does the same
		if err != nil {
			t.Fatal(err)
		}
		var got unstructured.Unstructured
		if err := json.Unmarshal(after, &got.Object); err != nil {
			t.Fatal(err)
		}
		for field, values := range map[string]map[string]string{"annotation k": got.GetAnnotations(), "label a": got.GetLabels()} {
			_, annotated := values["k"]
			_, labelled := values["a"]
			if annotated || labelled || values["other"] != "kept" {
				t.Errorf("%s: %s is still there, or others are gone: %v", kind, field, values)
			}
		}
	}
}
