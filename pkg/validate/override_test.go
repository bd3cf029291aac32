package validate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// wideOverride is one of objects of kind Namespace, by their names.
func wideOverride(name string, namespaces ...string) *v1beta1.ClusterResourceOverride {
	o := &v1beta1.ClusterResourceOverride{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, n := range namespaces {
		o.Spec.ClusterResourceSelectors = append(o.Spec.ClusterResourceSelectors, v1beta1.ResourceSelectorTerm{Version: "v1", Kind: "Namespace", Name: n})
	}
	return o
}

// narrowOverride is one of ConfigMaps.
func narrowOverride(name string, configMaps ...string) *v1beta1.ResourceOverride {
	o := &v1beta1.ResourceOverride{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: name}}
	for _, n := range configMaps {
		o.Spec.ResourceSelectors = append(o.Spec.ResourceSelectors, v1beta1.ResourceSelector{Version: "v1", Kind: "ConfigMap", Name: n})
	}
	return o
}

// ruled gives an override rules.
func ruled(rules ...v1beta1.OverrideRule) *v1beta1.ResourceOverride {
	o := narrowOverride("o", "cm")
	o.Spec.Policy = &v1beta1.OverridePolicy{OverrideRules: rules}
	return o
}

func patching(op v1beta1.JSONPatchOperator, path, value string) v1beta1.OverrideRule {
	return v1beta1.OverrideRule{JSONPatchOverrides: []v1beta1.JSONPatchOverride{{Operator: op, Path: path, Value: apiextensionsv1.JSON{Raw: []byte(value)}}}}
}

func on(terms ...v1beta1.ClusterSelectorTerm) v1beta1.OverrideRule {
	rule := patching(v1beta1.JSONPatchRemove, "/data", "")
	rule.ClusterSelector = &v1beta1.ClusterSelector{ClusterSelectorTerms: terms}
	return rule
}

var deep = strings.Repeat("[", 101) + strings.Repeat("]", 101)

const rulePath = "spec.policy.overrideRules[0]"

func TestOverrideSelectors(t *testing.T) {
	labelled := wideOverride("o", "a", "", "b", "a")
	labelled.Spec.ClusterResourceSelectors[0].LabelSelector = &metav1.LabelSelector{}
	scoped := wideOverride("o", "a", "a")
	scoped.Spec.ClusterResourceSelectors[1].SelectionScope = v1beta1.SelectionScopeNamespaceOnly
	spelled := wideOverride("o", "a", "a")
	spelled.Spec.ClusterResourceSelectors[1].SelectionScope = v1beta1.SelectionScopeNamespaceWithResources
	grouped := narrowOverride("o", "a", "a")
	grouped.Spec.ResourceSelectors[0].Group, grouped.Spec.ResourceSelectors[1].Group = "apps", "apps"
	many := make([]v1beta1.OverrideObject, 100)
	for i := range many {
		many[i] = wideOverride(fmt.Sprintf("o%d", i))
	}
	manyNarrow := make([]v1beta1.OverrideObject, 100)
	for i := range manyNarrow {
		manyNarrow[i] = narrowOverride(fmt.Sprintf("o%d", i))
	}
	twice := []string{`spec.clusterResourceSelectors[1]: Invalid value: "v1 Namespace a": resource selector v1 Namespace a already exists, and must be unique`}
	both := func(of, path, name string) string {
		return path + `: Invalid value: "v1 ` + of + `": invalid resource selector v1 ` + of + ": the resource has been selected by both o and " + name +
			", which is not supported; change the rules of " + name + " instead"
	}
	for name, tc := range map[string]struct {
		override v1beta1.OverrideObject
		others   []v1beta1.OverrideObject
		want     []string
	}{
		"objects by name": {wideOverride("o", "a", "b"), []v1beta1.OverrideObject{wideOverride("p", "c")}, nil},
		"a name that no label holds": {wideOverride(long), nil, []string{
			"metadata.name: Too long: its name is longer than the 63 characters that its snapshots can carry in a label; recreate it with a shorter name"}},
		"by label, without a name, and a duplicate of what is not selected by name": {labelled, nil, []string{
			"spec.clusterResourceSelectors[0].labelSelector: Forbidden: label selector is not supported for resource selection; name the resource",
			"spec.clusterResourceSelectors[1].name: Required value: resource name is required for resource selection",
		}},
		"a duplicate":                       {wideOverride("o", "a", "a"), nil, twice},
		"a duplicate but for its default":   {spelled, nil, twice},
		"two scopes":                        {scoped, nil, nil},
		"a duplicate in a namespace":        {grouped, nil, []string{`spec.resourceSelectors[1]: Invalid value: "apps/v1 ConfigMap a": resource selector apps/v1 ConfigMap a already exists, and must be unique`}},
		"what others select":                {wideOverride("o", "a", "b"), []v1beta1.OverrideObject{wideOverride("q", "b"), wideOverride("p", "b")}, []string{both("Namespace b", "spec.clusterResourceSelectors[1]", "p")}},
		"what others select in a namespace": {narrowOverride("o", "a"), []v1beta1.OverrideObject{narrowOverride("p", "a")}, []string{both("ConfigMap a", "spec.resourceSelectors[0]", "p")}},
		"what it selects itself":            {wideOverride("o", "a"), []v1beta1.OverrideObject{wideOverride("o", "a")}, nil},
		"the last there may be":             {wideOverride("o", "a"), many[1:], nil},
		"one too many":                      {wideOverride("o", "a"), many, []string{"metadata.name: Forbidden: clusterResourceOverride limit has been reached: at most 100 cluster resources can be created; delete one that is not needed"}},
		"one too many in a namespace":       {narrowOverride("o", "a"), manyNarrow, []string{"metadata.name: Forbidden: resourceOverride limit has been reached: at most 100 resources can be created; delete one of the namespace that is not needed"}},
	} {
		t.Run(name, func(t *testing.T) { check(t, Override(tc.override, tc.others), tc.want...) })
	}
}

