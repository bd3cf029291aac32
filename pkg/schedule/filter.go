package schedule

import (
	"maps"
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Filter names what a cluster has to pass. The names are those that users of this API know.
type Filter string

// allFilters are in the order in which they check a cluster: the first that refuses it is the one that is reported. docs/explain.md
// lists them in the same order.
var allFilters = filters{
	clusterNames{},
	clusterAffinity{},
	clusterEligibility{},
	namespaceAffinity{},
	taintToleration{},
	topologySpread{},
}

// filter is everything that this package knows about one filter, so that no part of it can be forgotten. allFilters has the zero values,
// for what depends on no policy: name, of and changes.
type filter interface {
	name() Filter
	// of returns the filter for one policy of a placement in namespace, nil if the filter has no part in such a policy.
	of(policy *v1beta1.PlacementPolicy, namespace string) filter

	// check returns why cluster cannot be chosen now, and nil if it passes. A filter that depends on the clusters chosen so far passes
	// every cluster here and is checked for each pick, as topologySpread is.
	check(cluster *clusterv1beta1.MemberCluster, now time.Time) error

	// watches are the topics of the changes that can make the filter pass a cluster, or object to it for another reason. A placement whose
	// filters do not watch a topic of a change is not decided again.
	watches() []string
	// changes are the topics of c that watches may return. The cluster was there before and still is: one that comes or goes has topics
	// of its own, see ClusterChange.Topics.
	changes(c ClusterChange) []string
	// affectsOthers reports whether c may make the filter pass other clusters than the one that has changed.
	affectsOthers(c ClusterChange) bool

	// repairs are the worlds in which the filter passes the cluster of t, one for each way to get there. cause is its objection.
	repairs(t trial, cause error) []trial
}

// alone is part of filters that look at each cluster by itself.
type alone struct{}

func (alone) affectsOthers(ClusterChange) bool { return false }

// filters are those of one policy, in their order.
type filters []filter

// filtersOf returns the filters of a policy; nil picks all clusters. namespace is that of a ResourcePlacement.
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

// objection returns why cluster cannot be chosen now, and nil if it can. What other clusters are chosen does not count.
func (fs filters) objection(cluster *clusterv1beta1.MemberCluster, now time.Time) *Objection {
	for _, f := range fs {
		if err := f.check(cluster, now); err != nil {
			return &Objection{f.name(), err}
		}
	}
	return nil
}

// find returns the filter of that name, nil if the policy has none.
func (fs filters) find(name Filter) filter {
	for _, f := range fs {
		if f.name() == name {
			return f
		}
	}
	return nil
}

// topics are those that of returns for each filter, sorted, each once.
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
