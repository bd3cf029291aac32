package membership

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

func TestHeartbeat(t *testing.T) {
	at := func(minutes float64) metav1.Time {
		return metav1.NewTime(start.Add(time.Duration(minutes * float64(time.Minute))))
	}
	entry := func(received, reported float64) *v1beta1.AgentStatus {
		out := &v1beta1.AgentStatus{LastReceivedHeartbeat: at(received)}
		if received != reported {
			r := at(reported)
			out.ReportedHeartbeat = &r
		}
		return out
	}
	for name, tc := range map[string]struct {
		before  *v1beta1.AgentStatus
		claimed float64
		live    bool
		want    float64
		skew    Skew
	}{
		"clocks in step":                               {before: entry(-1, -1), claimed: -0.1, live: true, want: -0.1, skew: SkewNone},
		"a clock that is behind by minutes":            {before: entry(-1, -11), claimed: -10, live: true, want: 0, skew: SkewBehind},
		"a clock that is ahead":                        {before: entry(-1, 599), claimed: 600, live: true, want: 0, skew: SkewAhead},
		"a time in the future counts once":             {before: entry(-30, 600), claimed: 600, live: true, want: -30},
		"and not anew after a restart":                 {before: entry(-30, 600), claimed: 600, want: -30},
		"nor one that an older release copied":         {before: entry(600, 600), claimed: 600, want: 0, skew: SkewAhead},
		"what was copied before is not new":            {before: entry(-30, -30), claimed: -30, want: -30},
		"an old report is old":                         {claimed: -20, live: true, want: -20, skew: SkewFar},
		"a first report while we watch":                {claimed: -5, live: true, want: 0, skew: SkewBehind},
		"a first report that was there when we began":  {claimed: -5, want: -5},
		"and one from the future":                      {claimed: 5, want: 0, skew: SkewAhead},
		"one that came while we were away":             {before: entry(-14, -14), claimed: -12, want: -12},
		"the same of a clock that is ahead":            {before: entry(-14, 46), claimed: 48, want: -12, skew: SkewAhead},
		"a clock that was set back while we were away": {before: entry(-1, 60), claimed: -2, want: 0},
		"a clock that was set on while we were away":   {before: entry(-2, -2), claimed: 60, want: 0, skew: SkewAhead},
		"a clock that is set back":                     {before: entry(-1, 60), claimed: 0, live: true, want: 0, skew: SkewNone},
	} {
		t.Run(name, func(t *testing.T) {
			is := v1beta1.AgentStatus{LastReceivedHeartbeat: at(tc.claimed)}
			received, reported, skew := Heartbeat(tc.before, is, tc.live, start.Add(time.Millisecond))
			if want := at(tc.want); !received.Equal(&want) || skew != tc.skew {
				t.Fatalf("received at %s, clock %q; want %s and %q", received, skew, want, tc.skew)
			}
			after := &v1beta1.AgentStatus{LastReceivedHeartbeat: received, ReportedHeartbeat: reported}
			for _, live := range []bool{true, false} {
				again, claim, skew := Heartbeat(after, is, live, start.Add(time.Hour))
				if !again.Equal(&received) || (claim == nil) != (reported == nil) || skew != SkewUnknown {
					t.Fatalf("later, with nothing new: %s, %q; it was %s", again, skew, received)
				}
			}
		})
	}
}
