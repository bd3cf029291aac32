package failover

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// PolicyOf returns when a placement leaves a lost cluster; nil for never. For other placement types than PickN a policy
// has no effect here.
func PolicyOf(placement v1beta1.PlacementObject) *v1beta1.Failover {
	if !Leaves(placement) {
		return nil
	}
	return placement.GetSpec().Policy.Failover
}

// Leaves reports whether a placement can leave a cluster for another one: one of type PickN can.
func Leaves(placement v1beta1.PlacementObject) bool {
	policy := placement.GetSpec().Policy
	return policy != nil && policy.PlacementType == v1beta1.PlacementTypePickN
}

// Rules decide for one placement which clusters it leaves.
type Rules struct {
	// Policy is the placement's; nil if it leaves no cluster that is lost or unhealthy.
	Policy *v1beta1.Failover
	// Tolerations are the placement's: a cluster with evicting taints is left unless they tolerate them for ever.
	Tolerations []v1beta1.Toleration
	// Domain is as in Judge.
	Domain string
	Fleet  []*clusterv1beta1.MemberCluster
	Now    time.Time
}

// Leave is whether a placement leaves a cluster.
type Leave struct {
	// Reason is why it leaves, or will if nothing changes; empty for a cluster that is well.
	Reason Reason
	// Since is when that began.
	Since time.Time
	// Now is whether it is time; otherwise Again is when to ask again without an event, zero if there is no need.
	Now   bool
	Again time.Duration
	// Braked is whether it would be time, but the hub suspects its own network.
	Braked bool
	// Released is whether an administrator declared the cluster lost.
	Released bool
	// Taint is the taint of the cluster for Tainted.
	Taint *clusterv1beta1.Taint
}

// LeaveOf decides whether the placement leaves cluster. A taint counts only while the cluster is heard: what happens
// on a cluster that is not heard is decided by its silence.
func (r Rules) LeaveOf(cluster *clusterv1beta1.MemberCluster) Leave {
	if liveness.Of(cluster, r.Now) == liveness.Heard {
		return r.heard(cluster)
	}
	s := cluster.Status.Silence
	if r.Policy == nil || !Watched(cluster) || s == nil || s.State == clusterv1beta1.SilenceOver {
		return Leave{}
	}
	return r.silent(cluster, *s)
}

func (r Rules) silent(cluster *clusterv1beta1.MemberCluster, s clusterv1beta1.ClusterSilence) Leave {
	out := Leave{Reason: Lost, Since: s.Since.Time}
	switch s.State {
	case clusterv1beta1.SilenceBraked:
		out.Braked = true
		return out
	case clusterv1beta1.SilenceLost, clusterv1beta1.SilenceReleased:
	default:
		return out // a change of the state is an event
	}
	if out.Again = s.Since.Add(max(r.Policy.After.Duration, liveness.LostAfter(cluster))).Sub(r.Now); out.Again > 0 {
		return out
	}
	out.Again = 0
	if s.State == clusterv1beta1.SilenceReleased {
		out.Now, out.Released = true, true
		return out
	}
	count := CountFor(cluster, r.Fleet, r.Domain, r.Now)
	out.Braked = Braked(r.Fleet) || count.Evidence == Widespread
	out.Now = !out.Braked && count.Evidence == Alone
	if !out.Now && !count.Next.IsZero() {
		out.Again = max(count.Next.Sub(r.Now), 0) + time.Nanosecond
	}
	return out
}

func (r Rules) unhealthy(cluster *clusterv1beta1.MemberCluster) Leave {
	healthy := healthOf(cluster)
	if healthy == nil || healthy.Status == metav1.ConditionTrue {
		return Leave{}
	}
	since := healthSince(cluster)
	if since.After(r.Now) {
		since = r.Now
	}
	out := Leave{Reason: Unhealthy, Since: since}
	if out.Again = since.Add(max(r.Policy.After.Duration, liveness.LostAfter(cluster))).Sub(r.Now); out.Again > 0 {
		return out
	}
	out.Again = 0
	out.Braked = Braked(r.Fleet)
	out.Now = !out.Braked
	return out
}

