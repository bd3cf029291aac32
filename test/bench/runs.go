package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// runsSettings are the sizes of the section "runs".
type runsSettings struct {
	members, burst, repeats int
	wait                    time.Duration
}

func (s *runsSettings) addFlags() {
	flag.IntVar(&s.members, "run-members", 30, "runs: members of each of the three stages")
	flag.IntVar(&s.burst, "run-burst", 100,
		"runs: concurrent update runs, each with its own placement and strategy, on two members of each stage")
	flag.IntVar(&s.repeats, "run-repeats", 5, "runs: how often a run without waits is repeated")
	flag.DurationVar(&s.wait, "run-wait", 2*time.Second, "runs: how long the stages of the large runs wait after their clusters are done")
}

// runsFigures are the results of the section.
type runsFigures struct {
	Members int         `json:"membersOfAStage"`
	Runs    []runFigure `json:"runs"`
}

// runFigure is one run, or several concurrent runs.
type runFigure struct {
	What string `json:"what"`
	// Seconds are from the creation of the runs until the last has succeeded, WaitSeconds the wait times in the
	// strategy of one of them.
	Seconds     float64 `json:"seconds"`
	WaitSeconds float64 `json:"waitSeconds"`
	// StageHandOver is from the report that the last cluster of a stage is healthy until the binding of the first
	// cluster of the next has the release, without the wait time in between.
	StageHandOver spread `json:"stageHandOver"`
	// SlotHandOver is the same from one cluster to the next within a stage, where one may be in progress.
	SlotHandOver *spread `json:"slotHandOver,omitempty"`
	// Pairs is the number of (run, cluster) pairs, Writes that of the hub agent's writes.
	Pairs  int    `json:"pairs"`
	Writes writes `json:"hubAgentWrites"`
	// PerPair are the writes for each pair, without lease renewals.
	PerPair float64 `json:"hubAgentWritesPerPair"`
	usage
	// MembersCPUSeconds is the CPU time of the agents of all members on this machine, and of the measurement.
	MembersCPUSeconds float64 `json:"membersCPUSeconds"`
	// MachineBusy is the share of the machine's processor time that all processes used meanwhile; near 1, the
	// processors are the bottleneck.
	MachineBusy float64 `json:"machineBusy"`
}

// spread is a figure in seconds.
type spread struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50Seconds"`
	P90 float64 `json:"p90Seconds"`
	Max float64 `json:"maxSeconds"`
}

func (f figure) spread() spread {
	return spread{N: len(f), P50: f.percentile(50).Seconds(), P90: f.percentile(90).Seconds(), Max: f.percentile(100).Seconds()}
}

func (s spread) String() string {
	return fmt.Sprintf("p50 %.0f ms, p90 %.0f, max %.0f (%d)", 1000*s.P50, 1000*s.P90, 1000*s.Max, s.N)
}

// handOverTarget is the target for StageHandOver.
const handOverTarget = time.Second

func (f *runsFigures) print(w io.Writer) {
	fmt.Fprintf(w, "\nruns: %d stages of %d members, whose agents are real and share one cluster\n", stagesOfRuns, f.Members)
	fmt.Fprintf(w, "  target: a run starts the next stage within %s after the last cluster of a stage is healthy\n", handOverTarget)
	for _, r := range f.Runs {
		fmt.Fprintf(w, "  %s: %.2f s, of which its waits are %.0f s: %.2f s beyond\n", r.What, r.Seconds, r.WaitSeconds, r.Seconds-r.WaitSeconds)
		verdict := "met"
		if r.StageHandOver.Max > handOverTarget.Seconds() {
			verdict = "MISSED"
		}
		fmt.Fprintf(w, "    stage to stage: %s: target %s\n", r.StageHandOver, verdict)
		if r.SlotHandOver != nil {
			fmt.Fprintf(w, "    cluster to cluster: %s\n", r.SlotHandOver)
		}
		fmt.Fprintf(w, "    hub agent: %.2f writes for each of %d (run, cluster), CPU %.1f s, peak %.0f MiB\n",
			r.PerPair, r.Pairs, r.CPUSeconds, r.PeakMiB)
		fmt.Fprintf(w, "    members' agents: CPU %.1f s in all; the machine was %.0f %% busy\n", r.MembersCPUSeconds, 100*r.MachineBusy)
	}
}

