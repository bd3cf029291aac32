package schedule

import (
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
// cannot be chosen. Clusters and domains are numbers: one decision asks for them often.
type domains struct {
	key     string
	maxSkew int
	hard    bool
	names   []string
	// of is the domain of each cluster of the run, -1 for a cluster without the label.
	of    []int
	count []int
	levels
}

// levels are the lowest count of the domains, the next one up (which may equal it), and the highest.
type levels struct{ low, next, high int }

func newSpread(constraints []v1beta1.TopologySpreadConstraint, clusters []*clusterv1beta1.MemberCluster, kept map[string]Binding) spread {
	var out spread
	for _, c := range constraints {
		d := &domains{
			key:     c.TopologyKey,
			maxSkew: int(ptr.Deref(c.MaxSkew, 1)),
			hard:    c.WhenUnsatisfiable != corev1.ScheduleAnyway,
			of:      make([]int, len(clusters)),
		}
		numbers := map[string]int{}
		for i, cluster := range clusters {
			d.of[i] = -1
			name, ok := cluster.Labels[c.TopologyKey]
			if !ok {
				continue
			}
			n, ok := numbers[name]
			if !ok {
				n = len(d.names)
				numbers[name], d.names, d.count = n, append(d.names, name), append(d.count, 0)
			}
			d.of[i] = n
			if _, ok := kept[cluster.Name]; ok {
				d.count[n]++
			}
		}
		d.level()
		out = append(out, d)
	}
	return out
}

// add notes that a cluster is chosen.
func (s spread) add(cluster int) {
	for _, d := range s {
		if n := d.of[cluster]; n >= 0 {
			d.count[n]++
			d.level()
		}
	}
}

// level looks at the counts anew.
func (d *domains) level() {
	if len(d.count) == 0 {
		return
	}
	l := levels{low: d.count[0], next: d.count[0], high: d.count[0]}
	for i, n := range d.count[1:] {
		l.high = max(l.high, n)
		switch {
		case n < l.low:
			l.low, l.next = n, l.low
		case i == 0 || n < l.next:
			l.next = n
		}
	}
	d.levels = l
}

// rank scores the candidates and returns which is the best of those that no DoNotSchedule constraint forbids, or -1.
func (s spread) rank(candidates []candidate) (best int) {
	best = -1
	for i := range candidates {
		c := &candidates[i]
		s.score(c)
		if c.violates < 0 && (best < 0 || better(*c, candidates[best]) < 0) {
			best = i
		}
	}
	return best
}

func (s spread) score(c *candidate) {
	c.score.spread, c.violates = 0, -1
	for i, d := range s {
		change, violated := d.weigh(c.at)
		switch {
		case violated && d.hard:
			c.violates = i
			return
		case violated:
			c.score.spread -= crowdedPenalty
		default:
			c.score.spread -= int32(change)
		}
	}
}

// weigh says by how much choosing a cluster would change the skew, and whether the skew would then be too large. A cluster without
// the label changes nothing.
func (d *domains) weigh(cluster int) (change int, violated bool) {
	n := d.of[cluster]
	if n < 0 {
		return 0, false
	}
	count := d.count[n]
	switch {
	case count == d.high: // which is every domain, if they are level
		change = 1
	case count == d.low && d.low < d.next:
		change = -1
	}
	return change, d.high-d.low+change > d.maxSkew
}

// crowd is the objection to choosing a cluster that would violate the constraint.
func (d *domains) crowd(cluster int) error {
	change, _ := d.weigh(cluster)
	n := d.of[cluster]
	return &crowded{domains: d, domain: d.names[n], count: d.count[n], skew: d.high - d.low + change}
}
