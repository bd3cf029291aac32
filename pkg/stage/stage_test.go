package stage_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// world is a placement on some clusters and one run, as the hub holds them.
type world struct {
	fleet    stage.Fleet
	strategy v1beta1.UpdateStrategySpec
	status   v1beta1.UpdateRunStatus
	state    v1beta1.UpdateRunState
	requests map[string]stage.Request
	refused  map[string]string
	lost     map[string]string
	now      time.Time
	// awake is since when there is an agent, clocks what it has kept.
	awake  time.Time
	clocks []time.Time
	// prints are the fingerprints of the clusters' overrides as their labels are now.
	prints map[string]string
	// slow are clusters that report nothing.
	slow map[string]bool
}

// cluster is a MemberCluster the placement has picked: its name and its labels as k=v.
type cluster struct {
	name   string
	labels []string
}

func newWorld(stages []v1beta1.StageConfig, clusters ...cluster) *world {
	placement := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "placement"}}
	placement.Spec.Strategy.Type = v1beta1.RolloutStrategyTypeExternal
	policy := &v1beta1.ClusterSchedulingPolicySnapshot{ObjectMeta: metav1.ObjectMeta{
		Name: "p-0", Generation: 1, Labels: map[string]string{contract.LabelLatest: "true", contract.LabelPolicyIndex: "0"},
	}}
	policy.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionScheduled, Status: metav1.ConditionTrue, ObservedGeneration: 1}}
	w := &world{
		strategy: v1beta1.UpdateStrategySpec{Stages: stages}, state: v1beta1.UpdateRunRun, now: start,
		requests: map[string]stage.Request{}, refused: map[string]string{}, slow: map[string]bool{},
		fleet: stage.Fleet{Placement: placement, Policies: []v1beta1.PolicySnapshotObject{policy}, Labels: map[string]map[string]string{}},
	}
	for _, c := range clusters {
		set := map[string]string{}
		for _, pair := range c.labels {
			key, value, _ := strings.Cut(pair, "=")
			set[key] = value
		}
		w.fleet.Labels[c.name] = set
		w.fleet.Bindings = append(w.fleet.Bindings, binding(c.name, v1beta1.BindingStateScheduled))
	}
	return w
}

func binding(cluster string, state v1beta1.BindingState) *v1beta1.ClusterResourceBinding {
	b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{Name: "p-" + cluster, Generation: 1}}
	b.Spec = v1beta1.ResourceBindingSpec{State: state, TargetCluster: cluster, SchedulingPolicySnapshotName: "p-0"}
	return b
}

func (w *world) binding(cluster string) *v1beta1.ClusterResourceBinding {
	for _, b := range w.fleet.Bindings {
		if b.GetSpec().TargetCluster == cluster {
			return b.(*v1beta1.ClusterResourceBinding)
		}
	}
	return nil
}

// begin plans the run.
func (w *world) begin() error {
	plan, err := stage.NewPlan(w.fleet, w.strategy)
	if err != nil {
		return err
	}
	w.status = report.PlannedRun(plan.Status("run", "3", w.strategy, nil), nil, 1, metav1.NewTime(w.now))
	return nil
}

func (w *world) world() stage.World {
	overrides := map[string]delivery.Overrides{}
	for cluster, fingerprint := range w.prints {
		overrides[cluster] = delivery.Overrides{Fingerprint: fingerprint}
	}
	return stage.World{
		Run: "run", UID: "uid", Config: *w.status.UpdateStrategySnapshot, Snapshot: "p-3-snapshot", Apply: w.status.ApplyStrategy.WithDefaults(),
		Overrides: overrides, Bindings: w.fleet.Bindings, Requests: w.requests, Refused: w.refused, Lost: w.lost, Unheard: w.fleet.Unheard, Awake: w.awake, Now: w.now,
	}
}