const (
	stagesOfRuns = 3
	stageLabel   = "bench/stage"
	// perStage is how many members of each stage a placement of the burst is on.
	perStage = 2
)

// releases is the running section.
type releases struct {
	*bench
	sizes    runsSettings
	figures  *runsFigures
	clusters *log
	runs     *log

	mu sync.Mutex
	// given is when a binding first had a snapshot, healthy when the member first reported that it is available.
	given, healthy map[handed]time.Time
}

// handed is one release for one cluster.
type handed struct{ snapshot, cluster string }

// runAtScale measures update runs on model members: real agents, which share the cluster of the one member of the
// fleet.
func runAtScale(ctx context.Context, s settings, r *results) error {
	if err := checkModels(stagesOfRuns * s.runs.members); err != nil {
		return err
	}
	shared := localfleet.Member{Cluster: localfleet.Cluster{Name: sharedCluster}, Nodes: []localfleet.NodeSet{}}
	config := localfleet.Config{Members: []localfleet.Member{shared}}
	config.Hub.Agent.Values = map[string]any{"enablePprof": true}
	return onFleet(ctx, config, func(ctx context.Context, b *bench) (err error) {
		b.profiles = s.profiles
		f := &releases{
			bench: b, sizes: s.runs, figures: &runsFigures{Members: s.runs.members},
			given: map[handed]time.Time{}, healthy: map[handed]time.Time{},
		}
		r.Runs = f.figures
		if f.clusters, err = follow(ctx, b.hub, &clusterv1beta1.MemberClusterList{}); err != nil {
			return err
		}
		if f.runs, err = follow(ctx, b.hub, &v1beta1.ClusterStagedUpdateRunList{}); err != nil {
			return err
		}
		if err := f.watchBindings(ctx); err != nil {
			return err
		}
		return f.withModels(ctx, func(ctx context.Context) error {
			if err := f.one(ctx); err != nil {
				return err
			}
			return f.many(ctx)
		})
	})
}

func stageName(i int) string { return fmt.Sprintf("stage%d", i) }

func (f *releases) members() []string { return names(modelPrefix, stagesOfRuns*f.sizes.members) }

// stageOf is the stage that a member belongs to.
func (f *releases) stageOf(member string) int {
	return slices.Index(f.members(), member) / f.sizes.members
}

// watchBindings records when the binding of a cluster gets a release.
func (f *releases) watchBindings(ctx context.Context) error {
	list := &v1beta1.ClusterResourceBindingList{}
	if err := f.hub.List(ctx, list); err != nil {
		return err
	}
	w, err := onwards(ctx, f.hub, list, nil)
	if err != nil {
		return err
	}
	go func() {
		defer w.Stop()
		for e := range w.ResultChan() {
			if b, ok := e.Object.(*v1beta1.ClusterResourceBinding); ok && (e.Type == watch.Added || e.Type == watch.Modified) {
				f.note(f.given, handed{b.Spec.ResourceSnapshotName, b.Spec.TargetCluster}, time.Now())
			}
		}
	}()
	return nil
}

func (f *releases) note(in map[handed]time.Time, what handed, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in[what].IsZero() {
		in[what] = at
	}
}

// released is one placement that runs change.
type released struct {
	name    string
	members []string
	// index is the index of the last release.
	index int
}

