package schedule

import (
	"maps"
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Filter is the name of a filter, as users of this API know it.
type Filter string

// allFilters are in the order in which they check a cluster: the first objection is reported. docs/explain.md lists
// them in the same order.
var allFilters = filters{
	clusterNames{},
	clusterAffinity{},
	clusterEligibility{},
	namespaceAffinity{},
	taintToleration{},
	placementAffinity{},
	topologySpread{},
}

// filter contains everything about one filter in this package, so that no part of it can be forgotten. allFilters
// contains zero values, for the methods that depend on no policy: name, of and changes.
type filter interface {
	name() Filter
	// of returns the filter for one policy of a placement in namespace; nil if the filter does not apply to the
	// policy.
	of(policy *v1beta1.PlacementPolicy, namespace string) filter

	// check returns why cluster cannot be picked now, and nil if it passes. A filter that depends on the clusters
	// picked so far passes every cluster here and is checked for each pick, like topologySpread.
	check(cluster *clusterv1beta1.MemberCluster, now time.Time) error

	// watches returns the topics of the changes that can make the filter pass a cluster, or change its objection. A
	// placement whose filters do not watch a topic of a change is not decided again.
	watches() []string
	// changes returns the topics of c that watches may return. The cluster existed before and still exists: added and
	// deleted clusters have their own topics, see ClusterChange.Topics.
	changes(c ClusterChange) []string
	// affectsOthers reports whether c may make the filter pass clusters other than the changed one.
	affectsOthers(c ClusterChange) bool

	// repairs returns the trials in which the filter passes the cluster of t, one for each way to do it. cause is its
	// objection.
	repairs(t trial, cause error) []trial
	// exclusions returns trials in which the filter no longer passes the cluster of t. Filters have none if every way
	// to fail them harms the cluster or affects what is picked among the others.
	exclusions(t trial) []trial
}

// alone is embedded in filters that check each cluster independently.
type alone struct{}

func (alone) affectsOthers(ClusterChange) bool { return false }

// filters are the filters of one policy, in their order.
type filters []filter

// filtersOf returns the filters of a policy; nil picks all clusters. namespace is the namespace of a
// ResourcePlacement.
func filtersOf(policy *v1beta1.PlacementPolicy, namespace string) filters {
	if policy == nil {
		policy = &v1beta1.PlacementPolicy{}
	}
	var out filters
	for _, each := range allFilters {
		if f := each.of(policy, namespace); f != nil {
			out = append(out, f)
		}
	}
	return out
}

// objection returns why cluster cannot be picked now, and nil if it can. Other picked clusters do not matter.
func (fs filters) objection(cluster *clusterv1beta1.MemberCluster, now time.Time) *Objection {
	for _, f := range fs {
		if err := f.check(cluster, now); err != nil {
			return &Objection{f.name(), err}
		}
	}
	return nil
}

// objectionIfHeard is objection for a cluster that is not heard, as if it were.
func (fs filters) objectionIfHeard(cluster *clusterv1beta1.MemberCluster, now time.Time) *Objection {
	return slices.DeleteFunc(slices.Clone(fs), func(f filter) bool { return f.name() == FilterEligibility }).objection(cluster, now)
}

// find returns the filter with that name, nil if the policy has none.
func (fs filters) find(name Filter) filter {
	for _, f := range fs {
		if f.name() == name {
			return f
		}
	}
	return nil
}

// topics returns the topics that of returns for each filter, sorted, without duplicates.
func (fs filters) topics(of func(filter) []string) []string {
	topics := map[string]bool{}
	for _, f := range fs {
		for _, topic := range of(f) {
			topics[topic] = true
		}
	}
	return slices.Sorted(maps.Keys(topics))
}

func isFixed(policy *v1beta1.PlacementPolicy) bool {
	return policy.PlacementType == v1beta1.PlacementTypePickFixed
}
