package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// stagesAtPlay are the stages of the runs: one cluster, then three of which two may be in progress, then one more.
func stagesAtPlay() []v1beta1.StageConfig {
	ring := func(name string, most int32) v1beta1.StageConfig {
		return v1beta1.StageConfig{
			Name: name, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{ringLabel: name}},
			MaxConcurrency: ptr.To(intstr.FromInt32(most)),
		}
	}
	approval := v1beta1.StageTask{Type: v1beta1.StageTaskApproval}
	wait := v1beta1.StageTask{Type: v1beta1.StageTaskTimedWait, WaitTime: &metav1.Duration{Duration: time.Second}}
	canary, most, last := ring("canary", 1), ring("most", 2), ring("last", 1)
	canary.AfterStageTasks = []v1beta1.StageTask{approval, wait}
	most.AfterStageTasks = []v1beta1.StageTask{wait}
	last.BeforeStageTasks = []v1beta1.StageTask{approval}
	return []v1beta1.StageConfig{canary, most, last}
}

// play is a placement on all members, and the update runs that change it one after the other.
type play struct {
	*testing.T
	// name is that of the placement, of its strategy, and of the namespace that is placed.
	name string
	// rng chooses what is done, waits how long gates stay shut.
	rng, waits *rand.Rand
	*observer

	// revision is what the namespace on the hub holds; of the resource snapshots, each index holds one revision.
	revision  int
	revisions []int
	// ill are revisions with which one member never gets well, and held is the one that all members have.
	ill  map[int]bool
	held int
	runs int
	// undisturbed is how a run looks that nothing has come between.
	undisturbed []string

	mu sync.Mutex
	// asked are the approval requests that have been made, and how often; shut those that are not approved until
	// opened.
	asked map[string][]types.UID
	shut  map[string]chan struct{}
	// approvers are at work on them.
	approvers sync.WaitGroup
}

// Both hub agents (one leads) and the members' are killed, halted for longer than the lease lasts, and
// stopped, at random moments, while update runs release, are stopped and told to go on, roll back, and take back what
// makes a member ill. No budget is exceeded and no gate passed meanwhile, and in the end each run looks as one that
// nothing has come between.
func TestRunsUnderBlows(t *testing.T) {
	s := randomSeed(t)
	agents := startReplicas(t, 2, brief)
	p := begin(t, "release", s)

	p.releases() // what the others are compared with
	storm := agents.storm(t, rand.New(rand.NewPCG(s, 5)))
	acts := []func(){p.releases, p.pauses, p.retreats, p.backToAny, p.abandons}
	for n := 0; n < len(acts) || storm.blows() < *blows; n++ {
		act := n
		if n >= len(acts) {
			act = p.rng.IntN(len(acts))
		}
		acts[act]()
	}
	storm.Stop()
	t.Logf("%d runs; %s", p.runs, storm)
}

// begin places a namespace on all members, for runs to change.
func begin(t *testing.T, name string, seed uint64) *play {
	t.Helper()
	ctx := t.Context()
	p := &play{
		T: t, name: name, rng: rand.New(rand.NewPCG(seed, 3)), waits: rand.New(rand.NewPCG(seed, 4)),
		asked: map[string][]types.UID{}, shut: map[string]chan struct{}{}, ill: map[int]bool{},
	}
	strategy := &v1beta1.ClusterStagedUpdateStrategy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	strategy.Spec.Stages = stagesAtPlay()
	wary := &v1beta1.ClusterStagedUpdateStrategy{ObjectMeta: metav1.ObjectMeta{Name: wary(name)}, Spec: *strategy.Spec.DeepCopy()}
	wary.Spec.FailurePolicy = &v1beta1.FailurePolicy{
		HealthWindow: &metav1.Duration{Duration: healthWindow}, OnFailure: v1beta1.FailureActionRollback,
	}
	placement := testworld.ClusterPlacement(name, name, func(spec *v1beta1.PlacementSpec) {
		spec.Strategy = v1beta1.RolloutStrategy{Type: v1beta1.RolloutStrategyTypeExternal}
		spec.RevisionHistoryLimit = ptr.To[int32](1000)
	})
	placement.Finalizers = nil
	for _, obj := range []client.Object{
		testworld.Namespace(name), testworld.ConfigMap(name, "0"), deployment(name, "0"), strategy, wary, placement,
	} {
		testworld.Create(t, theHub, hubName, obj)
	}
	t.Cleanup(func() { p.tidy() })
	p.observer = observe(t, name, stagesAtPlay())
	testworld.Await(t, testworld.Workload, "bindings for all members", func(context.Context) error {
		p.observer.mu.Lock()
		defer p.observer.mu.Unlock()
		if len(p.at) != len(rings) {
			return fmt.Errorf("there are %d", len(p.at))
		}
		return nil
	})
	p.scheduled(ctx)
	t.Cleanup(p.approvers.Wait)
	follow(t, &v1beta1.ClusterApprovalRequestList{}, p.approve)
	return p
}

