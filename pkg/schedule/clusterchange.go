package schedule

import (
	"cmp"
	"maps"
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/schedule/property"
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

// Topics of ClusterChange and Watch.
const (
	// topicFleet is for clusters that come, go, and become eligible.
	topicFleet  = "fleet"
	topicTaints = "taints"
	// The rest are followed by a name.
	topicName      = "name/"
	topicLabel     = "label/"
	topicProperty  = "property/"
	topicNamespace = "namespace/"
)

// Topics are what has changed, in the words of Watch.Topics.
func (c ClusterChange) Topics() []string {
	if c.was == nil || c.is == nil {
		return []string{topicFleet, topicName + c.cluster}
	}
	var out []string
	if Ineligible(c.was, c.now) != Ineligible(c.is, c.now) {
		out = append(out, topicFleet, topicName+c.cluster)
	}
	if !slices.Equal(c.was.Spec.Taints, c.is.Spec.Taints) {
		out = append(out, topicTaints)
	}
	for _, key := range differences(c.was.Labels, c.is.Labels, func(a, b string) bool { return a == b }) {
		out = append(out, topicLabel+key)
	}
	for _, name := range property.Changed(c.was, c.is) {
		out = append(out, topicProperty+name)
	}
	return append(out, c.namespaces()...)
}

// namespaces looks at which there are; who placed them does not matter.
func (c ClusterChange) namespaces() []string {
	was, is := c.was.Status.Namespaces, c.is.Status.Namespaces
	names := differences(was, is, func(_, _ string) bool { return true })
	if collectsNamespaces(c.was) != collectsNamespaces(c.is) || (was == nil) != (is == nil) {
		names = append(names, "")
	}
	for i := range names {
		names[i] = topicNamespace + names[i]
	}
	return names
}

// differences are the keys, sorted, that only one of two maps has or that have different values.
func differences[K cmp.Ordered, V any](a, b map[K]V, same func(V, V) bool) []K {
	var out []K
	for key, value := range a {
		if other, ok := b[key]; !ok || !same(value, other) {
			out = append(out, key)
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			out = append(out, key)
		}
	}
	slices.Sort(out)
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
	policy := w.policy()
	if w.Fulfilled && (policy.PlacementType == v1beta1.PlacementTypePickFixed || policy.PlacementType == v1beta1.PlacementTypePickN) {
		return nil
	}
	topics := map[string]bool{}
	if policy.PlacementType == v1beta1.PlacementTypePickFixed {
		for _, name := range policy.ClusterNames {
			topics[topicName+name] = true
		}
		return slices.Sorted(maps.Keys(topics))
	}
	topics[topicFleet], topics[topicTaints] = true, true
	if w.Namespace != "" {
		topics[topicNamespace], topics[topicNamespace+w.Namespace] = true, true
	}
	for _, t := range requiredTerms(policy) {
		term := compileTerm(t)
		for _, requirement := range term.labels {
			topics[topicLabel+requirement.Key()] = true
		}
		for _, requirement := range term.properties {
			topics[topicProperty+requirement.Name()] = true
		}
	}
	for _, c := range w.spread() {
		topics[topicLabel+c.TopologyKey] = true
	}
	return slices.Sorted(maps.Keys(topics))
}

func (w Watch) policy() *v1beta1.PlacementPolicy {
	if w.Policy == nil {
		return &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll}
	}
	return w.Policy
}

// spread are the constraints that count, which are PickN's.
func (w Watch) spread() []v1beta1.TopologySpreadConstraint {
	if policy := w.policy(); policy.PlacementType == v1beta1.PlacementTypePickN {
		return policy.TopologySpreadConstraints
	}
	return nil
}

// Matters reports whether a placement, one of those that Topics finds, may be decided or reported otherwise after the change: the cluster
// passes and did not, something else is wrong with one that is listed, or the domains of a spread are others. Bindings do not count
// here: when a cluster is gone, every placement that has a binding to it must be decided again.
func (c ClusterChange) Matters(w Watch) bool {
	if c.movesDomain(w.spread()) {
		return true
	}
	rules := compile(w.policy(), w.Namespace)
	was, is := rules.reason(c.was, c.now), rules.reason(c.is, c.now)
	if was == is {
		return false
	}
	return is == "" || slices.ContainsFunc(w.Listed, func(d v1beta1.ClusterDecision) bool { return d.ClusterName == c.cluster && !d.Selected })
}

// reason is what a status would show for the cluster, empty if it passes.
func (r *rules) reason(cluster *clusterv1beta1.MemberCluster, now time.Time) string {
	if cluster == nil {
		return unknown.Error()
	}
	if objection := r.object(cluster, now); objection != nil {
		return objection.Reason()
	}
	return ""
}

// movesDomain reports whether the cluster is in another domain than it was. One that comes brings at most an empty domain with it, which
// makes no room; one that goes may take one away that kept others from being chosen.
func (c ClusterChange) movesDomain(constraints []v1beta1.TopologySpreadConstraint) bool {
	return c.was != nil && slices.ContainsFunc(constraints, func(s v1beta1.TopologySpreadConstraint) bool {
		before, had := c.was.Labels[s.TopologyKey]
		if c.is == nil {
			return had
		}
		after, has := c.is.Labels[s.TopologyKey]
		return had != has || before != after
	})
}
