package schedule

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// TestDecisionsHoldTheirPromises applies random changes to the fleet, the policy and the bindings of a placement, and
// checks every decision.
func TestDecisionsHoldTheirPromises(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, namespace: rapid.SampledFrom([]string{"", "app"}).Draw(rt, "namespace"), clusters: map[string]*clusterv1beta1.MemberCluster{}, snapshot: 1}
		if rapid.Bool().Draw(rt, "failover") {
			w.failover = &v1beta1.Failover{
				After:    metav1.Duration{Duration: rapid.SampledFrom([]time.Duration{time.Minute, 5 * time.Minute, 2 * time.Hour}).Draw(rt, "after")},
				Failback: rapid.SampledFrom([]v1beta1.FailbackPolicy{v1beta1.FailbackNever, v1beta1.FailbackWhenHealthy}).Draw(rt, "failback"),
			}
		}
		w.policy, w.number, w.others = anyPolicy(rt), rapid.IntRange(0, 6).Draw(rt, "number"), anyOthers(rt)
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			w.disturb(rt)
			before := w.request()
			d := w.decide()
			w.check(rt, before, d)
		}
	})
}

// disturb changes the world in some ways.
func (w *world) disturb(t *rapid.T) {
	for range rapid.IntRange(0, 6).Draw(t, "clusters") {
		c := anyCluster(t)
		if rapid.IntRange(0, 3).Draw(t, "leaves") == 0 {
			delete(w.clusters, c.Name)
		} else {
			w.clusters[c.Name] = c
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "edit") == 0 {
		w.snapshot++
		w.policy, w.listed = anyPolicy(t), nil
	}
	if rapid.IntRange(0, 2).Draw(t, "scale") == 0 {
		w.number = rapid.IntRange(0, 6).Draw(t, "number")
	}
	if w.policy.PlacementType == v1beta1.PlacementTypePickFixed && len(w.policy.ClusterNames) == 0 {
		w.policy.ClusterNames = []string{"a"}
	}
	if rapid.IntRange(0, 2).Draw(t, "others") == 0 {
		w.others = anyOthers(t)
	}
	for i := range w.bindings {
		switch rapid.IntRange(0, 5).Draw(t, "binding") {
		case 0:
			if w.bindings[i].State == v1beta1.BindingStateScheduled {
				w.bind(w.bindings[i].Cluster)
			}
		case 1:
			w.bindings[i].Deleting = true
		case 2:
			w.bindings[i].Available = w.bindings[i].Placed
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "twin") == 0 && len(w.bindings) > 0 {
		twin := w.bindings[0]
		w.made++
		twin.Name = fmt.Sprintf("b%03d-%s", w.made, twin.Cluster)
		w.bindings = append(w.bindings, twin)
	}
}

func (w *world) check(t *rapid.T, before Request, d Decision) {
	live := map[string]bool{}
	for _, b := range w.bindings {
		if b.State == v1beta1.BindingStateUnscheduled {
			continue
		}
		if live[b.Cluster] {
			t.Fatalf("cluster %s has two living bindings", b.Cluster)
		}
		live[b.Cluster] = true
		if w.clusters[b.Cluster] == nil {
			t.Fatalf("binding %s is to cluster %s, which is gone", b.Name, b.Cluster)
		}
		if b.Snapshot != before.Snapshot {
			t.Fatalf("binding %s names policy %s; the latest is %s", b.Name, b.Snapshot, before.Snapshot)
		}
	}
	if w.policy.PlacementType == v1beta1.PlacementTypePickN && len(live) > w.number {
		t.Fatalf("%d clusters are chosen; %d are wanted", len(live), w.number)
	}
	w.checkPicks(t, before, live)
	selected := 0
	for i, c := range d.Clusters {
		if c.Selected {
			selected++
			if i >= selected {
				t.Fatalf("chosen cluster %s is listed after others", c.ClusterName)
			}
		}
		if c.Selected != (live[c.ClusterName] && !w.mustLeave(c.ClusterName)) {
			t.Fatalf("cluster %s is reported as chosen: %v; it has a living binding: %v", c.ClusterName, c.Selected, live[c.ClusterName])
		}
	}
	staying := 0
	for name := range live {
		if !w.mustLeave(name) {
			staying++
		}
	}
	if w.policy.PlacementType != v1beta1.PlacementTypePickFixed && selected != staying {
		t.Fatalf("%d clusters are reported as chosen; %d are", selected, staying)
	}
	w.checkExchanges(t, before, d, live)
	if others := len(d.Clusters) - selected; others > mostUnselected {
		t.Fatalf("%d other clusters are reported", others)
	}
}

// mustLeave reports whether the placement has to leave a cluster.
func (w *world) mustLeave(cluster string) bool {
	rules := exchangesOf(w.request(), w.policy, slices.Collect(maps.Values(w.clusters))).rules
	return rules != nil && rules.LeaveOf(w.clusters[cluster]).Now
}

// checkExchanges checks what the placement left, and that nothing is left for a cluster without a binding.
func (w *world) checkExchanges(t *rapid.T, before Request, d Decision, live map[string]bool) {
	for _, left := range d.Left {
		if !live[left.With] || live[left.Cluster] {
			t.Fatalf("left %s for %s; living: %v", left.Cluster, left.With, live)
		}
		if failover.Braked(before.Clusters) && left.Reason != failover.Tainted && w.clusters[left.Cluster].Status.Silence.State != clusterv1beta1.SilenceReleased {
			t.Fatalf("left %s for %s, although the hub suspects its network", left.Cluster, left.With)
		}
		if left.Reason != failover.Failback && !w.mustLeave(left.Cluster) {
			t.Fatalf("left %s for %s, although nothing is wrong there", left.Cluster, left.With)
		}
		if left.Reason != failover.Failback && liveness.Of(w.clusters[left.With], noon) != liveness.Heard {
			t.Fatalf("left %s for %s, which is not heard", left.Cluster, left.With)
		}
		if left.Reason == failover.Tainted && liveness.Of(w.clusters[left.Cluster], noon) != liveness.Heard {
			t.Fatalf("left %s because of a taint, and it is not heard", left.Cluster)
		}
		if w.failover == nil && left.Reason != failover.Tainted {
			t.Fatalf("left %s: %s, without a failover policy", left.Cluster, left.Reason)
		}
	}
	for _, b := range w.bindings {
		if e := b.ReplacedBy; e != nil && b.State != v1beta1.BindingStateUnscheduled {
			t.Fatalf("binding to %s is replaced by %s and living", b.Cluster, e.With)
		}
	}
}

// checkPicks checks clusters that were not picked, for this policy, before.
func (w *world) checkPicks(t *rapid.T, before Request, live map[string]bool) {
	fs := filtersOf(w.policy, w.namespace).knowing(othersOf(before))
	for name := range live {
		if slices.ContainsFunc(before.Bindings, func(b Binding) bool {
			return b.Cluster == name && !b.Deleting && b.Snapshot == before.Snapshot && b.State != v1beta1.BindingStateUnscheduled
		}) {
			continue
		}
		cluster, check := w.clusters[name], fs.objection
		has := func(such func(b Binding) bool) bool {
			return slices.ContainsFunc(before.Bindings, func(b Binding) bool { return b.Cluster == name && such(b) })
		}
		if has(func(b Binding) bool {
			return b.living() && (unheard(cluster, noon) || b.CarriedOver && !Decidable(cluster, noon))
		}) {
			continue // it stays from an older policy
		}
		if unheard(cluster, noon) && has(func(b Binding) bool { return b.State == v1beta1.BindingStateUnscheduled && b.Placed }) {
			check = fs.objectionIfHeard // it is taken up again as it is
		}
		if why := check(cluster, noon); why != nil {
			t.Fatalf("cluster %s was chosen although %s", name, why.Reason())
		}
		if w.policy.PlacementType != v1beta1.PlacementTypePickN {
			continue
		}
		l := failover.Rules{Tolerations: w.policy.Tolerations, Now: noon}.Tainted(cluster)
		if l.Reason != "" && (l.Now || !has(func(b Binding) bool { return b.living() })) {
			t.Fatalf("cluster %s was chosen although it must be left because of %+v", name, l.Taint)
		}
	}
}

func anyCluster(t *rapid.T) *clusterv1beta1.MemberCluster {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	c := member(pick("name", "a", "b", "c", "d", "e", "f", "g", "h"), pick("region", "", "east", "west"), pick("env", "prod", "canary"))
	switch pick("state", "well", "well", "well", "sick", "silent", "lost", "lost", "braked", "back", "away", "leaving", "tainted",
		"evicting", "evicting", "evicting and silent", "collects", "has") {
	case "sick":
		sick(c)
	case "silent":
		silenced(c)
	case "lost":
		lostFor(c, 6*time.Minute)
	case "braked":
		lostFor(c, 6*time.Minute).Status.Silence.State = clusterv1beta1.SilenceBraked
	case "back":
		back(lostFor(c, time.Hour), rapid.SampledFrom([]time.Duration{0, 11 * time.Minute}).Draw(t, "back for"))
	case "away":
		away(lostFor(c, 6*time.Minute))
	case "leaving":
		c.DeletionTimestamp = &metav1.Time{Time: noon}
	case "tainted":
		tainted(c)
	case "evicting":
		evicting(c, rapid.SampledFrom([]time.Duration{0, 20 * time.Second, time.Hour}).Draw(t, "evicting for"))
		if rapid.IntRange(0, 4).Draw(t, "recorded") == 0 {
			c.Status.Taints = nil
		}
	case "evicting and silent":
		evicting(lostFor(c, 6*time.Minute), time.Minute)
	case "collects":
		c.Status.Conditions = []metav1.Condition{{Type: clusterv1beta1.ConditionNamespaceCollectionSucceeded, Status: metav1.ConditionTrue}}
	case "has":
		c.Status.Conditions = []metav1.Condition{{Type: clusterv1beta1.ConditionNamespaceCollectionSucceeded, Status: metav1.ConditionTrue}}
		c.Status.Namespaces = map[string]string{"app": ""}
	}
	c.Status.Properties = map[clusterv1beta1.PropertyName]clusterv1beta1.PropertyValue{
		clusterv1beta1.PropertyName(propertyNames["nodes"]): {Value: pick("nodes", "1", "2", "3", "many")},
	}
	return c
}

func anyPolicy(t *rapid.T) *v1beta1.PlacementPolicy {
	flip := func(label string) bool { return rapid.Bool().Draw(t, label) }
	var terms []v1beta1.ClusterSelectorTerm
	if flip("east") {
		terms = append(terms, labelled("region=east"))
	}
	if flip("nodes") {
		terms = append(terms, having(v1beta1.ClusterSelectorTerm{}, "nodes Ge 2"))
	}
	var placements []string
	for flip("about placements") && len(placements) < 2 {
		placements = append(placements, rapid.SampledFrom(termsAboutPlacements).Draw(t, "term"))
	}
	switch rapid.IntRange(0, 2).Draw(t, "type") {
	case 0:
		return fixed(rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "ghost"}), 1, 4, rapid.ID).Draw(t, "names")...)
	case 1:
		return requiringPlacements(tolerating(all(terms...), "east", "prod"), placements...)
	}
	p := requiringPlacements(number(terms...), placements...)
	if flip("prefer placements") {
		p = preferringPlacements(p, 20, rapid.SampledFrom(termsAboutPlacements).Draw(t, "preferred term"))
	}
	if flip("endure") {
		enduring(p, rapid.SampledFrom([]int64{0, 30, 60}).Draw(t, "seconds"))
	} else if flip("endure for ever") {
		enduring(p)
	}
	if flip("prefer") {
		p = prefer(p, 10, labelled("env=prod"))
	}
	if flip("sort") {
		p = prefer(p, 50, sortedBy(v1beta1.ClusterSelectorTerm{}, "nodes", v1beta1.PropertySortOrderAscending))
	}
	if flip("spread") {
		p = spreading(p, "region", rapid.Int32Range(1, 2).Draw(t, "skew"), hard)
	}
	if flip("spread softly") {
		p = spreading(p, "env", 1, soft)
	}
	return p
}

var termsAboutPlacements = []string{"with db", "with db by region", "apart db", "apart db by region", "with tier=back", "apart tier=back by env",
	"apart all", "apart p", "with cache"}

// anyOthers are some of the placements that the terms select.
func anyOthers(t *rapid.T) (out []Placement) {
	clusters := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "gone"}), 0, 3, rapid.ID)
	for _, p := range []Placement{other("cache", "back"), other("db", ""), other("p", "back"), other("queue", "back")} {
		if rapid.IntRange(0, 3).Draw(t, p.Name+" exists") > 0 {
			p.Clusters = clusters.Draw(t, "clusters of "+p.Name)
			out = append(out, p)
		}
	}
	return out
}