// scheduled waits until the placement's policy has been decided on: a run that comes before that is refused.
func (p *play) scheduled(ctx context.Context) {
	p.Helper()
	testworld.Await(p, testworld.Soon, "the placement to be scheduled", func(context.Context) error {
		policy := &v1beta1.ClusterSchedulingPolicySnapshot{}
		if err := theHub.Get(ctx, client.ObjectKey{Name: contract.PolicySnapshotName(p.name, 0)}, policy); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(policy.Status.Conditions, v1beta1.ConditionScheduled) {
			return errors.New("it is not")
		}
		return nil
	})
}

// deployment is the Deployment web with an image of a revision.
func deployment(namespace, revision string) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web:" + revision}}},
			},
		},
	}
}

// tidy removes the placement and its runs, so that agents that come after those of the test have nothing to do with
// them.
func (p *play) tidy() {
	ctx := context.WithoutCancel(p.Context())
	for _, all := range []client.Object{&v1beta1.ClusterStagedUpdateRun{}, &v1beta1.ClusterStagedUpdateStrategy{}} {
		if err := theHub.DeleteAllOf(ctx, all); err != nil {
			p.Error(err)
		}
	}
	placement := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: p.name}}
	if err := theHub.Delete(ctx, placement); err != nil {
		p.Error(err)
	}
	testworld.AwaitGone(p, theHub, placement, nil)
}

// edit gives the namespace on the hub another content; an ill one never gets ready on the unsound member.
func (p *play) edit(ill bool) {
	p.Helper()
	p.revision++
	text := strconv.Itoa(p.revision)
	cm, web := testworld.ConfigMap(p.name, text), deployment(p.name, text)
	if p.ill[p.revision] = ill; ill {
		web.Spec.Template.Spec.NodeSelector = map[string]string{soundLabel: "yes"}
	}
	for _, obj := range []client.Object{cm, web} {
		if err := theHub.Update(p.Context(), obj); err != nil {
			p.Fatal(err)
		}
	}
}

// healthWindow is for how long a cluster may be without health in runs with a failure policy.
const healthWindow = 5 * time.Second

// wary is the strategy that takes back what makes a cluster ill.
func wary(placement string) string { return placement + "-wary" }

// start creates a run: to an index, or without one to what the namespace holds.
func (p *play) start(index string) *v1beta1.ClusterStagedUpdateRun {
	p.Helper()
	return p.startBy(p.name, index)
}

func (p *play) startBy(strategy, index string) *v1beta1.ClusterStagedUpdateRun {
	p.Helper()
	testworld.Await(p, testworld.Soon, "the observer to have seen all", p.caughtUp)
	p.runs++
	run := &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("run-%03d", p.runs)}}
	run.Spec = v1beta1.UpdateRunSpec{
		PlacementName: p.name, StagedUpdateStrategyName: strategy, ResourceSnapshotIndex: index, State: v1beta1.UpdateRunRun,
	}
	released := index
	if index == "" {
		if n := len(p.revisions); n == 0 || p.revisions[n-1] != p.revision {
			p.revisions = append(p.revisions, p.revision)
		}
		released = strconv.Itoa(len(p.revisions) - 1)
	}
	n, err := strconv.Atoi(released)
	if err != nil {
		p.Fatal(err)
	}
	p.begin(run.Name, contract.MasterSnapshotName(p.name, n), strategy != p.name)
	testworld.Create(p.T, theHub, hubName, run)
	return run
}

// releases makes a run of a new revision.
func (p *play) releases() {
	p.Helper()
	p.edit(false)
	p.ends(p.start(""), len(p.revisions)-1)
}

// rollsBack makes a run to the index that holds a revision.
func (p *play) rollsBack(revision int) {
	p.Helper()
	index := slices.Index(p.revisions, revision)
	p.ends(p.start(strconv.Itoa(index)), index)
}

// backToAny rolls back to some older revision.
func (p *play) backToAny() {
	p.Helper()
	p.rollsBack(p.sound())
}

