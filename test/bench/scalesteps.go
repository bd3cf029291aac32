package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/report"
)

const (
	// groupLabel is the group of a member, firstLabel is on the first members, by their number.
	groupLabel, firstLabel = "bench/group", "bench/first-"
	// spareLabel is in no selector.
	spareLabel = "bench/spare"
	// reportsEvery is the time between two reports while their cost is measured. They are about reportedAtOnce placements
	// in turn, so that the time between two about the same one is longer than the hub agent delays a status: it writes
	// one for each.
	reportsEvery, reportedAtOnce = 300 * time.Millisecond, 4
	// silenceTakes is how long a member must be silent until nothing new is placed on it, and a little longer.
	silenceTakes = 5*time.Minute + 20*time.Second
)

// reportSizes are how many members have the placements for which the cost of a report is measured.
var reportSizes = []int{10, 100, 1000}

func hollowName(i int) string { return fmt.Sprintf("hollow-%04d", i) }

func groupName(i int) string { return fmt.Sprintf("group-%03d", i) }

// labels are those of a member. Each group has members of all stages.
func (s *scaleSettings) labels(i int) map[string]string {
	out := map[string]string{groupLabel: groupName(i % s.groups()), stageLabel: stageName(i / s.groups() % stagesOfRuns)}
	for _, size := range reportSizes {
		if i < size && size <= s.members {
			out[firstLabel+strconv.Itoa(size)] = "yes"
		}
	}
	return out
}

// objectsAtScale are the objects of a placement beside its namespace: one ConfigMap of 1 KiB, and one Deployment
// without replicas.
func objectsAtScale(name, mark string) []client.Object {
	const kib = 1024
	data := map[string]string{"data": mark + strings.Repeat("x", kib-len(mark))}
	pod := map[string]string{"app": "web"}
	return []client.Object{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "settings"}, Data: data},
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "web"},
			Spec: appsv1.DeploymentSpec{
				Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: pod},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: pod},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example/web:1"}}},
				},
			},
		},
	}
}

// manifestsAtScale are the outcomes that a member agent reports for these objects.
func manifestsAtScale(placement string) []report.Manifest {
	done := report.Finding{Reason: v1beta1.ReasonManifestApplied, Message: "Applied"}
	available := report.Finding{Reason: v1beta1.ReasonManifestAvailable, Message: "Available"}
	out := []report.Manifest{
		{Identifier: v1beta1.WorkResourceIdentifier{Version: "v1", Kind: "Namespace", Resource: "namespaces", Name: placement}},
		{Identifier: v1beta1.WorkResourceIdentifier{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: placement, Name: "settings"}},
		{Identifier: v1beta1.WorkResourceIdentifier{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespace: placement, Name: "web"}},
	}
	for i := range out {
		out[i].Identifier.Ordinal, out[i].Applied, out[i].Available = i, done, available
	}
	out[len(out)-1].Generation = 1
	return out
}

// placementAtScale is a placement on all members with a label.
func placementAtScale(name, label, value string) *v1beta1.ClusterResourcePlacement {
	p := placement(name)
	p.Spec.Policy.Affinity = &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &v1beta1.ClusterSelector{ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{
			{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{label: value}}},
		}},
	}}
	return p
}

