package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// scaleSettings are the sizes of the section "scale".
type scaleSettings struct {
	members, placements, clusters int
	samples, reports, runs, qps   int
	quiet, limit                  time.Duration
	silence, anyway               bool
}

func (s *scaleSettings) addFlags() {
	flag.IntVar(&s.members, "scale-members", 1000, "scale: members, whose agents are models")
	flag.IntVar(&s.placements, "scale-placements", 1000, "scale: placements that stand while others are measured")
	flag.IntVar(&s.clusters, "scale-clusters", 100, "scale: members of each placement; divides -scale-members")
	flag.IntVar(&s.samples, "scale-samples", 20, "scale: placements that are made, edited and deleted one at a time")
	flag.IntVar(&s.reports, "scale-reports", 40, "scale: reports that the measurement of their cost sends, for each size of a placement")
	flag.IntVar(&s.runs, "scale-runs", 100, "scale: update runs of three stages at once")
	flag.IntVar(&s.qps, "scale-qps", 1000, "scale: the chart's value hubAPIQPS of the hub agent; the burst is twice as much")
	flag.DurationVar(&s.quiet, "scale-quiet", time.Minute, "scale: how long to count the requests of a fleet at rest")
	flag.BoolVar(&s.silence, "scale-silence", true, "scale: measure also that one member falls silent, which takes more than five minutes")
	flag.BoolVar(&s.anyway, "scale-anyway", false, "scale: start also if the memory may not suffice")
	flag.DurationVar(&s.limit, "scale-limit", 3*time.Hour, "scale: time after which the measurement ends with an error")
}

// groups is the number of groups of members; each placement is on the members of one.
func (s *scaleSettings) groups() int { return s.members / s.clusters }

func (s *scaleSettings) pairs() int { return s.placements * s.clusters }

// Estimates from fleets of 50 to 200 members on 2 cores; see docs/scale.md. The API server has most of the memory: it
// keeps the objects, and for more than a minute also their earlier states, as decoded JSON.
const (
	scaleBaseMiB, scalePairMiB                             = 1000, 0.6
	scaleBaseSeconds, scaleMemberSeconds, scalePairSeconds = 300, 0.06, 0.035
)

// estimate returns how long the section takes, and how much memory.
func (s *scaleSettings) estimate() (took time.Duration, mib float64) {
	seconds := scaleBaseSeconds + s.quiet.Seconds() + float64(s.members)*scaleMemberSeconds +
		float64(s.pairs()+2*s.runs*s.clusters)*scalePairSeconds
	if s.silence {
		seconds += silenceTakes.Seconds()
	}
	return time.Duration(seconds) * time.Second, scaleBaseMiB + float64(s.pairs()+s.runs*s.clusters)*scalePairMiB
}

// check returns an error if the sizes are impossible or too large for the available memory. It prints what they take.
func (s *scaleSettings) check() error {
	if s.clusters < 1 || s.members < s.clusters || s.members%s.clusters != 0 || s.placements < 1 {
		return fmt.Errorf("-scale-members %d must be a multiple of -scale-clusters %d, and -scale-placements %d positive", s.members, s.clusters, s.placements)
	}
	available, err := availableMiB()
	if err != nil {
		return err
	}
	took, mib := s.estimate()
	progress(fmt.Sprintf("scale: %d members, %d placements on %d each: %d pairs of placement and member. This takes about %s on 2 cores, and %.1f GiB "+
		"of memory; %.1f GiB are available", s.members, s.placements, s.clusters, s.pairs(), took.Round(time.Minute), mib/1024, available/1024))
	if available < mib && !s.anyway {
		return errors.New("not enough memory: free some, use other sizes (-scale-members, -scale-placements, -scale-clusters), or set -scale-anyway")
	}
	return nil
}

