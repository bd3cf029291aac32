package main

import (
	"context"
	"errors"
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

// failoversPerSecond is the pace at which placements leave clusters, by the design of the hub agent.
const failoversPerSecond = 5

// failoverSettings are the sizes of the section "failover".
type failoverSettings struct{ placements, many int }

func (s *failoverSettings) addFlags() {
	flag.IntVar(&s.placements, "failovers", 100, "failover: placements that leave the lost cluster in the second round; the first has one")
	flag.IntVar(&s.many, "failover-placements", 1000,
		"failover: placements of the last two rounds; a cluster is lost that none of them has, and then the one that all have")
}

// failoverFigures are the results of the section.
type failoverFigures struct {
	Rounds []failoverRound `json:"rounds"`
}

// failoverRound is the loss of a cluster that so many placements have, and so many others do not. The times are from
// the last heartbeat, without the time of the failover policy, until a placement is reported available on another
// cluster.
type failoverRound struct {
	Placements int       `json:"placements"`
	Others     int       `json:"others"`
	Elsewhere  quantiles `json:"elsewhere"`
	// WholeSeconds is the time until the last one is, PaceSeconds the part of it for which the hub agent makes placements
	// wait for each other.
	WholeSeconds float64 `json:"wholeSeconds"`
	PaceSeconds  float64 `json:"paceSeconds"`
	cost
}

// cost is what the hub agent did for a change: its writes without heartbeats, its decisions and its CPU seconds.
type cost struct {
	HubWrites float64 `json:"hubWrites"`
	// Decisions are those of the scheduler, Divisions those of the divider.
	Decisions  float64 `json:"decisions"`
	Divisions  float64 `json:"divisions"`
	CPUSeconds float64 `json:"cpuSeconds"`
}

func (c cost) minus(before cost) cost {
	return cost{
		c.HubWrites - before.HubWrites, c.Decisions - before.Decisions, c.Divisions - before.Divisions, c.CPUSeconds - before.CPUSeconds,
	}
}

func (f *failoverFigures) print(w io.Writer) error {
	fmt.Fprintf(w, "\nfailover: from the last heartbeat to available on another cluster, minus the %s of the policy\n", failoverAfter)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "placements\tothers\tp50 s\tp99 s\twhole s\tpace s\tdecisions\thub writes\tCPU s\t")
	for _, r := range f.Rounds {
		fmt.Fprintf(table, "%d\t%d\t%.2f\t%.2f\t%.2f\t%.1f\t%.0f\t%.0f\t%.2f\t\n", r.Placements, r.Others, r.Elsewhere.P50, r.Elsewhere.P99,
			r.WholeSeconds, r.PaceSeconds, r.Decisions, r.HubWrites, r.CPUSeconds)
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
			all, lost := names(fmt.Sprintf("failover-%d", i), n), b.members[i].name
			if err := b.placeOn(ctx, all, lost); err != nil {
				return err
			}
			round, err := b.failover(ctx, clusters, lost, all)
			if err := errors.Join(err, b.forgetAll(ctx, all)); err != nil {
				return err
			}
			r.Failover.Rounds = append(r.Failover.Rounds, round)
		}
		many, lost := names("failover-many", s.failover.many), b.members[2].name
		if err := b.placeOn(ctx, many, lost); err != nil {
			return err
		}
		spared, err := b.lossElsewhere(ctx, clusters, b.members[0].name, len(many))
		if err != nil {
			return err
		}
		hit, err := b.failover(ctx, clusters, lost, many)
		r.Failover.Rounds = append(r.Failover.Rounds, spared, hit)
		return errors.Join(err, b.forgetAll(ctx, many))
	})
}