func TestOverrideRules(t *testing.T) {
	path := func(problem, of string) []string {
		return []string{fmt.Sprintf("%s.jsonPatchOverrides[0].path: Invalid value: %q: %s", rulePath, of, problem)}
	}
	remove := func(of string) v1beta1.OverrideRule { return patching(v1beta1.JSONPatchRemove, of, "") }
	add := func(value string) v1beta1.OverrideRule { return patching(v1beta1.JSONPatchAdd, "/data", value) }
	deleting := patching(v1beta1.JSONPatchRemove, "/data", "")
	deleting.OverrideType = v1beta1.OverrideTypeDelete
	labels := &metav1.LabelSelector{}
	only := []string{rulePath + ".clusterSelector.clusterSelectorTerms[0]: Forbidden: only labelSelector is supported in an override's clusterSelectorTerms, and it must be set"}
	unclosed := "the variable that starts with ${MEMBER-CLUSTER-LABEL-KEY- has no closing }"
	for name, tc := range map[string]struct {
		rule v1beta1.OverrideRule
		want []string
	}{
		"every cluster":                        {on(), nil},
		"clusters by label":                    {on(v1beta1.ClusterSelectorTerm{LabelSelector: labels}), nil},
		"clusters by nothing":                  {on(v1beta1.ClusterSelectorTerm{}), only},
		"clusters by property":                 {on(v1beta1.ClusterSelectorTerm{LabelSelector: labels, PropertySelector: &v1beta1.PropertySelector{}}), only},
		"clusters by their rank":               {on(v1beta1.ClusterSelectorTerm{LabelSelector: labels, PropertySorter: &v1beta1.PropertySorter{}}), only},
		"a label selector":                     {on(v1beta1.ClusterSelectorTerm{LabelSelector: inNothing}), []string{rulePath + ".clusterSelector.clusterSelectorTerms[0].labelSelector: Invalid value: labelSelector: matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"}},
		"deletion":                             {v1beta1.OverrideRule{OverrideType: v1beta1.OverrideTypeDelete}, nil},
		"deletion with patches":                {deleting, []string{rulePath + ".jsonPatchOverrides: Forbidden: a rule of type Delete leaves the object out and cannot patch it; remove the patches, or use type JSONPatch"}},
		"no patches":                           {v1beta1.OverrideRule{}, []string{rulePath + ".jsonPatchOverrides: Required value: a rule of type JSONPatch needs a patch; add one, or use type Delete"}},
		"no path":                              {remove(""), path("path cannot be empty", "")},
		"a path without slash":                 {remove("data"), path("path must start with /", "data")},
		"the whole object":                     {remove("/"), path("path cannot contain empty string", "/")},
		"an empty segment":                     {remove("/data//x"), path("path cannot contain empty string", "/data//x")},
		"a blank segment":                      {remove("/data/ /x"), path("path cannot contain empty string", "/data/ /x")},
		"an empty last segment":                {remove("/data/x/"), path("path cannot contain empty string", "/data/x/")},
		"kind":                                 {remove("/kind"), path("cannot override typeMeta fields", "/kind")},
		"apiVersion":                           {remove("/apiVersion"), path("cannot override typeMeta fields", "/apiVersion")},
		"status":                               {remove("/status/x"), path("cannot override status fields", "/status/x")},
		"metadata":                             {remove("/metadata"), path("cannot override metadata fields except annotations and labels", "/metadata")},
		"a name":                               {remove("/metadata/name"), path("cannot override metadata fields except annotations and labels", "/metadata/name")},
		"a finalizer":                          {remove("/metadata/finalizers/-"), path("cannot override metadata fields except annotations and labels", "/metadata/finalizers/-")},
		"labels":                               {remove("/metadata/labels"), nil},
		"an annotation":                        {remove("/metadata/annotations/a~1b"), nil},
		"metadata further down":                {remove("/spec/template/metadata/name"), nil},
		"a field called status further down":   {remove("/spec/status"), nil},
		"remove with a value":                  {patching(v1beta1.JSONPatchRemove, "/data", `"x"`), []string{rulePath + ".jsonPatchOverrides[0].value: Forbidden: remove operation cannot have value"}},
		"a value":                              {add(`{"a":"${MEMBER-CLUSTER-NAME} ${MEMBER-CLUSTER-LABEL-KEY-region}"}`), nil},
		"no value, which is null":              {add(""), nil},
		"the name of the cluster in a key":     {add(`"${MEMBER-CLUSTER-LABEL-KEY-of-${MEMBER-CLUSTER-NAME}}"`), nil},
		"a value too deep":                     {add(deep), []string{rulePath + ".jsonPatchOverrides[0].value: Invalid value: is nested deeper than 100 levels; make it flatter"}},
		"a variable without end, not quoted":   {add(`"secret ${MEMBER-CLUSTER-LABEL-KEY-a"`), []string{rulePath + ".jsonPatchOverrides[0].value: Invalid value: " + unclosed}},
		"a variable that ends in another text": {add(`{"a":"${MEMBER-CLUSTER-LABEL-KEY-a"}`), []string{rulePath + ".jsonPatchOverrides[0].value: Invalid value: " + unclosed + ", or what is before it cannot be the key of a label"}},
	} {
		t.Run(name, func(t *testing.T) { check(t, Override(ruled(tc.rule), nil), tc.want...) })
	}
}

