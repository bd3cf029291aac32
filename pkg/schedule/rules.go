package schedule

import (
	"errors"
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
	// required are alternatives; with none of them every cluster passes.
	required    []term
	preferred   []preference
	tolerations []v1beta1.Toleration
	spread      []v1beta1.TopologySpreadConstraint
	namespace   string
}

// term is what a cluster must match in full.
type term struct {
	labels     labels.Selector
	wrong      error
	properties []property.Requirement
}

// preference is worth weight to the clusters that match the labels; with a sorter a share of it.
type preference struct {
	term
	weight    int32
	sorted    bool
	ascending bool
	values    property.Range
}

func compile(policy *v1beta1.PlacementPolicy, namespace string, clusters []*clusterv1beta1.MemberCluster) rules {
	r := rules{tolerations: policy.Tolerations, spread: policy.TopologySpreadConstraints, namespace: namespace}
	if policy.Affinity == nil || policy.Affinity.ClusterAffinity == nil {
		return r
	}
	affinity := policy.Affinity.ClusterAffinity
	if required := affinity.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		for _, t := range required.ClusterSelectorTerms {
			r.required = append(r.required, compileTerm(t))
		}
	}
	for _, p := range affinity.PreferredDuringSchedulingIgnoredDuringExecution {
		out := preference{term: compileTerm(p.Preference), weight: p.Weight}
		if sorter := p.Preference.PropertySorter; sorter != nil {
			out.sorted, out.ascending = true, sorter.SortOrder == v1beta1.PropertySortOrderAscending
			out.values = property.RangeOf(clusters, sorter.Name)
		}
		r.preferred = append(r.preferred, out)
	}
	return r
}

func compileTerm(t v1beta1.ClusterSelectorTerm) term {
	out := term{labels: labels.Everything()}
	if t.LabelSelector != nil {
		out.labels, out.wrong = metav1.LabelSelectorAsSelector(t.LabelSelector)
	}
	if t.PropertySelector != nil {
		for _, e := range t.PropertySelector.MatchExpressions {
			out.properties = append(out.properties, property.Parse(e))
		}
	}
	return out
}

// check returns nil if cluster matches the term, and otherwise the first thing that does not.
func (t term) check(cluster *clusterv1beta1.MemberCluster) error {
	if t.wrong != nil {
		return fmt.Errorf("the policy has a wrong label selector: %w", t.wrong)
	}
	if !t.labels.Matches(labels.Set(cluster.Labels)) {
		return errors.New("its labels do not match")
	}
	for _, p := range t.properties {
		if err := p.Check(cluster); err != nil {
			return err
		}
	}
	return nil
}

// refuse says why cluster cannot be chosen now, and nothing if it can.
func (r rules) refuse(cluster *clusterv1beta1.MemberCluster, now time.Time) string {
	if err := r.unmatched(cluster); err != nil {
		return "it matches no required affinity term: " + err.Error()
	}
	if why := Ineligible(cluster, now); why != "" {
		return "not eligible: " + why
	}
	if why := r.lacksNamespace(cluster); why != "" {
		return why
	}
	if taint := r.untolerated(cluster); taint != nil {
		return fmt.Sprintf("its taint %s=%s:%s is not tolerated", taint.Key, taint.Value, taint.Effect)
	}
	return ""
}

// unmatched returns nil if cluster matches any required term, and otherwise what is wrong with the first.
func (r rules) unmatched(cluster *clusterv1beta1.MemberCluster) error {
	var first error
	for _, t := range r.required {
		err := t.check(cluster)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// lacksNamespace says why a ResourcePlacement cannot go to cluster. A cluster whose agent does not collect namespaces may have it.
func (r rules) lacksNamespace(cluster *clusterv1beta1.MemberCluster) string {
	if r.namespace == "" ||
		meta.FindStatusCondition(cluster.Status.Conditions, clusterv1beta1.ConditionNamespaceCollectionSucceeded) == nil {
		return ""
	}
	if cluster.Status.Namespaces == nil {
		return "there is no namespace information for it"
	}
	if _, ok := cluster.Status.Namespaces[r.namespace]; !ok {
		return fmt.Sprintf("target namespace %q does not exist on it", r.namespace)
	}
	return ""
}

func (r rules) untolerated(cluster *clusterv1beta1.MemberCluster) *clusterv1beta1.Taint {
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
func (r rules) affinity(cluster *clusterv1beta1.MemberCluster) int32 {
	var sum int32
	for _, p := range r.preferred {
		sum += p.worth(cluster)
	}
	return sum
}

func (p preference) worth(cluster *clusterv1beta1.MemberCluster) int32 {
	if p.check(cluster) != nil {
		return 0
	}
	if !p.sorted {
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
