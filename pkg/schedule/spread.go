package schedule

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// crowdedPenalty is what a cluster loses for each ScheduleAnyway constraint that picking it would violate.
const crowdedPenalty = 1000

// spread are the topology spread constraints with the choices made so far.
type spread []*domains

// domains counts chosen clusters by the value of one label. Every cluster that carries the label makes a domain, even one that
// cannot be chosen.
type domains struct {
	key     string
	maxSkew int
	hard    bool
	count   map[string]int
}

func newSpread(constraints []v1beta1.TopologySpreadConstraint, clusters []*clusterv1beta1.MemberCluster, kept map[string]Binding) spread {
	var out spread
	for _, c := range constraints {
		d := &domains{
			key:     c.TopologyKey,
			maxSkew: int(ptr.Deref(c.MaxSkew, 1)),
			hard:    c.WhenUnsatisfiable != corev1.ScheduleAnyway,
			count:   map[string]int{},
		}
		for _, cluster := range clusters {
			if domain, ok := cluster.Labels[c.TopologyKey]; ok {
				d.count[domain] += 0
				if _, ok := kept[cluster.Name]; ok {
					d.count[domain]++
				}
			}
		}
		out = append(out, d)
	}
	return out
}

// add notes that cluster is chosen.
func (s spread) add(cluster *clusterv1beta1.MemberCluster) {
	for _, d := range s {
		if domain, ok := cluster.Labels[d.key]; ok {
			d.count[domain]++
		}
	}
}

// rank scores candidates and sorts them, best first; crowded are those that a DoNotSchedule constraint forbids.
func (s spread) rank(candidates []candidate) (ranked []candidate, crowded []v1beta1.ClusterDecision) {
	levels := make([]levels, len(s))
	for i, d := range s {
		levels[i] = d.levels()
	}
	for _, c := range candidates {
		why := ""
		c.score.spread = 0
		for i, d := range s {
			change, violated := d.weigh(c.cluster, levels[i])
			switch {
			case violated && d.hard:
				why = fmt.Sprintf("the topology spread constraint on %s would be violated: more than %d apart", d.key, d.maxSkew)
			case violated:
				c.score.spread -= crowdedPenalty
			default:
				c.score.spread -= int32(change)
			}
			if why != "" {
				break
			}
		}
		if why != "" {
			crowded = append(crowded, refused(c.cluster.Name, why))
			continue
		}
		ranked = append(ranked, c)
	}
	slices.SortFunc(ranked, better)
	return ranked, crowded
}

// levels are the lowest count of the domains, the next one up (which may equal it), and the highest.
type levels struct{ low, next, high int }

func (d *domains) levels() levels {
	var counts []int
	for _, n := range d.count {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	switch len(counts) {
	case 0:
		return levels{}
	case 1:
		return levels{counts[0], counts[0], counts[0]}
	default:
		return levels{counts[0], counts[1], counts[len(counts)-1]}
	}
}

// weigh says by how much choosing cluster would change the skew, and whether the skew would then be too large. A cluster without
// the label changes nothing.
func (d *domains) weigh(cluster *clusterv1beta1.MemberCluster, l levels) (change int, violated bool) {
	domain, ok := cluster.Labels[d.key]
	if !ok {
		return 0, false
	}
	count := d.count[domain]
	switch {
	case count == l.high: // which is every domain, if they are level
		change = 1
	case count == l.low && l.low < l.next:
		change = -1
	}
	return change, l.high-l.low+change > d.maxSkew
}
