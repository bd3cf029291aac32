package delivery

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestFate(t *testing.T) {
	const no, yes, minute = metav1.ConditionFalse, metav1.ConditionTrue, time.Minute
	ill, well := report("Available", no, 2), report("Available", yes, 2)
	before := &v1beta1.Revision{ResourceSnapshotName: "r1"}
	for name, tc := range map[string]struct {
		change Change
		at     time.Time
		want   Fate
		left   time.Duration
	}{
		"healthy with the failed revision": {change: Change{Status: well, Before: before, Given: noon}, at: noon, want: Fate{State: Waiting}},
		"failed with it":                   {change: Change{Status: ill, Before: before, Given: noon}, at: noon.Add(time.Hour), want: Fate{State: Waiting}},
		"never healthy": {
			change: Change{Status: ill, Given: noon}, at: noon.Add(time.Hour),
			want: Fate{NeverHealthy, "No healthy revision is recorded for this cluster, so it is not rolled back"},
		},
		"an obstacle": {
			change: Change{Status: ill, Before: before, Obstacle: "resource snapshot r1 does not exist any more"}, at: noon,
			want: Fate{Astray, "Not rolled back: resource snapshot r1 does not exist any more"},
		},
		"an obstacle, never healthy":    {change: Change{Status: ill, Obstacle: "it is modified"}, at: noon, want: Fate{Astray, "Not rolled back: it is modified"}},
		"an obstacle after it was sent": {change: Change{Status: well, Before: before, Sent: true, Obstacle: "it is modified"}, at: noon, want: Fate{Astray, "Not rolled back: it is modified"}},
		"sent":                          {change: Change{Status: statusWith(), Before: before, Sent: true, Given: noon}, at: noon, want: Fate{Returning, "Rolling back to r1"}, left: minute},
		"sent, and healthy":             {change: Change{Status: well, Before: before, Sent: true, Given: noon}, at: noon.Add(time.Hour), want: Fate{Returned, "Rolled back to r1 and healthy"}},
		"sent, healthy, and ill again":  {change: Change{Status: ill, Before: before, Sent: true, WasHealthy: true}, at: noon.Add(time.Hour), want: Fate{Returned, "Rolled back to r1 and healthy"}},
		"sent, and not healthy in time": {
			change: Change{Status: ill, Before: before, Sent: true, Given: noon}, at: noon.Add(minute),
			want: Fate{Astray, "Given r1 again, but not healthy for 1m0s: Available is False (R)"},
		},
		"sent, and no report in time": {
			change: Change{Status: statusWith(), Before: before, Sent: true, Given: noon}, at: noon.Add(minute),
			want: Fate{Astray, "Given r1 again, but not healthy for 1m0s: no condition is reported yet; check that the hub agent and the member agent are running"},
		},
	} {
		got, left := FailurePolicy{Window: minute}.Fate(tc.change, tc.at)
		if diff := cmp.Diff(tc.want, got); diff != "" || left != tc.left {
			t.Errorf("%s: %s left, want %s; -want +got\n%s", name, left, tc.left, diff)
		}
	}
}

func TestFateOf(t *testing.T) {
	for name, tc := range map[string]struct {
		status metav1.ConditionStatus
		reason string
		want   FateState
	}{
		"unknown":       {metav1.ConditionUnknown, v1beta1.ReasonRollbackStarted, Returning},
		"true":          {metav1.ConditionTrue, v1beta1.ReasonRollbackSucceeded, Returned},
		"false":         {metav1.ConditionFalse, v1beta1.ReasonRollbackFailed, Astray},
		"never healthy": {metav1.ConditionFalse, v1beta1.ReasonNeverHealthy, NeverHealthy},
	} {
		c := metav1.Condition{Type: v1beta1.ConditionRolledBack, Status: tc.status, Reason: tc.reason, Message: "M", LastTransitionTime: metav1.NewTime(noon)}
		got, since := FateOf([]metav1.Condition{c})
		if want := (Fate{tc.want, "M"}); got != want || !since.Equal(noon) {
			t.Errorf("%s: read %+v since %s; want %+v", name, got, since, want)
		}
	}
	if got, since := FateOf(nil); !since.IsZero() || got != (Fate{}) {
		t.Errorf("read %+v from no condition", got)
	}
}

func TestReturnTo(t *testing.T) {
	r1, r2 := v1beta1.Revision{ResourceSnapshotName: "r1"}, v1beta1.Revision{ResourceSnapshotName: "r2"}
	for name, tc := range map[string]struct {
		lastHealthy *v1beta1.Revision
		has         *Mark
		want        *v1beta1.Revision
	}{
		"never healthy":                     {},
		"what was last healthy":             {lastHealthy: &r1, want: &r1},
		"what was last healthy, not before": {lastHealthy: &r1, has: &Mark{To: r1, Before: &v1beta1.Revision{}}, want: &r1},
		"healthy with what it gets again":   {lastHealthy: &r2, has: &Mark{To: r1, Before: &r1, Back: true}, want: &r1},
		"without a mark":                    {lastHealthy: &r2, want: &r2},
	} {
		if diff := cmp.Diff(tc.want, ReturnTo(tc.lastHealthy, r2, tc.has)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}