// Healthy reports whether the cluster's agent reported last that the cluster is healthy.
func Healthy(cluster *clusterv1beta1.MemberCluster) bool {
	healthy := healthOf(cluster)
	return healthy != nil && healthy.Status == metav1.ConditionTrue
}

func healthOf(cluster *clusterv1beta1.MemberCluster) *metav1.Condition {
	agent := liveness.Agent(cluster)
	if agent == nil {
		return nil
	}
	return meta.FindStatusCondition(agent.Conditions, clusterv1beta1.ConditionHealthy)
}

// healthSince is since when the cluster, which reports its health, has been healthy or not: by the hub's clock if it
// was recorded, otherwise as the agent reports it.
func healthSince(cluster *clusterv1beta1.MemberCluster) time.Time {
	if at := liveness.Agent(cluster).HealthSince; at != nil {
		return at.Time
	}
	return healthOf(cluster).LastTransitionTime.Time
}

// LostOrUnhealthy returns the reason for which a placement would leave cluster, and since when, without asking whether
// it is time or whether the hub suspects its own network. The reason is empty if there is none, or if a silence is not
// judged yet.
func (r Rules) LostOrUnhealthy(cluster *clusterv1beta1.MemberCluster) Leave {
	if r.Policy == nil || !Watched(cluster) {
		return Leave{}
	}
	if liveness.Of(cluster, r.Now) == liveness.Heard {
		if l := r.unhealthy(cluster); l.Now || l.Braked {
			return l
		}
		return Leave{}
	}
	if s := cluster.Status.Silence; s != nil && s.State != clusterv1beta1.SilenceOver && s.State != clusterv1beta1.SilenceSuspected {
		return Leave{Reason: Lost, Since: s.Since.Time}
	}
	return Leave{}
}

// NextCandidate is when a cluster that is heard may have been heard since left should have been, without another
// event; zero if there is none.
func (r Rules) NextCandidate(left *clusterv1beta1.MemberCluster) (again time.Duration) {
	for _, c := range r.Fleet {
		if Watched(c) && liveness.Of(c, r.Now) == liveness.Heard && liveness.LastHeard(c).Before(liveness.Due(left)) {
			if due := max(liveness.Due(c).Sub(r.Now), time.Second); again == 0 || due < again {
				again = due
			}
		}
	}
	return again
}

// Candidate reports whether cluster can replace left: it is healthy and heard, and has been since left should have
// been. Otherwise it may be lost in the same way.
func (r Rules) Candidate(cluster, left *clusterv1beta1.MemberCluster, reason Reason) bool {
	if !Watched(cluster) || liveness.Of(cluster, r.Now) != liveness.Heard || !Healthy(cluster) {
		return false
	}
	return reason != Lost || !liveness.LastHeard(cluster).Before(liveness.Due(left))
}

const (
	// flapping is for how long after a silence a cluster is picked only if there is no other.
	flapping = 30 * time.Minute
	// TrustedAfter is for how long a cluster must be heard and healthy before placements return to it.
	TrustedAfter = 10 * time.Minute
)

// Flapping reports whether the cluster was lost not long ago.
func Flapping(cluster *clusterv1beta1.MemberCluster, now time.Time) bool {
	s := cluster.Status.Silence
	return s != nil && s.State == clusterv1beta1.SilenceOver && now.Sub(s.StateSince.Time) < flapping
}

// Trusted reports whether placements can return to the cluster, and since when it has been heard and healthy; if they
// cannot yet, again is when they can if it stays well, zero if it is not well now.
func Trusted(cluster *clusterv1beta1.MemberCluster, now time.Time) (since time.Time, ok bool, again time.Duration) {
	if !Watched(cluster) || liveness.Of(cluster, now) != liveness.Heard {
		return since, false, 0
	}
	healthy := healthOf(cluster)
	if healthy == nil || healthy.Status != metav1.ConditionTrue {
		return since, false, 0
	}
	since = healthSince(cluster)
	if s := cluster.Status.Silence; s != nil {
		if s.State != clusterv1beta1.SilenceOver {
			return since, false, 0
		}
		if s.StateSince.After(since) {
			since = s.StateSince.Time
		}
	}
	again = since.Add(TrustedAfter).Sub(now)
	return since, again <= 0, max(again, 0)
}
