package schedule_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/schedule"
)

// domain is the label of regions.
const domain = "region"

// hub is the hub agent: the queues of its controllers, and what it remembers.
type hub struct {
	registrar, scheduler, roller queue
	domain                       string
	judge                        failover.Judge
	memory                       failover.Memory
	waiting                      map[string]time.Time
	// off is whether the agent does not run.
	off bool
	// fatal is the number of the write after which the agent ends; zero for none.
	fatal int
}

// queue are the keys to reconcile.
type queue struct{ keys []string }

func (q *queue) add(key string) {
	if !slices.Contains(q.keys, key) {
		q.keys = append(q.keys, key)
	}
}

func (q *queue) take(rng *rand.Rand) string {
	i := rng.IntN(len(q.keys))
	key := q.keys[i]
	q.keys = slices.Delete(q.keys, i, i+1)
	return key
}

// drain lets the agent do all that it has to do now.
func (w *sim) drain() {
	w.t.Helper()
	for n := 0; !w.hub.off; n++ {
		if n > 5000 {
			w.fail("the agent does not come to rest")
		}
		h := &w.hub
		all := []*queue{&h.registrar, &h.scheduler, &h.roller}
		all = slices.DeleteFunc(all, func(q *queue) bool { return len(q.keys) == 0 })
		if len(all) == 0 {
			return
		}
		q := all[w.rng.IntN(len(all))]
		key := q.take(w.rng)
		switch q {
		case &h.registrar:
			w.register(w.named(key))
		case &h.scheduler:
			w.schedule(w.placed(key))
		default:
			w.roll(w.placed(key))
		}
	}
}

// stopHub ends the agent.
func (w *sim) stopHub() {
	w.hub.off, w.hub.fatal = true, 0
	for key := range maps.Clone(w.byKey) {
		if strings.HasPrefix(key, "hub/") {
			w.stop(key)
		}
	}
}

// startHub starts another agent.
func (w *sim) startHub() {
	w.note("the agent starts")
	w.hub = hub{domain: w.hub.domain, judge: failover.Judge{Domain: w.hub.domain, Awake: w.now}, waiting: map[string]time.Time{}}
	for _, c := range w.clusters {
		w.hub.registrar.add(c.Name)
		w.awaitSilence(c)
	}
	for _, p := range w.placements {
		w.hub.scheduler.add(p.Name)
		w.hub.roller.add(p.Name)
		for _, b := range p.bindings {
			w.dispatchSoon(p, b)
		}
	}
}

// dies reports whether the agent is killed before the next write. Another one starts at once.
func (w *sim) dies() bool {
	if w.hub.off {
		return true
	}
	if w.hub.fatal--; w.hub.fatal != 0 {
		return false
	}
	w.note("the agent is killed")
	w.stopHub()
	w.set("start", w.chance(5*time.Second)+1, w.startHub)
	return true
}

func (w *sim) fleet(is *clusterv1beta1.MemberCluster) []*clusterv1beta1.MemberCluster {
	out := make([]*clusterv1beta1.MemberCluster, len(w.clusters))
	for i, c := range w.clusters {
		if out[i] = c.MemberCluster; is != nil && c.Name == is.Name {
			out[i] = is
		}
	}
	return out
}

// register does what the registrar does.
func (w *sim) register(c *cluster) {
	h := &w.hub
	is := c.DeepCopy()
	if c.beats != c.seen {
		c.seen = c.beats
		is.Status.AgentStatus = c.reported()
	}
	if failover.Watched(is) && liveness.Of(is, w.now) != liveness.Heard {
		h.waiting[is.Name] = liveness.Due(is)
	}
	out := h.judge.Next(is, failover.Look{Now: w.now, Fleet: w.fleet(is), Memory: h.memory})
	h.memory = out.Memory
	if !out.Waiting {
		delete(h.waiting, is.Name)
	}
	if w.stop("hub/judge/" + c.Name); out.Again > 0 {
		w.set("hub/judge/"+c.Name, out.Again, func() { h.registrar.add(c.Name) })
	}
	if was, is := stateOf(c.Status.Silence), stateOf(out.Silence); was != is {
		w.note("%s is %q, was %q", c.Name, is, was)
	}
	is.Status.Silence, is.Status.Taints = out.Silence, failover.SeenTaints(is, w.now)
	w.change(c, is)
}

func stateOf(s *clusterv1beta1.ClusterSilence) clusterv1beta1.SilenceState {
	if s == nil {
		return ""
	}
	return s.State
}

