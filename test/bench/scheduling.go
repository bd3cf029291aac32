package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/schedule"
)

// schedulingSettings are the sizes of the section "scheduling".
type schedulingSettings struct {
	clusters, placements int
}

func (s *schedulingSettings) addFlags() {
	flag.IntVar(&s.clusters, "scheduling-clusters", 1000, "scheduling: MemberClusters on the hub, without clusters")
	flag.IntVar(&s.placements, "scheduling-placements", 1000,
		"scheduling: placements that each wait for a cluster; one in a hundred waits for another label")
}

// schedulingFigures are the results of the section.
type schedulingFigures struct {
	Clusters   int               `json:"clusters"`
	Placements int               `json:"placements"`
	Decisions  []decisionFigure  `json:"decisions"`
	Changes    []labelChange     `json:"changes"`
	Setup      map[string]string `json:"setup"`
}

// decisionFigure is one decision, without API calls, about the MemberClusters of the hub.
type decisionFigure struct {
	Policy       string  `json:"policy"`
	Microseconds float64 `json:"microseconds"`
	Allocations  int64   `json:"allocations"`
	KiB          int64   `json:"kib"`
}

// labelChange is the effect of one label change on one cluster.
type labelChange struct {
	Change string `json:"change"`
	// Concerned is how many placements it can affect, Decided how many decisions the scheduler made because of it.
	Concerned int     `json:"concerned"`
	Decided   float64 `json:"decided"`
	// BoundSeconds is from the change until the last binding was created.
	BoundSeconds float64 `json:"boundSeconds"`
	// Writes are the writes of the hub agent until it was idle again.
	Writes writes `json:"writes"`
	usage
}

func (f *schedulingFigures) print(w io.Writer) {
	fmt.Fprintf(w, "\nscheduling: %d clusters, %d placements\n", f.Clusters, f.Placements)
	for _, d := range f.Decisions {
		fmt.Fprintf(w, "  one decision, %s: %.0f µs, %d allocations, %d KiB\n", d.Policy, d.Microseconds, d.Allocations, d.KiB)
	}
	for _, c := range f.Changes {
		fmt.Fprintf(w, "  %s: %d placements concerned, %.0f decisions, all bound after %.2f s, CPU %.1f s\n",
			c.Change, c.Concerned, c.Decided, c.BoundSeconds, c.CPUSeconds)
		fmt.Fprintf(w, "    %.0f writes: POST %.0f, PUT %.0f, PATCH %.0f\n",
			c.Writes.total(), c.Writes[http.MethodPost], c.Writes[http.MethodPut], c.Writes[http.MethodPatch])
	}
}

// fleetOnPaper is the running section: MemberClusters with healthy reports, but without agents.
type fleetOnPaper struct {
	*bench
	sizes    schedulingSettings
	figures  *schedulingFigures
	clusters *log
}

// Labels that placements of the section wait for, and one that no placement waits for.
const (
	rareLabel, commonLabel, idleLabel = "bench/rare", "bench/common", "bench/idle"
	rareEvery                         = 100
)

// scheduleAtScale measures only scheduling: decisions, and the effects of label changes. The one member is not part of
// the measurement; it shows that the hub works.
func scheduleAtScale(ctx context.Context, s settings, r *results) error {
	config := localfleet.Config{Members: []localfleet.Member{{Cluster: localfleet.Cluster{Name: "spoke-1"}}}}
	return onFleet(ctx, config, func(ctx context.Context, b *bench) error {
		run := fleetOnPaper{bench: b, sizes: s.scheduling, figures: &schedulingFigures{
			Clusters: s.scheduling.clusters, Placements: s.scheduling.placements, Setup: map[string]string{},
		}}
		r.Scheduling = run.figures
		var err error
		if run.clusters, err = follow(ctx, b.hub, &clusterv1beta1.MemberClusterList{}); err != nil {
			return err
		}
		for _, step := range []struct {
			name string
			do   func(context.Context) error
		}{{"clusters", run.join}, {"decisions", run.decide}, {"placements", run.placeAll}, {"changes", run.change}} {
			progress("scheduling: " + step.name)
			begin := time.Now()
			if err := step.do(ctx); err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			run.figures.Setup[step.name] = time.Since(begin).Round(time.Second).String()
		}
		return nil
	})
}

