package stage_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

const window = 30 * time.Second

// policed is the catalogue's fleet with a failure policy; every cluster runs revision 2 and is well.
func policed(budget intstr.IntOrString, action v1beta1.FailureAction, stages ...v1beta1.StageConfig) *world {
	w := fleet(stages...)
	w.strategy.FailurePolicy = &v1beta1.FailurePolicy{HealthWindow: &metav1.Duration{Duration: window}, FailureBudget: &budget, OnFailure: action}
	for _, b := range w.fleet.Bindings {
		w.runs(b.GetSpec().TargetCluster, "p-2-snapshot", true)
	}
	return w
}

// runs puts content on a cluster, where it is well or not.
func (w *world) runs(cluster, snapshot string, well bool) {
	b := w.binding(cluster)
	b.Spec.State, b.Spec.ResourceSnapshotName = v1beta1.BindingStateBound, snapshot
	b.Generation++
	w.set(cluster, v1beta1.ConditionRolloutStarted, metav1.ConditionTrue, v1beta1.ReasonRolloutStarted)
	if well {
		w.available(cluster)
	} else {
		w.unavailable(cluster)
	}
}

func (w *world) unavailable(clusters ...string) {
	for _, c := range clusters {
		w.set(c, v1beta1.ConditionAvailable, metav1.ConditionFalse, v1beta1.ReasonNotAllWorkAreAvailable)
	}
}

func (w *world) pass1(after time.Duration) stage.Step {
	w.now = w.now.Add(after)
	return w.pass(true)
}

// stored makes sure that the status says all of the progress but the times.
func (w *world) stored(next stage.Progress) {
	bare := func(p stage.Progress) string {
		for _, s := range append(slices.Clone(p.Stages), p.Deletion) {
			for i := range s.Clusters {
				c := &s.Clusters[i]
				if c.Since, c.End, c.Back.Since = (time.Time{}), (time.Time{}), (time.Time{}); c.Phase != stage.Failed {
					c.Cause = ""
				}
			}
		}
		text := fmt.Sprintf("%d %q %+v %+v", p.Phase, p.Message, p.Budget, p.Back)
		for _, s := range append(slices.Clone(p.Stages), p.Deletion) {
			text += fmt.Sprintf("\n%d %q", s.Phase, s.Message)
			for _, c := range s.Clusters {
				last := "none"
				if c.LastHealthy != nil {
					last = fmt.Sprintf("%+v", *c.LastHealthy)
				}
				text += fmt.Sprintf("\n  %s %d %q %+v %s", c.Name, c.Phase, c.Cause, c.Back, last)
			}
		}
		return text
	}
	if is, want := bare(stage.Read(w.status)), bare(next); is != want {
		panic("the status does not tell all: read\n" + is + "\nfrom\n" + want)
	}
}

func (w *world) on(cluster string) string { return w.binding(cluster).Spec.ResourceSnapshotName }

// snapshots are those of c1, c2 and c3.
func (w *world) wantOn(t *testing.T, snapshots ...string) {
	t.Helper()
	if is := []string{w.on("c1"), w.on("c2"), w.on("c3")}; !slices.Equal(is, snapshots) {
		t.Fatalf("clusters run %q, want %q", is, snapshots)
	}
}

func condition(t *testing.T, conditions []metav1.Condition, kind string, status metav1.ConditionStatus, reason, says string) {
	t.Helper()
	for _, c := range conditions {
		if c.Type == kind {
			if c.Status != status || c.Reason != reason || !strings.Contains(c.Message, says) {
				t.Errorf("condition %+v; want %s %s with %q in it", c, status, reason, says)
			}
			return
		}
	}
	t.Errorf("there is no condition %s among %+v", kind, conditions)
}

func TestAFailureWithoutABudgetStopsTheRun(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionStop, of("all", ""))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	if step := w.pass1(0); step.Again != window || step.Start[0].Mark != nil {
		t.Fatalf("step %+v; want the window as the time to look again, and no mark", step)
	}
	w.unavailable("c1")
	w.pass1(window - time.Second)
	w.want(t, "within the window", "active | active c1* c2. c3. | pending")
	condition(t, w.status.Conditions, v1beta1.ConditionWithinFailureBudget, metav1.ConditionTrue, v1beta1.ReasonFailureBudgetLeft, "No cluster")
	w.pass1(time.Second)
	w.want(t, "the window has passed", "failed | failed c1! c2. c3. | pending")
	condition(t, w.status.Conditions, v1beta1.ConditionWithinFailureBudget, metav1.ConditionFalse, v1beta1.ReasonFailureBudgetSpent,
		"Stage all has spent its failure budget of 0: 1 of 3 clusters failed: c1")
	condition(t, w.status.Conditions, v1beta1.ConditionSucceeded, metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed, "spec.resumeFrom: run")
	condition(t, w.status.StagesStatus[0].Clusters[0].Conditions, v1beta1.ConditionSucceeded, metav1.ConditionFalse, v1beta1.ReasonClusterUpdatingFailed,
		"Not healthy for 30s: Available is False (NotAllWorkAreAvailable): ; see binding p-c1")
	w.wantOn(t, "p-3-snapshot", "p-2-snapshot", "p-2-snapshot")
}