// change writes a MemberCluster, and sends its event.
func (w *sim) change(c *cluster, is *clusterv1beta1.MemberCluster) {
	was, now := c.MemberCluster, w.now
	if equality.Semantic.DeepEqual(was, is) {
		return
	}
	c.MemberCluster = is
	if w.hub.off {
		return
	}
	w.judgeOthers(was, is)
	w.awaitSilence(c)
	w.enqueueChange(schedule.ClusterChangeOf(was, is, now))
	w.enqueueFailovers(was, is)
	if !schedule.Decidable(was, now) && schedule.Decidable(is, now) {
		w.enqueueWith(is.Name, &w.hub.scheduler, func(_ *placement, b *v1beta1.ClusterResourceBinding) bool {
			return schedule.CarriedOver(b) || failover.ReplacedBy(b) != nil
		})
	}
	if schedule.Ineligible(was, now) != "" && schedule.Ineligible(is, now) == "" {
		w.enqueueWith(is.Name, &w.hub.roller, func(*placement, *v1beta1.ClusterResourceBinding) bool { return true })
	}
	if liveness.Of(was, now) != liveness.Heard && liveness.Of(is, now) == liveness.Heard {
		w.enqueueWith(is.Name, &w.hub.roller, func(p *placement, b *v1beta1.ClusterResourceBinding) bool {
			return b.DeletionTimestamp.IsZero() && (b.Spec.State == v1beta1.BindingStateUnscheduled || p.isReplacement(b))
		})
	}
}

// judgeOthers enqueues the clusters for which the change of another is evidence.
func (w *sim) judgeOthers(was, is *clusterv1beta1.MemberCluster) {
	all := failover.Watched(was) != failover.Watched(is) || stateOf(was.Status.Silence) != stateOf(is.Status.Silence)
	if !all && liveness.LastHeard(was).Equal(liveness.LastHeard(is)) {
		return
	}
	state := liveness.Of(was, w.now)
	for _, name := range slices.Sorted(maps.Keys(w.hub.waiting)) {
		if name != is.Name && (all || state != liveness.Heard || liveness.LastHeard(was).Before(w.hub.waiting[name])) {
			w.hub.registrar.add(name)
		}
	}
}

func (w *sim) awaitSilence(c *cluster) {
	after := liveness.UntilSilent(c.MemberCluster, w.now)
	if w.stop("hub/silence/" + c.Name); after == 0 {
		return
	}
	w.set("hub/silence/"+c.Name, after, func() {
		if liveness.Of(c.MemberCluster, w.now) == liveness.Silent {
			w.enqueueChange(schedule.ClusterSilence(c.MemberCluster, w.now))
		}
	})
}

func (w *sim) enqueueChange(change schedule.ClusterChange) {
	topics := change.Topics()
	for _, p := range w.placements {
		watch := p.watch()
		if slices.ContainsFunc(watch.Topics(), func(topic string) bool { return slices.Contains(topics, topic) }) && change.Matters(watch) {
			w.hub.scheduler.add(p.Name)
		}
	}
}

func (w *sim) enqueueFailovers(was, is *clusterv1beta1.MemberCluster) {
	change := failover.Change{Was: was, Is: is, Now: w.now}
	if !change.Matters() {
		return
	}
	w.enqueueWith(is.Name, &w.hub.scheduler, func(p *placement, _ *v1beta1.ClusterResourceBinding) bool {
		return change.Concerns(failover.SettingsOf(p))
	})
	for _, p := range w.placements {
		if p.waiting {
			w.hub.scheduler.add(p.Name)
		}
	}
}

func (w *sim) enqueueWith(cluster string, q *queue, such func(*placement, *v1beta1.ClusterResourceBinding) bool) {
	for _, p := range w.placements {
		for _, b := range p.bindings {
			if b.Spec.TargetCluster == cluster && such(p, b) {
				q.add(p.Name)
			}
		}
	}
}

// placement is a placement with its latest policy snapshot and its bindings.
type placement struct {
	*v1beta1.ClusterResourcePlacement
	policy   *v1beta1.ClusterSchedulingPolicySnapshot
	bindings []*v1beta1.ClusterResourceBinding
	// short is whether the placement's status reports too few clusters.
	short bool
	// waiting is whether the agent knows that any change of a cluster may matter.
	waiting            bool
	revision, policies int
	made               int
	// cutShort is whether an agent was killed while it carried out a decision for the placement.
	cutShort bool
	// writes are the times of the scheduler's writes to bindings.
	writes []time.Time
}

