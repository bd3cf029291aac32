package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/contract"
	decision "github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/testworld"
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
		"stage prod: 0/2 waiting: not approved; go on with: kubectl fleet approve careq --name web-1-before-prod",
		"cluster prod/c1: pending", "cluster prod/c3: pending",
	}
	if !slices.Equal(got, want) || v.Done || v.Failed != "" {
		t.Errorf("done %t, failed %q, told\n%s\nwant\n%s", v.Done, v.Failed, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	failed := atProd()
	failed.Status.Conditions = append(failed.Status.Conditions, is("Succeeded", metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed, "c3 is gone"))
	if got := viewOfRun(failed).Lines[3].Plain(); got != "stage prod: 0/2 waiting: not approved" {
		t.Errorf("a run that has failed tells %q", got)
	}
	if drawn := v.Lines[0].Rows(now, 0); !strings.Contains(drawn[0], strings.Repeat("█", 6)+strings.Repeat("░", 14)+"   1/3 ") {
		t.Errorf("drawn %q", drawn)
	}
}

// A run has succeeded, and then another one has changed what it brought.
func TestStatusOfARunThatIsNotTheLastWord(t *testing.T) {
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
	want := []string{"run web-1: 1/3 revision 4, succeeded; changed since by another run: c2", "cluster canary/c2: succeeded, and has revision 5 since"}
	for _, text := range want {
		if !slices.ContainsFunc(v.Lines, func(l terminal.Line) bool { return l.Plain() == text }) {
			t.Errorf("%q is missing in %+v", text, v.Lines)
		}
	}
	if clusters := len(slices.DeleteFunc(v.Lines, func(l terminal.Line) bool { return !strings.Contains(l.Text, "since") })); clusters != len(want) {
		t.Errorf("%d lines tell of a change; want %d", clusters, len(want))
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
			"failed: c3 is gone; go on with: kubectl fleet rollout resume web -n shop"},
		"succeeded": {[]metav1.Condition{is("Succeeded", metav1.ConditionTrue, v1beta1.ReasonUpdateRunSucceeded, "")}, "Run", true, "", "succeeded"},
		"no plan": {[]metav1.Condition{is("Initialized", metav1.ConditionFalse, v1beta1.ReasonUpdateRunInitializedFailed, "No plan: client error: no stage for c1")},
			"Run", true, "no stage for c1", "cannot be planned: no stage for c1"},
		"planned": {[]metav1.Condition{is("Initialized", metav1.ConditionTrue, v1beta1.ReasonUpdateRunInitializedSuccessfully, "")},
			"Initialize", false, "", "planned; go on with: kubectl fleet rollout resume web -n shop"},
	} {
		run := &v1beta1.StagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r"}}
		run.Spec = v1beta1.UpdateRunSpec{PlacementName: "web", State: c.state}
		run.Status.Conditions = c.conditions
		v := viewOfRun(run)
		if got := v.Lines[0].Plain(); v.Done != c.done || v.Failed != c.failed || got != "run r: "+c.head {
			t.Errorf("%s: done %t, failed %q, told %q", name, v.Done, v.Failed, got)
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
		t.Errorf("done %t, told %q", v.Done, got)
	}
	if got := v.Lines[3].Plain(); got != "cluster c: revision 2, RolloutStarted" {
		t.Errorf("told %q", got)
	}
	p.Status.PerClusterPlacementStatuses[1].Conditions[1] = is("RolloutStarted", metav1.ConditionFalse, v1beta1.ReasonRolloutNotStartedYet, "c is not ready")
	if got := viewOfClusters(p, bindings).Lines[2].Plain(); got != "cluster b: revision 1, held back: c is not ready" {
		t.Errorf("told %q", got)
	}
	last.Status = metav1.ConditionTrue
	p.Status.PerClusterPlacementStatuses[1].Conditions = upTo(available...)
	p.Status.PerClusterPlacementStatuses[2].Conditions = upTo(available...)
	if viewOfClusters(p, bindings).Done {
		t.Error("it is done although b is at another revision")
	}
	bindings[1] = at("b", 2)
	if !viewOfClusters(p, bindings).Done {
		t.Error("it is not done")
	}
	p.Generation++ // and nobody has looked at that
	if viewOfClusters(p, bindings).Done {
		t.Error("it is done before its agent has seen it")
	}
}

// revisionOf is a resource snapshot of the placement web.
func revisionOf(index int, objects ...string) *v1beta1.ClusterResourceSnapshot {
	out := &v1beta1.ClusterResourceSnapshot{ObjectMeta: metav1.ObjectMeta{
		Name: contract.MasterSnapshotName("web", index), CreationTimestamp: metav1.NewTime(now.Add(time.Duration(index) * time.Minute)),
		Labels:      map[string]string{contract.LabelPlacement: "web", contract.LabelResourceIndex: strconv.Itoa(index)},
		Annotations: map[string]string{contract.AnnotationResourceHash: "h", contract.AnnotationSnapshotCount: "1"},
	}}
	for _, o := range objects {
		name, value, _ := strings.Cut(o, "=")
		raw := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"shop","name":%q},"data":{"v":%q}}`, name, value)
		out.Spec.SelectedResources = append(out.Spec.SelectedResources,
			v1beta1.ResourceContent{RawExtension: runtime.RawExtension{Raw: []byte(raw)}})
	}
	return out
}

func TestHistory(t *testing.T) {
	b := &v1beta1.ClusterResourceBinding{Spec: v1beta1.ResourceBindingSpec{TargetCluster: "c1", ResourceSnapshotName: contract.MasterSnapshotName("web", 3)}}
	torn := revisionOf(6, "a=1")
	torn.Annotations[contract.AnnotationSnapshotCount] = "2"
	revisions := history([]v1beta1.ResourceSnapshotObject{
		revisionOf(3, "b=2", "c=1", "d=1"), revisionOf(2, "a=1", "b=1", "c=1"), revisionOf(5, "d=1", "c=1", "b=2"), torn,
	}, []v1beta1.BindingObject{b})
	var out strings.Builder
	if err := printHistory(&out, revisions, now.Add(10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	const want = `REVISION     AGE   CLUSTERS   CHANGES
2            8m    -          objects: 3
3            7m    c1         - ConfigMap shop/a
                              ~ ConfigMap shop/b
                              + ConfigMap shop/d
5            5m    -          against 3:
                              nothing but the order
6 (latest)   4m    -          cannot be told: resource snapshot web-6-snapshot: the group of 2 is not complete
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}

