package delivery

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestActiveRun(t *testing.T) {
	placement := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "1"}}
	run := func(name string, change func(*v1beta1.ClusterStagedUpdateRun)) v1beta1.UpdateRunObject {
		r := &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: name}}
		r.Spec.PlacementName = "p"
		change(r)
		return r
	}
	with := func(condition string, status metav1.ConditionStatus) func(*v1beta1.ClusterStagedUpdateRun) {
		return func(r *v1beta1.ClusterStagedUpdateRun) {
			r.Status.Conditions = []metav1.Condition{{Type: condition, Status: status}}
		}
	}
	for name, tc := range map[string]struct {
		change func(*v1beta1.ClusterStagedUpdateRun)
		active bool
	}{
		"new":                 {func(*v1beta1.ClusterStagedUpdateRun) {}, true},
		"initialized":         {with(v1beta1.ConditionInitialized, metav1.ConditionTrue), true},
		"not initializable":   {with(v1beta1.ConditionInitialized, metav1.ConditionFalse), false},
		"succeeded":           {with(v1beta1.ConditionSucceeded, metav1.ConditionTrue), false},
		"failed":              {with(v1beta1.ConditionSucceeded, metav1.ConditionFalse), false},
		"stopped":             {with(v1beta1.ConditionProgressing, metav1.ConditionFalse), true},
		"of the placement":    {func(r *v1beta1.ClusterStagedUpdateRun) { r.Status.PlacementUID = "1" }, true},
		"of an earlier one":   {func(r *v1beta1.ClusterStagedUpdateRun) { r.Status.PlacementUID = "0" }, false},
		"of another one":      {func(r *v1beta1.ClusterStagedUpdateRun) { r.Spec.PlacementName = "q" }, false},
		"that is deleted now": {func(r *v1beta1.ClusterStagedUpdateRun) { r.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, false},
	} {
		want := ""
		if tc.active {
			want = "r"
		}
		if got := ActiveRun([]v1beta1.UpdateRunObject{run("r", tc.change)}, placement); got != want {
			t.Errorf("%s: %q is active; want %q", name, got, want)
		}
	}
	ongoing := func(*v1beta1.ClusterStagedUpdateRun) {}
	if got := ActiveRun([]v1beta1.UpdateRunObject{run("s", ongoing), run("r", ongoing)}, placement); got != "r" {
		t.Errorf("%q is the first", got)
	}
}