func (w *sim) placed(name string) *placement {
	return w.placements[slices.IndexFunc(w.placements, func(p *placement) bool { return p.Name == name })]
}

func (p *placement) number() int     { return int(*p.Spec.Policy.NumberOfClusters) }
func (p *placement) content() string { return fmt.Sprintf("%s-%d-snapshot", p.Name, p.revision) }

func (p *placement) watch() schedule.Watch {
	seen := strconv.FormatInt(p.policy.Status.ObservedCRPGeneration, 10)
	return schedule.Watch{
		Policy: p.policy.Spec.Policy, Listed: p.policy.Status.ClusterDecisions,
		Fulfilled: seen == p.policy.Annotations[contract.AnnotationGeneration] &&
			delivery.IsTrue(p.policy.Status.Conditions, v1beta1.ConditionScheduled, p.policy.Generation),
	}
}

func (p *placement) isReplacement(b *v1beta1.ClusterResourceBinding) bool {
	return slices.ContainsFunc(p.bindings, func(other *v1beta1.ClusterResourceBinding) bool {
		by := failover.ReplacedBy(other)
		return by != nil && by.With == b.Spec.TargetCluster
	})
}

// edit changes the placement as a user does. picks is whether the policy snapshot changes with it.
func (w *sim) edit(p *placement, picks bool, edit func(*v1beta1.PlacementPolicy)) {
	p.ClusterResourcePlacement = p.DeepCopy()
	edit(p.Spec.Policy)
	p.Generation++
	p.short = false
	if picks || p.policy == nil {
		p.policies++
		policy := p.Spec.Policy.DeepCopy()
		policy.Failover, policy.NumberOfClusters = nil, nil
		for i := range policy.Tolerations {
			policy.Tolerations[i].TolerationSeconds = nil
		}
		p.policy = &v1beta1.ClusterSchedulingPolicySnapshot{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", p.Name, p.policies), Generation: 1},
			Spec:       v1beta1.SchedulingPolicySnapshotSpec{Policy: policy},
		}
	}
	p.policy = p.policy.DeepCopy()
	p.policy.Annotations = map[string]string{
		contract.AnnotationGeneration:       strconv.FormatInt(p.Generation, 10),
		contract.AnnotationNumberOfClusters: strconv.Itoa(p.number()),
	}
	w.hub.scheduler.add(p.Name)
	w.hub.roller.add(p.Name)
}

func (w *sim) request(p *placement) schedule.Request {
	bindings := make([]v1beta1.BindingObject, len(p.bindings))
	for i, b := range p.bindings {
		bindings[i] = b
	}
	r, err := schedule.RequestOf(p.ClusterResourcePlacement, p.policy, bindings, nil, w.now)
	if err != nil {
		w.fail("%v", err)
	}
	r.Clusters, r.Domain = w.fleet(nil), w.hub.domain
	return r
}

// schedule does what the scheduler does.
func (w *sim) schedule(p *placement) {
	d := schedule.Decide(w.request(p))
	p.waiting = d.Waiting
	w.stop("hub/schedule/" + p.Name)
	if len(d.Left) > 0 && w.one(10) { // other placements are first
		w.set("hub/schedule/"+p.Name, time.Second, func() { w.hub.scheduler.add(p.Name) })
		return
	}
	w.checkDecision(p, d)
	if !w.calm && len(d.Create)+len(d.Change)+len(d.Release) > 0 && w.one(6) {
		w.hub.fatal = 1 + w.rng.IntN(3)
	}
	if !w.carryOut(p, d) {
		p.cutShort = true
		return
	}
	w.hub.fatal = 0
	w.checkBindings(p)
	if d.Again > 0 {
		w.set("hub/schedule/"+p.Name, d.Again, func() { w.hub.scheduler.add(p.Name) })
	}
	generation, _ := strconv.ParseInt(p.policy.Annotations[contract.AnnotationGeneration], 10, 64)
	status := report.Policy(p.policy.Status, report.PolicyFacts{
		Generation: p.policy.Generation, Placement: generation, Decisions: d.Clusters, Found: d.Found, Wanted: d.Wanted,
	}, metav1.NewTime(w.now))
	if !equality.Semantic.DeepEqual(status, p.policy.Status) {
		p.policy = p.policy.DeepCopy()
		p.policy.Status = status
		if !d.Fulfilled() {
			w.set("hub/schedule/"+p.Name, time.Millisecond, func() { w.hub.scheduler.add(p.Name) })
		}
	}
	if p.short == d.Fulfilled() {
		p.short = !d.Fulfilled()
		w.hub.roller.add(p.Name)
	}
}