// pass does what the agent does. Without store the agent dies before it can write the run's status.
func (w *world) pass(store bool) stage.Step {
	progress := stage.Read(w.status)
	if progress.Phase.Done() {
		return stage.Step{}
	}
	progress.SetBy(w.clocks)
	next, step := progress, stage.Step{}
	if err := stage.Check(w.fleet, w.status); err != nil && !progress.RollingBack() {
		abort := stage.AbortOf(err)
		if abort == nil {
			return step
		}
		next.Fail(abort.Message)
	} else if w.state == v1beta1.UpdateRunRun {
		next, step = stage.Next(progress, w.world())
	} else {
		next, step = stage.Stop(progress, w.world())
	}
	for _, s := range step.Start {
		b := s.Binding.(*v1beta1.ClusterResourceBinding)
		if s.Content {
			b.Spec.State, b.Spec.ResourceSnapshotName, b.Spec.ApplyStrategy = v1beta1.BindingStateBound, s.To.ResourceSnapshotName, s.To.ApplyStrategy
			b.Spec.OverrideFingerprint = s.Fingerprint
			b.Generation++
			if s.Mark != nil {
				if err := s.Mark.Put(b); err != nil {
					panic(err)
				}
			}
		}
		b.Status.Conditions = report.Rollout(b.Status.Conditions, report.RunStarted(b.Generation, "run", "3"), metav1.NewTime(w.now))
	}
	for _, name := range step.Drop {
		w.fleet.Bindings = slices.DeleteFunc(w.fleet.Bindings, func(b v1beta1.BindingObject) bool { return b.GetName() == name })
	}
	for _, a := range step.Ask {
		if _, ok := w.requests[a.Name]; !ok {
			w.requests[a.Name] = stage.Request{Run: "run", Stage: a.Stage}
		}
	}
	if store {
		w.status = report.UpdateRun(w.status, next, 1, metav1.NewTime(w.now))
		w.stored(next)
		w.serve()
		w.clocks = next.Clocks()
	} else {
		w.clocks = nil
	}
	return step
}

// serve makes the status what an API server would return: times lose their fractions of seconds.
func (w *world) serve() {
	stored, err := json.Marshal(w.status)
	if err != nil {
		panic(err)
	}
	w.status = v1beta1.UpdateRunStatus{}
	if err := json.Unmarshal(stored, &w.status); err != nil {
		panic(err)
	}
}

// set writes one condition of a cluster's binding as it is now.
func (w *world) set(cluster, kind string, status metav1.ConditionStatus, reason string) {
	b := w.binding(cluster)
	if c := delivery.StatusOf(b).Current(kind); c != nil && c.Status == status && c.Reason == reason {
		return
	}
	b.Status.Conditions = slices.DeleteFunc(b.Status.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
	b.Status.Conditions = append(b.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, ObservedGeneration: b.Generation, LastTransitionTime: metav1.NewTime(w.now),
	})
}

func (w *world) available(clusters ...string) {
	for _, c := range clusters {
		w.set(c, v1beta1.ConditionAvailable, metav1.ConditionTrue, v1beta1.ReasonAllWorkAreAvailable)
		w.binding(c).Status.LastHealthy = revision(w.binding(c))
	}
}

// revision is what a binding asks for.
func revision(b *v1beta1.ClusterResourceBinding) *v1beta1.Revision {
	return &v1beta1.Revision{ResourceSnapshotName: b.Spec.ResourceSnapshotName, ApplyStrategy: b.Spec.ApplyStrategy.DeepCopy()}
}

func (w *world) approve(request string) {
	r := w.requests[request]
	r.Approved = true
	w.requests[request] = r
}

// describe is the run in a line: its phase, then each stage with its phase and its clusters: . is pending, * in
// progress, + done, ! failed; after < the same of the way back.
func (w *world) describe() string {
	p := stage.Read(w.status)
	names := map[stage.Phase]string{
		stage.Pending: "pending", stage.Active: "active", stage.Waiting: "waiting", stage.Stuck: "stuck", stage.Stopping: "stopping",
		stage.Stopped: "stopped", stage.RollingBack: "rolling back", stage.Skipped: "skipped", stage.Succeeded: "succeeded", stage.Failed: "failed",
	}
	marks := map[stage.Phase]string{stage.Pending: ".", stage.Active: "*", stage.Succeeded: "+", stage.Failed: "!"}
	text := names[p.Phase]
	backs := map[delivery.FateState]string{delivery.Returning: "<", delivery.Returned: "<+", delivery.Astray: "<!", delivery.NeverHealthy: "<!"}
	for _, s := range append(p.Stages, p.Deletion) {
		text += " | " + names[s.Phase]
		for _, c := range s.Clusters {
			text += " " + c.Name + marks[c.Phase] + backs[c.Back.State]
		}
	}
	return text
}

func (w *world) want(t *testing.T, what, want string) {
	t.Helper()
	if got := w.describe(); got != want {
		t.Fatalf("%s: run is\n%s\nwant\n%s", what, got, want)
	}
}

func of(name, label string, change ...func(*v1beta1.StageConfig)) v1beta1.StageConfig {
	config := v1beta1.StageConfig{Name: name, LabelSelector: &metav1.LabelSelector{}}
	if label != "" {
		key, value, _ := strings.Cut(label, "=")
		config.LabelSelector.MatchLabels = map[string]string{key: value}
	}
	for _, f := range change {
		f(&config)
	}
	return config
}

func before(c *v1beta1.StageConfig) {
	c.BeforeStageTasks = []v1beta1.StageTask{{Type: v1beta1.StageTaskApproval}}
}

func after(c *v1beta1.StageConfig) {
	c.AfterStageTasks = append(c.AfterStageTasks, v1beta1.StageTask{Type: v1beta1.StageTaskApproval})
}

