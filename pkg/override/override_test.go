package override

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

var (
	east = Cluster{Name: "c1", Labels: map[string]string{"region": "east", "env": "prod"}}
	west = Cluster{Name: "c3", Labels: map[string]string{"region": "west"}}
)

func labelled(key, value string) v1beta1.ClusterSelectorTerm {
	return v1beta1.ClusterSelectorTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}}
}

func everywhere() *v1beta1.ClusterSelector {
	return &v1beta1.ClusterSelector{ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{}}
}

func on(terms ...v1beta1.ClusterSelectorTerm) *v1beta1.ClusterSelector {
	return &v1beta1.ClusterSelector{ClusterSelectorTerms: terms}
}

func patching(where *v1beta1.ClusterSelector, patches ...v1beta1.JSONPatchOverride) v1beta1.OverrideRule {
	return v1beta1.OverrideRule{ClusterSelector: where, JSONPatchOverrides: patches}
}

func leavingOut(where *v1beta1.ClusterSelector) v1beta1.OverrideRule {
	return v1beta1.OverrideRule{ClusterSelector: where, OverrideType: v1beta1.OverrideTypeDelete}
}

func add(path, value string) v1beta1.JSONPatchOverride {
	return v1beta1.JSONPatchOverride{Operator: v1beta1.JSONPatchAdd, Path: path, Value: apiextensionsv1.JSON{Raw: []byte(value)}}
}

func remove(path string) v1beta1.JSONPatchOverride {
	return v1beta1.JSONPatchOverride{Operator: v1beta1.JSONPatchRemove, Path: path}
}

func marked(o v1beta1.OverrideSnapshotObject, override string, index int) {
	o.SetName(contract.OverrideSnapshotName(override, index))
	o.SetLabels(map[string]string{contract.LabelOverride: override, contract.LabelOverrideIndex: fmt.Sprint(index), contract.LabelLatest: "true"})
}

// wide is snapshot 0 of a cluster-wide override of namespace app, or of what change says.
func wide(name string, change func(*v1beta1.ClusterResourceOverrideSpec), rules ...v1beta1.OverrideRule) v1beta1.OverrideSnapshotObject {
	s := &v1beta1.ClusterResourceOverrideSnapshot{Spec: v1beta1.ClusterResourceOverrideSnapshotSpec{OverrideSpec: v1beta1.ClusterResourceOverrideSpec{
		ClusterResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}},
		Policy:                   &v1beta1.OverridePolicy{OverrideRules: rules},
	}}}
	marked(s, name, 0)
	if change != nil {
		change(&s.Spec.OverrideSpec)
	}
	return s
}

// narrow is snapshot 0 of an override of config map cm of namespace app.
func narrow(name string, change func(*v1beta1.ResourceOverrideSpec), rules ...v1beta1.OverrideRule) v1beta1.OverrideSnapshotObject {
	s := &v1beta1.ResourceOverrideSnapshot{Spec: v1beta1.ResourceOverrideSnapshotSpec{OverrideSpec: v1beta1.ResourceOverrideSpec{
		ResourceSelectors: []v1beta1.ResourceSelector{{Version: "v1", Kind: "ConfigMap", Name: "cm"}},
		Policy:            &v1beta1.OverridePolicy{OverrideRules: rules},
	}}}
	marked(s, name, 0)
	s.Namespace = "app"
	if change != nil {
		change(&s.Spec.OverrideSpec)
	}
	return s
}

const (
	cm        = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","namespace":"app"},"data":{"a":"1"}}`
	namespace = `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"app"}}`
)

