package stager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// scene is one placement on a real hub, on members m1 to m4. The test does what placer, scheduler and dispatcher
// would.
type scene struct {
	testworld.Hub
	key types.NamespacedName
	// ahead is how many nanoseconds the clocks of its agents are ahead of the time, or, if that is not zero, of
	// frozen; events are what they record.
	ahead  atomic.Int64
	frozen time.Time
	events *testworld.Recorder
	// agent is the one that was started last; nil before.
	agent *testworld.Agent
	// lacks is the name of a binding that the cache of its agents has not seen yet.
	lacks atomic.Value
}

// late is a cache that lacks a binding.
type late struct {
	client.Client
	lacks *atomic.Value
}

func (l late) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := l.Client.List(ctx, list, opts...); err != nil {
		return err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	return meta.SetList(list, slices.DeleteFunc(items, func(o runtime.Object) bool {
		b, ok := o.(v1beta1.BindingObject)
		return ok && b.GetName() == l.lacks.Load()
	}))
}

func (s *scene) now() time.Time {
	now := s.frozen
	if now.IsZero() {
		now = time.Now()
	}
	return now.Add(time.Duration(s.ahead.Load()))
}

func TestStager(t *testing.T) {
	hub := testworld.StartHub(t)
	must(t, hub.Client.Create(t.Context(), testworld.Namespace("app")))
	for _, name := range members {
		must(t, hub.Client.Create(t.Context(), &clusterv1beta1.MemberCluster{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", Name: name}},
		}))
	}
	for i, scenario := range []struct {
		name string
		play func(*scene)
	}{
		{"an agent that starts anew writes nothing and goes on", anew},
		{"a deleted request is made again, and a deleted run leaves nothing", tidies},
		{"what was approved for a run counts for no other of its name", namesake},
		{"two agents keep the limit", together},
		{"a wait ends on time", exact},
		{"a run that came before its placement was scheduled waits for it", early},
		{"a run is planned for every cluster that the hub has a binding for", entire},
		{"a run of a placement that there is not is ended", nowhere},
		{"a run whose snapshot is gone gives nothing to any cluster", bereft},
		{"a run whose override is gone goes no further", unchanged},
		{"a run has no plan before the overrides that came with it have snapshots", awaitsOverrides},
		{"a run brings what a label has changed", relabelled},
		{"a run goes on from one that a cluster's joining has ended", goesOn},
		{"a run that cannot go on from another says why", cannotGoOn},
		{"a run takes back what it changed, also when its agent dies in between", takesBack},
		{"a run that spends its budget stops", stops},
		{"a run leaves what it cannot take back", cannotTakeBack},
	} {
		for j, namespace := range []string{"", "app"} {
			t.Run(scenario.name+" in namespace "+namespace, func(t *testing.T) {
				scenario.play(&scene{Hub: hub.On(t), events: &testworld.Recorder{}, key: types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("p%d-%d", i, j)}})
			})
		}
	}
}

var members = []string{"m1", "m2", "m3", "m4"}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// firstRevision is of a placement whose selection never changes.
type firstRevision struct{}

func (firstRevision) Release(context.Context, types.NamespacedName) (int, error) { return 0, nil }

// start runs an agent.
func (s *scene) start() *testworld.Agent {
	s.Helper()
	s.agent = testworld.RunAgent(s.T, s.Config, func(mgr ctrl.Manager, direct client.Client) error {
		agent := &Stager{
			Client: late{mgr.GetClient(), &s.lacks}, Direct: direct, Recorder: s.events, Workers: 4, Namespaced: true,
			Now: s.now, Revisions: firstRevision{},
		}
		return agent.SetupWithManager(mgr)
	})
	return s.agent
}

