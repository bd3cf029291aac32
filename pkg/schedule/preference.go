package schedule

import (
	"math"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/schedule/property"
)

// preferences are the preferences of the policy for clusters that pass its filters.
type preferences struct {
	clusters   []preference
	placements []placementPreference
}

// placementPreference adds weight to the score of clusters that match a term about other placements.
type placementPreference struct {
	placementTerm
	weight int32
}

// preference adds weight to the score of clusters that match the labels; with a sorter, a fraction of it.
type preference struct {
	term
	weight    int32
	sorter    *v1beta1.PropertySorter
	ascending bool
	values    property.Range
}

// preferencesOf reads the ranges of the properties that preferences sort by from the whole fleet.
func preferencesOf(policy *v1beta1.PlacementPolicy, clusters []*clusterv1beta1.MemberCluster, all others) (out preferences) {
	for _, p := range preferredPlacements(policy) {
		one := placementPreference{placementTerm: compilePlacementTerm(p.Preference), weight: p.Weight}
		one.know(all)
		out.placements = append(out.placements, one)
	}
	if policy.Affinity == nil || policy.Affinity.ClusterAffinity == nil {
		return out
	}
	for _, p := range policy.Affinity.ClusterAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		one := preference{term: compileTerm(p.Preference), weight: p.Weight, sorter: p.Preference.PropertySorter}
		if one.sorter != nil {
			one.ascending = one.sorter.SortOrder == v1beta1.PropertySortOrderAscending
			one.values = property.RangeOf(clusters, one.sorter.Name)
		}
		out.clusters = append(out.clusters, one)
	}
	return out
}

// affinity returns the sum of the weights that cluster gets.
func (ps preferences) affinity(cluster *clusterv1beta1.MemberCluster) int32 {
	var sum int32
	for i := range ps.clusters {
		sum += ps.clusters[i].worth(cluster)
	}
	for i := range ps.placements {
		if ps.placements[i].check(cluster) == nil {
			sum += ps.placements[i].weight
		}
	}
	return sum
}

func (p *preference) worth(cluster *clusterv1beta1.MemberCluster) int32 {
	if p.check(cluster) != nil {
		return 0
	}
	if p.sorter == nil {
		return p.weight
	}
	share, ok := p.values.Share(cluster)
	if !ok {
		return 0
	}
	if p.ascending {
		share = 1 - share
	}
	return int32(math.Round(float64(p.weight) * share))
}