func clusterName(i int) string { return fmt.Sprintf("paper-%04d", i) }

// join creates the MemberClusters.
func (f *fleetOnPaper) join(ctx context.Context) error {
	var all []string
	for i := range f.sizes.clusters {
		all = append(all, clusterName(i))
	}
	return f.joinOnPaper(ctx, all, func(i int) map[string]string {
		return map[string]string{"region": fmt.Sprint("region-", i%3), "zone": fmt.Sprint("zone-", i%10), "env": []string{"prod", "canary"}[i%2]}
	})
}

// joinOnPaper creates MemberClusters and writes the reports of their agents, so that they are joined and healthy.
func (f *fleetOnPaper) joinOnPaper(ctx context.Context, all []string, labels func(i int) map[string]string) error {
	return f.joinAll(ctx, f.clusters, all, labels, func(i int) error { return f.beat(ctx, all[i], i) })
}

// joinAll creates MemberClusters, and waits until placements can pick them. report writes the first report of the
// agent of one of them.
func (b *bench) joinAll(ctx context.Context, clusters *log, all []string, labels func(i int) map[string]string, report func(i int) error) error {
	internal, err := follow(ctx, b.hub, &clusterv1beta1.InternalMemberClusterList{})
	if err != nil {
		return err
	}
	return each(all, 32, func(name string) error {
		i := slices.Index(all, name)
		err := b.hub.Create(ctx, &clusterv1beta1.MemberCluster{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels(i)},
			Spec:       clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}},
		})
		if err != nil {
			return err
		}
		if _, err := internal.when(ctx, key(contract.MemberNamespace(name), name), func(_ event, ok bool) bool { return ok }); err != nil {
			return err
		}
		if err := report(i); err != nil {
			return err
		}
		_, err = clusters.when(ctx, key("", name), isEligible)
		return err
	})
}

// isEligible reports whether placements can pick a MemberCluster.
func isEligible(e event, ok bool) bool {
	return ok && schedule.Ineligible(e.object.(*clusterv1beta1.MemberCluster), time.Now()) == ""
}

// beat is a heartbeat of a cluster's agent.
func (f *fleetOnPaper) beat(ctx context.Context, name string, i int) error {
	var internal clusterv1beta1.InternalMemberCluster
	if err := f.hub.Get(ctx, client.ObjectKey{Namespace: contract.MemberNamespace(name), Name: name}, &internal); err != nil {
		return err
	}
	now := metav1.Now()
	is := func(kind string) metav1.Condition {
		return metav1.Condition{
			Type: kind, Status: metav1.ConditionTrue, Reason: "Bench", LastTransitionTime: now, ObservedGeneration: internal.Generation,
		}
	}
	internal.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
		Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: now,
		Conditions: []metav1.Condition{is(clusterv1beta1.ConditionJoined), is(clusterv1beta1.ConditionHealthy)},
	}}
	internal.Status.Conditions = []metav1.Condition{}
	internal.Status.Properties = map[clusterv1beta1.PropertyName]clusterv1beta1.PropertyValue{
		contract.PropertyNodeCount: {Value: fmt.Sprint(1 + i%97), ObservationTime: now},
	}
	return f.hub.Status().Update(ctx, &internal)
}

