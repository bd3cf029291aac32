package scheduler

import (
	"context"
	"strconv"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/pkg/metrics"
)

var (
	cycleTime = metrics.Histogram(metrics.Definition{
		Name: "scheduling_cycle_duration_milliseconds", Help: "How long the scheduler took for a placement, with its writes, in milliseconds.",
		Labels: []metrics.Label{
			{Name: "is_failed", Values: "`true` if it failed; it is tried again"},
			{Name: "needs_requeue", Values: "`true` if the placement is looked at again without an event"},
		},
		Buckets: []float64{10, 50, 100, 500, 1000, 5000, 10000, 50000},
		Agents:  []metrics.Agent{metrics.Hub},
	})
	activeWorkers = metrics.Gauge(metrics.Definition{
		Name: "scheduling_active_workers", Help: "How many placements the scheduler is deciding about.", Agents: []metrics.Agent{metrics.Hub},
	})
)

// measured measures what a reconciler does.
func measured(r reconcile.Reconciler, now func() time.Time) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
		activeWorkers.WithLabelValues().Inc()
		defer activeWorkers.WithLabelValues().Dec()
		begin := now()
		result, err := r.Reconcile(ctx, req)
		cycleTime.WithLabelValues(strconv.FormatBool(err != nil), strconv.FormatBool(err != nil || result.RequeueAfter > 0)).
			Observe(float64(now().Sub(begin).Microseconds()) / 1000)
		return result, err
	})
}
