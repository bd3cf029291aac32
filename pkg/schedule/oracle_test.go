package schedule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// The oracle decides PickAll and PickN again, by brute force and according to the contract, with none of the tested
// code: it counts domains by iterating over the fleet, measures a skew before and after a pick, and finds the best
// cluster by comparing all with all. Policies are from oraclePolicy, so the oracle needs to understand only labels and
// numbers.
type oracle struct {
	policy   oraclePolicy
	clusters map[string]*clusterv1beta1.MemberCluster
	others   []Placement
	// chosen are the clusters with scheduled or bound bindings of this policy, old those with bindings of an older
	// one.
	chosen, old map[string]bool
}

// oraclePolicy is a simplified policy.
type oraclePolicy struct {
	pickN bool
	n     int
	// region and env, if not empty, are required; nodes is the required minimum, 0 for none.
	region, env string
	nodes       int
	// prod is the weight of env=prod, fewest the weight of the fewest nodes.
	prod, fewest int
	spread       []oracleSpread
	tolerates    bool
	// with and apart are the labels by which placement db is followed and avoided, "cluster" for none, and empty for not
	// at all. near is the weight of its clusters.
	with, apart string
	near        int
}

type oracleSpread struct {
	key  string
	skew int
	hard bool
}

func (p oraclePolicy) real() *v1beta1.PlacementPolicy {
	var term v1beta1.ClusterSelectorTerm
	var labels []string
	if p.region != "" {
		labels = append(labels, "region="+p.region)
	}
	if p.env != "" {
		labels = append(labels, "env="+p.env)
	}
	if len(labels) > 0 {
		term = labelled(labels...)
	}
	if p.nodes > 0 {
		term = having(term, fmt.Sprintf("nodes Ge %d", p.nodes))
	}
	out := all(term)
	if p.pickN {
		out = number(term)
		out = prefer(out, int32(p.prod), labelled("env=prod"))
		out = prefer(out, int32(p.fewest), sortedBy(v1beta1.ClusterSelectorTerm{}, "nodes", v1beta1.PropertySortOrderAscending))
		for _, s := range p.spread {
			otherwise := corev1.ScheduleAnyway
			if s.hard {
				otherwise = corev1.DoNotSchedule
			}
			out = spreading(out, s.key, int32(s.skew), otherwise)
		}
	}
	by := func(key string) string {
		if key == "cluster" {
			return ""
		}
		return " by " + key
	}
	if p.with != "" {
		out = requiringPlacements(out, "with db"+by(p.with))
	}
	if p.apart != "" {
		out = requiringPlacements(out, "apart tier=back"+by(p.apart))
	}
	if p.pickN && p.near != 0 {
		out = preferringPlacements(out, int32(p.near), "with db")
	}
	if p.tolerates {
		out.Tolerations = []v1beta1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	return out
}

// nodes is the reported number of nodes, -1 if there is none or it is not a number.
func (o *oracle) nodes(c *clusterv1beta1.MemberCluster) int {
	n := -1
	if value, ok := c.Status.Properties[clusterv1beta1.PropertyName("kubernetes-fleet.io/node-count")]; ok {
		if _, err := fmt.Sscanf(value.Value, "%d", &n); err != nil {
			n = -1
		}
	}
	return n
}

func (o *oracle) passes(c *clusterv1beta1.MemberCluster) bool {
	p := o.policy
	return alive(c) && (p.region == "" || c.Labels["region"] == p.region) && (p.env == "" || c.Labels["env"] == p.env) &&
		(p.nodes == 0 || o.nodes(c) >= p.nodes) && (p.tolerates || len(c.Spec.Taints) == 0) &&
		(p.with == "" || o.meets(c, p.with, func(p Placement) bool { return p.Name == "db" })) &&
		(p.apart == "" || !o.meets(c, p.apart, func(p Placement) bool { return p.Name != "p" && p.Labels["tier"] == "back" }))
}

// meets reports whether one of these placements has picked the cluster, or one with the same value of the label.
func (o *oracle) meets(c *clusterv1beta1.MemberCluster, key string, these func(Placement) bool) bool {
	return slices.ContainsFunc(o.others, func(p Placement) bool {
		return these(p) && slices.ContainsFunc(p.Clusters, func(name string) bool {
			there := o.clusters[name]
			if there == nil || key == "cluster" {
				return name == c.Name
			}
			mine, labelled := c.Labels[key]
			theirs, has := there.Labels[key]
			return labelled && has && mine == theirs
		})
	})
}

// alive reports whether a cluster is connected and well.
func alive(c *clusterv1beta1.MemberCluster) bool {
	agent := c.Status.AgentStatus[0]
	return c.DeletionTimestamp == nil && fresh(c) && agent.Conditions[0].Status == "True" && agent.Conditions[1].Status == "True"
}

func (o *oracle) affinity(c *clusterv1beta1.MemberCluster) int {
	sum := 0
	if c.Labels["env"] == "prod" {
		sum += o.policy.prod
	}
	if o.meets(c, "cluster", func(p Placement) bool { return p.Name == "db" }) {
		sum += o.policy.near
	}
	low, high := 1<<30, -1
	for _, other := range o.clusters {
		if n := o.nodes(other); n >= 0 {
			low, high = min(low, n), max(high, n)
		}
	}
	if n := o.nodes(c); n >= 0 && high > low {
		share := float64(o.policy.fewest) * (1 - float64(n-low)/float64(high-low))
		rounded := int(share + 0.5)
		if share < 0 {
			rounded = -int(-share + 0.5)
		}
		sum += rounded
	}
	return sum
}

// fresh reports whether the last heartbeat of a cluster is not too old.
func fresh(c *clusterv1beta1.MemberCluster) bool {
	return noon.Sub(c.Status.AgentStatus[0].LastReceivedHeartbeat.Time).Minutes() <= 5
}

// skew is the difference between the fullest and the emptiest domain of key that is not silent, with one more chosen
// cluster if extra is not empty.
func (o *oracle) skew(key, extra string) (skew, domains int) {
	silent := map[string]bool{}
	for _, c := range o.clusters {
		if value, ok := c.Labels[key]; ok && !fresh(c) {
			silent[value] = true
		}
	}
	for _, c := range o.clusters {
		if c.DeletionTimestamp == nil && fresh(c) {
			delete(silent, c.Labels[key])
		}
	}
	counts := map[string]int{}
	for name, c := range o.clusters {
		value, ok := c.Labels[key]
		if !ok || silent[value] {
			continue
		}
		counts[value] += 0
		if o.chosen[name] || name == extra {
			counts[value]++
		}
	}
	if len(counts) == 0 {
		return 0, 0
	}
	all := slices.Sorted(maps.Values(counts))
	return all[len(all)-1] - all[0], len(counts)
}

// spread is the topology score of a candidate; ok is false if a DoNotSchedule constraint forbids it.
func (o *oracle) spread(c *clusterv1beta1.MemberCluster) (score int, ok bool) {
	for _, s := range o.policy.spread {
		if _, has := c.Labels[s.key]; !has {
			continue
		}
		before, domains := o.skew(s.key, "")
		after, _ := o.skew(s.key, c.Name)
		if domains == 1 {
			after = before + 1 // in the contract, balanced domains, even a single one, become less balanced
		}
		switch {
		case after > s.skew && s.hard:
			return 0, false
		case after > s.skew:
			score -= 1000
		default:
			score -= after - before
		}
	}
	return score, true
}

// picks are cluster=affinity/spread of the clusters to add, as the contract's cycles would, all of them here.
func (o *oracle) picks() map[string]string {
	out := map[string]string{}
	if !o.policy.pickN {
		for name, c := range o.clusters {
			if !o.chosen[name] && o.passes(c) {
				out[name] = "0/0"
			}
		}
		return out
	}
	for len(o.chosen) < o.policy.n {
		best, score := o.best()
		if best == "" {
			break
		}
		out[best] = score
		o.chosen[best] = true
	}
	return out
}

// best is the best cluster to add and its affinity/spread; empty if there is none.
func (o *oracle) best() (best, shown string) {
	bestScore := [3]int{}
	for name, c := range o.clusters {
		if o.chosen[name] || !o.passes(c) {
			continue
		}
		spread, ok := o.spread(c)
		if !ok {
			continue
		}
		score := [3]int{spread, o.affinity(c), 0}
		if o.old[name] {
			score[2] = 1
		}
		order := slices.Compare(score[:], bestScore[:])
		if best == "" || order > 0 || order == 0 && name > best {
			best, bestScore = name, score
		}
	}
	return best, fmt.Sprintf("%d/%d", bestScore[1], bestScore[0])
}

// evicts reports whether a cluster that is heard has a taint that makes placements leave it.
func (o *oracle) evicts(name string) bool {
	c := o.clusters[name]
	return o.policy.pickN && !o.policy.tolerates && c.DeletionTimestamp == nil && fresh(c) &&
		slices.ContainsFunc(c.Spec.Taints, func(t clusterv1beta1.Taint) bool { return t.Evict })
}

// leave exchanges chosen clusters whose taints the hub has seen for others, the oldest taint first, and then by name.
func (o *oracle) leave() (in map[string]string, left map[string]bool) {
	in, left = map[string]string{}, map[string]bool{}
	due := slices.DeleteFunc(slices.Sorted(maps.Keys(o.chosen)), func(name string) bool {
		return !o.evicts(name) || len(o.clusters[name].Status.Taints) == 0
	})
	slices.SortStableFunc(due, func(a, b string) int {
		return o.clusters[a].Status.Taints[0].Since.Compare(o.clusters[b].Status.Taints[0].Since.Time)
	})
	for _, name := range due {
		delete(o.chosen, name)
		by, score := o.best()
		if by == "" {
			o.chosen[name] = true
			continue
		}
		in[by], left[name], o.chosen[by] = score, true, true
	}
	return in, left
}

// silent reports whether the hub gets no heartbeats of a cluster that is not leaving.
func (o *oracle) silent(name string) bool {
	c := o.clusters[name]
	return c.DeletionTimestamp == nil && !fresh(c)
}

// stay keeps silent clusters of an older policy picked, except those that exceed the number.
func (o *oracle) stay(bindings []Binding) map[string]bool {
	silent := map[string]bool{}
	for name := range o.old {
		if o.silent(name) {
			silent[name] = true
		}
	}
	for spare := len(o.chosen) + len(o.old) - o.policy.n; o.policy.pickN && spare > 0 && len(silent) > 0; spare-- {
		var worst *Binding
		for i, b := range bindings {
			if silent[b.Cluster] && b.living() && (worst == nil || lower(b, *worst)) {
				worst = &bindings[i]
			}
		}
		delete(silent, worst.Cluster)
	}
	for name := range silent {
		delete(o.old, name)
		o.chosen[name] = true
	}
	return silent
}

// drops are the clusters to remove because fewer are desired: silent ones first, then those with a taint that makes
// placements leave, and within each class the lowest first.
func (o *oracle) drops(bindings []Binding) map[string]bool {
	lower := func(a, b Binding) bool {
		if o.silent(a.Cluster) != o.silent(b.Cluster) {
			return o.silent(a.Cluster)
		}
		if o.evicts(a.Cluster) != o.evicts(b.Cluster) {
			return o.evicts(a.Cluster)
		}
		return lower(a, b)
	}
	out := map[string]bool{}
	for len(o.chosen)-len(out) > o.policy.n {
		var worst *Binding
		for i, b := range bindings {
			if o.chosen[b.Cluster] && !out[b.Cluster] && (worst == nil || lower(b, *worst)) {
				worst = &bindings[i]
			}
		}
		out[worst.Cluster] = true
	}
	return out
}

func lower(a, b Binding) bool {
	key := func(b Binding) []int {
		k := []int{0, 0, 0, 0}
		if b.State == v1beta1.BindingStateBound {
			k[0] = 1
		}
		if s := b.Decision.ClusterScore; s != nil {
			k[1], k[2], k[3] = 1, int(*s.TopologySpreadScore), int(*s.AffinityScore)
		}
		return k
	}
	order := slices.Compare(key(a), key(b))
	return order < 0 || order == 0 && a.Cluster < b.Cluster
}

// zonedCluster is in one of so many zones that some can be level and others not.
func zonedCluster(t *rapid.T) *clusterv1beta1.MemberCluster {
	c := anyCluster(t)
	if zone := rapid.SampledFrom([]string{"", "1", "2", "3", "4"}).Draw(t, "zone"); zone != "" {
		c.Labels["zone"] = zone
	}
	return c
}

func anyOraclePolicy(t *rapid.T) oraclePolicy {
	p := oraclePolicy{
		pickN:     rapid.IntRange(0, 3).Draw(t, "type") > 0,
		n:         rapid.IntRange(0, 7).Draw(t, "n"),
		region:    rapid.SampledFrom([]string{"", "", "east"}).Draw(t, "required region"),
		env:       rapid.SampledFrom([]string{"", "", "prod"}).Draw(t, "required env"),
		nodes:     rapid.IntRange(0, 2).Draw(t, "required nodes"),
		prod:      rapid.SampledFrom([]int{0, 10, -10}).Draw(t, "prod"),
		fewest:    rapid.SampledFrom([]int{0, 25, 7, -25}).Draw(t, "fewest"),
		tolerates: rapid.Bool().Draw(t, "tolerates"),
		with:      rapid.SampledFrom([]string{"", "", "", "cluster", "region"}).Draw(t, "with"),
		apart:     rapid.SampledFrom([]string{"", "", "", "cluster", "zone"}).Draw(t, "apart"),
		near:      rapid.SampledFrom([]int{0, 0, 15, -15}).Draw(t, "near"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "constraints") {
		p.spread = append(p.spread, oracleSpread{
			key:  rapid.SampledFrom([]string{"zone", "zone", "env"}).Draw(t, "key"),
			skew: rapid.IntRange(1, 2).Draw(t, "skew"),
			hard: rapid.Bool().Draw(t, "hard"),
		})
	}
	return p
}

// TestDecisionsAreTheOracles applies changes to small fleets and compares every decision with the oracle's.
func TestDecisionsAreTheOracles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, clusters: map[string]*clusterv1beta1.MemberCluster{}, snapshot: 1}
		policy := anyOraclePolicy(rt)
		w.join(rapid.SliceOfN(rapid.Custom(zonedCluster), 4, 10).Draw(rt, "fleet")...)
		for range rapid.IntRange(1, 4).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 4:
				w.others = anyOthers(rt)
			case 0:
				policy = anyOraclePolicy(rt)
				w.snapshot, w.listed = w.snapshot+1, nil
			case 1:
				policy.n = rapid.IntRange(0, 7).Draw(rt, "another n")
			case 2:
				w.join(rapid.SliceOfN(rapid.Custom(zonedCluster), 0, 3).Draw(rt, "changed")...)
			case 3:
				for i := range w.bindings {
					if rapid.Bool().Draw(rt, "bound") && w.bindings[i].State == v1beta1.BindingStateScheduled {
						w.bind(w.bindings[i].Cluster)
					}
				}
			}
			w.policy, w.number = policy.real(), policy.n
			w.compare(rt, policy)
		}
	})
}

