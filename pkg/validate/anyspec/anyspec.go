// Package anyspec draws what users may write, right or wrong, for property tests of packages that act on it: whatever
// package validate accepts, they must be able to read. Values have the types of the schemas and keep those rules of
// them that validate does not repeat.
package anyspec

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Labels are all keys of labels that specs name rightly.
var Labels = []string{"region", "example.com/env"}

// often draws mostly from what is right.
func often[T any](t *rapid.T, label string, right, wrong []T) T {
	if rapid.IntRange(0, 7).Draw(t, label+" is wrong") == 0 {
		return rapid.SampledFrom(wrong).Draw(t, label)
	}
	return rapid.SampledFrom(right).Draw(t, label)
}

// some draws a short list.
func some[T any](t *rapid.T, label string, draw func(*rapid.T) T) []T {
	var out []T
	for range rapid.IntRange(0, 2).Draw(t, label) {
		out = append(out, draw(t))
	}
	return out
}

// maybe draws a value or nil.
func maybe[T any](t *rapid.T, label string, draw func(*rapid.T) T) *T {
	if rapid.Bool().Draw(t, label) {
		return nil
	}
	value := draw(t)
	return &value
}

func name(t *rapid.T) string {
	return often(t, "name", []string{"a", "b", "c-1"}, []string{"", "A_", "a.b", fmt.Sprintf("%064d", 0)})
}

// LabelSelector draws a label selector.
func LabelSelector(t *rapid.T) metav1.LabelSelector {
	key := func(t *rapid.T) string { return often(t, "key", Labels, []string{"", "key@1234:", "a/b/c"}) }
	value := func(t *rapid.T) string { return often(t, "value", []string{"", "east", "west"}, []string{"a b", "-"}) }
	s := metav1.LabelSelector{}
	if rapid.Bool().Draw(t, "matchLabels") {
		s.MatchLabels = map[string]string{key(t): value(t)}
	}
	s.MatchExpressions = some(t, "matchExpressions", func(t *rapid.T) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key(t), Values: some(t, "values", value), Operator: often(t, "operator",
			[]metav1.LabelSelectorOperator{metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist},
			[]metav1.LabelSelectorOperator{"", "Near"})}
	})
	return s
}

// Requirement draws an expression of a property selector.
func Requirement(t *rapid.T) v1beta1.PropertySelectorRequirement {
	out := v1beta1.PropertySelectorRequirement{Name: property(t), Operator: often(t, "operator",
		[]v1beta1.PropertySelectorOperator{v1beta1.PropertySelectorOperatorEq, v1beta1.PropertySelectorOperatorNe, v1beta1.PropertySelectorOperatorGt,
			v1beta1.PropertySelectorOperatorGe, v1beta1.PropertySelectorOperatorLt, v1beta1.PropertySelectorOperatorLe}, []v1beta1.PropertySelectorOperator{"", "Like"})}
	for range often(t, "values", []int{1}, []int{0, 2}) {
		out.Values = append(out.Values, often(t, "value", []string{"0", "1", "500m", "16Gi", "-1"}, []string{"", "many", "1e10000000", "1e99999999999999999999"}))
	}
	return out
}

func property(t *rapid.T) string {
	return often(t, "property", []string{"kubernetes-fleet.io/node-count", "resources.kubernetes-fleet.io/total-cpu", "a/b/c"},
		[]string{"", "/", "key@1234:", "resources.kubernetes-fleet.io/", "resources.kubernetes-fleet.io/cpu", "resources.kubernetes-fleet.io/spare-cpu", "resources.kubernetes-fleet.io/total-"})
}

// Term draws a term of a cluster selector.
func Term(t *rapid.T) v1beta1.ClusterSelectorTerm {
	term := v1beta1.ClusterSelectorTerm{LabelSelector: maybe(t, "labelSelector", LabelSelector)}
	if often(t, "propertySelector", []bool{false}, []bool{true}) {
		term.PropertySelector = &v1beta1.PropertySelector{MatchExpressions: some(t, "requirements", Requirement)}
	}
	if often(t, "propertySorter", []bool{false}, []bool{true}) {
		term.PropertySorter = &v1beta1.PropertySorter{Name: property(t), SortOrder: v1beta1.PropertySortOrderAscending}
	}
	return term
}

