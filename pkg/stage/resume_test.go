package stage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// runObject is a world's run as an object.
func (w *world) runObject(name string) *v1beta1.ClusterStagedUpdateRun {
	return &v1beta1.ClusterStagedUpdateRun{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.UpdateRunSpec{PlacementName: "p"}, Status: w.status,
	}
}

// resume plans the run name, which goes on from w's run of the name from, for the same clusters.
func (w *world) resume(t *testing.T, name, from string) *world {
	t.Helper()
	next := *w
	next.requests = map[string]stage.Request{}
	plan, err := stage.NewPlan(w.fleet, w.strategy)
	if err != nil {
		t.Fatal(err)
	}
	planned := report.PlannedRun(plan.Status(name, "3", w.strategy, nil), nil, 1, metav1.NewTime(w.now))
	next.status = report.ResumedRun(planned, w.runObject(from), 1, metav1.NewTime(w.now))
	return &next
}

// join lets a cluster with a label join.
func (w *world) join(name, label string) {
	key, value, _ := strings.Cut(label, "=")
	w.fleet.Labels[name] = map[string]string{key: value}
	w.fleet.Bindings = append(w.fleet.Bindings, binding(name, v1beta1.BindingStateScheduled))
}

// passed tells the tasks of a run that are done: the stage, when, the type and the words.
func (w *world) passed() []string {
	var out []string
	tell := func(name, when string, tasks []v1beta1.StageTaskStatus) {
		for _, task := range tasks {
			for _, c := range task.Conditions {
				out = append(out, fmt.Sprintf("%s %s %s %s: %s", when, name, c.Type, c.Reason, c.Message))
			}
		}
	}
	for _, s := range w.status.StagesStatus {
		tell(s.StageName, "before", s.BeforeStageTaskStatus)
		tell(s.StageName, "after", s.AfterStageTaskStatus)
	}
	return out
}

// play approves everything and reports from every cluster until the run has ended, and tells what was asked for.
func (w *world) play() (asked []string) {
	for range 50 {
		for _, ask := range w.pass(true).Ask {
			asked = append(asked, ask.Name)
			w.approve(ask.Name)
		}
		for _, b := range w.fleet.Bindings {
			if b.GetSpec().State == v1beta1.BindingStateBound {
				w.available(b.GetSpec().TargetCluster)
			}
		}
		w.now = w.now.Add(2 * time.Second)
	}
	return asked
}

var (
	ofCanary = []string{
		"after canary ApprovalRequestApproved StageTaskPassedEarlier: Passed in update run run",
		"after canary WaitTimeElapsed StageTaskPassedEarlier: Passed in update run run",
	}
	ofProd = "before prod ApprovalRequestApproved StageTaskPassedEarlier: Passed in update run run"
)

// inProd is a run that has passed canary and both gates, and is at work on c1 when c4 joins the canaries.
func inProd(t *testing.T) *world {
	t.Helper()
	w := fleet(of("canary", "env=canary", after, wait(5*time.Second)), of("prod", "env=prod", before, after))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass(true)
	w.available("c2")
	w.pass(true)
	w.approve("run-after-canary")
	w.now = w.now.Add(10 * time.Second)
	w.pass(true)
	w.approve("run-before-prod")
	w.pass(true)
	w.want(t, "in prod", "active | succeeded c2+ | active c1* c3. | pending")
	w.join("c4", "env=canary")
	w.pass(true)
	w.want(t, "ended", "failed | succeeded c2+ | active c1* c3. | pending")
	return w
}

func TestARunGoesOnFromAnEndedOne(t *testing.T) {
	first := inProd(t)
	second := first.resume(t, "second", "run")
	second.want(t, "planned", "pending | pending c2. c4. | pending c1. c3. | pending")
	if got := second.passed(); !slices.Equal(got, append(slices.Clone(ofCanary), ofProd)) {
		t.Errorf("passed %q", got)
	}
	if step := second.pass(true); len(step.Start) != 1 || step.Start[0].Binding.GetSpec().TargetCluster != "c4" {
		t.Errorf("starts %+v; only the newcomer lacks anything", step.Start)
	}
	second.want(t, "c2 has it already", "active | active c2+ c4* | pending c1. c3. | pending")
	if asked := second.play(); !slices.Equal(asked, []string{"second-after-prod"}) {
		t.Errorf("asks for %q; only prod had not ended", asked)
	}
	second.want(t, "done", "succeeded | succeeded c2+ c4+ | succeeded c1+ c3+ | succeeded")
	if got := second.passed()[:3]; !slices.Equal(got, append(slices.Clone(ofCanary), ofProd)) {
		t.Errorf("when all is done it tells %q", got)
	}
}