// carryOut writes a decision in the scheduler's order. It reports whether the agent lives on.
func (w *sim) carryOut(p *placement, d schedule.Decision) bool {
	var carried, picks, left, rest []func()
	for _, c := range d.Create {
		picks = append(picks, func() { w.create(p, d, c) })
	}
	for _, c := range d.Change {
		write := func() { w.change1(p, c) }
		switch {
		case c.ReplacedBy != nil:
			left = append(left, write)
		case c.State == v1beta1.BindingStateUnscheduled:
			rest = append(rest, write)
		case c.CarriedOver:
			carried = append(carried, write)
		default:
			picks = append(picks, write)
		}
	}
	for _, name := range d.Release {
		rest = append(rest, func() { w.release(p, name, contract.FinalizerBinding) })
	}
	for _, writes := range [][]func(){carried, picks, left, rest} {
		w.rng.Shuffle(len(writes), func(i, j int) { writes[i], writes[j] = writes[j], writes[i] })
		for _, write := range writes {
			if w.dies() {
				return false
			}
			write()
			p.writes = append(p.writes, w.now)
		}
	}
	return true
}

func (p *placement) at(name string) int {
	return slices.IndexFunc(p.bindings, func(b *v1beta1.ClusterResourceBinding) bool { return b.Name == name })
}

func annotate(annotations map[string]string, name string, e *failover.Exchange) {
	delete(annotations, name)
	if e != nil {
		annotations[name] = e.String()
	}
}

func (w *sim) create(p *placement, d schedule.Decision, c v1beta1.ClusterDecision) {
	for _, b := range p.bindings {
		if b.Spec.TargetCluster == c.ClusterName && b.DeletionTimestamp.IsZero() {
			w.fail("%s: a second binding for %s", p.Name, c.ClusterName)
		}
	}
	w.made++
	p.made++
	b := &v1beta1.ClusterResourceBinding{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%s-%d", p.Name, c.ClusterName, p.made), UID: types.UID(strconv.Itoa(w.made)), Generation: 1,
			Annotations: map[string]string{}, Finalizers: []string{contract.FinalizerBinding},
		},
		Spec: v1beta1.ResourceBindingSpec{
			State: v1beta1.BindingStateScheduled, SchedulingPolicySnapshotName: d.Snapshot, TargetCluster: c.ClusterName, ClusterDecision: c,
		},
	}
	annotate(b.Annotations, contract.AnnotationReplaces, d.Replaces[c.ClusterName])
	w.note("%s: new binding %s, %s", p.Name, b.Name, describe(b))
	p.bindings = append(p.bindings, b)
	w.hub.roller.add(p.Name)
}

func (w *sim) change1(p *placement, c schedule.Change) {
	seen := p.bindings[p.at(c.Binding)]
	b := seen.DeepCopy()
	delete(b.Annotations, contract.AnnotationCarriedOver)
	annotate(b.Annotations, contract.AnnotationReplacedBy, c.ReplacedBy)
	annotate(b.Annotations, contract.AnnotationReplaces, c.Replaces)
	if c.TakenBack {
		b.Annotations[contract.AnnotationTakenBack] = w.now.UTC().Format(time.RFC3339)
	}
	if c.State != v1beta1.BindingStateUnscheduled {
		delete(b.Annotations, contract.AnnotationPreviousState)
	} else if b.Spec.State != v1beta1.BindingStateUnscheduled {
		b.Annotations[contract.AnnotationPreviousState] = string(b.Spec.State)
	}
	if c.CarriedOver {
		b.Annotations[contract.AnnotationCarriedOver] = "true"
	}
	b.Spec.State, b.Spec.SchedulingPolicySnapshotName, b.Spec.ClusterDecision = c.State, c.Snapshot, c.Decision
	w.update(p, b)
	w.note("%s: changed binding %s, %s", p.Name, b.Name, describe(b))
}

