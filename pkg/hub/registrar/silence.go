package registrar

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// silence returns when the last heartbeat of a silent cluster arrived, and nil for any other cluster. It does not
// report a new silence within the grace period after the start of this process, nor that of a leaving cluster.
func (r *Registrar) silence(cluster *v1beta1.MemberCluster, agents []v1beta1.AgentStatus) *metav1.Time {
	is := &v1beta1.MemberCluster{Spec: cluster.Spec, Status: v1beta1.MemberClusterStatus{AgentStatus: agents}}
	if now := r.Now(); !cluster.DeletionTimestamp.IsZero() || liveness.Of(is, now) != liveness.Silent || r.graceOf(cluster, now) > 0 {
		return nil
	}
	return &liveness.Agent(is).LastReceivedHeartbeat
}

// graceOf is how long this process does not report yet that the cluster is silent. There is no grace if an earlier one
// reported it.
func (r *Registrar) graceOf(cluster *v1beta1.MemberCluster, now time.Time) time.Duration {
	if meta.FindStatusCondition(cluster.Status.Conditions, v1beta1.ConditionHeartbeatsReceived) != nil {
		return 0
	}
	return max(0, liveness.Grace(cluster)-now.Sub(r.awake))
}

// untilSilent is when silence may have something to report without another event; zero if it has not.
func (r *Registrar) untilSilent(cluster *v1beta1.MemberCluster) time.Duration {
	now := r.Now()
	if !cluster.DeletionTimestamp.IsZero() {
		return 0
	}
	if liveness.Of(cluster, now) == liveness.Silent {
		return r.graceOf(cluster, now)
	}
	return liveness.UntilSilent(cluster, now)
}

// shortest returns the shortest of waits that is not zero, and zero if there is none.
func shortest(waits []time.Duration) time.Duration {
	waits = slices.DeleteFunc(waits, func(wait time.Duration) bool { return wait == 0 })
	if len(waits) == 0 {
		return 0
	}
	return slices.Min(waits)
}
