package joiner

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/report"
)

const (
	// spacing is the least time between two reports on a cluster that keeps changing.
	spacing = 5 * time.Second
	// lookAround is how often the cluster's health is checked between heartbeats. Health sends no event.
	lookAround = 10 * time.Second
	// jitter is the fraction of the period by which a heartbeat may be early or late, so that the members of a fleet
	// do not all report at once.
	jitter = 0.05
)

// step is whether to write a report, and when to check again without an event.
type step struct {
	write bool
	again time.Duration
}

// next decides whether to write wanted now over was, the status on the hub. The first report and a change of
// membership are due at once, a change of health, nodes, properties or namespaces after spacing, all others with the
// heartbeat. member names the cluster.
func next(member string, was, wanted *clusterv1beta1.InternalMemberClusterStatus, period time.Duration, now time.Time) step {
	before := report.Agent(was, clusterv1beta1.AgentTypeMemberAgent)
	after := report.Agent(wanted, clusterv1beta1.AgentTypeMemberAgent)
	if before == nil || !sameCondition(before, after, clusterv1beta1.ConditionJoined) {
		return step{write: true}
	}
	last := before.LastReceivedHeartbeat.Time
	due := dueAfter(member, last, period)
	if !sameCondition(before, after, clusterv1beta1.ConditionHealthy) || !sameFacts(was, wanted) {
		due = earlier(due, last.Add(spacing))
	}
	// A last heartbeat in the future was written by a clock that has been set back since.
	if !now.Before(due) || last.After(now.Add(period)) {
		return step{write: true}
	}
	return step{again: min(due.Sub(now), lookAround)}
}

// dueAfter is when the heartbeat after last is due. The jitter follows from the arguments, so that it is the same
// after a restart.
func dueAfter(member string, last time.Time, period time.Duration) time.Time {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%d", member, last.Unix())
	fraction := float64(h.Sum32()%2001)/1000 - 1 // -1 to 1
	return last.Add(period + time.Duration(fraction*jitter*float64(period)))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// sameCondition reports whether two reports have the same condition of kind, except for its times and message.
func sameCondition(a, b *clusterv1beta1.AgentStatus, kind string) bool {
	x, y := meta.FindStatusCondition(a.Conditions, kind), meta.FindStatusCondition(b.Conditions, kind)
	if x == nil || y == nil {
		return x == y
	}
	return x.Status == y.Status && x.Reason == y.Reason && x.ObservedGeneration == y.ObservedGeneration
}

// sameFacts reports whether two reports agree in everything that scheduling depends on. Available resources change
// with every pod and do not count, nor do observation times.
func sameFacts(a, b *clusterv1beta1.InternalMemberClusterStatus) bool {
	value := func(x, y clusterv1beta1.PropertyValue) bool { return x.Value == y.Value }
	return maps.EqualFunc(a.Properties, b.Properties, value) &&
		equality.Semantic.DeepEqual(a.ResourceUsage.Capacity, b.ResourceUsage.Capacity) &&
		equality.Semantic.DeepEqual(a.ResourceUsage.Allocatable, b.ResourceUsage.Allocatable) &&
		maps.Equal(a.Namespaces, b.Namespaces) &&
		slices.EqualFunc(a.Conditions, b.Conditions, func(x, y metav1.Condition) bool {
			return x.Type == y.Type && x.Status == y.Status && x.Reason == y.Reason
		})
}

// changed returns the conditions of the member agent whose status or reason changed.
func changed(was, is *clusterv1beta1.InternalMemberClusterStatus) []metav1.Condition {
	after := report.Agent(is, clusterv1beta1.AgentTypeMemberAgent)
	if after == nil {
		return nil
	}
	var old []metav1.Condition
	if before := report.Agent(was, clusterv1beta1.AgentTypeMemberAgent); before != nil {
		old = before.Conditions
	}
	var out []metav1.Condition
	for _, c := range after.Conditions {
		if c0 := meta.FindStatusCondition(old, c.Type); c0 == nil || c0.Status != c.Status || c0.Reason != c.Reason {
			out = append(out, c)
		}
	}
	return out
}
