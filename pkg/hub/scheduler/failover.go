package scheduler

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
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
	eventRebalanced = "PlacementRebalanced"
)

var failovers = metrics.Counter(metrics.Definition{
	Name: "fleet_failovers_total", Help: "Clusters that placements left for another cluster.",
	Labels: []metrics.Label{{Name: "reason", Values: "`Lost`, `Unhealthy`, `Tainted`, `Unavailable`, `Failback` or `Rebalance`"}},
	Agents: []metrics.Agent{metrics.Hub},
})

// turns are the times at which placements may leave clusters, of those that have to wait.
type turns struct {
	mu  sync.Mutex
	due map[types.NamespacedName]time.Time
}

// paced returns how long a decision has to wait because too many placements leave clusters at the same time.
func (s *Scheduler) paced(placement types.NamespacedName, d schedule.Decision) time.Duration {
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	due, waits := s.turns.due[placement]
	now := s.Now()
	if len(d.Left) == 0 || s.Pace == nil || waits && !due.After(now) {
		delete(s.turns.due, placement)
		return 0
	}
	if !waits {
		due = now.Add(s.Pace.ReserveN(now, 1).DelayFrom(now))
	}
	if !due.After(now) {
		return 0
	}
	if s.turns.due == nil {
		s.turns.due = map[types.NamespacedName]time.Time{}
	}
	s.turns.due[placement] = due
	return due.Sub(now)
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
		case failover.Rebalance:
			s.Recorder.Event(placement, corev1.EventTypeNormal, eventRebalanced,
				fmt.Sprintf("Cluster %s is better than cluster %s and replaces it, as requested at %s", left.With, left.Cluster, since))
		case failover.Unavailable:
			s.Recorder.Event(placement, corev1.EventTypeWarning, eventFailedOver,
				fmt.Sprintf("What was available on cluster %s is not since %s; cluster %s replaces it", left.Cluster, since, left.With))
		case failover.Unhealthy:
			s.Recorder.Event(placement, corev1.EventTypeWarning, eventFailedOver,
				fmt.Sprintf("Cluster %s is unhealthy since %s; cluster %s replaces it", left.Cluster, since, left.With))
		case failover.Tainted:
			s.Recorder.Event(placement, corev1.EventTypeNormal, eventFailedOver,
				fmt.Sprintf("Cluster %s has an evicting taint since %s that the placement does not tolerate, or not any longer; cluster %s replaces it",
					left.Cluster, since, left.With))
		default:
			s.Recorder.Event(placement, corev1.EventTypeWarning, eventFailedOver,
				fmt.Sprintf("Cluster %s is lost, without a heartbeat since %s; cluster %s replaces it", left.Cluster, since, left.With))
		}
	}
}

// rebalanced records on the policy snapshot that the request to rebalance is done.
func (s *Scheduler) rebalanced(ctx context.Context, placement v1beta1.PlacementObject, policy v1beta1.PolicySnapshotObject, d schedule.Decision) error {
	if !d.Rebalanced {
		return nil
	}
	after := policy.DeepCopyObject().(v1beta1.PolicySnapshotObject)
	annotations := maps.Clone(after.GetAnnotations()) // the generation is always there
	annotations[contract.AnnotationRebalanced] = placement.GetAnnotations()[contract.AnnotationRebalance]
	after.SetAnnotations(annotations)
	if err := s.Client.Patch(ctx, after, client.MergeFrom(policy)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("record on policy snapshot %s that its clusters are rebalanced: %w", client.ObjectKeyFromObject(policy), err)
	}
	s.Recorder.Event(placement, corev1.EventTypeNormal, eventRebalanced, "No cluster can be exchanged for a better one: the placement is rebalanced")
	return nil
}

// enqueueFailovers enqueues the placements that may leave a cluster, or take one back, because of a change of a
// cluster: those that have a binding there, and those that wait.
func (s *Scheduler) enqueueFailovers(ctx context.Context, was, is *clusterv1beta1.MemberCluster, q queue) {
	change := failover.Change{Was: was, Is: is, Now: s.Now()}
	if change.Matters() {
		s.enqueueOn(ctx, change, q)
		for _, placement := range s.waiting.All() {
			q.Add(reconcile.Request{NamespacedName: placement})
		}
	}
}

// enqueueOn enqueues the placements with a binding to a cluster to which the change of the cluster can matter.
func (s *Scheduler) enqueueOn(ctx context.Context, change failover.Change, q queue) {
	cluster := change.Is.Name
	bindings, err := scope.Bindings.AllServed(ctx, s.Client, s.Namespaced, scope.Fast(scope.OnCluster(cluster))...)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue the placements with bindings to a MemberCluster", "cluster", cluster)
	}
	for _, b := range bindings {
		key, ok := scope.PlacementOf(b)
		if !ok {
			continue
		}
		placement, err := scope.Placements.Get(ctx, s.Client, key)
		if err == nil && change.Concerns(failover.SettingsOf(placement)) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
}