func TestAFailureWithinTheBudgetFreesItsPlace(t *testing.T) {
	w := policed(intstr.FromString("40%"), v1beta1.FailureActionStop, of("all", "", wait(time.Minute)))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass1(0)
	w.pass1(window)
	w.want(t, "goes on", "active | active c1! c2* c3. | pending")
	condition(t, w.status.Conditions, v1beta1.ConditionWithinFailureBudget, metav1.ConditionTrue, v1beta1.ReasonFailureBudgetLeft, "c1 (stage all)")
	w.available("c2")
	w.pass1(0)
	w.available("c3")
	w.pass1(0)
	w.want(t, "waits with one that has failed", "waiting | waiting c1! c2+ c3+ | pending")
	w.available("c1")
	w.pass1(0)
	w.want(t, "well again", "waiting | waiting c1+ c2+ c3+ | pending")
	w.unavailable("c1")
	w.pass1(window)
	w.pass1(window)
	w.want(t, "done", "succeeded | succeeded c1! c2+ c3+ | succeeded")
	condition(t, w.status.StagesStatus[0].Conditions, v1beta1.ConditionSucceeded, metav1.ConditionTrue, v1beta1.ReasonStageUpdatingSucceeded, "failed within the budget: c1")
}

// The agent was away for longer than the window, and with it the one that writes down what members report: that is no cluster's fault.
func TestAnAbsenceOfTheAgentIsHeldAgainstNobody(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionRollback, of("all", ""))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass1(0)
	w.awake = w.now.Add(10 * window)
	if step := w.pass1(10*window + time.Second); step.Again != window-time.Second {
		t.Errorf("step %+v; want what is left of a window since the agent is back as the time to look again", step)
	}
	w.want(t, "the agent is back", "active | active c1* c2. c3. | pending")
	w.available("c1")
	w.pass1(time.Second)
	w.want(t, "the cluster was well all the time", "active | active c1+ c2* c3. | pending")
	w.pass1(window)
	w.want(t, "a cluster that is not well while the agent is there", "rolling back | failed c1+ c2! c3. | pending")
}

func TestARelapseKeepsTheStageOpen(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionStop, of("all", "", wait(10*time.Second)))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"c1", "c2", "c3"} {
		w.pass1(0)
		w.available(c)
	}
	w.pass1(0)
	w.now = w.now.Add(8 * time.Second)
	w.unavailable("c2")
	w.pass1(0)
	w.want(t, "one has relapsed", "waiting | waiting c1+ c2+ c3+ | pending")
	step := w.pass1(5 * time.Second)
	w.want(t, "the wait is over, and it is ill", "waiting | waiting c1+ c2+ c3+ | pending")
	if p := stage.Read(w.status); !strings.Contains(p.Message, "c2 to be healthy again") || step.Again != window+time.Second-5*time.Second {
		t.Errorf("message %q, looks again after %s", p.Message, step.Again)
	}
	w.available("c2")
	w.pass1(0)
	w.want(t, "well again", "succeeded | succeeded c1+ c2+ c3+ | succeeded")
}

// A write to a binding ends the reports about it, although it may have changed nothing on the cluster. The window of a cluster that was
// healthy begins with a report that it is not.
func TestABindingWrittenAnewIsNoRelapse(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionStop, of("all", "", wait(4*window)))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"c1", "c2", "c3"} {
		w.pass1(0)
		w.available(c)
	}
	w.pass1(0)
	w.now = w.now.Add(2 * window)
	b := w.binding("c2")
	b.Generation++
	b.Status.Conditions = nil
	w.set("c2", v1beta1.ConditionRolloutStarted, metav1.ConditionTrue, v1beta1.ReasonRolloutStarted)
	w.pass1(0)
	w.pass1(3 * window)
	w.want(t, "no report for longer than the window", "waiting | waiting c1+ c2+ c3+ | pending")
	if p := stage.Read(w.status); !strings.Contains(p.Message, "waiting for c2 to be healthy again") {
		t.Errorf("message %q", p.Message)
	}
	w.unavailable("c2")
	w.pass1(window)
	w.want(t, "unhealthy for less than the window", "waiting | waiting c1+ c2+ c3+ | pending")
	w.pass1(time.Second)
	w.want(t, "unhealthy for the window", "failed | failed c1+ c2! c3+ | pending")
}

