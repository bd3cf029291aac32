package registrar

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/metrics"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

var silentClusters = metrics.Gauge(metrics.Definition{
	Name: "fleet_silent_clusters",
	Help: "Number of member clusters that the hub does not hear, by what it concludes. Alert on `Braked`: failovers are stopped.",
	Labels: []metrics.Label{{Name: "state", Values: "`status.silence.state` of the MemberCluster: `Suspected`, `Braked`, `Lost` or " +
		"`Released`"}},
	Agents: []metrics.Agent{metrics.Hub},
})

// silent are the states of clusters that are counted.
var silent = []v1beta1.SilenceState{v1beta1.SilenceSuspected, v1beta1.SilenceBraked, v1beta1.SilenceLost, v1beta1.SilenceReleased}

// silences is what this process remembers of the clusters' silences.
type silences struct {
	mu     sync.Mutex
	memory failover.Memory
	// waiting are the clusters that would be judged otherwise if the hub heard others, each with the time at which it
	// should have been heard.
	waiting map[string]time.Time
	states  map[string]v1beta1.SilenceState
	// looked is when the fleet was last looked at for a cluster that is heard.
	looked time.Time
}

// glance is how often, at most, the fleet is looked at because of clusters that are heard: only to notice that many
// others are overdue. The heartbeats of a large fleet would otherwise each cost as much as it has clusters.
const glance = time.Second

// glances reports whether to look at the fleet for a cluster that is heard and has no recorded silence.
func (s *silences) glances(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.looked).Abs() < glance {
		return false
	}
	s.looked = now
	return true
}

// await notes that the cluster waits for others to be heard.
func (s *silences) await(cluster string, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = map[string]time.Time{}
	}
	s.waiting[cluster] = due
}

// settle notes that the cluster does not wait.
func (s *silences) settle(cluster string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, cluster)
}

// next judges a cluster with the memory of the judgements before.
func (s *silences) next(judge failover.Judge, cluster *v1beta1.MemberCluster, look failover.Look) failover.Judgement {
	s.mu.Lock()
	defer s.mu.Unlock()
	look.Memory = s.memory
	out := judge.Next(cluster, look)
	s.memory = out.Memory
	return out
}

// count counts the cluster in the state of its silence, which is nil for none.
func (s *silences) count(cluster string, silence *v1beta1.ClusterSilence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.states == nil {
		s.states = map[string]v1beta1.SilenceState{}
	}
	delete(s.states, cluster)
	if silence != nil {
		s.states[cluster] = silence.State
	}
	counts := map[v1beta1.SilenceState]int{}
	for _, state := range s.states {
		counts[state]++
	}
	for _, state := range silent {
		silentClusters.WithLabelValues(string(state)).Set(float64(counts[state]))
	}
}

// forget ends the records of a cluster.
func (s *silences) forget(cluster string) {
	s.settle(cluster)
	s.count(cluster, nil)
}

// others are the waiting clusters for which it is new that a cluster is heard. before is that cluster with the
// heartbeat before.
func (s *silences) others(before, after *v1beta1.MemberCluster, now time.Time) (out []string) {
	if liveness.Of(after, now) != liveness.Heard {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := liveness.Of(before, now)
	for _, name := range slices.Sorted(maps.Keys(s.waiting)) {
		if name != before.Name && (was != liveness.Heard || liveness.LastHeard(before).Before(s.waiting[name])) {
			out = append(out, name)
		}
	}
	return out
}

// all are all waiting clusters but one.
func (s *silences) all(but string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.waiting)) {
		if name != but {
			out = append(out, name)
		}
	}
	return out
}

// judge judges the silence of a cluster with these reports of its agents.
func (r *Registrar) judge(ctx context.Context, cluster *v1beta1.MemberCluster, agents []v1beta1.AgentStatus) (failover.Judgement, error) {
	is := *cluster
	is.Status.AgentStatus = agents
	now := r.Now()
	if failover.Watched(&is) && liveness.Of(&is, now) != liveness.Heard {
		r.silences.await(is.Name, liveness.Due(&is)) // before the list, so that no heartbeat is missed
	}
	var fleet []*v1beta1.MemberCluster
	if liveness.Of(&is, now) != liveness.Heard || is.Status.Silence != nil || r.silences.glances(now) {
		var err error
		if fleet, err = r.fleet(ctx, &is); err != nil {
			return failover.Judgement{}, err
		}
	}
	out := r.silences.next(failover.Judge{Domain: r.Domain, Awake: r.Awake}, &is, failover.Look{Now: now, Fleet: fleet})
	if !out.Waiting {
		r.silences.settle(is.Name)
	}
	return out, nil
}

