package schedule

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

func noonTime(seconds int) metav1.Time {
	return metav1.NewTime(noon.Add(time.Duration(seconds) * time.Second))
}

// wakes reports whether the change causes another decision about the placement: the index finds it, and the change
// matters to it.
func (c ClusterChange) wakes(w Watch) bool {
	waits := w.Topics()
	return slices.ContainsFunc(c.Topics(), func(topic string) bool { return slices.Contains(waits, topic) }) && c.Matters(w)
}

func listed(clusters ...string) []v1beta1.ClusterDecision {
	var out []v1beta1.ClusterDecision
	for _, c := range clusters {
		out = append(out, v1beta1.ClusterDecision{ClusterName: c})
	}
	return out
}

func TestClusterChange(t *testing.T) {
	type cluster = clusterv1beta1.MemberCluster
	anyTerm := v1beta1.ClusterSelectorTerm{}
	wrong := v1beta1.ClusterSelectorTerm{LabelSelector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "region", Operator: "Near"}},
	}}
	placements := map[string]Watch{
		"all":           {Fulfilled: true},
		"all-listed":    {Fulfilled: true, Listed: listed("m1")},
		"rp":            {Fulfilled: true, Namespace: "app"},
		"rp-listed":     {Fulfilled: true, Namespace: "app", Listed: listed("m1")},
		"all-west":      {Policy: all(labelled("region=west")), Fulfilled: true},
		"west-listed":   {Policy: all(labelled("region=west")), Fulfilled: true, Listed: listed("m1")},
		"all-east":      {Policy: all(labelled("region=east")), Fulfilled: true},
		"all-nodes-3":   {Policy: all(having(anyTerm, "nodes Ge 3")), Fulfilled: true},
		"nodes-listed":  {Policy: all(having(anyTerm, "nodes Ge 9")), Fulfilled: true, Listed: listed("m1")},
		"all-cpu":       {Policy: all(having(anyTerm, "available-cpu Ge 9")), Fulfilled: true},
		"fixed":         {Policy: fixed("m1"), Fulfilled: true, Listed: listed("m1")},
		"fixed-open":    {Policy: fixed("m1"), Listed: listed("m1")},
		"fixed-other":   {Policy: fixed("m2"), Listed: listed("m2")},
		"number":        {Policy: number(labelled("region=west")), Fulfilled: true, Listed: listed("m1")},
		"number-west":   {Policy: number(labelled("region=west"))},
		"number-open":   {Policy: number()},
		"spread-open":   {Policy: spreading(number(), "region", 1, hard)},
		"spread-done":   {Policy: spreading(number(), "region", 1, hard), Fulfilled: true},
		"with-db":       {Policy: requiringPlacements(all(labelled("env=prod")), "with db by region"), Fulfilled: true},
		"with-cluster":  {Policy: requiringPlacements(number(labelled("env=prod")), "with db")},
		"apart-done":    {Policy: requiringPlacements(number(), "apart db by region"), Fulfilled: true},
		"prefers-open":  {Policy: prefer(number(), 1, sortedBy(anyTerm, "nodes", v1beta1.PropertySortOrderAscending))},
		"passing-open":  {Policy: enduring(number())},
		"passing-done":  {Policy: enduring(number()), Fulfilled: true},
		"tolerant-all":  {Policy: tolerating(all(), "east", "prod"), Fulfilled: true},
		"wrong-term":    {Policy: all(wrong), Fulfilled: true},
		"picked-before": {Fulfilled: true, Listed: []v1beta1.ClusterDecision{{ClusterName: "m1", Selected: true}}},
	}
	// A cluster that becomes eligible matters to every placement whose policy matches it and that needs more clusters.
	const newcomer = "all all-listed rp rp-listed all-east fixed-open number-open spread-open prefers-open passing-open tolerant-all picked-before with-db with-cluster"
	nodes := clusterv1beta1.PropertyName(propertyNames["nodes"])
	for name, tc := range map[string]struct {
		before, after func(*cluster)
		created, gone bool
		// silence is true if no event shows the change.
		silence bool
		matters string
	}{
		"a heartbeat": {after: func(c *cluster) { c.Status.AgentStatus[0].LastReceivedHeartbeat = noonTime(0) }},
		"another observation time": {after: func(c *cluster) {
			c.Status.Properties[nodes] = clusterv1beta1.PropertyValue{Value: "2", ObservationTime: noonTime(0)}
			c.Status.ResourceUsage.ObservationTime = noonTime(0)
		}},
		"the first heartbeat after a silence": {before: func(c *cluster) { silenced(c) }, matters: newcomer},
		"health":                              {before: func(c *cluster) { sick(c) }, matters: newcomer},
		"a heartbeat of a sick cluster": {
			before: func(c *cluster) { sick(c) },
			after:  func(c *cluster) { sick(c); c.Status.AgentStatus[0].LastReceivedHeartbeat = noonTime(0) },
		},
		"another sickness":      {before: func(c *cluster) { sick(c) }, after: func(c *cluster) { silenced(c) }, matters: "all-listed rp-listed fixed-open spread-open"},
		"sickness":              {after: func(c *cluster) { sick(c) }, matters: "all-listed rp-listed fixed-open"},
		"silence":               {silence: true, after: func(c *cluster) { silenced(c) }, matters: "all-listed rp-listed fixed-open spread-open"},
		"silence of a sick one": {silence: true, after: func(c *cluster) { silenced(sick(c)) }, matters: "all-listed rp-listed fixed-open spread-open"},
		"a label that fits":     {after: func(c *cluster) { c.Labels["region"] = "west" }, matters: "all-west west-listed number-west spread-open with-db"},
		"a label that fits not": {after: func(c *cluster) { c.Labels["region"] = "north" }, matters: "spread-open with-db"},
		"another label":         {after: func(c *cluster) { c.Labels["color"] = "red" }},
		"a taint added":         {after: func(c *cluster) { tainted(c) }, matters: "all-listed rp-listed"},
		"a taint removed": {
			before:  func(c *cluster) { tainted(c) },
			matters: "all all-listed rp rp-listed all-east number-open spread-open prefers-open passing-open picked-before with-db with-cluster",
		},
		// Whether the toleration is for a time is not part of the policy.
		"a taint that makes placements leave is removed": {
			before:  func(c *cluster) { evicting(c, 0) },
			matters: "all all-listed rp rp-listed all-east number-open spread-open prefers-open passing-open tolerant-all picked-before with-db with-cluster",
		},
		"a taint that makes placements leave is added": {after: func(c *cluster) { evicting(c, 0) }, matters: "all-listed rp-listed passing-open"},
		"the record of such a taint": {
			before: func(c *cluster) { evicting(c, 0).Status.Taints = nil }, after: func(c *cluster) { evicting(c, 0) },
		},
		"a property that fits":     {after: func(c *cluster) { c.Status.Properties[nodes] = clusterv1beta1.PropertyValue{Value: "3"} }, matters: "all-nodes-3"},
		"a property that fits not": {after: func(c *cluster) { c.Status.Properties[nodes] = clusterv1beta1.PropertyValue{Value: "1"} }},
		"the same, rewritten":      {after: func(c *cluster) { c.Status.Properties[nodes] = clusterv1beta1.PropertyValue{Value: "2000m"} }},
		"a property that goes":     {after: func(c *cluster) { c.Status.Properties = nil }, matters: "nodes-listed"},
		"a property that breaks": {
			after: func(c *cluster) { c.Status.Properties[nodes] = clusterv1beta1.PropertyValue{Value: "many"} }, matters: "nodes-listed",
		},
		"usage that fits":     {after: func(c *cluster) { c.Status.ResourceUsage.Available["cpu"] = resource.MustParse("9") }, matters: "all-cpu"},
		"usage that fits not": {after: func(c *cluster) { c.Status.ResourceUsage.Available["cpu"] = resource.MustParse("7") }},
		"a namespace": {
			before:  func(c *cluster) { c.Status.Namespaces = map[string]string{"other": ""} },
			matters: "rp rp-listed",
		},
		"another namespace": {after: func(c *cluster) { c.Status.Namespaces = map[string]string{"app": "", "other": ""} }},
		"the first namespaces": {
			before: func(c *cluster) { c.Status.Namespaces = nil }, matters: "rp rp-listed",
		},
		"the first namespaces, others": {
			before: func(c *cluster) { c.Status.Namespaces = nil },
			after:  func(c *cluster) { c.Status.Namespaces = map[string]string{"other": ""} }, matters: "rp-listed",
		},
		"another owner of a namespace": {after: func(c *cluster) { c.Status.Namespaces = map[string]string{"app": "work"} }},
		"namespaces are no longer collected": {
			before: func(c *cluster) { c.Status.Namespaces = nil },
			after:  func(c *cluster) { c.Status.Conditions = nil }, matters: "rp rp-listed",
		},
		"a cluster that appears in good health": {created: true, matters: newcomer + " west-listed nodes-listed"},
		"a cluster that appears":                {created: true, after: func(c *cluster) { sick(c) }, matters: "all-listed rp-listed fixed-open west-listed nodes-listed with-db"},
		"a cluster that is gone":                {gone: true, matters: "all-listed rp-listed fixed-open west-listed nodes-listed spread-open with-db"},
	} {
		t.Run(name, func(t *testing.T) {
			was, is := watchedCluster(nodes), watchedCluster(nodes)
			if tc.before != nil {
				tc.before(was)
			}
			if tc.after != nil {
				tc.after(is)
			}
			if tc.created {
				was = nil
			}
			if tc.gone {
				is = nil
			}
			change := ClusterChangeOf(was, is, noon)
			if tc.silence {
				change = ClusterSilence(is, noon)
			}
			want := map[string]bool{}
			for _, name := range strings.Fields(tc.matters) {
				want[name] = true
			}
			for name, watch := range placements {
				if got := change.wakes(watch); got != want[name] {
					t.Errorf("wakes %s: %v; want %v", name, got, want[name])
				}
			}
		})
	}
}