// sound is some revision that makes nobody ill.
func (p *play) sound() int {
	for {
		if r := p.revisions[p.rng.IntN(len(p.revisions))]; !p.ill[r] {
			return r
		}
	}
}

// retreats makes a run of a revision that makes one member ill. All that it has changed, and nothing else, is taken
// back. What exactly that is depends on the blows: who cannot say in time that it is well counts as ill.
func (p *play) retreats() {
	p.Helper()
	p.edit(true)
	run := p.startBy(wary(p.name), "")
	p.awaitEnd(run)
	back := metav1.ConditionTrue
	if p.tookBack(run) {
		back = metav1.ConditionFalse
	}
	for kind, want := range map[string]metav1.ConditionStatus{
		v1beta1.ConditionSucceeded: metav1.ConditionFalse, v1beta1.ConditionWithinFailureBudget: metav1.ConditionFalse,
		v1beta1.ConditionRolledBack: back,
	} {
		if !meta.IsStatusConditionPresentAndEqual(run.Status.Conditions, kind, want) {
			p.Errorf("run %s: %s is not %s: %+v", run.Name, kind, want, run.Status.Conditions)
		}
	}
	p.holds(strconv.Itoa(p.held))
}

// tookBack asserts that a run reports the clusters that it changed, and no others, as rolled back, and that they are.
// It returns whether a blow kept a cluster from reporting in time that it is healthy again.
func (p *play) tookBack(run *v1beta1.ClusterStagedUpdateRun) (late bool) {
	p.Helper()
	p.observer.mu.Lock()
	defer p.observer.mu.Unlock()
	for _, stage := range run.Status.StagesStatus {
		for _, c := range stage.Clusters {
			at, back := p.at[c.ClusterName], meta.FindStatusCondition(c.Conditions, v1beta1.ConditionRolledBack)
			home := back != nil && back.Status == metav1.ConditionTrue
			tardy := back != nil && at.back && strings.Contains(back.Message, "not healthy for "+healthWindow.String())
			late = late || tardy
			if at.begun != (home || tardy) || home && !at.home {
				p.Errorf("run %s: %s was given the release: %v; it is back: %v; the run says %+v",
					run.Name, c.ClusterName, at.begun, at.home, c.Conditions)
			}
		}
	}
	return late
}

// pauses makes a run of a new revision that is stopped now and then.
func (p *play) pauses() {
	p.Helper()
	p.edit(false)
	run := p.start("")
	for range 1 + p.rng.IntN(2) {
		if p.stops(run, time.Duration(p.rng.IntN(6000))*time.Millisecond) {
			break
		}
		pause(p.Context(), time.Duration(p.rng.IntN(1500))*time.Millisecond)
		p.halts(nil)
		p.tell(run, v1beta1.UpdateRunRun)
	}
	p.ends(run, len(p.revisions)-1)
}

// abandons makes a run that is stopped and stays so, and rolls back what it has changed.
func (p *play) abandons() {
	p.Helper()
	before := p.sound()
	p.edit(false)
	run := p.start("")
	ended := p.stops(run, time.Duration(2000+p.rng.IntN(4000))*time.Millisecond)
	p.rollsBack(before)
	if p.get(p.Context(), run); !ended && reason(run.Status.Conditions, v1beta1.ConditionProgressing) != v1beta1.ReasonUpdateRunStopped {
		p.Errorf("run %s was stopped, and now says %+v", run.Name, run.Status.Conditions)
	}
}

func (p *play) get(ctx context.Context, obj client.Object) {
	p.Helper()
	if err := theHub.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
		p.Fatal(err)
	}
}