// fleet lists the MemberClusters, one of them as it is given. An older heartbeat of another cluster makes a judgement
// more careful, and a newer one wakes the cluster. The heartbeat of this one must be recorded even if the API server
// answers no list.
func (r *Registrar) fleet(ctx context.Context, is *v1beta1.MemberCluster) ([]*v1beta1.MemberCluster, error) {
	var list v1beta1.MemberClusterList
	if err := r.Client.List(ctx, &list, scope.Fast()...); err != nil {
		return nil, fmt.Errorf("list member clusters: %w", err)
	}
	out := make([]*v1beta1.MemberCluster, len(list.Items))
	for i := range list.Items {
		if out[i] = &list.Items[i]; out[i].Name == is.Name {
			out[i] = is
		}
	}
	return out, nil
}

// kept is the silence of a cluster whose report cannot be read: a suspicion, which another report would have to end,
// is not kept.
func kept(cluster *v1beta1.MemberCluster) *v1beta1.ClusterSilence {
	if s := cluster.Status.Silence; cluster.DeletionTimestamp.IsZero() && !failover.Suspicious(s) {
		return s
	}
	return nil
}

// forWaiting are requests for the clusters for which a change of a MemberCluster is evidence.
func (r *Registrar) forWaiting(before, after *v1beta1.MemberCluster) (out []reconcile.Request) {
	var names []string
	switch {
	case failover.Watched(before) != failover.Watched(after) || before.Labels[r.Domain] != after.Labels[r.Domain] ||
		state(before.Status.Silence) != state(after.Status.Silence):
		names = r.silences.all(after.Name)
	case !liveness.LastHeard(before).Equal(liveness.LastHeard(after)):
		names = r.silences.others(before, after, r.Now())
	}
	for _, name := range names {
		out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
	}
	return out
}

func state(s *v1beta1.ClusterSilence) v1beta1.SilenceState {
	if s == nil {
		return ""
	}
	return s.State
}

// recordSilence records an event and a log for a change of the state of a silence.
func (r *Registrar) recordSilence(ctx context.Context, cluster *v1beta1.MemberCluster, before v1beta1.MemberClusterStatus) {
	was, is := state(before.Silence), state(cluster.Status.Silence)
	if was == is {
		return
	}
	ctrl.LoggerFrom(ctx).Info("Judged silence", "cluster", cluster.Name, "state", is, "before", was)
	last := liveness.LastHeard(cluster)
	heardAgain := last.After(liveness.LastHeard(&v1beta1.MemberCluster{Status: before}))
	switch {
	case is == v1beta1.SilenceBraked:
		r.Recorder.Eventf(cluster, corev1.EventTypeWarning, "FailoverBraked", "No heartbeat since %s, but so many clusters are silent that the hub's own "+
			"network may be the cause: no placement leaves the cluster; see \"kubectl fleet failover status\"", utc(last))
	case is == v1beta1.SilenceLost:
		r.Recorder.Eventf(cluster, corev1.EventTypeWarning, "ClusterLost", "The cluster is silent since %s and counts as lost: placements with a "+
			"failover policy leave it", utc(cluster.Status.Silence.Since.Time))
	case is == v1beta1.SilenceReleased:
		r.Recorder.Eventf(cluster, corev1.EventTypeWarning, "ClusterReleased", "No heartbeat since %s, and an administrator declared the cluster lost: placements "+
			"with a failover policy leave it", utc(last))
	case is == v1beta1.SilenceOver, is == "" && was == v1beta1.SilenceBraked && heardAgain:
		r.Recorder.Event(cluster, corev1.EventTypeNormal, "ClusterHeardAgain", "The hub hears the cluster again; it was silent since "+
			utc(before.Silence.Since.Time))
	}
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

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
	return max(0, liveness.Grace(cluster)-now.Sub(r.Awake))
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