// RequiredTerm draws one in which property selectors are usual.
func RequiredTerm(t *rapid.T) v1beta1.ClusterSelectorTerm {
	term := Term(t)
	if rapid.Bool().Draw(t, "properties") {
		term.PropertySelector = &v1beta1.PropertySelector{MatchExpressions: some(t, "requirements", Requirement)}
	}
	return term
}

// PlacementAffinityTerm draws a term about other placements.
func PlacementAffinityTerm(t *rapid.T) v1beta1.PlacementAffinityTerm {
	term := v1beta1.PlacementAffinityTerm{
		Relation:    often(t, "relation", []v1beta1.PlacementRelation{v1beta1.PlacementWith, v1beta1.PlacementApart}, []v1beta1.PlacementRelation{"", "Near"}),
		TopologyKey: often(t, "topologyKey", append([]string{""}, Labels...), []string{"key@1234:"}),
	}
	if often(t, "by name", []bool{rapid.Bool().Draw(t, "name or selector")}, []bool{true}) {
		term.Name = often(t, "other", []string{"db", "web.example"}, []string{"A_"})
	}
	if term.Name == "" || often(t, "both", []bool{false}, []bool{true}) {
		term.Selector = maybe(t, "selector", LabelSelector)
	}
	return term
}

// Policy draws a placement policy.
func Policy(t *rapid.T) v1beta1.PlacementPolicy {
	p := v1beta1.PlacementPolicy{PlacementType: rapid.SampledFrom([]v1beta1.PlacementType{"", v1beta1.PlacementTypePickAll, v1beta1.PlacementTypePickN,
		v1beta1.PlacementTypePickFixed}).Draw(t, "type")}
	if p.PlacementType == v1beta1.PlacementTypePickFixed {
		p.ClusterNames = some(t, "clusterNames", name)
		return p
	}
	p.Tolerations = some(t, "tolerations", func(t *rapid.T) v1beta1.Toleration {
		if rapid.Bool().Draw(t, "exists") {
			return v1beta1.Toleration{Key: often(t, "key", append([]string{""}, Labels...), []string{"key@1234:"}), Operator: corev1.TolerationOpExists}
		}
		return v1beta1.Toleration{
			Key: often(t, "key", Labels, []string{"key@1234:"}), Value: often(t, "value", []string{"", "x"}, []string{"a b"}),
			TolerationSeconds: maybe(t, "tolerationSeconds", func(t *rapid.T) int64 { return rapid.Int64Range(-1, 600).Draw(t, "seconds") }),
		}
	})
	affinity := v1beta1.ClusterAffinity{}
	affinity.RequiredDuringSchedulingIgnoredDuringExecution = maybe(t, "required", func(t *rapid.T) v1beta1.ClusterSelector {
		return v1beta1.ClusterSelector{ClusterSelectorTerms: some(t, "terms", RequiredTerm)}
	})
	if p.PlacementType == v1beta1.PlacementTypePickN {
		affinity.PreferredDuringSchedulingIgnoredDuringExecution = some(t, "preferred", func(t *rapid.T) v1beta1.PreferredClusterSelector {
			return v1beta1.PreferredClusterSelector{Weight: 1, Preference: Term(t)}
		})
	}
	p.Affinity = &v1beta1.Affinity{ClusterAffinity: &affinity}
	p.Affinity.PlacementAffinity = maybe(t, "placementAffinity", func(t *rapid.T) v1beta1.PlacementAffinity {
		out := v1beta1.PlacementAffinity{RequiredDuringSchedulingIgnoredDuringExecution: some(t, "required placements", PlacementAffinityTerm)}
		if p.PlacementType == v1beta1.PlacementTypePickN {
			out.PreferredDuringSchedulingIgnoredDuringExecution = some(t, "preferred placements", func(t *rapid.T) v1beta1.PreferredPlacementAffinityTerm {
				return v1beta1.PreferredPlacementAffinityTerm{Weight: 1, Preference: PlacementAffinityTerm(t)}
			})
		}
		return out
	})
	return p
}