// decide measures decisions about the objects of the hub, without API calls.
func (f *fleetOnPaper) decide(ctx context.Context) error {
	var list clusterv1beta1.MemberClusterList
	if err := f.hub.List(ctx, &list); err != nil {
		return err
	}
	request := schedule.Request{Snapshot: "p-0", Now: time.Now()}
	for i := range list.Items {
		request.Clusters = append(request.Clusters, &list.Items[i])
	}
	for _, c := range []struct {
		name   string
		policy *v1beta1.PlacementPolicy
		number int
	}{
		{"PickAll with a property selector", pickAllByProperty(), 0},
		{"PickN 50 with two spread constraints and preferences", pickNSpread(), 50},
	} {
		r := request
		r.Policy, r.Number = c.policy, min(c.number, len(request.Clusters))
		if d := schedule.Decide(r); !d.Fulfilled() || d.Found == 0 {
			return fmt.Errorf("%s: found %d of %d", c.name, d.Found, d.Wanted)
		}
		result := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				schedule.Decide(r)
			}
		})
		f.figures.Decisions = append(f.figures.Decisions, decisionFigure{
			Policy: c.name, Microseconds: float64(result.NsPerOp()) / 1000,
			Allocations: result.AllocsPerOp(), KiB: result.AllocedBytesPerOp() / 1024,
		})
	}
	return nil
}

func pickAllByProperty() *v1beta1.PlacementPolicy {
	affinity := &v1beta1.ClusterAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &v1beta1.ClusterSelector{ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{{
			PropertySelector: &v1beta1.PropertySelector{MatchExpressions: []v1beta1.PropertySelectorRequirement{
				{Name: contract.PropertyNodeCount, Operator: v1beta1.PropertySelectorOperatorLe, Values: []string{"50"}},
			}},
		}}},
	}
	return &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll, Affinity: &v1beta1.Affinity{ClusterAffinity: affinity}}
}

func pickNSpread() *v1beta1.PlacementPolicy {
	production := &metav1.LabelSelector{MatchLabels: map[string]string{"env": "prod"}}
	largest := &v1beta1.PropertySorter{Name: contract.PropertyNodeCount, SortOrder: v1beta1.PropertySortOrderDescending}
	affinity := &v1beta1.ClusterAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []v1beta1.PreferredClusterSelector{
		{Weight: 50, Preference: v1beta1.ClusterSelectorTerm{LabelSelector: production}},
		{Weight: 100, Preference: v1beta1.ClusterSelectorTerm{PropertySorter: largest}},
	}}
	return &v1beta1.PlacementPolicy{
		PlacementType: v1beta1.PlacementTypePickN,
		Affinity:      &v1beta1.Affinity{ClusterAffinity: affinity},
		TopologySpreadConstraints: []v1beta1.TopologySpreadConstraint{
			{TopologyKey: "region", MaxSkew: ptr.To[int32](1), WhenUnsatisfiable: corev1.DoNotSchedule},
			{TopologyKey: "zone", MaxSkew: ptr.To[int32](1), WhenUnsatisfiable: corev1.ScheduleAnyway},
		},
	}
}

// placeAll creates the placements. Each requires one cluster with a label that no cluster has yet.
func (f *fleetOnPaper) placeAll(ctx context.Context) error {
	if err := f.hub.Create(ctx, namespace("paper")); err != nil {
		return err
	}
	all := names("paper", f.sizes.placements)
	err := each(all, 32, func(name string) error {
		p := placement(name)
		p.Spec.ResourceSelectors[0].Name = "paper"
		p.Spec.Policy = &v1beta1.PlacementPolicy{
			PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To[int32](1),
			Affinity: &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &v1beta1.ClusterSelector{ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{{
					LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{f.label(slices.Index(all, name)): "yes"}},
				}}},
			}},
		}
		return f.hub.Create(ctx, p)
	})
	if err != nil {
		return err
	}
	// A list and not a watch as in other sections: on a busy machine, the API server closes a watch that is too slow
	// for so many changes.
	if _, err := awaitCount(ctx, 2*time.Second, "placements that lack a cluster", len(all), func() (int, error) {
		var list v1beta1.ClusterResourcePlacementList
		err := f.hub.List(ctx, &list)
		lacking := 0
		for _, p := range list.Items {
			if meta.IsStatusConditionFalse(p.Status.Conditions, p.ConditionType(v1beta1.ConditionScheduled)) {
				lacking++
			}
		}
		return lacking, err
	}); err != nil {
		return err
	}
	return f.still(ctx)
}

func (f *fleetOnPaper) label(placement int) string {
	if placement%rareEvery == 0 {
		return rareLabel
	}
	return commonLabel
}

