package delivery

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestMeaningOf(t *testing.T) {
	for _, tc := range []struct {
		reason        string
		failedObjects int
		want          Meaning
	}{
		// The contract's rule for evictions: these have not failed, and everything else has.
		{v1beta1.ReasonOverriddenPending, 0, Pending},
		{v1beta1.ReasonWorkNotSynchronizedYet, 0, Pending},
		{v1beta1.ReasonApplyPending, 0, Pending},
		{v1beta1.ReasonResourceNotAvailableYet, 0, Pending},

		{v1beta1.ReasonRolloutNotStartedYet, 0, Pending},
		{v1beta1.ReasonOverriddenFailed, 0, Failed},
		{v1beta1.ReasonSyncWorkFailed, 0, Failed},
		{v1beta1.ReasonReservedNamespace, 0, Failed},
		{v1beta1.ReasonApplyInProgress, 0, Unreported},
		{v1beta1.ReasonNotAllWorkHaveBeenApplied, 0, Progressing},
		{v1beta1.ReasonNotAllWorkHaveBeenApplied, 1, Failed},
		{v1beta1.ReasonNotAllWorkAreAvailable, 0, Progressing},
		{v1beta1.ReasonNotAllWorkAreAvailable, 1, Progressing}, // a Deployment that is rolling out is listed as not available
		{v1beta1.ReasonDiffReportInProgress, 0, Unreported},
		{v1beta1.ReasonNotAllWorkHaveDiffReported, 0, Failed},
		{"OfAnotherClient", 0, Failed},
	} {
		if got := MeaningOf(metav1.Condition{Status: metav1.ConditionFalse, Reason: tc.reason}, tc.failedObjects); got != tc.want {
			t.Errorf("%s with %d failed objects means %d; want %d", tc.reason, tc.failedObjects, got, tc.want)
		}
	}
}