// lay creates a placement with its namespace and strategy, and waits until it is scheduled.
func (f *releases) lay(ctx context.Context, p *released, policy *v1beta1.PlacementPolicy) error {
	if err := f.prepare(ctx, []string{p.name}, 1); err != nil {
		return err
	}
	crp := placement(p.name)
	crp.Spec.Policy, crp.Spec.Strategy = policy, v1beta1.RolloutStrategy{Type: v1beta1.RolloutStrategyTypeExternal}
	strategy := &v1beta1.ClusterStagedUpdateStrategy{ObjectMeta: metav1.ObjectMeta{Name: p.name}}
	strategy.Spec.Stages = stages(intstr.FromString("100%"), 0)
	if err := errors.Join(f.hub.Create(ctx, crp), f.hub.Create(ctx, strategy)); err != nil {
		return err
	}
	p.index = -1
	_, err := f.placements.when(ctx, key("", p.name), func(e event, ok bool) bool {
		if !ok {
			return false
		}
		crp := e.object.(*v1beta1.ClusterResourcePlacement)
		return meta.IsStatusConditionTrue(crp.Status.Conditions, crp.ConditionType(v1beta1.ConditionScheduled))
	})
	return err
}

func stages(most intstr.IntOrString, wait time.Duration) []v1beta1.StageConfig {
	var out []v1beta1.StageConfig
	for i := range stagesOfRuns {
		stage := v1beta1.StageConfig{
			Name: stageName(i), MaxConcurrency: &most,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{stageLabel: stageName(i)}},
		}
		if wait > 0 {
			stage.AfterStageTasks = []v1beta1.StageTask{{Type: v1beta1.StageTaskTimedWait, WaitTime: &metav1.Duration{Duration: wait}}}
		}
		out = append(out, stage)
	}
	return out
}

// restage changes a placement's strategy.
func (f *releases) restage(ctx context.Context, p *released, most intstr.IntOrString, wait time.Duration) error {
	var strategy v1beta1.ClusterStagedUpdateStrategy
	if err := f.hub.Get(ctx, client.ObjectKey{Name: p.name}, &strategy); err != nil {
		return err
	}
	strategy.Spec.Stages = stages(most, wait)
	return f.hub.Update(ctx, &strategy)
}

// one measures runs of one placement on all members, one after the other.
func (f *releases) one(ctx context.Context) error {
	p := &released{name: "staged-" + anywhere, members: f.members()}
	staged := &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: stageLabel, Operator: metav1.LabelSelectorOpExists}},
	}
	if err := f.lay(ctx, p, &v1beta1.PlacementPolicy{
		PlacementType: v1beta1.PlacementTypePickAll,
		Affinity: &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &v1beta1.ClusterSelector{
				ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{{LabelSelector: staged}},
			},
		}},
	}); err != nil {
		return err
	}
	all, single := intstr.FromString("100%"), intstr.FromInt32(1)
	for _, c := range []struct {
		what    string
		most    intstr.IntOrString
		wait    time.Duration
		repeats int
	}{
		{"the first release, maxConcurrency 100%", all, 0, 1},
		{"one run, maxConcurrency 100%", all, f.sizes.wait, 1},
		{fmt.Sprintf("%d runs one after the other without waits, maxConcurrency 100%%", f.sizes.repeats), all, 0, f.sizes.repeats},
		{"one run, maxConcurrency 1", single, f.sizes.wait, 1},
	} {
		if err := f.restage(ctx, p, c.most, c.wait); err != nil {
			return err
		}
		if err := f.measure(ctx, c.what, []*released{p}, c.repeats, c.wait, c.most == single); err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
	}
	return nil
}

