package schedule

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func noonTime(seconds int) metav1.Time {
	return metav1.NewTime(noon.Add(time.Duration(seconds) * time.Second))
}

func TestNews(t *testing.T) {
	type cluster = clusterv1beta1.MemberCluster
	anyTerm := v1beta1.ClusterSelectorTerm{}
	placements := map[string]struct {
		policy     *v1beta1.PlacementPolicy
		namespaced bool
		fulfilled  bool
	}{
		"all":          {fulfilled: true},
		"rp":           {fulfilled: true, namespaced: true},
		"all-labels":   {policy: all(labelled("region=east")), fulfilled: true},
		"all-nodes":    {policy: all(having(anyTerm, "nodes Ge 2")), fulfilled: true},
		"all-cpu":      {policy: all(having(anyTerm, "available-cpu Ge 2")), fulfilled: true},
		"fixed":        {policy: fixed("m1"), fulfilled: true},
		"fixed-open":   {policy: fixed("m1")},
		"number":       {policy: number(labelled("region=east")), fulfilled: true},
		"number-open":  {policy: number()},
		"spread-open":  {policy: spreading(number(), "region", 1, hard)},
		"prefers-open": {policy: prefer(number(), 1, sortedBy(anyTerm, "nodes", v1beta1.PropertySortOrderAscending))},
	}
	nodes := clusterv1beta1.PropertyName(propertyNames["nodes"])
	for name, tc := range map[string]struct {
		before, after func(*cluster)
		created       bool
		matters       string
	}{
		"a heartbeat": {after: func(c *cluster) { c.Status.AgentStatus[0].LastReceivedHeartbeat = noonTime(0) }},
		"another observation time": {after: func(c *cluster) {
			c.Status.Properties[nodes] = clusterv1beta1.PropertyValue{Value: "2", ObservationTime: noonTime(0)}
			c.Status.ResourceUsage.ObservationTime = noonTime(0)
		}},
		"the first heartbeat after a silence": {
			before:  func(c *cluster) { silenced(c) },
			matters: "all rp all-labels all-nodes all-cpu fixed-open number-open spread-open prefers-open",
		},
		"health": {
			before:  func(c *cluster) { sick(c) },
			matters: "all rp all-labels all-nodes all-cpu fixed-open number-open spread-open prefers-open",
		},
		"sickness":             {after: func(c *cluster) { sick(c) }},
		"leaving":              {after: func(c *cluster) { c.DeletionTimestamp = &metav1.Time{Time: noon} }},
		"labels":               {after: func(c *cluster) { c.Labels["region"] = "west" }, matters: "all-labels spread-open"},
		"a taint added":        {after: func(c *cluster) { tainted(c) }},
		"a taint removed":      {before: func(c *cluster) { tainted(c) }, matters: "all rp all-labels all-nodes all-cpu number-open spread-open prefers-open"},
		"a property":           {after: func(c *cluster) { c.Status.Properties[nodes] = clusterv1beta1.PropertyValue{Value: "3"} }, matters: "all-nodes"},
		"the same, rewritten":  {after: func(c *cluster) { c.Status.Properties[nodes] = clusterv1beta1.PropertyValue{Value: "2000m"} }},
		"a property that goes": {after: func(c *cluster) { c.Status.Properties = nil }, matters: "all-nodes"},
		"usage": {
			after:   func(c *cluster) { c.Status.ResourceUsage.Available["cpu"] = resource.MustParse("7") },
			matters: "all-cpu",
		},
		"a namespace": {
			after:   func(c *cluster) { c.Status.Namespaces = map[string]string{"app": "", "other": ""} },
			matters: "rp",
		},
		"another namespace": {
			after:   func(c *cluster) { c.Status.Namespaces = map[string]string{"other": ""} },
			matters: "rp",
		},
		"another owner of a namespace": {after: func(c *cluster) { c.Status.Namespaces = map[string]string{"app": "work"} }},
		"namespaces are no longer collected": {
			after: func(c *cluster) { c.Status.Conditions = nil }, matters: "rp",
		},
		"a cluster that appears in good health": {
			created: true, matters: "all rp all-labels all-nodes all-cpu fixed-open number-open spread-open prefers-open",
		},
		"a cluster that appears": {created: true, after: func(c *cluster) { sick(c) }},
	} {
		t.Run(name, func(t *testing.T) {
			was, is := newsworthy(nodes), newsworthy(nodes)
			if tc.before != nil {
				tc.before(was)
			}
			if tc.after != nil {
				tc.after(is)
			}
			if tc.created {
				was = nil
			}
			news := NewsOf(was, is, noon)
			want := map[string]bool{}
			for _, name := range strings.Fields(tc.matters) {
				want[name] = true
			}
			for name, p := range placements {
				if got := news.Any() && news.Matters(p.policy, p.namespaced, p.fulfilled); got != want[name] {
					t.Errorf("matters to %s: %v; want %v", name, got, want[name])
				}
			}
		})
	}
}

func newsworthy(nodes clusterv1beta1.PropertyName) *clusterv1beta1.MemberCluster {
	c := member("m1", "east", "prod")
	c.Status.Properties = map[clusterv1beta1.PropertyName]clusterv1beta1.PropertyValue{nodes: {Value: "2"}}
	c.Status.ResourceUsage.Available = corev1.ResourceList{"cpu": resource.MustParse("8")}
	c.Status.Conditions = []metav1.Condition{{Type: clusterv1beta1.ConditionNamespaceCollectionSucceeded, Status: metav1.ConditionTrue}}
	c.Status.Namespaces = map[string]string{"app": ""}
	return c
}

func TestGoneClusterMattersToWhoCouldBeDecidedOtherwise(t *testing.T) {
	news := News{Gone: true}
	if !news.Any() || !news.Matters(nil, false, true) || !news.Matters(number(), false, false) || news.Matters(number(), false, true) {
		t.Error("a cluster that is gone matters to PickAll and to those that lack clusters")
	}
}
