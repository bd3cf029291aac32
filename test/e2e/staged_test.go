package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// release is a scenario about update runs of one placement.
type release struct {
	*scene
	placement v1beta1.PlacementObject
}

// inStages is a placement that update runs change, with the catalogue's strategy: canary is c2, and ends with an
// approval and a wait; prod is c1 and c3, and begins with an approval.
func inStages(s *scene, options ...testworld.Option) *release {
	s.Helper()
	return staged(s, []v1beta1.StageConfig{
		{
			Name: "canary", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "canary"}},
			AfterStageTasks: []v1beta1.StageTask{
				{Type: v1beta1.StageTaskApproval}, {Type: v1beta1.StageTaskTimedWait, WaitTime: &metav1.Duration{Duration: 5 * time.Second}},
			},
		},
		{
			Name: "prod", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "prod"}},
			BeforeStageTasks: []v1beta1.StageTask{{Type: v1beta1.StageTaskApproval}},
		},
	}, options...)
}

// staged is a placement that update runs change with these stages; nothing has come of it yet.
func staged(s *scene, stages []v1beta1.StageConfig, options ...testworld.Option) *release {
	s.Helper()
	key := s.key(s.name)
	strategy := scope.UpdateStrategies.New(key)
	strategy.SetNamespace(key.Namespace)
	strategy.SetName(key.Name)
	strategy.GetSpec().Stages = stages
	s.create(strategy)
	r := &release{scene: s, placement: s.place(options...)}
	return r
}

// external is for the options of a placement.
func external(spec *v1beta1.PlacementSpec) {
	spec.Strategy.Type, spec.Strategy.RollingUpdate = v1beta1.RolloutStrategyTypeExternal, nil
}

// key is that of something beside the scenario's placement.
func (s contents) key(name string) types.NamespacedName {
	if s.namespaced {
		return types.NamespacedName{Namespace: s.app, Name: name}
	}
	return types.NamespacedName{Name: name}
}

// untouched asserts what holds before the first run: the placement is scheduled, and that is all.
func (r *release) untouched(selected int) {
	r.Helper()
	r.pending(map[string]string{})
	key := r.key(r.name)
	testworld.Await(r.T, testworld.Soon, "policy snapshot 0 to be scheduled", func(ctx context.Context) error {
		policy, err := scope.PolicySnapshots.Get(ctx, theHub, types.NamespacedName{Namespace: key.Namespace, Name: contract.PolicySnapshotName(key.Name, 0)})
		if err != nil {
			return err
		}
		n := 0
		for _, d := range policy.GetStatus().ClusterDecisions {
			if d.Selected {
				n++
			}
		}
		if !meta.IsStatusConditionTrue(*policy.GetConditions(), v1beta1.ConditionScheduled) || n != selected {
			return fmt.Errorf("%d clusters are selected, want %d; conditions %+v", n, selected, *policy.GetConditions())
		}
		return nil
	})
	testworld.Stable(r.T, calm, "nothing is released before a run", func(ctx context.Context) error {
		for _, m := range members() {
			if err := m.Get(ctx, client.ObjectKey{Namespace: r.app, Name: "cm"}, &corev1.ConfigMap{}); client.IgnoreNotFound(err) != nil {
				return err
			} else if err == nil {
				return fmt.Errorf("cm is on %s", m.name)
			}
		}
		if n := len(r.snapshots(ctx)); n > 0 {
			return fmt.Errorf("there are %d resource snapshots", n)
		}
		return nil
	})
}