// snapshot makes a resource snapshot of the placement.
func (s *scene) snapshot(index int, latest bool) {
	s.Helper()
	snapshot := scope.ResourceSnapshots.New(s.key)
	s.name(snapshot, contract.MasterSnapshotName(s.key.Name, index))
	snapshot.SetLabels(map[string]string{
		contract.LabelPlacement: s.key.Name, contract.LabelResourceIndex: strconv.Itoa(index), contract.LabelLatest: strconv.FormatBool(latest),
	})
	snapshot.SetAnnotations(map[string]string{contract.AnnotationResourceHash: "hash", contract.AnnotationSnapshotCount: "1"})
	snapshot.GetSpec().SelectedResources = []v1beta1.ResourceContent{{RawExtension: runtime.RawExtension{Raw: []byte(
		`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"app"}}`)}}}
	testworld.OwnedOn(s, s.Client, s.key, snapshot)
	s.create(snapshot)
}

// lay makes the placement with its snapshots, a binding for each member, and a strategy of these stages.
func (s *scene) lay(stages ...v1beta1.StageConfig) {
	s.Helper()
	placement := scope.Placements.New(s.key)
	s.name(placement, s.key.Name)
	placement.GetSpec().ResourceSelectors = []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}}
	placement.GetSpec().Strategy.Type = v1beta1.RolloutStrategyTypeExternal
	s.create(placement)
	s.snapshot(0, true)
	policy := scope.PolicySnapshots.New(s.key)
	s.name(policy, contract.PolicySnapshotName(s.key.Name, 0))
	policy.SetLabels(map[string]string{contract.LabelPlacement: s.key.Name, contract.LabelPolicyIndex: "0", contract.LabelLatest: "true"})
	policy.GetSpec().PolicyHash = []byte("hash")
	testworld.Owned(policy, placement)
	s.create(policy)
	strategy := scope.UpdateStrategies.New(s.key)
	s.name(strategy, s.key.Name)
	strategy.GetSpec().Stages = stages
	s.create(strategy)
}

// schedule does what the scheduler does.
func (s *scene) schedule() {
	s.Helper()
	for _, cluster := range members {
		s.pick(cluster)
	}
	s.scheduled()
}

// pick makes the binding for a cluster.
func (s *scene) pick(cluster string) {
	s.Helper()
	b := scope.Bindings.New(s.key)
	s.name(b, s.key.Name+"-"+cluster)
	b.SetLabels(map[string]string{contract.LabelPlacement: s.key.Name})
	*b.GetSpec() = v1beta1.ResourceBindingSpec{
		State: v1beta1.BindingStateScheduled, SchedulingPolicySnapshotName: contract.PolicySnapshotName(s.key.Name, 0), TargetCluster: cluster,
		ClusterDecision: v1beta1.ClusterDecision{ClusterName: cluster, Selected: true, Reason: "picked"},
	}
	s.create(b)
	s.known(b) // before the policy seems scheduled
}

// known waits until the agent, if it was started, knows of an object.
func (s *scene) known(obj client.Object) {
	s.Helper()
	if s.agent != nil {
		testworld.AwaitKnown(s, s.agent.Knows, obj)
	}
}

// scheduled says that the policy has picked all that it asks for.
func (s *scene) scheduled() {
	s.Helper()
	policy, err := scope.PolicySnapshots.Get(s.Context(), s.Client, types.NamespacedName{Namespace: s.key.Namespace, Name: contract.PolicySnapshotName(s.key.Name, 0)})
	must(s.T, err)
	meta.SetStatusCondition(policy.GetConditions(), metav1.Condition{
		Type: v1beta1.ConditionScheduled, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonSchedulingPolicyFulfilled, ObservedGeneration: policy.GetGeneration(),
	})
	must(s.T, s.Client.Status().Update(s.Context(), policy))
}

func (s *scene) name(obj client.Object, name string) {
	obj.SetNamespace(s.key.Namespace)
	obj.SetName(name)
}

func (s *scene) create(obj client.Object) {
	s.Helper()
	must(s.T, s.Client.Create(s.Context(), obj))
}

// run creates an update run with the placement's name.
func (s *scene) run() {
	s.Helper()
	run := scope.UpdateRuns.New(s.key)
	s.name(run, s.key.Name)
	*run.GetSpec() = v1beta1.UpdateRunSpec{PlacementName: s.key.Name, StagedUpdateStrategyName: s.key.Name, State: v1beta1.UpdateRunRun}
	s.create(run)
}

