package schedule

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/removal"
)

// noon is the time of the decision in all tests.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// member is a healthy cluster of region and env, or one without labels.
func member(name, region, env string) *clusterv1beta1.MemberCluster {
	healthy := []metav1.Condition{
		{Type: clusterv1beta1.ConditionJoined, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon.Add(-time.Hour))},
		{Type: clusterv1beta1.ConditionHealthy, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon.Add(-time.Hour))},
	}
	labels := map[string]string{}
	if region != "" {
		labels = map[string]string{"region": region, "env": env}
	}
	return &clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Status: clusterv1beta1.MemberClusterStatus{AgentStatus: []clusterv1beta1.AgentStatus{{
			Type:                  clusterv1beta1.AgentTypeMemberAgent,
			Conditions:            healthy,
			LastReceivedHeartbeat: metav1.NewTime(noon.Add(-time.Second)),
		}}},
	}
}

func silenced(c *clusterv1beta1.MemberCluster) *clusterv1beta1.MemberCluster {
	c.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(noon.Add(-time.Hour))
	return c
}

// overdue has missed one heartbeat.
func overdue(c *clusterv1beta1.MemberCluster) *clusterv1beta1.MemberCluster {
	c.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(noon.Add(-2 * time.Minute))
	return c
}

func heard(c *clusterv1beta1.MemberCluster) *clusterv1beta1.MemberCluster {
	c.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(noon)
	return c
}

func sick(c *clusterv1beta1.MemberCluster) *clusterv1beta1.MemberCluster {
	c.Status.AgentStatus[0].Conditions[1].Status = metav1.ConditionFalse
	return c
}

func gone(c *clusterv1beta1.MemberCluster) *clusterv1beta1.MemberCluster {
	c.Status.AgentStatus[0].Conditions[0].Status = metav1.ConditionFalse
	return c
}

func tainted(c *clusterv1beta1.MemberCluster) *clusterv1beta1.MemberCluster {
	c.Spec.Taints = []clusterv1beta1.Taint{{Key: c.Labels["region"], Value: c.Labels["env"], Effect: corev1.TaintEffectNoSchedule}}
	return c
}

// failer is a test of either kind.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// world is a fleet with the bindings of one placement. It carries decisions out as the scheduler does.
type world struct {
	t         failer
	namespace string
	clusters  map[string]*clusterv1beta1.MemberCluster
	bindings  []Binding
	listed    []v1beta1.ClusterDecision
	policy    *v1beta1.PlacementPolicy
	number    int
	snapshot  int
	made      int
	failover  *v1beta1.Failover
	asked     time.Time
	others    []Placement
	external  bool
	run       string
	removal   removal.Policy
	held      *v1beta1.HeldRemoval
	released  []string
}

// newWorld is the fleet of scenarios.md, section 20.
func newWorld(t testing.TB, namespace string) *world {
	w := &world{t: t, namespace: namespace, clusters: map[string]*clusterv1beta1.MemberCluster{}, snapshot: 1}
	w.join(
		member("m1", "east", "prod"), member("m2", "east", "prod"), member("m3", "east", "canary"),
		member("m4", "central", "prod"), member("m5", "central", "prod"),
		member("m6", "west", "prod"), member("m7", "west", "canary"),
		sick(member("m8", "east", "prod")), gone(member("m9", "central", "prod")),
	)
	return w
}

func (w *world) join(clusters ...*clusterv1beta1.MemberCluster) {
	for _, c := range clusters {
		w.clusters[c.Name] = c
	}
}

func (w *world) taint(names ...string) {
	for _, name := range names {
		tainted(w.clusters[name])
	}
}

// use makes policy the latest snapshot.
func (w *world) use(policy *v1beta1.PlacementPolicy) {
	if w.policy != nil || w.made > 0 {
		w.snapshot++
		w.listed, w.held = nil, nil
	}
	w.policy = policy
}

func (w *world) request() Request {
	r := Request{
		Policy: w.policy, Snapshot: fmt.Sprint("p-", w.snapshot), Number: w.number, Namespace: w.namespace,
		Bindings: slices.Clone(w.bindings), Listed: w.listed, Now: noon,
		Failover: w.failover, External: w.external, Run: w.run, Rebalance: w.asked, Name: "p", Placements: slices.Clone(w.others),
		Removal: w.removal, HeldRemoval: w.held, Released: w.released, UID: "uid-of-p",
	}
	for _, c := range w.clusters { // in any order
		r.Clusters = append(r.Clusters, c)
	}
	rand.Shuffle(len(r.Bindings), func(i, j int) { r.Bindings[i], r.Bindings[j] = r.Bindings[j], r.Bindings[i] })
	rand.Shuffle(len(r.Placements), func(i, j int) { r.Placements[i], r.Placements[j] = r.Placements[j], r.Placements[i] })
	return r
}