func (p *play) tell(run *v1beta1.ClusterStagedUpdateRun, state v1beta1.UpdateRunState) {
	p.Helper()
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"state":%q}}`, state))
	if err := theHub.Patch(p.Context(), run, patch); err != nil {
		p.Fatal(err)
	}
}

// stops tells a run to stop after a while, and waits until it has, or has ended before.
func (p *play) stops(run *v1beta1.ClusterStagedUpdateRun, after time.Duration) (ended bool) {
	p.Helper()
	pause(p.Context(), after)
	p.planned(run) // it was created to run, and from there it may be stopped; but what it releases is to be known
	p.tell(run, v1beta1.UpdateRunStop)
	testworld.Await(p, testworld.Workload, run.Name+" to be stopped", func(ctx context.Context) error {
		p.get(ctx, run)
		switch got := reason(run.Status.Conditions, v1beta1.ConditionProgressing); got {
		case v1beta1.ReasonUpdateRunStopped:
			ended = false
		case v1beta1.ReasonUpdateRunSucceeded, v1beta1.ReasonUpdateRunFailed:
			ended = true
		default:
			return fmt.Errorf("it is %q: %+v", got, run.Status.Conditions)
		}
		return nil
	})
	begun := []string{}
	for _, stage := range run.Status.StagesStatus {
		for _, c := range stage.Clusters {
			if meta.IsStatusConditionTrue(c.Conditions, v1beta1.ConditionStarted) {
				begun = append(begun, c.ClusterName)
			}
		}
	}
	if !ended {
		p.halts(begun)
	}
	return ended
}

// planned waits until a run is initialized.
func (p *play) planned(run *v1beta1.ClusterStagedUpdateRun) {
	p.Helper()
	testworld.Await(p, testworld.Workload, run.Name+" to be planned", func(ctx context.Context) error {
		p.get(ctx, run)
		if len(run.Status.Conditions) == 0 {
			return errors.New("it says nothing yet")
		}
		return nil
	})
}

func reason(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Reason
	}
	return ""
}

// ends waits until a run has ended, and compares: with how a run ends that nothing has come between, what is on the
// members with the revision at the index, and the requests with the gates.
func (p *play) ends(run *v1beta1.ClusterStagedUpdateRun, index int) {
	p.Helper()
	p.awaitEnd(run)
	p.compare(run, index)
	p.held = p.revisions[index]
	p.holds(strconv.Itoa(p.held))
	p.gates(run.Name)
}

// awaitEnd waits until a run has ended and all that it did was seen.
func (p *play) awaitEnd(run *v1beta1.ClusterStagedUpdateRun) {
	p.Helper()
	// Between two blows a busy machine gets little done.
	testworld.Await(p, 4*testworld.Long, run.Name+" to end", func(ctx context.Context) error {
		p.get(ctx, run)
		ended := meta.FindStatusCondition(run.Status.Conditions, v1beta1.ConditionSucceeded) != nil
		if !ended && !meta.IsStatusConditionFalse(run.Status.Conditions, v1beta1.ConditionInitialized) {
			p.noFaults(p.T)
			return fmt.Errorf("its conditions are %+v", run.Status.Conditions)
		}
		return nil
	})
	testworld.Await(p, testworld.Soon, "the observer to have seen all", p.caughtUp)
	p.noFaults(p.T)
}

// compare compares a run with one that nothing has come between.
func (p *play) compare(run *v1beta1.ClusterStagedUpdateRun, index int) {
	p.Helper()
	got := bare(run)
	if p.undisturbed == nil {
		if !meta.IsStatusConditionTrue(run.Status.Conditions, v1beta1.ConditionSucceeded) {
			p.Fatalf("run %s, which nothing came between, ends as\n%s", run.Name, strings.Join(got, "\n"))
		}
		p.undisturbed = got
	}
	if diff := cmp.Diff(p.undisturbed, got); diff != "" {
		p.Errorf("run %s does not end as one that nothing has come between (-):\n%s", run.Name, diff)
	}
	if run.Status.ResourceSnapshotIndexUsed != strconv.Itoa(index) {
		p.Errorf("run %s has released index %s, want %d", run.Name, run.Status.ResourceSnapshotIndexUsed, index)
	}
}

// bare is a run's status, line by line, without what differs from one run to the next: its name, its index, and times.
// It tells where there are times, and what speaks of another generation than the run's end does: a run may be told
// something after that.
func bare(run *v1beta1.ClusterStagedUpdateRun) []string {
	status := run.Status.DeepCopy()
	generation := int64(0)
	if c := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionSucceeded); c != nil {
		generation = c.ObservedGeneration
	}
	var out strings.Builder
	conditions := func(of string, list []metav1.Condition) {
		slices.SortFunc(list, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
		for _, c := range list {
			fmt.Fprintf(&out, "%s: %s=%s %s, of the last generation: %v: %s\n",
				of, c.Type, c.Status, c.Reason, c.ObservedGeneration == generation, c.Message)
		}
	}
	conditions("run", status.Conditions)
	fmt.Fprintf(&out, "policy %s of %d clusters, applied as %+v\n", status.PolicySnapshotIndexUsed, status.PolicyObservedClusterCount,
		ptr.Deref(status.ApplyStrategy, v1beta1.ApplyStrategy{}))
	for _, s := range append(status.StagesStatus, ptr.Deref(status.DeletionStageStatus, v1beta1.StageUpdatingStatus{})) {
		fmt.Fprintf(&out, "stage %s: began %v, ended %v\n", s.StageName, s.StartTime != nil, s.EndTime != nil)
		conditions("stage "+s.StageName, s.Conditions)
		for _, c := range s.Clusters {
			fmt.Fprintf(&out, "cluster %s with %v, %v\n", c.ClusterName, c.ResourceOverrideSnapshots, c.ClusterResourceOverrideSnapshots)
			conditions("cluster "+c.ClusterName, c.Conditions)
		}
		for _, task := range append(s.BeforeStageTaskStatus, s.AfterStageTaskStatus...) {
			fmt.Fprintf(&out, "task %s %s\n", task.Type, task.ApprovalRequestName)
			conditions(string(task.Type), task.Conditions)
		}
	}
	return strings.Split(strings.ReplaceAll(out.String(), run.Name, "RUN"), "\n")
}

// holds waits until every member has a revision, and the placement says so.
func (p *play) holds(revision string) {
	p.Helper()
	for _, name := range slices.Sorted(maps.Keys(rings)) {
		testworld.Await(p, testworld.Soon, fmt.Sprintf("revision %s on %s", revision, name), func(ctx context.Context) error {
			var cm corev1.ConfigMap
			if err := members[name].Get(ctx, client.ObjectKey{Namespace: p.name, Name: "cm"}, &cm); err != nil {
				return err
			}
			var web appsv1.Deployment
			if err := members[name].Get(ctx, client.ObjectKey{Namespace: p.name, Name: "web"}, &web); err != nil {
				return err
			}
			if image := web.Spec.Template.Spec.Containers[0].Image; cm.Data["data"] != revision || image != "example.com/web:"+revision {
				return fmt.Errorf("cm is %q and web is %q", cm.Data["data"], image)
			}
			return nil
		})
	}
}

// approve opens a gate a while after it was asked for, as somebody would who watches.
func (p *play) approve(kind watch.EventType, obj client.Object) {
	if kind != watch.Added {
		return
	}
	name := obj.GetName()
	p.mu.Lock()
	p.asked[name] = append(p.asked[name], obj.GetUID())
	shut, after := p.shut[name], time.Duration(p.waits.IntN(1500))*time.Millisecond
	p.mu.Unlock()
	p.approvers.Go(func() { p.opensAfter(after, name, shut) })
}

// opensAfter opens a gate a while after it may be opened.
func (p *play) opensAfter(after time.Duration, name string, shut chan struct{}) {
	ctx := p.Context()
	if shut != nil {
		select {
		case <-shut:
		case <-ctx.Done():
		}
	}
	if pause(ctx, after); ctx.Err() != nil {
		return
	}
	p.opens(name)
	for {
		request := &v1beta1.ClusterApprovalRequest{}
		err := theHub.Get(ctx, client.ObjectKey{Name: name}, request)
		if err == nil {
			meta.SetStatusCondition(&request.Status.Conditions, metav1.Condition{
				Type: v1beta1.ConditionApproved, Status: metav1.ConditionTrue, Reason: "Fine", ObservedGeneration: request.Generation,
			})
			err = theHub.Status().Update(ctx, request)
		}
		if apierrors.IsConflict(err) {
			continue
		}
		if client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
			p.Errorf("approve %s: %v", name, err)
		}
		return
	}
}

// gates asserts that a run that has ended has asked once at each gate, and taken the answer.
func (p *play) gates(run string) {
	p.Helper()
	want := []string{contract.AfterStageApproval(run, "canary"), contract.BeforeStageApproval(run, "last")}
	var list v1beta1.ClusterApprovalRequestList
	if err := theHub.List(p.Context(), &list, client.MatchingLabels{contract.LabelApprovalRun: run}); err != nil {
		p.Fatal(err)
	}
	var got []string
	for _, r := range list.Items {
		got = append(got, r.Name)
		if !meta.IsStatusConditionTrue(r.Status.Conditions, v1beta1.ConditionApprovalAccepted) {
			p.Errorf("the approval of %s was not accepted: %+v", r.Name, r.Status.Conditions)
		}
		p.mu.Lock()
		if n := len(p.asked[r.Name]); n != 1 {
			p.Errorf("%s was made %d times", r.Name, n)
		}
		p.mu.Unlock()
	}
	if !slices.Equal(got, want) {
		p.Errorf("the requests of run %s are %q, want %q", run, got, want)
	}
}
