package process

import (
	"testing"
	"time"
)

func TestRangesNameTheFlag(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"inside":               {err: Between("resync-period", 2*time.Hour, time.Hour, 12*time.Hour)},
		"below":                {err: Between("resync-period", time.Second, time.Hour, 12*time.Hour), want: "--resync-period is 1s; it must be between 1h0m0s and 12h0m0s"},
		"above":                {err: Between("max-fleet-size", 201, 30, 200), want: "--max-fleet-size is 201; it must be between 30 and 200"},
		"no throttle":          {err: Throttle("qps", -1, 10, "burst", 0, 10)},
		"burst less than rate": {err: Throttle("qps", 100, 1000, "burst", 50, 1000), want: "--burst is 50; it must not be less than --qps, which is 100"},
		"rate of zero":         {err: Throttle("qps", 0, 1000, "burst", 50, 1000), want: "--qps is 0; it must be between 10 and 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if tc.err != nil {
				got = tc.err.Error()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