// snapshots are the indices of the placement's resource snapshots; the latest is marked.
func (r *release) snapshots(ctx context.Context) []string {
	r.Helper()
	list, err := scope.ResourceSnapshots.List(ctx, theHub, r.key("").Namespace, client.MatchingLabels{contract.LabelPlacement: r.name})
	if err != nil {
		r.Fatal(err)
	}
	var out []string
	for _, snapshot := range list {
		text := snapshot.GetLabels()[contract.LabelResourceIndex]
		if snapshot.GetLabels()[contract.LabelLatest] == strconv.FormatBool(true) {
			text += " latest"
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

func (r *release) cut(want ...string) {
	r.Helper()
	testworld.Await(r.T, testworld.Soon, "resource snapshots", func(ctx context.Context) error {
		if got := r.snapshots(ctx); !slices.Equal(got, want) {
			return fmt.Errorf("they are %q, want %q", got, want)
		}
		return nil
	})
}

// pending waits until the placement tells that runs control it. The clusters are at these indices; who is at none has
// nothing yet.
func (r *release) pending(at map[string]string) {
	r.Helper()
	r.statusIs("rollout controlled by runs", func() error {
		status := r.placement.GetStatus()
		if c := r.condition(v1beta1.ConditionRolloutStarted); c == nil || c.Reason != v1beta1.ReasonRolloutControlledByExternalController ||
			c.Status != metav1.ConditionUnknown {
			return fmt.Errorf("RolloutStarted is %+v", c)
		}
		if status.ObservedResourceIndex != "" || len(status.SelectedResources) > 0 {
			return fmt.Errorf("index %q with %d resources, want none", status.ObservedResourceIndex, len(status.SelectedResources))
		}
		return r.clustersAt(at)
	})
}

// clustersAt compares each cluster's index; a cluster at one has all of it.
func (r *release) clustersAt(at map[string]string) error {
	for _, c := range r.placement.GetStatus().PerClusterPlacementStatuses {
		want := at[c.ClusterName]
		if c.ObservedResourceIndex != want {
			return fmt.Errorf("%s is at index %q, want %q", c.ClusterName, c.ObservedResourceIndex, want)
		}
		kind, status := v1beta1.ConditionRolloutStarted, metav1.ConditionUnknown
		if want != "" {
			kind, status = v1beta1.ConditionAvailable, metav1.ConditionTrue
			if s := r.placement.GetSpec().Strategy.ApplyStrategy; s != nil && s.Type == v1beta1.ApplyStrategyTypeReportDiff {
				kind = v1beta1.ConditionDiffReported
			}
		}
		if got := meta.FindStatusCondition(c.Conditions, kind); got == nil || got.Status != status {
			return fmt.Errorf("%s of %s is %+v, want %s", kind, c.ClusterName, got, status)
		}
	}
	for cluster := range at {
		if !slices.ContainsFunc(r.placement.GetStatus().PerClusterPlacementStatuses, func(c v1beta1.PerClusterPlacementStatus) bool { return c.ClusterName == cluster }) {
			return fmt.Errorf("%s is not in the status", cluster)
		}
	}
	return nil
}

// unknownAt waits until every cluster's rollout is unknown although it has something: a new policy asks for a run.
func (r *release) unknownAt(index string, selected int, at map[string]string) {
	r.Helper()
	r.statusIs("a run is needed", func() error {
		status := r.placement.GetStatus()
		if c := r.condition(v1beta1.ConditionRolloutStarted); c == nil || c.Status != metav1.ConditionUnknown || c.Reason != v1beta1.ReasonRolloutControlledByExternalController {
			return fmt.Errorf("RolloutStarted is %+v", c)
		}
		if status.ObservedResourceIndex != index || len(status.SelectedResources) != selected {
			return fmt.Errorf("index %q with %d resources, want %q with %d", status.ObservedResourceIndex, len(status.SelectedResources), index, selected)
		}
		if len(status.PerClusterPlacementStatuses) != len(at) {
			return fmt.Errorf("%d clusters, want %d", len(status.PerClusterPlacementStatuses), len(at))
		}
		for _, c := range status.PerClusterPlacementStatuses {
			started := meta.FindStatusCondition(c.Conditions, v1beta1.ConditionRolloutStarted)
			if want, ok := at[c.ClusterName]; !ok || c.ObservedResourceIndex != want || started == nil || started.Status != metav1.ConditionUnknown {
				return fmt.Errorf("%s is at index %q with RolloutStarted %+v, want %q", c.ClusterName, c.ObservedResourceIndex, started, want)
			}
		}
		return nil
	})
}

func (r *release) statusIs(what string, check func() error) {
	r.Helper()
	testworld.Await(r.T, testworld.Workload, what, func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(r.placement), r.placement); err != nil {
			return err
		}
		if c := r.condition(v1beta1.ConditionScheduled); c == nil || c.ObservedGeneration != r.placement.GetGeneration() || c.Status != metav1.ConditionTrue {
			return fmt.Errorf("Scheduled is %+v", c)
		}
		return check()
	})
}

func (r *release) condition(name string) *metav1.Condition {
	return meta.FindStatusCondition(*r.placement.GetConditions(), r.placement.ConditionType(name))
}

// run creates an update run; index is empty for the latest.
func (r *release) run(name, index string, state v1beta1.UpdateRunState) v1beta1.UpdateRunObject {
	r.Helper()
	key := r.key(r.name + "-" + name)
	run := scope.UpdateRuns.New(key)
	run.SetNamespace(key.Namespace)
	run.SetName(key.Name)
	*run.GetSpec() = v1beta1.UpdateRunSpec{
		PlacementName: r.name, ResourceSnapshotIndex: index, StagedUpdateStrategyName: r.name, State: state,
	}
	r.create(run)
	return run
}

func (r *release) tell(run v1beta1.UpdateRunObject, state v1beta1.UpdateRunState) {
	r.Helper()
	testworld.Update(r, theHub, run, func(run v1beta1.UpdateRunObject) { run.GetSpec().State = state })
}

// approve opens a gate as an operator's tool would: it finds the one request by its labels.
func (r *release) approve(run v1beta1.UpdateRunObject, stage, task string) {
	r.Helper()
	want := contract.AfterStageApproval(run.GetName(), stage)
	if task == contract.TaskBeforeStage {
		want = contract.BeforeStageApproval(run.GetName(), stage)
	}
	testworld.Await(r.T, testworld.Workload, "approval of "+want, func(ctx context.Context) error {
		found, err := scope.ApprovalRequests.List(ctx, theHub, run.GetNamespace(), client.MatchingLabels{
			contract.LabelApprovalRun: run.GetName(), contract.LabelApprovalStage: stage, contract.LabelApprovalTask: task,
			contract.LabelApprovalLatest: "true",
		})
		if err != nil {
			return err
		}
		if len(found) != 1 || found[0].GetName() != want {
			return fmt.Errorf("%d requests, want %s", len(found), want)
		}
		meta.SetStatusCondition(found[0].GetConditions(), metav1.Condition{
			Type: v1beta1.ConditionApproved, Status: metav1.ConditionTrue, Reason: "Fine", ObservedGeneration: found[0].GetGeneration(),
		})
		return theHub.Status().Update(ctx, found[0])
	})
}

// bothGates opens the catalogue's gates one after the other.
func (r *release) bothGates(run v1beta1.UpdateRunObject) {
	r.Helper()
	r.approve(run, "canary", contract.TaskAfterStage)
	r.approve(run, "prod", contract.TaskBeforeStage)
}

// waitsAtProd waits until the run waits for the approval before prod.
func (r *release) waitsAtProd(run v1beta1.UpdateRunObject) {
	r.Helper()
	r.runIs(run, "to wait at prod", func(status *v1beta1.UpdateRunStatus) error {
		if c := meta.FindStatusCondition(status.StagesStatus[1].Conditions, v1beta1.ConditionProgressing); c == nil || c.Reason != v1beta1.ReasonStageUpdatingWaiting {
			return fmt.Errorf("prod's Progressing is %+v", c)
		}
		return nil
	})
}

func (r *release) runIs(run v1beta1.UpdateRunObject, what string, check func(*v1beta1.UpdateRunStatus) error) {
	r.Helper()
	r.runIsWithin(testworld.Workload, run, what, check)
}

// runIsWithin is runIs for what takes longer than a workload.
func (r *release) runIsWithin(limit time.Duration, run v1beta1.UpdateRunObject, what string, check func(*v1beta1.UpdateRunStatus) error) {
	r.Helper()
	testworld.Await(r.T, limit, run.GetName()+" "+what, func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(run), run); err != nil {
			return err
		}
		if len(run.GetStatus().StagesStatus) == 0 {
			return fmt.Errorf("it has no plan: %+v", *run.GetConditions())
		}
		if err := check(run.GetStatus()); err != nil {
			return fmt.Errorf("%w; the run's conditions are %+v", err, *run.GetConditions())
		}
		return nil
	})
}