// many measures concurrent runs of many placements, each on a few members.
func (f *releases) many(ctx context.Context) error {
	progress(fmt.Sprintf("runs: %d placements", f.sizes.burst))
	var all []*released
	byName := map[string]*released{}
	for i, name := range names("burst", f.sizes.burst) {
		p := &released{name: name + "-" + anywhere}
		for stage := range stagesOfRuns {
			for k := range perStage {
				p.members = append(p.members, f.members()[stage*f.sizes.members+(i*perStage+k)%f.sizes.members])
			}
		}
		all = append(all, p)
		byName[p.name] = p
	}
	if err := each(slices.Collect(maps.Keys(byName)), 16, func(name string) error {
		p := byName[name]
		return f.lay(ctx, p, &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: p.members})
	}); err != nil {
		return err
	}
	for _, what := range []string{"first releases", "runs"} {
		if err := f.measure(ctx, fmt.Sprintf("%d %s at once", f.sizes.burst, what), all, 1, 0, false); err != nil {
			return err
		}
	}
	return nil
}

// measure edits the placements, creates a run for each, and waits until all have succeeded. It repeats that several
// times.
func (f *releases) measure(ctx context.Context, what string, of []*released, repeats int, wait time.Duration, bySlot bool) error {
	progress("runs: " + what)
	stop, err := f.profile(ctx, "profile?seconds=15", fmt.Sprintf("cpu-%d-%d.pprof", len(f.figures.Runs), len(of)))
	if err != nil {
		return err
	}
	pid := f.fleet.AgentPID(f.fleet.Hub())
	if err := errors.Join(f.calm(ctx), resetPeak(pid)); err != nil {
		return err
	}
	before, err := usageOf(pid)
	if err != nil {
		return err
	}
	ownBefore, err := usageOf(os.Getpid())
	if err != nil {
		return err
	}
	fig := runFigure{What: what, WaitSeconds: float64(repeats) * stagesOfRuns * wait.Seconds()}
	c, err := f.counted(ctx, what, 0, 0, func() error {
		if err := f.repeat(ctx, &fig, of, repeats); err != nil {
			return err
		}
		return f.calm(ctx)
	})
	if err != nil {
		return err
	}
	if fig.usage, err = usageOf(pid); err != nil {
		return err
	}
	fig.CPUSeconds -= before.CPUSeconds
	own, err := usageOf(os.Getpid())
	if err != nil {
		return err
	}
	fig.MembersCPUSeconds = own.CPUSeconds - ownBefore.CPUSeconds
	fig.Writes = c.Hub
	var stages, slots figure
	for _, p := range of {
		fig.Pairs += repeats * len(p.members)
		for i := range repeats {
			f.handOvers(p, p.index-i, wait, &stages, &slots)
		}
	}
	fig.PerPair = c.hub() / float64(fig.Pairs)
	fig.StageHandOver = stages.spread()
	if bySlot {
		s := slots.spread()
		fig.SlotHandOver = &s
	}
	f.figures.Runs = append(f.figures.Runs, fig)
	return stop()
}

// repeat makes releases and their runs, and measures how long the runs take.
func (f *releases) repeat(ctx context.Context, fig *runFigure, of []*released, repeats int) error {
	var spent processorTime
	for range repeats {
		if err := f.revise(ctx, of); err != nil {
			return err
		}
		before, err := spentByProcessors()
		if err != nil {
			return err
		}
		took, err := f.runAll(ctx, of)
		if err != nil {
			return err
		}
		after, err := spentByProcessors()
		if err != nil {
			return err
		}
		fig.Seconds += took.Seconds()
		spent.all += after.all - before.all
		spent.idle += after.idle - before.idle
	}
	fig.MachineBusy = 1 - spent.idle/spent.all
	return f.arrived(ctx, of)
}

// revise changes the placed objects, and waits until the hub has a revision with the change.
func (f *releases) revise(ctx context.Context, of []*released) error {
	for _, p := range of {
		p.index++
		if err := f.hub.Update(ctx, configMap(p.name, mapName(0), releaseText(p.index))); err != nil {
			return err
		}
	}
	return f.calm(ctx)
}