func TestARelapseSpendsTheBudgetOnlyWhileTheStageLasts(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionStop, of("canary", "env=canary", after), of("prod", "env=prod"))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass1(0)
	w.available("c2")
	w.pass1(0)
	w.approve("run-after-canary")
	w.pass1(0)
	w.want(t, "on", "active | succeeded c2+ | active c1* c3. | pending")
	w.unavailable("c2")
	w.available("c1")
	w.pass1(2 * window)
	w.available("c3")
	w.unavailable("c1")
	w.pass1(0)
	w.want(t, "c1 has relapsed", "waiting | succeeded c2+ | waiting c1+ c3+ | pending")
	w.pass1(window + time.Second)
	w.want(t, "and fails", "failed | succeeded c2+ | failed c1! c3+ | pending")
}

func TestRollback(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionRollback, of("canary", "env=canary"), of("prod", "env=prod", most(intstr.FromInt32(2))))
	w.runs("c3", "p-1-snapshot", true)
	w.runs("c3", "p-2-snapshot", false)
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass1(0)
	w.available("c2") // which is what the binding says it was last healthy with, from now on
	w.pass1(0)
	w.available("c3")
	w.want(t, "prod begun", "active | succeeded c2+ | active c1* c3* | pending")
	step := w.pass1(window)
	w.want(t, "the budget is spent", "rolling back | succeeded c2+ | failed c1! c3+ | pending")
	if len(step.Start) > 0 || step.Again == 0 {
		t.Fatalf("step %+v; nothing may be changed before the way back is stored", step)
	}
	w.pass1(0)
	w.want(t, "prod goes back", "rolling back | succeeded c2+ | failed c1!< c3+< | pending")
	w.wantOn(t, "p-2-snapshot", "p-3-snapshot", "p-1-snapshot")
	condition(t, w.status.StagesStatus[1].Clusters[0].Conditions, v1beta1.ConditionRolledBack, metav1.ConditionUnknown, v1beta1.ReasonRollbackStarted, "p-2-snapshot")
	w.available("c1", "c3")
	w.pass1(0)
	w.want(t, "then canary", "rolling back | succeeded c2+< | failed c1!<+ c3+<+ | pending")
	w.available("c2")
	w.pass1(0)
	w.want(t, "all are back", "failed | succeeded c2+<+ | failed c1!<+ c3+<+ | pending")
	w.wantOn(t, "p-2-snapshot", "p-2-snapshot", "p-1-snapshot")
	condition(t, w.status.Conditions, v1beta1.ConditionRolledBack, metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded, "Clusters rolled back to their last healthy revision: 3")
	condition(t, w.status.Conditions, v1beta1.ConditionSucceeded, metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed, "Stage prod has spent its failure budget")
}

func TestRollbackGoesOneByOneInReverse(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionRollback, of("all", ""))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass1(0)
	w.available("c1")
	w.pass1(0)
	w.available("c2")
	w.pass1(0)
	w.pass1(window)
	for _, c := range []struct{ sent, want string }{
		{"c3", "rolling back | failed c1+ c2+ c3!< | pending"},
		{"c2", "rolling back | failed c1+ c2+< c3!<+ | pending"},
		{"c1", "rolling back | failed c1+< c2+<+ c3!<+ | pending"},
	} {
		w.pass1(0)
		w.want(t, c.sent+" goes back", c.want)
		w.available(c.sent)
	}
	w.pass1(0)
	w.want(t, "done", "failed | failed c1+<+ c2+<+ c3!<+ | pending")
}