// succeeds waits until a run is done, and compares all that it tells: the index it released, and the clusters of each
// stage and of the deletion.
func (r *release) succeeds(run v1beta1.UpdateRunObject, policy, index string, stages [][]string, deleted ...string) {
	r.Helper()
	r.runIs(run, "to succeed", func(status *v1beta1.UpdateRunStatus) error {
		generation := run.GetGeneration()
		if err := ended(status.Conditions, generation, v1beta1.ReasonUpdateRunSucceeded); err != nil {
			return err
		}
		if status.PolicySnapshotIndexUsed != policy || status.ResourceSnapshotIndexUsed != index || status.UpdateStrategySnapshot == nil || status.ApplyStrategy == nil {
			return fmt.Errorf("policy %q and resources %q, want %q and %q, with strategies", status.PolicySnapshotIndexUsed, status.ResourceSnapshotIndexUsed, policy, index)
		}
		count := 0
		for i, s := range status.StagesStatus {
			count += len(stages[i])
			if err := r.stageEnded(s, stages[i], generation); err != nil {
				return err
			}
		}
		if status.PolicyObservedClusterCount != count {
			return fmt.Errorf("%d clusters, want %d", status.PolicyObservedClusterCount, count)
		}
		return r.stageEnded(*status.DeletionStageStatus, deleted, generation)
	})
}