// Placement draws the spec of a placement. Its selectors name kinds of KindsOf, and no two of them one object.
func Placement(t *rapid.T) v1beta1.PlacementSpec {
	spec := v1beta1.PlacementSpec{Policy: maybe(t, "policy", Policy), Strategy: Strategy(t)}
	for i := range rapid.IntRange(0, 3).Draw(t, "selectors") {
		term := v1beta1.ResourceSelectorTerm{Version: "v1", Kind: rapid.SampledFrom([]string{"Namespace", "ClusterRole", "ConfigMap", "Widget"}).Draw(t, "kind"), Name: fmt.Sprint("o", i)}
		switch {
		case term.Kind == "Namespace":
			term.SelectionScope = rapid.SampledFrom([]v1beta1.SelectionScope{"", v1beta1.SelectionScopeNamespaceOnly, v1beta1.SelectionScopeNamespaceWithResources,
				v1beta1.SelectionScopeNamespaceWithResourceSelectors}).Draw(t, "scope")
		case rapid.Bool().Draw(t, "by label"):
			selector := LabelSelector(t)
			term.Name, term.LabelSelector = "", &selector
		}
		spec.ResourceSelectors = append(spec.ResourceSelectors, term)
	}
	return spec
}

// limit draws a number or a share.
func limit(t *rapid.T) intstr.IntOrString {
	return often(t, "limit", []intstr.IntOrString{intstr.FromInt32(0), intstr.FromInt32(2), intstr.FromString("0%"), intstr.FromString("25%")},
		[]intstr.IntOrString{intstr.FromString(""), intstr.FromString("many"), intstr.FromString("%"), intstr.FromString("3"), intstr.FromString("99999999999999999999")})
}

func failurePolicy(t *rapid.T) v1beta1.FailurePolicy {
	return v1beta1.FailurePolicy{FailureBudget: maybe(t, "failureBudget", limit)}
}

// Strategy draws a rollout strategy.
func Strategy(t *rapid.T) v1beta1.RolloutStrategy {
	return v1beta1.RolloutStrategy{
		Type: rapid.SampledFrom([]v1beta1.RolloutStrategyType{"", v1beta1.RolloutStrategyTypeRollingUpdate, v1beta1.RolloutStrategyTypeExternal}).Draw(t, "type"),
		RollingUpdate: maybe(t, "rollingUpdate", func(t *rapid.T) v1beta1.RollingUpdateConfig {
			return v1beta1.RollingUpdateConfig{MaxUnavailable: maybe(t, "maxUnavailable", limit), MaxSurge: maybe(t, "maxSurge", limit), FailurePolicy: maybe(t, "failurePolicy", failurePolicy)}
		}),
		ApplyStrategy: maybe(t, "applyStrategy", func(t *rapid.T) v1beta1.ApplyStrategy {
			a := v1beta1.ApplyStrategy{Type: rapid.SampledFrom([]v1beta1.ApplyStrategyType{"", v1beta1.ApplyStrategyTypeServerSideApply}).Draw(t, "type")}
			a.ServerSideApplyConfig = maybe(t, "serverSideApplyConfig", func(*rapid.T) v1beta1.ServerSideApplyConfig { return v1beta1.ServerSideApplyConfig{} })
			return a
		}),
	}
}

// OverridePolicy draws the rules of an override.
func OverridePolicy(t *rapid.T) v1beta1.OverridePolicy {
	return v1beta1.OverridePolicy{OverrideRules: some(t, "rules", func(t *rapid.T) v1beta1.OverrideRule {
		rule := v1beta1.OverrideRule{OverrideType: rapid.SampledFrom([]v1beta1.OverrideType{"", v1beta1.OverrideTypeJSONPatch, v1beta1.OverrideTypeDelete}).Draw(t, "type")}
		rule.ClusterSelector = &v1beta1.ClusterSelector{}
		if rapid.Bool().Draw(t, "some clusters") {
			rule.ClusterSelector.ClusterSelectorTerms = some(t, "terms", Term)
		}
		patches := []int{1, 2}
		if rule.OverrideType == v1beta1.OverrideTypeDelete {
			patches = []int{0}
		}
		for range often(t, "patches", patches, []int{0, 1}) {
			rule.JSONPatchOverrides = append(rule.JSONPatchOverrides, patch(t))
		}
		return rule
	})}
}

