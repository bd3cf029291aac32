package scheduler

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestCyclesAreMeasured(t *testing.T) {
	cycleTime.Reset()
	now := time.Unix(0, 0)
	for _, of := range []struct {
		took   time.Duration
		result ctrl.Result
		err    error
	}{{took: 20 * time.Millisecond}, {took: 400 * time.Millisecond, result: ctrl.Result{RequeueAfter: time.Second}}, {took: time.Second, err: errors.New("refused")}} {
		r := measured(reconcile.Func(func(context.Context, ctrl.Request) (ctrl.Result, error) {
			if n := testutil.ToFloat64(activeWorkers); n != 1 {
				t.Errorf("%v workers are active during a cycle, want 1", n)
			}
			now = now.Add(of.took)
			return of.result, of.err
		}), func() time.Time { return now })
		if result, err := r.Reconcile(t.Context(), ctrl.Request{}); result != of.result || !errors.Is(err, of.err) {
			t.Errorf("the cycle returned %v, %v; want %v, %v", result, err, of.result, of.err)
		}
	}
	if n := testutil.ToFloat64(activeWorkers); n != 0 {
		t.Errorf("%v workers are active after the cycles, want 0", n)
	}
	series := func(labels, sum string, from int) string {
		var b strings.Builder
		for i, bound := range []string{"10", "50", "100", "500", "1000", "5000", "10000", "50000", "+Inf"} {
			n := "0"
			if i >= from {
				n = "1"
			}
			b.WriteString("scheduling_cycle_duration_milliseconds_bucket{" + labels + `,le="` + bound + `"} ` + n + "\n")
		}
		b.WriteString("scheduling_cycle_duration_milliseconds_sum{" + labels + "} " + sum + "\n")
		b.WriteString("scheduling_cycle_duration_milliseconds_count{" + labels + "} 1\n")
		return b.String()
	}
	want := "# HELP scheduling_cycle_duration_milliseconds Duration of a scheduling cycle of a placement, including writes, in milliseconds.\n" +
		"# TYPE scheduling_cycle_duration_milliseconds histogram\n" +
		series(`is_failed="false",needs_requeue="false"`, "20", 1) + series(`is_failed="false",needs_requeue="true"`, "400", 3) +
		series(`is_failed="true",needs_requeue="true"`, "1000", 4)
	if err := testutil.CollectAndCompare(cycleTime, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
