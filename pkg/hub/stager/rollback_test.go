package stager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// window is the health window of these runs. It passes when the test says so.
const window = time.Hour

// police gives the strategy a failure policy without a budget.
func (s *scene) police(action v1beta1.FailureAction) {
	s.Helper()
	strategy, err := scope.UpdateStrategies.Get(s.Context(), s.Client, s.key)
	must(s.T, err)
	strategy.GetSpec().FailurePolicy = &v1beta1.FailurePolicy{HealthWindow: &metav1.Duration{Duration: window}, OnFailure: action}
	must(s.T, s.Client.Update(s.Context(), strategy))
}

// expire lets the window of a member that is not well pass, and its report stir the agent.
func (s *scene) expire(member string) {
	s.Helper()
	s.ahead.Add(int64(window))
	s.ill(member, "after a while")
}

// ill does what the dispatcher does when a member is not well.
func (s *scene) ill(member, why string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "a report of "+member, func(ctx context.Context) error {
		b, err := scope.Bindings.Get(ctx, s.Client, s.binding(member))
		if err != nil {
			return err
		}
		meta.SetStatusCondition(b.GetConditions(), metav1.Condition{
			Type: v1beta1.ConditionAvailable, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonNotAllWorkAreAvailable, Message: why,
			ObservedGeneration: b.GetGeneration(),
		})
		return s.Client.Status().Update(ctx, b)
	})
}

// healthyWith gives a snapshot to every member, which is well with it.
func (s *scene) healthyWith(snapshot string) {
	s.Helper()
	for _, m := range members {
		b, err := scope.Bindings.Get(s.Context(), s.Client, s.binding(m))
		must(s.T, err)
		b.GetSpec().State, b.GetSpec().ResourceSnapshotName = v1beta1.BindingStateBound, snapshot
		must(s.T, s.Client.Update(s.Context(), b))
		*b.GetConditions() = []metav1.Condition{}
		for _, kind := range []string{v1beta1.ConditionRolloutStarted, v1beta1.ConditionAvailable} {
			meta.SetStatusCondition(b.GetConditions(), metav1.Condition{
				Type: kind, Status: metav1.ConditionTrue, Reason: "Test", ObservedGeneration: b.GetGeneration(),
			})
		}
		b.GetStatus().LastHealthy = &v1beta1.Revision{ResourceSnapshotName: snapshot, ApplyStrategy: b.GetSpec().ApplyStrategy}
		must(s.T, s.Client.Status().Update(s.Context(), b))
	}
}

func (s *scene) binding(member string) types.NamespacedName {
	return types.NamespacedName{Namespace: s.key.Namespace, Name: s.key.Name + "-" + member}
}

// on waits until members have these snapshots.
func (s *scene) on(want ...string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, fmt.Sprintf("members on %q", want), func(ctx context.Context) error {
		var got []string
		for _, m := range members {
			b, err := scope.Bindings.Get(ctx, s.Client, s.binding(m))
			if err != nil {
				return err
			}
			got = append(got, b.GetSpec().ResourceSnapshotName)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("they are on %q", got)
		}
		return nil
	})
}

// healthy does what the dispatcher does once a member is well, whatever it has: it also says with what.
func (s *scene) healthy(member string) {
	s.Helper()
	s.available(member)
	testworld.Await(s, testworld.Soon, "a report of "+member, func(ctx context.Context) error {
		b, err := scope.Bindings.Get(ctx, s.Client, s.binding(member))
		if err != nil {
			return err
		}
		b.GetStatus().LastHealthy = &v1beta1.Revision{ResourceSnapshotName: b.GetSpec().ResourceSnapshotName, ApplyStrategy: b.GetSpec().ApplyStrategy}
		return s.Client.Status().Update(ctx, b)
	})
}