func (w *world) compare(t *rapid.T, policy oraclePolicy) {
	before := w.request()
	o := &oracle{policy: policy, clusters: w.clusters, others: w.others, chosen: map[string]bool{}, old: map[string]bool{}}
	for _, b := range before.Bindings {
		c := w.clusters[b.Cluster]
		switch {
		case b.State == v1beta1.BindingStateUnscheduled || c == nil:
		case b.Snapshot == before.Snapshot && (!b.CarriedOver || !alive(c)):
			o.chosen[b.Cluster] = true
		default:
			o.old[b.Cluster] = true
		}
	}
	stays := o.stay(before.Bindings)
	was := maps.Clone(o.chosen)
	var drops, left map[string]bool
	want := map[string]string{}
	if policy.pickN {
		drops = o.drops(before.Bindings)
		maps.DeleteFunc(o.chosen, func(name string, _ bool) bool { return drops[name] })
		want, left = o.leave()
	}
	maps.Copy(want, o.picks())
	d := w.decide()
	got := map[string]string{}
	for _, c := range d.Create {
		got[c.ClusterName] = strings.TrimPrefix(verdicts([]v1beta1.ClusterDecision{c}, true), c.ClusterName+":")
	}
	for _, c := range d.Change {
		if c.State != v1beta1.BindingStateUnscheduled && stays[c.Decision.ClusterName] {
			delete(stays, c.Decision.ClusterName)
		} else if c.State != v1beta1.BindingStateUnscheduled {
			got[c.Decision.ClusterName] = strings.TrimPrefix(verdicts([]v1beta1.ClusterDecision{c.Decision}, true), c.Decision.ClusterName+":")
		}
	}
	if len(stays) > 0 {
		t.Fatalf("clusters that are not heard do not stay: %v", stays)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("picked %v; the oracle picks %v", got, want)
	}
	for _, b := range before.Bindings {
		if was[b.Cluster] && b.Snapshot == before.Snapshot && b.State != v1beta1.BindingStateUnscheduled {
			if gone := w.binding(b.Name).State == v1beta1.BindingStateUnscheduled; gone != (drops[b.Cluster] || left[b.Cluster]) {
				t.Fatalf("cluster %s is given up: %v; the oracle gives up %v and leaves %v", b.Cluster, gone, drops, left)
			}
		}
	}
	w.endExchanges()
}

// endExchanges does what the roller does when all is available: the oracle knows nothing of exchanges of before.
func (w *world) endExchanges() {
	w.bindings = slices.DeleteFunc(w.bindings, func(b Binding) bool { return b.ReplacedBy != nil })
	for i := range w.bindings {
		w.bindings[i].Replaces = nil
	}
}
