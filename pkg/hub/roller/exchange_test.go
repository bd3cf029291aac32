package roller

import (
	"context"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// movable is a placement on three clusters that may be exchanged.
func movable(purge v1beta1.FailoverPurge) func(*v1beta1.PlacementSpec) {
	return func(spec *v1beta1.PlacementSpec) {
		spec.Policy = &v1beta1.PlacementPolicy{
			PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(int32(3)),
			Failover: &v1beta1.Failover{After: metav1.Duration{Duration: time.Minute}, Purge: purge},
		}
		spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(0))
		spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(0))
	}
}

// replace does what the scheduler does when a placement leaves a cluster for another one.
func (s *scene) replace(cluster, by string, reason failover.Reason) {
	s.Helper()
	s.schedule(by)
	s.change(cluster, func(b v1beta1.BindingObject) {
		b.GetSpec().State = v1beta1.BindingStateUnscheduled
		b.SetAnnotations(map[string]string{
			contract.AnnotationPreviousState: string(v1beta1.BindingStateBound),
			contract.AnnotationReplacedBy:    failover.Exchange{With: by, Reason: reason, Since: metav1.Now()}.String(),
		})
	})
}

// late makes the next heartbeat of a cluster late for the agent; it is not silent.
func (s *scene) late(cluster string) {
	s.heard(cluster, time.Now().Add(-3*time.Minute))
	testworld.Await(s, testworld.Soon, "the agent to know that "+cluster+" is late", func(ctx context.Context) error {
		var found clusterv1beta1.MemberCluster
		if err := s.agent.Knows.Get(ctx, types.NamespacedName{Name: cluster}, &found); err != nil || liveness.Of(&found, time.Now()) == liveness.Overdue {
			return err
		}
		return errors.New("it is not")
	})
}

func (s *scene) soundAgain(cluster string) { s.Helper(); s.heard(cluster, time.Now().Add(time.Hour)) }

// exchanges has a cluster return before its replacement is available.
func exchanges(s *scene) {
	d := "m4-" + s.key.Name
	s.join(d)
	s.settled(movable(v1beta1.FailoverPurgeGraceful))
	s.silence("m1")
	s.replace("m1", d, failover.Lost)
	s.await("m1=Unscheduled0 m2=Bound0 m3=Bound0 " + d + "=Bound0")
	s.available(d, false)
	s.soundAgain("m1")
	s.available("m1", true)
	s.quiet("the replacement is not available")
	s.late(d)
	s.available(d, true)
	s.quiet("the replacement was available, and is not heard")
	s.soundAgain(d)
	s.await("m1=Unscheduled0- m2=Bound0 m3=Bound0 " + d + "=Bound0")
}

// exchangesAgain has the replacement of a cluster replaced.
func exchangesAgain(s *scene) {
	d, e := "m4-"+s.key.Name, "m5-"+s.key.Name
	s.join(d)
	s.join(e)
	s.settled(movable(v1beta1.FailoverPurgeNever))
	s.replace("m1", d, failover.Unhealthy)
	s.await("m1=Unscheduled0 m2=Bound0 m3=Bound0 " + d + "=Bound0")
	s.silence(d)
	s.replace(d, e, failover.Lost)
	s.change("m1", func(b v1beta1.BindingObject) { // before the next step, so that it is not like any other given up
		b.SetAnnotations(map[string]string{contract.AnnotationReplacedBy: failover.Exchange{With: e, Reason: failover.Unhealthy}.String()})
	})
	s.available("m1", true)
	s.await("m1=Unscheduled0 m2=Bound0 m3=Bound0 " + d + "=Unscheduled0 " + e + "=Bound0")
	s.available(e, true)
	s.await("m1=Unscheduled0- m2=Bound0 m3=Bound0 " + d + "=Unscheduled0 " + e + "=Bound0")
	s.soundAgain(d)
	s.await("m1=Unscheduled0- m2=Bound0 m3=Bound0 " + d + "=Unscheduled0- " + e + "=Bound0")
}

