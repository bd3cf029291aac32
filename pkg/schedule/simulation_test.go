package schedule_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/schedule"
)

var (
	onlySeed  = flag.Uint64("seed", 0, "play the failover simulations of this seed alone")
	manySeeds = flag.Uint64("seeds", 20, "how many seeds to play of each failover simulation")
)

// seeds plays a simulation with many seeds.
func seeds(t *testing.T, play func(t *testing.T, seed uint64)) {
	t.Helper()
	n := *manySeeds
	if testing.Short() {
		n = min(n, 15)
	}
	for seed := uint64(1); seed <= n; seed++ {
		if *onlySeed == 0 || *onlySeed == seed {
			play(t, seed)
		}
	}
	if *onlySeed > n {
		play(t, *onlySeed)
	}
}

// newSim is a fleet in which all is well.
func newSim(t *testing.T, seed uint64) *sim {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &sim{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), start: start, now: start, byKey: map[string]*timer{}}
	if w.one(2) {
		w.hub.domain = domain
	}
	regions := 1 + w.rng.IntN(3)
	for i := range 3 + w.rng.IntN(7) {
		period := []int32{0, 60, 60, 60, 15, 30, 120, 600}[w.rng.IntN(8)]
		w.join(fmt.Sprintf("c%d", i), fmt.Sprintf("r%d", i%regions), period)
	}
	return w
}

// place adds a placement. Its replicas have no hard constraints, so that it can always get the clusters that it wants.
func (w *sim) place(f *v1beta1.Failover, number int) *placement {
	percent := func(least int) *intstr.IntOrString {
		return ptr.To(intstr.FromString([]string{"0%", "25%", "50%", "100%"}[least+w.rng.IntN(4-least)]))
	}
	p := &placement{revision: 1, ClusterResourcePlacement: &v1beta1.ClusterResourcePlacement{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", len(w.placements)), UID: "uid", Generation: 1},
		Spec: v1beta1.PlacementSpec{
			Policy: &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(int32(number)), Failover: f},
			Strategy: v1beta1.RolloutStrategy{Type: v1beta1.RolloutStrategyTypeRollingUpdate, RollingUpdate: &v1beta1.RollingUpdateConfig{
				MaxSurge: percent(0), MaxUnavailable: percent(1), // with 0 no cluster ever changes
			}},
		},
	}}
	w.placements = append(w.placements, p)
	w.edit(p, true, func(policy *v1beta1.PlacementPolicy) {
		if w.one(3) {
			policy.TopologySpreadConstraints = []v1beta1.TopologySpreadConstraint{{TopologyKey: domain, WhenUnsatisfiable: "ScheduleAnyway"}}
		}
	})
	return p
}

func (w *sim) anyFailover() *v1beta1.Failover {
	return &v1beta1.Failover{
		After:    metav1.Duration{Duration: []time.Duration{30 * time.Second, 5 * time.Minute, 5 * time.Minute, 20 * time.Minute}[w.rng.IntN(4)]},
		Purge:    []v1beta1.FailoverPurge{"", v1beta1.FailoverPurgeGraceful, v1beta1.FailoverPurgeImmediate, v1beta1.FailoverPurgeNever}[w.rng.IntN(4)],
		Failback: []v1beta1.FailbackPolicy{"", v1beta1.FailbackNever, v1beta1.FailbackWhenHealthy}[w.rng.IntN(3)],
	}
}

// settle lets the fleet come to rest.
func (w *sim) settle() {
	w.calm = true
	w.startHub()
	w.drain()
	w.run(25 * time.Minute)
	w.checkRest()
}

// Everything that can go wrong does. When all is well again for long, every placement is where it should be.
func TestFailoverSimulation(t *testing.T) {
	seeds(t, func(t *testing.T, seed uint64) {
		w := newSim(t, seed)
		for range 1 + w.rng.IntN(3) {
			f := w.anyFailover()
			if w.one(6) {
				f = nil
			}
			w.place(f, 1+w.rng.IntN(len(w.clusters)))
		}
		w.settle()
		w.calm = false
		for range 40 {
			w.befall()
			w.run(w.chance([]time.Duration{time.Minute, 10 * time.Minute, 20 * time.Minute}[w.rng.IntN(3)]))
		}
		w.heal()
		w.run(75 * time.Minute)
		w.checkRest()
	})
}