func TestOverrideUpdate(t *testing.T) {
	finalized, leaving := ruled(v1beta1.OverrideRule{}), ruled(v1beta1.OverrideRule{})
	finalized.Finalizers = []string{"x"}
	leaving.DeletionTimestamp = ptr.To(metav1.Unix(1, 0))
	many := make([]v1beta1.OverrideObject, 200)
	for i := range many {
		many[i] = narrowOverride(fmt.Sprintf("o%d", i))
	}
	empty := []string{rulePath + ".jsonPatchOverrides: Required value: a rule of type JSONPatch needs a patch; add one, or use type Delete"}
	for name, tc := range map[string]struct {
		old, new v1beta1.OverrideObject
		want     []string
	}{
		"one of many":               {ruled(on()), narrowOverride("o", "a"), nil},
		"another rule":              {ruled(on()), ruled(v1beta1.OverrideRule{}), empty},
		"another selector":          {wideOverride("o", "a"), wideOverride("o", ""), []string{"spec.clusterResourceSelectors[0].name: Required value: resource name is required for resource selection"}},
		"metadata of a wrong one":   {ruled(v1beta1.OverrideRule{}), finalized, nil},
		"one that is being deleted": {ruled(on()), leaving, nil},
		"a wrong one is put right":  {ruled(v1beta1.OverrideRule{}), ruled(on()), nil},
	} {
		t.Run(name, func(t *testing.T) { check(t, OverrideUpdate(tc.old, tc.new, many), tc.want...) })
	}
}

func TestOverrideSnapshot(t *testing.T) {
	named := ruled(on())
	named.Name = long
	for name, tc := range map[string]struct {
		override v1beta1.OverrideObject
		want     []string
	}{
		"without a policy":                  {narrowOverride("o"), nil},
		"wrong in a way that clusters show": {ruled(v1beta1.OverrideRule{}, patching("add", "/kind", `"x"`)), nil},
		"a long name":                       {named, []string{"metadata.name: Too long: its name is longer than the 63 characters that its snapshots can carry in a label; recreate it with a shorter name"}},
		"a deep value":                      {ruled(on(), patching("add", "/a", deep)), []string{"spec.policy.overrideRules[1].jsonPatchOverrides[0].value: Invalid value: is nested deeper than 100 levels; make it flatter"}},
	} {
		t.Run(name, func(t *testing.T) { check(t, OverrideSnapshot(tc.override), tc.want...) })
	}
}

func TestSplitVariables(t *testing.T) {
	got, err := SplitVariables("a ${MEMBER-CLUSTER-NAME} ${MEMBER-CLUSTER-LABEL-KEY-x/y}${MEMBER-CLUSTER-LABEL-KEY-z} b", "m1")
	if diff := cmp.Diff([]Piece{{"a m1 ", "x/y"}, {"", "z"}, {" b", ""}}, got); diff != "" || err != nil {
		t.Errorf("%v; pieces (-want +got):\n%s", err, diff)
	}
}
