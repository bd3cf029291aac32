package scheduler

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// silence gives a cluster a silence that began that long ago; an agent that is not silent any more is heard.
func (h *hub) silence(name string, ago time.Duration, state clusterv1beta1.SilenceState) {
	h.Helper()
	var cluster clusterv1beta1.MemberCluster
	h.Must(h.Client.Get(h.Context(), types.NamespacedName{Name: name}, &cluster))
	since := metav1.NewTime(time.Now().Add(-ago))
	cluster.Status.Silence = &clusterv1beta1.ClusterSilence{Since: since, State: state, StateSince: metav1.Now()}
	if state != clusterv1beta1.SilenceOver {
		cluster.Status.AgentStatus[0].LastReceivedHeartbeat = since
	} else {
		cluster.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(time.Now().Add(time.Hour))
	}
	h.Must(h.Client.Status().Update(h.Context(), &cluster))
}

// withFailover gives the placement a failover policy for number clusters.
func (s *scene) withFailover(number int32, after time.Duration) {
	s.Helper()
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.edit(placement, func(o client.Object) {
		o.(v1beta1.PlacementObject).GetSpec().Policy = &v1beta1.PlacementPolicy{
			PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(number),
			Failover: &v1beta1.Failover{After: metav1.Duration{Duration: after}},
		}
	})
}

func (s *scene) exchangeOf(cluster string) (by, of string) {
	s.Helper()
	for _, b := range s.bindings() {
		if b.GetSpec().TargetCluster != cluster {
			continue
		}
		if e := failover.ReplacedBy(b); e != nil {
			by = e.With
		}
		if e := failover.Replaces(b); e != nil {
			of = e.With
		}
	}
	return by, of
}