func wait(d time.Duration) func(*v1beta1.StageConfig) {
	return func(c *v1beta1.StageConfig) {
		c.AfterStageTasks = append(c.AfterStageTasks, v1beta1.StageTask{Type: v1beta1.StageTaskTimedWait, WaitTime: &metav1.Duration{Duration: d}})
	}
}

func most(n intstr.IntOrString) func(*v1beta1.StageConfig) {
	return func(c *v1beta1.StageConfig) { c.MaxConcurrency = &n }
}

// fleet is the catalogue's: c2 is the canary, c1 and c3 are prod.
func fleet(stages ...v1beta1.StageConfig) *world {
	return newWorld(stages, cluster{"c1", []string{"env=prod", "order=2"}}, cluster{"c2", []string{"env=canary"}}, cluster{"c3", []string{"env=prod", "order=1"}})
}

func TestAReleaseWithGates(t *testing.T) {
	w := fleet(of("canary", "env=canary", after, wait(5*time.Second)), of("prod", "env=prod", before))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.want(t, "planned", "pending | pending c2. | pending c1. c3. | pending")
	w.pass(true)
	w.want(t, "begun", "active | active c2* | pending c1. c3. | pending")
	w.available("c2")
	w.now = w.now.Add(500 * time.Millisecond)
	step := w.pass(true)
	w.want(t, "canary done", "waiting | waiting c2+ | pending c1. c3. | pending")
	if len(step.Ask) != 1 || step.Ask[0] != (stage.Ask{Name: "run-after-canary", Stage: "canary", Task: "afterStage"}) {
		t.Fatalf("asks for %+v", step.Ask)
	}
	w.approve("run-after-canary")
	w.now = w.now.Add(5*time.Second - time.Millisecond)
	if step = w.pass(true); !slices.Equal(step.Accept, []string{"run-after-canary"}) || step.Again <= 0 || step.Again > 2*time.Second {
		t.Fatalf("step %+v; want the approval taken, and the rest of the wait", step)
	}
	w.want(t, "wait not over", "waiting | waiting c2+ | pending c1. c3. | pending")
	w.now = w.now.Add(step.Again)
	step = w.pass(true)
	w.want(t, "wait over", "waiting | succeeded c2+ | waiting c1. c3. | pending")
	if len(step.Ask) != 1 || step.Ask[0].Name != "run-before-prod" {
		t.Fatalf("asks for %+v", step.Ask)
	}
	w.approve("run-before-prod")
	w.pass(true)
	w.want(t, "prod begun, one at a time", "active | succeeded c2+ | active c1* c3. | pending")
	w.available("c1")
	w.pass(true)
	w.want(t, "next as soon as the slot is free", "active | succeeded c2+ | active c1+ c3* | pending")
	w.available("c3")
	w.pass(true)
	w.want(t, "done", "succeeded | succeeded c2+ | succeeded c1+ c3+ | succeeded")
	if got := w.pass(true); len(got.Start)+len(got.Ask)+len(got.Drop) > 0 {
		t.Fatalf("a run that is done does %+v", got)
	}
}

func TestStopAndGoOn(t *testing.T) {
	w := fleet(of("all", "", most(intstr.FromInt32(2)), wait(time.Hour)))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass(true)
	w.want(t, "two at once", "active | active c1* c2* c3. | pending")
	w.state = v1beta1.UpdateRunStop
	w.pass(true)
	w.want(t, "told to stop", "stopping | stopping c1* c2* c3. | pending")
	w.available("c1", "c2")
	w.pass(true)
	w.want(t, "nothing in progress", "stopped | stopped c1+ c2+ c3. | pending")
	w.state = v1beta1.UpdateRunRun
	w.pass(true)
	w.want(t, "goes on", "active | active c1+ c2+ c3* | pending")
	w.available("c3")
	w.pass(true)
	w.want(t, "the wait begins", "waiting | waiting c1+ c2+ c3+ | pending")
	w.now = w.now.Add(30 * time.Minute)
	w.state = v1beta1.UpdateRunStop
	w.pass(true)
	w.want(t, "stopped in the wait", "stopped | stopped c1+ c2+ c3+ | pending")
	w.now = w.now.Add(45 * time.Minute)
	w.state = v1beta1.UpdateRunRun
	if step := w.pass(true); step.Again != 15*time.Minute {
		t.Fatalf("waits for %s; the clock counts from the stop", step.Again)
	}
	w.now = w.now.Add(15 * time.Minute)
	w.pass(true)
	w.want(t, "done", "succeeded | succeeded c1+ c2+ c3+ | succeeded")
}

