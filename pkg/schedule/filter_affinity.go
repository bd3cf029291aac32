package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/schedule/property"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// FilterAffinity passes the clusters that match a required term of the cluster affinity: its labels and properties.
const FilterAffinity Filter = "ClusterAffinity"

// topicProperty is followed by the name of a property.
const topicProperty = "property/"

// mostTerms is the number of required terms that repairs tries.
const mostTerms = 8

type clusterAffinity struct {
	alone
	// required are alternatives; if there are none, every cluster passes.
	required []term
}

func (clusterAffinity) name() Filter { return FilterAffinity }

func (clusterAffinity) of(policy *v1beta1.PlacementPolicy, _ string) filter {
	if isFixed(policy) {
		return nil
	}
	var f clusterAffinity
	for _, t := range requiredTerms(policy) {
		f.required = append(f.required, compileTerm(t))
	}
	return f
}

func (f clusterAffinity) check(cluster *clusterv1beta1.MemberCluster, _ time.Time) error {
	var first error
	for i := range f.required {
		err := f.required[i].check(cluster)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		return nil
	}
	return &unmatched{first: first, terms: len(f.required)}
}

func (f clusterAffinity) watches() (topics []string) {
	for _, term := range f.required {
		for _, requirement := range term.labels {
			topics = append(topics, topicLabel+requirement.Key())
		}
		for _, requirement := range term.properties {
			topics = append(topics, topicProperty+requirement.Name())
		}
	}
	return topics
}

func (clusterAffinity) changes(c ClusterChange) []string {
	topics := c.labels()
	for _, name := range property.Changed(c.was, c.is) {
		topics = append(topics, topicProperty+name)
	}
	return topics
}

// repairs make the cluster match each of the required terms.
func (f clusterAffinity) repairs(t trial, _ error) (out []trial) {
	for _, want := range f.required[:min(len(f.required), mostTerms)] {
		if matched, ok := t.match(want); ok {
			out = append(out, matched)
		}
	}
	return out
}

func (clusterAffinity) exclusions(trial) []trial { return nil }

// term is a term that a cluster must match completely.
type term struct {
	labels     labels.Requirements
	wrong      error
	properties []property.Requirement
}

func requiredTerms(policy *v1beta1.PlacementPolicy) []v1beta1.ClusterSelectorTerm {
	if policy.Affinity == nil || policy.Affinity.ClusterAffinity == nil ||
		policy.Affinity.ClusterAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return policy.Affinity.ClusterAffinity.RequiredDuringSchedulingIgnoredDuringExecution.ClusterSelectorTerms
}

func compileTerm(t v1beta1.ClusterSelectorTerm) term {
	var out term
	if t.LabelSelector != nil {
		if wrong := validate.LabelSelector(t.LabelSelector, nil); len(wrong) > 0 {
			out.wrong = fmt.Errorf("the policy has an invalid label selector: %w", wrong.ToAggregate())
			return out
		}
		selector, err := metav1.LabelSelectorAsSelector(t.LabelSelector)
		if err != nil {
			out.wrong = err
			return out
		}
		out.labels, _ = selector.Requirements()
	}
	if t.PropertySelector != nil {
		for _, e := range t.PropertySelector.MatchExpressions {
			out.properties = append(out.properties, property.Parse(e))
		}
	}
	return out
}

// unreadable returns what is invalid in the term; nil if nothing is.
func (t term) unreadable() error {
	for i := range t.properties {
		if wrong := t.properties[i].Wrong(); wrong != nil {
			return fmt.Errorf("the policy has an invalid property selector: property %s: %w", t.properties[i].Name(), wrong)
		}
	}
	return t.wrong
}

// check returns nil if cluster matches the term, and otherwise the first part that does not match.
func (t *term) check(cluster *clusterv1beta1.MemberCluster) error {
	if t.wrong != nil {
		return t.wrong
	}
	for i := range t.labels {
		if !t.labels[i].Matches(labels.Set(cluster.Labels)) {
			return &unlabelled{want: t.labels[i], has: cluster.Labels}
		}
	}
	for i := range t.properties {
		if err := t.properties[i].Check(cluster); err != nil {
			return err
		}
	}
	return nil
}