func TestApply(t *testing.T) {
	cm2 := strings.Replace(cm, `"name":"cm"`, `"name":"cm2"`, 1)
	for name, tc := range map[string]struct {
		snapshots []v1beta1.OverrideSnapshotObject
		cluster   Cluster
		object    string
		want      string // "": the object is left out
		wrong     string
	}{
		"without overrides nothing changes": {cluster: east, object: cm, want: cm},
		"a patch":                           {cluster: east, object: cm, snapshots: list(narrow("ro", nil, patching(everywhere(), add("/data/b", `"2"`)))), want: with(cm, "b", "2")},
		"of another object":                 {cluster: east, object: cm2, snapshots: list(narrow("ro", nil, patching(everywhere(), add("/data/b", `"2"`)))), want: cm2},
		"a rule without a selector matches no cluster": {
			cluster: east, object: cm, snapshots: list(narrow("ro", nil, patching(nil, add("/data/b", `"2"`)))), want: cm,
		},
		"a rule of another cluster": {
			cluster: west, object: cm, snapshots: list(narrow("ro", nil, patching(on(labelled("region", "east")), add("/data/b", `"2"`)))), want: cm,
		},
		"any of the terms will do": {
			cluster: west, object: cm, want: with(cm, "b", "2"),
			snapshots: list(narrow("ro", nil, patching(on(labelled("region", "east"), labelled("region", "west")), add("/data/b", `"2"`)))),
		},
		"all rules that match are applied, in order": {
			cluster: east, object: cm, want: with(with(cm, "b", "3"), "c", "x"),
			snapshots: list(narrow("ro", nil, patching(everywhere(), add("/data/b", `"2"`)), patching(on(labelled("region", "west")), add("/data/b", `"9"`)),
				patching(on(labelled("region", "east")), add("/data/b", `"3"`), add("/data/c", `"x"`)))),
		},
		"left out": {cluster: east, object: cm, snapshots: list(narrow("ro", nil, leavingOut(everywhere())))},
		"what comes after leaving out does nothing, right or wrong": {
			cluster: east, object: cm, snapshots: list(
				wide("cro", nil, leavingOut(everywhere()), patching(everywhere(), remove("/nothing"))), narrow("ro", nil, patching(everywhere(), remove("/nothing/there")))),
		},
		"a namespace selects what is in it": {
			cluster: east, object: cm, snapshots: list(wide("cro", nil, patching(everywhere(), add("/data/b", `"2"`)))), want: with(cm, "b", "2"),
		},
		"and itself": {
			cluster: east, object: namespace, snapshots: list(wide("cro", nil, patching(everywhere(), add("/metadata/labels", `{"x":"y"}`)))),
			want: `{"apiVersion":"v1","kind":"Namespace","metadata":{"labels":{"x":"y"},"name":"app"}}`,
		},
		"the namespaced override wins": {
			cluster: east, object: cm, want: with(cm, "a", "narrow"),
			snapshots: list(wide("z", nil, patching(everywhere(), add("/data/a", `"wide"`))), narrow("a", nil, patching(everywhere(), add("/data/a", `"narrow"`)))),
		},
		"of two the later by name wins": {
			cluster: east, object: cm, want: with(cm, "a", "b"),
			snapshots: list(wide("a", nil, patching(everywhere(), add("/data/a", `"a"`))), wide("b", nil, patching(everywhere(), add("/data/a", `"b"`)))),
		},
		"a value that is left out is null": {
			cluster: east, object: cm, want: `{"apiVersion":"v1","data":{"a":null},"kind":"ConfigMap","metadata":{"name":"cm","namespace":"app"}}`,
			snapshots: list(narrow("ro", nil, patching(everywhere(), v1beta1.JSONPatchOverride{Operator: v1beta1.JSONPatchReplace, Path: "/data/a"}))),
		},
		"variables": {
			cluster: east, object: cm, want: with(cm, "a", "c1-east/prod-c1"),
			snapshots: list(narrow("ro", nil, patching(everywhere(),
				add("/data/a", `"${MEMBER-CLUSTER-NAME}-${MEMBER-CLUSTER-LABEL-KEY-region}/${MEMBER-CLUSTER-LABEL-KEY-env}-${MEMBER-CLUSTER-NAME}"`)))),
		},
		"variables in paths stay": {
			cluster: east, object: cm, want: with(cm, "${MEMBER-CLUSTER-NAME}", "x"),
			snapshots: list(narrow("ro", nil, patching(everywhere(), add("/data/${MEMBER-CLUSTER-NAME}", `"x"`)))),
		},
		"other things in braces stay": {
			cluster: east, object: cm, want: with(cm, "a", "${HOME} $MEMBER-CLUSTER-NAME"),
			snapshots: list(narrow("ro", nil, patching(everywhere(), add("/data/a", `"${HOME} $MEMBER-CLUSTER-NAME"`)))),
		},
		"a label that is not there": {
			cluster: west, object: cm, snapshots: list(narrow("ro", nil, patching(everywhere(), add("/data/a", `"${MEMBER-CLUSTER-LABEL-KEY-env}"`)))),
			wrong: `ResourceOverride app/ro (snapshot ro-0), rule 1, add /data/a: cluster c3 has no label "env": give it to the MemberCluster, or exclude the cluster from the rule`,
		},
		"a variable that does not end": {
			cluster: west, object: cm, snapshots: list(narrow("ro", nil, patching(everywhere(), add("/data/a", `"${MEMBER-CLUSTER-LABEL-KEY-env"`)))),
			wrong: `has no closing }`,
		},
		"a variable that ends in another value, which is not quoted": {
			cluster: west, object: cm, snapshots: list(narrow("ro", nil, patching(everywhere(),
				add("/data", `{"a":"${MEMBER-CLUSTER-LABEL-KEY-env","b":"hunter2"}`)))),
			wrong: "rule 1, add /data: the variable that starts with ${MEMBER-CLUSTER-LABEL-KEY- has no closing }, or what is before it cannot be the key of a label",
		},
		"nothing to remove": {
			cluster: west, object: cm, snapshots: list(wide("cro", nil, patching(everywhere(), add("/data/b", `"2"`)), patching(everywhere(), remove("/data/secret")))),
			wrong: `ClusterResourceOverride cro (snapshot cro-0), rule 2, remove /data/secret: `,
		},
		"no map to add to": {
			cluster: west, object: cm, snapshots: list(narrow("ro", nil, patching(everywhere(), add("/metadata/annotations/k", `"v"`)))),
			wrong: `rule 1, add /metadata/annotations/k: add operation does not apply: doc is missing path: "/metadata/annotations/k"`,
		},
		"a path that is not the override's to change": {
			cluster: west, object: cm, snapshots: list(narrow("ro", nil, patching(everywhere(), add("/metadata/namespace", `"kube-system"`)))),
			wrong: "cannot override metadata fields except annotations and labels",
		},
		"a selector that looks at properties": {
			cluster: west, object: cm, wrong: "rule 1: term 1: only labelSelector is supported",
			snapshots: list(narrow("ro", nil, patching(on(v1beta1.ClusterSelectorTerm{PropertySelector: &v1beta1.PropertySelector{}}), add("/data/b", `"2"`)))),
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := tc.object
			got, err := New(tc.cluster, tc.snapshots).Apply([]byte(tc.object))
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) {
					t.Fatalf("error %v; want %q", err, tc.wrong)
				}
				if bad := new(Error); !errors.As(err, &bad) {
					t.Errorf("%T is not an *Error", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !sameJSON(string(got), tc.want) {
				t.Errorf("got %s\nwant %s", got, tc.want)
			}
			if tc.object != before {
				t.Error("the object was changed in place")
			}
		})
	}
}