func leaves(s *scene) {
	lost, spare := "lost-"+s.key.Name, "spare-"+s.key.Name
	s.join(lost, true)
	s.place(contract.FinalizerScheduler)
	s.withFailover(4, 5*time.Minute)
	s.use(pickN(), 4)
	before := "m1=Scheduled m2=Scheduled m3=Scheduled"
	s.await(lost+"=Scheduled "+before, lost+" m1 m2 m3 "+fulfilledReason)

	s.silence(lost, 6*time.Minute, clusterv1beta1.SilenceLost)
	s.await(lost+"=Scheduled "+before, "m1 m2 m3 "+unfulfilledReason) // nothing can replace it
	s.join(spare, true)
	s.await(lost+"=Unscheduled "+before+" "+spare+"=Scheduled", "m1 m2 m3 "+spare+" "+fulfilledReason)
	if by, _ := s.exchangeOf(lost); by != spare {
		s.Errorf("%s is replaced by %q; want %s", lost, by, spare)
	}
	if _, of := s.exchangeOf(spare); of != lost {
		s.Errorf("%s replaces %q; want %s", spare, of, lost)
	}
	namespace := cmp.Or(s.key.Namespace, metav1.NamespaceDefault)
	testworld.AwaitEvents(s, s.Client, namespace, "the failover of "+s.key.Name, func(events []corev1.Event) bool {
		return slices.ContainsFunc(events, func(e corev1.Event) bool { return e.Reason == eventFailedOver && e.InvolvedObject.Name == s.key.Name })
	})

	s.silence(lost, 6*time.Minute, clusterv1beta1.SilenceOver) // the spare was never available
	s.await(lost+"=Scheduled "+before+" "+spare+"=Unscheduled", lost+" m1 m2 m3 "+fulfilledReason)
	if by, _ := s.exchangeOf(lost); by != "" {
		s.Errorf("%s is still replaced by %q", lost, by)
	}

	// A shorter time counts at once, although the policy snapshot stays.
	s.silence(lost, 4*time.Minute, clusterv1beta1.SilenceLost)
	s.quiet("not lost for long enough")
	s.withFailover(4, 200*time.Second)
	s.await(lost+"=Unscheduled "+before+" "+spare+"=Scheduled", "m1 m2 m3 "+spare+" "+fulfilledReason)
	for _, name := range []string{lost, spare} {
		s.Must(s.Client.Delete(s.Context(), &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
}

// taint gives a cluster an evicting taint that the registrar saw that long ago, or takes it off.
func (h *hub) taint(name string, on bool, ago time.Duration) {
	h.Helper()
	var cluster clusterv1beta1.MemberCluster
	h.Must(h.Client.Get(h.Context(), types.NamespacedName{Name: name}, &cluster))
	cluster.Spec.Taints = nil
	if on {
		cluster.Spec.Taints = []clusterv1beta1.Taint{{Key: "leave", Effect: corev1.TaintEffectNoSchedule, Evict: true}}
	}
	h.Must(h.Client.Update(h.Context(), &cluster))
	cluster.Status.Taints = nil
	if on {
		cluster.Status.Taints = []clusterv1beta1.SeenTaint{{Key: "leave", Since: metav1.NewTime(time.Now().Add(-ago))}}
	}
	h.Must(h.Client.Status().Update(h.Context(), &cluster))
}

// tolerates gives the placement a policy for number clusters that tolerates the taint for so long.
func (s *scene) tolerates(number int32, seconds int64) {
	s.Helper()
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.edit(placement, func(o client.Object) {
		o.(v1beta1.PlacementObject).GetSpec().Policy = &v1beta1.PlacementPolicy{
			PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(number),
			Tolerations: []v1beta1.Toleration{{Key: "leave", Operator: corev1.TolerationOpExists, TolerationSeconds: ptr.To(seconds)}},
		}
	})
}

// The placement has no failover policy.
func leavesTainted(s *scene) {
	tainted, spare := "tainted-"+s.key.Name, "spare-"+s.key.Name
	s.join(tainted, true)
	s.place(contract.FinalizerScheduler)
	s.tolerates(4, 3600)
	policy := pickN()
	policy.Tolerations = []v1beta1.Toleration{{Key: "leave", Operator: corev1.TolerationOpExists}} // no snapshot has the seconds
	s.use(policy, 4)
	before := "m1=Scheduled m2=Scheduled m3=Scheduled "
	s.await(before+tainted+"=Scheduled", "m1 m2 m3 "+tainted+" "+fulfilledReason)

	s.taint(tainted, true, time.Minute)
	s.quiet("tolerated for an hour")
	s.tolerates(4, 30)
	s.await(before+tainted+"=Scheduled", "m1 m2 m3 "+unfulfilledReason) // nothing can replace it
	s.join(spare, true)
	s.await(before+spare+"=Scheduled "+tainted+"=Unscheduled", "m1 m2 m3 "+spare+" "+fulfilledReason)
	if by, _ := s.exchangeOf(tainted); by != spare {
		s.Errorf("%s is replaced by %q; want %s", tainted, by, spare)
	}
	namespace := cmp.Or(s.key.Namespace, metav1.NamespaceDefault)
	testworld.AwaitEvents(s, s.Client, namespace, "the event of "+s.key.Name, func(events []corev1.Event) bool {
		return slices.ContainsFunc(events, func(e corev1.Event) bool {
			return e.Reason == eventFailedOver && e.InvolvedObject.Name == s.key.Name && e.Type == corev1.EventTypeNormal && strings.Contains(e.Message, "evicting taint")
		})
	})

	s.taint(tainted, false, 0) // the spare was never available
	s.await(before+spare+"=Unscheduled "+tainted+"=Scheduled", "m1 m2 m3 "+tainted+" "+fulfilledReason)

	// The time passes without an event.
	s.taint(tainted, true, 28*time.Second)
	s.await(before+spare+"=Scheduled "+tainted+"=Unscheduled", "m1 m2 m3 "+spare+" "+fulfilledReason)
	for _, name := range []string{tainted, spare} {
		s.Must(s.Client.Delete(s.Context(), &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
}
