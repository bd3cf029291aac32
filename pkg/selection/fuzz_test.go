package selection

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Whatever an operator writes into the two lists: it is refused, or every item has its meaning. A skipped API is not
// placed, an allowed one is, and nothing that is not in the list changes.
func FuzzAPILists(f *testing.F) {
	for _, list := range []string{
		"", "apps", "v1", "v1/Secret,ConfigMap", "apps/v1", "apps/v1/Deployment,StatefulSet", "v1beta1/X", "v1/", "/", "//",
		"a/b/c/d", ";;", " apps ; v1/Pod ",
		"v1,apps",
		"example.com/v1alpha1/Thing", "Apps", "v1/Secret/x", "apps/v1/Deployment,,", "\x00", "v1;v1", "v2/Secret",
	} {
		f.Add(list)
	}
	plain, err := NewRules(Config{})
	if err != nil {
		f.Fatal(err)
	}
	probes := []string{"/v1/ConfigMap", "/v1/Secret", "/v1/Pod", "apps/v1/Deployment", "apps/v1beta1/Deployment", "example.com/v1/Thing"}
	f.Fuzz(func(t *testing.T, list string) {
		skip, skipErr := NewRules(Config{SkippedAPIs: list})
		allow, allowErr := NewRules(Config{AllowedAPIs: list})
		if strings.Trim(list, "; \t\n\v\f\r\u0085\u00a0") == "" {
			return // an empty list skips nothing, and cannot be a list of all that is allowed
		}
		if (skipErr == nil) != (allowErr == nil) {
			t.Fatalf("as a list of skipped APIs: %v; of allowed ones: %v", skipErr, allowErr)
		}
		if skipErr != nil {
			if !strings.Contains(skipErr.Error(), "skipped APIs") || !strings.Contains(allowErr.Error(), "allowed APIs") {
				t.Fatalf("the errors do not say which list is wrong: %v; %v", skipErr, allowErr)
			}
			return
		}
		for _, text := range probes {
			kind := gvk(text)
			listed := allow.Selectable(kind)
			if want := plain.Selectable(kind) && !listed; skip.Selectable(kind) != want {
				t.Errorf("%q: %s selectable %v; want %v", list, text, !want, want)
			}
			if listed && !mentions(list, text) {
				t.Errorf("%q: %s is in it, but not in the text", list, text)
			}
			if listed && !allow.SelectableGroup(kind.Group) {
				t.Errorf("%q: %s may be placed, and its group may not", list, text)
			}
		}
	})
}

// mentions reports whether a list contains an item for a kind, in any notation.
func mentions(list, text string) bool {
	kind := gvk(text)
	for item := range strings.SplitSeq(list, ";") {
		parts := strings.Split(strings.TrimSpace(item), "/")
		if kind.Group == "" {
			parts = append([]string{""}, parts...)
		}
		want := []string{kind.Group, kind.Version, kind.Kind}
		if len(parts) == 3 {
			for name := range strings.SplitSeq(parts[2], ",") {
				if strings.TrimSpace(name) == kind.Kind {
					parts[2] = kind.Kind
				}
			}
		}
		if len(parts) > 0 && len(parts) <= 3 && slices.Equal(parts, want[:len(parts)]) {
			return true
		}
	}
	return false
}