func (r *release) stageEnded(s v1beta1.StageUpdatingStatus, clusters []string, generation int64) error {
	reason := v1beta1.ReasonStageUpdatingSucceeded
	if len(clusters) == 0 && s.StageName != contract.DeletionStage {
		reason = v1beta1.ReasonStageUpdatingSkippedNoClusters
	}
	var got []string
	for _, c := range s.Clusters {
		got = append(got, c.ClusterName)
		for _, kind := range []string{v1beta1.ConditionStarted, v1beta1.ConditionSucceeded} {
			if found := meta.FindStatusCondition(c.Conditions, kind); found == nil || found.Status != metav1.ConditionTrue || found.ObservedGeneration != generation {
				return fmt.Errorf("%s of %s in stage %s is %+v", kind, c.ClusterName, s.StageName, found)
			}
		}
	}
	if !slices.Equal(got, clusters) {
		return fmt.Errorf("stage %s has clusters %q, want %q", s.StageName, got, clusters)
	}
	for _, task := range append(s.BeforeStageTaskStatus, s.AfterStageTaskStatus...) {
		want := 1 // of a wait, and of what an earlier run has passed; an approval is asked for and given
		if task.Type == v1beta1.StageTaskApproval && !passedEarlier(task) {
			want = 2
		}
		if len(clusters) > 0 && len(task.Conditions) != want {
			return fmt.Errorf("task %s of stage %s has conditions %+v", task.Type, s.StageName, task.Conditions)
		}
	}
	if s.StartTime == nil || s.EndTime == nil {
		return fmt.Errorf("stage %s has no times", s.StageName)
	}
	return ended(s.Conditions, generation, reason)
}

func passedEarlier(task v1beta1.StageTaskStatus) bool {
	return slices.ContainsFunc(task.Conditions, func(c metav1.Condition) bool { return c.Reason == v1beta1.ReasonStageTaskPassedEarlier })
}

func ended(conditions []metav1.Condition, generation int64, reason string) error {
	for kind, status := range map[string]metav1.ConditionStatus{
		v1beta1.ConditionProgressing: metav1.ConditionFalse, v1beta1.ConditionSucceeded: metav1.ConditionTrue,
	} {
		if c := meta.FindStatusCondition(conditions, kind); c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != generation {
			return fmt.Errorf("%s is %+v, want %s for %s of generation %d", kind, c, status, reason, generation)
		}
	}
	return nil
}

// still asserts that members stay as they are for a while: an empty value is a member without cm.
func (r *release) still(values map[string]string) {
	r.Helper()
	testworld.Stable(r.T, calm, "what is on the members", func(ctx context.Context) error {
		for _, m := range members() {
			want, ok := values[m.name]
			if !ok {
				continue
			}
			err := r.on(m).holding(want)(ctx)
			if want == "" {
				if err == nil || client.IgnoreNotFound(err) != nil {
					return errors.Join(fmt.Errorf("cm is on %s", m.name), client.IgnoreNotFound(err))
				}
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
		return nil
	})
}

// edits changes cm on the hub.
func (r *release) edits(value string) {
	r.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: r.app, Name: "cm"}}
	testworld.Update(r, theHub, cm, func(cm *corev1.ConfigMap) { cm.Data = map[string]string{"data": value} })
}

func (r *release) complete(index string, clusters ...string) {
	r.Helper()
	r.of(r.placement).expectWithin(testworld.Workload, testworld.Complete(clusters...).AtOrNext(index))
}

var prod = []string{"c1", "c3"}