func TestWhatCannotGoBackIsLeft(t *testing.T) {
	for _, c := range []struct {
		name         string
		before, then func(*world)
		want, says   string
		on           string
	}{
		{name: "never healthy", before: func(w *world) { *w.binding("c1") = *binding("c1", v1beta1.BindingStateScheduled) },
			want: "failed | failed c1!<! c2. c3. | pending", says: "No healthy revision is recorded", on: "p-3-snapshot"},
		{name: "another run took it", then: func(w *world) { w.runs("c1", "p-4-snapshot", true) },
			want: "failed | failed c1!<! c2. c3. | pending", says: "modified by another client", on: "p-4-snapshot"},
		{name: "given up", then: func(w *world) { w.binding("c1").Spec.State = v1beta1.BindingStateUnscheduled },
			want: "failed | failed c1!<! c2. c3. | pending", says: "no longer picks the cluster", on: "p-3-snapshot"},
		{name: "had it already", before: func(w *world) { w.runs("c1", "p-3-snapshot", false); w.binding("c1").Spec.ApplyStrategy = w.applied() },
			want: "failed | failed c1! c2. c3. | pending", says: "changed no cluster", on: "p-3-snapshot"},
		{name: "refused", then: func(w *world) { w.refused["c1"] = "a webhook says no" },
			want: "failed | failed c1!<! c2. c3. | pending", says: "a webhook says no", on: "p-3-snapshot"},
		{name: "a cluster joins", then: func(w *world) {
			w.fleet.Labels["c4"] = map[string]string{}
			w.fleet.Bindings = append(w.fleet.Bindings, binding("c4", v1beta1.BindingStateScheduled))
		}, want: "rolling back | failed c1!< c2. c3. | pending", says: "p-2-snapshot", on: "p-2-snapshot"},
		{name: "another policy", then: func(w *world) {
			w.pass1(0)
			w.fleet.Policies[0].GetLabels()[contract.LabelPolicyIndex] = "1"
			w.binding("c1").Generation++
			w.pass1(0)
			w.available("c1")
		}, want: "failed | failed c1!<+ c2. c3. | pending", says: "last healthy revision: 1", on: "p-2-snapshot"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := policed(intstr.FromInt32(0), v1beta1.FailureActionRollback, of("all", ""))
			if c.before != nil {
				c.before(w)
			}
			if err := w.begin(); err != nil {
				t.Fatal(err)
			}
			w.pass1(0)
			w.unavailable("c1")
			w.pass1(window)
			if c.then != nil {
				c.then(w)
			}
			w.pass1(0)
			w.pass1(0)
			w.want(t, c.name, c.want)
			p := stage.Read(w.status)
			if said := p.Stages[0].Clusters[0].Back.Message + p.Back.Message; !strings.Contains(said, c.says) || w.on("c1") != c.on {
				t.Errorf("says %q, on %s; want %q in it, and on %s", said, w.on("c1"), c.says, c.on)
			}
		})
	}
}

// applied is the strategy that every release of w is applied with.
func (w *world) applied() *v1beta1.ApplyStrategy {
	if err := w.begin(); err != nil {
		panic(err)
	}
	return w.status.ApplyStrategy
}

// Where content is only compared nothing was changed, and what was last healthy would be applied.
func TestARunThatOnlyComparesIsNotRolledBack(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionRollback, of("all", ""))
	w.fleet.Placement.GetSpec().Strategy.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	if step := w.pass1(0); step.Start[0].Mark != nil {
		t.Errorf("the binding gets the mark %+v", step.Start[0].Mark)
	}
	w.pass1(window)
	w.want(t, "the budget is spent", "failed | failed c1! c2. c3. | pending")
	w.wantOn(t, "p-3-snapshot", "p-2-snapshot", "p-2-snapshot")
	condition(t, w.status.Conditions, v1beta1.ConditionSucceeded, metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed, "only compared is not rolled back")
}

// The agent dies after it has changed c1, and what c1 had is deleted: the run still reports on c1.
func TestALostRevisionIsReportedAfterALostPass(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionRollback, of("all", "", most(intstr.FromInt32(2))))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.refused["c1"] = "a webhook denied it"
	w.pass1(0)
	delete(w.refused, "c1")
	w.pass(false)
	w.wantOn(t, "p-3-snapshot", "p-3-snapshot", "p-2-snapshot")
	w.now = w.now.Add(window)
	w.pass1(0)
	w.want(t, "c2 has failed", "rolling back | failed c1* c2! c3. | pending")
	w.status.StagesStatus[0].Clusters[0].Conditions = nil
	w.status.StagesStatus[0].Clusters[0].LastHealthy = nil
	w.lost = map[string]string{"c1": "resource snapshot p-2-snapshot does not exist any more"}
	w.pass1(0)
	w.want(t, "c1 stays", "rolling back | failed c1*<! c2!< c3. | pending")
	condition(t, w.status.StagesStatus[0].Clusters[0].Conditions, v1beta1.ConditionRolledBack, metav1.ConditionFalse, v1beta1.ReasonRollbackFailed,
		"Not rolled back: resource snapshot p-2-snapshot does not exist any more")
}

