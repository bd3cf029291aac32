package schedule

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/schedule/property"
)

// News is what has changed about a cluster that could let a placement choose it. What can only make it less fit is no news: nothing
// is taken away from a cluster while it is there. Heartbeats and observation times are none either.
type News struct {
	// Eligible: the cluster could not be chosen at all, and now it can be.
	Eligible bool
	// Gone: there is no such cluster any more.
	Gone       bool
	labels     bool
	taints     bool
	namespaces bool
	// properties: some property or figure of the resource usage has another value; changed says which.
	properties bool
	changed    func(name string) bool
}

// Any says whether there is anything that could matter to any placement.
func (n News) Any() bool {
	return n.Eligible || n.Gone || n.labels || n.taints || n.namespaces || n.properties
}

// NewsOf compares a cluster with how it was; was is nil if it has just appeared.
func NewsOf(was, is *clusterv1beta1.MemberCluster, now time.Time) News {
	if was == nil {
		return News{Eligible: Ineligible(is, now) == ""}
	}
	return News{
		Eligible:   Ineligible(was, now) != "" && Ineligible(is, now) == "",
		labels:     !maps.Equal(was.Labels, is.Labels),
		taints:     slices.ContainsFunc(was.Spec.Taints, func(t clusterv1beta1.Taint) bool { return !slices.Contains(is.Spec.Taints, t) }),
		namespaces: namespacesChanged(was, is),
		properties: propertiesChanged(was, is),
		changed:    func(name string) bool { return propertyChanged(was, is, name) },
	}
}

// namespacesChanged looks at which namespaces there are; who placed them does not matter.
func namespacesChanged(was, is *clusterv1beta1.MemberCluster) bool {
	collected := func(c *clusterv1beta1.MemberCluster) bool {
		return meta.FindStatusCondition(c.Status.Conditions, clusterv1beta1.ConditionNamespaceCollectionSucceeded) != nil
	}
	if collected(was) != collected(is) || len(was.Status.Namespaces) != len(is.Status.Namespaces) {
		return true
	}
	for name := range is.Status.Namespaces {
		if _, ok := was.Status.Namespaces[name]; !ok {
			return true
		}
	}
	return false
}

// propertiesChanged looks at values alone, not at when they were observed.
func propertiesChanged(was, is *clusterv1beta1.MemberCluster) bool {
	sameValue := func(a, b clusterv1beta1.PropertyValue) bool { return a.Value == b.Value }
	before, after := was.Status.ResourceUsage, is.Status.ResourceUsage
	return !maps.EqualFunc(was.Status.Properties, is.Status.Properties, sameValue) ||
		!equality.Semantic.DeepEqual(before.Capacity, after.Capacity) ||
		!equality.Semantic.DeepEqual(before.Allocatable, after.Allocatable) ||
		!equality.Semantic.DeepEqual(before.Available, after.Available)
}

func propertyChanged(was, is *clusterv1beta1.MemberCluster, name string) bool {
	before, errBefore := property.Value(was, name)
	after, errAfter := property.Value(is, name)
	if errBefore != nil || errAfter != nil {
		return (errBefore == nil) != (errAfter == nil)
	}
	return before.Cmp(after) != 0
}

// Matters says whether a placement may be decided otherwise for the news. namespaced is true for a ResourcePlacement; fulfilled
// says whether it has all the clusters that it wants. Whether it has a binding on the cluster is not asked: a placement that has
// one must look in any case when the cluster is gone.
func (n News) Matters(policy *v1beta1.PlacementPolicy, namespaced, fulfilled bool) bool {
	if policy == nil {
		policy = &v1beta1.PlacementPolicy{}
	}
	switch policy.PlacementType {
	case v1beta1.PlacementTypePickFixed:
		return !fulfilled && (n.Gone || n.Eligible)
	case v1beta1.PlacementTypePickN:
		if fulfilled {
			return false
		}
	}
	if n.Gone || n.Eligible || n.taints || namespaced && n.namespaces {
		return true
	}
	return n.labels && looksAtLabels(policy) || n.properties && slices.ContainsFunc(required(policy), n.changed)
}

// looksAtLabels says whether the labels of clusters can decide whether they are chosen.
func looksAtLabels(policy *v1beta1.PlacementPolicy) bool {
	return len(policy.TopologySpreadConstraints) > 0 ||
		slices.ContainsFunc(requiredTerms(policy), func(t v1beta1.ClusterSelectorTerm) bool { return t.LabelSelector != nil })
}

// required are the properties that decide whether clusters are chosen. Preferences only rank clusters, and a placement that is
// looked at again takes every cluster it can get.
func required(policy *v1beta1.PlacementPolicy) []string {
	var names []string
	for _, t := range requiredTerms(policy) {
		if t.PropertySelector == nil {
			continue
		}
		for _, e := range t.PropertySelector.MatchExpressions {
			names = append(names, e.Name)
		}
	}
	return names
}

func requiredTerms(policy *v1beta1.PlacementPolicy) []v1beta1.ClusterSelectorTerm {
	if policy.Affinity == nil || policy.Affinity.ClusterAffinity == nil ||
		policy.Affinity.ClusterAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return policy.Affinity.ClusterAffinity.RequiredDuringSchedulingIgnoredDuringExecution.ClusterSelectorTerms
}