// is waits until the run is in this phase with so many clusters done.
func (s *scene) is(want stage.Phase, done int) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "the run", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err != nil {
			return err
		}
		progress, n := stage.Read(*run.GetStatus()), 0
		for _, st := range progress.Stages {
			for _, c := range st.Clusters {
				if c.Phase == stage.Succeeded {
					n++
				}
			}
		}
		if progress.Phase != want || n != done {
			return fmt.Errorf("phase %d with %d clusters done, want %d with %d: %+v", progress.Phase, n, want, done, *run.GetConditions())
		}
		return nil
	})
}

// started are the members that have been given the release.
func (s *scene) started() []string {
	s.Helper()
	list, err := scope.Bindings.List(s.Context(), s.Client, s.key.Namespace, client.MatchingLabels{contract.LabelPlacement: s.key.Name})
	must(s.T, err)
	var out []string
	for _, b := range list {
		if b.GetSpec().State == v1beta1.BindingStateBound && delivery.StatusOf(b).Is(v1beta1.ConditionRolloutStarted, metav1.ConditionTrue) {
			out = append(out, b.GetSpec().TargetCluster)
		}
	}
	slices.Sort(out)
	return out
}

// available does what the dispatcher does once a member is well.
func (s *scene) available(cluster string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "a report of "+cluster, func(ctx context.Context) error {
		if !slices.Contains(s.started(), cluster) {
			return errors.New("it has not been given the release")
		}
		b, err := scope.Bindings.Get(ctx, s.Client, types.NamespacedName{Namespace: s.key.Namespace, Name: s.key.Name + "-" + cluster})
		if err != nil {
			return err
		}
		meta.SetStatusCondition(b.GetConditions(), metav1.Condition{
			Type: v1beta1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAllWorkAreAvailable, ObservedGeneration: b.GetGeneration(),
		})
		return s.Client.Status().Update(ctx, b)
	})
}

func all(most int32, tasks ...v1beta1.StageTask) v1beta1.StageConfig {
	return v1beta1.StageConfig{
		Name: "all", LabelSelector: &metav1.LabelSelector{}, MaxConcurrency: ptr.To(intstr.FromInt32(most)), AfterStageTasks: tasks,
	}
}

func anew(s *scene) {
	s.lay(all(2))
	s.schedule()
	first := s.start()
	s.run()
	s.is(stage.Active, 0)
	s.available("m1")
	s.is(stage.Active, 1)
	first.Stop()
	s.available("m2")
	agent := s.start()
	s.is(stage.Active, 2)
	s.available("m3")
	s.available("m4")
	s.is(stage.Succeeded, 4)
	quiet(s, agent)
	run, err := scope.UpdateRuns.Get(s.Context(), s.Client, s.key)
	must(s.T, err)
	must(s.T, s.Client.Delete(s.Context(), run))
	testworld.Await(s, testworld.Soon, "the metrics of the deleted run to end", func(context.Context) error {
		if names := s.measured(); slices.Contains(names, s.key.String()) {
			return fmt.Errorf("there are metrics of %q", names)
		}
		return nil
	})
}

// measured are the runs of which there are metrics.
func (s *scene) measured() []string {
	s.Helper()
	families, err := metrics.Registry.Gather()
	must(s.T, err)
	var out []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "fleet_workload_update_run_") {
			continue
		}
		for _, m := range f.GetMetric() {
			key := types.NamespacedName{}
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "namespace":
					key.Namespace = l.GetValue()
				case "name":
					key.Name = l.GetValue()
				}
			}
			out = append(out, key.String())
		}
	}
	return out
}

// quiet asserts that an agent writes nothing of the placement, and that another one that starts now does not either.
// Other placements are left as they were when their tests ended, and go on.
func quiet(s *scene, agent *testworld.Agent) {
	s.Helper()
	again := s.start()
	for _, w := range []*testworld.Agent{agent, again} {
		w.Take()
		testworld.Stable(s, 300*time.Millisecond, "quiet", func(context.Context) error {
			for _, write := range w.All() {
				if strings.Contains(write, s.key.Name) {
					return errors.New(write)
				}
			}
			return nil
		})
	}
}