func TestTheWayBackHasAWindowToo(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionRollback, of("all", "", most(intstr.FromInt32(2))))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass1(0)
	w.available("c2")
	w.pass1(0)
	w.want(t, "all are started", "active | active c1* c2+ c3* | pending")
	w.available("c3")
	w.pass1(window)
	w.pass1(0)
	w.want(t, "two at once", "rolling back | failed c1! c2+< c3+< | pending")
	w.unavailable("c3")
	w.pass1(window)
	w.want(t, "neither gets well", "rolling back | failed c1!< c2+<! c3+<! | pending")
	w.available("c1", "c3") // c3 late, but while the run is still rolling back
	w.pass1(0)
	w.want(t, "c3 is back after all", "failed | failed c1!<+ c2+<! c3+<+ | pending")
	condition(t, w.status.Conditions, v1beta1.ConditionRolledBack, metav1.ConditionFalse, v1beta1.ReasonRollbackFailed,
		"Clusters rolled back to their last healthy revision: 2; not rolled back: c2 (stage all); see")
}

// TestWhatGoesForwardTakesPlacesOnTheWayBack has c1 still busy with the release when c2, which was done, spends the budget.
func TestWhatGoesForwardTakesPlacesOnTheWayBack(t *testing.T) {
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionRollback, of("all", "", most(intstr.FromInt32(2))))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.refused["c1"] = "a webhook says no"
	w.pass1(0)
	w.available("c2")
	w.pass1(0)
	w.now = w.now.Add(time.Second)
	w.unavailable("c2")
	delete(w.refused, "c1")
	w.pass1(window - 2*time.Second)
	w.available("c3")
	w.pass1(0)
	w.want(t, "c2 has relapsed", "active | active c1* c2+ c3+ | pending")
	w.unavailable("c3")
	w.pass1(3 * time.Second)
	w.pass1(0)
	w.want(t, "one place is c1's", "rolling back | failed c1* c2! c3+< | pending")
	w.available("c3")
	w.pass1(0)
	w.want(t, "c2 takes c3's, and c1 its own", "rolling back | failed c1*< c2!< c3+<+ | pending")
}

// secondFails is a run that takes its clusters back, because of three c1 is healthy and c2 was not within the window.
func secondFails(t *testing.T) *world {
	t.Helper()
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionRollback, of("all", ""))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass1(0)
	w.available("c1")
	w.pass1(0)
	w.pass1(window)
	return w
}

func TestStopPausesTheWayBack(t *testing.T) {
	w := secondFails(t)
	w.state = v1beta1.UpdateRunStop
	w.pass1(0)
	w.want(t, "before the first", "stopped | failed c1+ c2! c3. | pending")
	w.state = v1beta1.UpdateRunRun
	w.pass1(0)
	w.want(t, "goes on", "rolling back | failed c1+ c2!< c3. | pending")
	w.state = v1beta1.UpdateRunStop
	w.pass1(0)
	w.want(t, "waits for the one on its way", "stopping | failed c1+ c2!< c3. | pending")
	w.available("c2")
	w.pass1(0)
	w.want(t, "stopped", "stopped | failed c1+ c2!<+ c3. | pending")
	w.state = v1beta1.UpdateRunRun
	w.pass1(0)
	w.available("c1")
	w.pass1(0)
	w.want(t, "done", "failed | failed c1+<+ c2!<+ c3. | pending")
}

// TestALostPassIsTakenUp kills the agent after it changed a binding and before it stored that, and lets the cluster get well meanwhile: then
// its binding tells of the new content as the last healthy one.
func TestALostPassIsTakenUp(t *testing.T) {
	w := policed(intstr.FromInt32(1), v1beta1.FailureActionRollback, of("all", "", most(intstr.FromInt32(3))))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass(false)
	w.wantOn(t, "p-3-snapshot", "p-3-snapshot", "p-3-snapshot")
	w.available("c1")
	w.pass1(0)
	w.want(t, "taken up", "active | active c1+ c2* c3* | pending")
	w.pass1(window)
	w.now = w.now.Add(time.Second)
	w.pass(false) // the first of the way back
	w.wantOn(t, "p-2-snapshot", "p-2-snapshot", "p-2-snapshot")
	w.pass1(0)
	w.available("c1", "c2", "c3")
	w.pass1(0)
	w.want(t, "back", "failed | failed c1+<+ c2!<+ c3!<+ | pending")
	if got := w.status.StagesStatus[0].Clusters[0].LastHealthy; got == nil || got.ResourceSnapshotName != "p-2-snapshot" {
		t.Errorf("recorded %+v", got)
	}
}