// A dead cluster is left as soon as the policy and the judge allow, also if the agent ends meanwhile. A candidate may
// be a cluster that reports seldom.
func TestFailoverIsInTime(t *testing.T) {
	seeds(t, func(t *testing.T, seed uint64) {
		w := newSim(t, seed)
		w.calm = true
		f := w.anyFailover()
		p := w.place(f, 1+w.rng.IntN(len(w.clusters)-1))
		w.settle()
		dead := w.named(p.bindings[w.rng.IntN(len(p.bindings))].Spec.TargetCluster)
		w.kill(dead)
		w.run(1)
		last, grace := liveness.LastHeard(dead.MemberCluster), liveness.Grace(dead.MemberCluster)
		from, judged := last, time.Time{}
		// Evidence and candidate are others that are heard after the dead cluster was due. Half of the time the longest
		// period counts, as no other cluster may be free.
		var slowest time.Duration
		for _, c := range w.clusters {
			if c != dead {
				slowest = max(slowest, liveness.Due(c.MemberCluster).Sub(liveness.LastHeard(c.MemberCluster)))
			}
		}
		limit := func() time.Time {
			after := max(f.After.Duration, liveness.LostAfter(dead.MemberCluster))
			latest := slices.MaxFunc([]time.Time{from.Add(after), judged, liveness.Due(dead.MemberCluster).Add(slowest)}, time.Time.Compare)
			return latest.Add(4 * time.Second)
		}
		restarts := w.rng.IntN(4)
		for w.now.Before(limit()) {
			if w.run(min(limit().Sub(w.now), time.Second+w.chance(2*grace))); restarts == 0 || !w.now.Before(limit()) {
				continue
			}
			restarts--
			if dead.Status.Silence == nil {
				from = w.now
			}
			w.stopHub()
			w.startHub()
			w.drain()
			judged = w.now.Add(grace)
		}
		for _, b := range p.bindings {
			if b.Spec.TargetCluster == dead.Name && living(b) {
				w.fail("%s still has %s, which was heard last %s ago; the policy is %s", p.Name, dead.Name, w.now.Sub(last), f.After.Duration)
			}
		}
	})
}

// F16: a tainted cluster is left when the toleration ends, counted from the hub's first sight of the taint, and not
// before, also if the agent ends meanwhile. It goes when its replacement is available, so that there are never fewer.
func TestTaintedClusterIsLeftInTime(t *testing.T) {
	seeds(t, func(t *testing.T, seed uint64) {
		w := newSim(t, seed)
		w.calm = true
		p := w.place(nil, 1+w.rng.IntN(len(w.clusters)-1))
		seconds := []int64{0, 30, 600}[w.rng.IntN(3)]
		w.edit(p, true, func(policy *v1beta1.PlacementPolicy) {
			policy.TopologySpreadConstraints = nil
			policy.Tolerations = []v1beta1.Toleration{{Key: "leave", Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds}}
		})
		w.settle()
		c := w.named(p.bindings[w.rng.IntN(len(p.bindings))].Spec.TargetCluster)
		left := func() bool {
			return !slices.ContainsFunc(p.bindings, func(b *v1beta1.ClusterResourceBinding) bool { return b.Spec.TargetCluster == c.Name && living(b) })
		}
		w.taint(c, true)
		w.drain()
		from := w.now
		end := from.Add(time.Duration(seconds)*time.Second + 4*time.Second)
		for restarts := w.rng.IntN(4); w.now.Before(end); restarts-- {
			long := end.Sub(w.now)
			if restarts > 0 {
				long = min(long, time.Second+w.chance(5*time.Minute))
			}
			w.run(long)
			if due := from.Add(time.Duration(seconds) * time.Second); left() && w.now.Before(due.Add(-time.Second)) {
				w.fail("%s left %s %s too early", p.Name, c.Name, due.Sub(w.now))
			}
			if restarts > 0 && w.now.Before(end) {
				w.stopHub()
				w.startHub()
				w.drain()
			}
		}
		if !left() {
			w.fail("%s still has %s, %s after its taint; it tolerates that for %d s", p.Name, c.Name, w.now.Sub(from), seconds)
		}
		for range 200 {
			w.run(5 * time.Second)
			ready := 0
			for _, k := range w.clusters {
				for name, work := range k.works {
					if p.at(name) >= 0 && work.up && !work.doomed {
						ready++
					}
				}
			}
			if ready < p.number() {
				w.fail("%s: ready on %d clusters; it was on %d", p.Name, ready, p.number())
			}
		}
		w.checkRest()
	})
}

