// Package testworld helps to write tests: it has builders for the objects that users write, the expected statuses of
// the contract, and functions that wait for conditions.
package testworld

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Blocker is the finalizer that a test keeps on its placement, to check that the agents remove all others.
const Blocker = "test.flagship.dev/blocker"

// Namespace is a namespace labelled with its own name.
func Namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"process": name}}}
}

// ConfigMap is the config map cm of a namespace.
func ConfigMap(namespace, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "cm", Labels: map[string]string{"app": namespace}},
		Data:       map[string]string{"data": value},
	}
}

// Option changes a placement's spec.
type Option func(*v1beta1.PlacementSpec)

// ClusterPlacement is a ClusterResourcePlacement that places the namespace and its contents on all clusters; options
// change that.
func ClusterPlacement(name, namespace string, options ...Option) *v1beta1.ClusterResourcePlacement {
	p := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{Blocker}}}
	p.Spec = spec(v1beta1.ResourceSelectorTerm{Group: "", Version: "v1", Kind: "Namespace", Name: namespace}, options)
	return p
}

// Placement is a ResourcePlacement that places the namespace's config map cm on all clusters; options change that.
func Placement(namespace, name string, options ...Option) *v1beta1.ResourcePlacement {
	p := &v1beta1.ResourcePlacement{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Finalizers: []string{Blocker}}}
	p.Spec = spec(v1beta1.ResourceSelectorTerm{Group: "", Version: "v1", Kind: "ConfigMap", Name: "cm"}, options)
	return p
}

func spec(term v1beta1.ResourceSelectorTerm, options []Option) v1beta1.PlacementSpec {
	period := 2
	s := v1beta1.PlacementSpec{
		ResourceSelectors: []v1beta1.ResourceSelectorTerm{term},
		Strategy: v1beta1.RolloutStrategy{
			Type:          v1beta1.RolloutStrategyTypeRollingUpdate,
			RollingUpdate: &v1beta1.RollingUpdateConfig{UnavailablePeriodSeconds: &period},
		},
	}
	for _, option := range options {
		option(&s)
	}
	return s
}

// Selecting replaces the selectors.
func Selecting(terms ...v1beta1.ResourceSelectorTerm) Option {
	return func(s *v1beta1.PlacementSpec) { s.ResourceSelectors = terms }
}

// Named selects an object by its name; without a name, all objects of the kind.
func Named(group, version, kind, name string) v1beta1.ResourceSelectorTerm {
	return v1beta1.ResourceSelectorTerm{Group: group, Version: version, Kind: kind, Name: name}
}

// WithLabel selects objects of a core kind by a label.
func WithLabel(kind, key, value string) v1beta1.ResourceSelectorTerm {
	term := Named("", "v1", kind, "")
	term.LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	return term
}

// NamespaceOnly makes namespace terms select the object without its contents.
func NamespaceOnly(s *v1beta1.PlacementSpec) {
	scope(s, v1beta1.SelectionScopeNamespaceOnly)
}

// NamespaceWithSelectors makes namespace terms select the object, and the other terms select within that namespace.
func NamespaceWithSelectors(s *v1beta1.PlacementSpec) {
	scope(s, v1beta1.SelectionScopeNamespaceWithResourceSelectors)
}

func scope(s *v1beta1.PlacementSpec, scope v1beta1.SelectionScope) {
	for i := range s.ResourceSelectors {
		if s.ResourceSelectors[i].Kind == "Namespace" {
			s.ResourceSelectors[i].SelectionScope = scope
		}
	}
}

// Keeping limits how many revisions are kept.
func Keeping(revisions int32) Option {
	return func(s *v1beta1.PlacementSpec) { s.RevisionHistoryLimit = &revisions }
}

// Reporting sets where the status can be read.
func Reporting(where v1beta1.StatusReportingScope) Option {
	return func(s *v1beta1.PlacementSpec) { s.StatusReportingScope = where }
}

// Policy sets the placement policy.
func Policy(policy v1beta1.PlacementPolicy) Option {
	return func(s *v1beta1.PlacementSpec) { s.Policy = &policy }
}

// PickFixed places on the named clusters.
func PickFixed(clusters ...string) Option {
	return Policy(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: clusters})
}

