package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"syscall"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// failoverAfter is the time of the placements' failover policy; the period of heartbeats is short, so that three of
// them pass before.
const (
	failoverAfter         = 30 * time.Second
	failoverPeriodSeconds = 2
)

// failoverSettings are the sizes of the section "failover".
type failoverSettings struct{ placements int }

func (s *failoverSettings) addFlags() {
	flag.IntVar(&s.placements, "failovers", 100, "failover: placements that leave the lost cluster in the second round; the first has one")
}

// failoverFigures are the results of the section.
type failoverFigures struct {
	Rounds []failoverRound `json:"rounds"`
}

// failoverRound is the loss of a cluster with so many placements. The times are from the last heartbeat, without the
// time of the failover policy, until a placement is reported available on another cluster.
type failoverRound struct {
	Placements int       `json:"placements"`
	Elsewhere  quantiles `json:"elsewhere"`
	// WholeSeconds is the time until the last one is, HubWrites how many writes the hub agent made meanwhile, without
	// heartbeats.
	WholeSeconds float64 `json:"wholeSeconds"`
	HubWrites    float64 `json:"hubWrites"`
}

func (f *failoverFigures) print(w io.Writer) error {
	fmt.Fprintf(w, "\nfailover: from the last heartbeat to available on another cluster, minus the %s of the policy\n", failoverAfter)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "placements\tp50 s\tp99 s\twhole s\thub writes\t")
	for _, r := range f.Rounds {
		fmt.Fprintf(table, "%d\t%.2f\t%.2f\t%.2f\t%.0f\t\n", r.Placements, r.Elsewhere.P50, r.Elsewhere.P99, r.WholeSeconds, r.HubWrites)
	}
	return table.Flush()
}

// failoverTimes is the section "failover": the agent of one of three members is halted.
func failoverTimes(ctx context.Context, s settings, r *results) error {
	config := localfleet.DefaultConfig()
	for i := range config.Members {
		config.Members[i].HeartbeatPeriodSeconds = failoverPeriodSeconds
	}
	return onFleet(ctx, config, func(ctx context.Context, b *bench) error {
		clusters, err := follow(ctx, b.hub, &clusterv1beta1.MemberClusterList{})
		if err != nil {
			return err
		}
		r.Failover = &failoverFigures{}
		for i, n := range []int{1, s.failover.placements} {
			round, err := b.failover(ctx, clusters, b.members[i].name, names(fmt.Sprintf("failover-%d", i), n))
			if err != nil {
				return err
			}
			r.Failover.Rounds = append(r.Failover.Rounds, round)
		}
		return nil
	})
}

// failover places on one member, halts its agent, and waits until everything is available elsewhere.
func (b *bench) failover(ctx context.Context, clusters *log, lost string, all []string) (round failoverRound, err error) {
	progress(fmt.Sprintf("%d placements on a cluster that is lost", len(all)))
	if err := b.prepare(ctx, all, 1); err != nil {
		return round, err
	}
	if err := each(all, 16, func(name string) error { return b.hub.Create(ctx, failingOver(name, lost)) }); err != nil {
		return round, err
	}
	for _, name := range all {
		if _, err := b.placements.when(ctx, key("", name), availableOn(func(cluster string) bool { return cluster == lost })); err != nil {
			return round, err
		}
	}
	last, err := b.halt(ctx, clusters, lost)
	if err != nil {
		return round, err
	}
	before, err := b.hubWrites(ctx)
	if err != nil {
		return round, err
	}
	var elsewhere figure
	for _, name := range all {
		at, err := b.placements.when(ctx, key("", name), availableOn(func(cluster string) bool { return cluster != lost }))
		if err != nil {
			return round, err
		}
		elsewhere = append(elsewhere, at.Sub(last)-failoverAfter)
	}
	after, err := b.hubWrites(ctx)
	if err != nil {
		return round, err
	}
	if err := syscall.Kill(b.fleet.AgentPID(lost), syscall.SIGCONT); err != nil {
		return round, fmt.Errorf("let the agent of %s go on: %w", lost, err)
	}
	round = failoverRound{Placements: len(all), Elsewhere: elsewhere.quantiles(), WholeSeconds: elsewhere.percentile(100).Seconds(), HubWrites: after - before}
	if err := each(all, 16, func(name string) error { return b.hub.Delete(ctx, failingOver(name, lost)) }); err != nil {
		return round, err
	}
	for _, name := range all {
		if _, err := b.placements.when(ctx, key("", name), func(e event, ok bool) bool { return !ok || e.gone }); err != nil {
			return round, err
		}
	}
	return round, b.rest(ctx)
}

// hubWrites is how much the hub agent wrote so far, without heartbeats.
func (b *bench) hubWrites(ctx context.Context) (float64, error) {
	hosts, err := scrape(ctx, b.fleet.AgentMetricsURL(b.fleet.Hub()))
	if err != nil {
		return 0, err
	}
	n := -float64(b.memberClusters.value())
	for _, w := range hosts {
		n += w.total()
	}
	return n, nil
}

// failingOver is a placement on one cluster, which prefers the given one.
func failingOver(name, first string) *v1beta1.ClusterResourcePlacement {
	p := placement(name)
	p.Spec.Policy = &v1beta1.PlacementPolicy{
		PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(int32(1)),
		Failover: &v1beta1.Failover{After: metav1.Duration{Duration: failoverAfter}},
		Affinity: &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []v1beta1.PreferredClusterSelector{{
				Weight: 100, Preference: v1beta1.ClusterSelectorTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{contract.LabelMemberName: first}}},
			}},
		}},
	}
	return p
}

// availableOn passes a placement that is available on such a cluster.
func availableOn(such func(cluster string) bool) func(event, bool) bool {
	return func(e event, ok bool) bool {
		if !isAvailable(e, ok) {
			return false
		}
		entries := e.object.(*v1beta1.ClusterResourcePlacement).Status.PerClusterPlacementStatuses
		return len(entries) == 1 && such(entries[0].ClusterName)
	}
}

// halt stops the agent of a member right after a heartbeat, and returns when that reached the hub. A cluster that was
// lost in an earlier round must be well first.
func (b *bench) halt(ctx context.Context, clusters *log, member string) (time.Time, error) {
	begin := time.Now()
	at, err := clusters.when(ctx, key("", member), func(e event, ok bool) bool { return ok && e.at.After(begin) })
	if err != nil {
		return at, err
	}
	if err := syscall.Kill(b.fleet.AgentPID(member), syscall.SIGSTOP); err != nil {
		return at, fmt.Errorf("halt the agent of %s: %w", member, err)
	}
	return at, nil
}