func tidies(s *scene) {
	s.lay(all(4, v1beta1.StageTask{Type: v1beta1.StageTaskApproval}))
	s.schedule()
	s.start()
	s.run()
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Waiting, 4)
	key := types.NamespacedName{Namespace: s.key.Namespace, Name: contract.AfterStageApproval(s.key.Name, "all")}
	var first types.UID
	testworld.Await(s, testworld.Soon, "the request, to be deleted", func(ctx context.Context) error {
		request, err := scope.ApprovalRequests.Get(ctx, s.Client, key)
		if err != nil {
			return err
		}
		first = request.GetUID()
		return s.Client.Delete(ctx, request)
	})
	testworld.Await(s, testworld.Soon, "another request", func(ctx context.Context) error {
		request, err := scope.ApprovalRequests.Get(ctx, s.Client, key)
		if err == nil && request.GetUID() == first {
			err = errors.New("it is the old one")
		}
		return err
	})
	s.ends()
	testworld.Await(s, testworld.Soon, "the request to go", func(ctx context.Context) error {
		if _, err := scope.ApprovalRequests.Get(ctx, s.Client, key); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
	if got := s.started(); !slices.Equal(got, members) {
		s.Errorf("the members that have the release are %q; a deleted run changes none", got)
	}
}

// namesake deletes a run that was let go on, while somebody else still holds its request, and makes it anew.
func namesake(s *scene) {
	s.lay(gated())
	s.schedule()
	s.start()
	s.run()
	s.is(stage.Waiting, 0)
	key := types.NamespacedName{Namespace: s.key.Namespace, Name: contract.BeforeStageApproval(s.key.Name, "all")}
	hold := func(finalizers ...string) {
		request, err := scope.ApprovalRequests.Get(s.Context(), s.Client, key)
		must(s.T, err)
		before := request.DeepCopyObject().(client.Object)
		request.SetFinalizers(finalizers)
		must(s.T, s.Client.Patch(s.Context(), request, client.MergeFrom(before)))
	}
	hold("example.com/audit")
	s.approve(key.Name)
	s.available("m1")
	s.is(stage.Active, 1)
	s.ends()
	s.run()
	s.says(s.key, v1beta1.ConditionInitialized, metav1.ConditionTrue, "")
	testworld.Stable(s, 300*time.Millisecond, "the run made anew", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err != nil {
			return err
		}
		if progress := stage.Read(*run.GetStatus()); !progress.Stages[0].Start.IsZero() {
			return errors.New("it has begun, and nobody has approved that")
		}
		return nil
	})
	hold()
	s.approve(key.Name)
	s.is(stage.Active, 1) // m1 has it already
	s.ends()
}

// ends deletes the placement's run, and waits until it is gone.
func (s *scene) ends() {
	s.Helper()
	run := scope.UpdateRuns.New(s.key)
	s.name(run, s.key.Name)
	must(s.T, s.Client.Delete(s.Context(), run))
	testworld.Await(s, testworld.Soon, "the run to go", func(ctx context.Context) error {
		if err := s.Client.Get(ctx, s.key, run); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
}

func together(s *scene) {
	s.lay(all(1))
	s.schedule()
	s.start()
	s.start()
	s.run()
	for i, m := range members {
		s.available(m)
		s.is(map[bool]stage.Phase{false: stage.Active, true: stage.Succeeded}[i == len(members)-1], i+1)
		if got := s.started(); len(got) > i+2 {
			s.Errorf("%q have the release when %d are done; one may be in progress", got, i+1)
		}
	}
}

// exact has a wait begin within a second, and end at the same fraction of another.
func exact(s *scene) {
	s.frozen = time.Now().Truncate(time.Second).Add(100 * time.Millisecond)
	s.lay(all(4, v1beta1.StageTask{Type: v1beta1.StageTaskTimedWait, WaitTime: &metav1.Duration{Duration: time.Second}}))
	s.schedule()
	s.start()
	s.run()
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Waiting, 4)
	s.ahead.Store(int64(time.Second))
	s.is(stage.Succeeded, 4)
}

func early(s *scene) {
	s.lay(all(4))
	s.start()
	s.run()
	testworld.Stable(s, 300*time.Millisecond, "a run that waits", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err == nil && len(*run.GetConditions()) > 0 {
			err = fmt.Errorf("conditions %+v", *run.GetConditions())
		}
		return err
	})
	s.schedule()
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Succeeded, 4)
}