// decide decides, carries the decision out, and checks invariants: the order of the input does not matter, and
// deciding again changes nothing, unless the decision waits for what it has caused.
func (w *world) decide() Decision {
	w.t.Helper()
	d := Decide(w.request())
	if other := Decide(w.request()); !reflect.DeepEqual(d, other) {
		w.t.Fatalf("the order of clusters or bindings matters:\n%+v\n%+v", d, other)
	}
	w.apply(d)
	if len(d.Release) > 0 || d.Again == time.Second {
		w.comesToRest() // a return to a cluster waits for the end of a binding, or for the binding of a pick
		return d
	}
	again := Decide(w.request())
	if len(again.Create)+len(again.Change)+len(again.Release) > 0 {
		w.t.Fatalf("deciding again wants more changes: %+v", again)
	}
	if !reflect.DeepEqual(again.Clusters, d.Clusters) || again.Found != d.Found || again.Wanted != d.Wanted {
		w.t.Fatalf("deciding again reports something else:\n%+v\n%+v", d, again)
	}
	return d
}

// comesToRest checks that only a few more decisions change anything.
func (w *world) comesToRest() {
	w.t.Helper()
	later := *w
	later.bindings = slices.Clone(w.bindings)
	for range 3 {
		d := Decide(later.request())
		if len(d.Create)+len(d.Change)+len(d.Release) == 0 {
			return
		}
		later.apply(d)
	}
	w.t.Fatalf("deciding again and again changes more: %+v", Decide(later.request()))
}

func (w *world) apply(d Decision) {
	for _, c := range d.Create {
		w.made++
		b := Binding{
			Name: fmt.Sprintf("b%03d-%s", w.made, c.ClusterName), Cluster: c.ClusterName,
			State: v1beta1.BindingStateScheduled, Snapshot: d.Snapshot, Decision: c, Replaces: d.Replaces[c.ClusterName],
		}
		if w.external && b.Replaces != nil && w.bindingTo(b.Replaces.With).Placed { // as the scheduler does
			b.State, b.Placed = v1beta1.BindingStateBound, true
		}
		w.bindings = append(w.bindings, b)
	}
	for _, change := range d.Change {
		b := w.binding(change.Binding)
		if change.State != v1beta1.BindingStateUnscheduled {
			b.Previous = ""
		} else if b.State != v1beta1.BindingStateUnscheduled {
			b.Previous = b.State
		}
		b.ReplacedBy, b.Replaces = change.ReplacedBy, change.Replaces
		if change.TakenBack {
			b.TakenBack = noon
		}
		b.State, b.Snapshot, b.CarriedOver, b.Stays, b.Decision = change.State, change.Snapshot, change.CarriedOver, change.Stays, change.Decision
		if change.Inherits {
			b.State, b.Placed = v1beta1.BindingStateBound, true
		}
	}
	w.bindings = slices.DeleteFunc(w.bindings, func(b Binding) bool { return slices.Contains(d.Release, b.Name) })
	w.listed, w.held = d.Clusters, d.Removal
}

func (w *world) binding(name string) *Binding {
	i := slices.IndexFunc(w.bindings, func(b Binding) bool { return b.Name == name })
	if i < 0 {
		w.t.Fatalf("there is no binding %s", name)
	}
	return &w.bindings[i]
}

// bindingTo returns the binding to a cluster.
func (w *world) bindingTo(cluster string) *Binding {
	i := slices.IndexFunc(w.bindings, func(b Binding) bool { return b.Cluster == cluster })
	if i < 0 {
		w.t.Fatalf("there is no binding to %s", cluster)
	}
	return &w.bindings[i]
}

// bind does what the roller does.
func (w *world) bind(clusters ...string) {
	for i := range w.bindings {
		if slices.Contains(clusters, w.bindings[i].Cluster) {
			w.bindings[i].State, w.bindings[i].Placed = v1beta1.BindingStateBound, true
		}
	}
}

