package validate

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/jsonpath"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestStatePath(t *testing.T) {
	for path, want := range map[string]string{
		".status.checkpoint":                             "",
		".status['checkpoint']":                          "",
		`.status.conditions[?(@.type=="Saved")].message`: "",
		`.status.conditions[?(@.message)].type`:          "",
		`.status.runs[?(@.last.ok==true)].steps[-1].n`:   "",
		`.status.runs[?(@.n >= 3)].name`:                 "",
		".status.*.id":                                   "",
		`.status.example\.com/key`:                       "",
		"":                                               "must name a value",
		".status":                                        "must name a value",
		".status.":                                       "field without a name",
		".metadata.name":                                 "must begin with .status",
		"status.a":                                       "it must begin with .status",
		"$..status.a":                                    "must begin with .status",
		".status..a":                                     "must not search",
		".status.a..b..c":                                "must not search",
		".status['a','b']":                               "must not list",
		".status.a[0,1]":                                 "must not list",
		".status.a}{.metadata.name":                      "without braces",
		".status.a} text":                                "without braces",
		".status.a {range":                               "it is no JSONPath",
		".status.a[":                                     "it is no JSONPath",
		".status.a[?(@.b":                                "it is no JSONPath",
		".status.a[?(@.b==@..c)].d":                      "filter must compare",
		".status.a[?(@.b[?(@.c==1)].d==1)].e":            "filter",
		".status.a[?(@.*==1)].e":                         "filter must compare",
		".status.a[?(@.b=!1)].e":                         "compares with",
		`.status.a "text"`:                               "must consist of fields",
		".status.a range":                                "must consist of fields",
		".status.a\n.b":                                  "control character",
		".status.a\xff":                                  "control character",
		".status." + strings.Repeat("a", 249):            "more than 256 bytes",
		".status.a[99999999999999999999]":                "it is no JSONPath",
		".status" + strings.Repeat("[?(@.a==1)]", 20) + ".name": "",
	} {
		err := statePath(path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", path, err, want)
		}
	}
}

func TestFailoverState(t *testing.T) {
	rule := func(change func(*v1beta1.FailoverState)) v1beta1.FailoverState {
		r := v1beta1.FailoverState{Group: "batch", Kind: "Job", JSONPath: ".status.step", Annotation: "example.com/step"}
		change(&r)
		return r
	}
	annotated := func(key string) v1beta1.FailoverState {
		return rule(func(r *v1beta1.FailoverState) { r.Annotation = key })
	}
	same := rule(func(*v1beta1.FailoverState) {})
	for name, tc := range map[string]struct {
		rules []v1beta1.FailoverState
		want  []string
	}{
		"none":              {},
		"one":               {rules: []v1beta1.FailoverState{same}},
		"a key of its own":  {rules: []v1beta1.FailoverState{annotated("step"), annotated("mykubernetes.io/step")}},
		"the same rule":     {rules: []v1beta1.FailoverState{same, same}, want: []string{`p.state[1]: Duplicate value: ".status.step"`}},
		"a reserved domain": {rules: []v1beta1.FailoverState{annotated("a.k8s.io/step")}, want: []string{reserved("a.k8s.io/step")}},
		"the fleet's":       {rules: []v1beta1.FailoverState{annotated("kubernetes-fleet.io/step")}, want: []string{reserved("kubernetes-fleet.io/step")}},
		"no kind": {
			rules: []v1beta1.FailoverState{rule(func(r *v1beta1.FailoverState) { r.Kind = "" })},
			want:  []string{"p.state[0].kind: Required value: name the kind of the object"},
		},
		"a path that searches": {
			rules: []v1beta1.FailoverState{rule(func(r *v1beta1.FailoverState) { r.JSONPath = ".status..a" })},
			want: []string{`p.state[0].jsonPath: Invalid value: ".status..a": it must not search with ".."; ` +
				`write all fields on the way to the value`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, failoverState(&v1beta1.Failover{State: tc.rules}, field.NewPath("p")), tc.want...)
		})
	}
	p := &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, Failover: &v1beta1.Failover{State: []v1beta1.FailoverState{annotated("k8s.io/step")}}}
	check(t, policy(p, field.NewPath("spec", "policy")), strings.Replace(reserved("k8s.io/step"), "p.", "spec.policy.failover.", 1))
}

func reserved(key string) string {
	return `p.state[0].annotation: Invalid value: "` + key + `": kubernetes.io, k8s.io and kubernetes-fleet.io are reserved; use a domain of your own`
}

// FuzzStatePath checks that any text is accepted or refused in a short time, and that what is accepted can be parsed.
func FuzzStatePath(f *testing.F) {
	for _, path := range []string{".status.a", `.status.a[?(@.b=="c")].d`, ".status..a", ".status['a','b']", ".status.a}{range .b}", ".status[0:1:2]", ".status.a[?(@.b)]"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		began := time.Now()
		err := statePath(path)
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("it took %s", took)
		}
		if err == nil && jsonpath.New("p").Parse("{"+path+"}") != nil {
			t.Fatal("it is accepted and cannot be parsed")
		}
	})
}