// create creates an object, and tries again while the API server is too busy to answer.
func (f *scaled) create(ctx context.Context, o client.Object) error {
	for {
		err := f.hub.Create(ctx, o)
		switch {
		case apierrors.IsAlreadyExists(err):
			return nil // an attempt without an answer was successful
		case !apierrors.IsTimeout(err) && !apierrors.IsServerTimeout(err) && !apierrors.IsInternalError(err):
			return err
		}
		progress(fmt.Sprintf("scale: create %T %s: %v", o, o.GetName(), err))
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

// prepareAll creates the namespaces and objects of placements.
func (f *scaled) prepareAll(ctx context.Context, all []string) error {
	return each(all, 16, func(name string) error {
		if err := f.create(ctx, namespace(name)); err != nil {
			return err
		}
		for _, o := range objectsAtScale(name, "one") {
			if err := f.create(ctx, o); err != nil {
				return err
			}
		}
		return nil
	})
}

// join creates the members.
func (f *scaled) join(ctx context.Context) error {
	var all []string
	for i := range f.sizes.members {
		all = append(all, hollowName(i))
	}
	cost, err := f.during(ctx, func() error { return f.joinHollow(ctx, all, f.sizes.labels) })
	f.figures.Joined = cost
	return err
}

func (f *scaled) joinHollow(ctx context.Context, all []string, labels func(i int) map[string]string) error {
	return f.joinAll(ctx, f.clusters, all, labels, func(i int) error { return f.hollow.join(ctx, all[i], i, f.sizes.members) })
}

// place creates all placements, and waits until they are available.
func (f *scaled) place(ctx context.Context) error {
	all := names("standing", f.sizes.placements)
	if err := f.prepareAll(ctx, all); err != nil {
		return err
	}
	stop, err := f.profile(ctx, "profile?seconds=30", "cpu-place.pprof")
	if err != nil {
		return err
	}
	cost, err := f.during(ctx, func() error {
		begin := time.Now()
		err := each(all, 16, func(name string) error {
			return f.create(ctx, placementAtScale(name, groupLabel, groupName(slices.Index(all, name)%f.sizes.groups())))
		})
		if err != nil {
			return err
		}
		return f.awaitAll(ctx, begin, all)
	})
	if err != nil {
		return err
	}
	f.figures.Placed = cost
	if err := errors.Join(stop(), f.remember(ctx, "all placed"), f.profileHeap(ctx, "placed")); err != nil {
		return err
	}
	return f.measureStored(ctx)
}

// profileHeap writes what is on the heap of the hub agent, if profiles are requested.
func (f *scaled) profileHeap(ctx context.Context, when string) error {
	stop, err := f.profile(ctx, "heap?gc=1", "heap-"+when+".pprof")
	if err != nil {
		return err
	}
	return stop()
}

// awaitAll waits until placements are available, and shows the progress.
func (f *scaled) awaitAll(ctx context.Context, begin time.Time, all []string) error {
	shown := begin
	for done := 0; done < len(all); {
		now := time.Now()
		for done < len(all) && f.placements.satisfies(key("", all[done]), isAvailable) {
			done++
		}
		if now.Sub(shown) > 10*time.Second {
			shown = now
			progress(fmt.Sprintf("scale:   after %s: %d Works of %d, %d of them reported", now.Sub(begin).Round(time.Second), f.hollow.count(""),
				f.sizes.pairs(), f.hollow.answers.Load()))
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("wait until %d placements are available, now %d: %w", len(all), done, err)
		}
	}
	return nil
}

// measureStored measures what the API server stores.
func (f *scaled) measureStored(ctx context.Context) (err error) {
	if f.figures.Stored, err = f.server.stored(ctx); err != nil {
		return err
	}
	total := 0.0
	for _, k := range f.figures.Stored {
		if k.Kind == "works" || k.Kind == "clusterresourcebindings" || strings.HasSuffix(k.Kind, "snapshots") || k.Kind == "clusterresourceplacements" {
			total += k.MeanBytes * float64(k.Objects)
		}
	}
	f.figures.BytesPerPair = total / float64(f.sizes.pairs())
	f.figures.FileMiB, err = f.server.fileMiB()
	return err
}

// atRest counts the requests while nothing changes.
func (f *scaled) atRest(ctx context.Context) error {
	before, err := f.agent(ctx)
	if err != nil {
		return err
	}
	serverBefore, err := f.server.state(ctx)
	if err != nil {
		return err
	}
	beats := f.hollow.beats.Load()
	if err := wait(ctx, f.sizes.quiet); err != nil {
		return err
	}
	after, err := f.agent(ctx)
	if err != nil {
		return err
	}
	server, err := f.server.state(ctx)
	if err != nil {
		return err
	}
	q, minutes := &f.figures.Quiet, after.at.Sub(before.at).Minutes()
	q.apiLoad = server.since(serverBefore)
	q.Heartbeats = float64(f.hollow.beats.Load()-beats) / minutes
	q.AgentReads, q.AgentWrites = (after.reads-before.reads)/minutes, (after.writes-before.writes)/minutes
	cost := after.since(before)
	q.AgentCores, q.HubCores = cost.CPUSeconds/cost.Seconds, cost.HubCPUSeconds/cost.Seconds
	return f.remember(ctx, "at rest")
}

// oneAtATime makes, edits and deletes one placement after the other, while all others stand.
func (f *scaled) oneAtATime(ctx context.Context) error {
	all := names("one", f.sizes.samples)
	if err := f.prepareAll(ctx, all); err != nil {
		return err
	}
	stop, err := f.profile(ctx, "profile?seconds=15", "cpu-one.pprof")
	if err != nil {
		return err
	}
	var placed, available, edited, editedAvailable, deleted figure
	group := func(name string) string { return groupName(slices.Index(all, name) % f.sizes.groups()) }
	for _, step := range []struct {
		name string
		do   func(name string) error
	}{
		{"creation", func(name string) error {
			begin := time.Now()
			if err := f.create(ctx, placementAtScale(name, groupLabel, group(name))); err != nil {
				return err
			}
			return f.arrives(ctx, name, 0, begin, &placed, &available)
		}},
		{"edit", func(name string) error {
			begin := time.Now()
			if err := f.hub.Update(ctx, objectsAtScale(name, "two")[0]); err != nil {
				return err
			}
			return f.arrives(ctx, name, 1, begin, &edited, &editedAvailable)
		}},
		{"deletion", func(name string) error {
			begin := time.Now()
			if err := f.hub.Delete(ctx, placement(name)); err != nil {
				return err
			}
			at, err := f.placements.when(ctx, key("", name), isGone)
			deleted = append(deleted, at.Sub(begin))
			return err
		}},
	} {
		cost, err := f.during(ctx, func() error {
			for _, name := range all {
				if err := step.do(name); err != nil {
					return fmt.Errorf("%s of %s: %w", step.name, name, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		f.figures.OneCosts[step.name] = cost.each(len(all))
	}
	for name, fig := range map[string]figure{
		"placed": placed, "available": available, "edited": edited, "edited, available": editedAvailable, "deleted": deleted,
	} {
		f.figures.One[name] = fig.spread()
	}
	return stop()
}

// arrives measures how long a revision takes to all members of a placement, and to its status.
func (f *scaled) arrives(ctx context.Context, name string, index int, begin time.Time, placed, available *figure) error {
	at, err := f.hollow.everywhere(ctx, name, index, f.sizes.clusters)
	if err != nil {
		return err
	}
	*placed = append(*placed, at.Sub(begin))
	at, err = f.placements.when(ctx, key("", name), func(e event, ok bool) bool {
		return isAvailable(e, ok) && e.object.(*v1beta1.ClusterResourcePlacement).Status.ObservedResourceIndex == strconv.Itoa(index)
	})
	*available = append(*available, at.Sub(begin))
	return err
}

// remove deletes placements, and waits until they are gone and the hub agent is at rest.
func (f *scaled) remove(ctx context.Context, all []string) error {
	if err := each(all, 16, func(name string) error { return f.hub.Delete(ctx, placement(name)) }); err != nil {
		return err
	}
	for _, name := range all {
		if _, err := f.placements.when(ctx, key("", name), isGone); err != nil {
			return err
		}
	}
	_, err := f.calm(ctx)
	return err
}

// reports measures what a report of one member costs, by the number of the placement's members.
func (f *scaled) reports(ctx context.Context) error {
	for _, size := range reportSizes {
		if size > f.sizes.members {
			continue
		}
		all := names(fmt.Sprintf("reported-%d", size), reportedAtOnce)
		if err := f.prepareAll(ctx, all); err != nil {
			return err
		}
		for _, name := range all {
			if err := f.create(ctx, placementAtScale(name, firstLabel+strconv.Itoa(size), "yes")); err != nil {
				return err
			}
		}
		if err := f.awaitAll(ctx, time.Now(), all); err != nil {
			return err
		}
		if err := f.reportsOf(ctx, all, size); err != nil {
			return err
		}
		if err := f.remove(ctx, all); err != nil {
			return err
		}
	}
	return nil
}

// reportsOf makes the members of placements report, one after the other, that one is not available, and again that it
// is. The cost is without that of an idle agent for the same time.
func (f *scaled) reportsOf(ctx context.Context, all []string, size int) error {
	var works [reportedAtOnce][]types.NamespacedName
	for i, name := range all {
		if works[i] = f.hollow.of(name); len(works[i]) != size {
			return fmt.Errorf("placement %s has %d Works, not %d", name, len(works[i]), size)
		}
	}
	if _, err := f.calm(ctx); err != nil {
		return err
	}
	stop, err := f.profile(ctx, "profile?seconds=15", fmt.Sprintf("cpu-reports-%d.pprof", size))
	if err != nil {
		return err
	}
	cost, err := f.during(ctx, func() error {
		for i := range f.sizes.reports {
			next := time.Now().Add(reportsEvery)
			of, turn := works[i%reportedAtOnce], i/reportedAtOnce
			if err := f.hollow.flip(ctx, of[turn/2%size], turn%2 == 1); err != nil {
				return err
			}
			if err := wait(ctx, time.Until(next)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.figures.deductIdle(&cost)
	f.figures.Reports = append(f.figures.Reports, reportCost{Clusters: size, Reports: f.sizes.reports, effort: cost.each(f.sizes.reports)})
	return stop()
}

// deductIdle deducts what the processes do at rest in the same time.
func (f *scaleFigures) deductIdle(cost *effort) {
	cost.CPUSeconds -= f.Quiet.AgentCores * cost.Seconds
	cost.HubCPUSeconds -= f.Quiet.HubCores * cost.Seconds
}

// updateRuns measures update runs of many placements at once: with their first release, and with another one.
func (f *scaled) updateRuns(ctx context.Context) error {
	if f.sizes.runs == 0 {
		return nil
	}
	all := names("staged", f.sizes.runs)
	if err := f.prepareAll(ctx, all); err != nil {
		return err
	}
	strategy := &v1beta1.ClusterStagedUpdateStrategy{ObjectMeta: metav1.ObjectMeta{Name: "staged"}}
	strategy.Spec.Stages = stages(intstr.FromString("100%"), 0)
	if err := f.create(ctx, strategy); err != nil {
		return err
	}
	err := each(all, 16, func(name string) error {
		p := placementAtScale(name, groupLabel, groupName(slices.Index(all, name)%f.sizes.groups()))
		p.Spec.Strategy = v1beta1.RolloutStrategy{Type: v1beta1.RolloutStrategyTypeExternal}
		return f.create(ctx, p)
	})
	if err != nil {
		return err
	}
	for index, what := range []string{"first releases", "releases"} {
		if index > 0 {
			if err := each(all, 16, func(name string) error { return f.hub.Update(ctx, objectsAtScale(name, "two")[0]) }); err != nil {
				return err
			}
		}
		if _, err := f.calm(ctx); err != nil {
			return err
		}
		runs, err := f.runAll(ctx, all, index)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		runs.What = fmt.Sprintf("%d update runs of %d stages at once, %s", len(all), stagesOfRuns, what)
		f.figures.Runs = append(f.figures.Runs, runs)
	}
	if err := f.remember(ctx, "after the update runs"); err != nil {
		return err
	}
	return f.remove(ctx, all)
}

// runAll creates a run for each placement, and waits until all have succeeded.
func (f *scaled) runAll(ctx context.Context, all []string, index int) (out scaleRuns, err error) {
	out.effort, err = f.during(ctx, func() error {
		begins := make([]time.Time, len(all))
		if err := each(all, 16, func(name string) error {
			begins[slices.Index(all, name)] = time.Now()
			return f.create(ctx, &v1beta1.ClusterStagedUpdateRun{
				ObjectMeta: metav1.ObjectMeta{Name: runName(name, index)},
				Spec:       v1beta1.UpdateRunSpec{PlacementName: name, StagedUpdateStrategyName: "staged", State: v1beta1.UpdateRunRun},
			})
		}); err != nil {
			return err
		}
		var took figure
		for i, name := range all {
			at, err := f.runs.when(ctx, key("", runName(name, index)), func(e event, ok bool) bool {
				return ok && ended(e.object.(*v1beta1.ClusterStagedUpdateRun)) != nil
			})
			if err != nil {
				return err
			}
			var run v1beta1.ClusterStagedUpdateRun
			if err := f.hub.Get(ctx, client.ObjectKey{Name: runName(name, index)}, &run); err != nil {
				return err
			}
			if c := ended(&run); c == nil || c.Status != metav1.ConditionTrue || run.Status.ResourceSnapshotIndexUsed != strconv.Itoa(index) {
				return fmt.Errorf("run %s of index %s ended with %+v", run.Name, run.Status.ResourceSnapshotIndexUsed, c)
			}
			took = append(took, at.Sub(begins[i]))
		}
		out.spread = took.spread()
		return nil
	})
	return out, err
}

func runName(placement string, index int) string { return fmt.Sprintf("%s-%d", placement, index) }

// restarts restarts the hub agent twice: when nothing has changed, and when a placement was created meanwhile.
func (f *scaled) restarts(ctx context.Context) error {
	hub := f.fleet.Hub()
	r := &f.figures.Restart
	before, err := f.agent(ctx)
	if err != nil {
		return err
	}
	if err := f.fleet.StopAgent(ctx, hub); err != nil {
		return err
	}
	begin := before
	begin.at, begin.routine = time.Now(), float64(f.memberClusters.value()-f.own+f.leases.value())
	if err := f.fleet.StartAgent(ctx, hub); err != nil {
		return err
	}
	if err := f.rechecked(ctx); err != nil {
		return err
	}
	r.Rechecked = time.Since(begin.at).Seconds()
	after, err := f.calm(ctx)
	if err != nil {
		return err
	}
	r.effort = after.since(begin)
	if err := errors.Join(f.remember(ctx, "after a restart"), f.profileHeap(ctx, "restarted")); err != nil {
		return err
	}

	const name = "restarted"
	if err := f.prepareAll(ctx, []string{name}); err != nil {
		return err
	}
	if err := f.fleet.StopAgent(ctx, hub); err != nil {
		return err
	}
	if err := f.create(ctx, placementAtScale(name, groupLabel, groupName(0))); err != nil {
		return err
	}
	start := time.Now()
	if err := f.fleet.StartAgent(ctx, hub); err != nil {
		return err
	}
	at, err := f.placements.when(ctx, key("", name), func(e event, ok bool) bool { return ok && len(e.object.GetFinalizers()) > 0 })
	if err != nil {
		return err
	}
	r.Looked = at.Sub(start).Seconds()
	var placed, available figure
	if err := f.arrives(ctx, name, 0, start, &placed, &available); err != nil {
		return err
	}
	r.Placed, r.Available = placed[0].Seconds(), available[0].Seconds()
	return f.remove(ctx, []string{name})
}

// rechecked waits until a new process has reconciled each binding and has nothing to do.
func (f *scaled) rechecked(ctx context.Context) error {
	for {
		// The agent serves no metrics at first.
		s, err := f.agent(ctx)
		if err == nil && s.queued == 0 && s.active == 0 && s.reconciles["dispatcher"] >= float64(f.hollow.count("")) {
			return nil
		}
		if waited := wait(ctx, 200*time.Millisecond); waited != nil {
			return errors.Join(waited, err)
		}
	}
}

// changes measures changes of one member: a label that no placement selects, one that a group of placements selects,
// and a member that joins.
func (f *scaled) changes(ctx context.Context) error {
	inGroup := func(group int) int { return (f.sizes.placements - group + f.sizes.groups() - 1) / f.sizes.groups() }
	member := hollowName(0) // of group 0
	have := f.hollow.count(member)
	// With one group, a member cannot change to another one.
	to := min(1, f.sizes.groups()-1)
	newcomer := hollowName(f.sizes.members)
	for _, c := range []struct {
		what      string
		concerned int
		do        func() error
		has       func() bool
	}{
		{"a label that no placement selects", 0, func() error { return f.label(ctx, member, spareLabel, "yes") }, func() bool { return true }},
		{
			"a label that placements select", to * inGroup(to), func() error { return f.label(ctx, member, groupLabel, groupName(to)) },
			func() bool { return f.hollow.count(member) >= have+to*inGroup(to) },
		},
		{"a member joins", inGroup(0), func() error {
			f.own++
			return f.joinHollow(ctx, []string{newcomer}, func(int) map[string]string { return map[string]string{groupLabel: groupName(0)} })
		}, func() bool { return f.hollow.count(newcomer) >= inGroup(0) }},
	} {
		change := scaleChange{What: c.what, Concerned: c.concerned}
		cost, err := f.during(ctx, func() error {
			begin := time.Now()
			if err := c.do(); err != nil {
				return err
			}
			for !c.has() {
				if err := wait(ctx, 20*time.Millisecond); err != nil {
					return err
				}
			}
			change.Seconds = time.Since(begin).Seconds()
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		change.effort = cost
		f.figures.Changes = append(f.figures.Changes, change)
	}
	return nil
}

// label sets a label of a member.
func (f *scaled) label(ctx context.Context, member, name, value string) error {
	f.own++
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, name, value)
	return f.hub.Patch(ctx, &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: member}}, client.RawPatch(types.MergePatchType, patch))
}

// silence measures that one member falls silent: until the hub considers it lost, and until nothing new is placed on
// it.
func (f *scaled) silence(ctx context.Context) error {
	member := hollowName(f.sizes.members - 1)
	about, err := countWrites(ctx, f.hub, &clusterv1beta1.MemberClusterList{}, client.MatchingFields{"metadata.name": member})
	if err != nil {
		return err
	}
	f.hollow.mute(member, true)
	began := about.value()
	change := scaleChange{What: "a member falls silent"}
	cost, err := f.during(ctx, func() error {
		begin := time.Now()
		if err := wait(ctx, silenceTakes); err != nil {
			return err
		}
		var mc clusterv1beta1.MemberCluster
		if err := f.hub.Get(ctx, client.ObjectKey{Name: member}, &mc); err != nil {
			return err
		}
		if meta.FindStatusCondition(mc.Status.Conditions, clusterv1beta1.ConditionHeartbeatsReceived) == nil {
			return fmt.Errorf("member %s is not reported as silent: its state is %v", member, liveness.Of(&mc, time.Now()))
		}
		change.Seconds = time.Since(begin).Seconds()
		return nil
	})
	if err != nil {
		return err
	}
	f.figures.deductIdle(&cost)
	cost.Writes += float64(about.value() - began)
	change.effort = cost
	f.figures.Changes = append(f.figures.Changes, change)
	f.hollow.mute(member, false)
	return f.remember(ctx, "at the end")
}

// satisfies reports whether the latest event of key satisfies is.
func (l *log) satisfies(what string, is func(event, bool) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.latest[what]
	return is(e, ok)
}
