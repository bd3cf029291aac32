// Package failover decides when a silent cluster is lost, and when a placement leaves one. Its decisions are made from
// MemberClusters alone, by the hub's clock.
//
// A cluster that the hub does not hear may be down, or the hub may be cut off from it. The brake tells the two apart
// as well as it can be told from the hub: it looks at who else has been heard since the cluster should have been.
//
// A placement also leaves a cluster that is heard: one that is unhealthy, or that has an evicting taint.
package failover

import (
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// DefaultDomain is the label that names the region of a cluster, unless the hub agent is told another one.
const DefaultDomain = "topology.kubernetes.io/region"

// The limits of the brake follow the disruption of a zone in Kubernetes' node lifecycle controller, with the share
// lowered because fleets are smaller than zones.
const (
	// mostSuspects and mostShare, in percent, are exceeded only together: so many suspects, and such a share of the
	// counted clusters, are more likely a fault of the hub's network.
	mostSuspects, mostShare = 2, 34
	// recently is for how long a lost cluster still counts as a suspect. After that it says nothing about the hub.
	// Two silences have no common cause if their begins are apart by more than this and the time to judge either.
	recently = 10 * time.Minute
)

// Evidence is what the other clusters show about the silence of one.
type Evidence int

// Values of Evidence.
const (
	// Undecided: no other cluster is silent, and none has had to report since the cluster should have been heard.
	Undecided Evidence = iota
	// Alone: enough others are heard, so that the cluster is to blame.
	Alone
	// Widespread: so many are silent that the hub's own network may be to blame.
	Widespread
)

// Count is the evidence, and what it was concluded from.
type Count struct {
	Evidence Evidence
	// Suspects, with the cluster itself, and Heard are the clusters that were counted, by name.
	Suspects, Heard []string
	// Pending is how many clusters are heard and have not had to report since the cluster should have been heard.
	Pending int
	// Next is when the count may change without an event, because one of those must have been heard, or a lost cluster
	// no longer counts; zero if it cannot.
	Next time.Time
}

// CountFor counts the clusters of the fleet for the silence of cluster. A cluster counts as heard if it still is, and
// has been since cluster should have been. domain is the label that names the region or another domain that can fail
// as a whole; empty for none. Clusters that are away, leave, or never reported do not count, nor do those that were
// lost long ago, that an administrator released, or whose silence began at quite another time.
func CountFor(cluster *clusterv1beta1.MemberCluster, fleet []*clusterv1beta1.MemberCluster, domain string, now time.Time) Count {
	count := counting{cluster: cluster, domain: domain, domains: map[string]*tally{}}
	count.suspect(cluster)
	for _, other := range fleet {
		if other.Name != cluster.Name {
			count.add(other, liveness.Due(cluster), now)
		}
	}
	slices.Sort(count.Suspects)
	slices.Sort(count.Heard)
	count.Evidence = count.evidence()
	if len(count.Heard) > 0 && !count.parts.IsZero() {
		count.until(count.parts)
	}
	return count.Count
}

// widespread reports whether so many clusters are overdue now that the hub's own network may be to blame. It counts
// for the one that was due last. As in CountFor, only those count as heard that have been since the first of them was
// due. cluster replaces the one of its name in the fleet.
func widespread(cluster *clusterv1beta1.MemberCluster, fleet []*clusterv1beta1.MemberCluster, domain string, now time.Time) bool {
	all := []*clusterv1beta1.MemberCluster{cluster}
	for _, other := range fleet {
		if other.Name != cluster.Name {
			all = append(all, other)
		}
	}
	count := counting{domain: domain, domains: map[string]*tally{}}
	var overdue []*clusterv1beta1.MemberCluster
	for _, c := range all {
		if Watched(c) && liveness.Of(c, now) != liveness.Heard && !settled(c, now) {
			overdue = append(overdue, c)
			if count.cluster == nil || liveness.Due(c).After(liveness.Due(count.cluster)) {
				count.cluster = c
			}
		}
	}
	var since time.Time
	for _, c := range overdue {
		if !count.unrelated(c, now) {
			since = earlier(since, liveness.Due(c))
		}
	}
	for _, c := range all {
		count.add(c, since, now)
	}
	if len(count.Heard) == 0 && count.Pending > 0 && !many(len(count.Suspects), count.Pending) {
		return false // the others have had no time to report since the first was due
	}
	return len(count.Suspects) > 0 && count.evidence() == Widespread
}

// counting is a count that is not complete yet.
type counting struct {
	Count
	// cluster is the one for whose silence is counted; nil for none.
	cluster *clusterv1beta1.MemberCluster
	// parts is when the first of the suspects becomes unrelated; zero for none.
	parts   time.Time
	domain  string
	domains map[string]*tally
}

// tally counts the clusters of a domain.
type tally struct{ suspects, heard int }

func (c *counting) tallyOf(cluster *clusterv1beta1.MemberCluster) *tally {
	name := cluster.Labels[c.domain]
	if c.domains[name] == nil {
		c.domains[name] = &tally{}
	}
	return c.domains[name]
}

func (c *counting) suspect(cluster *clusterv1beta1.MemberCluster) {
	c.Suspects = append(c.Suspects, cluster.Name)
	c.tallyOf(cluster).suspects++
}

func (c *counting) add(cluster *clusterv1beta1.MemberCluster, since, now time.Time) {
	switch {
	case !Watched(cluster):
	case liveness.Of(cluster, now) == liveness.Heard && liveness.LastHeard(cluster).Before(since):
		c.Pending++
		c.until(liveness.Due(cluster))
	case liveness.Of(cluster, now) == liveness.Heard:
		c.Heard = append(c.Heard, cluster.Name)
		c.tallyOf(cluster).heard++
	case !settled(cluster, now) && !c.unrelated(cluster, now):
		c.suspect(cluster)
		if at := liveness.Due(cluster).Add(c.apart(cluster)); c.unrelated(cluster, at.Add(time.Nanosecond)) {
			c.parts = earlier(c.parts, at)
		}
		if is(cluster.Status.Silence, clusterv1beta1.SilenceLost) {
			c.until(cluster.Status.Silence.StateSince.Add(recently))
		}
	}
}

// apart is the time between the begins of two silences after which they have no common cause: that of cluster, and the
// one for which is counted. By then the earlier one has been judged, so that it brakes the fleet itself if it must.
func (c *counting) apart(cluster *clusterv1beta1.MemberCluster) time.Duration {
	return recently + max(liveness.LostAfter(cluster), liveness.LostAfter(c.cluster))
}

// unrelated reports whether the silence of cluster has nothing to do with the one for which is counted: they began
// long apart, and neither just now. A loss is paced by when it was judged.
func (c *counting) unrelated(cluster *clusterv1beta1.MemberCluster, now time.Time) bool {
	if is(cluster.Status.Silence, clusterv1beta1.SilenceLost) {
		return false
	}
	apart, due := c.apart(cluster), liveness.Due(cluster)
	return now.Sub(due) > apart && liveness.Due(c.cluster).Sub(due).Abs() > apart
}

func (c *Count) until(at time.Time) { c.Next = earlier(c.Next, at) }

// earlier is the earlier time; a is zero for none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func (c *counting) evidence() Evidence {
	suspects, heard := len(c.Suspects), len(c.Heard)
	switch {
	case suspects == 1 && heard == 0 && c.Pending > 0:
		return Undecided
	case heard == 0:
		return Widespread
	case many(suspects, heard) && (c.domain == "" || !wholly(c.domains)):
		return Widespread
	default:
		return Alone
	}
}

