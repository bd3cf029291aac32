package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// own makes member clusters that are well and that only this scene's policy picks, with these values of the label
// speed.
func (s *scene) own(speeds ...string) (names []string) {
	s.Helper()
	for i, speed := range speeds {
		name := fmt.Sprintf("own-%d-%s", i, s.key.Name)
		s.join(name, false)
		s.label(name, speed)
		s.heartbeat(name)
		names = append(names, name)
	}
	return names
}

func (s *scene) label(cluster, speed string) {
	s.Helper()
	var c clusterv1beta1.MemberCluster
	s.Must(s.Client.Get(s.Context(), types.NamespacedName{Name: cluster}, &c))
	s.edit(&c, func(o client.Object) { o.SetLabels(map[string]string{"scene": s.key.Name, "speed": speed}) })
}

func (s *scene) leave(clusters ...string) {
	s.Helper()
	for _, name := range clusters {
		s.Must(s.Client.Delete(s.Context(), &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
}

// ownPolicy picks of the scene's own clusters, the fast ones first.
func (s *scene) ownPolicy() *v1beta1.PlacementPolicy {
	policy := pickN()
	term := func(key, value string) v1beta1.ClusterSelectorTerm {
		return v1beta1.ClusterSelectorTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}}
	}
	policy.Affinity = &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &v1beta1.ClusterSelector{ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{term("scene", s.key.Name)}},
		PreferredDuringSchedulingIgnoredDuringExecution: []v1beta1.PreferredClusterSelector{
			{Weight: 20, Preference: term("speed", "fast")},
		},
	}}
	return policy
}

// reports does what roller and dispatcher do with a binding whose content is available or not, since that long ago.
func (s *scene) reports(cluster string, available bool, since time.Duration) {
	s.Helper()
	s.rebind(cluster, func(o client.Object) {
		spec := o.(v1beta1.BindingObject).GetSpec()
		if spec.State == v1beta1.BindingStateScheduled {
			spec.State = v1beta1.BindingStateBound
		}
		spec.ResourceSnapshotName = "r1"
	})
	b := s.binding(cluster)
	status := b.GetStatus()
	c := metav1.Condition{
		Type: v1beta1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: "Reported", ObservedGeneration: b.GetGeneration(), LastTransitionTime: metav1.Now(),
	}
	status.LastHealthy, status.UnavailableSince = ptr.To(delivery.Of(b)), nil
	if !available {
		c.Status, status.UnavailableSince = metav1.ConditionFalse, ptr.To(metav1.NewTime(time.Now().Add(-since)))
	}
	status.Conditions = []metav1.Condition{c}
	s.Must(s.Client.Status().Update(s.Context(), b))
}

func leavesFailed(s *scene) {
	own := s.own("fast", "fast", "slow")
	s.place(contract.FinalizerScheduler)
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.edit(placement, func(o client.Object) {
		policy := s.ownPolicy()
		policy.NumberOfClusters = ptr.To[int32](2)
		policy.Failover = &v1beta1.Failover{
			After: metav1.Duration{Duration: time.Hour}, AfterUnavailable: &metav1.Duration{Duration: 5 * time.Minute},
		}
		o.(v1beta1.PlacementObject).GetSpec().Policy = policy
	})
	s.use(s.ownPolicy(), 2)
	s.await(own[0]+"=Scheduled "+own[1]+"=Scheduled", own[0]+" "+own[1]+" "+fulfilledReason)
	s.reports(own[0], true, 0)
	s.reports(own[1], true, 0)
	s.reports(own[0], false, time.Minute)
	s.quiet("has failed for a minute")

	// That it is available on no other cluster, and then is again, is what the decision waits for.
	s.reports(own[1], false, 0)
	s.reports(own[0], false, 6*time.Minute)
	s.quiet("fails everywhere")
	s.reports(own[1], true, 0)
	s.await(own[0]+"=Unscheduled "+own[1]+"=Bound "+own[2]+"=Scheduled", own[1]+" "+own[2]+" "+fulfilledReason)
	s.awaitEvent(eventFailedOver)

	s.reports(own[0], true, 0) // before the other was available
	s.await(own[0]+"=Bound "+own[1]+"=Bound "+own[2]+"=Unscheduled", own[0]+" "+own[1]+" "+fulfilledReason)
	s.leave(own...)
}

func rebalances(s *scene) {
	own := s.own("slow", "slow", "slow")
	s.place(contract.FinalizerScheduler)
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.edit(placement, func(o client.Object) {
		o.(v1beta1.PlacementObject).GetSpec().Policy = s.ownPolicy()
		o.(v1beta1.PlacementObject).GetSpec().Policy.NumberOfClusters = ptr.To[int32](1)
	})
	s.use(s.ownPolicy(), 1)
	s.await(own[2]+"=Scheduled", own[2]+" "+fulfilledReason)
	s.label(own[0], "fast")
	s.quiet("a better cluster alone moves nothing")

	asked := time.Now().UTC().Add(time.Second).Format(time.RFC3339) // the policy snapshot may be of this second
	s.edit(placement, func(o client.Object) { o.SetAnnotations(map[string]string{contract.AnnotationRebalance: asked}) })
	s.quiet("the placement is not available yet")
	s.reports(own[2], true, 0)
	s.await(own[0]+"=Scheduled "+own[2]+"=Unscheduled", own[0]+" "+fulfilledReason)
	s.awaitEvent(eventRebalanced)
	s.reports(own[0], true, 0)
	s.Must(s.Client.Delete(s.Context(), s.binding(own[2]))) // as the roller does
	testworld.Await(s, testworld.Soon, "the end of the request", func(context.Context) error {
		if got := s.policy().GetAnnotations()[contract.AnnotationRebalanced]; got != asked {
			return fmt.Errorf("the policy snapshot records %q; want %q", got, asked)
		}
		return nil
	})
	s.label(own[1], "fast")
	s.label(own[0], "slow")
	s.quiet("the request is done")
	s.leave(own...)
}

// awaitEvent waits for an event on the placement.
func (s *scene) awaitEvent(reason string) {
	s.Helper()
	namespace := cmp.Or(s.key.Namespace, metav1.NamespaceDefault)
	testworld.AwaitEvents(s, s.Client, namespace, reason+" on "+s.key.Name, func(events []corev1.Event) bool {
		return slices.ContainsFunc(events, func(e corev1.Event) bool { return e.Reason == reason && e.InvolvedObject.Name == s.key.Name })
	})
}