func TestChangesDoNotTellOfVersions(t *testing.T) {
	id := v1beta1.ResourceIdentifier{Group: "apps", Version: "v1", Kind: "Deployment", Name: "web"}
	later := id
	later.Version = "v2"
	got := changes([]snapshot.Item{{ID: id, Raw: []byte(`{"a":1}`)}}, []snapshot.Item{{ID: later, Raw: []byte(`{"a": 2}`)}})
	if !slices.Equal(got, []string{"~ Deployment.apps web"}) {
		t.Errorf("told %q", got)
	}
}

// steered is a hub with the placement web in one stage of its life.
func steered(t *testing.T, objects ...client.Object) (client.WithWatch, *target, *strings.Builder) {
	t.Helper()
	out := &strings.Builder{}
	placement := testworld.ClusterPlacement("web", "app", func(s *v1beta1.PlacementSpec) { s.Strategy.Type = v1beta1.RolloutStrategyTypeExternal })
	strategy := &v1beta1.ClusterStagedUpdateStrategy{ObjectMeta: metav1.ObjectMeta{Name: "careful"}}
	c := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(append(objects, placement, strategy)...).Build()
	return c, &target{key: types.NamespacedName{Name: "web"}, IOStreams: genericiooptions.IOStreams{Out: out}}, out
}

func TestPauseAndResume(t *testing.T) {
	old, run := atProd(), atProd()
	old.Name, old.CreationTimestamp, run.CreationTimestamp = "web-0", metav1.NewTime(now), metav1.NewTime(now.Add(time.Minute))
	c, o, out := steered(t, old, run)
	for _, step := range []struct {
		steering
		want string
	}{{pausing, "stopping\n"}, {pausing, "already stopping\n"}, {resuming, "running\n"}, {resuming, "already running\n"}} {
		out.Reset()
		if err := (&StateOptions{*o, step.steering}).run(t.Context(), c); err != nil || out.String() != "update run web-1 is "+step.want {
			t.Errorf("%s: said %q, error %v", step.use, out, err)
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(run), run); err != nil || run.Spec.State != step.state {
			t.Errorf("%s: state %s, error %v", step.use, run.Spec.State, err)
		}
	}
	run.Status.Conditions = append(run.Status.Conditions, is("Succeeded", metav1.ConditionTrue, v1beta1.ReasonUpdateRunSucceeded, ""))
	if err := c.Update(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if err := (&StateOptions{*o, pausing}).run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "web-1, is done") {
		t.Errorf("error %v", err)
	}
}

