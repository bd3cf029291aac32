package schedule

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// FilterSpread passes the clusters that violate no DoNotSchedule constraint of PickN.
const FilterSpread Filter = "TopologySpreadConstraints"

type topologySpread struct {
	constraints []v1beta1.TopologySpreadConstraint
}

func (topologySpread) name() Filter { return FilterSpread }

func (topologySpread) of(policy *v1beta1.PlacementPolicy, _ string) filter {
	if policy.PlacementType != v1beta1.PlacementTypePickN {
		return nil
	}
	return topologySpread{constraints: policy.TopologySpreadConstraints}
}

// check passes every cluster: a violation of a constraint depends on the clusters picked so far. spread.rank checks it
// for each pick.
func (topologySpread) check(*clusterv1beta1.MemberCluster, time.Time) error { return nil }

func (f topologySpread) watches() (topics []string) {
	for _, c := range f.constraints {
		topics = append(topics, topicLabel+c.TopologyKey)
	}
	return topics
}

func (topologySpread) changes(c ClusterChange) []string { return c.labels() }

// affectsOthers reports whether the cluster has moved to another domain, or fell silent, so that its domain may no
// longer count. An added cluster adds at most an empty domain, which allows no further picks; a deleted one may remove
// a domain that prevented picks.
func (f topologySpread) affectsOthers(c ClusterChange) bool {
	return c.was != nil && slices.ContainsFunc(f.constraints, func(s v1beta1.TopologySpreadConstraint) bool {
		before, had := c.was.Labels[s.TopologyKey]
		if c.is == nil {
			return had
		}
		after, has := c.is.Labels[s.TopologyKey]
		return had != has || before != after || has && c.fellSilent()
	})
}

// repairs move the cluster to the emptiest other domain, or increase maxSkew.
func (topologySpread) repairs(t trial, cause error) (out []trial) {
	var c *crowded
	if !errors.As(cause, &c) {
		return nil
	}
	other := -1
	for i := range c.names {
		if c.names[i] != c.domain && (other < 0 || c.domains.count[i] < c.domains.count[other]) {
			other = i
		}
	}
	if other >= 0 && c.key != contract.LabelMemberName {
		out = append(out, t.member(labelStep(t.find(), c.key, c.names[other]), setLabel(c.key, c.names[other])))
	}
	allow := fmt.Sprintf("set maxSkew of the spread constraint on %s to ", c.key)
	// An earlier step increased maxSkew, but not enough: the new step replaces it.
	t.steps = slices.DeleteFunc(slices.Clone(t.steps), func(s Step) bool { return strings.HasPrefix(s.Do, allow) })
	return append(out, t.policy(fmt.Sprint(allow, c.skew),
		func(p *v1beta1.PlacementPolicy) {
			for i, constraint := range p.TopologySpreadConstraints {
				if constraint.TopologyKey == c.key && constraint.WhenUnsatisfiable != corev1.ScheduleAnyway {
					p.TopologySpreadConstraints[i].MaxSkew = ptr.To(int32(c.skew))
				}
			}
		}))
}

func (topologySpread) exclusions(trial) []trial { return nil }

// crowded is the objection to one more cluster in a domain.
type crowded struct {
	*domains
	domain      string
	count, skew int
}

func (c *crowded) Error() string {
	return fmt.Sprintf("the topology spread constraint on %s would be violated: the skew would exceed maxSkew %d", c.key, c.maxSkew)
}

func (c *crowded) Detail() string {
	return fmt.Sprintf("%s (%s=%s has %d picked clusters; one more makes the skew %d)", c, c.key, c.domain, c.count, c.skew)
}

// crowdedPenalty is subtracted from the score of a cluster for each ScheduleAnyway constraint that picking it would
// violate.
const crowdedPenalty = 1000

// spread contains the topology spread constraints with the picks so far.
type spread []*domains

// domains counts picked clusters by the value of one label. Every cluster with the label defines a domain, even one
// that cannot be picked; but a domain with silent clusters and none that is heard does not count, because nothing can
// be placed there. Clusters and domains are represented by numbers, because one decision looks them up often.
type domains struct {
	key     string
	maxSkew int
	hard    bool
	names   []string
	// of contains the domain of each cluster of the run, -1 for a cluster without the label or in a silent domain.
	of    []int
	count []int
	levels
}

// levels are the lowest count of the domains, the next one (which may be equal), and the highest.
type levels struct{ low, next, high int }

func newSpread(constraints []v1beta1.TopologySpreadConstraint, clusters []*clusterv1beta1.MemberCluster, picked func(string) bool, now time.Time) spread {
	var out spread
	for _, c := range constraints {
		d := &domains{
			key:     c.TopologyKey,
			maxSkew: int(ptr.Deref(c.MaxSkew, 1)),
			hard:    c.WhenUnsatisfiable != corev1.ScheduleAnyway,
			of:      make([]int, len(clusters)),
		}
		silent := silentDomains(c.TopologyKey, clusters, now)
		numbers := map[string]int{}
		for i, cluster := range clusters {
			d.of[i] = -1
			name, ok := cluster.Labels[c.TopologyKey]
			if !ok || silent[name] {
				continue
			}
			n, ok := numbers[name]
			if !ok {
				n = len(d.names)
				numbers[name], d.names, d.count = n, append(d.names, name), append(d.count, 0)
			}
			d.of[i] = n
			if picked(cluster.Name) {
				d.count[n]++
			}
		}
		d.level()
		out = append(out, d)
	}
	return out
}

// silentDomains returns true for the values of the label that silent clusters have, and no cluster that is heard or
// overdue and stays in the fleet.
func silentDomains(key string, clusters []*clusterv1beta1.MemberCluster, now time.Time) map[string]bool {
	silent, alive := map[string]bool{}, map[string]bool{}
	for _, cluster := range clusters {
		name, ok := cluster.Labels[key]
		if !ok {
			continue
		}
		switch liveness.Of(cluster, now) {
		case liveness.Silent:
			silent[name] = true
		case liveness.Heard, liveness.Overdue:
			alive[name] = alive[name] || cluster.DeletionTimestamp.IsZero()
		}
	}
	maps.DeleteFunc(silent, func(name string, _ bool) bool { return alive[name] })
	return silent
}

// add records a picked cluster.
func (s spread) add(cluster int) {
	for _, d := range s {
		if n := d.of[cluster]; n >= 0 {
			d.count[n]++
			d.level()
		}
	}
}

// level computes the levels again.
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

// rank scores the candidates and returns the best one that no DoNotSchedule constraint forbids, or -1.
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

// weigh returns by how much picking a cluster would change the skew, and whether the skew would then be too large. A
// cluster without the label changes nothing.
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

// crowd returns the objection to picking a cluster that would violate the constraint.
func (d *domains) crowd(cluster int) error {
	change, _ := d.weigh(cluster)
	n := d.of[cluster]
	return &crowded{domains: d, domain: d.names[n], count: d.count[n], skew: d.high - d.low + change}
}