// unlabelled is the objection to labels: the first requirement of a selector that they do not meet.
type unlabelled struct {
	want labels.Requirement
	has  labels.Set
}

func (u *unlabelled) Error() string { return wantedLabel(u.want) }

func (u *unlabelled) Detail() string {
	value, ok := u.has[u.want.Key()]
	if !ok {
		return u.Error() + "; it has none"
	}
	return fmt.Sprintf("%s; it is %s", u.Error(), value)
}

func wantedLabel(want labels.Requirement) string {
	key, values := want.Key(), strings.Join(want.ValuesUnsorted(), ", ")
	if len(want.ValuesUnsorted()) > 1 {
		values = "one of " + strings.Join(want.Values().List(), ", ")
	}
	switch want.Operator() {
	case selection.In, selection.Equals, selection.DoubleEquals:
		return fmt.Sprintf("label %s must be %s", key, values)
	case selection.NotIn, selection.NotEquals:
		return fmt.Sprintf("label %s must not be %s", key, values)
	case selection.Exists:
		return fmt.Sprintf("label %s must exist", key)
	case selection.DoesNotExist:
		return fmt.Sprintf("label %s must not exist", key)
	default:
		return fmt.Sprintf("label %s must be %s %s", key, want.Operator(), values)
	}
}

// unmatched is the objection of all required terms.
type unmatched struct {
	first error
	terms int
}

func (u *unmatched) Error() string { return u.text(u.first.Error()) }

func (u *unmatched) Detail() string { return u.text(detail(u.first)) }

func (u *unmatched) text(first string) string {
	if u.terms == 1 {
		return "it does not match the required affinity term: " + first
	}
	return fmt.Sprintf("it matches none of the %d required affinity terms; the first term: %s", u.terms, first)
}

// match makes the cluster match a term; ok is false if no change of the cluster can.
func (t trial) match(want term) (matched trial, ok bool) {
	if want.wrong != nil {
		return t, false
	}
	for _, requirement := range want.labels {
		if t, ok = t.label(requirement); !ok {
			return t, false
		}
	}
	for i := range want.properties {
		requirement := &want.properties[i]
		cluster := t.find()
		err := requirement.Check(cluster)
		if err == nil {
			continue
		}
		value, ok := requirement.Nearest()
		if !ok {
			return t, false
		}
		settable := true
		t = t.member(propertyStep(cluster, requirement, value), func(c *clusterv1beta1.MemberCluster) {
			settable = property.Set(c, requirement.Name(), value)
		})
		if !settable {
			return t, false
		}
	}
	return t, true
}

// label makes the cluster's labels meet a requirement. Users cannot change the label with the cluster's own name.
func (t trial) label(want labels.Requirement) (trial, bool) {
	cluster, key := t.find(), want.Key()
	if want.Matches(labels.Set(cluster.Labels)) {
		return t, true
	}
	if key == contract.LabelMemberName {
		return t, false
	}
	switch want.Operator() {
	case selection.NotIn, selection.NotEquals, selection.DoesNotExist:
		return t.member(fmt.Sprintf("remove label %s=%s", key, cluster.Labels[key]), func(c *clusterv1beta1.MemberCluster) {
			delete(c.Labels, key)
		}), true
	case selection.Exists:
		return t.member(fmt.Sprintf("set label %s to any value", key), setLabel(key, "")), true
	case selection.In, selection.Equals, selection.DoubleEquals:
		value := slices.Min(want.ValuesUnsorted())
		return t.member(labelStep(cluster, key, value), setLabel(key, value)), true
	}
	return t, false
}

// propertyStep describes the value that the cluster must report, and the difference to the current value.
func propertyStep(cluster *clusterv1beta1.MemberCluster, want *property.Requirement, value resource.Quantity) string {
	what := fmt.Sprintf("report property %s of %s", want.Name(), want.Want())
	is, err := property.Value(cluster, want.Name())
	if err != nil {
		return what
	}
	missing := value.DeepCopy()
	missing.Sub(is)
	if missing.Sign() > 0 {
		return fmt.Sprintf("%s: %s more than now", what, missing.String())
	}
	missing.Neg()
	return fmt.Sprintf("%s: %s less than now", what, missing.String())
}