func list(s ...v1beta1.OverrideSnapshotObject) []v1beta1.OverrideSnapshotObject { return s }

// with is the config map with one more entry.
func with(object, key, value string) string {
	var o map[string]any
	if err := json.Unmarshal([]byte(object), &o); err != nil {
		panic(err)
	}
	o["data"].(map[string]any)[key] = value
	raw, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func sameJSON(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

// The contents of Secrets must not come up in errors, which go into statuses.
func TestErrorsDoNotQuoteContents(t *testing.T) {
	secret := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","namespace":"app"},"data":{"password":"hunter2","list":["hunter2"]}}`
	for _, p := range []v1beta1.JSONPatchOverride{
		add("/data/password/deeper", `"x"`), add("/data/list/7", `"hunter2"`), remove("/data/password/x"), remove("/data/list/9"), add("/data/a", `"${MEMBER-CLUSTER-LABEL-KEY-hunter"`),
		{Operator: v1beta1.JSONPatchReplace, Path: "/data/list/x", Value: apiextensionsv1.JSON{Raw: []byte(`"hunter2"`)}},
	} {
		_, err := New(east, list(narrow("ro", nil, patching(everywhere(), p)))).Apply([]byte(secret))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s %s: error is %v", p.Operator, p.Path, err)
		}
	}
}

// An object stays the one that was selected, whichever way a patch has to its identity. Those that the paths of rules may not have are
// given to the patch itself, as if the check of paths had missed them.
func TestOverridesKeepIdentity(t *testing.T) {
	h, err := decode.HeaderOf([]byte(cm))
	if err != nil {
		t.Fatal(err)
	}
	for _, ops := range []string{
		`[{"op":"add","path":"/kind","value":"Secret"}]`,
		`[{"op":"add","path":"/Kind","value":"Secret"}]`,
		"[{\"op\":\"add\",\"path\":\"/\u212aind\",\"value\":\"Secret\"}]",
		`[{"op":"replace","path":"/apiVersion","value":"apps/v1"}]`,
		`[{"op":"replace","path":"/metadata","value":{"name":"other","namespace":"kube-system"}}]`,
		`[{"op":"replace","path":"","value":{"apiVersion":"v1","kind":"Secret","metadata":{"name":"other"}}}]`,
		`[{"op":"add","path":"/metadata/nameſpace","value":"kube-system"}]`,
		`[{"op":"add","path":"/metadata/generateName","value":"x"}]`,
		`[{"op":"remove","path":"/metadata/namespace"}]`,
		`[{"op":"copy","from":"/data","path":"/metadata/namespace"}]`,
		`[{"op":"move","from":"/metadata","path":"/data"}]`,
		`[{"op":"add","path":"/data","value":{"a":1,"a":2}}]`,
		`[{"op":"add","path":"/data","value":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}]`,
	} {
		patch, err := jsonpatch.DecodePatch([]byte(ops))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := apply([]byte(cm), h, []change{{patch: patch}}); err == nil {
			t.Errorf("%s is allowed and makes %s", ops, out)
		}
	}
}

func TestMatch(t *testing.T) {
	contents := ContentsOf([][]byte{[]byte(namespace), []byte(cm), []byte(`not JSON`), []byte(`{
		"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":"ClusterResourceEnvelope","metadata":{"name":"e"},
		"data":{"bad":"text","role":{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"r"}}}}`), []byte(`{
		"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":"ResourceEnvelope","metadata":{"name":"e","namespace":"wrapped"},
		"data":{"cm":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"in","namespace":"wrapped"}}}}`)})
	if got := contents.Namespaces(); !reflect.DeepEqual(got, []string{"app", "wrapped"}) {
		t.Errorf("namespaces are %v", got)
	}
	for name, tc := range map[string]struct {
		snapshots []v1beta1.OverrideSnapshotObject
		placement types.NamespacedName
		want      delivery.Overrides
	}{
		"of any placement": {snapshots: list(wide("b", nil, patching(everywhere())), wide("a", nil, patching(everywhere()))), want: delivery.Overrides{Cluster: []string{"a-0", "b-0"}}},
		"of this one":      {snapshots: list(wide("a", ref("p", ""), patching(everywhere()))), want: delivery.Overrides{Cluster: []string{"a-0"}}},
		"of another":       {snapshots: list(wide("a", ref("q", ""), patching(everywhere())))},
		"a namespaced placement is not the cluster-wide one": {
			snapshots: list(narrow("a", narrowRef("p", v1beta1.PlacementScopeNamespaced), patching(everywhere()))),
		},
		"nor the other way round": {
			snapshots: list(narrow("a", narrowRef("p", v1beta1.PlacementScopeCluster), patching(everywhere())), wide("a", ref("p", v1beta1.PlacementScopeNamespaced), patching(everywhere()))),
			placement: types.NamespacedName{Namespace: "app", Name: "p"},
		},
		"the namespaced placement": {
			snapshots: list(narrow("a", narrowRef("p", v1beta1.PlacementScopeNamespaced), patching(everywhere()))),
			placement: types.NamespacedName{Namespace: "app", Name: "p"}, want: delivery.Overrides{Namespaced: []v1beta1.NamespacedName{{Namespace: "app", Name: "a-0"}}},
		},
		"nothing selected": {snapshots: list(wide("a", selecting("ConfigMap", "cm"), patching(everywhere())))},
		"in an envelope":   {snapshots: list(wide("a", selecting("ClusterRole", "r"), patching(everywhere()))), want: delivery.Overrides{Cluster: []string{"a-0"}}},
		"the namespace of an envelope": {
			snapshots: list(wide("a", selecting("Namespace", "wrapped"), patching(everywhere()))), want: delivery.Overrides{Cluster: []string{"a-0"}},
		},
		"no rule for the cluster": {snapshots: list(wide("a", nil, patching(on(labelled("region", "west"))), patching(nil)))},
		"a rule that cannot be read must be told of": {
			snapshots: list(wide("a", nil, patching(on(v1beta1.ClusterSelectorTerm{})))),
			want:      delivery.Overrides{Cluster: []string{"a-0"}, Fingerprint: delivery.Unresolved},
		},
		"without a policy": {snapshots: list(wide("a", func(s *v1beta1.ClusterResourceOverrideSpec) { s.Policy = nil }))},
		"the latest of several": {
			snapshots: list(of(wide("a", nil, patching(everywhere())), 10, false), of(wide("a", nil, patching(everywhere())), 9, true)), want: delivery.Overrides{Cluster: []string{"a-9"}},
		},
		"the highest of several that say they are": {
			snapshots: list(of(wide("a", nil, patching(everywhere())), 10, true), of(wide("a", nil, patching(everywhere())), 9, true)), want: delivery.Overrides{Cluster: []string{"a-10"}},
		},
		"the highest where none says so": {
			snapshots: list(of(wide("a", nil, patching(everywhere())), 1, false), of(wide("a", nil, patching(everywhere())), 2, false)), want: delivery.Overrides{Cluster: []string{"a-2"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.placement.Name == "" {
				tc.placement.Name = "p"
			}
			matching := Match(tc.placement, tc.snapshots, contents)
			lists := matching.Lists([]Cluster{east})
			if got := lists["c1"]; !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v; want %+v", got, tc.want)
			}
			if len(tc.want.Keys()) == 0 && len(lists) > 0 {
				t.Errorf("lists are %v; want none at all", lists)
			}
		})
	}
}

func of(s v1beta1.OverrideSnapshotObject, index int, latest bool) v1beta1.OverrideSnapshotObject {
	marked(s, s.GetLabels()[contract.LabelOverride], index)
	s.GetLabels()[contract.LabelLatest] = fmt.Sprint(latest)
	return s
}

func ref(name string, scope v1beta1.PlacementScope) func(*v1beta1.ClusterResourceOverrideSpec) {
	return func(s *v1beta1.ClusterResourceOverrideSpec) {
		s.Placement = &v1beta1.PlacementRef{Name: name, Scope: scope}
	}
}

func narrowRef(name string, scope v1beta1.PlacementScope) func(*v1beta1.ResourceOverrideSpec) {
	return func(s *v1beta1.ResourceOverrideSpec) {
		s.Placement = &v1beta1.PlacementRef{Name: name, Scope: scope}
	}
}

func selecting(kind, name string) func(*v1beta1.ClusterResourceOverrideSpec) {
	group := ""
	if kind == "ClusterRole" {
		group = "rbac.authorization.k8s.io"
	}
	return func(s *v1beta1.ClusterResourceOverrideSpec) {
		s.ClusterResourceSelectors = []v1beta1.ResourceSelectorTerm{{Group: group, Version: "v1", Kind: kind, Name: name}}
	}
}

func TestIdle(t *testing.T) {
	contents := ContentsOf([][]byte{[]byte(cm)})
	idle := Idle(list(narrow("used", nil), wide("typo", selecting("Namespace", "typo"))), contents)
	if len(idle) != 1 || idle[0].GetName() != "typo-0" {
		t.Errorf("idle are %v", idle)
	}
}

// In whatever order snapshots are found, they change an object in the same way; and doing it twice, with patches that set values, is doing
// it once.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []v1beta1.OverrideSnapshotObject
		for i := range rapid.IntRange(0, 4).Draw(t, "wide") {
			all = append(all, wide(fmt.Sprintf("w%d", i), nil, drawRules(t)...))
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "narrow") {
			all = append(all, narrow(fmt.Sprintf("n%d", i), nil, drawRules(t)...))
		}
		cluster := rapid.SampledFrom([]Cluster{east, west}).Draw(t, "cluster")
		contents := ContentsOf([][]byte{[]byte(namespace), []byte(cm)})
		p := types.NamespacedName{Name: "p"}
		first := Match(p, all, contents).Lists([]Cluster{cluster})
		shuffled := rapid.Permutation(all).Draw(t, "order")
		if second := Match(p, shuffled, contents).Lists([]Cluster{cluster}); !reflect.DeepEqual(first, second) {
			t.Fatalf("lists depend on the order: %v, %v", first, second)
		}
		named := lookup(all, first[cluster.Name])
		once, err := New(cluster, named).Apply([]byte(cm))
		if err != nil {
			t.Fatal(err)
		}
		// What is left out of the lists has nothing to say.
		if of, err := New(cluster, lookup(all, everything(all))).Apply([]byte(cm)); err != nil || string(of) != string(once) {
			t.Fatalf("with all: %s, %v; with the listed: %s", of, err, once)
		}
		if once == nil {
			return
		}
		twice, err := New(cluster, named).Apply(once)
		if err != nil || !sameJSON(string(once), string(twice)) {
			t.Fatalf("once %s, twice %s, %v", once, twice, err)
		}
	})
}