func patch(t *rapid.T) v1beta1.JSONPatchOverride {
	p := v1beta1.JSONPatchOverride{
		Operator: rapid.SampledFrom([]v1beta1.JSONPatchOperator{v1beta1.JSONPatchAdd, v1beta1.JSONPatchReplace, v1beta1.JSONPatchRemove}).Draw(t, "op"),
		Path:     often(t, "path", []string{"/data", "/metadata/labels/a~1b"}, []string{"", "/", "data", "/a//b", "/kind", "/status/x", "/metadata/name", "/~"}),
	}
	text := often(t, "value", []string{"x", "${MEMBER-CLUSTER-NAME}", "a ${MEMBER-CLUSTER-LABEL-KEY-region} b ${MEMBER-CLUSTER-LABEL-KEY-example.com/env}"},
		[]string{"${MEMBER-CLUSTER-LABEL-KEY-region", "${MEMBER-CLUSTER-LABEL-KEY-}", "${MEMBER-CLUSTER-LABEL-KEY-a b}"})
	if p.Operator != v1beta1.JSONPatchRemove {
		raw, err := json.Marshal(map[string]string{"a": text})
		if err != nil {
			t.Fatal(err)
		}
		p.Value = apiextensionsv1.JSON{Raw: raw}
	}
	return p
}

// UpdateStrategy draws an update strategy.
func UpdateStrategy(t *rapid.T) v1beta1.UpdateStrategySpec {
	task := func(t *rapid.T) v1beta1.StageTask {
		out := v1beta1.StageTask{Type: rapid.SampledFrom([]v1beta1.StageTaskType{v1beta1.StageTaskApproval, v1beta1.StageTaskTimedWait}).Draw(t, "type")}
		if (out.Type == v1beta1.StageTaskTimedWait) == often(t, "as its type has it", []bool{true}, []bool{false}) {
			out.WaitTime = &metav1.Duration{Duration: often(t, "waitTime", []time.Duration{time.Second}, []time.Duration{0})}
		}
		return out
	}
	stage := func(t *rapid.T) v1beta1.StageConfig {
		return v1beta1.StageConfig{
			Name: rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name"), LabelSelector: maybe(t, "labelSelector", LabelSelector),
			MaxConcurrency: maybe(t, "maxConcurrency", limit), FailureBudget: maybe(t, "failureBudget", limit),
			BeforeStageTasks: some(t, "before", task), AfterStageTasks: some(t, "after", task),
		}
	}
	return v1beta1.UpdateStrategySpec{Stages: some(t, "stages", stage), FailurePolicy: maybe(t, "failurePolicy", failurePolicy)}
}

// Envelope draws an envelope: one of a namespace, or a cluster-wide one.
func Envelope(t *rapid.T) v1beta1.EnvelopeObject {
	meta := metav1.ObjectMeta{Name: often(t, "name", []string{"e"}, []string{fmt.Sprintf("%064d", 0)})}
	data := map[string]runtime.RawExtension{}
	namespaces := []string{"", "app"}
	if rapid.Bool().Draw(t, "namespaced") {
		meta.Namespace, namespaces = "app", []string{"app", ""}
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "entries") {
		object := map[string]any{
			"apiVersion": often(t, "apiVersion", []string{"v1", "a.b/v1"}, []string{"", "a/b/c"}), "kind": often(t, "kind", []string{"A", "B"}, []string{"", "A B"}),
			"metadata": map[string]any{"name": often(t, "name", []string{"o", ""}, []string{"a/b"}), "namespace": often(t, "namespace", namespaces[:1], namespaces[1:]),
				"labels": map[string]any{"a": often(t, "label", []string{"x"}, []string{"a b"})}},
		}
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		data[fmt.Sprint(i)] = runtime.RawExtension{Raw: raw}
	}
	if meta.Namespace == "" {
		return &v1beta1.ClusterResourceEnvelope{ObjectMeta: meta, Data: data}
	}
	return &v1beta1.ResourceEnvelope{ObjectMeta: meta, Data: data}
}
