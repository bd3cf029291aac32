package roller

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// judged gives a placement a failure policy that allows none. Whether a window passes is not left to chance: it is an
// hour until the test says that it is over.
func judged(action v1beta1.FailureAction, window time.Duration) func(*v1beta1.PlacementSpec) {
	return func(spec *v1beta1.PlacementSpec) {
		spec.Strategy.RollingUpdate.FailurePolicy = &v1beta1.FailurePolicy{HealthWindow: &metav1.Duration{Duration: window}, OnFailure: action}
	}
}

const stop, back = v1beta1.FailureActionStop, v1beta1.FailureActionRollback

// master is the first snapshot of a group.
func (s *scene) master(index int) v1beta1.ResourceSnapshotObject {
	s.Helper()
	master, err := scope.ResourceSnapshots.Get(s.Context(), s.Client,
		types.NamespacedName{Namespace: s.key.Namespace, Name: contract.MasterSnapshotName(s.key.Name, index)})
	s.Must(err)
	return master
}

// remembers waits for what is remembered of the rollout of a group.
func (s *scene) remembers(index int, what string, is func(rollout.Course) bool) {
	s.Helper()
	testworld.Await(s, testworld.Soon, what, func(context.Context) error {
		if course := rollout.CourseOf(s.master(index)); !is(course) {
			return fmt.Errorf("remembered is %+v", course)
		}
		return nil
	})
}

func isSpent(c rollout.Course) bool { return c.Spent != nil }
func isDone(c rollout.Course) bool  { return !c.Done.IsZero() && c.Spent == nil }

// says waits until the binding of a cluster says this.
func (s *scene) says(cluster, kind string, status metav1.ConditionStatus, reason string, parts ...string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "a word on "+cluster, func(context.Context) error {
		b := s.binding(cluster)
		c := meta.FindStatusCondition(*b.GetConditions(), kind)
		if c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != b.GetGeneration() {
			return fmt.Errorf("%s of generation %d is %+v; want %s for %s", kind, b.GetGeneration(), c, status, reason)
		}
		for _, part := range parts {
			if !strings.Contains(c.Message, part) {
				return fmt.Errorf("%s says %q; want %q in it", kind, c.Message, part)
			}
		}
		return nil
	})
}

// again does what "kubectl fleet rollout resume" does.
func (s *scene) again(index int) {
	s.Helper()
	master := s.master(index)
	course := rollout.CourseOf(master)
	course.Spent.Dismissed = true
	patch, err := course.Patch(master)
	s.Must(err)
	s.Must(s.Client.Patch(s.Context(), master, client.RawPatch(types.MergePatchType, patch)))
}

func stops(s *scene) {
	s.settled(judged(stop, time.Hour))
	s.remembers(0, "the first rollout to be done", isDone)
	s.content(1, 1, 0)
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
	s.available("m1", false)
	s.quiet("its window has not passed")
	s.edit(judged(stop, time.Second))
	s.remembers(1, "the budget to be spent", isSpent)
	s.says("m2", v1beta1.ConditionRolloutStarted, metav1.ConditionFalse, v1beta1.ReasonRolloutNotStartedYet,
		"Revision 1 has spent its failure budget of 0: 1 of 3 clusters failed: m1", "rollout resume "+s.key.Name)
	s.says("m3", v1beta1.ConditionRolloutStarted, metav1.ConditionFalse, v1beta1.ReasonRolloutNotStartedYet, "Revision 1")
	s.available("m1", true)
	s.quiet("it stands, although the cluster is well")
	s.edit(judged(stop, time.Hour))
	s.again(1)
	s.await("m1=Bound1 m2=Bound1 m3=Bound0!")
	s.available("m2", false)
	s.edit(judged(stop, time.Second))
	s.remembers(1, "the budget to be spent again", isSpent)
	s.edit(judged(stop, time.Hour))
	s.content(2, 1, 0)
	s.await("m1=Bound1! m2=Bound2 m3=Bound0!")
	s.available("m2", true)
	s.await("m1=Bound2 m2=Bound2 m3=Bound0!")
	s.available("m1", true)
	s.await("m1=Bound2 m2=Bound2 m3=Bound2")
	s.available("m3", true)
	s.remembers(2, "the rollout to be done", isDone)
	s.available("m2", false)
	s.edit(judged(stop, time.Second))
	s.quiet("a relapse afterwards is not the revision's fault")
}

func takesBack(s *scene) {
	s.settled(judged(stop, time.Hour))
	s.remembers(0, "the first rollout to be done", isDone)
	s.content(1, 1, 0)
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
	s.available("m1", true)
	s.await("m1=Bound1 m2=Bound1 m3=Bound0!")
	s.available("m2", false)
	s.edit(judged(stop, time.Second))
	s.remembers(1, "the budget to be spent", isSpent)
	s.edit(judged(back, time.Hour))
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!") // the failed one at once, the other when it is back
	s.says("m1", v1beta1.ConditionRolledBack, metav1.ConditionUnknown, v1beta1.ReasonRollbackStarted, "maxUnavailable")
	s.says("m2", v1beta1.ConditionRolledBack, metav1.ConditionUnknown, v1beta1.ReasonRollbackStarted, s.key.Name+"-0-snapshot")
	s.available("m2", true)
	s.await("m1=Bound0! m2=Bound0! m3=Bound0!")
	s.says("m2", v1beta1.ConditionRolledBack, metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded)
	s.edit(judged(back, time.Second))
	s.says("m1", v1beta1.ConditionRolledBack, metav1.ConditionFalse, v1beta1.ReasonRollbackFailed, "not healthy for 1s") // no agent reports it
	s.available("m1", true)
	s.says("m1", v1beta1.ConditionRolledBack, metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded)
	s.quiet("it does not begin again")
}

// goesBackAfterARestart spends the budget by one agent, and has the next one take back what became healthy with the
// bad revision meanwhile.
func goesBackAfterARestart(s *scene) {
	s.agent = s.startAgent()
	s.settled(judged(stop, time.Hour))
	s.content(1, 1, 0)
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
	s.available("m1", false)
	s.edit(judged(stop, time.Second))
	s.remembers(1, "the budget to be spent", isSpent)
	s.says("m3", v1beta1.ConditionRolloutStarted, metav1.ConditionFalse, v1beta1.ReasonRolloutNotStartedYet, "Revision 1")
	s.agent.Stop()
	s.agent = nil
	s.available("m1", true) // and what was last healthy there is the new one
	s.edit(judged(back, time.Hour))
	s.agent = s.startAgent()
	s.await("m1=Bound0! m2=Bound0! m3=Bound0!")
	s.available("m1", true)
	s.says("m1", v1beta1.ConditionRolledBack, metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded)
	s.agent.Stop()
	s.agent = s.startAgent()
	defer s.agent.Stop()
	s.silent(time.Second, "silence after a start", s.agent)
	s.again(1)
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
}
