package secrecy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

func TestRedact(t *testing.T) {
	const hidden = contract.TextRedacted
	got := Redact([]v1beta1.PatchDetail{
		{Path: "/data/a", ValueInHub: "YQ==", ValueInMember: ""},
		{Path: "/metadata/annotations/copy", ValueInHub: "a", ValueInMember: hidden},
		{Path: "/metadata/labels/app", ValueInHub: "a", ValueInMember: "b"},
		{Path: "/type", ValueInHub: "Opaque", ValueInMember: "other"},
		{Path: "/", ValueInHub: contract.TextWholeObject},
		{Path: "/data/a and 3 more path(s)", ValueInHub: contract.TextOmitted, ValueInMember: contract.TextOmitted},
		{Path: "", ValueInHub: "map[data:map[a:YQ==]]"},
		{Path: "/unknown", ValueInHub: "a"},
	})
	want := []v1beta1.PatchDetail{
		{Path: "/data/a", ValueInHub: hidden, ValueInMember: ""},
		{Path: "/metadata/annotations/copy", ValueInHub: hidden, ValueInMember: hidden},
		{Path: "/metadata/labels/app", ValueInHub: "a", ValueInMember: "b"},
		{Path: "/type", ValueInHub: "Opaque", ValueInMember: "other"},
		{Path: "/", ValueInHub: contract.TextWholeObject},
		{Path: "/data/a and 3 more path(s)", ValueInHub: contract.TextOmitted, ValueInMember: contract.TextOmitted},
		{Path: "", ValueInHub: hidden},
		{Path: "/unknown", ValueInHub: hidden},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

const hunter = `hun"ter: 2, {[`

// What API servers quote goes, whatever its type, and the rest stays.
func TestWithoutValues(t *testing.T) {
	at := field.NewPath("spec", "field")
	for name, tc := range map[string]struct {
		err  *field.Error
		want string
	}{
		"a string":               {field.Invalid(at, hunter, "no good"), "spec.field: Invalid value: no good"},
		"a string alone":         {field.Invalid(at, hunter, ""), "spec.field: Invalid value"},
		"an object":              {field.Invalid(at, map[string]any{"a": hunter, "b": []any{"}"}}, "no good"), "spec.field: Invalid value: no good"},
		"a list":                 {field.Invalid(at, []string{hunter}, "no good"), "spec.field: Invalid value: no good"},
		"bytes":                  {field.Invalid(at, []byte(hunter), "no good"), "spec.field: Invalid value: no good"},
		"a number":               {field.Invalid(at, 1.5, "no good"), "spec.field: Invalid value: no good"},
		"a large number":         {field.Invalid(at, int64(-15), "no good"), "spec.field: Invalid value: no good"},
		"a boolean":              {field.Invalid(at, true, "no good"), "spec.field: Invalid value: no good"},
		"nothing":                {field.Invalid(at, nil, "no good"), "spec.field: Invalid value: no good"},
		"what no JSON can be of": {field.Invalid(at, map[any]any{1: hunter}, "no good"), "spec.field: Invalid value"},
		"not one of":             {field.NotSupported(at, hunter, []string{"a", "b"}), `spec.field: Unsupported value: supported values: "a", "b"`},
		"twice":                  {field.Duplicate(at, hunter), "spec.field: Duplicate value"},
		"not there":              {field.NotFound(at, hunter), "spec.field: Not found"},
		"missing":                {field.Required(at, "say it"), "spec.field: Required value: say it"},
		"too long":               {field.TooLong(at, hunter, 3), "spec.field: Too long: may not be more than 3 bytes"},
		"too many":               {field.TooMany(at, 5, 3), "spec.field: Too many: must have at most 3 items"},
		"forbidden":              {field.Forbidden(at, "never"), "spec.field: Forbidden: never"},
		"a whole object that a patch leads to": {field.Invalid(field.NewPath("patch"), `{"spec":{"password":"`+hunter+`"}}`, field.Invalid(at, map[string]any{"a": hunter}, "no good").Error()),
			"spec.field: Invalid value: no good"},
	} {
		t.Run(name, func(t *testing.T) {
			err := apierrors.NewInvalid(schema.GroupKind{Group: "g", Kind: "Work"}, "w", field.ErrorList{tc.err})
			got := WithoutValues(err.Error())
			if got != tc.want && got != `Work.g "w" is invalid: `+tc.want {
				t.Errorf("got %s; want %s", got, tc.want)
			}
			two := apierrors.NewInvalid(schema.GroupKind{Group: "g", Kind: "Work"}, "w", field.ErrorList{tc.err, field.Invalid(field.NewPath("z"), hunter, "too bad")})
			if got := WithoutValues(two.Error()); strings.Contains(got, "hun") || strings.Contains(got, "ter") {
				t.Errorf("beside another: %s", got)
			}
		})
	}
}

func TestWithoutObject(t *testing.T) {
	why := `spec.workload.manifests[1].metadata: Invalid value: {"labels":"oops"}: json: cannot unmarshal string`
	err := field.Invalid(field.NewPath("patch"), `{"kind":"Work","spec":{"password":"aHVudGVyMg=="}}`, why)
	for message, want := range map[string]string{
		` "" is invalid: ` + err.Error():                      why,
		"no such thing":                                       "no such thing",
		`w is invalid: patch: Invalid value: "cut off in the`: "w is invalid: the patch results in an object that cannot be decoded",
	} {
		if got := WithoutObject(message); got != want {
			t.Errorf("got %s; want %s", got, want)
		}
	}
}

// Another text does not change which errors are found.
func TestDiscreet(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Work"}, "w", field.ErrorList{field.Invalid(field.NewPath("spec"), hunter, "no good")})
	err := Discreet(errors.Join(errors.New("first"), fmt.Errorf("write work w: %w", invalid)))
	if want := "first\nwrite work w: Work \"w\" is invalid: spec: Invalid value: no good"; err.Error() != want {
		t.Errorf("it is %q; want %q", err, want)
	}
	if !apierrors.IsInvalid(err) {
		t.Error("it is not found to be invalid any more")
	}
	plain := errors.New("plain")
	if got := Discreet(plain); !errors.Is(got, plain) || got.Error() != plain.Error() || Discreet(nil) != nil {
		t.Error("an error without values is another one")
	}
}

func TestRefused(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "s", field.ErrorList{
		field.Invalid(field.NewPath("data").Key("b"), hunter, hunter), field.Required(field.NewPath("data").Key("a"), hunter),
	})
	if got, want := Refused(invalid.Status()), "the API server answered Invalid (details of Secrets are not shown): data[a], data[b]"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if got, want := Refused(metav1.Status{Reason: metav1.StatusReasonForbidden, Message: hunter}),
		"the API server answered Forbidden (details of Secrets are not shown)"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}
