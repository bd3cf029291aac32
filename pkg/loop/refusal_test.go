package loop

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestARefusalQuotesNoObject(t *testing.T) {
	why := `spec.workload.manifests[1].metadata: Invalid value: {"labels":"oops"}: json: cannot unmarshal string`
	err := field.Invalid(field.NewPath("patch"), `{"kind":"Work","spec":{"password":"aHVudGVyMg=="}}`, why)
	if got := Refusal(` "" is invalid: ` + err.Error()); got != why {
		t.Errorf("got %s", got)
	}
	if got := Refusal("no such thing"); got != "no such thing" {
		t.Errorf("got %s", got)
	}
}