func TestResumeGoesOnFromARunThatHasEnded(t *testing.T) {
	ended := atProd()
	ended.Name = "web-1-resume-ab2cd"
	ended.Status.Conditions = append(ended.Status.Conditions, is("Succeeded", metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed, "new: c4"))
	c, o, out := steered(t, ended)
	if err := (&StateOptions{*o, resuming}).run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	runs, err := o.runs(t.Context(), c)
	if err != nil || len(runs) != 2 {
		t.Fatalf("runs %v, error %v", runs, err)
	}
	for _, run := range runs {
		if run.GetName() == ended.Name {
			continue
		}
		want := v1beta1.UpdateRunSpec{PlacementName: "web", StagedUpdateStrategyName: "careful", State: v1beta1.UpdateRunRun, ResumeFrom: ended.Name}
		if *run.GetSpec() != want {
			t.Errorf("%s is %+v, want %+v", run.GetName(), *run.GetSpec(), want)
		}
		if name := run.GetName(); !strings.HasPrefix(name, "web-1-resume-") || len(name) != len(ended.Name) {
			t.Errorf("it is called %s", name)
		}
		wantSaid := "update run " + ended.Name + " had ended: new: c4\nupdate run " + run.GetName() + " goes on from there with revision 4; " +
			"see \"kubectl fleet rollout status web --watch\"\n"
		if out.String() != wantSaid {
			t.Errorf("said %q, want %q", out, wantSaid)
		}
	}
}

func TestResumeRefuses(t *testing.T) {
	for want, c := range map[string]metav1.Condition{
		"web-1, has succeeded: there is nothing to resume": is("Succeeded", metav1.ConditionTrue, v1beta1.ReasonUpdateRunSucceeded, ""),
		"create another when this is mended: no stage for c1": is("Initialized", metav1.ConditionFalse, v1beta1.ReasonUpdateRunInitializedFailed,
			"no stage for c1"),
	} {
		run := atProd()
		run.Status = v1beta1.UpdateRunStatus{Conditions: []metav1.Condition{c}}
		hub, o, _ := steered(t, run)
		if err := (&StateOptions{*o, resuming}).run(t.Context(), hub); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if runs, err := o.runs(t.Context(), hub); err != nil || len(runs) != 1 {
			t.Errorf("runs %v, error %v", runs, err)
		}
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

func TestStatusOfARetreat(t *testing.T) {
	v := viewOfRun(retreating())
	var got []string
	for _, l := range v.Lines {
		got = append(got, l.Plain())
	}
	want := []string{
		"run web-1: 1/4 revision 4, rolling back: waits for c1",
		"stage canary: 0/1 succeeded", "cluster canary/c2: to be rolled back to revision 3",
		"stage prod: 1/3 waiting: not approved; go on with: kubectl fleet approve careq --name web-1-before-prod",
		"cluster prod/c1: rolling back to revision 3, health window ends " + now.Add(time.Minute).UTC().Format(time.RFC3339),
		"cluster prod/c3: back at revision 3", "cluster prod/c4: left: never healthy", "cluster prod/c5: pending",
	}
	if !slices.Equal(got, want) || v.Done || v.Failed != "" {
		t.Errorf("done %t, failed %q, told\n%s\nwant\n%s", v.Done, v.Failed, strings.Join(got, "\n"), strings.Join(want, "\n"))
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
			t.Errorf("told %q, want %q", got, want)
		}
	}
	prod.BeforeStageTaskStatus = nil
	prod.AfterStageTaskStatus = []v1beta1.StageTaskStatus{{Type: v1beta1.StageTaskTimedWait}}
	prod.Conditions[0].LastTransitionTime = metav1.NewTime(now)
	if got := viewOfRun(run).Lines[3].Rows(now.Add(time.Minute), 0); !strings.HasSuffix(got[0], "not approved, 59m of wait time left") {
		t.Errorf("drawn %q", got)
	}
}

func TestARunThatHasNotBegunIsNotPaused(t *testing.T) {
	run := atProd()
	run.Spec.State, run.Status = v1beta1.UpdateRunInitialize, v1beta1.UpdateRunStatus{}
	c, o, _ := steered(t, run)
	if err := (&StateOptions{*o, pausing}).run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "has not begun") {
		t.Errorf("error %v", err)
	}
}