// update writes a binding, and sends its event.
func (w *sim) update(p *placement, is *v1beta1.ClusterResourceBinding) {
	i := p.at(is.Name)
	was := p.bindings[i]
	if !equality.Semantic.DeepEqual(was.Spec, is.Spec) {
		is.Generation++
	}
	if !is.DeletionTimestamp.IsZero() && len(is.Finalizers) == 0 {
		w.note("%s: binding %s is gone", p.Name, is.Name)
		p.bindings = slices.Delete(p.bindings, i, i+1)
		delete(w.named(is.Spec.TargetCluster).works, is.Name)
		w.hub.roller.add(p.Name)
		if is.Spec.State == v1beta1.BindingStateUnscheduled {
			w.hub.scheduler.add(p.Name)
		}
		return
	}
	p.bindings[i] = is
	doomed := func(b *v1beta1.ClusterResourceBinding) bool {
		return !b.DeletionTimestamp.IsZero() && slices.Contains(b.Finalizers, contract.FinalizerBinding)
	}
	blocked := func(b *v1beta1.ClusterResourceBinding) bool {
		return slices.Contains(b.Finalizers, contract.FinalizerWork)
	}
	if schedule.CarriedOver(is) && !schedule.CarriedOver(was) || doomed(is) && (!doomed(was) || blocked(was) != blocked(is)) {
		w.hub.scheduler.add(p.Name)
	}
	if was.Generation != is.Generation || was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
		was.Annotations[contract.AnnotationReplacedBy] != is.Annotations[contract.AnnotationReplacedBy] ||
		healthChanged(was, is) {
		w.hub.roller.add(p.Name)
	}
	if was.Generation != is.Generation || was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() {
		w.dispatchSoon(p, is)
	}
}

func healthChanged(was, is *v1beta1.ClusterResourceBinding) bool {
	return len(was.Status.FailedPlacements) != len(is.Status.FailedPlacements) || slices.ContainsFunc(delivery.Outcome(), func(kind string) bool {
		before, after := meta.FindStatusCondition(was.Status.Conditions, kind), meta.FindStatusCondition(is.Status.Conditions, kind)
		return !equality.Semantic.DeepEqual(before, after)
	})
}

func (w *sim) release(p *placement, name, finalizer string) {
	i := p.at(name)
	if i < 0 {
		return
	}
	b := p.bindings[i].DeepCopy()
	b.Finalizers = slices.DeleteFunc(b.Finalizers, func(f string) bool { return f == finalizer })
	w.update(p, b)
}

// roll does what the roller does.
func (w *sim) roll(p *placement) {
	budget, facts, want := w.rollout(p)
	step := rollout.Next(budget, facts, want, w.now)
	w.checkStep(p, step)
	if w.stop("hub/roll/" + p.Name); step.Again > 0 {
		w.set("hub/roll/"+p.Name, step.Again, func() { w.hub.roller.add(p.Name) })
	}
	var writes []func()
	each := func(names []string, do func(*v1beta1.ClusterResourceBinding)) {
		for _, name := range names {
			writes = append(writes, func() {
				b := p.bindings[p.at(name)].DeepCopy()
				do(b)
				w.update(p, b)
			})
		}
	}
	each(step.Move, func(b *v1beta1.ClusterResourceBinding) {
		w.note("%s: %s gets %s", p.Name, b.Name, want.Snapshot)
		b.Spec.State, b.Spec.ResourceSnapshotName, b.Spec.ApplyStrategy = v1beta1.BindingStateBound, want.Snapshot, want.Strategy.DeepCopy()
		if !slices.Contains(b.Finalizers, contract.FinalizerWork) {
			b.Finalizers = append(b.Finalizers, contract.FinalizerWork)
		}
		w.mood(w.named(b.Spec.TargetCluster), want.Snapshot)
	})
	each(step.Remove, func(b *v1beta1.ClusterResourceBinding) {
		w.note("%s: %s is deleted: %s", p.Name, b.Name, describe(b))
		b.DeletionTimestamp = ptr.To(metav1.NewTime(w.now))
	})
	var blocked []string
	for _, b := range step.Blocked {
		blocked = append(blocked, b.Binding)
	}
	each(blocked, func(b *v1beta1.ClusterResourceBinding) {
		b.Status.Conditions = report.Rollout(b.Status.Conditions, report.RolloutBlocked(b.Generation, "blocked"), metav1.NewTime(w.now))
	})
	each(step.Resume, func(b *v1beta1.ClusterResourceBinding) {
		b.Status.Conditions = report.Rollout(b.Status.Conditions, report.RolloutStarted(b.Generation), metav1.NewTime(w.now))
	})
	if !w.calm && len(writes) > 0 && w.one(10) {
		w.hub.fatal = 1 + w.rng.IntN(3)
	}
	w.rng.Shuffle(len(writes), func(i, j int) { writes[i], writes[j] = writes[j], writes[i] })
	for _, write := range writes {
		if w.dies() {
			return
		}
		write()
	}
	w.hub.fatal = 0
}