// A cluster that flaps makes a placement leave it once, and then costs few writes.
func TestF11FlappingIsCheap(t *testing.T) {
	seeds(t, func(t *testing.T, seed uint64) {
		w := newSim(t, seed)
		w.calm = true
		p := w.place(&v1beta1.Failover{After: metav1.Duration{Duration: 30 * time.Second}}, 1+w.rng.IntN(len(w.clusters)-1))
		w.settle()
		c := w.named(p.bindings[0].Spec.TargetCluster)
		off := liveness.LostAfter(c.MemberCluster) + time.Minute + w.chance(4*time.Minute)
		start := w.now
		for w.now.Sub(start) < 5*time.Hour {
			w.kill(c)
			w.run(off)
			w.revive(c)
			w.run(liveness.Period(c.MemberCluster) + w.chance(time.Minute))
		}
		late := slices.DeleteFunc(slices.Clone(p.writes), func(at time.Time) bool { return at.Sub(start) < time.Hour })
		if spare := len(w.clusters) - p.number(); spare > 1 && len(late) > 8 {
			w.fail("%s: %d writes in four hours, at %v", p.Name, len(late), late)
		}
	})
}

// befall lets something happen.
func (w *sim) befall() {
	c := w.clusters[w.rng.IntN(len(w.clusters))]
	p := w.placements[w.rng.IntN(len(w.placements))]
	switch w.rng.IntN(23) {
	case 0, 1:
		if !c.down && !c.unlinked {
			w.kill(c)
		}
	case 2:
		if !c.down && !c.unlinked {
			w.unlink(c)
		}
	case 3, 4, 5, 6:
		w.reviveOne()
	case 7:
		if w.cut.IsZero() {
			w.cutOff()
		}
	case 8, 9:
		if !w.cut.IsZero() {
			w.reconnect()
		}
	case 10: // half of the fleet, or a region
		for _, c := range w.clusters {
			if (w.one(2) || c.Labels[domain] == "r0") && !c.down && !c.unlinked {
				w.unlink(c)
			}
		}
	case 11:
		w.setSick(c, !c.sick)
	case 12:
		w.announce(c)
	case 13:
		w.releaseOne()
	case 14:
		w.restart()
	case 15:
		w.note("%s: other failover policy", p.Name)
		w.edit(p, false, func(policy *v1beta1.PlacementPolicy) {
			if policy.Failover = w.anyFailover(); w.one(6) {
				policy.Failover = nil
			}
		})
	case 16:
		number := int32(1 + w.rng.IntN(len(w.clusters)))
		w.note("%s: %d clusters", p.Name, number)
		w.edit(p, false, func(policy *v1beta1.PlacementPolicy) { policy.NumberOfClusters = &number })
	case 17:
		w.note("%s: other policy", p.Name)
		w.edit(p, true, func(policy *v1beta1.PlacementPolicy) { w.prefer(policy) })
	case 18:
		w.release1(p)
	case 19: // what runs there fails
		for name, k := range c.works {
			if p.at(name) >= 0 && !k.doomed {
				w.note("%s: %s fails", p.Name, name)
				c.bad[k.has], k.up = true, false
				w.work(p, c, name)
			}
		}
	case 20, 21:
		w.taint(c, len(c.Spec.Taints) == 0)
	case 22:
		w.note("%s: other tolerations", p.Name)
		w.edit(p, len(p.Spec.Policy.Tolerations) == 0, w.endure)
	}
	w.drain()
}