// scaleFigures are the results of the section.
type scaleFigures struct {
	Members    int `json:"members"`
	Placements int `json:"placements"`
	Clusters   int `json:"clustersOfAPlacement"`
	HubAPIQPS  int `json:"hubAPIQPS"`
	// Steps are how long each step took, in seconds.
	Steps map[string]float64 `json:"stepsSeconds"`
	// Joined are the joins of all members, and Placed the placing of all placements, at once.
	Joined effort `json:"joined"`
	Placed effort `json:"placed"`
	// Memory is that of the hub agent after the steps.
	Memory []scaleMemory `json:"memory"`
	Stored []storedKind  `json:"stored"`
	// BytesPerPair are the bytes of Works, bindings and snapshots for each placement and member, and FileMiB the size of
	// etcd's file.
	BytesPerPair float64 `json:"bytesPerPair"`
	FileMiB      float64 `json:"etcdFileMiB"`
	Quiet        struct {
		apiLoad
		// Heartbeats are those that members sent, Agent the requests of the hub agent.
		Heartbeats  float64 `json:"heartbeatsPerMinute"`
		AgentReads  float64 `json:"agentReadsPerMinute"`
		AgentWrites float64 `json:"agentWritesPerMinute"`
		AgentCores  float64 `json:"agentCores"`
		HubCores    float64 `json:"hubCores"`
	} `json:"quiet"`
	// One is one placement at a time while all others stand.
	One      map[string]spread `json:"oneAtATime"`
	OneCosts map[string]effort `json:"oneAtATimeCosts"`
	Reports  []reportCost      `json:"reports"`
	Runs     []scaleRuns       `json:"runs"`
	Restart  scaleRestart      `json:"restart"`
	Changes  []scaleChange     `json:"changes"`
}

// scaleMemory is the memory of the hub agent, of the process with API server and etcd, and of the models.
type scaleMemory struct {
	When string `json:"when"`
	usage
	GoHeapMiB  float64 `json:"goHeapMiB"`
	HubMiB     float64 `json:"hubResidentMiB"`
	HubPeakMiB float64 `json:"hubPeakMiB"`
	ModelMiB   float64 `json:"modelResidentMiB"`
}

// reportCost is the cost of one report of one member, for a placement on so many.
type reportCost struct {
	Clusters int `json:"clustersOfThePlacement"`
	Reports  int `json:"reports"`
	effort
}

// scaleRuns are update runs that were created at once.
type scaleRuns struct {
	What string `json:"what"`
	spread
	effort
}

// scaleRestart are restarts of the hub agent.
type scaleRestart struct {
	// Rechecked is the time until every binding has been reconciled and all queues are empty.
	Rechecked float64 `json:"recheckedSeconds"`
	// Looked is the time until it has written to a placement that was created while it was stopped, Placed until the
	// members have it, Available until its status reports so.
	Looked    float64 `json:"lookedSeconds"`
	Placed    float64 `json:"placedSeconds"`
	Available float64 `json:"availableSeconds"`
	effort
}

// scaleChange is a change of one member.
type scaleChange struct {
	What string `json:"what"`
	// Concerned are the placements that it concerns, Seconds the time until they are on the member.
	Concerned int     `json:"concerned"`
	Seconds   float64 `json:"seconds"`
	effort
}

// scaled is the running section.
type scaled struct {
	*bench
	sizes    scaleSettings
	figures  *scaleFigures
	hollow   *hollowFleet
	server   *apiServer
	clusters *log
	runs     *log
	// leases are the renewals of the hub agent's lease; own are the writes of the measurement to MemberClusters.
	leases *counter
	own    int
}

// fleetAtScale measures one hub with many members, whose agents are models.
func fleetAtScale(ctx context.Context, s settings, r *results) error {
	if err := s.scale.check(); err != nil {
		return err
	}
	config := localfleet.Config{Members: []localfleet.Member{}}
	config.Hub.Agent.Values = map[string]any{"enablePprof": true, "hubAPIQPS": s.scale.qps, "hubAPIBurst": 2 * s.scale.qps}
	return onFleetFor(ctx, s.scale.limit, config, func(ctx context.Context, b *bench) error {
		b.profiles = s.profiles
		f := &scaled{bench: b, sizes: s.scale, figures: &scaleFigures{
			Members: s.scale.members, Placements: s.scale.placements, Clusters: s.scale.clusters, HubAPIQPS: s.scale.qps,
			Steps: map[string]float64{}, One: map[string]spread{}, OneCosts: map[string]effort{},
		}}
		r.Scale = f.figures
		if err := f.open(ctx); err != nil {
			return err
		}
		steps := []step{
			{"join", f.join}, {"place", f.place}, {"at rest", f.atRest}, {"one at a time", f.oneAtATime}, {"reports", f.reports},
			{"runs", f.updateRuns}, {"restart", f.restarts}, {"changes", f.changes},
		}
		if s.scale.silence {
			steps = append(steps, step{"silence", f.silence})
		}
		return f.all(ctx, steps)
	})
}