// contract:1, contract:2, contract:12, contract:13
func TestRunsReleaseAndRollBack(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		r := inStages(s, external)
		r.untouched(3)
		first := r.run("1", "", v1beta1.UpdateRunRun)
		r.on(c2).holds("test")
		r.cut("0 latest")
		r.pending(map[string]string{c2.name: "0"})
		r.approve(first, "canary", contract.TaskAfterStage)
		r.waitsAtProd(first)
		r.still(map[string]string{c1.name: "", c2.name: "test", c3.name: ""})
		r.approve(first, "prod", contract.TaskBeforeStage)
		r.succeeds(first, "0", "0", [][]string{{"c2"}, prod})
		r.complete("0", "c1", "c2", "c3")

		r.edits("new")
		r.still(map[string]string{c1.name: "test", c2.name: "test", c3.name: "test"})
		r.complete("0", "c1", "c2", "c3")
		second := r.run("2", "", v1beta1.UpdateRunRun)
		r.on(c2).holds("new")
		r.cut("0", "1 latest")
		r.pending(map[string]string{c1.name: "0", c2.name: "1", c3.name: "0"})
		r.still(map[string]string{c1.name: "test", c2.name: "new", c3.name: "test"})
		r.bothGates(second)
		r.succeeds(second, "0", "1", [][]string{{"c2"}, prod})
		r.complete("1", "c1", "c2", "c3")

		third := r.run("3", "0", v1beta1.UpdateRunRun)
		r.on(c2).holds("test")
		r.pending(map[string]string{c1.name: "1", c2.name: "0", c3.name: "1"})
		r.approve(third, "canary", contract.TaskAfterStage)
		r.waitsAtProd(third)
		r.still(map[string]string{c1.name: "new", c2.name: "test", c3.name: "new"})
		r.approve(third, "prod", contract.TaskBeforeStage)
		r.succeeds(third, "0", "0", [][]string{{"c2"}, prod})
		r.complete("0", "c1", "c2", "c3")
		r.cut("0", "1 latest")
		for _, m := range members() {
			r.on(m).holds("test")
		}
	})
}

// contract:3, contract:14
func TestRunsFollowAFixedPolicy(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		r := inStages(s, external, testworld.PickFixed(c1.name, c2.name))
		r.untouched(2)
		first := r.run("1", "", v1beta1.UpdateRunRun)
		r.bothGates(first)
		r.succeeds(first, "0", "0", [][]string{{"c2"}, {"c1"}})
		r.complete("0", "c1", "c2")
		r.still(map[string]string{c3.name: ""})

		r.of(r.placement).edit(testworld.PickFixed(c1.name, c2.name, c3.name))
		r.unknownAt("", 0, map[string]string{"c1": "0", "c2": "0", "c3": ""})
		second := r.run("2", "0", v1beta1.UpdateRunRun)
		r.bothGates(second)
		r.succeeds(second, "1", "0", [][]string{{"c2"}, prod})
		r.complete("0", "c1", "c2", "c3")

		r.of(r.placement).edit(testworld.PickFixed(c3.name))
		r.unknownAt("0", len(r.all()), map[string]string{"c3": "0"})
		third := r.run("3", "0", v1beta1.UpdateRunRun)
		r.waitsAtProd(third)
		r.still(map[string]string{c1.name: "test", c2.name: "test", c3.name: "test"})
		r.approve(third, "prod", contract.TaskBeforeStage)
		r.succeeds(third, "2", "0", [][]string{nil, {"c3"}}, "c1", "c2")
		r.on(c1).clean()
		r.on(c2).clean()
		r.complete("0", "c3")
	})
}

// contract:4, contract:15
func TestRunsFollowANumber(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		r := inStages(s, external, testworld.PickN(1))
		r.untouched(1)
		first := r.run("1", "", v1beta1.UpdateRunRun)
		r.waitsAtProd(first)
		r.still(map[string]string{c1.name: "", c2.name: "", c3.name: ""})
		r.approve(first, "prod", contract.TaskBeforeStage)
		r.succeeds(first, "0", "0", [][]string{nil, {"c3"}})
		r.complete("0", "c3")

		r.of(r.placement).edit(testworld.PickN(3))
		r.pending(map[string]string{"c1": "", "c2": "", "c3": "0"})
		second := r.run("2", "0", v1beta1.UpdateRunRun)
		r.on(c2).holds("test")
		r.still(map[string]string{c1.name: ""})
		r.bothGates(second)
		r.succeeds(second, "0", "0", [][]string{{"c2"}, prod})
		r.complete("0", "c1", "c2", "c3")

		r.of(r.placement).edit(testworld.PickN(2))
		r.complete("0", "c2", "c3")
		third := r.run("3", "0", v1beta1.UpdateRunRun)
		r.approve(third, "canary", contract.TaskAfterStage)
		r.waitsAtProd(third)
		r.still(map[string]string{c1.name: "test"})
		r.approve(third, "prod", contract.TaskBeforeStage)
		r.succeeds(third, "0", "0", [][]string{{"c2"}, {"c3"}}, "c1")
		r.on(c1).clean()
		r.complete("0", "c2", "c3")
	})
}

