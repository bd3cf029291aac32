package scheduler

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/metrics"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// RecorderName is the name under which the scheduler records events.
const RecorderName = "placement-scheduler"

// failoversPerSecond is how many placements leave clusters in a second. Many that move at once would load the clusters
// that are left just when some are gone.
const failoversPerSecond = 5

// NewPace returns the limit of one hub agent.
func NewPace() *rate.Limiter { return rate.NewLimiter(failoversPerSecond, failoversPerSecond) }

// Reasons of events on placements.
const (
	eventFailedOver = "PlacementFailedOver"
	eventFailedBack = "PlacementFailedBack"
)

var failovers = metrics.Counter(metrics.Definition{
	Name: "fleet_failovers_total", Help: "Clusters that placements left for another cluster.",
	Labels: []metrics.Label{{Name: "reason", Values: "`Lost`, `Unhealthy` or `Failback`"}},
	Agents: []metrics.Agent{metrics.Hub},
})

// paced returns how long a decision has to wait because too many placements leave clusters at the same time.
func (s *Scheduler) paced(d schedule.Decision) time.Duration {
	if len(d.Left) == 0 || s.Pace == nil {
		return 0
	}
	turn := s.Pace.Reserve()
	if wait := turn.Delay(); wait > 0 {
		turn.Cancel()
		return wait
	}
	return 0
}

// recordLeft records the clusters that a placement has left.
func (s *Scheduler) recordLeft(placement v1beta1.PlacementObject, d schedule.Decision) {
	for _, left := range d.Left {
		failovers.WithLabelValues(string(left.Reason)).Inc()
		since := left.Since.UTC().Format(time.RFC3339)
		switch left.Reason {
		case failover.Failback:
			s.Recorder.Event(placement, corev1.EventTypeNormal, eventFailedBack,
				fmt.Sprintf("Cluster %s is well since %s and replaces cluster %s again", left.With, since, left.Cluster))
		case failover.Unhealthy:
			s.Recorder.Event(placement, corev1.EventTypeWarning, eventFailedOver,
				fmt.Sprintf("Cluster %s is unhealthy since %s; cluster %s replaces it", left.Cluster, since, left.With))
		default:
			s.Recorder.Event(placement, corev1.EventTypeWarning, eventFailedOver,
				fmt.Sprintf("Cluster %s is lost, without a heartbeat since %s; cluster %s replaces it", left.Cluster, since, left.With))
		}
	}
}

// enqueueFailovers enqueues the placements with a failover policy for which a change of a cluster can matter: those
// that have a binding there, those that left it and may return, and those that wait to leave a lost cluster, if the
// cluster can replace it now.
func (s *Scheduler) enqueueFailovers(ctx context.Context, was, is *clusterv1beta1.MemberCluster, q queue) {
	now := s.Now()
	changed := silence(was) != silence(is) || failover.Healthy(was) != failover.Healthy(is) || failover.Away(was) != failover.Away(is)
	heard := liveness.Of(was, now) != liveness.Heard && liveness.Of(is, now) == liveness.Heard
	if !changed && !heard {
		return
	}
	every := func(v1beta1.BindingObject) bool { return true }
	s.enqueueWith(ctx, scope.OnCluster(is.Name), q, every)
	s.enqueueWith(ctx, client.MatchingFields{indexReplaced: is.Name}, q, every)
	var fleet clusterv1beta1.MemberClusterList
	if err := s.Client.List(ctx, &fleet, scope.Fast()...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue placements after a MemberCluster change", "cluster", is.Name)
		return
	}
	for i := range fleet.Items {
		if state := silence(&fleet.Items[i]); state == clusterv1beta1.SilenceLost || state == clusterv1beta1.SilenceReleased {
			s.enqueueWith(ctx, scope.OnCluster(fleet.Items[i].Name), q, func(b v1beta1.BindingObject) bool {
				return b.GetSpec().State != v1beta1.BindingStateUnscheduled
			})
		}
	}
}

// enqueueWith enqueues the placements with a failover policy and such a binding among those that are selected.
func (s *Scheduler) enqueueWith(ctx context.Context, selected client.MatchingFields, q queue, such func(v1beta1.BindingObject) bool) {
	bindings, err := scope.Bindings.AllServed(ctx, s.Client, s.Namespaced, scope.Fast(selected)...)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue the placements after a MemberCluster change")
	}
	for _, b := range bindings {
		key, ok := scope.PlacementOf(b)
		if !ok || !such(b) {
			continue
		}
		placement, err := scope.Placements.Get(ctx, s.Client, key)
		if err == nil && failover.PolicyOf(placement) != nil {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
}

// silence is the state of a cluster's last silence; empty if there was none.
func silence(cluster *clusterv1beta1.MemberCluster) clusterv1beta1.SilenceState {
	if cluster.Status.Silence == nil {
		return ""
	}
	return cluster.Status.Silence.State
}

// indexReplaced is the index of bindings by the cluster that theirs replaced.
const indexReplaced = "flagship.replaced"

func replacedOf(o client.Object) []string {
	if b, ok := o.(v1beta1.BindingObject); ok {
		if e := failover.Replaces(b); e != nil {
			return []string{e.With}
		}
	}
	return nil
}
