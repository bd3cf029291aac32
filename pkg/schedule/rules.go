package schedule

import (
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/schedule/property"
)

// rules are a policy made ready to be asked about clusters.
type rules struct {
	// fixed policies ask whether a cluster is eligible and nothing else.
	fixed bool
	// required are alternatives; with none of them every cluster passes.
	required    []term
	preferred   []preference
	tolerations []v1beta1.Toleration
	spread      []v1beta1.TopologySpreadConstraint
	namespace   string
}

// term is what a cluster must match in full.
type term struct {
	labels     labels.Requirements
	wrong      error
	properties []property.Requirement
}

// preference is worth weight to the clusters that match the labels; with a sorter a share of it.
type preference struct {
	term
	weight    int32
	sorter    *v1beta1.PropertySorter
	ascending bool
	values    property.Range
}

func compile(policy *v1beta1.PlacementPolicy, namespace string) rules {
	r := rules{tolerations: policy.Tolerations, namespace: namespace}
	switch policy.PlacementType {
	case v1beta1.PlacementTypePickFixed:
		r.fixed = true
	case v1beta1.PlacementTypePickN:
		r.spread = policy.TopologySpreadConstraints
	}
	for _, t := range requiredTerms(policy) {
		r.required = append(r.required, compileTerm(t))
	}
	if policy.Affinity == nil || policy.Affinity.ClusterAffinity == nil {
		return r
	}
	for _, p := range policy.Affinity.ClusterAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		out := preference{term: compileTerm(p.Preference), weight: p.Weight, sorter: p.Preference.PropertySorter}
		out.ascending = out.sorter != nil && out.sorter.SortOrder == v1beta1.PropertySortOrderAscending
		r.preferred = append(r.preferred, out)
	}
	return r
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
		selector, err := metav1.LabelSelectorAsSelector(t.LabelSelector)
		if err != nil {
			out.wrong = fmt.Errorf("the policy has a wrong label selector: %w", err)
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

// measure looks at the whole fleet for the ranges of the properties that preferences sort by.
func (r *rules) measure(clusters []*clusterv1beta1.MemberCluster) {
	for i, p := range r.preferred {
		if p.sorter != nil {
			r.preferred[i].values = property.RangeOf(clusters, p.sorter.Name)
		}
	}
}

// check returns nil if cluster matches the term, and otherwise the first thing that does not.
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

// object returns why cluster cannot be chosen now, and nil if it can. The spread over topologies is not asked.
func (r *rules) object(cluster *clusterv1beta1.MemberCluster, now time.Time) *Objection {
	if !r.fixed {
		if err := r.unmatched(cluster); err != nil {
			return &Objection{FilterAffinity, err}
		}
	}
	if why := Ineligible(cluster, now); why != "" {
		return &Objection{FilterEligibility, &ineligible{why: why, cluster: cluster, now: now, named: r.fixed}}
	}
	if r.fixed {
		return nil
	}
	if err := r.lacksNamespace(cluster); err != nil {
		return &Objection{FilterNamespace, err}
	}
	if taint := r.untolerated(cluster); taint != nil {
		return &Objection{FilterTaints, &untolerated{taint}}
	}
	return nil
}

// unmatched returns nil if cluster matches any required term, and otherwise what is wrong.
func (r *rules) unmatched(cluster *clusterv1beta1.MemberCluster) error {
	var first error
	for i := range r.required {
		err := r.required[i].check(cluster)
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
	return &unmatched{first: first, terms: len(r.required)}
}

// lacksNamespace says why a ResourcePlacement cannot go to cluster. A cluster whose agent does not collect namespaces may have it.
func (r *rules) lacksNamespace(cluster *clusterv1beta1.MemberCluster) error {
	if r.namespace == "" || !collectsNamespaces(cluster) {
		return nil
	}
	if cluster.Status.Namespaces == nil {
		return text("there is no namespace information for it")
	}
	if _, ok := cluster.Status.Namespaces[r.namespace]; !ok {
		return &homeless{r.namespace}
	}
	return nil
}

func collectsNamespaces(cluster *clusterv1beta1.MemberCluster) bool {
	return meta.FindStatusCondition(cluster.Status.Conditions, clusterv1beta1.ConditionNamespaceCollectionSucceeded) != nil
}

func (r *rules) untolerated(cluster *clusterv1beta1.MemberCluster) *clusterv1beta1.Taint {
	for i, taint := range cluster.Spec.Taints {
		if !tolerates(r.tolerations, taint) {
			return &cluster.Spec.Taints[i]
		}
	}
	return nil
}

func tolerates(tolerations []v1beta1.Toleration, taint clusterv1beta1.Taint) bool {
	for _, t := range tolerations {
		if t.Effect != "" && t.Effect != taint.Effect {
			continue
		}
		if t.Operator == corev1.TolerationOpExists {
			if t.Key == "" || t.Key == taint.Key {
				return true
			}
			continue
		}
		if t.Key == taint.Key && t.Value == taint.Value {
			return true
		}
	}
	return false
}

// affinity sums what the preferences are worth to cluster.
func (r *rules) affinity(cluster *clusterv1beta1.MemberCluster) int32 {
	var sum int32
	for i := range r.preferred {
		sum += r.preferred[i].worth(cluster)
	}
	return sum
}

func (p *preference) worth(cluster *clusterv1beta1.MemberCluster) int32 {
	if p.check(cluster) != nil {
		return 0
	}
	if p.sorter == nil {
		return p.weight
	}
	share, ok := p.values.Share(cluster)
	if !ok {
		return 0
	}
	if p.ascending {
		share = 1 - share
	}
	return int32(math.Round(float64(p.weight) * share))
}
