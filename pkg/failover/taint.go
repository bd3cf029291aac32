package failover

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// Matches reports whether a toleration is for a taint, as in Kubernetes.
func Matches(t v1beta1.Toleration, taint clusterv1beta1.Taint) bool {
	switch {
	case t.Effect != "" && t.Effect != taint.Effect:
		return false
	case t.Operator == corev1.TolerationOpExists:
		return t.Key == "" || t.Key == taint.Key
	default:
		return t.Key == taint.Key && t.Value == taint.Value
	}
}

// Patience is how long a placement stays on a cluster with a taint.
type Patience struct {
	// Tolerated is whether the placement tolerates the taint, and Limited whether it does so for the time Limit only.
	Tolerated, Limited bool
	Limit              time.Duration
}

// PatienceFor returns how long a placement with these tolerations stays on a cluster with a taint. Of several that
// match, the shortest time counts, as in Kubernetes. Only for evicting taints there is a limit.
func PatienceFor(tolerations []v1beta1.Toleration, taint clusterv1beta1.Taint) (out Patience) {
	for _, t := range tolerations {
		if !Matches(t, taint) {
			continue
		}
		out.Tolerated = true
		if t.TolerationSeconds == nil || !evicts(taint) {
			continue
		}
		limit := time.Duration(min(max(*t.TolerationSeconds, 0), mostSeconds)) * time.Second
		if !out.Limited || limit < out.Limit {
			out.Limit = limit
		}
		out.Limited = true
	}
	return out
}

// Forever reports whether the placement stays for as long as the cluster has the taint.
func (p Patience) Forever() bool { return p.Tolerated && !p.Limited }

// mostSeconds is the longest toleration that the schema accepts.
const mostSeconds = 365 * 24 * 60 * 60

// Evicting reports whether a cluster has an evicting taint.
func Evicting(cluster *clusterv1beta1.MemberCluster) bool {
	return slices.ContainsFunc(cluster.Spec.Taints, evicts)
}

// EvictingTaints are the evicting taints of a cluster.
func EvictingTaints(cluster *clusterv1beta1.MemberCluster) (out []clusterv1beta1.Taint) {
	for _, t := range cluster.Spec.Taints {
		if evicts(t) {
			out = append(out, t)
		}
	}
	return out
}

func evicts(t clusterv1beta1.Taint) bool { return t.Evict }

// SeenTaints is the record of the evicting taints of a cluster, by key and value: each keeps the time at which it was
// first seen, and new ones are first seen now. The times are those that the API server stores.
func SeenTaints(cluster *clusterv1beta1.MemberCluster, now time.Time) (out []clusterv1beta1.SeenTaint) {
	for _, t := range EvictingTaints(cluster) {
		since := seenSince(cluster, t)
		if since.IsZero() {
			since = seconds(now).Time
		}
		out = append(out, clusterv1beta1.SeenTaint{Key: t.Key, Value: t.Value, Since: metav1.NewTime(since)})
	}
	slices.SortFunc(out, func(a, b clusterv1beta1.SeenTaint) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
	return slices.CompactFunc(out, func(a, b clusterv1beta1.SeenTaint) bool { return a.Key == b.Key && a.Value == b.Value })
}

// seenSince is when a taint was first seen; zero if that is not recorded yet.
func seenSince(cluster *clusterv1beta1.MemberCluster, taint clusterv1beta1.Taint) time.Time {
	for _, s := range cluster.Status.Taints {
		if s.Key == taint.Key && s.Value == taint.Value {
			return s.Since.Time
		}
	}
	return time.Time{}
}

// Tainted decides whether the placement leaves a cluster because of its evicting taints. A taint whose begin is not
// recorded yet does not count as seen: the record is an event. It does not matter whether the hub hears the cluster.
func (r Rules) Tainted(cluster *clusterv1beta1.MemberCluster) (out Leave) {
	if !cluster.DeletionTimestamp.IsZero() {
		return Leave{}
	}
	for i, taint := range cluster.Spec.Taints {
		patience := PatienceFor(r.Tolerations, taint)
		if !evicts(taint) || patience.Forever() {
			continue
		}
		l := Leave{Reason: Tainted, Taint: &cluster.Spec.Taints[i]}
		if since := seenSince(cluster, taint); !since.IsZero() {
			if l.Since = since; since.After(r.Now) {
				l.Since = r.Now // the clock was set back
			}
			l.Again = max(l.Since.Add(patience.Limit).Sub(r.Now), 0)
			l.Now = l.Again == 0
		}
		out = Sooner(out, l)
	}
	return out
}

// heard decides whether the placement leaves a cluster that is heard.
func (r Rules) heard(cluster *clusterv1beta1.MemberCluster) Leave {
	tainted := r.Tainted(cluster)
	if r.Policy == nil || !Watched(cluster) {
		return tainted
	}
	return Sooner(r.unhealthy(cluster), tainted)
}

// Sooner is the reason for which the cluster is left first; a is if both are due.
func Sooner(a, b Leave) Leave {
	switch {
	case a.Now || b.Reason == "":
		return a
	case b.Now || a.Reason == "":
		return b
	case b.Again > 0 && (a.Again == 0 || b.Again < a.Again):
		return b
	default:
		return a
	}
}

// Settings are the fields of a placement by which it leaves clusters, and that no policy snapshot has.
type Settings struct {
	// Policy is as in PolicyOf.
	Policy *v1beta1.Failover
	// Tainted is whether it leaves clusters with evicting taints that Tolerations do not tolerate for ever.
	Tainted     bool
	Tolerations []v1beta1.Toleration
}

// SettingsOf reads the settings of a placement.
func SettingsOf(placement v1beta1.PlacementObject) Settings {
	if !Leaves(placement) {
		return Settings{}
	}
	return Settings{Policy: PolicyOf(placement), Tainted: true, Tolerations: placement.GetSpec().Policy.Tolerations}
}

// Change is a change of a cluster.
type Change struct {
	Was, Is *clusterv1beta1.MemberCluster
	Now     time.Time
}

// Matters reports whether a placement may leave a cluster, or take one back, because of the change.
func (c Change) Matters() bool {
	heard := liveness.Of(c.Was, c.Now) != liveness.Heard && liveness.Of(c.Is, c.Now) == liveness.Heard
	return heard || silenceState(c.Was.Status.Silence) != silenceState(c.Is.Status.Silence) || Healthy(c.Was) != Healthy(c.Is) || Watched(c.Was) != Watched(c.Is) ||
		!slices.Equal(c.Was.Spec.Taints, c.Is.Spec.Taints) || !equality.Semantic.DeepEqual(c.Was.Status.Taints, c.Is.Status.Taints) ||
		!maps.Equal(c.Was.Labels, c.Is.Labels)
}

// Concerns reports whether the change can matter to a placement with these settings that has a binding to the cluster.
func (c Change) Concerns(s Settings) bool {
	return s.Policy != nil || s.Tainted && (Evicting(c.Was) || Evicting(c.Is))
}

// silenceState is the state of a silence; empty for none.
func silenceState(s *clusterv1beta1.ClusterSilence) clusterv1beta1.SilenceState {
	if s == nil {
		return ""
	}
	return s.State
}
