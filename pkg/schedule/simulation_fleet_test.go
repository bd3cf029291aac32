package schedule_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/liveness"
)

// sim is a fleet with some placements and one hub agent. It goes from one timer to the next.
type sim struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	start time.Time
	now   time.Time

	timers timers
	byKey  map[string]*timer
	made   int

	clusters   []*cluster
	placements []*placement
	hub        hub
	// cut is since when the hub receives nothing from any cluster; zero if it does.
	cut time.Time
	// calm is whether nothing goes wrong by itself: no agent is killed, and all content becomes available.
	calm bool
	log  []string
}

// timer is something that happens later.
type timer struct {
	at    time.Time
	order int
	do    func()
	key   string
	index int
}

type timers []*timer

func (q timers) Len() int { return len(q) }
func (q timers) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].order < q[j].order
}
func (q timers) Swap(i, j int) { q[i], q[j] = q[j], q[i]; q[i].index, q[j].index = i, j }
func (q *timers) Push(x any)   { e := x.(*timer); e.index = len(*q); *q = append(*q, e) }
func (q *timers) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// set starts the timer of a key anew.
func (w *sim) set(key string, after time.Duration, do func()) {
	w.stop(key)
	w.made++
	e := &timer{at: w.now.Add(after), order: w.made, do: do, key: key}
	w.byKey[key] = e
	heap.Push(&w.timers, e)
}

func (w *sim) stop(key string) {
	if e, ok := w.byKey[key]; ok {
		heap.Remove(&w.timers, e.index)
		delete(w.byKey, key)
	}
}

// run lets time pass.
func (w *sim) run(long time.Duration) {
	w.t.Helper()
	end := w.now.Add(long)
	for len(w.timers) > 0 && !w.timers[0].at.After(end) {
		e := heap.Pop(&w.timers).(*timer)
		delete(w.byKey, e.key)
		w.now = e.at
		e.do()
		w.drain()
	}
	w.now = end
}

func (w *sim) chance(below time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(below)))
}

func (w *sim) one(of int) bool { return w.rng.IntN(of) == 0 }

func (w *sim) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%9s ", w.now.Sub(w.start).Truncate(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (w *sim) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d: %s\n%s", w.seed, fmt.Sprintf(format, args...), w.history())
}

func (w *sim) history() string {
	for _, c := range w.clusters {
		w.note("%s: period %s, down %v, cut %v, heard last %s ago, silence %+v, taints %+v", c.Name, liveness.Period(c.MemberCluster), c.down, c.unlinked,
			w.now.Sub(liveness.LastHeard(c.MemberCluster)), c.Status.Silence, c.Status.Taints)
	}
	for _, p := range w.placements {
		w.note("%s: %d clusters, %+v, tolerations %+v, content %s", p.Name, p.number(), p.Spec.Policy.Failover, p.Spec.Policy.Tolerations, p.content())
		for _, b := range p.bindings {
			w.note("  %s: %s", b.Name, describe(b))
		}
	}
	return strings.Join(w.log[max(0, len(w.log)-120):], "\n")
}

func describe(b *v1beta1.ClusterResourceBinding) string {
	out := fmt.Sprintf("%s, has %s", b.Spec.State, b.Spec.ResourceSnapshotName)
	for _, a := range []string{contract.AnnotationReplacedBy, contract.AnnotationReplaces, contract.AnnotationPreviousState, contract.AnnotationCarriedOver} {
		if v := b.Annotations[a]; v != "" {
			out += fmt.Sprintf(", %s %s", strings.TrimPrefix(a, contract.Prefix), v)
		}
	}
	if !b.DeletionTimestamp.IsZero() {
		out += fmt.Sprintf(", being deleted, %v", b.Finalizers)
	}
	for _, c := range b.Status.Conditions {
		if c.ObservedGeneration == b.Generation {
			out += fmt.Sprintf(", %s=%s", c.Type, c.Status)
		}
	}
	return out
}

// cluster is a member cluster: the MemberCluster as the hub has it, and what is really there.
type cluster struct {
	*clusterv1beta1.MemberCluster
	// down is whether the cluster is dead, unlinked whether it is cut off alone.
	down, unlinked bool
	// troubled is when the cluster was last dead or cut off alone.
	troubled time.Time
	// sick is whether the agent reports that the cluster is unhealthy; since is when that changed.
	sick  bool
	since time.Time
	// beats counts the heartbeats that arrived at the API server, and arrived is when the last did; seen is the last of
	// which the registrar knows.
	beats, seen int
	arrived     time.Time
	// works are what the cluster has to run, by binding.
	works map[string]*work
	// bad are the revisions that never become available here.
	bad map[string]bool
}

// work is the content of a binding on its cluster.
type work struct {
	want, has string
	up        bool
	// reported is the revision that the cluster has reported on, and how.
	reported   string
	reportedUp bool
	doomed     bool
}

func (w *sim) reaches(c *cluster) bool { return !c.down && !c.unlinked && w.cut.IsZero() }