func TestUndo(t *testing.T) {
	c, o, _ := steered(t, atProd(), revisionOf(3), revisionOf(4))
	u := &UndoOptions{target: *o, to: 3}
	if err := u.run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	runs, err := o.runs(t.Context(), c)
	if err != nil || len(runs) != 2 {
		t.Fatalf("runs %v, error %v", runs, err)
	}
	for _, run := range runs {
		want := v1beta1.UpdateRunSpec{PlacementName: "web", StagedUpdateStrategyName: "careful", State: v1beta1.UpdateRunStop}
		if run.GetName() != "web-1" {
			want.ResourceSnapshotIndex, want.State = "3", v1beta1.UpdateRunRun
		}
		if *run.GetSpec() != want {
			t.Errorf("%s is %+v, want %+v", run.GetName(), *run.GetSpec(), want)
		}
	}
	u.key.Name = strings.Repeat("long-", 20)
	if name := u.back().GetName(); len(name) > 63 || !strings.HasPrefix(name, "long-") {
		t.Errorf("name %s", name)
	}
}

// What goes back loses the objects that are new since, which may hold data.
func TestUndoTellsWhatIsLost(t *testing.T) {
	c, o, out := steered(t, atProd(), revisionOf(2, "z=1"), revisionOf(3, "a=1", "b=1"), revisionOf(4, "a=2", "c=1"), revisionOf(5, "a=2", "c=2", "b=1", "d=1"))
	for to, want := range map[int]string{
		3: "these objects are not in revision 3 and will be deleted from the clusters:\n  ConfigMap shop/c\n  ConfigMap shop/d\n",
		5: "by strategy careful\n",
	} {
		out.Reset()
		if err := (&UndoOptions{target: *o, to: to}).run(t.Context(), c); err != nil || !strings.HasSuffix(out.String(), want) {
			t.Errorf("to %d: said %q, error %v; want %q at the end", to, out, err, want)
		}
	}
}

// What goes wrong is told in words of the user, not of the code.
func TestErrorsAreForPeople(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("no")
		},
	}).Build()
	o := &target{key: types.NamespacedName{Name: "web"}}
	if _, err := o.placement(t.Context(), c); err == nil || err.Error() != "get ClusterResourcePlacement web: no" {
		t.Errorf("error %v", err)
	}
	o.key.Namespace = "shop"
	if _, err := o.placement(t.Context(), c); err == nil || err.Error() != "get ResourcePlacement shop/web: no" {
		t.Errorf("error %v", err)
	}
	for _, args := range [][]string{nil, {"web", "shop"}} {
		err := newStatusCommand(genericiooptions.NewTestIOStreamsDiscard()).Args(nil, args)
		if err == nil || !strings.Contains(err.Error(), `name one placement`) || !strings.Contains(err.Error(), "kubectl get crp") {
			t.Errorf("error %v", err)
		}
	}
}