// The second run ends before it comes to anything: what the first has passed still counts.
func TestAChainOfRunsGoesOn(t *testing.T) {
	second := inProd(t).resume(t, "second", "run")
	second.pass(true)
	second.join("c5", "env=prod")
	second.pass(true)
	second.want(t, "ended", "failed | active c2+ c4* | pending c1. c3. | pending")
	third := second.resume(t, "third", "second")
	if got := third.passed(); !slices.Equal(got, append(slices.Clone(ofCanary), ofProd)) {
		t.Errorf("passed %q", got)
	}
	if asked := third.play(); !slices.Equal(asked, []string{"third-after-prod"}) {
		t.Errorf("asks for %q", asked)
	}
	third.want(t, "done", "succeeded | succeeded c2+ c4+ | succeeded c1+ c3+ c5+ | succeeded")
}

func TestWhatARunThatGoesOnAsksAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(first *world)
		want   []string
	}{
		{"a stage of another name", func(w *world) { w.strategy.Stages[0].Name = "early" }, []string{"second-after-early", "second-after-prod"}},
		{"a gate that there was not", func(w *world) { before(&w.strategy.Stages[0]) }, []string{"second-before-canary", "second-after-prod"}},
		{"a stage that was skipped", func(w *world) {
			w.status.StagesStatus[0].AfterStageTaskStatus[0].Conditions = nil // as of one without clusters
		}, []string{"second-after-canary", "second-after-prod"}},
		{"the end of a stage that had not ended", func(w *world) {
			w.status.StagesStatus[0].Conditions = nil
		}, []string{"second-after-canary", "second-after-prod"}},
		{"everything, if the clusters were taken back", func(w *world) {
			w.status.Conditions = append(w.status.Conditions, metav1.Condition{Type: v1beta1.ConditionRolledBack, Status: metav1.ConditionTrue})
		}, []string{"second-after-canary", "second-before-prod", "second-after-prod"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := inProd(t)
			c.change(first)
			second := first.resume(t, "second", "run")
			if asked := second.play(); !slices.Equal(asked, c.want) {
				t.Errorf("asks for %q, want %q", asked, c.want)
			}
			if p := stage.Read(second.status); p.Phase != stage.Succeeded {
				t.Errorf("it is %s: %s", second.describe(), p.Cause)
			}
		})
	}
}

func TestRunsThatCannotBeResumed(t *testing.T) {
	with := func(index string, kind string, status metav1.ConditionStatus, reason string) *v1beta1.ClusterStagedUpdateRun {
		run := (&world{}).runObject("old")
		run.Status = v1beta1.UpdateRunStatus{ResourceSnapshotIndexUsed: index, Conditions: []metav1.Condition{{Type: kind, Status: status, Reason: reason}}}
		return run
	}
	failed := with("3", v1beta1.ConditionSucceeded, metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed)
	same, before := failed.DeepCopy(), failed.DeepCopy()
	same.Status.PlacementUID, before.Status.PlacementUID = "now", "before"
	elsewhere := failed.DeepCopy()
	elsewhere.Spec.PlacementName = "q"
	for _, c := range []struct {
		name, from, index string
		earlier           v1beta1.UpdateRunObject
		says              string
	}{
		{"one that failed", "old", "", failed, ""},
		{"one of this very placement", "old", "", same, ""},
		{"one of a placement that was deleted", "old", "", before, "an earlier placement of the name"},
		{"one of this index", "old", "3", failed, ""},
		{"itself", "new", "", failed, `spec.resumeFrom "new": that is the run itself`},
		{"none", "old", "", nil, `spec.resumeFrom "old": there is no such update run`},
		{"one of another placement", "old", "", elsewhere, `spec.resumeFrom "old": that run is of placement q, and this one of p`},
		{"one at work", "old", "", with("3", v1beta1.ConditionProgressing, metav1.ConditionTrue, v1beta1.ReasonUpdateRunProgressing), "has not ended"},
		{"one that is stopped", "old", "", with("3", v1beta1.ConditionProgressing, metav1.ConditionFalse, v1beta1.ReasonUpdateRunStopped), "setting its spec.state to Run"},
		{"one that is not planned yet", "old", "", (&world{}).runObject("old"), "has not ended"},
		{"one without a plan", "old", "", with("", v1beta1.ConditionInitialized, metav1.ConditionFalse, v1beta1.ReasonUpdateRunInitializedFailed), "never initialized"},
		{"one that succeeded", "old", "", with("3", v1beta1.ConditionSucceeded, metav1.ConditionTrue, v1beta1.ReasonUpdateRunSucceeded), "nothing left to do"},
		{"one of another index", "old", "4", failed, `spec.resourceSnapshotIndex is "4", but update run old, from which this one continues, releases 3`},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := (&world{}).runObject("new")
			run.Spec.ResumeFrom, run.Spec.ResourceSnapshotIndex = c.from, c.index
			err := stage.Resumable(run, c.earlier, stage.Plan{Placement: "now"})
			abort := stage.AbortOf(err)
			if c.says == "" && err != nil || c.says != "" && (abort == nil || !abort.User || !strings.Contains(abort.Message, c.says)) {
				t.Errorf("error %v; want %q", err, c.says)
			}
		})
	}
}