func TestWhatTheSchedulerGaveUpGoesLast(t *testing.T) {
	w := fleet(of("prod", "env=prod", most(intstr.FromString("70%"))), of("canary", "env=canary"))
	w.binding("c2").Spec.State = v1beta1.BindingStateUnscheduled
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	if step := w.pass(true); len(step.Drop) > 0 {
		t.Fatalf("drops %q before the stages are done", step.Drop)
	}
	w.want(t, "begun", "active | active c1* c3. | pending | pending c2.")
	w.available("c1")
	w.pass(true)
	w.available("c3")
	if step := w.pass(true); !slices.Equal(step.Drop, []string{"p-c2"}) {
		t.Fatalf("drops %q", step.Drop)
	}
	w.want(t, "skips a stage without clusters", "active | succeeded c1+ c3+ | skipped | active c2*")
	w.pass(true)
	w.want(t, "done", "succeeded | succeeded c1+ c3+ | skipped | succeeded c2+")
}

func TestNothingIsRemovedFromAClusterThatIsNotHeard(t *testing.T) {
	w := fleet(of("all", "env=prod"))
	w.binding("c2").Spec.State, w.binding("c2").Spec.ResourceSnapshotName = v1beta1.BindingStateUnscheduled, "p-2-snapshot"
	w.fleet.Unheard = map[string]bool{"c2": true}
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass(true)
	w.available("c1")
	w.pass(true)
	w.available("c3")
	if step := w.pass(true); len(step.Drop) > 0 {
		t.Fatalf("drops %q, and the cluster is not heard", step.Drop)
	}
	w.want(t, "waits", "active | succeeded c1+ c3+ | active c2.")
	w.fleet.Unheard = nil
	if step := w.pass(true); !slices.Equal(step.Drop, []string{"p-c2"}) {
		t.Fatalf("drops %q when the cluster is heard again", step.Drop)
	}
	w.pass(true)
	w.want(t, "done", "succeeded | succeeded c1+ c3+ | succeeded c2+")
}

// The roller removes the placement from clusters that take part in an exchange. A run does not wait for them: one that
// is lost may never be heard again.
func TestExchangesOfClustersAreNotTheRuns(t *testing.T) {
	for name, exchange := range map[string]func(w *world, c2, c3 *v1beta1.ClusterResourceBinding){
		"replaced": func(_ *world, c2, _ *v1beta1.ClusterResourceBinding) {
			c2.Annotations = map[string]string{contract.AnnotationReplacedBy: failover.Exchange{With: "c3", Reason: failover.Lost}.String()}
		},
		"replaced, and the replacement is gone": func(_ *world, c2, _ *v1beta1.ClusterResourceBinding) {
			c2.Annotations = map[string]string{contract.AnnotationReplacedBy: failover.Exchange{With: "c9", Reason: failover.Lost}.String()}
		},
		"a replacement that is not needed any more": func(_ *world, c2, _ *v1beta1.ClusterResourceBinding) {
			c2.Annotations = map[string]string{contract.AnnotationReplaces: failover.Exchange{With: "c3", Reason: failover.Lost}.String()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := fleet(of("all", "env=prod"))
			left := w.binding("c2")
			left.Spec.State, left.Spec.ResourceSnapshotName = v1beta1.BindingStateUnscheduled, "p-2-snapshot"
			exchange(w, left, w.binding("c3"))
			if err := w.begin(); err != nil {
				t.Fatal(err)
			}
			w.fleet.Unheard = map[string]bool{"c2": true}
			w.pass(true)
			w.available("c1")
			w.pass(true)
			w.fleet.Unheard = nil
			w.available("c3")
			if step := w.pass(true); len(step.Drop) > 0 {
				t.Fatalf("drops %q", step.Drop)
			}
			w.want(t, "done", "succeeded | succeeded c1+ c3+ | succeeded")
		})
	}
}

// An exchange is two writes: a run is planned after the second.
func TestNoPlanDuringAnExchange(t *testing.T) {
	w := fleet(of("all", ""))
	w.fleet.Policies[0].GetSpec().Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN}
	w.fleet.Policies[0].SetAnnotations(map[string]string{contract.AnnotationNumberOfClusters: "2"})
	w.strategy.Stages[0].LabelSelector = &metav1.LabelSelector{}
	w.binding("c3").Annotations = map[string]string{contract.AnnotationReplaces: failover.Exchange{With: "c2", Reason: failover.Lost}.String()}
	if err := w.begin(); !errors.Is(err, stage.ErrUnsettled) {
		t.Errorf("planned during an exchange: %v", err)
	}
	left := w.binding("c2")
	left.Spec.State = v1beta1.BindingStateUnscheduled
	left.Annotations = map[string]string{contract.AnnotationReplacedBy: failover.Exchange{With: "c3", Reason: failover.Lost}.String()}
	if err := w.begin(); err != nil || len(w.status.StagesStatus[0].Clusters) != 2 || len(w.status.DeletionStageStatus.Clusters) != 0 {
		t.Errorf("%v, %+v", err, w.status)
	}
	left.Spec.State, left.Annotations = v1beta1.BindingStateBound, nil // the placement has other clusters than planned
	w.binding("c3").Annotations = nil
	if err := stage.Check(w.fleet, w.status); stage.AbortOf(err) == nil {
		t.Errorf("a run goes on with other clusters: %v", err)
	}
}