// placeOn creates placements that prefer a member, and waits until they are available there.
func (b *bench) placeOn(ctx context.Context, all []string, first string) error {
	progress(fmt.Sprintf("%d placements on a cluster that is lost", len(all)))
	if err := b.prepare(ctx, all, 1); err != nil {
		return err
	}
	if err := each(all, 16, func(name string) error { return b.hub.Create(ctx, failingOver(name, first)) }); err != nil {
		return err
	}
	for _, name := range all {
		if _, err := b.placements.when(ctx, key("", name), availableOn(func(cluster string) bool { return cluster == first })); err != nil {
			return err
		}
	}
	return wait(ctx, 5*time.Second) // until everything has been reported
}

// failover halts the agent of the member on which the placements are, and waits until all of them are available
// elsewhere.
func (b *bench) failover(ctx context.Context, clusters *log, lost string, all []string) (round failoverRound, err error) {
	progress(fmt.Sprintf("a cluster with %d placements is lost", len(all)))
	last, err := b.halt(ctx, clusters, lost)
	if err != nil {
		return round, err
	}
	before, err := b.cost(ctx)
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
	after, err := b.cost(ctx)
	if err != nil {
		return round, err
	}
	round = failoverRound{
		Placements: len(all), Elsewhere: elsewhere.quantiles(), WholeSeconds: elsewhere.percentile(100).Seconds(),
		PaceSeconds: max(0, float64(len(all)-failoversPerSecond)/failoversPerSecond), cost: after.minus(before),
	}
	return round, b.resume(lost)
}

// lossElsewhere halts the agent of a member that none of the placements has, until the time of their policy has passed.
func (b *bench) lossElsewhere(ctx context.Context, clusters *log, lost string, others int) (round failoverRound, err error) {
	progress(fmt.Sprintf("a cluster that none of %d placements has is lost", others))
	last, err := b.halt(ctx, clusters, lost)
	if err != nil {
		return round, err
	}
	before, err := b.cost(ctx)
	if err != nil {
		return round, err
	}
	if _, err := clusters.when(ctx, key("", lost), func(e event, ok bool) bool {
		if !ok || e.gone {
			return false
		}
		s := e.object.(*clusterv1beta1.MemberCluster).Status.Silence
		return s != nil && s.State == clusterv1beta1.SilenceLost
	}); err != nil {
		return round, err
	}
	if err := wait(ctx, time.Until(last.Add(failoverAfter+5*time.Second))); err != nil {
		return round, err
	}
	after, err := b.cost(ctx)
	if err != nil {
		return round, err
	}
	return failoverRound{Others: others, cost: after.minus(before)}, b.resume(lost)
}

// forgetAll deletes placements and waits until nothing is left of them.
func (b *bench) forgetAll(ctx context.Context, all []string) error {
	if err := each(all, 16, func(name string) error { return b.hub.Delete(ctx, placement(name)) }); err != nil {
		return err
	}
	for _, name := range all {
		if _, err := b.placements.when(ctx, key("", name), isGone); err != nil {
			return err
		}
	}
	return b.rest(ctx)
}

// resume lets the halted agent of a member go on.
func (b *bench) resume(member string) error {
	if err := syscall.Kill(b.fleet.AgentPID(member), syscall.SIGCONT); err != nil {
		return fmt.Errorf("let the agent of %s go on: %w", member, err)
	}
	return nil
}

// cost is what the hub agent did so far.
func (b *bench) cost(ctx context.Context) (c cost, err error) {
	u, err := usageOf(b.fleet.AgentPID(b.fleet.Hub()))
	if err != nil {
		return c, fmt.Errorf("usage of the hub agent: %w", err)
	}
	c.CPUSeconds = u.CPUSeconds
	if c.HubWrites, err = b.hubWrites(ctx); err != nil {
		return c, err
	}
	agent := b.fleet.AgentMetricsURL(b.fleet.Hub())
	if c.Decisions, err = reconciles(ctx, agent, "scheduler"); err != nil {
		return c, err
	}
	c.Divisions, err = reconciles(ctx, agent, "divider")
	return c, err
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