// step is a part of the section.
type step struct {
	name string
	do   func(context.Context) error
}

// all takes the steps one after the other.
func (f *scaled) all(ctx context.Context, steps []step) error {
	for i, step := range steps {
		progress(fmt.Sprintf("scale: step %d of %d: %s", i+1, len(steps), step.name))
		begin := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		f.figures.Steps[step.name] = time.Since(begin).Seconds()
		progress(fmt.Sprintf("scale: %s took %s", step.name, time.Since(begin).Round(time.Second)))
	}
	return nil
}

func (f *scaled) open(ctx context.Context) error {
	hub := f.fleet.Hub()
	cfg, err := f.fleet.RestConfig(hub)
	if err != nil {
		return err
	}
	if f.server, err = newAPIServer(cfg, filepath.Join(f.fleet.Dir(), hub, "data", "etcd")); err != nil {
		return err
	}
	if f.hollow, err = newHollowFleet(cfg, f.hub, manifestsAtScale); err != nil {
		return err
	}
	f.hollow.start(ctx)
	if f.clusters, err = follow(ctx, f.hub, &clusterv1beta1.MemberClusterList{}); err != nil {
		return err
	}
	if f.runs, err = follow(ctx, f.hub, &v1beta1.ClusterStagedUpdateRunList{}); err != nil {
		return err
	}
	f.leases, err = countWrites(ctx, f.hub, &coordinationv1.LeaseList{}, client.InNamespace(contract.NamespaceSystem))
	return err
}

// effort is what the hub agent did for something: without heartbeats, which it copies to MemberClusters, and without
// renewals of its lease.
type effort struct {
	Seconds    float64 `json:"wholeSeconds"`
	CPUSeconds float64 `json:"cpuSeconds"`
	// HubCPUSeconds are those of the process with the hub's API server, etcd and controllers, ModelCPUSeconds those of
	// the models and of the measurement.
	HubCPUSeconds   float64 `json:"hubCPUSeconds"`
	ModelCPUSeconds float64 `json:"modelCPUSeconds"`

	Reads  float64 `json:"reads"`
	Writes float64 `json:"writes"`
	// Reconciles are by controller.
	Reconciles map[string]float64 `json:"reconciles"`
}

// agentState is what the hub agent did so far, and what it has to do.
type agentState struct {
	at  time.Time
	pid int
	usage
	heapMiB        float64
	reads, writes  float64
	queued, active float64
	reconciles     map[string]float64
	// routine are its heartbeats and lease renewals among the writes.
	routine float64
	// hub is the process of the API server, models this one.
	hub, models usage
}

// agent reads the state of the hub agent.
func (f *scaled) agent(ctx context.Context) (agentState, error) {
	hub := f.fleet.Hub()
	out := agentState{at: time.Now(), pid: f.fleet.AgentPID(hub), reconciles: map[string]float64{}}
	families, err := metricsOf(ctx, f.server.http, f.fleet.AgentMetricsURL(hub))
	if err != nil {
		return out, err
	}
	out.routine = float64(f.memberClusters.value() - f.own + f.leases.value())
	for _, m := range families["rest_client_requests_total"].GetMetric() {
		if label(m, "method") == "GET" {
			out.reads += m.GetCounter().GetValue()
		} else {
			out.writes += m.GetCounter().GetValue()
		}
	}
	for _, m := range families["controller_runtime_reconcile_total"].GetMetric() {
		out.reconciles[label(m, "controller")] += m.GetCounter().GetValue()
	}
	for _, m := range families["workqueue_depth"].GetMetric() {
		out.queued += m.GetGauge().GetValue()
	}
	for _, m := range families["controller_runtime_active_workers"].GetMetric() {
		out.active += m.GetGauge().GetValue()
	}
	for _, m := range families["go_memstats_heap_inuse_bytes"].GetMetric() {
		out.heapMiB = m.GetGauge().GetValue() / (1 << 20)
	}
	var errs [3]error
	out.usage, errs[0] = usageOf(out.pid)
	out.hub, errs[1] = usageOf(f.fleet.ClusterPID(hub))
	out.models, errs[2] = usageOf(os.Getpid())
	return out, errors.Join(errs[:]...)
}