func TestUndoRefuses(t *testing.T) {
	rolling := testworld.ClusterPlacement("rolling", "app")
	for want, u := range map[string]*UndoOptions{
		"--to is required": {to: -1}, "has no such revision; it has: 3": {to: 2, strategy: "careful"}, "--strategy is required": {to: 3},
		"no such update strategy": {to: 3, strategy: "none"}, "rolling has no such revision": {to: 3, target: target{key: types.NamespacedName{Name: "rolling"}}},
		"there is no ResourcePlacement": {to: 3, target: target{key: types.NamespacedName{Namespace: "shop", Name: "web"}}},
	} {
		c, o, _ := steered(t, revisionOf(3), rolling)
		if u.key.Name == "" {
			u.key = o.key
		}
		err := u.Validate()
		if err == nil {
			err = u.run(t.Context(), c)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if runs, err := o.runs(t.Context(), c); err != nil || len(runs) > 0 {
			t.Errorf("%s: runs %v, error %v", want, runs, err)
		}
	}
}

func TestUndoOfARollingUpdateSaysHow(t *testing.T) {
	rolling := testworld.ClusterPlacement("web", "app")
	c := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(rolling, revisionOf(2, "a=1", "b=1", "c=1"), revisionOf(3, "b=2", "c=1", "d=1")).Build()
	u := &UndoOptions{target: target{key: types.NamespacedName{Name: "web"}}, to: 2}
	const want = `ClusterResourcePlacement web has a rolling update: it follows its resources at once, and there is no update run to steer. ` +
		`So take its objects on the hub back, and it does the rest:
  kubectl get clusterresourcesnapshots -l kubernetes-fleet.io/parent-CRP=web,kubernetes-fleet.io/resource-index=2 ` +
		`-o jsonpath='{range .items[*].spec.selectedResources[*]}{@}{"\n"}{end}' | kubectl replace -f -
What makes them, such as a GitOps repository, has to be taken back too. From revision 3 to 2:
  + ConfigMap shop/a  (gone since: kubectl create -f - in place of replace)
  ~ ConfigMap shop/b
  - ConfigMap shop/d  (new since: stays until you delete it)`
	if err := u.run(t.Context(), c); err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
	u.to = 3
	if err := u.run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "it is the latest") {
		t.Errorf("error %v", err)
	}
}

// judged is a placement with a rolling update that has spent its failure budget on revision 3, and the master of that.
func judged(t *testing.T) (*v1beta1.ClusterResourcePlacement, *v1beta1.ClusterResourceSnapshot) {
	t.Helper()
	p := testworld.ClusterPlacement("web", "app", func(s *v1beta1.PlacementSpec) {
		s.Strategy.RollingUpdate.FailurePolicy = &v1beta1.FailurePolicy{OnFailure: v1beta1.FailureActionRollback}
	})
	latest := revisionOf(3, "b=2")
	latest.Labels[contract.LabelLatest] = "true"
	course, err := json.Marshal(decision.Course{Spent: &decision.Verdict{Of: 2, Count: 1, Failed: []decision.Failure{{Cluster: "b"}}}})
	if err != nil {
		t.Fatal(err)
	}
	latest.Annotations[contract.AnnotationRolloutCourse] = string(course)
	return p, latest
}

func TestResumeOfARollingUpdate(t *testing.T) {
	p, latest := judged(t)
	c := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(p, revisionOf(2, "b=1"), latest).Build()
	out := &strings.Builder{}
	o := &target{key: types.NamespacedName{Name: "web"}, IOStreams: genericiooptions.IOStreams{Out: out}}
	const want = "revision 3 of ClusterResourcePlacement web is tried again; see \"kubectl fleet rollout status web --watch\"\n"
	if err := (&StateOptions{*o, resuming}).run(t.Context(), c); err != nil || out.String() != want {
		t.Errorf("said %q, error %v", out, err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(latest), latest); err != nil || !decision.CourseOf(latest).Spent.Dismissed {
		t.Errorf("error %v, annotations %v", err, latest.Annotations)
	}
	latest.Annotations[contract.AnnotationRolloutCourse] = `{"done":"2026-01-01T00:00:00Z"}`
	if err := c.Update(t.Context(), latest); err != nil {
		t.Fatal(err)
	}
	if err := (&StateOptions{*o, resuming}).run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "nothing to try again") {
		t.Errorf("error %v", err)
	}
	if err := (&StateOptions{*o, pausing}).run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "rolling update") {
		t.Errorf("error %v", err)
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
		"cluster a: revision 2, rolled back: healthy", "cluster b: revision 3, rolling back: its turn comes", "cluster c: revision 2, held back: spent",
	}
	if v, got := tell(); !slices.Equal(got, want) || v.Done {
		t.Errorf("done %t, told\n%s", v.Done, strings.Join(got, "\n"))
	}
	p.Status.Conditions[2].Status = metav1.ConditionTrue
	if v, got := tell(); !v.Done || v.Failed != "rolled back: Back: 1 of 2. Revision 3 has spent it" {
		t.Errorf("done %t, failed %q, told\n%s", v.Done, v.Failed, strings.Join(got, "\n"))
	}
	p.Status.Conditions = p.Status.Conditions[:2]
	if v, _ := tell(); !v.Done || v.Failed != "Revision 3 has spent it" {
		t.Errorf("without Rollback: done %t, failed %q", v.Done, v.Failed)
	}
}
