// Command bench measures a fleet of embedded clusters, one hub and three members, and prints a table and JSON.
//
// Every duration is printed with its floor: the duration if one client writes the same objects directly to all members
// in parallel, in the same run. All API writes are counted at the agents' clients (rest_client_requests_total).
// Heartbeats and lease renewals, which never stop, are counted separately by watching the objects that they change.
// CPU seconds and peak memory are those of the agents' processes, from the kernel.
//
// Measurements are in sections, each with its own clusters; -only selects some of them. The section "scale" takes long,
// and runs only if it is selected.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr/funcr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

type settings struct {
	single, burst, maps int
	quiet               time.Duration
	only, out, profiles string
	last                string
	selection           selectionSettings
	scheduling          schedulingSettings
	member              memberSettings
	runs                runsSettings
	admission           admissionSettings
	failover            failoverSettings
	division            divisionSettings
	trace               traceSettings
	scale               scaleSettings
}

// section is a part of the measurements that can run alone: it starts and stops its fleet, and stores its figures in
// results.
type section struct {
	name string
	run  func(ctx context.Context, s settings, r *results) error
	// large sections run only if -only names them.
	large bool
}

// sections are in the order in which they run.
var sections = []section{
	{name: "main", run: whole},
	{name: "selection", run: selectAtScale},
	{name: "scheduling", run: scheduleAtScale},
	{name: "member", run: memberAtScale},
	{name: "runs", run: runAtScale},
	{name: "admission", run: admissionTimes},
	{name: "failover", run: failoverTimes},
	{name: "division", run: divisionTimes},
	{name: "trace", run: followChanges},
	{name: "scale", run: fleetAtScale, large: true},
}

func main() {
	var s settings
	flag.IntVar(&s.single, "single", 20, "placements made one at a time")
	flag.IntVar(&s.burst, "burst", 100, "placements made concurrently")
	flag.IntVar(&s.maps, "maps", 300, "config maps of the large placement")
	flag.DurationVar(&s.quiet, "quiet", time.Minute, "how long to watch an idle fleet")
	s.selection.addFlags()
	s.scheduling.addFlags()
	s.member.addFlags()
	s.runs.addFlags()
	s.admission.addFlags()
	s.failover.addFlags()
	s.division.addFlags()
	s.trace.addFlags()
	s.scale.addFlags()
	flag.StringVar(&s.profiles, "profiles", "",
		"directory for profiles of the hub agent, which the sections selection, runs and scale take; none by default")
	flag.StringVar(&s.only, "only", "", "comma-separated sections to run: "+strings.Join(sectionNames(), ", ")+"; by default all but scale")
	flag.StringVar(&s.last, "last", "test/bench/last.json", "results of an earlier run; what is slower now is printed")
	flag.StringVar(&s.out, "out", "out/bench.json", "output file for the JSON")
	flag.Parse()
	// Only errors, because many agents run in this process.
	ctrl.SetLogger(funcr.New(func(prefix, text string) { progress(prefix + " " + text) }, funcr.Options{Verbosity: -1}))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, s)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// bench is a fleet and the watches on it.
type bench struct {
	fleet      *localfleet.Fleet
	profiles   string
	hub        client.WithWatch
	members    []member
	placements *log
	// routine counts the writes of idle agents: heartbeats on the hub, leases on the hub and on members.
	routineHub, routineMember []*counter
	// memberClusters counts the changes of MemberClusters alone, which the hub agent makes.
	memberClusters *counter
}

type member struct {
	client.WithWatch
	name string
	maps *log
}

func sectionNames() []string {
	var out []string
	for _, section := range sections {
		out = append(out, section.name)
	}
	return out
}

// chosen returns the sections that only lists; all but the large ones if it is empty.
func chosen(only string) ([]section, error) {
	if only == "" {
		return slices.DeleteFunc(slices.Clone(sections), func(s section) bool { return s.large }), nil
	}
	var out []section
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(sections, func(s section) bool { return s.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("-only %s: there is no section %q; there are %s", only, name, strings.Join(sectionNames(), ", "))
		}
		out = append(out, sections[i])
	}
	return out, nil
}

func run(ctx context.Context, s settings) error {
	wanted, err := chosen(s.only)
	if err != nil {
		return err
	}
	r := results{When: time.Now().UTC(), Agents: map[string]usage{}}
	var failed error
	for _, section := range wanted {
		if err := section.run(ctx, s, &r); err != nil {
			failed = fmt.Errorf("%s: %w", section.name, err)
			break // what was measured before is printed all the same
		}
	}
	if err := r.save(s.out); err != nil {
		return errors.Join(failed, err)
	}
	fmt.Println()
	return errors.Join(failed, r.print(os.Stdout), r.compare(os.Stdout, s.last))
}