// taint adds an evicting taint, or takes it off.
func (w *sim) taint(c *cluster, on bool) {
	is := c.DeepCopy()
	is.Spec.Taints = nil
	if on {
		is.Spec.Taints = []clusterv1beta1.Taint{{Key: "leave", Effect: corev1.TaintEffectNoSchedule, Evict: true}}
	}
	if len(is.Spec.Taints) == len(c.Spec.Taints) {
		return
	}
	w.note("%s is tainted: %v", c.Name, on)
	w.hub.registrar.add(c.Name)
	w.change(c, is)
}

// endure has a policy tolerate the taint for some time, or for ever.
func (w *sim) endure(policy *v1beta1.PlacementPolicy) {
	policy.Tolerations = []v1beta1.Toleration{{Key: "leave", Operator: corev1.TolerationOpExists}}
	if !w.one(4) {
		policy.Tolerations[0].TolerationSeconds = ptr.To([]int64{0, 30, 600, 1800}[w.rng.IntN(4)])
	}
}

// prefer changes which clusters the policy prefers.
func (w *sim) prefer(policy *v1beta1.PlacementPolicy) {
	policy.Affinity = &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []v1beta1.PreferredClusterSelector{{
			Weight: 1 + w.rng.Int32N(99),
			Preference: v1beta1.ClusterSelectorTerm{
				LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{domain: fmt.Sprintf("r%d", w.rng.IntN(3))}},
			},
		}},
	}}
}

// release1 rolls out new content.
func (w *sim) release1(p *placement) {
	p.revision++
	w.note("%s: content %s", p.Name, p.content())
	w.hub.roller.add(p.Name)
}

func (w *sim) reviveOne() {
	var gone []*cluster
	for _, c := range w.clusters {
		if c.down || c.unlinked {
			gone = append(gone, c)
		}
	}
	if len(gone) > 0 {
		w.revive(gone[w.rng.IntN(len(gone))])
	}
}

// announce announces an absence, or its end.
func (w *sim) announce(c *cluster) {
	is := c.DeepCopy()
	if failover.Away(is) {
		delete(is.Annotations, contract.AnnotationAway)
	} else {
		is.Annotations = map[string]string{contract.AnnotationAway: "true"}
	}
	w.note("%s is away: %v", c.Name, failover.Away(is))
	w.hub.registrar.add(c.Name)
	w.change(c, is)
}

// releaseOne declares a silent cluster lost.
func (w *sim) releaseOne() {
	for _, c := range w.clusters {
		if s := c.Status.Silence; failover.Suspicious(s) && !failover.Away(c.MemberCluster) {
			w.note("%s is released", c.Name)
			is := c.DeepCopy()
			is.Annotations = map[string]string{contract.AnnotationRelease: failover.Release(s)}
			w.hub.registrar.add(c.Name)
			w.change(c, is)
			return
		}
	}
}

// restart has the agent end, and start again soon or later.
func (w *sim) restart() {
	if w.hub.off {
		return
	}
	w.note("the agent ends")
	w.stopHub()
	w.set("start", w.chance([]time.Duration{time.Second, 10 * time.Minute}[w.rng.IntN(2)]), w.startHub)
}

// heal ends all troubles.
func (w *sim) heal() {
	w.note("all is well")
	w.calm = true
	w.hub.fatal = 0
	if w.hub.off {
		w.stop("start")
		w.startHub()
	}
	for _, c := range w.clusters {
		c.bad = map[string]bool{}
		w.setSick(c, false)
		w.taint(c, false)
		if failover.Away(c.MemberCluster) {
			w.announce(c)
		}
		w.revive(c)
	}
	w.reconnect()
	w.drain()
}

// checkRest checks a fleet in which all has been well for long.
func (w *sim) checkRest() {
	w.t.Helper()
	for _, p := range w.placements {
		living := 0
		for _, b := range p.bindings {
			if living++; b.Spec.State != v1beta1.BindingStateBound || !b.DeletionTimestamp.IsZero() || b.Spec.ResourceSnapshotName != p.content() || !available(b) {
				w.fail("%s: at rest, binding %s: %s", p.Name, b.Name, describe(b))
			}
		}
		if living != p.number() || p.short {
			w.fail("%s: at rest, %d clusters instead of %d; reported short: %v", p.Name, living, p.number(), p.short)
		}
		if d := schedule.Decide(w.request(p)); len(d.Create)+len(d.Change)+len(d.Release) > 0 {
			w.fail("%s: at rest, the scheduler writes %+v %+v %+v", p.Name, d.Create, d.Change, d.Release)
		}
	}
}