// runAll creates a run for each placement concurrently, and returns how long it took until the last had succeeded.
func (f *releases) runAll(ctx context.Context, of []*released) (time.Duration, error) {
	begin := time.Now()
	byRun := map[string]*released{}
	var all []string
	for _, p := range of {
		run := fmt.Sprintf("%s-%d", p.name, p.index)
		byRun[run] = p
		all = append(all, run)
	}
	if err := each(all, 16, func(name string) error {
		return f.hub.Create(ctx, &v1beta1.ClusterStagedUpdateRun{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v1beta1.UpdateRunSpec{
				PlacementName: byRun[name].name, StagedUpdateStrategyName: byRun[name].name, State: v1beta1.UpdateRunRun,
			},
		})
	}); err != nil {
		return 0, err
	}
	var last time.Time
	for _, name := range all {
		at, err := f.runs.when(ctx, key("", name), func(e event, ok bool) bool {
			return ok && ended(e.object.(*v1beta1.ClusterStagedUpdateRun)) != nil
		})
		if err != nil {
			return 0, err
		}
		var run v1beta1.ClusterStagedUpdateRun
		if err := f.hub.Get(ctx, client.ObjectKey{Name: name}, &run); err != nil {
			return 0, err
		}
		if c := ended(&run); c.Status != metav1.ConditionTrue || run.Status.ResourceSnapshotIndexUsed != strconv.Itoa(byRun[name].index) {
			return 0, fmt.Errorf("run %s of index %s ended with %s: %s", name, run.Status.ResourceSnapshotIndexUsed, c.Reason, c.Message)
		}
		if at.After(last) {
			last = at
		}
	}
	return last.Sub(begin), nil
}

// arrived waits until the members have the objects of the release; after successful runs that is immediately true.
func (f *releases) arrived(ctx context.Context, of []*released) error {
	for _, p := range of {
		for _, member := range p.members {
			there := key(modelOf(member).local(p.name), mapName(0))
			if _, err := f.bench.members[0].maps.when(ctx, there, holds(payload(releaseText(p.index)))); err != nil {
				return err
			}
		}
	}
	return nil
}

func releaseText(index int) string { return fmt.Sprintf("release %d", index) }

// ended returns the condition with the outcome of a run; nil before.
func ended(run *v1beta1.ClusterStagedUpdateRun) *metav1.Condition {
	if c := meta.FindStatusCondition(run.Status.Conditions, v1beta1.ConditionInitialized); c != nil && c.Status == metav1.ConditionFalse {
		return c
	}
	return meta.FindStatusCondition(run.Status.Conditions, v1beta1.ConditionSucceeded)
}

// handOvers adds how long a release took from each stage to the next, and from each cluster to the next of its stage.
func (f *releases) handOvers(p *released, index int, wait time.Duration, stages, slots *figure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var left time.Time // when the last cluster of the stage before was healthy
	for stage := range stagesOfRuns {
		var first, last, previous time.Time
		for _, member := range p.members {
			if f.stageOf(member) != stage {
				continue
			}
			what := handed{contract.MasterSnapshotName(p.name, index), member}
			given, healthy := f.given[what], f.healthy[what]
			if first.IsZero() || given.Before(first) {
				first = given
			}
			if healthy.After(last) {
				last = healthy
			}
			if !previous.IsZero() {
				*slots = append(*slots, given.Sub(previous))
			}
			previous = healthy
		}
		if !left.IsZero() {
			*stages = append(*stages, first.Sub(left)-wait)
		}
		left = last
	}
}

// calm waits until the hub agent has written nothing but lease renewals for a second.
func (f *releases) calm(ctx context.Context) error {
	for {
		before, err := f.snapshot(ctx)
		if err != nil {
			return err
		}
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
		after, err := f.snapshot(ctx)
		if err != nil {
			return err
		}
		if hub := f.fleet.Hub(); after[hub].hub.minus(before[hub].hub).total() <= 1 {
			return nil
		}
	}
}