// bound shows the bindings as cluster=state, with /1 or /2 for the policy snapshot they name if that changed.
func (w *world) bound() string {
	var out []string
	for _, b := range w.bindings {
		text := b.Cluster
		if b.State != v1beta1.BindingStateScheduled {
			text += "=" + string(b.State)
		}
		if w.snapshot > 1 {
			text += "/" + strings.TrimPrefix(b.Snapshot, "p-")
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// verdicts shows decisions as cluster:affinity/spread, or the cluster alone if it has no score.
func verdicts(decisions []v1beta1.ClusterDecision, selected bool) string {
	var out []string
	for _, d := range decisions {
		if d.Selected != selected {
			continue
		}
		text := d.ClusterName
		if d.ClusterScore != nil {
			text += fmt.Sprintf(":%d/%d", ptr.Deref(d.ClusterScore.AffinityScore, -1), ptr.Deref(d.ClusterScore.TopologySpreadScore, -1))
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// expect compares bindings, verdicts on picked and on other clusters, and whether the policy is fulfilled.
func (w *world) expect(bound, selected, others string, fulfilled bool) {
	w.t.Helper()
	d := w.decide()
	if got := w.bound(); got != bound {
		w.t.Errorf("bindings\n got %s\nwant %s", got, bound)
	}
	if got := verdicts(d.Clusters, true); got != selected {
		w.t.Errorf("chosen\n got %s\nwant %s", got, selected)
	}
	if got := verdicts(d.Clusters, false); others != "*" && got != others {
		w.t.Errorf("others\n got %s\nwant %s", got, others)
	}
	if d.Fulfilled() != fulfilled {
		w.t.Errorf("found %d of %d; want fulfilled %v", d.Found, d.Wanted, fulfilled)
	}
}

// scored gives every cluster the score 0/0.
func scored(clusters string) string {
	names := strings.Fields(clusters)
	for i := range names {
		names[i] += ":0/0"
	}
	return strings.Join(names, " ")
}

// Policies.

func fixed(names ...string) *v1beta1.PlacementPolicy {
	return &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: names}
}

func all(terms ...v1beta1.ClusterSelectorTerm) *v1beta1.PlacementPolicy {
	return requiring(v1beta1.PlacementTypePickAll, terms...)
}

func number(terms ...v1beta1.ClusterSelectorTerm) *v1beta1.PlacementPolicy {
	return requiring(v1beta1.PlacementTypePickN, terms...)
}

func requiring(kind v1beta1.PlacementType, terms ...v1beta1.ClusterSelectorTerm) *v1beta1.PlacementPolicy {
	p := &v1beta1.PlacementPolicy{PlacementType: kind, Affinity: &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{}}}
	if len(terms) > 0 {
		p.Affinity.ClusterAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &v1beta1.ClusterSelector{ClusterSelectorTerms: terms}
	}
	return p
}

func prefer(p *v1beta1.PlacementPolicy, weight int32, term v1beta1.ClusterSelectorTerm) *v1beta1.PlacementPolicy {
	preferred := &p.Affinity.ClusterAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	*preferred = append(*preferred, v1beta1.PreferredClusterSelector{Weight: weight, Preference: term})
	return p
}

func spreading(p *v1beta1.PlacementPolicy, key string, skew int32, otherwise corev1.UnsatisfiableConstraintAction) *v1beta1.PlacementPolicy {
	p.TopologySpreadConstraints = append(p.TopologySpreadConstraints,
		v1beta1.TopologySpreadConstraint{TopologyKey: key, MaxSkew: &skew, WhenUnsatisfiable: otherwise})
	return p
}

// tolerating makes p tolerate the taint that tainted adds to a cluster of region and env.
func tolerating(p *v1beta1.PlacementPolicy, region, env string) *v1beta1.PlacementPolicy {
	p.Tolerations = append(p.Tolerations, v1beta1.Toleration{Key: region, Operator: corev1.TolerationOpEqual, Value: env, Effect: corev1.TaintEffectNoSchedule})
	return p
}

// requiringPlacements adds required terms about other placements, like "with db by region" or "apart tier=db".
func requiringPlacements(p *v1beta1.PlacementPolicy, terms ...string) *v1beta1.PlacementPolicy {
	required := &placementAffinityIn(p).RequiredDuringSchedulingIgnoredDuringExecution
	for _, term := range terms {
		*required = append(*required, aboutPlacements(term))
	}
	return p
}

func preferringPlacements(p *v1beta1.PlacementPolicy, weight int32, term string) *v1beta1.PlacementPolicy {
	preferred := &placementAffinityIn(p).PreferredDuringSchedulingIgnoredDuringExecution
	*preferred = append(*preferred, v1beta1.PreferredPlacementAffinityTerm{Weight: weight, Preference: aboutPlacements(term)})
	return p
}

func placementAffinityIn(p *v1beta1.PlacementPolicy) *v1beta1.PlacementAffinity {
	if p.Affinity == nil {
		p.Affinity = &v1beta1.Affinity{}
	}
	if p.Affinity.PlacementAffinity == nil {
		p.Affinity.PlacementAffinity = &v1beta1.PlacementAffinity{}
	}
	return p.Affinity.PlacementAffinity
}

// aboutPlacements reads a term: with or apart, a name, a label or "all", and by which label.
func aboutPlacements(text string) v1beta1.PlacementAffinityTerm {
	f := strings.Fields(text)
	term := v1beta1.PlacementAffinityTerm{Relation: v1beta1.PlacementWith, Name: f[1]}
	if f[0] == "apart" {
		term.Relation = v1beta1.PlacementApart
	}
	if f[1] == "all" {
		term.Name, term.Selector = "", &metav1.LabelSelector{}
	} else if key, value, ok := strings.Cut(f[1], "="); ok {
		term.Name, term.Selector = "", &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	}
	if len(f) > 2 {
		term.TopologyKey = f[3]
	}
	return term
}

// other is another placement of a tier, empty for no label.
func other(name, tier string, clusters ...string) Placement {
	p := Placement{Name: name, Clusters: clusters}
	if tier != "" {
		p.Labels = map[string]string{"tier": tier}
	}
	return p
}

// labelled matches labels: pairs like env=prod, region!=west|east, region=east|west.
func labelled(pairs ...string) v1beta1.ClusterSelectorTerm {
	selector := &metav1.LabelSelector{}
	for _, pair := range pairs {
		operator := metav1.LabelSelectorOpIn
		key, values, _ := strings.Cut(pair, "=")
		if strings.HasSuffix(key, "!") {
			key, operator = strings.TrimSuffix(key, "!"), metav1.LabelSelectorOpNotIn
		}
		selector.MatchExpressions = append(selector.MatchExpressions,
			metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: strings.Split(values, "|")})
	}
	return v1beta1.ClusterSelectorTerm{LabelSelector: selector}
}

// having adds a property expression, like "nodes Ge 4", to a term.
func having(term v1beta1.ClusterSelectorTerm, expressions ...string) v1beta1.ClusterSelectorTerm {
	term.PropertySelector = &v1beta1.PropertySelector{}
	for _, e := range expressions {
		f := strings.Fields(e)
		term.PropertySelector.MatchExpressions = append(term.PropertySelector.MatchExpressions, v1beta1.PropertySelectorRequirement{
			Name: propertyNames[f[0]], Operator: v1beta1.PropertySelectorOperator(f[1]), Values: f[2:],
		})
	}
	return term
}

func sortedBy(term v1beta1.ClusterSelectorTerm, name string, order v1beta1.PropertySortOrder) v1beta1.ClusterSelectorTerm {
	term.PropertySorter = &v1beta1.PropertySorter{Name: propertyNames[name], SortOrder: order}
	return term
}

var propertyNames = map[string]string{
	"nodes":              "kubernetes-fleet.io/node-count",
	"energy":             "example.com/energy-rating",
	"absent":             "example.com/absent",
	"total-cpu":          "resources.kubernetes-fleet.io/total-cpu",
	"allocatable-cpu":    "resources.kubernetes-fleet.io/allocatable-cpu",
	"available-cpu":      "resources.kubernetes-fleet.io/available-cpu",
	"total-memory":       "resources.kubernetes-fleet.io/total-memory",
	"allocatable-memory": "resources.kubernetes-fleet.io/allocatable-memory",
	"available-memory":   "resources.kubernetes-fleet.io/available-memory",
}

// withProperties is the fleet of scenarios.md, section 22.
func withProperties(w *world) *world {
	for _, row := range []struct {
		name          string
		nodes, energy string
		cpu, memory   [3]string
	}{
		{"m1", "2", "100", [3]string{"4", "3", "2"}, [3]string{"4Gi", "3Gi", "2Gi"}},
		{"m2", "4", "60", [3]string{"8", "7", "4"}, [3]string{"8Gi", "7Gi", "4Gi"}},
		{"m3", "6", "40", [3]string{"12", "11", "6"}, [3]string{"12Gi", "11Gi", "6Gi"}},
		{"m4", "2", "80", [3]string{"8", "6", "2"}, [3]string{"4Gi", "2Gi", "1Gi"}},
		{"m5", "8", "40", [3]string{"32", "30", "8"}, [3]string{"16Gi", "14Gi", "4Gi"}},
		{"m6", "2", "60", [3]string{"4", "2", "1"}, [3]string{"8Gi", "6Gi", "4Gi"}},
		{"m7", "8", "20", [3]string{"16", "14", "4"}, [3]string{"32Gi", "30Gi", "16Gi"}},
		{"m8", "1", "100", [3]string{"", "", "0"}, [3]string{}},
	} {
		status := &w.clusters[row.name].Status
		status.Properties = map[clusterv1beta1.PropertyName]clusterv1beta1.PropertyValue{
			clusterv1beta1.PropertyName(propertyNames["nodes"]):  {Value: row.nodes},
			clusterv1beta1.PropertyName(propertyNames["energy"]): {Value: row.energy},
		}
		for i, list := range []*corev1.ResourceList{&status.ResourceUsage.Capacity, &status.ResourceUsage.Allocatable, &status.ResourceUsage.Available} {
			*list = corev1.ResourceList{}
			for name, value := range map[corev1.ResourceName]string{corev1.ResourceCPU: row.cpu[i], corev1.ResourceMemory: row.memory[i]} {
				if value != "" {
					(*list)[name] = resource.MustParse(value)
				}
			}
		}
	}
	return w
}
