package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func is(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

// atProd is a run that has done canary, and waits before prod.
func atProd() *v1beta1.ClusterStagedUpdateRun {
	run := &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: "web-1"}}
	run.Spec = v1beta1.UpdateRunSpec{PlacementName: "web", StagedUpdateStrategyName: "careful", State: v1beta1.UpdateRunRun}
	succeeded := is(v1beta1.ConditionSucceeded, metav1.ConditionTrue, v1beta1.ReasonStageUpdatingSucceeded, "")
	run.Status = v1beta1.UpdateRunStatus{
		ResourceSnapshotIndexUsed: "4",
		Conditions: []metav1.Condition{
			is(v1beta1.ConditionInitialized, metav1.ConditionTrue, v1beta1.ReasonUpdateRunInitializedSuccessfully, ""),
			is(v1beta1.ConditionProgressing, metav1.ConditionFalse, v1beta1.ReasonUpdateRunWaiting, "prod is not approved"),
		},
		StagesStatus: []v1beta1.StageUpdatingStatus{
			{StageName: "canary", Conditions: []metav1.Condition{succeeded}, Clusters: []v1beta1.ClusterUpdatingStatus{
				{ClusterName: "c2", Conditions: []metav1.Condition{is(v1beta1.ConditionSucceeded, metav1.ConditionTrue, "", "")}},
			}},
			{
				StageName: "prod", Clusters: []v1beta1.ClusterUpdatingStatus{{ClusterName: "c1"}, {ClusterName: "c3"}},
				Conditions: []metav1.Condition{
					is(v1beta1.ConditionProgressing, metav1.ConditionFalse, v1beta1.ReasonStageUpdatingWaiting, "not approved"),
				},
				BeforeStageTaskStatus: []v1beta1.StageTaskStatus{{
					Type: v1beta1.StageTaskApproval, ApprovalRequestName: "web-1-before-prod", Conditions: []metav1.Condition{
						is(v1beta1.ConditionApprovalRequestCreated, metav1.ConditionTrue, v1beta1.ReasonStageTaskApprovalRequestCreated, ""),
					},
				}},
			},
		},
	}
	return run
}

