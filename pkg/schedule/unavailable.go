package schedule

import (
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// reportedWithin is after how long what is recorded counts, once the hub agent has started: clusters that recovered while
// the hub could not hear them have reported it by then.
const reportedWithin = time.Minute

// served is how long a cluster has the resources with which the placement left another one, before they are not the
// cause if they are unavailable there, too.
const served = time.Hour

// unavailable decides whether the placement leaves the cluster of b, which it has picked, because what was available
// there is not any more. A bad release must not go from cluster to cluster: it counts only with the revision that was
// available there, once that is rolled out, and while it is available on another cluster, if the placement has several. What
// replaces a cluster because of it is not left for the same reason with the same resources: a placement of one cluster
// never does that, others not before it has served for a while.
func (r *run) unavailable(b Binding) (out failover.Leave) {
	after, cluster := r.failover().AfterUnavailable, r.clusters[r.at[b.Cluster]]
	if after == nil || b.UnavailableSince.IsZero() || !failover.Watched(cluster) || r.unheard(b.Cluster) {
		return out
	}
	r.waiting = true
	if r.request.Number > 1 && !r.isServedElsewhere(b) || r.isSpent(b) {
		return out
	}
	out = failover.Leave{Reason: failover.Unavailable, Since: b.UnavailableSince}
	if s := cluster.Status.Silence; s != nil && s.State == clusterv1beta1.SilenceOver && s.StateSince.After(out.Since) {
		out.Since = s.StateSince.Time // what it reported before it fell silent proves nothing
	}
	if out.Since.After(r.request.Now) {
		out.Since = r.request.Now // the clock was set back
	}
	until := out.Since.Add(after.Duration)
	if awake := r.request.Awake; !awake.IsZero() && until.Before(awake.Add(reportedWithin)) {
		until = awake.Add(reportedWithin)
	}
	if out.Again = max(until.Sub(r.request.Now), 0); out.Again > 0 {
		return out
	}
	out.Braked = failover.Braked(r.clusters)
	out.Now = !out.Braked && r.isRolledOut(b.Resources)
	return out
}

// isSpent reports whether the placement left a cluster with the resources of b before, because they were not available
// there any more.
func (r *run) isSpent(b Binding) bool {
	if b.Replaces == nil || b.Replaces.Resources != b.Resources {
		return false
	}
	decided := b.Replaces.Decided
	return r.request.Number <= 1 || decided == nil || b.UnavailableSince.Sub(decided.Time) < served
}

// isServedElsewhere reports whether what b requests is available on another cluster that is heard.
func (r *run) isServedElsewhere(b Binding) bool {
	for _, other := range r.kept {
		if other.Cluster != b.Cluster && other.Resources == b.Resources && other.Serving && !r.unheard(other.Cluster) {
			return true
		}
	}
	return false
}

// isRolledOut reports whether all clusters request the same resources, and none waits for others. Clusters that replace
// others take no part in a rollout until they have been available.
func (r *run) isRolledOut(resources string) bool {
	for _, b := range r.kept {
		replaces := b.Replaces != nil && !b.Available
		if !replaces && (b.State != v1beta1.BindingStateBound || b.Held || b.Resources != resources) {
			return false
		}
	}
	return true
}

// failed reports whether the placement left a cluster because it was not available there, and it still is not.
func (r *run) failed(cluster string) bool {
	b, ok := r.unscheduled[cluster]
	return ok && b.ReplacedBy != nil && b.ReplacedBy.Reason == failover.Unavailable && !b.Serving
}