// TestALostWayBackIsOver has the cluster healthy at home before anybody could say that it was sent there: no event will tell of that.
func TestALostWayBackIsOver(t *testing.T) {
	w := secondFails(t)
	w.pass(false)
	w.wantOn(t, "p-3-snapshot", "p-2-snapshot", "p-2-snapshot")
	w.available("c2")
	if step := w.pass1(0); step.Again <= 0 || step.Again > time.Second {
		t.Fatalf("looks again after %s; want at once, as c1 is to go next", step.Again)
	}
	w.want(t, "c2 is back", "rolling back | failed c1+ c2!<+ c3. | pending")
	w.pass1(0)
	w.want(t, "c1 is next", "rolling back | failed c1+< c2!<+ c3. | pending")
}

// No run is planned with a budget that cannot be read; one that an earlier version has planned ends.
func TestBudgetsThatAreNone(t *testing.T) {
	many := intstr.FromString("many")
	if err := policed(many, v1beta1.FailureActionStop, of("all", "")).begin(); stage.AbortOf(err) == nil {
		t.Errorf("planned: %v", err)
	}
	w := policed(intstr.FromInt32(0), v1beta1.FailureActionStop, of("all", ""))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.status.UpdateStrategySnapshot.FailurePolicy.FailureBudget = &many
	w.pass1(0)
	if cause := stage.Read(w.status).Cause; !strings.Contains(cause, "failureBudget many of stage all") {
		t.Errorf("cause %q", cause)
	}
}

// TestRunsThatRetreatEnd plays runs with failure policies on fleets in which clusters get well, relapse or never get well, with deaths of the
// agent between changing bindings and storing it, stops, other runs that take clusters, and, on the way back, clusters that come and go.
func TestRunsThatRetreatEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlay(t)
		for pass := 0; !stage.Read(p.status).Phase.Done(); pass++ {
			if pass > 500 {
				t.Fatalf("the run does not end: %s", p.describe())
			}
			calm := pass > 150 // nothing disturbs any more
			p.disturb(calm)
			was := stage.Read(p.status)
			step := p.pass(calm || rapid.IntRange(0, 4).Draw(t, "dies") > 0)
			p.check(was, step)
			p.report(calm)
			p.now = p.now.Add(time.Duration(rapid.IntRange(0, 2500).Draw(t, "time")) * time.Millisecond)
		}
		p.ended()
	})
}

// play is a run of the simulation.
type play struct {
	*world
	t *rapid.T
	// given is what the run has changed and when; was what each cluster had last run healthily then.
	given map[string]change
	was   map[string]*v1beta1.Revision
	// mood is how a cluster takes the release, and good whether it takes what it had.
	mood map[string]string
	good map[string]bool
	// foreign are clusters that somebody else has changed.
	foreign map[string]bool
}

type change struct {
	at         time.Time
	generation int64
	well       bool
}

const briefly = 6 * time.Second // the health window of the simulation

func newPlay(t *rapid.T) *play {
	stages := []string{"a", "b", "c"}
	var clusters []cluster
	for i := range rapid.IntRange(1, 10).Draw(t, "clusters") {
		clusters = append(clusters, cluster{fmt.Sprintf("m%02d", i), []string{"stage=" + rapid.SampledFrom(stages).Draw(t, "stage")}})
	}
	var configs []v1beta1.StageConfig
	for _, name := range stages {
		config := of(name, "stage="+name, most(intstr.FromInt32(int32(rapid.IntRange(1, 3).Draw(t, "most")))))
		if rapid.Bool().Draw(t, "own budget") {
			budget := intstr.FromInt32(int32(rapid.IntRange(0, 2).Draw(t, "budget")))
			config.FailureBudget = &budget
		}
		for _, add := range rapid.SliceOfNDistinct(rapid.IntRange(0, 2), 0, 3, func(i int) int { return i }).Draw(t, "tasks") {
			[]func(*v1beta1.StageConfig){before, after, wait(3 * time.Second)}[add](&config)
		}
		configs = append(configs, config)
	}
	p := &play{
		world: newWorld(configs, clusters...), t: t, given: map[string]change{}, was: map[string]*v1beta1.Revision{},
		mood: map[string]string{}, good: map[string]bool{}, foreign: map[string]bool{},
	}
	share := intstr.FromString(fmt.Sprintf("%d%%", rapid.SampledFrom([]int{0, 20, 50}).Draw(t, "share")))
	p.strategy.FailurePolicy = &v1beta1.FailurePolicy{
		HealthWindow: &metav1.Duration{Duration: briefly}, FailureBudget: &share,
		OnFailure: rapid.SampledFrom([]v1beta1.FailureAction{v1beta1.FailureActionRollback, v1beta1.FailureActionRollback, v1beta1.FailureActionStop}).Draw(t, "action"),
	}
	if err := p.begin(); err != nil {
		t.Fatal(err)
	}
	for _, c := range clusters {
		p.mood[c.name] = rapid.SampledFrom([]string{"good", "good", "good", "flaky", "bad"}).Draw(t, "mood")
		p.good[c.name] = rapid.IntRange(0, 5).Draw(t, "good before") > 0
		switch rapid.IntRange(0, 5).Draw(t, "history") {
		case 0: // never had anything
		case 1:
			p.runs(c.name, "p-1-snapshot", true)
			p.runs(c.name, "p-2-snapshot", false)
		case 2: // has the release already
			p.runs(c.name, "p-3-snapshot", rapid.Bool().Draw(t, "well"))
			p.binding(c.name).Spec.ApplyStrategy = p.status.ApplyStrategy
		default:
			p.runs(c.name, "p-2-snapshot", true)
		}
	}
	return p
}