// contract:7
func TestARollingPlacementIsHandedToRuns(t *testing.T) {
	s := begin(t)
	r := inStages(s)
	r.complete("0", "c1", "c2", "c3")
	n, err := strconv.Atoi(r.placement.GetStatus().ObservedResourceIndex) // 1 if the hub had not seen everything at first
	if err != nil {
		t.Fatal(err)
	}
	earlier := []string{"0"}[:n]
	r.of(r.placement).edit(external)
	r.complete("0", "c1", "c2", "c3")
	r.edits("new")
	r.still(map[string]string{c1.name: "test", c2.name: "test", c3.name: "test"})
	r.cut(slices.Concat(earlier, []string{fmt.Sprintf("%d latest", n)})...)
	run := r.run("1", "", v1beta1.UpdateRunRun)
	r.on(c2).holds("new")
	r.cut(slices.Concat(earlier, []string{strconv.Itoa(n), fmt.Sprintf("%d latest", n+1)})...)
	r.bothGates(run)
	r.succeeds(run, "0", strconv.Itoa(n+1), [][]string{{"c2"}, prod})
	r.complete("1", "c1", "c2", "c3")
	for _, m := range members() {
		r.on(m).holds("new")
	}
}

// contract:9, contract:10, contract:17, contract:18
func TestRunsInOneStage(t *testing.T) {
	for name, most := range map[string]intstr.IntOrString{"a number": intstr.FromInt32(3), "a share": intstr.FromString("70%")} {
		t.Run(name, func(t *testing.T) {
			inBothScopes(t, func(s *scene) {
				r := staged(s, []v1beta1.StageConfig{{Name: "all", LabelSelector: &metav1.LabelSelector{}, MaxConcurrency: ptr.To(most)}}, external)
				r.untouched(3)
				run := r.run("1", "", v1beta1.UpdateRunRun)
				r.succeeds(run, "0", "0", [][]string{{"c1", "c2", "c3"}})
				r.complete("0", "c1", "c2", "c3")
			})
		})
	}
}

// The snapshots of what was released are lost, and what they came from changes. The next run releases what there is
// now, and it takes no cluster for done because of a name.
//
// It is the case update-run-over-a-reused-snapshot-name.
func TestUpdateRunOverAReusedSnapshotName(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		r := staged(s, []v1beta1.StageConfig{{Name: "all", LabelSelector: &metav1.LabelSelector{}, MaxConcurrency: ptr.To(intstr.FromInt32(3))}}, external)
		r.untouched(3)
		first := r.run("1", "", v1beta1.UpdateRunRun)
		r.succeeds(first, "0", "0", [][]string{{"c1", "c2", "c3"}})
		r.complete("0", "c1", "c2", "c3")
		key := r.key(r.name)
		err := theHub.DeleteAllOf(t.Context(), scope.ResourceSnapshots.New(key), client.InNamespace(key.Namespace), client.MatchingLabels{contract.LabelPlacement: r.name})
		if err != nil {
			t.Fatal(err)
		}
		r.cut()
		r.edits("2")
		second := r.run("2", "", v1beta1.UpdateRunRun)
		r.succeeds(second, "0", "1", [][]string{{"c1", "c2", "c3"}})
		for _, m := range members() {
			r.on(m).holds("2")
		}
		r.complete("1", "c1", "c2", "c3")
	})
}