// purges removes what is on a cluster as soon as it is heard, by an edit of the placement too.
func purges(s *scene) {
	d, e := "m4-"+s.key.Name, "m5-"+s.key.Name
	s.join(d)
	s.join(e)
	s.settled(movable(v1beta1.FailoverPurgeImmediate))
	s.silence("m1")
	s.replace("m1", d, failover.Lost)
	s.await("m1=Unscheduled0 m2=Bound0 m3=Bound0 " + d + "=Bound0")
	s.quiet("the cluster is not heard")
	s.soundAgain("m1")
	s.await("m1=Unscheduled0- m2=Bound0 m3=Bound0 " + d + "=Bound0")
	s.edit(movable(v1beta1.FailoverPurgeGraceful))
	s.replace("m2", e, failover.Unhealthy)
	s.await("m1=Unscheduled0- m2=Unscheduled0 m3=Bound0 " + d + "=Bound0 " + e + "=Bound0")
	s.edit(movable(v1beta1.FailoverPurgeImmediate))
	s.await("m1=Unscheduled0- m2=Unscheduled0- m3=Bound0 " + d + "=Bound0 " + e + "=Bound0")
}

// repoints has another cluster become the replacement, which is available already.
func repoints(s *scene) {
	d := "m4-" + s.key.Name
	s.join(d)
	s.settled(movable(v1beta1.FailoverPurgeGraceful), func(spec *v1beta1.PlacementSpec) {
		spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(1))
	})
	s.replace("m1", d, failover.Unhealthy)
	s.available("m1", true)
	s.await("m1=Unscheduled0 m2=Bound0 m3=Bound0 " + d + "=Bound0")
	s.quiet("the replacement is not available")
	s.change("m1", func(b v1beta1.BindingObject) {
		b.SetAnnotations(map[string]string{contract.AnnotationReplacedBy: failover.Exchange{With: "m2", Reason: failover.Unhealthy}.String()})
	})
	s.await("m1=Unscheduled0- m2=Bound0 m3=Bound0 " + d + "=Bound0")
}

// returns has a placement return to a cluster that it left.
func returns(s *scene) {
	d := "m4-" + s.key.Name
	s.join(d)
	s.settled(movable(v1beta1.FailoverPurgeImmediate))
	s.replace("m1", d, failover.Failback)
	s.available("m1", true)
	s.await("m1=Unscheduled0 m2=Bound0 m3=Bound0 " + d + "=Bound0")
	s.quiet("the placement serves from both")
	s.available(d, true)
	s.await("m1=Unscheduled0- m2=Bound0 m3=Bound0 " + d + "=Bound0")
}

// fallsBack replaces a cluster while the latest revision is rejected. The replacement gets the overrides of that time.
func fallsBack(s *scene) {
	d := "m4-" + s.key.Name
	s.join(d)
	object := s.ready(movable(v1beta1.FailoverPurgeGraceful), judged(stop, time.Hour), func(spec *v1beta1.PlacementSpec) {
		spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(1))
	})
	s.remembers(0, "the first rollout to be done", isDone)
	s.content(1, 1, 0)
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
	s.available("m1", false)
	s.edit(judged(stop, time.Second))
	s.remembers(1, "the budget to be spent", isSpent)
	override := s.override(s.key.Name+"-o", object, 0, s.limit()) // which changes nothing in the latest revision
	s.silence("m2")
	s.replace("m2", d, failover.Lost)
	s.await("m1=Bound1 m2=Unscheduled0 m3=Bound0! " + d + "=Bound0!")
	s.says(d, v1beta1.ConditionRolloutStarted, metav1.ConditionFalse, v1beta1.ReasonRolloutNotStartedYet, "Revision 1 has spent its failure budget")
	if got := s.binding(d).GetSpec().ResourceOverrideSnapshots; len(got) != 1 || got[0].Name != override.Name {
		s.Errorf("the overrides are %v; want %s", got, override.Name)
	}
	s.available(d, true)
	s.soundAgain("m2")
	s.await("m1=Bound1 m2=Unscheduled0- m3=Bound0! " + d + "=Bound0!")
}

// exchangesOverARestart has agents stop and start during an exchange.
func exchangesOverARestart(s *scene) {
	d := "m4-" + s.key.Name + s.key.Namespace
	s.join(d)
	s.agent = s.startAgent()
	s.settled(movable(v1beta1.FailoverPurgeGraceful))
	s.silence("m1")
	s.replace("m1", d, failover.Lost)
	s.await("m1=Unscheduled0 m2=Bound0 m3=Bound0 " + d + "=Bound0")
	s.soundAgain("m1")
	s.quiet("the replacement is not available")
	s.agent.Stop()
	s.agent = s.startAgent()
	s.silent(time.Second, "silence after a start", s.agent)
	s.agent.Stop()
	s.agent = nil
	s.available(d, true)
	s.agent = s.startAgent()
	defer s.agent.Stop()
	s.await("m1=Unscheduled0- m2=Bound0 m3=Bound0 " + d + "=Bound0")
}