func watchedCluster(nodes clusterv1beta1.PropertyName) *clusterv1beta1.MemberCluster {
	c := member("m1", "east", "prod")
	c.Status.Properties = map[clusterv1beta1.PropertyName]clusterv1beta1.PropertyValue{nodes: {Value: "2"}}
	c.Status.ResourceUsage.Available = corev1.ResourceList{"cpu": resource.MustParse("8")}
	c.Status.Conditions = []metav1.Condition{{Type: clusterv1beta1.ConditionNamespaceCollectionSucceeded, Status: metav1.ConditionTrue}}
	c.Status.Namespaces = map[string]string{"app": ""}
	return c
}

// A placement that waits for nothing is in no index, and one that waits for one cluster only under its name.
func TestTopics(t *testing.T) {
	for name, tc := range map[string]struct {
		watch Watch
		want  string
	}{
		"everything that is found": {Watch{Policy: number(), Fulfilled: true}, ""},
		"two names":                {Watch{Policy: fixed("a", "b")}, "name/a name/b"},
		"a term": {
			Watch{Policy: all(having(labelled("region=east"), "nodes Ge 2")), Fulfilled: true, Namespace: "app"},
			"fleet label/region namespace/ namespace/app property/kubernetes-fleet.io/node-count taints",
		},
		"terms about placements": {
			Watch{Policy: preferringPlacements(requiringPlacements(number(), "with db by zone", "apart web"), 1, "with db by region")}, "fleet label/zone taints",
		},
		"a spread": {Watch{Policy: spreading(number(), "zone", 1, soft)}, "fleet label/zone taints"},
	} {
		if got := strings.Join(tc.watch.Topics(), " "); got != tc.want {
			t.Errorf("%s: got %q; want %q", name, got, tc.want)
		}
	}
}

