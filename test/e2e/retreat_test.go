package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// Images of the workload. The last cannot be pulled, on an embedded cluster as elsewhere.
const (
	firstImage  = "registry.k8s.io/pause:3.9"
	secondImage = "registry.k8s.io/pause:3.10"
	brokenImage = "registry.k8s.io/broken-pause:3.10"
)

// healthWindow is how long the clusters of these scenarios have to get well: those that do need a second or two on an
// idle machine, and a loaded one must not make them fail.
const healthWindow = time.Minute

// workload is a release of the Deployment web that has arrived everywhere with the first image; what the placement
// does next is up to runs with the strategy named after it, which has a failure policy.
func workload(s *scene, policy v1beta1.FailurePolicy, stages ...v1beta1.StageConfig) *release {
	s.Helper()
	web := s.deployment()
	web.Spec.Template.Spec.Containers[0].Image = firstImage
	s.create(web)
	options := []testworld.Option{external}
	if s.namespaced {
		options = append(options, testworld.Selecting(testworld.Named("apps", "v1", "Deployment", web.Name)))
	}
	policy.HealthWindow = &metav1.Duration{Duration: healthWindow}
	s.strategy(s.name, v1beta1.UpdateStrategySpec{Stages: stages, FailurePolicy: &policy})
	r := &release{scene: s, placement: s.place(options...)}
	s.strategy(s.name+"-atonce", v1beta1.UpdateStrategySpec{Stages: []v1beta1.StageConfig{
		{Name: "all", LabelSelector: &metav1.LabelSelector{}, MaxConcurrency: ptr.To(intstr.FromString("100%"))},
	}})
	first := r.runBy(s.name+"-atonce", "1")
	r.runIs(first, "to succeed", func(status *v1beta1.UpdateRunStatus) error {
		return ended(status.Conditions, first.GetGeneration(), v1beta1.ReasonUpdateRunSucceeded)
	})
	r.images(firstImage, firstImage, firstImage)
	return r
}

func (s *scene) strategy(name string, spec v1beta1.UpdateStrategySpec) {
	s.Helper()
	key := s.key(name)
	strategy := scope.UpdateStrategies.New(key)
	strategy.SetNamespace(key.Namespace)
	strategy.SetName(key.Name)
	*strategy.GetSpec() = spec
	s.create(strategy)
}

// runBy starts a run of the latest resources by a strategy.
func (r *release) runBy(strategy, name string) v1beta1.UpdateRunObject {
	r.Helper()
	key := r.key(r.name + "-" + name)
	run := scope.UpdateRuns.New(key)
	run.SetNamespace(key.Namespace)
	run.SetName(key.Name)
	*run.GetSpec() = v1beta1.UpdateRunSpec{PlacementName: r.name, StagedUpdateStrategyName: strategy, State: v1beta1.UpdateRunRun}
	r.create(run)
	return run
}

// ships changes the image on the hub.
func (r *release) ships(image string) {
	r.Helper()
	testworld.Update(r, theHub, r.deployment(), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

// spoils makes the image one that cannot be pulled on the clusters with these labels.
func (r *release) spoils(labels map[string]string) {
	r.Helper()
	o := testworld.Override(r.app, r.name+"-ro", testworld.Patching([]v1beta1.ClusterSelectorTerm{testworld.Labelled(labels)},
		testworld.Patch(v1beta1.JSONPatchReplace, "/spec/template/spec/containers/0/image", brokenImage)))
	o.Spec.ResourceSelectors = []v1beta1.ResourceSelector{{Group: "apps", Version: "v1", Kind: "Deployment", Name: "web"}}
	r.create(o)
	r.overridesStored(r.app + "/" + o.Name + "-0")
}

// images waits until web has these images on c1, c2 and c3.
func (r *release) images(want ...string) {
	r.Helper()
	testworld.Await(r.T, testworld.Workload, fmt.Sprintf("images %q", want), func(ctx context.Context) error {
		for i, m := range members() {
			web := r.deployment()
			if err := m.Get(ctx, client.ObjectKeyFromObject(web), web); err != nil {
				return err
			}
			if got := web.Spec.Template.Spec.Containers[0].Image; got != want[i] {
				return fmt.Errorf("%s runs %s, want %s", m.name, got, want[i])
			}
		}
		return nil
	})
}

// says compares one condition.
func says(conditions []metav1.Condition, kind string, status metav1.ConditionStatus, reason string, texts ...string) error {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil || c.Status != status || c.Reason != reason {
		return fmt.Errorf("%s is %+v, want %s (%s)", kind, c, status, reason)
	}
	for _, text := range texts {
		if !strings.Contains(c.Message, text) {
			return fmt.Errorf("%s says %q, want %q in it", kind, c.Message, text)
		}
	}
	return nil
}

func first(errs ...error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

// events waits until these have been recorded about a run or a placement.
func (r *release) events(about client.Object, reasons ...string) {
	r.Helper()
	testworld.Await(r.T, testworld.Soon, "events of "+about.GetName(), func(ctx context.Context) error {
		var list corev1.EventList
		if err := theHub.List(ctx, &list, client.MatchingFields{"involvedObject.name": about.GetName()}); err != nil {
			return err
		}
		var got []string
		for _, e := range list.Items {
			got = append(got, e.Reason)
		}
		for _, want := range reasons {
			if !slices.Contains(got, want) {
				return fmt.Errorf("there is no event %s among %q", want, got)
			}
		}
		return nil
	})
}

var (
	canaryStage = v1beta1.StageConfig{Name: "canary", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "canary"}}}
	prodStage   = v1beta1.StageConfig{Name: "prod", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "prod"}}}
)