// Clusters that stay only because their leaving is held are picked: a run includes them.
func TestClustersThatAreHeld(t *testing.T) {
	w := fleet(of("all", ""))
	w.fleet.Policies[0].GetSpec().Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN}
	w.fleet.Policies[0].SetAnnotations(map[string]string{contract.AnnotationNumberOfClusters: "1"})
	w.strategy.Stages[0].LabelSelector = &metav1.LabelSelector{}
	if err := w.begin(); err == nil {
		t.Error("planned for 3 clusters of a placement that asks for 1")
	}
	w.fleet.Policies[0].GetStatus().HeldRemoval = &v1beta1.HeldRemoval{Digest: "held", Removed: 2, Total: 3}
	if err := w.begin(); err != nil || len(w.status.StagesStatus[0].Clusters) != 3 {
		t.Errorf("two of three clusters are held: %v, %+v", err, w.status)
	}
	w.fleet.Policies[0].GetAnnotations()[contract.AnnotationNumberOfClusters] = "4"
	if err := w.begin(); err == nil {
		t.Error("planned for 3 clusters of a placement that asks for 4")
	}
}

func TestPercentages(t *testing.T) {
	for _, c := range []struct {
		most    string
		of, few int
	}{{"70%", 3, 2}, {"33%", 10, 3}, {"25%", 7, 1}, {"1%", 3, 1}, {"100%", 4, 4}} {
		var clusters []cluster
		for i := range c.of {
			clusters = append(clusters, cluster{name: fmt.Sprintf("m%02d", i)})
		}
		w := newWorld([]v1beta1.StageConfig{of("all", "", most(intstr.FromString(c.most)))}, clusters...)
		if err := w.begin(); err != nil {
			t.Fatal(err)
		}
		if step := w.pass(true); len(step.Start) != c.few {
			t.Errorf("%s of %d clusters start %d; want %d", c.most, c.of, len(step.Start), c.few)
		}
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*world)
		want   string
		says   string
	}{
		{"another run took the cluster", func(w *world) {
			w.binding("c1").Spec.ResourceSnapshotName = "p-4-snapshot"
		}, "failed | failed c1! c2. c3. | pending", "another update run"},
		{"the rollout was not started as the binding is now", func(w *world) { w.binding("c1").Generation++ },
			"failed | failed c1! c2. c3. | pending", "modified by another client"},
		{"a binding is gone", func(w *world) {
			w.fleet.Bindings = slices.DeleteFunc(w.fleet.Bindings, func(b v1beta1.BindingObject) bool { return b.GetSpec().TargetCluster == "c1" })
		}, "failed | active c1* c2. c3. | pending", "no longer picked: c1"},
		{"a cluster joined", func(w *world) {
			w.fleet.Labels["c4"] = map[string]string{}
			w.fleet.Bindings = append(w.fleet.Bindings, binding("c4", v1beta1.BindingStateScheduled))
		}, "failed | active c1* c2. c3. | pending", "new: c4"},
		{"a policy appeared", func(w *world) {
			w.fleet.Policies[0].GetLabels()[contract.LabelPolicyIndex] = "1"
		}, "failed | active c1* c2. c3. | pending", "from policy snapshot 0 to 1"},
		{"the strategy of the placement changed", func(w *world) {
			w.fleet.Placement.GetSpec().Strategy.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}
		}, "failed | active c1* c2. c3. | pending", "applyStrategy has changed"},
		{"the placement is not External", func(w *world) {
			w.fleet.Placement.GetSpec().Strategy.Type = ""
		}, "failed | active c1* c2. c3. | pending", `spec.strategy.type is "RollingUpdate"`},
		{"the placement is gone", func(w *world) { w.fleet.Placement = nil }, "failed | active c1* c2. c3. | pending", "not found"},
		{"a member is picked no more", func(w *world) {
			w.binding("c3").Spec.State = v1beta1.BindingStateUnscheduled
		}, "failed | active c1* c2. c3. | pending", "no longer picked: c3"},
		{"the scheduler is at work", func(w *world) {
			*w.fleet.Policies[0].GetConditions() = nil
		}, "active | active c1* c2. c3. | pending", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := fleet(of("all", ""))
			if err := w.begin(); err != nil {
				t.Fatal(err)
			}
			w.pass(true)
			c.change(w)
			w.pass(true)
			w.want(t, c.name, c.want)
			if got := stage.Read(w.status).Cause; !strings.Contains(got, c.says) {
				t.Errorf("cause %q; want %q in it", got, c.says)
			}
		})
	}
}

