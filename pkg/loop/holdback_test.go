package loop

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestHoldBack(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	// look is one status that differs from the stored one, or, with end, the end of that.
	type look struct {
		at, most, want time.Duration
		end            bool
	}
	for name, looks := range map[string][]look{
		"a status that may not be held back is written at once": {{most: 0, want: 0}},
		"the first status is held back for the whole time":      {{most: time.Second, want: time.Second}},
		"the next ones wait for the rest of it": {
			{most: time.Second, want: time.Second}, {at: 400 * time.Millisecond, most: time.Second, want: 600 * time.Millisecond},
		},
		"at the end of it the status is written": {
			{most: time.Second, want: time.Second}, {at: time.Second, most: time.Second, want: 0}, {at: 9 * time.Second, most: time.Second, want: 0},
		},
		"a settled status is written at once and ends nothing until it is stored": {
			{most: time.Second, want: time.Second}, {at: 500 * time.Millisecond, most: 0, want: 0},
			{at: 600 * time.Millisecond, most: time.Second, want: 400 * time.Millisecond},
		},
		"a status may be held back for longer than the one before": {
			{most: time.Second, want: time.Second}, {at: time.Second, most: 5 * time.Second, want: 4 * time.Second},
		},
		"after the end the time starts anew": {
			{most: time.Second, want: time.Second}, {end: true}, {at: 2 * time.Second, most: time.Second, want: time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var one HoldBack
			var many HoldBacks
			key := types.NamespacedName{Name: "web"}
			many.Wait(types.NamespacedName{Name: "other"}, time.Hour, start.Add(-time.Minute))
			for i, l := range looks {
				if l.end {
					one.End()
					many.End(key)
					continue
				}
				if got := one.Wait(l.most, start.Add(l.at)); got != l.want {
					t.Errorf("look %d waits %s; want %s", i, got, l.want)
				}
				if got := many.Wait(key, l.most, start.Add(l.at)); got != l.want {
					t.Errorf("look %d waits %s among others; want %s", i, got, l.want)
				}
			}
		})
	}
}
