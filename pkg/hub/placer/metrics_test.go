package placer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// gathered are the series of a metric among whose labels one has this value, each as its labels in order of their
// names, and its value.
func gathered(t *testing.T, metric, value string) []string {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, family := range families {
		if family.GetName() != metric {
			continue
		}
		for _, series := range family.GetMetric() {
			var labels []string
			for _, label := range series.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			if slices.Contains(labels, value) {
				out = append(out, fmt.Sprintf("%s %.1f", strings.Join(labels, ","), series.GetGauge().GetValue()+series.GetCounter().GetValue()))
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestProgressInMetrics(t *testing.T) {
	const metric = "fleet_workload_placement_status_last_timestamp_seconds"
	placement := &v1beta1.ResourcePlacement{ObjectMeta: metav1.ObjectMeta{Namespace: "metered", Name: "web", Generation: 3}}
	scheduled := metav1.Condition{
		Type: "ResourcePlacementScheduled", Status: metav1.ConditionFalse, Reason: "SchedulingPolicyUnfulfilled", ObservedGeneration: 3,
	}
	var p progress
	// Labels are conditionType, generation, name, namespace, reason, status.
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"nothing is said", func() { p.set(placement, &v1beta1.PlacementStatus{}, time.Unix(100, 5e8)) },
			[]string{"ResourcePlacementScheduled,3,web,metered,nil,nil 100.5"}},
		{"something is", func() {
			p.set(placement, &v1beta1.PlacementStatus{Conditions: []metav1.Condition{scheduled}}, time.Unix(101, 0))
		}, []string{
			"ResourcePlacementScheduled,3,web,metered,SchedulingPolicyUnfulfilled,False 101.0",
			"ResourcePlacementScheduled,3,web,metered,nil,nil 100.5",
		}},
		{"a new generation ends what was said of the old one", func() {
			placement.Generation = 4
			p.set(placement, &v1beta1.PlacementStatus{Conditions: []metav1.Condition{scheduled}}, time.Unix(102, 0))
		}, []string{"ResourcePlacementScheduled,4,web,metered,nil,nil 102.0"}},
		{"the placement goes", p.drop, nil},
	} {
		step.do()
		if got := gathered(t, metric, "metered"); !slices.Equal(got, step.want) {
			t.Errorf("%s: %v; want %v", step.what, got, step.want)
		}
	}
}

func TestReconcilesAreCountedByScope(t *testing.T) {
	before := map[string][]string{}
	names := []string{controllerWide, controllerNamespaced}
	for _, name := range names {
		before[name] = gathered(t, "fleet_workload_reconcile_total", name)
	}
	results := []struct {
		result ctrl.Result
		err    error
	}{{}, {result: ctrl.Result{RequeueAfter: time.Second}}, {err: errors.New("no route to host")}}
	for _, r := range results {
		counted := counted(reconcile.Func(func(context.Context, ctrl.Request) (ctrl.Result, error) { return r.result, r.err }))
		for _, namespace := range []string{"", "shop"} {
			req := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: "web"}}
			if got, err := counted.Reconcile(t.Context(), req); got != r.result || !errors.Is(err, r.err) {
				t.Errorf("got %v, %v; want %v, %v", got, err, r.result, r.err)
			}
		}
	}
	for _, name := range names {
		got := gathered(t, "fleet_workload_reconcile_total", name)
		if slices.Equal(got, before[name]) || len(got) != len(results) {
			t.Errorf("%s: %v, before %v", name, got, before[name])
		}
		if active := gathered(t, "fleet_workload_active_workers", name); len(active) != 1 || !strings.HasSuffix(active[0], " 0.0") {
			t.Errorf("active: %v", active)
		}
	}
}
