package delivery

import (
	"testing"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestMayHaveContent(t *testing.T) {
	const bound, scheduled, unscheduled = v1beta1.BindingStateBound, v1beta1.BindingStateScheduled, v1beta1.BindingStateUnscheduled
	for _, tc := range []struct {
		state, previous v1beta1.BindingState
		snapshot        string
		want            bool
	}{
		{bound, "", "r", true},
		{bound, "", "", true},
		{scheduled, "", "", false},
		{unscheduled, bound, "r", true},
		{unscheduled, bound, "", true},
		{unscheduled, scheduled, "", false},
		{unscheduled, "", "r", true}, // what noted it is unknown; the name is proof enough
		{unscheduled, scheduled, "r", true},
		{unscheduled, "", "", false},
	} {
		if got := MayHaveContent(tc.state, tc.previous, tc.snapshot); got != tc.want {
			t.Errorf("%s, before %q, of snapshot %q: %v; want %v", tc.state, tc.previous, tc.snapshot, got, tc.want)
		}
	}
}
