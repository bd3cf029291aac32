package membership

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

const (
	// inStep is the maximum delay of a report that still counts at its agent's time: reports take that long to arrive.
	inStep = 10 * time.Second
	// apart is the difference between clocks from which the hub agent reports it.
	apart = 2 * time.Minute
	// tolerated is the maximum delay of a clock behind the hub's. An older report counts as old.
	tolerated = 15 * time.Minute
)

// Skew is the difference between an agent's clock and the hub's.
type Skew string

// Values of Skew.
const (
	SkewUnknown Skew = "" // no current report shows it
	SkewNone    Skew = "in step"
	SkewAhead   Skew = "more than 2 minutes ahead of the hub's"
	SkewBehind  Skew = "more than 2 minutes behind the hub's"
	SkewFar     Skew = "more than 15 minutes behind the hub's, so its heartbeats count as old"
)

// Heartbeat computes when the hub received the report of an agent. before is the agent's entry on the MemberCluster,
// nil if there is none; is is the entry on the InternalMemberCluster, with the agent's own time. live is true if this
// process has seen an earlier report of the agent, or that there was none: then a new report has arrived just now.
// After a restart, a new report may have arrived at any time since; the function estimates the time from the previous
// difference between the clocks. The result equals before's time, to the byte, if there is no new report.
func Heartbeat(before *v1beta1.AgentStatus, is v1beta1.AgentStatus, live bool, now time.Time) (received metav1.Time, reported *metav1.Time, skew Skew) {
	claimed, now := is.LastReceivedHeartbeat, now.Truncate(time.Second)
	if claimed.IsZero() {
		return claimed, nil, SkewUnknown
	}
	if before != nil && known(before).Equal(&claimed) && !before.LastReceivedHeartbeat.After(now) {
		return before.LastReceivedHeartbeat, before.ReportedHeartbeat, SkewUnknown
	}
	late := now.Sub(claimed.Time)
	switch {
	case late > tolerated:
		received = claimed
	case live && late >= 0 && late <= inStep:
		received = claimed
	case live:
		received = metav1.NewTime(now)
	default:
		received = metav1.NewTime(estimate(before, claimed.Time, now))
	}
	if !received.Equal(&claimed) {
		reported = &claimed
	}
	if !live && late > 0 {
		return received, reported, SkewUnknown // it may have arrived while the hub agent was not running
	}
	return received, reported, skewOf(late)
}

// known returns the agent's own time of the report in an entry on the MemberCluster.
func known(before *v1beta1.AgentStatus) *metav1.Time {
	if before.ReportedHeartbeat != nil {
		return before.ReportedHeartbeat
	}
	return &before.LastReceivedHeartbeat
}

// estimate returns when the hub received a report that an agent wrote at claimed, if its clock has advanced evenly;
// otherwise now.
func estimate(before *v1beta1.AgentStatus, claimed, now time.Time) time.Time {
	if before == nil || before.LastReceivedHeartbeat.IsZero() {
		if claimed.After(now) {
			return now
		}
		return claimed
	}
	at := claimed.Add(before.LastReceivedHeartbeat.Sub(known(before).Time))
	if at.After(now) || at.Before(before.LastReceivedHeartbeat.Time) {
		return now
	}
	return at
}

func skewOf(late time.Duration) Skew {
	switch {
	case late > tolerated:
		return SkewFar
	case late > apart:
		return SkewBehind
	case late < -apart:
		return SkewAhead
	}
	return SkewNone
}