// The divider writes shares of replicas on bindings of a run.
func TestSharesDoNotEndARun(t *testing.T) {
	w := fleet(of("all", ""))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass(true)
	b := w.binding("c1")
	b.Generation++
	b.Spec.Shares = []v1beta1.RevisionShares{{ResourceSnapshotName: "p-4-snapshot"}}
	if step := w.pass(true); len(step.Start) != 1 || step.Start[0].Content || step.Start[0].Binding != b {
		t.Errorf("the run starts %+v; want the condition on c1 alone", step.Start)
	}
	w.available("c1")
	w.pass(true)
	w.want(t, "available", "active | active c1+ c2* c3. | pending")
}

func TestPlansThatCannotBe(t *testing.T) {
	sorted := func(key string) func(*v1beta1.StageConfig) {
		return func(c *v1beta1.StageConfig) { c.SortingLabelKey = ptr.To(key) }
	}
	for _, c := range []struct {
		name   string
		stages []v1beta1.StageConfig
		change func(*world)
		says   string
	}{
		{"in two stages", []v1beta1.StageConfig{of("a", "env=prod"), of("b", "")}, nil, "cluster c1 appears in more than one stage: a and b"},
		{"in no stage", []v1beta1.StageConfig{of("a", "env=prod")}, nil, "1 selected clusters are in no stage of the strategy: c2"},
		{"two of one name", []v1beta1.StageConfig{of("a", "env=prod"), of("a", "env=canary")}, nil, "two stages named a"},
		{"no label to sort by", []v1beta1.StageConfig{of("a", "", sorted("order"))}, nil, `label order of cluster c2 is ""`},
		{"no wait", []v1beta1.StageConfig{of("a", "", wait(0))}, nil, "must be more than 0"},
		{"two of a kind", []v1beta1.StageConfig{of("a", "", after, after)}, nil, "two of type Approval"},
		{"an unfulfilled policy", []v1beta1.StageConfig{of("a", "")}, func(w *world) {
			(*w.fleet.Policies[0].GetConditions())[0].Status = metav1.ConditionFalse
		}, "not fully scheduled"},
		{"no cluster", []v1beta1.StageConfig{of("a", "")}, func(w *world) { w.fleet.Bindings = nil }, "on no cluster"},
		{"two latest policies", []v1beta1.StageConfig{of("a", "")}, func(w *world) {
			w.fleet.Policies = append(w.fleet.Policies, w.fleet.Policies[0])
		}, "2 latest policy snapshots"},
		{"fewer than asked for", []v1beta1.StageConfig{of("a", "")}, func(w *world) {
			w.fleet.Policies[0].GetSpec().Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"c1"}}
		}, "asks for 1 clusters and 3 are picked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := fleet(c.stages...)
			if c.change != nil {
				c.change(w)
			}
			abort := stage.AbortOf(w.begin())
			if abort == nil || !strings.Contains(abort.Message, c.says) {
				t.Fatalf("abort %v; want %q", abort, c.says)
			}
		})
	}
	unsettled := fleet(of("a", ""))
	unsettled.fleet.Policies = nil
	if err := unsettled.begin(); !errors.Is(err, stage.ErrUnsettled) {
		t.Errorf("error %v for a placement that nobody has looked at yet; want %v", err, stage.ErrUnsettled)
	}
	w := fleet(of("prod", "env=prod", sorted("order")), of("canary", "env=canary"))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.want(t, "by the numbers in the label", "pending | pending c3. c1. | pending c2. | pending")
	w.fleet.Labels["c1"]["order"] = "0"
	w.pass(true)
	w.want(t, "another order", "failed | pending c3. c1. | pending c2. | pending")
}

func TestStuckIsSaidAndForgotten(t *testing.T) {
	w := fleet(of("all", ""))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	if step := w.pass(true); step.Again != stage.StuckAfter {
		t.Fatalf("looks again after %s; want %s", step.Again, stage.StuckAfter)
	}
	w.set("c1", v1beta1.ConditionApplied, metav1.ConditionFalse, v1beta1.ReasonNotAllWorkHaveBeenApplied)
	w.binding("c1").Status.FailedPlacements = make([]v1beta1.FailedResourcePlacement, 1)
	w.pass(true)
	if got := stage.Read(w.status).Message; !strings.Contains(got, "c1 (NotAllWorkHaveBeenApplied)") {
		t.Errorf("message %q; want it to name the cluster that is not well", got)
	}
	w.now = w.now.Add(stage.StuckAfter)
	w.pass(true)
	w.want(t, "stuck", "stuck | active c1* c2. c3. | pending")
	w.available("c1")
	w.pass(true)
	w.want(t, "forgotten", "active | active c1+ c2* c3. | pending")
}