// Whatever selectors a user writes: there is an error for the user, or an ordered selection without duplicates of
// objects that may be placed; and each selected object is in the placement's interests.
func FuzzSelect(f *testing.F) {
	for _, terms := range []string{
		`[{"group":"","version":"v1","kind":"Namespace","name":"app"}]`,
		`[{"version":"v1","kind":"Namespace","labelSelector":{"matchLabels":{"name":"app"}}}]`,
		`[{"version":"v1","kind":"Namespace","name":"app","selectionScope":"NamespaceOnly"}]`,
		`[{"version":"v1","kind":"Namespace","name":"app","selectionScope":"NamespaceWithResourceSelectors"},{"version":"v1","kind":"ConfigMap"}]`,
		`[{"version":"v1","kind":"ConfigMap","name":"cm"},{"version":"v1","kind":"Secret"}]`,
		`[{"version":"v1","kind":"ConfigMap","labelSelector":{"matchExpressions":[{"key":"app","operator":"In","values":["web"]}]}}]`,
		`[{"group":"rbac.authorization.k8s.io","version":"v1","kind":"ClusterRole"}]`,
		`[{"version":"v1","kind":"Namespace","name":"kube-system"}]`, `[{"version":"v1","kind":"Node"}]`, `[{}]`, `[]`,
		`[{"version":"v1","kind":"Namespace","name":"app"},{"version":"v1","kind":"Namespace","name":"other"}]`,
	} {
		f.Add(terms, "")
		f.Add(terms, "app")
	}
	r, err := NewRules(Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, namespace string) {
		var terms []v1beta1.ResourceSelectorTerm
		if json.Unmarshal([]byte(text), &terms) != nil || len(terms) > 100 {
			t.Skip()
		}
		got, err := r.Select(terms, namespace, newHub())
		interests := r.Interests(terms, namespace)
		if err != nil {
			var mistake *UserError
			if !errors.As(err, &mistake) || len(got.Refs) > 0 {
				t.Fatalf("%v, with %d objects", err, len(got.Refs))
			}
			return
		}
		if !slices.IsSortedFunc(got.Refs, compare) {
			t.Errorf("not in order: %v", names(got))
		}
		seen := map[v1beta1.ResourceIdentifier]bool{}
		for _, ref := range got.Refs {
			if id := ref.Identifier(); seen[id] {
				t.Errorf("%v is selected twice", id)
			} else {
				seen[id] = true
			}
			if !r.Selectable(ref.Kind.GroupVersionKind) || ref.Kind.Kind == "Namespace" && r.ReservedNamespace(ref.Name) ||
				namespace != "" && ref.Namespace != namespace {
				t.Errorf("%v is selected", ref)
			}
			if !slices.ContainsFunc(interests, func(i Interest) bool { return matters(i, ref) }) {
				t.Errorf("%v is selected, but is in no interest: %+v", ref, interests)
			}
		}
	})
}

// matters reports whether a selected object is in an interest.
func matters(i Interest, ref Ref) bool {
	h := newHub()
	if i.Contents && ref.Namespace != "" {
		namespace, _ := h.Get(Kind{GroupVersionKind: namespaceKind.WithVersion("v1")}, "", ref.Namespace)
		return namespace != nil && (i.Name == namespace.Name || i.Name == "" && i.Matches.Matches(namespace.Labels))
	}
	object, _ := h.Get(ref.Kind, ref.Namespace, ref.Name)
	inside := !ref.Kind.Namespaced || i.Namespace == ref.Namespace
	return object != nil && i.Kind == ref.Kind.GroupKind() && inside &&
		(i.Name == ref.Name || i.Name == "" && i.Matches.Matches(object.Labels))
}

// A label selector selects exactly the same as its text form, or is an error.
func FuzzLabelSelector(f *testing.F) {
	f.Add("app", "web", "tier", "In", "front,back", "front")
	f.Add("app", "web", "app", "NotIn", "db", "")
	f.Add("app", "", "app", "Exists", "", "")
	f.Add("a/b", "c", "a/b", "DoesNotExist", "", "")
	f.Add("a/b/c", "c", "", "", "", "")
	f.Add("k", strings.Repeat("x", 64), "k", "Gt", "1", "")
	r, err := NewRules(Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key, value, wanted, operator, values, has string) {
		selector := &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
		requirement := metav1.LabelSelectorRequirement{Key: wanted, Operator: metav1.LabelSelectorOperator(operator)}
		if values != "" {
			requirement.Values = strings.Split(values, ",")
		}
		if operator != "" {
			selector.MatchExpressions = append(selector.MatchExpressions, requirement)
		}
		h := newHub()
		set := labels.Set{key: value, wanted: has}
		h.put(secrets, Object{Namespace: "app", Name: "labelled", Labels: set})
		terms := []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Secret", LabelSelector: selector}}
		got, err := r.Select(terms, "app", h)
		parsed, wrong := labels.Parse(metav1.FormatLabelSelector(selector))
		_, invalid := metav1.LabelSelectorAsSelector(selector)
		if (err != nil) != (invalid != nil) {
			t.Fatalf("%v; the selector is invalid: %v", err, invalid)
		}
		if err != nil {
			return
		}
		if wrong != nil {
			t.Fatalf("as text it is not valid: %v", wrong)
		}
		if selected := slices.Contains(names(got), "Secret app/labelled"); selected != parsed.Matches(set) {
			t.Errorf("labels %v selected by %s: %v", set, parsed, selected)
		}
	})
}