// PickN places on n of the clusters that match any of the terms; without terms, on n of all clusters.
func PickN(n int32, terms ...v1beta1.ClusterSelectorTerm) Option {
	return Policy(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: &n, Affinity: required(terms)})
}

// PickAll places on the clusters that match any of the terms; without terms, on all clusters.
func PickAll(terms ...v1beta1.ClusterSelectorTerm) Option {
	return Policy(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll, Affinity: required(terms)})
}

func required(terms []v1beta1.ClusterSelectorTerm) *v1beta1.Affinity {
	if len(terms) == 0 {
		return nil
	}
	return &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &v1beta1.ClusterSelector{ClusterSelectorTerms: terms},
	}}
}

// Labelled is a term of exact labels and, optionally, expressions.
func Labelled(labels map[string]string, expressions ...metav1.LabelSelectorRequirement) v1beta1.ClusterSelectorTerm {
	return v1beta1.ClusterSelectorTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: labels, MatchExpressions: expressions}}
}

// In is a label expression.
func In(key string, values ...string) metav1.LabelSelectorRequirement {
	return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: values}
}

// NotIn is a label expression.
func NotIn(key string, values ...string) metav1.LabelSelectorRequirement {
	return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: values}
}

// Having adds a requirement on a property to a term.
func Having(term v1beta1.ClusterSelectorTerm, property string, operator v1beta1.PropertySelectorOperator, value string) v1beta1.ClusterSelectorTerm {
	wanted := v1beta1.PropertySelectorRequirement{Name: property, Operator: operator, Values: []string{value}}
	selector := &v1beta1.PropertySelector{MatchExpressions: []v1beta1.PropertySelectorRequirement{wanted}}
	if term.PropertySelector != nil {
		selector.MatchExpressions = append(slices.Clone(term.PropertySelector.MatchExpressions), wanted)
	}
	term.PropertySelector = selector
	return term
}

// Prefer adds a preference to a policy.
func Prefer(weight int32, term v1beta1.ClusterSelectorTerm) Option {
	return func(s *v1beta1.PlacementSpec) {
		affinity := clusterAffinity(s)
		affinity.PreferredDuringSchedulingIgnoredDuringExecution = append(affinity.PreferredDuringSchedulingIgnoredDuringExecution,
			v1beta1.PreferredClusterSelector{Weight: weight, Preference: term})
	}
}

func clusterAffinity(s *v1beta1.PlacementSpec) *v1beta1.ClusterAffinity {
	if s.Policy.Affinity == nil {
		s.Policy.Affinity = &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{}}
	}
	return s.Policy.Affinity.ClusterAffinity
}

// SortedBy makes a preference give each cluster a share of its weight, by the order of a property.
func SortedBy(term v1beta1.ClusterSelectorTerm, property string, order v1beta1.PropertySortOrder) v1beta1.ClusterSelectorTerm {
	term.PropertySorter = &v1beta1.PropertySorter{Name: property, SortOrder: order}
	return term
}

// Taint keeps new placements off a cluster.
func Taint(key, value string) clusterv1beta1.Taint {
	return clusterv1beta1.Taint{Key: key, Value: value, Effect: corev1.TaintEffectNoSchedule}
}

// Tolerating adds a toleration for a taint to a policy.
func Tolerating(taint clusterv1beta1.Taint) Option {
	return func(s *v1beta1.PlacementSpec) {
		s.Policy.Tolerations = append(s.Policy.Tolerations,
			v1beta1.Toleration{Key: taint.Key, Operator: corev1.TolerationOpEqual, Value: taint.Value, Effect: taint.Effect})
	}
}

// MaxUnavailable sets how many clusters may be unavailable during a rollout.
func MaxUnavailable(n intstr.IntOrString) Option {
	return func(s *v1beta1.PlacementSpec) { s.Strategy.RollingUpdate.MaxUnavailable = &n }
}

// Spread adds a constraint of skew 1 over the values of a cluster label.
func Spread(key string, otherwise corev1.UnsatisfiableConstraintAction) Option {
	return func(s *v1beta1.PlacementSpec) {
		skew := int32(1)
		s.Policy.TopologySpreadConstraints = []v1beta1.TopologySpreadConstraint{{MaxSkew: &skew, TopologyKey: key, WhenUnsatisfiable: otherwise}}
	}
}
