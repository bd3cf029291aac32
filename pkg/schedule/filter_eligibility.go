package schedule

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// FilterEligibility passes the clusters that are connected, joined and healthy.
const FilterEligibility Filter = "ClusterEligibility"

// patience is the maximum time for which a cluster may be unhealthy before it is no longer picked.
const patience = 5 * time.Minute

// Results of Ineligible. The texts contain no times: statuses contain them, and change only when something happens.
const (
	left       = "the cluster has left the fleet"
	offline    = "not connected: its member agent is not online yet"
	silent     = "not connected: no recent heartbeat from its member agent"
	unjoined   = "not connected: its member agent has not joined"
	unexamined = "its health condition is not available"
	unhealthy  = "it is unhealthy"
)

// Ineligible returns why nothing new can be placed on cluster, or an empty string.
func Ineligible(cluster *clusterv1beta1.MemberCluster, now time.Time) string {
	if !cluster.DeletionTimestamp.IsZero() {
		return left
	}
	switch liveness.Of(cluster, now) {
	case liveness.Unreported:
		return offline
	case liveness.Silent:
		return silent
	}
	agent := liveness.Agent(cluster)
	if !meta.IsStatusConditionTrue(agent.Conditions, clusterv1beta1.ConditionJoined) {
		return unjoined
	}
	healthy := healthOf(agent)
	if healthy == nil {
		return unexamined
	}
	if healthy.Status != metav1.ConditionTrue && now.Sub(healthy.LastTransitionTime.Time) > patience {
		return unhealthy
	}
	return ""
}

func healthOf(agent *clusterv1beta1.AgentStatus) *metav1.Condition {
	return meta.FindStatusCondition(agent.Conditions, clusterv1beta1.ConditionHealthy)
}

type clusterEligibility struct {
	alone
	// fixed is true for PickFixed, which waits only for the clusters with these names.
	fixed bool
	names []string
}

func (clusterEligibility) name() Filter { return FilterEligibility }

func (clusterEligibility) of(policy *v1beta1.PlacementPolicy, _ string) filter {
	if isFixed(policy) {
		return clusterEligibility{fixed: true, names: policy.ClusterNames}
	}
	return clusterEligibility{}
}

func (f clusterEligibility) check(cluster *clusterv1beta1.MemberCluster, now time.Time) error {
	if why := Ineligible(cluster, now); why != "" {
		return &ineligible{why: why, cluster: cluster, now: now, fixed: f.fixed}
	}
	return nil
}

func (f clusterEligibility) watches() []string {
	if f.fixed {
		return nameTopics(f.names)
	}
	return []string{topicFleet}
}

func (clusterEligibility) changes(c ClusterChange) []string {
	if Ineligible(c.was, c.then) == Ineligible(c.is, c.now) {
		return nil
	}
	return []string{topicFleet, topicName + c.cluster}
}

// repairs give the cluster the state that it lacks.
func (clusterEligibility) repairs(t trial, _ error) []trial {
	cluster := t.find()
	agent := liveness.Agent(cluster)
	fresh := metav1.NewTime(t.Now)
	switch Ineligible(cluster, t.Now) {
	case offline:
		return []trial{t.member("have its member agent report: heartbeat, joined, healthy", func(c *clusterv1beta1.MemberCluster) {
			c.Status.AgentStatus = append(c.Status.AgentStatus, wellAgent(fresh))
		})}
	case silent:
		do := fmt.Sprintf("have its member agent send a fresh heartbeat (the last was %s ago)", ago(t.Now, agent.LastReceivedHeartbeat))
		return []trial{t.member(do, func(c *clusterv1beta1.MemberCluster) { liveness.Agent(c).LastReceivedHeartbeat = fresh })}
	case unjoined:
		return []trial{t.member("have its member agent join", func(c *clusterv1beta1.MemberCluster) {
			meta.SetStatusCondition(&liveness.Agent(c).Conditions, well(clusterv1beta1.ConditionJoined, fresh))
		})}
	case unexamined, unhealthy:
		return []trial{t.member("have its member agent report it healthy", func(c *clusterv1beta1.MemberCluster) {
			meta.SetStatusCondition(&liveness.Agent(c).Conditions, well(clusterv1beta1.ConditionHealthy, fresh))
		})}
	}
	return nil // a leaving cluster does not return in the same state
}

func (clusterEligibility) exclusions(trial) []trial { return nil }

func wellAgent(now metav1.Time) clusterv1beta1.AgentStatus {
	return clusterv1beta1.AgentStatus{
		Type:                  clusterv1beta1.AgentTypeMemberAgent,
		Conditions:            []metav1.Condition{well(clusterv1beta1.ConditionJoined, now), well(clusterv1beta1.ConditionHealthy, now)},
		LastReceivedHeartbeat: now,
	}
}

func well(kind string, now metav1.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, LastTransitionTime: now}
}

// ineligible is the objection to the state of a cluster; its text comes from Ineligible.
type ineligible struct {
	why     string
	cluster *clusterv1beta1.MemberCluster
	now     time.Time
	// fixed is true for a policy that names the cluster, and waits for it.
	fixed bool
}

func (i *ineligible) Error() string {
	if i.fixed {
		return "not eligible yet: " + i.why
	}
	return "not eligible: " + i.why
}

func (i *ineligible) Detail() string {
	agent := liveness.Agent(i.cluster)
	switch i.why {
	case silent:
		return fmt.Sprintf("%s (the last was %s ago)", i, ago(i.now, agent.LastReceivedHeartbeat))
	case unhealthy:
		return fmt.Sprintf("%s (for %s)", i, ago(i.now, healthOf(agent).LastTransitionTime))
	}
	return i.Error()
}

func ago(now time.Time, then metav1.Time) time.Duration { return now.Sub(then.Time).Round(time.Second) }