// takesBack has m1 healthy with the release and m2 never, and loses the agent just after it has changed m2: the run's
// status has no word of that, as the test takes it away again.
func takesBack(s *scene) {
	release, before := contract.MasterSnapshotName(s.key.Name, 0), contract.MasterSnapshotName(s.key.Name, 7)
	s.lay(all(1))
	s.snapshot(7, false)
	s.police(v1beta1.FailureActionRollback)
	s.schedule()
	s.healthyWith(before)
	first := s.start()
	s.run()
	s.on(release, before, before, before)
	s.healthy("m1")
	s.on(release, release, before, before)
	s.is(stage.Active, 1)
	testworld.Await(s, testworld.Soon, "m2 to be told", func(context.Context) error {
		if started := s.started(); !slices.Contains(started, "m2") {
			return fmt.Errorf("started are %q", started)
		}
		return nil
	})
	first.Stop()
	testworld.Await(s, testworld.Soon, "the word of m2 to be lost", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err != nil {
			return err
		}
		c := &run.GetStatus().StagesStatus[0].Clusters[1]
		c.Conditions, c.LastHealthy = nil, nil
		return s.Client.Status().Update(ctx, run)
	})
	// Meanwhile it was well for a moment, so its binding has forgotten what it had before.
	s.healthy("m2")
	s.ill("m2", "again")
	s.start()
	testworld.Await(s, testworld.Soon, "m2 to be taken up", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err != nil {
			return err
		}
		if c := run.GetStatus().StagesStatus[0].Clusters[1]; c.LastHealthy == nil || c.LastHealthy.ResourceSnapshotName != before {
			return fmt.Errorf("its status is %+v", c)
		}
		return nil
	})
	s.expire("m2")
	s.on(release, before, before, before)
	run := s.says(s.key, v1beta1.ConditionRolledBack, metav1.ConditionUnknown, "")
	if c := meta.FindStatusCondition(*run.GetConditions(), v1beta1.ConditionProgressing); c.Reason != v1beta1.ReasonUpdateRunRollingBack {
		s.Errorf("Progressing is %+v", c)
	}
	s.healthy("m2")
	s.on(before, before, before, before)
	s.healthy("m1")
	run = s.says(s.key, v1beta1.ConditionRolledBack, metav1.ConditionTrue, "last healthy revision: 2")
	s.says(s.key, v1beta1.ConditionSucceeded, metav1.ConditionFalse, "Stage all has spent its failure budget")
	for i, c := range run.GetStatus().StagesStatus[0].Clusters {
		if changed := i < 2; changed != (meta.FindStatusCondition(c.Conditions, v1beta1.ConditionRolledBack) != nil) || changed != (c.LastHealthy != nil) {
			s.Errorf("%s has %+v", c.ClusterName, c)
		}
	}
	for _, reason := range []string{
		v1beta1.ReasonFailureBudgetSpent, v1beta1.ReasonUpdateRunRollingBack, v1beta1.ReasonRollbackSucceeded, v1beta1.ReasonUpdateRunFailed,
	} {
		s.events.Await(s, reason)
	}
	quiet(s, s.start())
}

// firstFails has m1 given the release, and not healthy with it within the window; all were healthy with a snapshot
// that there is not any more.
func (s *scene) firstFails(action v1beta1.FailureAction) (release, before string) {
	s.Helper()
	release, before = contract.MasterSnapshotName(s.key.Name, 0), contract.MasterSnapshotName(s.key.Name, 7)
	s.lay(all(1))
	s.police(action)
	s.schedule()
	s.healthyWith(before)
	s.start()
	s.run()
	s.on(release, before, before, before)
	s.is(stage.Active, 0)
	s.expire("m1")
	return release, before
}

// cannotTakeBack has a run whose clusters were healthy with a snapshot that there is not any more.
func cannotTakeBack(s *scene) {
	release, before := s.firstFails(v1beta1.FailureActionRollback)
	s.says(s.key, v1beta1.ConditionRolledBack, metav1.ConditionFalse, "m1")
	run, err := scope.UpdateRuns.Get(s.Context(), s.Client, s.key)
	must(s.T, err)
	back := meta.FindStatusCondition(run.GetStatus().StagesStatus[0].Clusters[0].Conditions, v1beta1.ConditionRolledBack)
	if back == nil || !strings.Contains(back.Message, before+" does not exist any more") {
		s.Errorf("m1 says %+v", back)
	}
	s.on(release, before, before, before)
}

// stops has a policy that asks for no rollback: nothing is marked, and nothing is changed at the end.
func stops(s *scene) {
	release, before := s.firstFails(v1beta1.FailureActionStop)
	s.says(s.key, v1beta1.ConditionSucceeded, metav1.ConditionFalse, "spec.resumeFrom: "+s.key.Name)
	s.says(s.key, v1beta1.ConditionWithinFailureBudget, metav1.ConditionFalse, "m1")
	s.on(release, before, before, before)
	b, err := scope.Bindings.Get(s.Context(), s.Client, s.binding("m1"))
	must(s.T, err)
	if text, marked := b.GetAnnotations()[contract.AnnotationUpdateRun]; marked {
		s.Errorf("the binding has the mark %s", text)
	}
	s.events.Await(s, v1beta1.ReasonFailureBudgetSpent)
}