// since returns what the hub agent did since before. The counts of another process start at zero.
func (s agentState) since(before agentState) effort {
	if s.pid != before.pid {
		before = agentState{at: before.at, routine: before.routine, hub: before.hub, models: before.models}
	}
	out := effort{
		Seconds: s.at.Sub(before.at).Seconds(), CPUSeconds: s.CPUSeconds - before.CPUSeconds,
		HubCPUSeconds: s.hub.CPUSeconds - before.hub.CPUSeconds, ModelCPUSeconds: s.models.CPUSeconds - before.models.CPUSeconds,
		Reads:  s.reads - before.reads,
		Writes: s.writes - before.writes - (s.routine - before.routine), Reconciles: map[string]float64{},
	}
	for controller, n := range s.reconciles {
		if d := n - before.reconciles[controller]; d > 0 {
			out.Reconciles[controller] = d
		}
	}
	return out
}

func (e effort) each(n int) effort {
	by := float64(max(1, n))
	out := effort{
		Seconds: e.Seconds / by, CPUSeconds: e.CPUSeconds / by, HubCPUSeconds: e.HubCPUSeconds / by, ModelCPUSeconds: e.ModelCPUSeconds / by,
		Reads: e.Reads / by, Writes: e.Writes / by, Reconciles: map[string]float64{},
	}
	for controller, n := range e.Reconciles {
		out.Reconciles[controller] = n / by
	}
	return out
}

// during measures what the hub agent does for something until it is at rest again.
func (f *scaled) during(ctx context.Context, do func() error) (effort, error) {
	before, err := f.agent(ctx)
	if err != nil {
		return effort{}, err
	}
	if err := do(); err != nil {
		return effort{}, err
	}
	after, err := f.calm(ctx)
	return after.since(before), err
}

// calm waits until the hub agent has nothing to do and writes nothing but heartbeats and its lease.
func (f *scaled) calm(ctx context.Context) (agentState, error) {
	// A watch may be behind the agent's own count: by a few heartbeats of a large fleet.
	few := 2 + float64(f.sizes.members)/100
	for {
		before, err := f.agent(ctx)
		if err != nil {
			return before, err
		}
		if err := wait(ctx, 2*time.Second); err != nil {
			return before, err
		}
		after, err := f.agent(ctx)
		if err != nil {
			return after, err
		}
		if after.queued == 0 && after.active == 0 && after.since(before).Writes <= few {
			return after, nil
		}
	}
}

// remember records the memory of the hub agent.
func (f *scaled) remember(ctx context.Context, when string) error {
	agent, err := f.agent(ctx)
	if err != nil {
		return err
	}
	f.figures.Memory = append(f.figures.Memory, scaleMemory{
		When: when, usage: agent.usage, GoHeapMiB: agent.heapMiB, HubMiB: agent.hub.ResidentMiB, HubPeakMiB: agent.hub.PeakMiB,
		ModelMiB: agent.models.ResidentMiB,
	})
	return nil
}

func (e effort) String() string {
	var all []string
	for _, controller := range slices.Sorted(maps.Keys(e.Reconciles)) {
		all = append(all, fmt.Sprintf("%s %.4g", controller, e.Reconciles[controller]))
	}
	return fmt.Sprintf("CPU %.4g s, of the API server %.4g s; %.4g reads, %.4g writes; reconciliations: %s", e.CPUSeconds, e.HubCPUSeconds, e.Reads, e.Writes,
		strings.Join(all, ", "))
}