// available reports whether a binding, as it is now, is reported ready.
func available(b *v1beta1.ClusterResourceBinding) bool {
	return delivery.StatusOf(b).Is(v1beta1.ConditionAvailable, metav1.ConditionTrue)
}

func living(b *v1beta1.ClusterResourceBinding) bool {
	return b.DeletionTimestamp.IsZero() && b.Spec.State != v1beta1.BindingStateUnscheduled
}

// checkDecision looks for a cluster that is left because the hub is cut off.
func (w *sim) checkDecision(p *placement, d schedule.Decision) {
	w.t.Helper()
	for _, left := range d.Left {
		w.note("%s: leaves %s for %s: %s", p.Name, left.Cluster, left.With, left.Reason)
		c := w.named(left.Cluster)
		if left.Reason != failover.Lost || stateOf(c.Status.Silence) == clusterv1beta1.SilenceReleased {
			continue
		}
		if failover.Away(c.MemberCluster) {
			w.fail("%s leaves %s, which is away", p.Name, c.Name)
		}
		if !slices.ContainsFunc(w.clusters, func(c *cluster) bool {
			return failover.Watched(c.MemberCluster) && liveness.Of(c.MemberCluster, w.now) == liveness.Heard
		}) {
			w.fail("%s leaves %s, and the hub hears no cluster", p.Name, c.Name)
		}
		if failover.Braked(w.fleet(nil)) {
			w.fail("%s leaves %s in spite of the brake", p.Name, c.Name)
		}
	}
}

// checkBindings checks the bindings after a decision was carried out. If the agent was killed before it left a
// cluster, the replacement may have become an ordinary pick, because the placement had too few.
func (w *sim) checkBindings(p *placement) {
	w.t.Helper()
	n, replaces := 0, map[string]string{}
	for _, b := range p.bindings {
		if !living(b) {
			continue
		}
		n++
		e := failover.Replaces(b)
		if e == nil || !p.isLeft(e) {
			continue
		}
		if other := replaces[e.With]; other != "" && !p.cutShort {
			w.fail("%s: %s and %s replace %s", p.Name, b.Name, other, e.With)
		}
		replaces[e.With] = b.Name
	}
	if n > p.number() {
		w.fail("%s: %d living bindings; %d are wanted", p.Name, n, p.number())
	}
}

// isLeft reports whether the exchange that a binding records is still on: the cluster has a parked binding.
func (p *placement) isLeft(e *failover.Exchange) bool {
	return slices.ContainsFunc(p.bindings, func(b *v1beta1.ClusterResourceBinding) bool {
		by := failover.ReplacedBy(b)
		return by != nil && b.Spec.TargetCluster == e.With && !living(b) && by.Reason == e.Reason && by.Since.Equal(&e.Since)
	})
}

// checkStep looks for content that is removed too early.
func (w *sim) checkStep(p *placement, step rollout.Step) {
	w.t.Helper()
	for _, name := range step.Remove {
		b := p.bindings[p.at(name)]
		if b.Spec.ResourceSnapshotName == "" {
			continue
		}
		if c := w.named(b.Spec.TargetCluster); liveness.Of(c.MemberCluster, w.now) != liveness.Heard {
			w.fail("%s: %s is deleted, and its cluster is not heard", p.Name, name)
		}
		e := failover.ReplacedBy(b)
		if e == nil || p.Spec.Policy.Failover != nil && p.Spec.Policy.Failover.Purge == v1beta1.FailoverPurgeImmediate && e.Reason != failover.Failback {
			continue
		}
		for _, by := range p.bindings {
			if by.Spec.TargetCluster == e.With && living(by) && !available(by) {
				w.fail("%s: %s is deleted, and its replacement is not ready: %s", p.Name, name, describe(by))
			}
		}
	}
}