func TestARetreatStopsAtTheFirstFailure(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		r := workload(s, v1beta1.FailurePolicy{}, canaryStage, prodStage)
		r.ships(brokenImage)
		run := r.runBy(r.name, "2")
		r.runIsWithin(healthWindow+testworld.Workload, run, "to end", func(status *v1beta1.UpdateRunStatus) error {
			return first(
				says(status.Conditions, v1beta1.ConditionSucceeded, metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed, "spec.resumeFrom: "+run.GetName()),
				says(status.Conditions, v1beta1.ConditionProgressing, metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed),
				says(status.Conditions, v1beta1.ConditionWithinFailureBudget, metav1.ConditionFalse, v1beta1.ReasonFailureBudgetSpent, "canary", "c2"),
				says(status.StagesStatus[0].Conditions, v1beta1.ConditionSucceeded, metav1.ConditionFalse, v1beta1.ReasonStageUpdatingFailed),
				says(status.StagesStatus[0].Clusters[0].Conditions, v1beta1.ConditionSucceeded, metav1.ConditionFalse,
					v1beta1.ReasonClusterUpdatingFailed, healthWindow.String(), "Available"),
			)
		})
		r.events(run, v1beta1.ReasonFailureBudgetSpent, v1beta1.ReasonUpdateRunFailed)
		r.images(firstImage, brokenImage, firstImage)
		if c := meta.FindStatusCondition(run.GetStatus().Conditions, v1beta1.ConditionRolledBack); c != nil {
			s.Errorf("RolledBack is %+v; the policy asks for no rollback", c)
		}
	})
}

func TestARetreatIsNotBegunWithinTheBudget(t *testing.T) {
	s := begin(t)
	all := v1beta1.StageConfig{Name: "all", LabelSelector: &metav1.LabelSelector{}, FailureBudget: ptr.To(intstr.FromString("34%"))}
	r := workload(s, v1beta1.FailurePolicy{OnFailure: v1beta1.FailureActionRollback}, all)
	r.spoils(map[string]string{"region": "east", "env": "prod"}) // c1
	r.ships(secondImage)
	run := r.runBy(r.name, "2")
	r.runIsWithin(healthWindow+testworld.Workload, run, "to succeed", func(status *v1beta1.UpdateRunStatus) error {
		return first(
			ended(status.Conditions, run.GetGeneration(), v1beta1.ReasonUpdateRunSucceeded),
			says(status.Conditions, v1beta1.ConditionWithinFailureBudget, metav1.ConditionTrue, v1beta1.ReasonFailureBudgetLeft, "c1"),
			says(status.StagesStatus[0].Conditions, v1beta1.ConditionSucceeded, metav1.ConditionTrue, v1beta1.ReasonStageUpdatingSucceeded, "c1"),
			says(status.StagesStatus[0].Clusters[0].Conditions, v1beta1.ConditionSucceeded, metav1.ConditionFalse, v1beta1.ReasonClusterUpdatingFailed),
			says(status.StagesStatus[0].Clusters[2].Conditions, v1beta1.ConditionSucceeded, metav1.ConditionTrue, v1beta1.ReasonClusterUpdatingSucceeded),
		)
	})
	r.images(brokenImage, secondImage, secondImage)
}