func entire(s *scene) {
	s.lay(all(4))
	s.schedule()
	s.lacks.Store(s.key.Name + "-m4")
	s.start()
	s.run()
	testworld.Await(s, testworld.Soon, "the plan", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err == nil && len(run.GetStatus().StagesStatus) == 0 {
			err = fmt.Errorf("there is none: %+v", run.GetStatus())
		}
		return err
	})
	s.lacks.Store("")
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Succeeded, 4)
}

func nowhere(s *scene) {
	s.start()
	s.run()
	testworld.Await(s, testworld.Soon, "the run to be ended", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err != nil {
			return err
		}
		c := meta.FindStatusCondition(*run.GetConditions(), v1beta1.ConditionInitialized)
		if c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "the parent placement is not found") {
			return fmt.Errorf("conditions %+v", *run.GetConditions())
		}
		return nil
	})
}

func bereft(s *scene) {
	s.lay(all(4))
	snapshot := scope.ResourceSnapshots.New(s.key)
	s.name(snapshot, contract.MasterSnapshotName(s.key.Name, 0))
	s.loses(snapshot)
}

// unchanged takes away an override snapshot that the plan names.
func unchanged(s *scene) {
	s.lay(all(4))
	o := s.override(testworld.LeavingOut(testworld.Everywhere()...))
	s.loses(o)
}

// override makes the snapshot of an override of the namespace that is placed.
func (s *scene) override(rules ...v1beta1.OverrideRule) *v1beta1.ClusterResourceOverrideSnapshot {
	s.Helper()
	o := &v1beta1.ClusterResourceOverrideSnapshot{}
	o.Name = s.key.Name + s.key.Namespace + "-o-0"
	o.Labels = map[string]string{contract.LabelOverride: s.key.Name + s.key.Namespace + "-o", contract.LabelOverrideIndex: "0", contract.LabelLatest: "true"}
	o.Spec.OverrideHash = []byte("hash")
	o.Spec.OverrideSpec = v1beta1.ClusterResourceOverrideSpec{
		ClusterResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}},
		Policy:                   &v1beta1.OverridePolicy{OverrideRules: rules},
	}
	s.create(o)
	return o
}

// awaitsOverrides starts a run when the snapshot of an override is not made yet.
func awaitsOverrides(s *scene) {
	s.frozen = time.Now() // the override stays a new one, however long this takes
	s.lay(all(4))
	o := &v1beta1.ClusterResourceOverride{ObjectMeta: metav1.ObjectMeta{Name: s.key.Name + s.key.Namespace + "-o"}}
	rule := testworld.Patching(testworld.Everywhere(), testworld.Annotating("k", "v"))
	o.Spec = v1beta1.ClusterResourceOverrideSpec{
		ClusterResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: "app"}},
		Policy:                   &v1beta1.OverridePolicy{OverrideRules: []v1beta1.OverrideRule{rule}},
	}
	s.create(o)
	s.schedule()
	agent := s.start()
	s.run()
	planned := func(ctx context.Context) (v1beta1.UpdateRunObject, error) {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err == nil && len(run.GetStatus().StagesStatus) == 0 {
			err = fmt.Errorf("it has no plan: %+v", run.GetStatus())
		}
		return run, err
	}
	testworld.Await(s, testworld.Soon, "the run to be looked at", func(context.Context) error {
		if len(agent.Take()) == 0 {
			return errors.New("no write")
		}
		return nil
	})
	testworld.Stable(s, 300*time.Millisecond, "no plan", func(ctx context.Context) error {
		if run, err := planned(ctx); err == nil {
			return fmt.Errorf("it has a plan: %+v", run.GetStatus())
		}
		return nil
	})
	snapshot := s.override(rule)
	defer func() {
		must(s.T, s.Client.Delete(s.Context(), snapshot))
		must(s.T, s.Client.Delete(s.Context(), o))
	}()
	testworld.Await(s, testworld.Soon, "the plan", func(ctx context.Context) error {
		run, err := planned(ctx)
		if err != nil {
			return err
		}
		for _, c := range run.GetStatus().StagesStatus[0].Clusters {
			if !slices.Contains(c.ClusterResourceOverrideSnapshots, snapshot.Name) {
				return fmt.Errorf("cluster %+v", c)
			}
		}
		return nil
	})
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Succeeded, 4)
}