// change sets one label after the other, each on another cluster.
func (f *fleetOnPaper) change(ctx context.Context) error {
	rare := (f.sizes.placements + rareEvery - 1) / rareEvery
	bound := 0
	for i, c := range []struct {
		label     string
		concerned int
	}{{idleLabel, 0}, {rareLabel, rare}, {commonLabel, f.sizes.placements - rare}} {
		bound += c.concerned
		change, err := f.changeOne(ctx, clusterName(i), i, c.label, bound)
		if err != nil {
			return fmt.Errorf("label %s: %w", c.label, err)
		}
		change.Change, change.Concerned = "label "+c.label, c.concerned
		f.figures.Changes = append(f.figures.Changes, *change)
	}
	return nil
}

// changeOne sets a label and waits until the expected number of placements is bound and the hub agent is idle.
func (f *fleetOnPaper) changeOne(ctx context.Context, cluster string, i int, label string, bound int) (*labelChange, error) {
	// The setup takes a while, and a cluster that has been silent for long is not picked.
	if err := errors.Join(f.beat(ctx, cluster, i), f.still(ctx)); err != nil {
		return nil, err
	}
	before, err := f.agent(ctx)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"yes"}}}`, label)
	target := &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: cluster}}
	if err := f.hub.Patch(ctx, target, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		return nil, err
	}
	last, err := awaitCount(ctx, 200*time.Millisecond, "bindings", bound, func() (int, error) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(v1beta1.GroupVersion.WithKind("ClusterResourceBindingList"))
		err := f.hub.List(ctx, list)
		return len(list.Items), err
	})
	if err != nil {
		return nil, err
	}
	if err := f.still(ctx); err != nil {
		return nil, err
	}
	after, err := f.agent(ctx)
	if err != nil {
		return nil, err
	}
	out := &labelChange{
		Decided: after.decisions - before.decisions, Writes: after.writes.minus(before.writes),
		BoundSeconds: max(0, last.Sub(begin).Seconds()),
	}
	out.usage = after.usage
	out.CPUSeconds -= before.CPUSeconds
	return out, nil
}

// awaitCount polls until there are n, and returns the time at which that was so.
func awaitCount(ctx context.Context, every time.Duration, what string, n int, count func() (int, error)) (time.Time, error) {
	for {
		have, err := count()
		if err != nil {
			return time.Time{}, fmt.Errorf("count %s: %w", what, err)
		}
		if have >= n {
			return time.Now(), nil
		}
		if err := wait(ctx, every); err != nil {
			return time.Time{}, fmt.Errorf("wait for %d %s, now %d: %w", n, what, have, err)
		}
	}
}

// agentFigures are the counts of the hub agent so far.
type agentFigures struct {
	usage
	decisions float64
	writes    writes
}

func (f *fleetOnPaper) agent(ctx context.Context) (agentFigures, error) {
	var out agentFigures
	all, err := f.snapshot(ctx)
	if err != nil {
		return out, err
	}
	out.writes = all[f.fleet.Hub()].hub
	if out.usage, err = usageOf(f.fleet.AgentPID(f.fleet.Hub())); err != nil {
		return out, err
	}
	out.decisions, err = reconciles(ctx, f.fleet.AgentMetricsURL(f.fleet.Hub()), "scheduler")
	return out, err
}

// still waits until the hub agent has written nothing but lease renewals for a while.
func (f *fleetOnPaper) still(ctx context.Context) error {
	const renewals = 3
	for {
		before, err := f.agent(ctx)
		if err != nil {
			return err
		}
		if err := wait(ctx, 3*time.Second); err != nil {
			return err
		}
		after, err := f.agent(ctx)
		if err != nil {
			return err
		}
		if after.writes.minus(before.writes).total() <= renewals {
			return nil
		}
	}
}

// reconciles reads how many reconciliations a controller of an agent has made.
func reconciles(ctx context.Context, url, controller string) (float64, error) {
	families, err := metricsOf(ctx, http.DefaultClient, url)
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, m := range families["controller_runtime_reconcile_total"].GetMetric() {
		if label(m, "controller") == controller {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum, nil
}