// contract:11, contract:19
func TestARunIsPlannedStoppedAndGoesOn(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		r := inStages(s, external)
		r.untouched(3)
		run := r.run("1", "", v1beta1.UpdateRunInitialize)
		r.cut("0 latest")
		r.runIs(run, "to be planned", func(status *v1beta1.UpdateRunStatus) error {
			if len(status.Conditions) != 1 || !meta.IsStatusConditionTrue(status.Conditions, v1beta1.ConditionInitialized) || len(status.StagesStatus) != 2 {
				return fmt.Errorf("it is %+v", status)
			}
			return nil
		})
		r.still(map[string]string{c1.name: "", c2.name: "", c3.name: ""})
		r.tell(run, v1beta1.UpdateRunRun)
		r.on(c2).holds("test")
		r.pending(map[string]string{c2.name: "0"})
		r.approve(run, "canary", contract.TaskAfterStage)
		r.waitsAtProd(run)
		r.tell(run, v1beta1.UpdateRunStop)
		r.runIs(run, "to be stopped", func(status *v1beta1.UpdateRunStatus) error {
			if c := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionProgressing); c == nil || c.Reason != v1beta1.ReasonUpdateRunStopped {
				return fmt.Errorf("Progressing is %+v", c)
			}
			return nil
		})
		r.approve(run, "prod", contract.TaskBeforeStage)
		r.still(map[string]string{c1.name: "", c2.name: "test", c3.name: ""})
		r.tell(run, v1beta1.UpdateRunRun)
		r.succeeds(run, "0", "0", [][]string{{"c2"}, prod})
		r.complete("0", "c1", "c2", "c3")
	})
}

// contract:5
func TestARunReleasesOverrides(t *testing.T) {
	s := begin(t)
	wide := s.wide("", testworld.Patching([]v1beta1.ClusterSelectorTerm{testworld.Labelled(map[string]string{"region": "east", "env": "prod"})},
		testworld.Annotating(key, "wide")))
	narrow := s.narrow("", testworld.Patching([]v1beta1.ClusterSelectorTerm{testworld.Labelled(map[string]string{"region": "east", "env": "canary"})},
		testworld.Annotating(key, "narrow")))
	s.overridesStored(wide.Name+"-0", s.app+"/"+narrow.Name+"-0")
	r := inStages(s, external)
	r.untouched(3)
	run := r.run("1", "", v1beta1.UpdateRunRun)
	r.on(c2).holds("test")
	r.cmCarries("narrow", c2)
	r.bothGates(run)
	r.succeeds(run, "0", "0", [][]string{{"c2"}, prod})
	status := run.GetStatus().StagesStatus
	if got := status[0].Clusters[0].ResourceOverrideSnapshots; len(got) != 1 || got[0] != (v1beta1.NamespacedName{Namespace: s.app, Name: narrow.Name + "-0"}) {
		t.Errorf("overrides of c2 are %v", got)
	}
	if got := status[1].Clusters[0].ClusterResourceOverrideSnapshots; !slices.Equal(got, []string{wide.Name + "-0"}) {
		t.Errorf("overrides of c1 are %v", got)
	}
	r.statusIs("all clusters to be complete with their overrides", func() error {
		if c := r.condition("Overridden"); c == nil || c.Reason != v1beta1.ReasonOverriddenSucceeded {
			return fmt.Errorf("Overridden is %+v", c)
		}
		return r.clustersAt(map[string]string{"c1": "0", "c2": "0", "c3": "0"})
	})
	r.bothCarry("wide", c1)
	r.cmCarries("", c3)
}

// overridesStored waits until these snapshots of overrides exist; a run takes those that there are when it is planned.
func (s *scene) overridesStored(names ...string) {
	s.Helper()
	for _, name := range names {
		namespace, bare, ok := strings.Cut(name, "/")
		if !ok {
			namespace, bare = "", name
		}
		testworld.Await(s.T, testworld.Soon, "override snapshot "+name, func(ctx context.Context) error {
			key := types.NamespacedName{Namespace: namespace, Name: bare}
			return theHub.Get(ctx, key, scope.OverrideSnapshots.New(key))
		})
	}
}

// contract:6, contract:16
func TestARunReportsDifferences(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		r := inStages(s, external, func(spec *v1beta1.PlacementSpec) {
			spec.Strategy.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff, ComparisonOption: v1beta1.ComparisonOptionPartialComparison}
		})
		r.untouched(3)
		run := r.run("1", "", v1beta1.UpdateRunRun)
		r.pending(map[string]string{c2.name: "0"})
		r.bothGates(run)
		r.succeeds(run, "0", "0", [][]string{{"c2"}, prod})
		if got := run.GetStatus().ApplyStrategy.Type; got != v1beta1.ApplyStrategyTypeReportDiff {
			t.Errorf("the run tells of apply strategy %s", got)
		}
		r.statusIs("all clusters to have reported", func() error {
			if c := r.condition(v1beta1.ConditionDiffReported); c == nil || c.Reason != v1beta1.ReasonDiffReportingCompleted {
				return fmt.Errorf("DiffReported is %+v", c)
			}
			for _, c := range r.placement.GetStatus().PerClusterPlacementStatuses {
				found := 0
				for _, d := range c.DiffedPlacements {
					if len(d.ObservedDiffs) == 1 && d.ObservedDiffs[0].Path == "/" && d.ObservedDiffs[0].ValueInHub == contract.TextWholeObject {
						found++
					}
				}
				// The namespace of a ResourcePlacement is there already.
				if found != len(r.all()) || found != len(c.DiffedPlacements) {
					return fmt.Errorf("differences on %s are %+v", c.ClusterName, c.DiffedPlacements)
				}
			}
			return r.clustersAt(map[string]string{"c1": "0", "c2": "0", "c3": "0"})
		})
		r.still(map[string]string{c1.name: "", c2.name: "", c3.name: ""})
	})
}