// unlimitedIn is a policy as its snapshot has it.
func unlimitedIn(policy *v1beta1.PlacementPolicy) *v1beta1.PlacementPolicy {
	policy = policy.DeepCopy()
	for i := range policy.Tolerations {
		policy.Tolerations[i].TolerationSeconds = nil
	}
	return policy
}

// Every change of a cluster that would lead to another decision must matter.
func TestClusterChangesMissNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, namespace: rapid.SampledFrom([]string{"", "app"}).Draw(rt, "namespace"), clusters: map[string]*clusterv1beta1.MemberCluster{}, snapshot: 1}
		w.policy, w.number, w.others = anyPolicy(rt), rapid.IntRange(0, 6).Draw(rt, "number"), anyOthers(rt)
		w.join(rapid.SliceOfNDistinct(rapid.Custom(anyCluster), 0, 6, func(c *clusterv1beta1.MemberCluster) string { return c.Name }).Draw(rt, "fleet")...)
		before := w.decide()
		is := anyCluster(rt)
		was := w.clusters[is.Name]
		if is.DeletionTimestamp != nil {
			return // the agent ignores a leaving cluster until it is gone; see below
		}
		w.clusters[is.Name] = is
		after := Decide(w.request())
		watch := Watch{Policy: unlimitedIn(w.policy), Namespace: w.namespace, Fulfilled: before.Fulfilled(), Listed: before.Clusters}
		woken := ClusterChangeOf(was, is, noon).wakes(watch)
		if was != nil {
			change := failover.Change{Was: was, Is: is, Now: noon}
			bound := slices.ContainsFunc(w.bindings, func(b Binding) bool { return b.Cluster == is.Name })
			woken = woken || change.Matters() && (before.Waiting || bound && change.Concerns(failover.Settings{Tainted: true}))
		}
		if len(after.Create)+len(after.Change) > 0 && !woken {
			rt.Fatalf("change %+v matters to no placement, after %+v", after, before)
		}
	})
}