func drawRules(t *rapid.T) []v1beta1.OverrideRule {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) v1beta1.OverrideRule {
		where := rapid.SampledFrom([]*v1beta1.ClusterSelector{nil, everywhere(), on(labelled("region", "east")), on(labelled("region", "west"), labelled("env", "prod"))}).Draw(t, "where")
		if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
			return leavingOut(where)
		}
		var patches []v1beta1.JSONPatchOverride
		for range rapid.IntRange(1, 3).Draw(t, "patches") {
			patches = append(patches, rapid.SampledFrom([]v1beta1.JSONPatchOverride{
				add("/data", `{"a":"new"}`), add("/data/a", `"x"`), add("/data/b", `"${MEMBER-CLUSTER-NAME}"`),
				add("/data/a", `"${MEMBER-CLUSTER-LABEL-KEY-region}"`), add("/metadata/labels", `{"x":"y"}`),
			}).Draw(t, "patch"))
		}
		return patching(where, patches...)
	}), 1, 4).Draw(t, "rules")
}

func everything(all []v1beta1.OverrideSnapshotObject) delivery.Overrides {
	var out delivery.Overrides
	for _, s := range InForce(all) {
		if s.GetNamespace() == "" {
			out.Cluster = append(out.Cluster, s.GetName())
			continue
		}
		out.Namespaced = append(out.Namespaced, v1beta1.NamespacedName{Namespace: s.GetNamespace(), Name: s.GetName()})
	}
	return out
}

