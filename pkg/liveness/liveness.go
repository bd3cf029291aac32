// Package liveness decides from the heartbeats of a member cluster whether the hub hears from it. All agents use it,
// so that a silent cluster is the same for all. All times are those of the hub's clock: the registrar records when the
// hub received a heartbeat.
package liveness

import (
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// State is what the heartbeats of a cluster show.
type State int

// Values of State, in the order in which a cluster without heartbeats goes through them.
const (
	// Unreported: the member agent has never reported.
	Unreported State = iota
	// Heard: heartbeats arrive.
	Heard
	// Overdue: the next heartbeat is late. What the agent reported last may be out of date, so nothing is taken from
	// the cluster.
	Overdue
	// Silent: heartbeats have been missing for so long that nothing new is placed on the cluster.
	Silent
)

const (
	// usualPeriod and longestPeriod are the default and the maximum of heartbeatPeriodSeconds.
	usualPeriod   = 60 * time.Second
	longestPeriod = 600 * time.Second
	// arrival is the time that a heartbeat may need to arrive.
	arrival = 10 * time.Second
	// patience is the time after which a cluster is silent, unless two of its periods are longer.
	patience = 5 * time.Minute
)

// Of returns the state of cluster. A leaving cluster has one too.
func Of(cluster *clusterv1beta1.MemberCluster, now time.Time) State {
	agent := Agent(cluster)
	if agent == nil {
		return Unreported
	}
	age := now.Sub(agent.LastReceivedHeartbeat.Time)
	switch {
	case age > silentAfter(cluster):
		return Silent
	case age > dueAfter(cluster):
		return Overdue
	default:
		return Heard
	}
}

// UntilSilent returns when the cluster falls silent if no heartbeat arrives; 0 if it is silent, or has never reported.
func UntilSilent(cluster *clusterv1beta1.MemberCluster, now time.Time) time.Duration {
	switch Of(cluster, now) {
	case Heard, Overdue:
		return Agent(cluster).LastReceivedHeartbeat.Add(silentAfter(cluster)).Sub(now) + time.Nanosecond
	default:
		return 0
	}
}

// Grace is how long after its start a process waits before it reports that the cluster is silent: heartbeats may not
// have arrived while the hub was down.
func Grace(cluster *clusterv1beta1.MemberCluster) time.Duration { return 2*Period(cluster) + arrival }

// dueAfter is the maximum age of a heartbeat that is not late. An agent varies its period by 5 percent.
func dueAfter(cluster *clusterv1beta1.MemberCluster) time.Duration {
	return Period(cluster)*105/100 + arrival
}

// silentAfter is the maximum age of the last heartbeat of a cluster that is not silent.
func silentAfter(cluster *clusterv1beta1.MemberCluster) time.Duration {
	return max(patience, Grace(cluster))
}

// Period is the heartbeat period of the cluster.
func Period(cluster *clusterv1beta1.MemberCluster) time.Duration {
	seconds := time.Duration(cluster.Spec.HeartbeatPeriodSeconds)
	if seconds <= 0 {
		return usualPeriod
	}
	return min(seconds, longestPeriod/time.Second) * time.Second
}

// Agent returns the last report of the member agent; nil if there is none.
func Agent(cluster *clusterv1beta1.MemberCluster) *clusterv1beta1.AgentStatus {
	for i := range cluster.Status.AgentStatus {
		if cluster.Status.AgentStatus[i].Type == clusterv1beta1.AgentTypeMemberAgent {
			return &cluster.Status.AgentStatus[i]
		}
	}
	return nil
}

// LastHeard is when the last heartbeat of the cluster arrived; zero if it has never reported.
func LastHeard(cluster *clusterv1beta1.MemberCluster) time.Time {
	if agent := Agent(cluster); agent != nil {
		return agent.LastReceivedHeartbeat.Time
	}
	return time.Time{}
}

// Due is until when the next heartbeat of the cluster should arrive.
func Due(cluster *clusterv1beta1.MemberCluster) time.Time {
	return LastHeard(cluster).Add(dueAfter(cluster))
}

// LostAfter is the shortest silence after which a cluster can be considered lost: three heartbeat periods.
func LostAfter(cluster *clusterv1beta1.MemberCluster) time.Duration { return 3 * Period(cluster) }