// onFleet starts a fleet from config, whose zero value is the default fleet, and stops it when do has returned.
func onFleet(ctx context.Context, config localfleet.Config, do func(context.Context, *bench) error) error {
	return onFleetFor(ctx, 30*time.Minute, config, do)
}

// onFleetFor is the same with a limit for the time of do.
func onFleetFor(ctx context.Context, limit time.Duration, config localfleet.Config, do func(context.Context, *bench) error) (err error) {
	dir, err := os.MkdirTemp("", "flagship-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config = plainMetrics(config)
	progress("starting a fleet")
	fleet, err := localfleet.Start(ctx, localfleet.Options{
		Config: config, Dir: dir,
		Progress: func(e localfleet.Event) { progress("  " + e.Cluster + ": " + e.Text) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fleet.Stop(context.WithoutCancel(ctx))) }()

	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b, err := open(ctx, fleet)
	if err != nil {
		return err
	}
	return do(ctx, b)
}

// plainMetrics makes the agents serve their metrics without authentication: a TokenReview is a write, and writes are
// counted.
func plainMetrics(config localfleet.Config) localfleet.Config {
	if config.Members == nil {
		config.Members = localfleet.DefaultConfig().Members
	}
	clusters := []*localfleet.Cluster{&config.Hub.Cluster}
	for i := range config.Members {
		clusters = append(clusters, &config.Members[i].Cluster)
	}
	for _, c := range clusters {
		flags := map[string]string{"metrics-secure": "false"}
		maps.Copy(flags, c.Agent.Flags)
		c.Agent.Flags = flags
	}
	return config
}

// whole is the section "main": placements from the hub to three members.
func whole(ctx context.Context, s settings, r *results) error {
	return onFleet(ctx, localfleet.Config{}, func(ctx context.Context, b *bench) error {
		for _, phase := range []func(context.Context, settings, *results) error{b.oneAtATime, b.inABurst, b.large, b.quiet} {
			if err := phase(ctx, s, r); err != nil {
				return err
			}
		}
		return nil
	})
}

func progress(text string) { fmt.Fprintln(os.Stderr, text) }

func open(ctx context.Context, fleet *localfleet.Fleet) (*bench, error) {
	b := &bench{fleet: fleet}
	connect := func(name string) (client.WithWatch, error) {
		cfg, err := fleet.RestConfig(name)
		if err != nil {
			return nil, err
		}
		return client.NewWithWatch(cfg, client.Options{Scheme: apis.Scheme()})
	}
	var err error
	if b.hub, err = connect(fleet.Hub()); err != nil {
		return nil, err
	}
	if err = served(ctx, b.hub); err != nil {
		return nil, err
	}
	if b.placements, err = follow(ctx, b.hub, &v1beta1.ClusterResourcePlacementList{}); err != nil {
		return nil, err
	}
	for _, list := range []client.ObjectList{&coordinationv1.LeaseList{}, &clusterv1beta1.InternalMemberClusterList{}, &clusterv1beta1.MemberClusterList{}} {
		n, err := countWrites(ctx, b.hub, list)
		if err != nil {
			return nil, err
		}
		b.routineHub = append(b.routineHub, n)
	}
	b.memberClusters = b.routineHub[2]
	for _, name := range fleet.Members() {
		c, err := connect(name)
		if err != nil {
			return nil, err
		}
		maps, err := follow(ctx, c, &corev1.ConfigMapList{}, client.MatchingLabels{"bench": "true"})
		if err != nil {
			return nil, err
		}
		// Without the leases of nodes and of the control plane.
		n, err := countWrites(ctx, c, &coordinationv1.LeaseList{}, client.InNamespace("fleet-system"))
		if err != nil {
			return nil, err
		}
		m, err := countWrites(ctx, c, &coordinationv1.LeaseList{}, client.InNamespace("kube-system"))
		if err != nil {
			return nil, err
		}
		b.routineMember = append(b.routineMember, n, m)
		b.members = append(b.members, member{WithWatch: c, name: name, maps: maps})
	}
	return b, nil
}

// served returns when the hub serves placements: a fleet without members starts before discovery has them.
func served(ctx context.Context, hub client.Client) error {
	for {
		err := hub.List(ctx, &v1beta1.ClusterResourcePlacementList{})
		if !meta.IsNoMatchError(err) {
			return err
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func names(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s-%03d", prefix, i))
	}
	return out
}

// oneAtATime makes, edits and deletes one placement after the other.
func (b *bench) oneAtATime(ctx context.Context, s settings, r *results) error {
	progress(fmt.Sprintf("%d placements one at a time", s.single))
	var ours, floor sample
	all := names("single", s.single+1)
	if err := b.prepare(ctx, all, 1); err != nil {
		return err
	}
	for i, name := range all {
		var one sample
		if err := errors.Join(b.cycle(ctx, &one, []string{name}, 1, 1), b.rest(ctx)); err != nil {
			return err
		}
		f, err := b.floor(ctx, []string{"floor-" + name}, 1, 1)
		if err := errors.Join(err, b.rest(ctx)); err != nil {
			return err
		}
		if i == 0 {
			continue // the first one opens connections and watches
		}
		ours.append(one.times)
		floor.append(f)
	}
	r.latency("one at a time", ours.times, floor.times)
	return nil
}

// inABurst makes, edits and deletes many placements concurrently, and counts every write.
func (b *bench) inABurst(ctx context.Context, s settings, r *results) error {
	progress(fmt.Sprintf("a burst of %d placements", s.burst))
	all := names("burst", s.burst)
	if err := b.prepare(ctx, all, 1); err != nil {
		return err
	}
	var ours sample
	for _, name := range append(b.fleet.Members(), b.fleet.Hub()) {
		if pid := b.fleet.AgentPID(name); pid > 0 {
			if err := resetPeak(pid); err != nil {
				return fmt.Errorf("reset the peak of %s: %w", name, err)
			}
		}
	}
	pairs := s.burst * len(b.members)
	steps := []struct {
		name    string
		objects int
		do      func() error
	}{
		{"burst: create", 2 * pairs, func() error { return b.create(ctx, &ours, all, 16, 1) }},
		{"burst: edit", pairs, func() error { return b.edit(ctx, &ours, all, 16, 1) }},
		{"burst: delete", 0, func() error { return b.remove(ctx, &ours, all, 16, 1) }},
	}
	total := count{Phase: "burst: all three", Hub: writes{}, Member: writes{}, Pairs: pairs}
	for _, step := range steps {
		c, err := b.counted(ctx, step.name, pairs, step.objects, step.do)
		if err != nil {
			return err
		}
		r.Counts = append(r.Counts, c)
		total.Hub, total.Member = total.Hub.plus(c.Hub), total.Member.plus(c.Member)
		total.RoutineHub += c.RoutineHub
		total.RoutineMember += c.RoutineMember
		total.Objects += c.Objects
	}
	r.Counts = append(r.Counts, total)
	for _, name := range append([]string{b.fleet.Hub()}, b.fleet.Members()...) {
		u, err := usageOf(b.fleet.AgentPID(name))
		if err != nil {
			return fmt.Errorf("usage of the agent of %s: %w", name, err)
		}
		r.Agents[name] = u
	}
	var floorNames []string
	for _, name := range all {
		floorNames = append(floorNames, "floor-"+name)
	}
	if err := b.rest(ctx); err != nil {
		return err
	}
	floor, err := b.floor(ctx, floorNames, 1, 1)
	if err := errors.Join(err, b.rest(ctx)); err != nil {
		return err
	}
	r.latency("burst", ours.times, floor)
	return nil
}

// large places one namespace of many config maps, and edits all of them one after the other.
func (b *bench) large(ctx context.Context, s settings, r *results) error {
	progress(fmt.Sprintf("one placement of %d config maps", s.maps))
	all := []string{"large"}
	if err := b.prepare(ctx, all, s.maps); err != nil {
		return err
	}
	var ours sample
	if err := b.create(ctx, &ours, all, 1, s.maps); err != nil {
		return err
	}
	edit, err := b.counted(ctx, fmt.Sprintf("%d maps: edit", s.maps), len(b.members), s.maps*len(b.members), func() error {
		return b.edit(ctx, &ours, all, 1, s.maps)
	})
	if err != nil {
		return err
	}
	r.Counts = append(r.Counts, edit)
	r.Edits300.Seconds = ours.editedWhole.Seconds()
	r.Edits300.Patches = edit.Member["PATCH"]
	if err := b.remove(ctx, &ours, all, 1, s.maps); err != nil {
		return err
	}
	if err := b.rest(ctx); err != nil {
		return err
	}
	floor, err := b.floor(ctx, []string{"floor-large"}, 1, s.maps)
	if err := errors.Join(err, b.rest(ctx)); err != nil {
		return err
	}
	r.latency(fmt.Sprintf("%d maps", s.maps), ours.times, floor)
	return nil
}

// quiet counts writes while nothing changes, and after a restart of each agent.
func (b *bench) quiet(ctx context.Context, s settings, r *results) error {
	const placed = 50
	all := names("quiet", placed)
	if err := b.prepare(ctx, all, 1); err != nil {
		return err
	}
	var unused sample
	if err := b.create(ctx, &unused, all, 16, 1); err != nil {
		return err
	}
	if err := wait(ctx, 5*time.Second); err != nil {
		return err
	}
	first := b.fleet.Members()[0]
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"quiet", func() error { return nil }},
		{"restart of the hub agent", func() error { return b.restart(ctx, b.fleet.Hub()) }},
		{"restart of a member agent", func() error { return b.restart(ctx, first) }},
	} {
		progress(fmt.Sprintf("%s of writes with %d placements: %s", s.quiet, placed, step.name))
		c, err := b.counted(ctx, step.name, 0, 0, func() error {
			if err := step.do(); err != nil {
				return err
			}
			return wait(ctx, s.quiet)
		})
		if err != nil {
			return err
		}
		r.Counts = append(r.Counts, c)
	}
	return b.remove(ctx, &unused, all, 16, 1)
}

func (b *bench) restart(ctx context.Context, name string) error {
	if err := b.fleet.StopAgent(ctx, name); err != nil {
		return err
	}
	return b.fleet.StartAgent(ctx, name)
}

func (b *bench) cycle(ctx context.Context, s *sample, names []string, atOnce, maps int) error {
	return errors.Join(b.create(ctx, s, names, atOnce, maps), b.edit(ctx, s, names, atOnce, maps), b.remove(ctx, s, names, atOnce, maps))
}

func (s *sample) append(t times) {
	s.placed = append(s.placed, t.placed...)
	s.available = append(s.available, t.available...)
	s.edited = append(s.edited, t.edited...)
	s.deleted = append(s.deleted, t.deleted...)
}

// counted runs do and counts the agents' writes meanwhile. The count of an agent that do restarts starts at zero.
func (b *bench) counted(ctx context.Context, phase string, pairs, objects int, do func() error) (count, error) {
	c := count{Phase: phase, Hub: writes{}, Member: writes{}, Pairs: pairs, Objects: objects}
	before, err := b.snapshot(ctx)
	if err != nil {
		return c, err
	}
	routineHub, routineMember := sum(b.routineHub), sum(b.routineMember)
	if err := do(); err != nil {
		return c, fmt.Errorf("%s: %w", phase, err)
	}
	after, err := b.snapshot(ctx)
	if err != nil {
		return c, err
	}
	c.RoutineHub, c.RoutineMember = sum(b.routineHub)-routineHub, sum(b.routineMember)-routineMember
	for agent, now := range after {
		was := before[agent]
		if now.pid != was.pid {
			was = agentWrites{}
		}
		c.Hub = c.Hub.plus(now.hub.minus(was.hub))
		c.Member = c.Member.plus(now.member.minus(was.member))
	}
	return c, nil
}

type agentWrites struct {
	pid         int
	hub, member writes
}

func (b *bench) snapshot(ctx context.Context) (map[string]agentWrites, error) {
	cfg, err := b.fleet.RestConfig(b.fleet.Hub())
	if err != nil {
		return nil, err
	}
	hubHost := strings.TrimPrefix(cfg.Host, "https://")
	out := map[string]agentWrites{}
	for _, name := range append([]string{b.fleet.Hub()}, b.fleet.Members()...) {
		hosts, err := scrape(ctx, b.fleet.AgentMetricsURL(name))
		if err != nil {
			return nil, fmt.Errorf("agent of %s, log %s: %w", name, filepath.Base(b.fleet.AgentLog(name)), err)
		}
		w := agentWrites{pid: b.fleet.AgentPID(name), hub: writes{}, member: writes{}}
		for host, n := range hosts {
			if host == hubHost {
				w.hub = w.hub.plus(n)
			} else {
				w.member = w.member.plus(n)
			}
		}
		out[name] = w
	}
	return out, nil
}

func sum(counters []*counter) int {
	n := 0
	for _, c := range counters {
		n += c.value()
	}
	return n
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