func TestStatusOfARun(t *testing.T) {
	v := viewOfRun(atProd())
	var got []string
	for _, l := range v.Lines {
		got = append(got, l.Plain())
	}
	want := []string{
		"run web-1: 1/3 revision 4, waiting: prod is not approved",
		"stage canary: 1/1 succeeded", "cluster canary/c2: succeeded",
		"stage prod: 0/2 waiting: not approved; continue with: kubectl fleet approve careq --name web-1-before-prod",
		"cluster prod/c1: pending", "cluster prod/c3: pending",
	}
	if !slices.Equal(got, want) || v.Done || v.Failed != "" {
		t.Errorf("done %t, failed %q, got\n%s\nwant\n%s", v.Done, v.Failed, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	failed := atProd()
	failed.Status.Conditions = append(failed.Status.Conditions, is("Succeeded", metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed, "c3 is gone"))
	if got := viewOfRun(failed).Lines[3].Plain(); got != "stage prod: 0/2 waiting: not approved" {
		t.Errorf("a failed run shows %q", got)
	}
	if drawn := v.Lines[0].Rows(now, 0); !strings.Contains(drawn[0], strings.Repeat("█", 6)+strings.Repeat("░", 14)+"   1/3 ") {
		t.Errorf("drawn %q", drawn)
	}
}

// After a run has succeeded, another one has changed a cluster.
func TestStatusOfARunWhoseClustersChangedSince(t *testing.T) {
	run := atProd()
	run.Status.Conditions = []metav1.Condition{is("Succeeded", metav1.ConditionTrue, v1beta1.ReasonUpdateRunSucceeded, "")}
	at := map[string]string{"c1": "web-4-snapshot", "c2": "web-5-snapshot", "c3": "", "c9": "web-0-snapshot"}
	var bindings []v1beta1.BindingObject
	for cluster, snapshot := range at {
		b := &v1beta1.ClusterResourceBinding{}
		b.Spec.TargetCluster, b.Spec.ResourceSnapshotName = cluster, snapshot
		bindings = append(bindings, b)
	}
	v := since(viewOfRun(run), run, bindings)
	want := []string{"run web-1: 1/3 revision 4, succeeded; changed since by another run: c2", "cluster canary/c2: succeeded, now at revision 5"}
	for _, text := range want {
		if !slices.ContainsFunc(v.Lines, func(l terminal.Line) bool { return l.Plain() == text }) {
			t.Errorf("%q is missing in %+v", text, v.Lines)
		}
	}
	changed := func(l terminal.Line) bool {
		return strings.Contains(l.Text, "changed since") || strings.Contains(l.Text, "now at")
	}
	if lines := len(slices.DeleteFunc(v.Lines, func(l terminal.Line) bool { return !changed(l) })); lines != len(want) {
		t.Errorf("%d lines show a change; want %d", lines, len(want))
	}
}

func TestStatusOfRunsThatAreOver(t *testing.T) {
	for name, c := range map[string]struct {
		conditions []metav1.Condition
		state      v1beta1.UpdateRunState
		done       bool
		failed     string
		head       string
	}{
		"failed": {[]metav1.Condition{is("Succeeded", metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed, "c3 is gone")}, "Run", true, "c3 is gone",
			"failed: c3 is gone; continue with: kubectl fleet rollout resume web -n shop"},
		"succeeded": {[]metav1.Condition{is("Succeeded", metav1.ConditionTrue, v1beta1.ReasonUpdateRunSucceeded, "")}, "Run", true, "", "succeeded"},
		"no plan": {[]metav1.Condition{is("Initialized", metav1.ConditionFalse, v1beta1.ReasonUpdateRunInitializedFailed, "No plan: client error: no stage for c1")},
			"Run", true, "no stage for c1", "cannot be planned: no stage for c1"},
		"planned": {[]metav1.Condition{is("Initialized", metav1.ConditionTrue, v1beta1.ReasonUpdateRunInitializedSuccessfully, "")},
			"Initialize", false, "", "planned; continue with: kubectl fleet rollout resume web -n shop"},
	} {
		run := &v1beta1.StagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r"}}
		run.Spec = v1beta1.UpdateRunSpec{PlacementName: "web", State: c.state}
		run.Status.Conditions = c.conditions
		v := viewOfRun(run)
		if got := v.Lines[0].Plain(); v.Done != c.done || v.Failed != c.failed || got != "run r: "+c.head {
			t.Errorf("%s: done %t, failed %q, got %q", name, v.Done, v.Failed, got)
		}
	}
}

func TestStatusOfClusters(t *testing.T) {
	p := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	upTo := func(kinds ...string) (out []metav1.Condition) {
		for _, kind := range kinds {
			out = append(out, is(kind, metav1.ConditionTrue, kind, ""))
		}
		return out
	}
	started := []string{"Scheduled", "RolloutStarted"}
	available := append(slices.Clone(started), "Overridden", "WorkSynchronized", "Applied", "Available")
	p.Status = v1beta1.PlacementStatus{
		ObservedResourceIndex: "2",
		PerClusterPlacementStatuses: []v1beta1.PerClusterPlacementStatus{
			{ClusterName: "a", ObservedResourceIndex: "2", Conditions: upTo(available...)},
			{ClusterName: "b", ObservedResourceIndex: "2", Conditions: upTo(available...)},
			{ClusterName: "c", ObservedResourceIndex: "2", Conditions: upTo(started...)},
		},
	}
	for _, kind := range available {
		p.Status.Conditions = append(p.Status.Conditions, is("ClusterResourcePlacement"+kind, metav1.ConditionTrue, kind, ""))
	}
	p.Status.Conditions = append(p.Status.Conditions,
		is("ClusterResourcePlacementResourcesFit", metav1.ConditionFalse, v1beta1.ReasonResourceTooLarge, "one is too large"))
	last := &p.Status.Conditions[len(available)-1]
	*last = is(last.Type, metav1.ConditionFalse, "NotYet", "one is not")
	at := func(cluster string, index int) v1beta1.BindingObject {
		b := &v1beta1.ClusterResourceBinding{}
		b.Spec = v1beta1.ResourceBindingSpec{TargetCluster: cluster, ResourceSnapshotName: contract.MasterSnapshotName("web", index)}
		return b
	}
	bindings := []v1beta1.BindingObject{at("a", 2), at("b", 1), at("c", 2)}
	v := viewOfClusters(p, bindings)
	if got := v.Lines[0].Plain(); v.Done || got != "rollout web: 1/3 revision 2, ClusterResourcePlacementAvailable False (NotYet): one is not" {
		t.Errorf("done %t, got %q", v.Done, got)
	}
	if got := v.Lines[3].Plain(); got != "cluster c: revision 2, RolloutStarted" {
		t.Errorf("got %q", got)
	}
	p.Status.PerClusterPlacementStatuses[1].Conditions[1] = is("RolloutStarted", metav1.ConditionFalse, v1beta1.ReasonRolloutNotStartedYet, "c is not ready")
	if got := viewOfClusters(p, bindings).Lines[2].Plain(); got != "cluster b: revision 1, waiting: c is not ready" {
		t.Errorf("got %q", got)
	}
	last.Status = metav1.ConditionTrue
	p.Status.PerClusterPlacementStatuses[1].Conditions = upTo(available...)
	p.Status.PerClusterPlacementStatuses[2].Conditions = upTo(available...)
	if viewOfClusters(p, bindings).Done {
		t.Error("it is done although b is at another revision")
	}
	bindings[1] = at("b", 2)
	lost := at("lost", 1) // which another cluster replaces; it keeps what it has until it is heard again
	lost.GetSpec().State = v1beta1.BindingStateUnscheduled
	bindings = append(bindings, lost)
	if got := viewOfClusters(p, bindings).Lines; len(got) != 4 || !strings.HasPrefix(got[0].Plain(), "rollout web: 3/3") {
		t.Errorf("got %v; the lost cluster does not count", got)
	}
	if !viewOfClusters(p, bindings).Done {
		t.Error("it is not done")
	}
	p.Generation++ // which no agent has seen
	if viewOfClusters(p, bindings).Done {
		t.Error("it is done before its agent has seen it")
	}
}

// retreating is a run that takes clusters back: c3 is back, c1 on its way, c2 is to follow and c4 never was healthy.
func retreating() *v1beta1.ClusterStagedUpdateRun {
	run := atProd()
	run.Status.UpdateStrategySnapshot = &v1beta1.UpdateStrategySpec{
		FailurePolicy: &v1beta1.FailurePolicy{HealthWindow: &metav1.Duration{Duration: time.Minute}},
	}
	run.Status.Conditions = []metav1.Condition{
		is(v1beta1.ConditionProgressing, metav1.ConditionTrue, v1beta1.ReasonUpdateRunRollingBack, "waits for c1"),
		is(v1beta1.ConditionWithinFailureBudget, metav1.ConditionFalse, v1beta1.ReasonFailureBudgetSpent, "2 have failed"),
		is(v1beta1.ConditionRolledBack, metav1.ConditionUnknown, v1beta1.ReasonRollbackStarted, ""),
	}
	before := &v1beta1.Revision{ResourceSnapshotName: contract.MasterSnapshotName("web", 3)}
	way := is(v1beta1.ConditionRolledBack, metav1.ConditionUnknown, v1beta1.ReasonRollbackStarted, "")
	way.LastTransitionTime = metav1.NewTime(now)
	started := is(v1beta1.ConditionStarted, metav1.ConditionTrue, v1beta1.ReasonClusterUpdatingStarted, "")
	run.Status.StagesStatus[0].Clusters[0].LastHealthy = before
	run.Status.StagesStatus[1].Clusters = []v1beta1.ClusterUpdatingStatus{
		{ClusterName: "c1", LastHealthy: before, Conditions: []metav1.Condition{started, way}},
		{ClusterName: "c3", LastHealthy: before, Conditions: []metav1.Condition{started, is(v1beta1.ConditionRolledBack, metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded, "")}},
		{ClusterName: "c4", Conditions: []metav1.Condition{started, is(v1beta1.ConditionRolledBack, metav1.ConditionFalse, v1beta1.ReasonNeverHealthy, "")}},
		{ClusterName: "c5"},
	}
	return run
}

// The messages of the hub agent are shown as they are where they name the state themselves.
func TestNoWordIsShownTwice(t *testing.T) {
	to := v1beta1.Revision{ResourceSnapshotName: "web-3-snapshot"}
	for _, c := range []struct {
		status        metav1.ConditionStatus
		message, want string
	}{
		{metav1.ConditionUnknown, delivery.Sent(to).Message, "rolling back to web-3-snapshot"},
		{metav1.ConditionUnknown, delivery.WaitingFor("no budget", to).Message, "waiting to be rolled back to web-3-snapshot: no budget"},
		{metav1.ConditionTrue, "Rolled back to web-3-snapshot and healthy", "rolled back to web-3-snapshot and healthy"},
		{metav1.ConditionFalse, delivery.NotRolledBack("it is silent").Message, "not rolled back: it is silent"},
		{metav1.ConditionFalse, "Given web-3-snapshot again, but not healthy for 5m0s", "not rolled back: Given web-3-snapshot again, but not healthy for 5m0s"},
	} {
		if got := wayBack(metav1.Condition{Status: c.status, Message: c.message}); got != c.want {
			t.Errorf("%s %q is shown as %q, want %q", c.status, c.message, got, c.want)
		}
	}
	for message, want := range map[string]string{
		"Stopping: waiting for c1 in stage prod": "stopping: waiting for c1 in stage prod", "waits for c1": "stopping: waits for c1", "": "stopping",
	} {
		if got := describe(stage.Stopping, message, ""); got != want {
			t.Errorf("%q is shown as %q, want %q", message, got, want)
		}
	}
}

func TestStatusOfARetreat(t *testing.T) {
	v := viewOfRun(retreating())
	var got []string
	for _, l := range v.Lines {
		got = append(got, l.Plain())
	}
	want := []string{
		"run web-1: 1/4 revision 4, rolling back: waits for c1",
		"stage canary: 0/1 succeeded", "cluster canary/c2: will be rolled back to revision 3",
		"stage prod: 1/3 waiting: not approved; continue with: kubectl fleet approve careq --name web-1-before-prod",
		"cluster prod/c1: rolling back to revision 3, health window ends " + now.Add(time.Minute).UTC().Format(time.RFC3339),
		"cluster prod/c3: back at revision 3", "cluster prod/c4: not rolled back: never healthy", "cluster prod/c5: pending",
	}
	if !slices.Equal(got, want) || v.Done || v.Failed != "" {
		t.Errorf("done %t, failed %q, got\n%s\nwant\n%s", v.Done, v.Failed, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := v.Lines[4].Rows(now.Add(10*time.Second), 0); !strings.HasSuffix(got[0], "rolling back to revision 3, 50s of health window left") {
		t.Errorf("drawn %q", got)
	}
	if still := v.Lines[4].Still || v.Lines[2].Still || !v.Lines[7].Still; still {
		t.Error("what is taken back is not in the live view, or what is not is")
	}
}

func TestStatusOfARunWithABudget(t *testing.T) {
	run := atProd()
	run.Status.UpdateStrategySnapshot = &v1beta1.UpdateStrategySpec{
		FailurePolicy: &v1beta1.FailurePolicy{HealthWindow: &metav1.Duration{Duration: time.Minute}},
		Stages:        []v1beta1.StageConfig{{}, {AfterStageTasks: []v1beta1.StageTask{{Type: v1beta1.StageTaskTimedWait, WaitTime: &metav1.Duration{Duration: time.Hour}}}}},
	}
	within := is(v1beta1.ConditionWithinFailureBudget, metav1.ConditionTrue, v1beta1.ReasonFailureBudgetLeft, "")
	started := is(v1beta1.ConditionStarted, metav1.ConditionTrue, v1beta1.ReasonClusterUpdatingStarted, "")
	started.LastTransitionTime = metav1.NewTime(now)
	run.Status.Conditions = append(run.Status.Conditions, within)
	prod := &run.Status.StagesStatus[1]
	prod.Clusters[0].Conditions = []metav1.Condition{started, is(v1beta1.ConditionSucceeded, metav1.ConditionFalse, v1beta1.ReasonClusterUpdatingFailed, "no health")}
	prod.Clusters[1].Conditions = []metav1.Condition{started}
	v := viewOfRun(run)
	ends := ", health window ends " + now.Add(time.Minute).UTC().Format(time.RFC3339)
	for i, want := range map[int]string{
		0: "run web-1: 1/3 revision 4, waiting: prod is not approved; failed within the budget: c1",
		4: "cluster prod/c1: failed: no health", 5: "cluster prod/c3: updating" + ends,
	} {
		if got := v.Lines[i].Plain(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	prod.BeforeStageTaskStatus = nil
	prod.AfterStageTaskStatus = []v1beta1.StageTaskStatus{{Type: v1beta1.StageTaskTimedWait}}
	prod.Conditions[0].LastTransitionTime = metav1.NewTime(now)
	if got := viewOfRun(run).Lines[3].Rows(now.Add(time.Minute), 0); !strings.HasSuffix(got[0], "not approved, 59m of wait time left") {
		t.Errorf("drawn %q", got)
	}
}

func TestStatusOfARollingUpdateThatWentBack(t *testing.T) {
	p, _ := judged(t)
	entry := func(cluster string) v1beta1.PerClusterPlacementStatus {
		return v1beta1.PerClusterPlacementStatus{ClusterName: cluster, ObservedResourceIndex: "3", Conditions: []metav1.Condition{
			is("RolloutStarted", metav1.ConditionFalse, v1beta1.ReasonRolloutNotStartedYet, "spent"),
		}}
	}
	p.Status = v1beta1.PlacementStatus{
		ObservedResourceIndex: "3",
		Conditions: []metav1.Condition{
			is("ClusterResourcePlacementRolloutStarted", metav1.ConditionFalse, v1beta1.ReasonRolloutNotStartedYet, "held"),
			is("ClusterResourcePlacementWithinFailureBudget", metav1.ConditionFalse, v1beta1.ReasonFailureBudgetSpent, "Revision 3 has spent it"),
			is("ClusterResourcePlacementRolledBack", metav1.ConditionUnknown, v1beta1.ReasonRollbackStarted, "Back: 1 of 2"),
		},
		PerClusterPlacementStatuses: []v1beta1.PerClusterPlacementStatus{entry("a"), entry("b"), entry("c")},
	}
	at := func(cluster string, index int, status metav1.ConditionStatus, message string) v1beta1.BindingObject {
		b := &v1beta1.ClusterResourceBinding{}
		b.Spec = v1beta1.ResourceBindingSpec{TargetCluster: cluster, ResourceSnapshotName: contract.MasterSnapshotName("web", index)}
		if status != "" {
			b.Status.Conditions = []metav1.Condition{is(v1beta1.ConditionRolledBack, status, "", message)}
		}
		return b
	}
	bindings := []v1beta1.BindingObject{
		at("a", 2, metav1.ConditionTrue, "healthy"), at("b", 3, metav1.ConditionUnknown, "its turn comes"), at("c", 2, "", ""),
	}
	tell := func() (v terminal.View, told []string) {
		v = viewOfClusters(p, bindings)
		for _, l := range v.Lines {
			told = append(told, l.Plain())
		}
		return v, told
	}
	want := []string{
		"rollout web: 0/3 revision 3, failed: rolling back: Back: 1 of 2. Revision 3 has spent it",
		"cluster a: revision 2, rolled back: healthy", "cluster b: revision 3, rolling back: its turn comes", "cluster c: revision 2, waiting: spent",
	}
	if v, got := tell(); !slices.Equal(got, want) || v.Done {
		t.Errorf("done %t, got\n%s", v.Done, strings.Join(got, "\n"))
	}
	p.Status.Conditions[2].Status = metav1.ConditionTrue
	if v, got := tell(); !v.Done || v.Failed != "rolled back: Back: 1 of 2. Revision 3 has spent it" {
		t.Errorf("done %t, failed %q, got\n%s", v.Done, v.Failed, strings.Join(got, "\n"))
	}
	p.Status.Conditions = p.Status.Conditions[:2]
	if v, _ := tell(); !v.Done || v.Failed != "Revision 3 has spent it" {
		t.Errorf("without Rollback: done %t, failed %q", v.Done, v.Failed)
	}
}