func TestOnlyWhatFailsIsNotWell(t *testing.T) {
	const applied, available, compared = v1beta1.ConditionApplied, v1beta1.ConditionAvailable, v1beta1.ConditionDiffReported
	for name, tc := range map[string]struct {
		kind, reason string
		failed       int
		after        time.Duration
		notWell      bool
	}{
		"a Deployment that is rolling out":        {available, v1beta1.ReasonNotAllWorkAreAvailable, 1, 0, false},
		"a Deployment that has been for too long": {available, v1beta1.ReasonNotAllWorkAreAvailable, 1, stage.StuckAfter, true},
		"a Work that is not reported on":          {applied, v1beta1.ReasonNotAllWorkHaveBeenApplied, 0, 0, false},
		"an object that cannot be applied":        {applied, v1beta1.ReasonNotAllWorkHaveBeenApplied, 1, 0, true},
		"Works that were just written":            {applied, v1beta1.ReasonApplyInProgress, 0, stage.StuckAfter, false},
		"an override that cannot be worked in":    {v1beta1.ConditionOverridden, v1beta1.ReasonOverriddenFailed, 0, 0, true},
		"Works that cannot be written":            {v1beta1.ConditionWorkSynchronized, v1beta1.ReasonSyncWorkFailed, 0, 0, true},
		"differences that are being looked for":   {compared, v1beta1.ReasonDiffReportInProgress, 0, stage.StuckAfter, false},
		"differences that cannot be found":        {compared, v1beta1.ReasonNotAllWorkHaveDiffReported, 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := fleet(of("all", ""))
			if err := w.begin(); err != nil {
				t.Fatal(err)
			}
			w.pass(true)
			w.set("c1", tc.kind, metav1.ConditionFalse, tc.reason)
			w.binding("c1").Status.FailedPlacements = make([]v1beta1.FailedResourcePlacement, tc.failed)
			w.now = w.now.Add(tc.after)
			w.pass(true)
			got := stage.Read(w.status).Message
			if notWell := strings.Contains(got, "failing: c1 ("+tc.reason+")"); notWell != tc.notWell || !tc.notWell && strings.Contains(got, "failing:") {
				t.Errorf("message %q; want it to name the cluster as failing: %v", got, tc.notWell)
			}
		})
	}
}

func TestRefusedClustersKeepTheirTurn(t *testing.T) {
	w := fleet(of("all", "", most(intstr.FromInt32(2))))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.refused["c1"] = "a webhook says no"
	if step := w.pass(true); len(step.Start) != 1 {
		t.Fatalf("starts %d; want c2 alone", len(step.Start))
	}
	w.want(t, "refused", "active | active c1. c2* c3. | pending")
	if got := stage.Read(w.status).Message; !strings.Contains(got, "a webhook says no") {
		t.Errorf("message %q does not say why", got)
	}
	delete(w.refused, "c1")
	w.pass(true)
	w.want(t, "allowed", "active | active c1* c2* c3. | pending")
}

// What overrides come to by a cluster's labels is settled when its turn comes: a change before it counts, also for a
// cluster that has the release otherwise, and one after it waits for another run.
func TestLabelsCountAtTheClustersTurn(t *testing.T) {
	w := fleet(of("all", ""))
	w.prints = map[string]string{"c1": "east", "c2": "east", "c3": delivery.Unresolved}
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"c2", "c3"} {
		w.runs(c, "p-3-snapshot", true)
		w.binding(c).Spec.ApplyStrategy, w.binding(c).Spec.OverrideFingerprint = w.status.ApplyStrategy, "east"
	}
	w.pass(true)
	w.prints["c1"], w.prints["c2"] = "west", "west"
	w.pass(true)
	w.want(t, "a label of a cluster that has had its turn", "active | active c1* c2. c3. | pending")
	w.available("c1")
	if step := w.pass(true); len(step.Start) != 1 || !step.Start[0].Content || step.Start[0].Fingerprint != "west" {
		t.Fatalf("step %+v; want c2 to get what it has as its labels are now", step)
	}
	w.want(t, "a label of a cluster that has the release", "active | active c1+ c2* c3. | pending")
	w.available("c2")
	w.pass(true)
	w.want(t, "a label is missing that was there", "succeeded | succeeded c1+ c2+ c3+ | succeeded")
	if got := w.binding("c1").Spec.OverrideFingerprint; got != "east" {
		t.Errorf("c1 has %q", got)
	}
}