// many reports whether so many of all are silent that a common cause is more likely.
func many(suspects, heard int) bool {
	return suspects > mostSuspects && suspects*100 > (suspects+heard)*mostShare
}

// wholly reports whether few domains are silent, each as a whole, and as many others are heard as a whole: no domain
// has suspects and heard clusters, and every suspect has a domain. A hub that hears less than half of the domains may
// hear only its own. Domains are counted like clusters: where each cluster is in a domain of its own, the label must
// not hide that many are silent.
func wholly(domains map[string]*tally) bool {
	silent, heard := 0, 0
	for name, t := range domains {
		switch {
		case t.suspects > 0 && (t.heard > 0 || name == ""):
			return false
		case t.suspects > 0:
			silent++
		case t.heard > 0 && name != "":
			heard++
		}
	}
	return silent <= heard && !many(silent, heard)
}

// Watched reports whether the silence of a cluster means something: it has reported before, is not leaving, and is not
// away with notice.
func Watched(cluster *clusterv1beta1.MemberCluster) bool {
	return cluster.DeletionTimestamp.IsZero() && liveness.Agent(cluster) != nil && !Away(cluster)
}

// Away reports whether an administrator announced that the cluster is not heard for a while.
func Away(cluster *clusterv1beta1.MemberCluster) bool {
	return cluster.Annotations[contract.AnnotationAway] == "true"
}

// settled reports whether the silence of a cluster no longer says anything about the hub.
func settled(cluster *clusterv1beta1.MemberCluster, now time.Time) bool {
	s := cluster.Status.Silence
	if s == nil {
		return false
	}
	return s.State == clusterv1beta1.SilenceReleased ||
		s.State == clusterv1beta1.SilenceLost && now.Sub(s.StateSince.Time) > recently
}

// Braked reports whether the hub suspects its own network, and stops all failovers.
func Braked(fleet []*clusterv1beta1.MemberCluster) bool {
	return slices.ContainsFunc(fleet, func(c *clusterv1beta1.MemberCluster) bool {
		return c.Status.Silence != nil && c.Status.Silence.State == clusterv1beta1.SilenceBraked && Watched(c)
	})
}
