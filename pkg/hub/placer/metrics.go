package placer

import (
	"context"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/metrics"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// Names of the placer in dashboards, one for each scope.
const (
	controllerWide       = "cluster-resource-placement-controller-v1beta1"
	controllerNamespaced = "resource-placement-controller"
)

// controllers are the values of the label controller.
var controllers = metrics.Label{Name: "controller", Values: "`" + controllerWide + "` or `" + controllerNamespaced + "`"}

var (
	lastTimestamp = metrics.Gauge(metrics.Definition{
		Name: "fleet_workload_placement_status_last_timestamp_seconds",
		Help: "Last time at which a placement was in a state, in seconds since 1970; one series for each state of the current generation. " +
			"The series end when the generation changes or the placement is deleted.",
		Labels: []metrics.Label{
			{Name: "namespace", Values: "namespace of the placement; empty for a ClusterResourcePlacement"},
			{Name: "name", Values: "name of the placement"},
			{Name: "generation", Values: "generation of the placement"},
			{Name: "conditionType", Values: "the first condition, in order, that is not True; `Completed` if all are True"},
			{Name: "status", Values: "status of that condition: `False`, `Unknown`, or `nil` if it is absent for this generation; `True` if completed"},
			{Name: "reason", Values: "reason of that condition; `nil` or `Completed` as above"},
		},
		Agents: []metrics.Agent{metrics.Hub},
	})
	heldRemovals = metrics.Gauge(metrics.Definition{
		Name: "fleet_held_removals",
		Help: "Objects, or clusters, that a change of a placement would remove, and that are held by its removal policy. A placement has series only while something is held.",
		Labels: []metrics.Label{
			{Name: "namespace", Values: "namespace of the placement; empty for a ClusterResourcePlacement"},
			{Name: "name", Values: "name of the placement"},
			{Name: "subject", Values: "`content` for objects that leave clusters, `clusters` for clusters that leave the placement, `placement` for the objects of a deleted one"},
		},
		Agents: []metrics.Agent{metrics.Hub},
	})
	reconciles = metrics.Counter(metrics.Definition{
		Name: "fleet_workload_reconcile_total", Help: "Reconciliations of placements by the placer.",
		Labels: []metrics.Label{controllers, {Name: "result", Values: "`success`, `requeue_after` or `error`"}},
		Agents: []metrics.Agent{metrics.Hub},
	})
	reconcileErrors = metrics.Counter(metrics.Definition{
		Name: "fleet_workload_reconcile_errors_total", Help: "Reconciliations of placements that failed; the placer retries each.",
		Labels: []metrics.Label{controllers}, Agents: []metrics.Agent{metrics.Hub},
	})
	reconcileTime = metrics.Histogram(metrics.Definition{
		Name: "fleet_workload_reconcile_time_seconds", Help: "Duration of a reconciliation of a placement by the placer, in seconds.",
		Labels: []metrics.Label{controllers}, Agents: []metrics.Agent{metrics.Hub},
		Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
	})
	mostWorkers = metrics.Gauge(metrics.Definition{
		Name: "fleet_workload_max_concurrent_reconciles", Help: "Maximum number of placements that the placer reconciles at the same time.",
		Labels: []metrics.Label{controllers}, Agents: []metrics.Agent{metrics.Hub},
	})
	activeWorkers = metrics.Gauge(metrics.Definition{
		Name: "fleet_workload_active_workers", Help: "Number of placements that the placer is reconciling.",
		Labels: []metrics.Label{controllers}, Agents: []metrics.Agent{metrics.Hub},
	})
)

// progress has the series of one placement: one for each state in which its current generation has been.
type progress struct {
	generation int64
	series     map[[6]string]bool
}

// set records that a placement has this status now.
func (g *progress) set(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus, now time.Time) {
	if g.generation != placement.GetGeneration() {
		g.drop()
		g.generation, g.series = placement.GetGeneration(), map[[6]string]bool{}
	}
	kind, state, reason := furthest(placement, status)
	labels := [6]string{placement.GetNamespace(), placement.GetName(), strconv.FormatInt(g.generation, 10), kind, state, reason}
	g.series[labels] = true
	lastTimestamp.WithLabelValues(labels[:]...).Set(float64(now.UnixMilli()) / 1000)
}

// furthest returns the first condition of a placement, in order, that is not True for the current generation. A
// missing condition has status and reason "nil". When all are True, it is Completed.
func furthest(placement v1beta1.PlacementObject, status *v1beta1.PlacementStatus) (kind, state, reason string) {
	p := report.ProgressOf(placement, status)
	if p.Done() {
		return "Completed", string(metav1.ConditionTrue), "Completed"
	}
	kind, c := v1beta1.ConditionScheduled, p.Scheduled
	if c != nil && c.Status == metav1.ConditionTrue {
		kind, c = p.Milestone, p.Condition
	}
	if c == nil {
		return placement.ConditionType(kind), "nil", "nil"
	}
	return c.Type, string(c.Status), c.Reason
}

// drop ends all series of the placement.
func (g *progress) drop() {
	for labels := range g.series {
		lastTimestamp.DeleteLabelValues(labels[:]...)
	}
	g.series, g.generation = nil, 0
}

// setHeld sets the series of what is held of a placement.
func setHeld(key types.NamespacedName, holds report.Holds) {
	content := 0
	for _, h := range holds.Content {
		content += int(h.Removed)
	}
	of := map[removal.Subject]int{removal.Content: content}
	if h := holds.Clusters; h != nil {
		of[removal.Clusters] = int(h.Removed)
	}
	if h := holds.Placement; h != nil {
		of[removal.Placement] = int(h.Removed)
	}
	for _, subject := range []removal.Subject{removal.Content, removal.Clusters, removal.Placement} {
		if n := of[subject]; n > 0 {
			heldRemovals.WithLabelValues(key.Namespace, key.Name, string(subject)).Set(float64(n))
		} else {
			heldRemovals.DeleteLabelValues(key.Namespace, key.Name, string(subject))
		}
	}
}

// counted wraps the reconciler of both scopes so that its reconciliations are counted, for each scope.
func counted(r reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
		name := controllerWide
		if req.Namespace != "" {
			name = controllerNamespaced
		}
		activeWorkers.WithLabelValues(name).Inc()
		defer activeWorkers.WithLabelValues(name).Dec()
		begin := time.Now()
		result, err := r.Reconcile(ctx, req)
		reconcileTime.WithLabelValues(name).Observe(time.Since(begin).Seconds())
		switch {
		case err != nil:
			reconcileErrors.WithLabelValues(name).Inc()
			reconciles.WithLabelValues(name, "error").Inc()
		case result.RequeueAfter > 0:
			reconciles.WithLabelValues(name, "requeue_after").Inc()
		default:
			reconciles.WithLabelValues(name, "success").Inc()
		}
		return result, err
	})
}
