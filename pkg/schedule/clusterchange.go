package schedule

import (
	"cmp"
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// ClusterChange is a change of a cluster. Two steps lead from it to the placements that must be decided again: Topics
// finds, through an index, the placements whose policy refers to the change; Matters reports for each of them whether
// its verdict on the cluster differs. Heartbeats and observation times have no topic, and a change that only makes a
// cluster less suitable does not matter to any placement, because nothing is removed from an existing cluster.
type ClusterChange struct {
	cluster string
	// was is nil for a cluster that did not exist before, is for one that no longer exists.
	was, is *clusterv1beta1.MemberCluster
	// then is the time of was, now that of is.
	then, now time.Time
}

// ClusterChangeOf compares a cluster with its previous state; was is nil for a new cluster, is for a deleted one.
func ClusterChangeOf(was, is *clusterv1beta1.MemberCluster, now time.Time) ClusterChange {
	return ClusterChange{cluster: cmp.Or(is, was).Name, was: was, is: is, then: now, now: now}
}

// ClusterSilence is the change of a cluster that was heard, and has fallen silent now.
func ClusterSilence(cluster *clusterv1beta1.MemberCluster, now time.Time) ClusterChange {
	heard := time.Time{}
	if agent := liveness.Agent(cluster); agent != nil {
		heard = agent.LastReceivedHeartbeat.Time
	}
	return ClusterChange{cluster: cluster.Name, was: cluster, is: cluster, then: heard, now: now}
}

// fellSilent reports whether heartbeats have begun to be missing for too long.
func (c ClusterChange) fellSilent() bool {
	return liveness.Of(c.was, c.then) != liveness.Silent && liveness.Of(c.is, c.now) == liveness.Silent
}

// Topics of ClusterChange and Watch that more than one filter uses.
const (
	// topicFleet is the topic of clusters that are added, are deleted, or become eligible.
	topicFleet = "fleet"
	// The other topics are followed by a name.
	topicName  = "name/"
	topicLabel = "label/"
)

// Topics returns the topics of the change, in the terms of Watch.Topics.
func (c ClusterChange) Topics() []string {
	if c.was == nil || c.is == nil {
		return []string{topicFleet, topicName + c.cluster}
	}
	return allFilters.topics(func(f filter) []string { return f.changes(c) })
}

// labels returns the topics of the changed labels.
func (c ClusterChange) labels() []string {
	return differences(topicLabel, c.was.Labels, c.is.Labels, func(a, b string) bool { return a == b })
}

func nameTopics(names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, topicName+name)
	}
	return out
}

// differences returns topics for the keys that only one of two maps has or that have different values.
func differences[V any](topic string, a, b map[string]V, same func(V, V) bool) []string {
	var out []string
	for key, value := range a {
		if other, ok := b[key]; !ok || !same(value, other) {
			out = append(out, topic+key)
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			out = append(out, topic+key)
		}
	}
	return out
}

// Watch describes the changes that affect one placement.
type Watch struct {
	// Policy and Namespace are as in Request.
	Policy    *v1beta1.PlacementPolicy
	Namespace string
	// Fulfilled is true if the placement has the desired number of clusters.
	Fulfilled bool
	// Listed are the currently reported decisions.
	Listed []v1beta1.ClusterDecision
}

// Topics returns the topics that the policy refers to: only changes with one of them can matter. There are none if no
// change can matter.
func (w Watch) Topics() []string {
	if w.Fulfilled && w.Policy != nil &&
		(w.Policy.PlacementType == v1beta1.PlacementTypePickFixed || w.Policy.PlacementType == v1beta1.PlacementTypePickN) {
		return nil
	}
	return filtersOf(w.Policy, w.Namespace).topics(filter.watches)
}

// Matters reports whether the change may lead to another decision or another report for a placement that Topics finds:
// the cluster passes and did not before, a listed cluster has another objection, or other clusters may pass. Bindings
// do not matter here: when a cluster is deleted, every placement with a binding to it must be decided again.
func (c ClusterChange) Matters(w Watch) bool {
	fs := filtersOf(w.Policy, w.Namespace)
	if slices.ContainsFunc(fs, func(f filter) bool { return f.affectsOthers(c) }) || c.movesTaints(w.Policy) {
		return true
	}
	was, is := fs.reason(c.was, c.then), fs.reason(c.is, c.now)
	if was == is {
		return false
	}
	return is == "" || slices.ContainsFunc(w.Listed, func(d v1beta1.ClusterDecision) bool { return d.ClusterName == c.cluster && !d.Selected })
}

// movesTaints reports whether evicting taints change that the policy tolerates. It may do so for a time only, which
// the policy of a snapshot does not contain: then the cluster is picked only without them.
func (c ClusterChange) movesTaints(policy *v1beta1.PlacementPolicy) bool {
	return policy != nil && policy.PlacementType == v1beta1.PlacementTypePickN && len(policy.Tolerations) > 0 && c.was != nil && c.is != nil &&
		!slices.Equal(failover.EvictingTaints(c.was), failover.EvictingTaints(c.is))
}

// reason returns the reason that a status reports for the cluster; empty if it passes.
func (fs filters) reason(cluster *clusterv1beta1.MemberCluster, now time.Time) string {
	if cluster == nil {
		return unknown.Error()
	}
	if objection := fs.objection(cluster, now); objection != nil {
		return objection.Reason()
	}
	return ""
}