func (w *sim) join(name, region string, period int32) *cluster {
	joined := metav1.Condition{Type: clusterv1beta1.ConditionJoined, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.now.Add(-24 * time.Hour))}
	healthy := joined
	healthy.Type = clusterv1beta1.ConditionHealthy
	c := &cluster{since: w.now.Add(-24 * time.Hour), works: map[string]*work{}, bad: map[string]bool{}, MemberCluster: &clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{domain: region}},
		Spec:       clusterv1beta1.MemberClusterSpec{HeartbeatPeriodSeconds: period},
		Status: clusterv1beta1.MemberClusterStatus{AgentStatus: []clusterv1beta1.AgentStatus{{
			Type: clusterv1beta1.AgentTypeMemberAgent, Conditions: []metav1.Condition{joined, healthy}, LastReceivedHeartbeat: metav1.NewTime(w.now),
		}}},
	}}
	w.clusters = append(w.clusters, c)
	w.set("beat/"+name, w.chance(liveness.Period(c.MemberCluster)), func() { w.beat(c) })
	return c
}

// beat sends a heartbeat. Without an answer the agent tries again soon.
func (w *sim) beat(c *cluster) {
	each := liveness.Period(c.MemberCluster)
	next := each*95/100 + w.chance(each/10+1)
	switch {
	case c.down:
	case !w.reaches(c):
		next = min(each, time.Second+w.chance(10*time.Second))
	default:
		c.beats++
		c.arrived = w.now
		w.hub.registrar.add(c.Name)
	}
	w.set("beat/"+c.Name, next, func() { w.beat(c) })
}

// health is the condition that the agent reports.
func (c *cluster) health() metav1.Condition {
	out := metav1.Condition{Type: clusterv1beta1.ConditionHealthy, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(c.since.Truncate(time.Second))}
	if c.sick {
		out.Status = metav1.ConditionFalse
	}
	return out
}

// reported is the status of the agent with the report that arrived last.
func (c *cluster) reported() []clusterv1beta1.AgentStatus {
	agent := *c.Status.AgentStatus[0].DeepCopy()
	agent.LastReceivedHeartbeat = metav1.NewTime(c.arrived.Truncate(time.Second))
	healthy := c.health()
	meta.RemoveStatusCondition(&agent.Conditions, healthy.Type)
	agent.Conditions = append(agent.Conditions, healthy)
	return []clusterv1beta1.AgentStatus{agent}
}

func (w *sim) kill(c *cluster) {
	w.note("%s dies", c.Name)
	c.down = true
}

func (w *sim) unlink(c *cluster) {
	w.note("%s is cut off", c.Name)
	c.unlinked = true
}

// revive makes a cluster reachable again.
func (w *sim) revive(c *cluster) {
	w.note("%s is back", c.Name)
	c.troubled = w.now
	c.down, c.unlinked = false, false
	w.set("beat/"+c.Name, w.chance(10*time.Second), func() { w.beat(c) })
	w.resume(c)
}

func (w *sim) setSick(c *cluster, sick bool) {
	if c.sick == sick {
		return
	}
	w.note("%s is sick: %v", c.Name, sick)
	c.sick, c.since = sick, w.now
	if !c.down {
		w.set("beat/"+c.Name, w.chance(5*time.Second), func() { w.beat(c) })
	}
}

func (w *sim) cutOff() {
	w.note("the hub is cut off")
	w.cut = w.now
}

func (w *sim) reconnect() {
	w.note("the hub is back")
	w.cut = time.Time{}
	for _, c := range w.clusters {
		w.resume(c)
	}
}

// resume has a cluster go on with its works.
func (w *sim) resume(c *cluster) {
	for _, p := range w.placements {
		for _, b := range p.bindings {
			if b.Spec.TargetCluster == c.Name && c.works[b.Name] != nil {
				w.work(p, c, b.Name)
			}
		}
	}
}

// work has the cluster go on with a work after a while.
func (w *sim) work(p *placement, c *cluster, binding string) {
	w.set("work/"+binding, w.chance(20*time.Second), func() { w.progress(p, c, binding) })
}

// progress takes the next step with a work: to remove it, to fetch it, to become available, or to report.
func (w *sim) progress(p *placement, c *cluster, binding string) {
	k := c.works[binding]
	if k == nil || c.down || !w.reaches(c) {
		return
	}
	switch {
	case k.doomed:
		w.removed(p, c, binding)
	case k.has != k.want:
		k.has, k.up = k.want, k.up && w.one(2)
		w.work(p, c, binding)
	case !k.up && !c.bad[k.has]:
		k.up = true
		w.set("work/"+binding, w.chance([]time.Duration{5 * time.Second, time.Minute, 10 * time.Minute}[w.rng.IntN(3)]), func() { w.progress(p, c, binding) })
	default:
		k.reported, k.reportedUp = k.has, k.up
		w.dispatch(p, binding)
	}
}

// mood is whether content becomes available on the cluster.
func (w *sim) mood(c *cluster, revision string) {
	if !w.calm && w.one(8) {
		c.bad[revision] = true
	}
}

func (w *sim) named(name string) *cluster {
	i := slices.IndexFunc(w.clusters, func(c *cluster) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return w.clusters[i]
}