func TestARunThatEndsNamesWhatHasChanged(t *testing.T) {
	pick := func(policy v1beta1.PlacementPolicy, number string) func(*world) {
		return func(w *world) {
			w.fleet.Policies[0].GetSpec().Policy = &policy
			w.fleet.Policies[0].SetAnnotations(map[string]string{contract.AnnotationNumberOfClusters: number})
		}
	}
	pickN := pick(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN}, "3")
	pickFixed := pick(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"c1", "c2", "c3"}}, "")
	gives := func(cluster string) func(*world) {
		return func(w *world) { w.binding(cluster).Spec.State = v1beta1.BindingStateUnscheduled }
	}
	short := func(w *world) {
		c := &(*w.fleet.Policies[0].GetConditions())[0]
		c.Status, c.Message = metav1.ConditionFalse, "2 of 3 clusters are found"
	}
	for _, c := range []struct {
		name          string
		picks, change func(*world)
		says          string
	}{
		{"PickAll, one joins", nil, func(w *world) { w.join("c4", "env=none") }, "picked other clusters since the run was initialized; new: c4;"},
		{"PickAll, one leaves", nil, gives("c3"), "; no longer picked: c3;"},
		{"PickN, one takes the place of another", pickN, func(w *world) { w.join("c4", "env=none"); gives("c3")(w) }, "; new: c4; no longer picked: c3;"},
		{"PickN, one leaves and none takes its place", pickN, func(w *world) { gives("c1")(w); short(w) },
			"not fully scheduled: 2 of 3 clusters are found; no longer picked: c1;"},
		{"PickN, more are asked for", pickN, func(w *world) {
			w.fleet.Policies[0].GetAnnotations()[contract.AnnotationNumberOfClusters] = "4"
			w.join("c4", "env=prod")
		}, "; new: c4;"},
		{"PickFixed, one leaves", pickFixed, func(w *world) { gives("c2")(w); short(w) }, "not fully scheduled: 2 of 3 clusters are found; no longer picked: c2;"},
		{"PickFixed, another is named", pickFixed, func(w *world) {
			w.fleet.Policies[0].GetLabels()[contract.LabelPolicyIndex] = "1"
			w.fleet.Policies[0].GetSpec().Policy.ClusterNames[0] = "c9"
			gives("c1")(w)
			short(w)
		}, "from policy snapshot 0 to 1; no longer picked: c1;"},
		{"one is moved to another stage", nil, func(w *world) { w.fleet.Labels["c1"]["env"] = "canary" }, "which moves c1 from stage prod to canary; restore them"},
		{"one fits no stage any more", nil, func(w *world) { w.fleet.Labels["c1"]["env"] = "none" },
			"labels of MemberClusters have changed since the run was initialized: 1 selected clusters are in no stage of the strategy: c1;"},
		{"two change places", nil, func(w *world) { w.fleet.Labels["c1"]["order"] = "0" },
			"label order of MemberClusters has changed since the run was initialized, which changes the order of stage prod: from position 1 on it was c3, c1 and is c1, c3;"},
		{"one has lost the number to sort it by", nil, func(w *world) { delete(w.fleet.Labels["c1"], "order") }, `label order of cluster c1 is "", not a whole number;`},
		{"a member is gone that is still picked", nil, func(w *world) { delete(w.fleet.Labels, "c3") }, "left the fleet since the run was initialized: c3;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sorted := func(s *v1beta1.StageConfig) { s.SortingLabelKey = ptr.To("order") }
			w := fleet(of("canary", "env=canary"), of("prod", "env=prod", sorted))
			if c.picks != nil {
				c.picks(w)
			}
			if err := w.begin(); err != nil {
				t.Fatal(err)
			}
			w.pass(true)
			c.change(w)
			abort := stage.AbortOf(stage.Check(w.fleet, w.status))
			if abort == nil || !strings.Contains(abort.Message, c.says) || !strings.HasSuffix(abort.Message, "spec.resumeFrom") {
				t.Errorf("abort %v; want %q", abort, c.says)
			}
		})
	}
	w := fleet(of("all", ""))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.fleet.Placement.SetUID("another")
	if abort := stage.AbortOf(stage.Check(w.fleet, w.status)); abort == nil || !strings.Contains(abort.Message, "recreated") {
		t.Errorf("of another placement of the name: abort %v", abort)
	}
	w = fleet(of("all", ""))
	pickN(w)
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.fleet.Policies[0].GetAnnotations()[contract.AnnotationNumberOfClusters] = "4"
	w.fleet.Policies[0].GetAnnotations()[contract.AnnotationGeneration] = "2"
	if err := stage.Check(w.fleet, w.status); err == nil || stage.AbortOf(err) != nil {
		t.Errorf("error %v; a number that the scheduler has not looked at yet names nobody", err)
	}
}
