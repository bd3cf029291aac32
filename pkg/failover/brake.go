// Package failover decides when a silent cluster is lost, and when a placement leaves one. Its decisions are made from
// MemberClusters alone, by the hub's clock.
//
// A cluster that the hub does not hear may be down, or the hub may be cut off from it. The brake tells the two apart as
// well as it can be told from the hub: it looks at who else has been heard since the cluster should have been.
package failover

import (
	"slices"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// The limits of the brake follow the disruption of a zone in Kubernetes' node lifecycle controller, with the share
// lowered because fleets are smaller than zones.
const (
	// mostSuspects and mostShare, in percent, are exceeded only together: so many suspects, and such a share of the
	// counted clusters, are more likely a fault of the hub's network.
	mostSuspects, mostShare = 2, 34
	// recently is for how long a lost cluster still counts as a suspect. After that it says nothing about the hub.
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
	// Next is when the next cluster that is not counted yet must have been heard; zero if all are counted.
	Next time.Time
}

// CountFor counts the clusters of the fleet for the silence of cluster. A cluster counts as heard if it still is, and has
// been since cluster should have been. domain is the label that names the region or another domain that can fail as a
// whole; empty for none. Clusters that are away, leave, or never reported do not count, nor do those that were lost long
// ago or that an administrator released.
func CountFor(cluster *clusterv1beta1.MemberCluster, fleet []*clusterv1beta1.MemberCluster, domain string, now time.Time) Count {
	since := liveness.Due(cluster)
	count := Count{Suspects: []string{cluster.Name}}
	domains := map[string]*tally{}
	of := func(c *clusterv1beta1.MemberCluster) *tally {
		name := c.Labels[domain]
		if domains[name] == nil {
			domains[name] = &tally{}
		}
		return domains[name]
	}
	of(cluster).suspects++
	for _, other := range fleet {
		switch {
		case other.Name == cluster.Name || !Watched(other):
		case liveness.Of(other, now) != liveness.Heard:
			if !settled(other, now) {
				count.Suspects = append(count.Suspects, other.Name)
				of(other).suspects++
			}
		case !liveness.LastHeard(other).Before(since):
			count.Heard = append(count.Heard, other.Name)
			of(other).heard++
		default:
			if due := liveness.Due(other); count.Next.IsZero() || due.Before(count.Next) {
				count.Next = due
			}
		}
	}
	slices.Sort(count.Suspects)
	slices.Sort(count.Heard)
	count.Evidence = count.evidence(domain != "" && wholly(domains))
	return count
}

func (c Count) evidence(domainsFailed bool) Evidence {
	suspects, all := len(c.Suspects), len(c.Suspects)+len(c.Heard)
	switch {
	case suspects == 1 && len(c.Heard) == 0 && !c.Next.IsZero():
		return Undecided
	case len(c.Heard) == 0:
		return Widespread
	case suspects > mostSuspects && suspects*100 > all*mostShare && !domainsFailed:
		return Widespread
	default:
		return Alone
	}
}

// tally counts the clusters of a domain.
type tally struct{ suspects, heard int }

// wholly reports whether domains as a whole are silent: no domain has suspects and heard clusters, and every suspect
// has a domain.
func wholly(domains map[string]*tally) bool {
	heard := false
	for name, t := range domains {
		if t.suspects > 0 && (t.heard > 0 || name == "") {
			return false
		}
		heard = heard || t.heard > 0 && name != ""
	}
	return heard
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