// TestRunsEnd plays runs to their end with clusters that report in any order, stops, deaths of the agent before it
// could store what it did, and approvals at any time; after every pass the limits must hold.
func TestRunsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var clusters []cluster
		for i := range rapid.IntRange(1, 12).Draw(t, "clusters") {
			clusters = append(clusters, cluster{fmt.Sprintf("m%02d", i), []string{"stage=" + rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "stage")}})
		}
		var stages []v1beta1.StageConfig
		for _, name := range []string{"a", "b", "c"} {
			config := of(name, "stage="+name, most(intstr.FromInt32(int32(rapid.IntRange(1, 4).Draw(t, "most")))))
			for _, add := range rapid.SliceOfNDistinct(rapid.IntRange(0, 2), 0, 3, func(i int) int { return i }).Draw(t, "tasks") {
				[]func(*v1beta1.StageConfig){before, after, wait(3 * time.Second)}[add](&config)
			}
			stages = append(stages, config)
		}
		w := newWorld(stages, clusters...)
		for _, b := range w.fleet.Bindings {
			if rapid.IntRange(0, 5).Draw(t, "given up") == 0 {
				b.GetSpec().State = v1beta1.BindingStateUnscheduled
			}
		}
		if err := w.begin(); err != nil {
			t.Fatal(err)
		}
		for pass := 0; !stage.Read(w.status).Phase.Done(); pass++ {
			if pass > 400 {
				t.Fatalf("the run does not end: %s", w.describe())
			}
			calm := pass > 200 // nothing disturbs any more
			if !calm && rapid.IntRange(0, 9).Draw(t, "toggle") == 0 {
				w.state = map[v1beta1.UpdateRunState]v1beta1.UpdateRunState{
					v1beta1.UpdateRunRun: v1beta1.UpdateRunStop, v1beta1.UpdateRunStop: v1beta1.UpdateRunRun,
				}[w.state]
			} else if calm {
				w.state = v1beta1.UpdateRunRun
			}
			started := len(inProgress(w))
			step := w.pass(calm || rapid.IntRange(0, 4).Draw(t, "dies") > 0)
			check(t, w, step, started)
			for _, b := range w.fleet.Bindings {
				if is := b.GetSpec(); is.State == v1beta1.BindingStateBound && (calm || rapid.Bool().Draw(t, "reports")) {
					w.available(is.TargetCluster)
				}
			}
			for name := range w.requests {
				if calm || rapid.IntRange(0, 3).Draw(t, "approves") == 0 {
					w.approve(name)
				}
			}
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "time")) * time.Millisecond)
		}
		if p := stage.Read(w.status); p.Phase != stage.Succeeded {
			t.Fatalf("the run ended %s: %s", w.describe(), p.Cause)
		}
		for _, b := range w.fleet.Bindings {
			if b.GetSpec().State != v1beta1.BindingStateBound || b.GetSpec().ResourceSnapshotName != "p-3-snapshot" {
				t.Fatalf("binding %s was left at %+v", b.GetName(), b.GetSpec())
			}
		}
	})
}

// inProgress are the clusters that have the release and have not reported.
func inProgress(w *world) []string {
	var out []string
	for _, b := range w.fleet.Bindings {
		if b.GetSpec().ResourceSnapshotName != "" && !delivery.StatusOf(b).Is(v1beta1.ConditionAvailable, metav1.ConditionTrue) {
			out = append(out, b.GetSpec().TargetCluster)
		}
	}
	return out
}

// check holds a pass against the limits: of the real bindings, not of what the run believes.
func check(t *rapid.T, w *world, step stage.Step, busyBefore int) {
	p := stage.Read(w.status)
	if w.state == v1beta1.UpdateRunStop && len(step.Start)+len(step.Drop)+len(step.Ask) > 0 {
		t.Fatalf("a run that was told to stop does %+v", step)
	}
	busy := inProgress(w)
	for i, s := range p.Stages {
		limit := w.strategy.Stages[i].MaxConcurrency.IntValue()
		n := 0
		for _, c := range s.Clusters {
			has := w.binding(c.Name).GetSpec().ResourceSnapshotName != ""
			if slices.Contains(busy, c.Name) {
				n++
			}
			if has && i > 0 && slices.ContainsFunc(p.Stages[i-1].Clusters, func(c stage.Cluster) bool { return slices.Contains(busy, c.Name) }) {
				t.Fatalf("%s has the release while the stage before is at work: %s", c.Name, w.describe())
			}
			if gate := contract.BeforeStageApproval("run", s.Name); has && len(s.Before) > 0 && !w.requests[gate].Approved {
				t.Fatalf("%s has the release and the gate was not opened: %s", c.Name, w.describe())
			}
		}
		if n > limit {
			t.Fatalf("%d clusters of stage %s are in progress; %d may be (%d before)", n, s.Name, limit, busyBefore)
		}
	}
}
