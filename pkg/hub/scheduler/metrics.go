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
		Name: "scheduling_cycle_duration_milliseconds", Help: "Duration of a scheduling cycle of a placement, including writes, in milliseconds.",
		Labels: []metrics.Label{
			{Name: "is_failed", Values: "`true` if the cycle failed; the scheduler retries it"},
			{Name: "needs_requeue", Values: "`true` if the scheduler processes the placement again without an event"},
		},
		Buckets: []float64{10, 50, 100, 500, 1000, 5000, 10000, 50000},
		Agents:  []metrics.Agent{metrics.Hub},
	})
	activeWorkers = metrics.Gauge(metrics.Definition{
		Name: "scheduling_active_workers", Help: "Number of placements that the scheduler is processing.", Agents: []metrics.Agent{metrics.Hub},
	})
)

// measured measures the passes of a reconciler.
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
