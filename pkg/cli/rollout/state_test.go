package rollout

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	decision "github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

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
			t.Errorf("%s: printed %q, error %v", step.use, out, err)
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(run), run); err != nil || run.Spec.State != step.state {
			t.Errorf("%s: state %s, error %v", step.use, run.Spec.State, err)
		}
	}
	run.Status.Conditions = append(run.Status.Conditions, is("Succeeded", metav1.ConditionTrue, v1beta1.ReasonUpdateRunSucceeded, ""))
	if err := c.Update(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if err := (&StateOptions{*o, pausing}).run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "web-1, has ended") {
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
		wantOut := "update run " + ended.Name + " has ended: new: c4\nupdate run " + run.GetName() + " continues it with revision 4; " +
			"see \"kubectl fleet rollout status web --watch\"\n"
		if out.String() != wantOut {
			t.Errorf("printed %q, want %q", out, wantOut)
		}
	}
}

func TestResumeRefuses(t *testing.T) {
	for want, c := range map[string]metav1.Condition{
		"web-1, has succeeded: there is nothing to resume": is("Succeeded", metav1.ConditionTrue, v1beta1.ReasonUpdateRunSucceeded, ""),
		"fix the cause and create another run: no stage for c1": is("Initialized", metav1.ConditionFalse, v1beta1.ReasonUpdateRunInitializedFailed,
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

func TestPauseOfARunThatHasNotStarted(t *testing.T) {
	run := atProd()
	run.Spec.State, run.Status = v1beta1.UpdateRunInitialize, v1beta1.UpdateRunStatus{}
	c, o, _ := steered(t, run)
	if err := (&StateOptions{*o, pausing}).run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "has not started") {
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
	course, err := json.Marshal(decision.Course{Spent: &decision.Rejection{Of: 2, Count: 1, Failed: []decision.Failure{{Cluster: "b"}}}})
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
	const want = "retrying revision 3 of ClusterResourcePlacement web; see \"kubectl fleet rollout status web --watch\"\n"
	if err := (&StateOptions{*o, resuming}).run(t.Context(), c); err != nil || out.String() != want {
		t.Errorf("printed %q, error %v", out, err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(latest), latest); err != nil || !decision.CourseOf(latest).Spent.Dismissed {
		t.Errorf("error %v, annotations %v", err, latest.Annotations)
	}
	latest.Annotations[contract.AnnotationRolloutCourse] = `{"done":"2026-01-01T00:00:00Z"}`
	if err := c.Update(t.Context(), latest); err != nil {
		t.Fatal(err)
	}
	if err := (&StateOptions{*o, resuming}).run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "nothing to retry") {
		t.Errorf("error %v", err)
	}
	if err := (&StateOptions{*o, pausing}).run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "rolling update") {
		t.Errorf("error %v", err)
	}
}
