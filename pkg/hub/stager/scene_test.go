package stager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