// disturb lets the user and other runs do things.
func (p *play) disturb(calm bool) {
	if calm {
		p.state = v1beta1.UpdateRunRun
		for _, name := range p.asked() {
			p.approve(name)
		}
		return
	}
	rare := func(what string) bool { return rapid.IntRange(0, 19).Draw(p.t, what) == 0 }
	if rare("toggle") {
		p.state = map[v1beta1.UpdateRunState]v1beta1.UpdateRunState{
			v1beta1.UpdateRunRun: v1beta1.UpdateRunStop, v1beta1.UpdateRunStop: v1beta1.UpdateRunRun,
		}[p.state]
	}
	for _, name := range p.asked() {
		if rapid.IntRange(0, 3).Draw(p.t, "approves") == 0 {
			p.approve(name)
		}
	}
	progress := stage.Read(p.status)
	if !progress.RollingBack() {
		return
	}
	b := rapid.SampledFrom(p.fleet.Bindings).Draw(p.t, "binding").(*v1beta1.ClusterResourceBinding)
	switch {
	case rare("another run"):
		p.runs(b.Spec.TargetCluster, "p-9-snapshot", true)
		p.foreign[b.Spec.TargetCluster] = true
	case rare("leaves"):
		b.Spec.State = v1beta1.BindingStateUnscheduled
		b.Generation++
		p.foreign[b.Spec.TargetCluster] = true
	case rare("another policy"):
		for _, b := range p.fleet.Bindings {
			c, generation := b.GetSpec().TargetCluster, b.GetGeneration()+1
			if g, ok := p.given[c]; ok && g.generation == b.GetGeneration() {
				g.generation = generation
				p.given[c] = g
			}
			b.SetGeneration(generation)
		}
	case rare("joins"):
		name := fmt.Sprintf("n%02d", len(p.fleet.Bindings))
		p.fleet.Bindings = append(p.fleet.Bindings, binding(name, v1beta1.BindingStateScheduled))
		p.fleet.Labels[name] = map[string]string{"stage": "a"}
	}
}

// asked are the approval requests there are, in an order that a seed brings back.
func (p *play) asked() []string { return slices.Sorted(maps.Keys(p.requests)) }

// report lets clusters tell how they are.
func (p *play) report(calm bool) {
	for _, b := range p.fleet.Bindings {
		c := b.GetSpec().TargetCluster
		if b.GetSpec().State != v1beta1.BindingStateBound || !calm && !rapid.Bool().Draw(p.t, "reports") {
			continue
		}
		well := p.good[c]
		if p.on(c) == "p-3-snapshot" {
			well = p.mood[c] == "good" || p.mood[c] == "flaky" && rapid.Bool().Draw(p.t, "relapses")
		}
		if !well {
			p.unavailable(c)
			continue
		}
		p.available(c)
		if g := p.given[c]; g.generation == b.GetGeneration() {
			g.well = true
			p.given[c] = g
		}
	}
}