// rollout is what the roller decides from.
func (w *sim) rollout(p *placement) (rollout.Budget, []rollout.Binding, rollout.Content) {
	facts := make([]rollout.Binding, 0, len(p.bindings))
	for _, b := range p.bindings {
		f, c := rollout.BindingOf(b), w.named(b.Spec.TargetCluster).MemberCluster
		f.Silent = schedule.Ineligible(c, w.now) != ""
		f.Unheard, f.UntilSilent = liveness.Of(c, w.now) != liveness.Heard, liveness.UntilSilent(c, w.now)
		facts = append(facts, f)
	}
	budget, err := rollout.BudgetOf(p.Spec.Strategy, rollout.Target(p.Spec.Policy, facts))
	if err != nil {
		w.fail("%v", err)
	}
	budget.Short, budget.Purge = p.short, v1beta1.FailoverPurgeGraceful
	if p.Spec.Policy.Failover != nil {
		budget.Purge = p.Spec.Policy.Failover.Purge
	}
	return budget, facts, rollout.Content{Snapshot: p.content(), Strategy: p.Spec.Strategy.ApplyStrategy.WithDefaults()}
}

// dispatchSoon has the dispatcher look at a binding.
func (w *sim) dispatchSoon(p *placement, b *v1beta1.ClusterResourceBinding) {
	if slices.Contains(b.Finalizers, contract.FinalizerWork) {
		w.set("hub/dispatch/"+b.Name, w.chance(3*time.Second), func() { w.dispatch(p, b.Name) })
	}
}

// dispatch does what the dispatcher does: it writes the works of a binding, and its status by what is reported.
func (w *sim) dispatch(p *placement, name string) {
	i := p.at(name)
	if i < 0 || w.hub.off {
		return
	}
	b := p.bindings[i].DeepCopy()
	c := w.named(b.Spec.TargetCluster)
	k := c.works[name]
	if !b.DeletionTimestamp.IsZero() {
		if k == nil {
			w.release(p, name, contract.FinalizerWork)
		} else if !k.doomed {
			k.doomed = true
			w.work(p, c, name)
		}
		return
	}
	if k == nil {
		k = &work{}
		c.works[name] = k
	}
	if k.want != b.Spec.ResourceSnapshotName {
		k.want = b.Spec.ResourceSnapshotName
		w.work(p, c, name)
	}
	w.report(b, k)
	w.update(p, b)
}

// report writes what the cluster reported into the status of its binding.
func (w *sim) report(b *v1beta1.ClusterResourceBinding, k *work) {
	kind, status, reason := v1beta1.ConditionAvailable, metav1.ConditionTrue, v1beta1.ReasonAllWorkAreAvailable
	b.Status.FailedPlacements = nil
	switch {
	case k.reported != b.Spec.ResourceSnapshotName:
		kind, status, reason = v1beta1.ConditionApplied, metav1.ConditionFalse, v1beta1.ReasonApplyInProgress
	case !k.reportedUp:
		status, reason = metav1.ConditionFalse, v1beta1.ReasonNotAllWorkAreAvailable
		b.Status.FailedPlacements = []v1beta1.FailedResourcePlacement{{}}
	default:
		b.Status.LastHealthy = ptr.To(rollout.BindingOf(b).Revision())
	}
	is := metav1.Condition{Type: kind, Status: status, Reason: reason, ObservedGeneration: b.Generation, LastTransitionTime: metav1.NewTime(w.now)}
	if was := meta.FindStatusCondition(b.Status.Conditions, kind); was != nil && was.ObservedGeneration == b.Generation && was.Status == status {
		is.LastTransitionTime = was.LastTransitionTime
	}
	conditions := []metav1.Condition{is}
	if started := meta.FindStatusCondition(b.Status.Conditions, v1beta1.ConditionRolloutStarted); started != nil && started.ObservedGeneration == b.Generation {
		conditions = append(conditions, *started)
	}
	b.Status.Conditions = conditions
}

// removed ends a work that the cluster has removed.
func (w *sim) removed(p *placement, c *cluster, name string) {
	delete(c.works, name)
	w.set("removed/"+name, w.chance(2*time.Second), func() { w.release(p, name, contract.FinalizerWork) })
}