func TestARetreatTakesBackAllStages(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		r := workload(s, v1beta1.FailurePolicy{OnFailure: v1beta1.FailureActionRollback}, canaryStage, prodStage)
		r.spoils(map[string]string{"region": "west"}) // c3, the last one
		r.ships(secondImage)
		run := r.runBy(r.name, "2")
		r.images(secondImage, secondImage, brokenImage)
		r.runIsWithin(healthWindow+testworld.Workload, run, "to have taken everything back", func(status *v1beta1.UpdateRunStatus) error {
			errs := []error{
				says(status.Conditions, v1beta1.ConditionSucceeded, metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed, "last healthy revision: 3"),
				says(status.Conditions, v1beta1.ConditionProgressing, metav1.ConditionFalse, v1beta1.ReasonUpdateRunFailed),
				says(status.Conditions, v1beta1.ConditionWithinFailureBudget, metav1.ConditionFalse, v1beta1.ReasonFailureBudgetSpent, "prod", "c3"),
				says(status.Conditions, v1beta1.ConditionRolledBack, metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded),
				says(status.StagesStatus[0].Conditions, v1beta1.ConditionSucceeded, metav1.ConditionTrue, v1beta1.ReasonStageUpdatingSucceeded),
			}
			for _, stage := range status.StagesStatus {
				for _, c := range stage.Clusters {
					errs = append(errs, says(c.Conditions, v1beta1.ConditionRolledBack, metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded, r.name+"-0-snapshot"))
				}
			}
			return first(errs...)
		})
		r.events(run, v1beta1.ReasonFailureBudgetSpent, v1beta1.ReasonUpdateRunRollingBack, v1beta1.ReasonRollbackSucceeded, v1beta1.ReasonUpdateRunFailed)
		r.images(firstImage, firstImage, firstImage)
		status := run.GetStatus().StagesStatus
		var times []time.Time
		for _, c := range []v1beta1.ClusterUpdatingStatus{status[1].Clusters[1], status[1].Clusters[0], status[0].Clusters[0]} {
			times = append(times, meta.FindStatusCondition(c.Conditions, v1beta1.ConditionRolledBack).LastTransitionTime.Time)
		}
		if !slices.IsSortedFunc(times, time.Time.Compare) {
			s.Errorf("c3, c1 and c2 were back at %v; want that order", times)
		}
		r.complete("0", "c1", "c2", "c3")
	})
}

func TestARelapseInAWaitSpendsTheBudget(t *testing.T) {
	s := begin(t)
	waiting := canaryStage
	waiting.AfterStageTasks = []v1beta1.StageTask{{Type: v1beta1.StageTaskTimedWait, WaitTime: &metav1.Duration{Duration: time.Hour}}}
	r := workload(s, v1beta1.FailurePolicy{OnFailure: v1beta1.FailureActionRollback}, waiting, prodStage)
	where := "flagship.test/" + s.name
	r.marks(c2, where, true)
	testworld.Update(s, theHub, r.deployment(), func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.NodeSelector = map[string]string{where: "yes"}
		// One at a time: the old pod goes first, so nothing is left to stand in for the new one.
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	})
	run := r.runBy(r.name, "2")
	r.runIs(run, "to wait", func(status *v1beta1.UpdateRunStatus) error {
		return says(status.Conditions, v1beta1.ConditionProgressing, metav1.ConditionFalse, v1beta1.ReasonUpdateRunWaiting)
	})
	r.marks(c2, where, false)
	if err := c2.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(r.app), client.MatchingLabels{"app": "web"}); err != nil {
		t.Fatal(err)
	}
	r.runIs(run, "to notice the relapse", func(status *v1beta1.UpdateRunStatus) error {
		return says(status.Conditions, v1beta1.ConditionProgressing, metav1.ConditionFalse, v1beta1.ReasonUpdateRunWaiting, "c2 to be healthy again")
	})
	r.runIsWithin(healthWindow+testworld.Workload, run, "to be taken back", func(status *v1beta1.UpdateRunStatus) error {
		return first(
			says(status.Conditions, v1beta1.ConditionWithinFailureBudget, metav1.ConditionFalse, v1beta1.ReasonFailureBudgetSpent, "canary", "c2"),
			says(status.Conditions, v1beta1.ConditionRolledBack, metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded),
			says(status.StagesStatus[0].Clusters[0].Conditions, v1beta1.ConditionRolledBack, metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded),
		)
	})
	for _, c := range run.GetStatus().StagesStatus[1].Clusters {
		if len(c.Conditions) > 0 {
			t.Errorf("%s of prod has conditions %+v; nothing was begun there", c.ClusterName, c.Conditions)
		}
	}
}

// marks labels the nodes of a member, or takes the label off.
func (r *release) marks(m cluster, label string, on bool) {
	r.Helper()
	var nodes corev1.NodeList
	if err := m.List(r.Context(), &nodes); err != nil {
		r.Fatal(err)
	}
	value := "null"
	if on {
		value = `"yes"`
		r.Cleanup(func() { r.label(m, nodes.Items, label, "null") })
	}
	r.label(m, nodes.Items, label, value)
}

func (r *release) label(m cluster, nodes []corev1.Node, label, value string) {
	r.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, label, value)))
	for i := range nodes {
		if err := m.Patch(context.WithoutCancel(r.Context()), &nodes[i], patch); client.IgnoreNotFound(err) != nil {
			r.Error(err)
		}
	}
}