// check holds a pass against the promises: of the real bindings, not of what the run believes.
func (p *play) check(was stage.Progress, step stage.Step) {
	for _, s := range step.Start {
		c := s.Binding.GetSpec().TargetCluster
		if p.state == v1beta1.UpdateRunStop && s.Content {
			p.t.Fatalf("%s is changed, and the run was told to stop", c)
		}
		if s.Back != was.RollingBack() {
			p.t.Fatalf("%s is changed with back=%t while the run says %t", c, s.Back, was.RollingBack())
		}
		if s.Back {
			p.checkBack(c, s)
		}
		if !s.Content {
			continue
		}
		if _, known := p.was[c]; !known {
			p.was[c] = p.healthyBefore(s)
		}
		p.given[c] = change{at: p.now, generation: s.Binding.GetGeneration()}
	}
	for i, s := range stage.Read(p.status).Stages {
		n := 0
		for _, c := range s.Clusters {
			if g, ok := p.given[c.Name]; ok && !g.well && g.generation == p.binding(c.Name).Generation && p.now.Before(g.at.Add(briefly)) {
				n++
			}
		}
		if most := p.strategy.Stages[i].MaxConcurrency.IntValue(); n > most {
			p.t.Fatalf("%d clusters of stage %s are in progress; %d may be: %s", n, s.Name, most, p.describe())
		}
	}
}

// healthyBefore is what a cluster had last run healthily before the change that s made just now.
func (p *play) healthyBefore(s stage.Start) *v1beta1.Revision {
	return s.Binding.GetStatus().LastHealthy
}

func (p *play) checkBack(cluster string, s stage.Start) {
	was, known := p.was[cluster]
	switch {
	case !known:
		p.t.Fatalf("%s is taken back, and the run never changed it", cluster)
	case was == nil || s.To.ResourceSnapshotName != was.ResourceSnapshotName:
		p.t.Fatalf("%s is taken back to %s, and it was last healthy with %+v", cluster, s.To.ResourceSnapshotName, was)
	}
	later := false
	for i, st := range p.status.StagesStatus {
		for _, c := range st.Clusters {
			name := c.ClusterName
			if name == cluster {
				later = true
				continue
			}
			// A later one that the run changed and can take back must be back already, or on its way.
			if was := p.was[name]; later && was != nil && !p.foreign[name] && p.on(name) == "p-3-snapshot" && was.ResourceSnapshotName != "p-3-snapshot" {
				p.t.Fatalf("%s is taken back before %s of stage %d: %s", cluster, name, i, p.describe())
			}
		}
	}
}

// ended holds the end of a run against the promises.
func (p *play) ended() {
	progress := stage.Read(p.status)
	for i, s := range progress.Stages {
		failed := 0
		for _, c := range s.Clusters {
			if c.Phase == stage.Failed {
				failed++
			}
			p.endedAt(progress, c)
		}
		if budget := p.budgetOf(i, len(s.Clusters)); s.Phase == stage.Succeeded && failed > budget {
			p.t.Fatalf("stage %s has succeeded with %d failed clusters of %d that may: %s", s.Name, failed, budget, p.describe())
		}
	}
	back := delivery.IsTrue(p.status.Conditions, v1beta1.ConditionRolledBack, 1)
	for _, s := range progress.Stages {
		if back && slices.ContainsFunc(s.Clusters, func(c stage.Cluster) bool {
			return c.Back.State == delivery.Astray || c.Back.State == delivery.NeverHealthy
		}) {
			p.t.Fatalf("the run says that it is rolled back: %s", p.describe())
		}
	}
}

func (p *play) endedAt(progress stage.Progress, c stage.Cluster) {
	was, changed := p.was[c.Name]
	if p.foreign[c.Name] {
		return
	}
	on, want := p.on(c.Name), "p-3-snapshot"
	if progress.Back.State != delivery.Waiting && was != nil {
		want = was.ResourceSnapshotName
	}
	if changed && on != want {
		p.t.Fatalf("%s is on %s, want %s: %s: %s", c.Name, on, want, p.describe(), progress.Cause)
	}
	if progress.Back.State != delivery.Waiting && changed && ((c.Back.State == delivery.NeverHealthy) != (was == nil) || c.Back.State == delivery.Waiting || c.Back.State == delivery.Returning) {
		p.t.Fatalf("%s was last healthy with %+v, and the status says %+v", c.Name, was, c.Back)
	}
	if !changed && c.Back.State != delivery.Waiting {
		p.t.Fatalf("%s was not changed by the run, and the status says %+v", c.Name, c.Back)
	}
}

func (p *play) budgetOf(index, clusters int) int {
	budget := p.strategy.FailurePolicy.FailureBudget
	if own := p.strategy.Stages[index].FailureBudget; own != nil {
		budget = own
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(budget, clusters, false)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}