func (f *scaleFigures) print(w io.Writer) error {
	pairs := f.Placements * f.Clusters
	fmt.Fprintf(w, "\nscale: %d members, %d placements on %d each: %d pairs; hubAPIQPS %d\n", f.Members, f.Placements, f.Clusters, pairs, f.HubAPIQPS)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  figure\tmeasured\ttarget\tpublished by today's leader")
	row := func(figure, measured, target, leader string) {
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", figure, measured, target, leader)
	}
	row("new placement: on all its members", f.One["placed"].seconds(), "", "")
	row("new placement: Available", f.One["available"].seconds(), "p90 2 s", "p90 20 s")
	row("edit: on all members", f.One["edited"].seconds(), "", "")
	row("edit: Available", f.One["edited, available"].seconds(), "p90 2 s", "–")
	row("deletion: placement gone", f.One["deleted"].seconds(), "", "–")
	for _, r := range f.Runs {
		row(r.What, r.seconds(), "p90 30 s", "p90 135 s")
	}
	for _, m := range f.Memory {
		row("hub agent memory, "+m.When, fmt.Sprintf("%.0f MiB, peak %.0f, Go heap %.0f (API server and etcd: %.0f)", m.ResidentMiB, m.PeakMiB, m.GoHeapMiB, m.HubMiB),
			"1.5 GB, 2 GB after restart", "11.2 GB")
	}
	row("restart: until all is checked again", fmt.Sprintf("%.1f s, %.0f writes, CPU %.1f s", f.Restart.Rechecked, f.Restart.Writes, f.Restart.CPUSeconds), "60 s, 0 writes", "–")
	row("restart: until it looks at new work", fmt.Sprintf("%.1f s, on members after %.1f, Available %.1f", f.Restart.Looked, f.Restart.Placed, f.Restart.Available),
		"10 s", "p90 675 s")
	row("bytes stored for each pair", fmt.Sprintf("%.0f (etcd's file: %.0f MiB)", f.BytesPerPair, f.FileMiB), "a third of the leader's", "1.6 GB in all")
	q := f.Quiet
	row("at rest, each minute", fmt.Sprintf("%.0f heartbeats; hub agent %.0f reads, %.0f writes, %.3f cores", q.Heartbeats, q.AgentReads, q.AgentWrites, q.AgentCores),
		"heartbeats alone", "–")
	row("at rest, API server each minute", fmt.Sprintf("%.0f reads, %.0f writes, %.2f cores", q.Reads, q.Writes, q.HubCores), "", "")
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "  all members joined: %.1f s; %s\n", f.Joined.Seconds, f.Joined)
	fmt.Fprintf(w, "  all placements placed: %.1f s; %s\n", f.Placed.Seconds, f.Placed)
	fmt.Fprintf(w, "    for each pair: %.2f writes, CPU %.2f ms, of the API server %.2f ms, of the model %.2f ms\n", f.Placed.Writes/float64(pairs),
		1000*f.Placed.CPUSeconds/float64(pairs), 1000*f.Placed.HubCPUSeconds/float64(pairs), 1000*f.Placed.ModelCPUSeconds/float64(pairs))
	for _, what := range slices.Sorted(maps.Keys(f.OneCosts)) {
		fmt.Fprintf(w, "  %s of one placement: %s\n", what, f.OneCosts[what])
	}
	for _, r := range f.Reports {
		fmt.Fprintf(w, "  one report, placement on %d members: %s\n", r.Clusters, r.effort)
	}
	for _, r := range f.Runs {
		fmt.Fprintf(w, "  %s: %.1f s in all; %s\n", r.What, r.Seconds, r.effort)
	}
	for _, c := range f.Changes {
		fmt.Fprintf(w, "  %s: %d placements concerned, %.1f s; %s\n", c.What, c.Concerned, c.Seconds, c.effort)
	}
	for _, k := range f.Stored {
		fmt.Fprintf(w, "  stored: %s: %d objects of %.0f bytes, %.1f MiB\n", k.Kind, k.Objects, k.MeanBytes, k.MiB)
	}
	for _, name := range slices.Sorted(maps.Keys(q.Most)) {
		fmt.Fprintf(w, "  at rest, each minute: %.0f %s\n", q.Most[name], name)
	}
	return nil
}

func (s spread) seconds() string {
	return fmt.Sprintf("p50 %.2f s, p90 %.2f, max %.2f (%d)", s.P50, s.P90, s.Max, s.N)
}