func lookup(all []v1beta1.OverrideSnapshotObject, lists delivery.Overrides) []v1beta1.OverrideSnapshotObject {
	var out []v1beta1.OverrideSnapshotObject
	for _, key := range lists.Keys() {
		for _, s := range all {
			if s.GetName() == key.Name && s.GetNamespace() == key.Namespace {
				out = append(out, s)
			}
		}
	}
	return out
}

// FuzzApply gives objects and patches of all sorts: whatever comes out is JSON or an error that says where, and nothing panics.
func FuzzApply(f *testing.F) {
	for _, seed := range []struct{ op, path, value, object string }{
		{"add", "/data/b", `"2"`, cm}, {"remove", "/data/a", ``, cm}, {"replace", "/data", `{"${MEMBER-CLUSTER-NAME}":"x"}`, cm},
		{"add", "/metadata/annotations/a~1b", `"x"`, cm}, {"add", "/spec/containers/-", `{"name":"${MEMBER-CLUSTER-LABEL-KEY-region}"}`, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","namespace":"app"},"spec":{"containers":[]}}`},
		{"add", "/data/a/b/c", `1`, cm}, {"remove", "/data/-1", ``, cm}, {"replace", "/x", `null`, cm}, {"add", "/data/0", `"${MEMBER-CLUSTER-LABEL-KEY-"`, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","namespace":"app"},"data":[1,2]}`},
		{"copy", "/data", `{`, cm}, {"add", "", `{}`, cm}, {"add", "/~", `"~"`, cm}, {"replace", "/data/a", `"\u0000"`, `[]`},
	} {
		f.Add(seed.op, seed.path, seed.value, seed.object)
	}
	f.Fuzz(func(t *testing.T, op, path, value, object string) {
		patch := v1beta1.JSONPatchOverride{Operator: v1beta1.JSONPatchOperator(op), Path: path, Value: apiextensionsv1.JSON{Raw: []byte(value)}}
		before := strings.Clone(object)
		got, err := New(east, list(narrow("ro", nil, patching(everywhere(), patch)))).Apply([]byte(object))
		if object != before {
			t.Error("the object was changed in place")
		}
		if err != nil {
			if bad := new(Error); !errors.As(err, &bad) || bad.Rule != 1 {
				t.Errorf("error %v does not say where", err)
			}
			return
		}
		if json.Valid([]byte(object)) && !json.Valid(got) {
			t.Errorf("%s is not JSON", got)
		}
	})
}
