package membership

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

const (
	// inStep is how late a report may be received and still count at the time that its agent wrote: it is under way for so long.
	inStep = 10 * time.Second
	// apart is how far clocks may be apart without a remark.
	apart = 2 * time.Minute
	// tolerated is how far a clock may be behind the hub's. A report that is older than that counts as old.
	tolerated = 15 * time.Minute
)

// Skew is how an agent's clock is to the hub's.
type Skew string

// Skews.
const (
	SkewUnknown Skew = "" // there is no report by which it could be told now
	SkewNone    Skew = "in step"
	SkewAhead   Skew = "more than 2 minutes ahead of the hub's"
	SkewBehind  Skew = "more than 2 minutes behind the hub's"
	SkewFar     Skew = "more than 15 minutes behind the hub's, so that its heartbeats count as old"
)

// Heartbeat works out when the hub received the report of an agent. before is the agent's entry on the MemberCluster, nil if there is
// none; is the one on the InternalMemberCluster, whose time is the agent's own. live is whether this process saw an earlier report of the
// agent, or that there was none: then one that is new came just now. After a restart one that is new may have come at any time since; it
// counts by how far the clocks were apart before. The result is before's time, to the byte, as long as nothing new is reported.
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
		return received, reported, SkewUnknown // it may have come when the hub agent was not there
	}
	return received, reported, skewOf(late)
}

// known is the agent's own time of the report that an entry on the MemberCluster is from.
func known(before *v1beta1.AgentStatus) *metav1.Time {
	if before.ReportedHeartbeat != nil {
		return before.ReportedHeartbeat
	}
	return &before.LastReceivedHeartbeat
}

// estimate is when a report was received that an agent wrote at claimed, if its clock has gone on evenly; now, if it has not.
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
