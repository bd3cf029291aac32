package schedule

import (
	"cmp"
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// ClusterChange is what has changed about a cluster. Two steps lead from it to the placements that must be decided again: Topics finds,
// through an index, those whose policy refers to what has changed; Matters reports for each of them whether its verdict on the cluster
// is another. Heartbeats and observation times have no topic, and what only makes a cluster less fit matters to no placement: nothing
// is taken away from a cluster while it is there.
type ClusterChange struct {
	cluster string
	// was and is are nil for a cluster that was not, or is no longer, there.
	was, is *clusterv1beta1.MemberCluster
	now     time.Time
}

// ClusterChangeOf compares a cluster with how it was; was is nil if it has just appeared, is if it is gone.
func ClusterChangeOf(was, is *clusterv1beta1.MemberCluster, now time.Time) ClusterChange {
	return ClusterChange{cluster: cmp.Or(is, was).Name, was: was, is: is, now: now}
}

// Topics of ClusterChange and Watch that more than one filter uses.
const (
	// topicFleet is for clusters that come, go, and become eligible.
	topicFleet = "fleet"
	// The rest are followed by a name.
	topicName  = "name/"
	topicLabel = "label/"
)

// Topics are what has changed, in the words of Watch.Topics.
func (c ClusterChange) Topics() []string {
	if c.was == nil || c.is == nil {
		return []string{topicFleet, topicName + c.cluster}
	}
	return allFilters.topics(func(f filter) []string { return f.changes(c) })
}

// labels are the topics of the labels that have changed.
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

// differences are topics: the keys that only one of two maps has or that have different values.
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

// Watch is what one placement waits for.
type Watch struct {
	// Policy and Namespace are as in Request.
	Policy    *v1beta1.PlacementPolicy
	Namespace string
	// Fulfilled says whether the placement has all the clusters that it wants.
	Fulfilled bool
	// Listed are the decisions that are shown now.
	Listed []v1beta1.ClusterDecision
}

// Topics are what the policy refers to: only a change of one of them can matter. There are none if the placement waits for nothing.
func (w Watch) Topics() []string {
	if w.Fulfilled && w.Policy != nil &&
		(w.Policy.PlacementType == v1beta1.PlacementTypePickFixed || w.Policy.PlacementType == v1beta1.PlacementTypePickN) {
		return nil
	}
	return filtersOf(w.Policy, w.Namespace).topics(filter.watches)
}

// Matters reports whether a placement, one of those that Topics finds, may be decided or reported otherwise after the change: the cluster
// passes and did not, something else is wrong with one that is listed, or other clusters may pass. Bindings do not count here: when a
// cluster is gone, every placement that has a binding to it must be decided again.
func (c ClusterChange) Matters(w Watch) bool {
	fs := filtersOf(w.Policy, w.Namespace)
	if slices.ContainsFunc(fs, func(f filter) bool { return f.affectsOthers(c) }) {
		return true
	}
	was, is := fs.reason(c.was, c.now), fs.reason(c.is, c.now)
	if was == is {
		return false
	}
	return is == "" || slices.ContainsFunc(w.Listed, func(d v1beta1.ClusterDecision) bool { return d.ClusterName == c.cluster && !d.Selected })
}

// reason is what a status would show for the cluster, empty if it passes.
func (fs filters) reason(cluster *clusterv1beta1.MemberCluster, now time.Time) string {
	if cluster == nil {
		return unknown.Error()
	}
	if objection := fs.objection(cluster, now); objection != nil {
		return objection.Reason()
	}
	return ""
}