// relabelled releases once more what all clusters have, after a label of one of them has changed what that comes to.
func relabelled(s *scene) {
	s.lay(all(4))
	s.label("m1", "z1")
	o := s.override(testworld.Patching(testworld.Everywhere(), testworld.Annotating("zone", "${MEMBER-CLUSTER-LABEL-KEY-zone}")))
	defer func() { must(s.T, s.Client.Delete(s.Context(), o)) }()
	s.schedule()
	s.start()
	s.run()
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Succeeded, 4)
	was := s.bindings()
	s.label("m1", "z2")
	again := s.next(s.key.Name+"-again", "", "0")
	testworld.Await(s, testworld.Soon, "m1 to get its content anew", func(context.Context) error {
		if is := s.bindings()["m1"]; is.GetSpec().OverrideFingerprint == was["m1"].GetSpec().OverrideFingerprint {
			return fmt.Errorf("its binding has %+v", *is.GetSpec())
		}
		return nil
	})
	s.available("m1")
	s.says(again, v1beta1.ConditionSucceeded, metav1.ConditionTrue, "")
	for m, b := range s.bindings() {
		if changed := b.GetGeneration() != was[m].GetGeneration(); changed != (m == "m1") {
			s.Errorf("%s changed: %t", b.GetName(), changed)
		}
	}
}

// label sets the zone of a member.
func (s *scene) label(member, zone string) {
	s.Helper()
	var cluster clusterv1beta1.MemberCluster
	testworld.Await(s, testworld.Soon, "a label of "+member, func(ctx context.Context) error {
		if err := s.Client.Get(ctx, types.NamespacedName{Name: member}, &cluster); err != nil {
			return err
		}
		cluster.Labels = map[string]string{"zone": zone}
		return s.Client.Update(ctx, &cluster)
	})
	s.known(&cluster)
}

// bindings are those of the placement, by cluster.
func (s *scene) bindings() map[string]v1beta1.BindingObject {
	s.Helper()
	list, err := scope.Bindings.List(s.Context(), s.Client, s.key.Namespace, client.MatchingLabels{contract.LabelPlacement: s.key.Name})
	must(s.T, err)
	out := map[string]v1beta1.BindingObject{}
	for _, b := range list {
		out[b.GetSpec().TargetCluster] = b
	}
	return out
}

// loses lets a snapshot go between the plan and the run.
func (s *scene) loses(snapshot client.Object) {
	s.Helper()
	s.schedule()
	s.start()
	run := scope.UpdateRuns.New(s.key)
	s.name(run, s.key.Name)
	*run.GetSpec() = v1beta1.UpdateRunSpec{PlacementName: s.key.Name, StagedUpdateStrategyName: s.key.Name, State: v1beta1.UpdateRunInitialize}
	s.create(run)
	testworld.Await(s, testworld.Soon, "the run to be initialized", func(ctx context.Context) (err error) {
		if run, err = scope.UpdateRuns.Get(ctx, s.Client, s.key); err == nil && !meta.IsStatusConditionTrue(*run.GetConditions(), v1beta1.ConditionInitialized) {
			err = errors.New("it is not")
		}
		return err
	})
	must(s.T, s.Client.Delete(s.Context(), snapshot))
	run.GetSpec().State = v1beta1.UpdateRunRun
	must(s.T, s.Client.Update(s.Context(), run))
	s.is(stage.Failed, 0)
	if got := s.started(); len(got) > 0 {
		s.Errorf("%q were given a snapshot that does not exist", got)
	}
}