// contract:8
func TestApprovalsOnTheCommandLine(t *testing.T) {
	r := inStages(begin(t), external)
	run := r.run("1", "", v1beta1.UpdateRunRun)
	for _, request := range []string{contract.AfterStageApproval(run.GetName(), "canary"), contract.BeforeStageApproval(run.GetName(), "prod")} {
		testworld.Await(t, testworld.Workload, request, func(ctx context.Context) error {
			return theHub.Get(ctx, client.ObjectKey{Name: request}, &v1beta1.ClusterApprovalRequest{})
		})
		cmd := exec.CommandContext(t.Context(), "../../bin/kubectl-fleet", "approve", "clusterapprovalrequest", "--hub-cluster-context", theHub.name, "--name", request)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfigFile)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	r.succeeds(run, "0", "0", [][]string{{"c2"}, prod})
	r.complete("0", "c1", "c2", "c3")
}

// A cluster that joins ends a run; another one goes on from it, and asks for nothing that was approved.
func TestARunGoesOnWhenAClusterJoins(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		gated := func(name string) v1beta1.StageConfig {
			return v1beta1.StageConfig{
				Name: name, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": name}},
				BeforeStageTasks: []v1beta1.StageTask{{Type: v1beta1.StageTaskApproval}},
			}
		}
		r := staged(s, []v1beta1.StageConfig{gated("canary"), gated("prod")}, external, testworld.PickAll(), s.reachOwnMembers())
		r.untouched(3)
		first := r.run("1", "", v1beta1.UpdateRunRun)
		r.approve(first, "canary", contract.TaskBeforeStage)
		r.on(c2).holds("test")
		r.waitsAtProd(first)

		f1 := s.member("f1", map[string]string{"env": "canary"})
		f1.Healthy()
		r.runIs(first, "to end", func(status *v1beta1.UpdateRunStatus) error {
			c := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionSucceeded)
			if c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "new: "+f1.Name+";") {
				return fmt.Errorf("Succeeded is %+v, want it to name %s", c, f1.Name)
			}
			return nil
		})
		r.edits("later") // which is not what is being released

		second := r.resume("2", first)
		r.waitsAtProd(second)
		if got := second.GetStatus().StagesStatus[0]; len(got.Clusters) != 2 || !passedEarlier(got.BeforeStageTaskStatus[0]) {
			t.Errorf("canary is %+v", got)
		}
		r.approve(second, "prod", contract.TaskBeforeStage)
		r.succeeds(second, "0", "0", [][]string{{"c2", f1.Name}, prod})
		r.complete("0", "c1", "c2", "c3", f1.Name)
		for _, m := range members() {
			r.on(m).holds("test")
		}
		requests, err := scope.ApprovalRequests.List(t.Context(), theHub, second.GetNamespace(), client.MatchingLabels{contract.LabelApprovalRun: second.GetName()})
		if err != nil || len(requests) != 1 {
			t.Errorf("it has asked for %d approvals, want that of prod alone; error %v", len(requests), err)
		}
	})
}

// resume creates an update run that goes on from another one.
func (r *release) resume(name string, from v1beta1.UpdateRunObject) v1beta1.UpdateRunObject {
	r.Helper()
	key := r.key(r.name + "-" + name)
	run := scope.UpdateRuns.New(key)
	run.SetNamespace(key.Namespace)
	run.SetName(key.Name)
	*run.GetSpec() = v1beta1.UpdateRunSpec{
		PlacementName: r.name, StagedUpdateStrategyName: r.name, State: v1beta1.UpdateRunRun, ResumeFrom: from.GetName(),
	}
	r.create(run)
	return run
}
