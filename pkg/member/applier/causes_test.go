package applier

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestARefusalKeepsTheCauses(t *testing.T) {
	job := schema.GroupKind{Group: "batch", Kind: "Job"}
	template := map[string]any{"spec": strings.Repeat("x", 2*mostMessage)}
	path := field.NewPath("spec", "template")
	for name, tc := range map[string]struct {
		errs field.ErrorList
		want string
	}{
		"a struct":      {field.ErrorList{field.Invalid(path, template, "field is immutable")}, `Job "migrate" is invalid: spec.template: Invalid value: field is immutable`},
		"a long string": {field.ErrorList{field.Invalid(path, strings.Repeat(`}: `, mostMessage), "must not be that long")}, `Job "migrate" is invalid: spec.template: Invalid value: must not be that long`},
		"a short value": {field.ErrorList{field.Invalid(path, 7, "must be 8")}, `Job.batch "migrate" is invalid: spec.template: Invalid value: 7: must be 8`},
		"several": {field.ErrorList{field.Required(field.NewPath("spec", "ports"), ""), field.Invalid(path, template, "field is immutable"), field.Invalid(path, template, "field is immutable")},
			`Job "migrate" is invalid: spec.ports: Required value; spec.template: Invalid value: field is immutable`},
	} {
		if got := explain(apierrors.NewInvalid(job, "migrate", tc.errs), job); got != tc.want {
			t.Errorf("%s: %s; want %s", name, got, tc.want)
		}
	}
	got := explain(apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "s", field.ErrorList{field.Invalid(field.NewPath("data"), template, "field is immutable when `immutable` is set")}), schema.GroupKind{Kind: "Secret"})
	if strings.Contains(got, "xxx") || !strings.Contains(got, "data") {
		t.Errorf("of a Secret: %s", got)
	}
}
