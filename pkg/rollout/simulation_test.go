package rollout

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

var onlySeed = flag.Uint64("seed", 0, "play the rollout simulation of this seed alone")

// TestBudgetIsNeverExceeded plays rollouts over clusters that fail, recover, fall silent, join and leave at random,
// with content that may be bad or hard to see, while clusters are exchanged for others and a user edits the content,
// the policy and all settings. It checks after every step that the step itself left enough clusters up and not too
// many with content. At the end everything is well again but for silent clusters, and then the rollout must come to
// its end.
func TestBudgetIsNeverExceeded(t *testing.T) {
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 300
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		if *onlySeed == 0 || *onlySeed == seed {
			play(t, seed)
		}
	}
}

func play(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newModel(rng)
	for range 60 {
		w.chance()
		w.step(t, seed)
	}
	w.heal()
	const patience = 2000
	for n := 0; !w.done(); n++ {
		if n > patience {
			t.Fatalf("seed %d: the rollout does not end\n%s", seed, w.history())
		}
		moved := w.step(t, seed)
		if w.progress() || moved {
			continue
		}
		if w.again == 0 {
			t.Fatalf("seed %d: the rollout is stuck, and nobody will wake it\n%s", seed, w.history())
		}
		w.now = w.now.Add(w.again)
	}
	if w.policy != nil {
		w.playFailure(t, seed)
	}
}

// playFailure has a revision fail everywhere, and checks how that ends.
func (w *model) playFailure(t *testing.T, seed uint64) {
	had, placed := map[string]string{}, 0
	for _, s := range w.bindings {
		had[s.Name] = s.Snapshot
		placed += count(!s.Silent && s.living())
	}
	for w.revision++; !bad(w.snapshot()); {
		w.revision++
	}
	w.note("a revision that fails everywhere")
	for n := 0; ; n++ {
		if n > 2000 {
			t.Fatalf("seed %d: the rollout of a bad revision does not end\n%s", seed, w.history())
		}
		if moved := w.step(t, seed); w.progress() || moved {
			continue
		}
		if w.again == 0 {
			break
		}
		w.now = w.now.Add(w.again)
	}
	spent := w.content().Course.Spent != nil
	if spent != (placed > w.budget.Policy.Budget) {
		t.Fatalf("seed %d: the budget is spent: %v\n%s", seed, spent, w.history())
	}
	for _, s := range w.bindings {
		if back := s.up && s.Snapshot == had[s.Name]; spent && w.policy.Rollback && s.living() && !back {
			t.Fatalf("seed %d: %s does not have %s any more\n%s", seed, s.Name, had[s.Name], w.history())
		}
	}
}

// model is a fleet with one placement: what the bindings say, and what is really there.
type model struct {
	rng     *rand.Rand
	now     time.Time
	budget  Budget
	percent int
	surge   int
	period  time.Duration
	purge   v1beta1.FailoverPurge
	// number is how many clusters are wanted, below zero all; short is whether the scheduler has said that it finds
	// fewer.
	number   int
	short    bool
	revision int
	style    int
	bindings []*site
	made     int
	again    time.Duration
	healed   bool
	log      []string

	// policy is the failure policy without its numbers; nil for none. courses are what is remembered of revisions.
	policy  *Policy
	share   int
	courses map[string]Course
	// fragile are clusters on which some revisions fail.
	fragile map[string]bool
}

// site is a binding and its cluster.
type site struct {
	Binding
	// up is whether there is really ready content. busy is whether the cluster has something to do before it is.
	up, busy bool
	broken   bool
	// stuck is whether the content cannot be worked out for the cluster.
	stuck bool
	// leftover is whether what is being removed had failed before.
	leftover bool
	// since is when the binding was given what it has, and before what the cluster last ran healthily before that.
	since  time.Time
	before *v1beta1.Revision
	told   []metav1.Condition
}

// Revisions of content: every fifth cannot be seen, every seventh is bad.
func unseeable(revision string) bool { return strings.HasSuffix(revision, "u") }
func bad(revision string) bool       { return strings.HasSuffix(revision, "b") }

// risky revisions fail on fragile clusters.
func risky(revision string) bool { return len(revision)%2 == 0 && revision[len(revision)-1]%2 == 0 }

func newModel(rng *rand.Rand) *model {
	w := &model{
		rng: rng, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), number: -1, courses: map[string]Course{}, fragile: map[string]bool{},
	}
	if rng.IntN(2) == 0 {
		w.policy = &Policy{FailurePolicy: delivery.FailurePolicy{
			Window: time.Duration(10+rng.IntN(120)) * time.Second, Rollback: rng.IntN(2) == 0, From: w.now,
		}}
		w.share = []int{0, 10, 34}[rng.IntN(3)]
	}
	w.edit()
	for range 1 + rng.IntN(8) {
		w.join()
	}
	return w
}

// edit changes the settings.
func (w *model) edit() {
	w.percent = []int{0, 1, 25, 50, 100}[w.rng.IntN(5)]
	w.surge = []int{0, 25, 100}[w.rng.IntN(3)]
	w.period = time.Duration(w.rng.IntN(60)) * time.Second
	w.purge = []v1beta1.FailoverPurge{"", v1beta1.FailoverPurgeGraceful, v1beta1.FailoverPurgeImmediate, v1beta1.FailoverPurgeNever}[w.rng.IntN(4)]
	w.note("settings: maxUnavailable %d%%, maxSurge %d%%, period %s, purge %q", w.percent, w.surge, w.period, w.purge)
}

// choose is what the scheduler does: it gives up what is gone or too much, and says whether there is too little.
func (w *model) choose() {
	living := 0
	for _, s := range w.bindings {
		switch {
		case !s.living():
		case s.Gone || w.number >= 0 && living >= w.number:
			w.giveUp(s)
		default:
			living++
		}
	}
	w.short = living < w.number
}

func (s *site) living() bool { return !s.Deleting && s.State != v1beta1.BindingStateUnscheduled }

func (w *model) giveUp(s *site) {
	w.note("%s is given up", s.Name)
	s.Previous, s.State = s.State, v1beta1.BindingStateUnscheduled
	s.ReplacedBy, s.Failback = "", false
	s.Generation++
}

// join picks another cluster, if it finds one.
func (w *model) join() *site {
	w.made++
	cluster := fmt.Sprintf("c%d", w.rng.IntN(12))
	for _, s := range w.bindings {
		if s.Cluster == cluster && !s.Deleting {
			return nil
		}
	}
	s := &site{Binding: Binding{
		Name: fmt.Sprintf("%s-%03d", cluster, w.made), Cluster: cluster, State: v1beta1.BindingStateScheduled, Status: delivery.Status{Generation: 1},
	}}
	w.bindings = append(w.bindings, s)
	return s
}

func (w *model) snapshot() string {
	name := fmt.Sprintf("r%d", w.revision)
	switch {
	case w.revision%7 == 5:
		name += "b"
	case w.revision%5 == 3:
		name += "u"
	}
	return name
}

func (w *model) content() Content {
	strategy := (*v1beta1.ApplyStrategy)(nil).WithDefaults()
	strategy.AllowCoOwnership = w.style%2 == 1
	return Content{Snapshot: w.snapshot(), Strategy: strategy, Course: w.courses[w.snapshot()]}
}

// chance lets something happen.
func (w *model) chance() {
	w.now = w.now.Add(time.Duration(w.rng.IntN(20)) * time.Second)
	for range w.rng.IntN(4) {
		w.progress()
	}
	switch w.rng.IntN(20) {
	case 0, 1:
		w.note("new content")
		w.revision++
	case 2:
		w.note("another strategy")
		w.style++
	case 3, 4:
		w.join()
	case 5:
		w.edit()
	case 6:
		w.number = w.rng.IntN(10) - 1
		w.note("%d clusters are wanted", w.number)
	case 7, 8:
		w.choose()
	case 9:
		w.note("the hub agent was away")
		if w.now = w.now.Add(time.Duration(w.rng.IntN(300)) * time.Second); w.policy != nil {
			w.policy.From = w.now
		}
	case 10:
		cluster := fmt.Sprintf("c%d", w.rng.IntN(12))
		w.fragile[cluster] = !w.fragile[cluster]
		w.note("%s is fragile: %v", cluster, w.fragile[cluster])
	case 11:
		w.dismiss()
	}
	if len(w.bindings) == 0 {
		return
	}
	s := w.bindings[w.rng.IntN(len(w.bindings))]
	w.befall(s, w.rng.IntN(14))
}

// befall lets something happen to one cluster.
func (w *model) befall(s *site, what int) {
	switch what {
	case 0:
		if s.living() {
			w.giveUp(s)
		}
	case 1: // and may come back to it
		if !s.Deleting && s.State == v1beta1.BindingStateUnscheduled && !w.taken(s) {
			w.takeBack(s)
		}
	case 2: // it is evicted
		if !s.Deleting && s.State == v1beta1.BindingStateBound {
			w.note("%s is evicted", s.Name)
			w.remove(s)
		}
	case 3: // the cluster fails
		if s.Snapshot != "" && !s.Silent && !s.Deleting {
			w.note("%s fails", s.Name)
			s.broken, s.up = true, false
			w.report(s)
		}
	case 4: // or comes back
		if s.broken {
			w.note("%s recovers", s.Name)
			s.broken, s.busy = false, true
		}
	case 5: // the MemberCluster goes
		if w.rng.IntN(4) == 0 {
			w.note("the cluster of %s is gone", s.Name)
			s.Gone, s.up = true, false
		}
	case 6:
		w.note("%s falls silent, or is heard of again", s.Name)
		s.Silent = !s.Silent
		if s.Unheard, s.UntilSilent = s.Silent && w.rng.IntN(3) > 0, 0; s.Unheard && w.rng.IntN(3) == 0 {
			s.UntilSilent = time.Minute
		}
	case 7: // it is lost, and replaced
		if s.living() && !s.Gone {
			s.Silent, s.Unheard, s.UntilSilent = true, true, 0
			w.exchange(s, false)
		}
	case 8: // it is unhealthy, or the placement returns to another one
		if s.living() && !s.Gone {
			w.exchange(s, w.rng.IntN(2) == 0)
		}
	case 9: // it is heard again, early or late
		if by := w.replacement(s); by != nil {
			w.note("%s, which was replaced, is heard again", s.Name)
			if s.Silent, s.Unheard = false, false; !s.Deleting && !by.up {
				w.takeBack(s)
				w.giveUp(by)
			}
		}
	}
}

func (w *model) takeBack(s *site) {
	w.note("%s is taken back", s.Name)
	s.State, s.ReplacedBy, s.Failback = v1beta1.BindingStateScheduled, "", false
	if s.Snapshot != "" {
		s.State = v1beta1.BindingStateBound
	}
	s.Generation++
}

// exchange replaces a cluster; what that replaced is replaced by the other one now.
func (w *model) exchange(s *site, failback bool) {
	by := w.join()
	if by == nil {
		return
	}
	w.note("%s replaces %s; the placement returns: %v", by.Name, s.Name, failback)
	for _, other := range w.bindings {
		if other.ReplacedBy == s.Cluster {
			other.ReplacedBy = by.Cluster
		}
	}
	w.giveUp(s)
	s.ReplacedBy, s.Failback = by.Cluster, failback
}

// replacement is the living binding that replaces one with content; nil if there is none.
func (w *model) replacement(s *site) *site {
	if s.State != v1beta1.BindingStateUnscheduled || s.Gone || !s.mayHaveContent() {
		return nil
	}
	for _, by := range w.bindings {
		if by.Cluster == s.ReplacedBy && by.living() && by.Cluster != s.Cluster {
			return by
		}
	}
	return nil
}

// orphan returns whether a binding was replaced by one that does not live any more.
func (w *model) orphan(s *site) bool {
	if s.State != v1beta1.BindingStateUnscheduled || s.ReplacedBy == "" || s.Gone || !s.mayHaveContent() || w.replacement(s) != nil {
		return false
	}
	again := slices.ContainsFunc(w.bindings, func(o *site) bool { return o.living() && o.Cluster == s.Cluster })
	return !again && (w.purge != v1beta1.FailoverPurgeImmediate || s.Failback)
}

// enough returns whether there is ready content where it can be heard, on all clusters that are found and at least
// one, or on as many as are wanted.
func (w *model) enough() bool {
	serving, living := 0, 0
	for _, s := range w.bindings {
		if s.living() && !s.Gone {
			living++
			serving += count(s.up && s.reported() && !s.Silent && !s.Unheard)
		}
	}
	return serving >= w.budget.Target || w.short && living > 0 && serving == living
}

// waits returns whether a replaced binding waits for others, or does not count because it goes without.
func (w *model) waits(s *site) bool {
	if w.orphan(s) {
		return !w.enough()
	}
	by := w.replacement(s)
	return by != nil && (w.immediate(s) || !by.up || !by.reported() || by.Silent || by.Gone)
}

func (w *model) immediate(s *site) bool {
	return w.purge == v1beta1.FailoverPurgeImmediate && !s.Failback && w.replacement(s) != nil
}

func (w *model) remove(s *site) {
	s.leftover = s.reported() && s.FailedObjects > 0
	s.Deleting, s.up = true, false
}

func (w *model) taken(s *site) bool {
	return slices.ContainsFunc(w.bindings, func(o *site) bool { return o != s && o.Cluster == s.Cluster && !o.Deleting })
}

// progress lets one cluster get on with what it has to do, and says whether there was any.
func (w *model) progress() bool {
	order := w.rng.Perm(len(w.bindings))
	for _, i := range order {
		s := w.bindings[i]
		switch {
		case s.Deleting:
			w.note("%s has gone", s.Name)
			w.bindings = slices.Delete(w.bindings, i, i+1)
			return true
		case s.Gone || s.Silent || s.Snapshot == "":
		case s.busy && w.rng.IntN(3) == 0 && !s.reported():
			w.note("%s says that it is busy", s.Name)
			s.FailedObjects = 0
			s.Conditions = []metav1.Condition{s.condition(v1beta1.ConditionApplied, metav1.ConditionFalse, v1beta1.ReasonApplyInProgress, w.now)}
			return true
		case s.busy && w.rng.IntN(8) == 0 && !w.healed:
			w.note("%s is stuck", s.Name)
			s.busy, s.stuck = false, true
			w.report(s)
			return true
		case s.busy && !s.broken:
			s.busy, s.up = false, !bad(s.Snapshot) && !s.stuck && (!w.fragile[s.Cluster] || !risky(s.Snapshot))
			w.report(s)
			w.note("%s is up: %v", s.Name, s.up)
			return true
		case !s.reported():
			w.report(s)
			w.note("%s reports that it is up: %v", s.Name, s.up)
			return true
		}
	}
	return false
}

func (s *site) reported() bool {
	return len(s.Conditions) > 0 && s.Conditions[0].ObservedGeneration == s.Generation
}

func (s *site) condition(kind string, status metav1.ConditionStatus, reason string, at time.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, ObservedGeneration: s.Generation, LastTransitionTime: metav1.NewTime(at)}
}

// report writes what is there into the binding's status, as the dispatcher does: times start anew with a new
// generation.
func (w *model) report(s *site) {
	status, reason := metav1.ConditionTrue, v1beta1.ReasonAllWorkAreAvailable
	s.FailedObjects = 0
	if s.stuck {
		s.Conditions = []metav1.Condition{s.condition(v1beta1.ConditionOverridden, metav1.ConditionFalse, v1beta1.ReasonOverriddenFailed, w.now)}
		return
	}
	if !s.up {
		status, reason, s.FailedObjects = metav1.ConditionFalse, v1beta1.ReasonNotAllWorkAreAvailable, 1
	} else if unseeable(s.Snapshot) {
		reason = v1beta1.ReasonNotAllWorkAreAvailabilityTrackable
	}
	if s.up {
		revision := s.Revision()
		s.LastHealthy = &revision
	}
	at := w.now
	if was := meta.FindStatusCondition(s.Conditions, v1beta1.ConditionAvailable); was != nil && was.ObservedGeneration == s.Generation && was.Status == status {
		at = was.LastTransitionTime.Time
	}
	s.Conditions = []metav1.Condition{s.condition(v1beta1.ConditionAvailable, status, reason, at)}
}

// step asks for the next step, takes it, and checks it. It says whether there was anything to do.
func (w *model) step(t *testing.T, seed uint64) bool {
	facts := make([]Binding, 0, len(w.bindings))
	for _, s := range w.bindings {
		b := s.Binding
		b.Conditions = slices.Concat(s.Conditions, s.told)
		facts = append(facts, b)
	}
	fallbacks := Fallbacks(facts, w.content())
	for i := range facts {
		if to, ok := fallbacks[facts[i].Name]; ok && facts[i].Name[len(facts[i].Name)-1]%4 > 0 { // which exists still, mostly
			facts[i].Fallback = &to
		}
	}
	w.rng.Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
	target := Target(nil, facts)
	if w.number >= 0 {
		target = w.number
	}
	w.budget = Budget{
		Target: target, Short: w.short, Period: w.period,
		MaxUnavailable: (target*w.percent + 99) / 100, MaxSurge: (target*w.surge + 99) / 100, Purge: w.purge,
	}
	if w.policy != nil {
		policy := *w.policy
		policy.Budget, policy.Setting = target*w.share/100, fmt.Sprintf("%d%%", w.share)
		w.budget.Policy = &policy
	}
	least := w.expected(target) - w.budget.MaxUnavailable - w.overdue()
	step := Next(w.budget, facts, w.content(), w.now)
	w.again = step.Again
	w.checkRejection(t, seed, step)
	remembered := step.Course != nil && (step.Course.Spent != nil) != (w.content().Course.Spent != nil)
	if step.Course != nil {
		w.courses[w.snapshot()] = *step.Course
	}
	tookDown, bound := false, false
	spare, planned := map[*site]bool{}, w.planned() // what counts for nothing
	for _, s := range w.bindings {
		spare[s] = s.parked() || w.waits(s)
	}
	if !remembered { // otherwise that is all it does
		w.checkExchanges(t, seed, step, planned)
	}
	for _, name := range step.Move {
		s := w.site(name)
		if s.Gone || s.Silent && s.up && s.reported() {
			t.Fatalf("seed %d: %s was changed, which nobody can reach\n%s", seed, name, w.history())
		}
		tookDown = tookDown || s.up
		bound = bound || !s.mayHaveContent() && !planned[name]
		w.give(s, delivery.NewRevision(w.snapshot(), delivery.Overrides{}, ptr.To(w.content().Strategy)), false)
	}
	for _, back := range step.Back {
		s := w.site(back.Binding)
		tookDown = tookDown || s.up
		w.give(s, back.To, true)
		w.tell(s, delivery.Sent(back.To))
	}
	for _, fallback := range step.Fallback {
		if w.content().Course.Spent == nil || fallback.To.ResourceSnapshotName == w.snapshot() || !planned[fallback.Binding] {
			t.Fatalf("seed %d: %s falls back to %+v\n%s", seed, fallback.Binding, fallback.To, w.history())
		}
		s := w.site(fallback.Binding)
		w.give(s, fallback.To, false)
		s.Mark = nil
	}
	for _, name := range step.Resume {
		w.site(name).told = nil
	}
	for _, fate := range step.Fates {
		w.tell(w.site(fate.Binding), fate.Fate)
	}
	for _, name := range step.Restyle {
		s := w.site(name)
		s.Strategy = &v1beta1.ApplyStrategy{}
		*s.Strategy = w.content().Strategy
		s.Generation++
	}
	for _, name := range step.Remove {
		s := w.site(name)
		if s.Unheard && s.mayHaveContent() && !s.Gone {
			t.Fatalf("seed %d: %s is removed, and its cluster is not heard\n%s", seed, name, w.history())
		}
		tookDown = tookDown || s.up && !w.immediate(s)
		w.remove(s)
	}
	w.note("%+v, %+v: %+v", w.snapshot(), w.budget, step)
	up, placed := 0, 0
	for _, s := range w.bindings {
		up += count(s.up && !spare[s])
		if s.mayHaveContent() && !s.Gone && !s.leftover && (!s.parked() || s.UntilSilent > 0) && w.replacement(s) == nil && !w.orphan(s) {
			placed++
		}
	}
	if tookDown && up < least {
		t.Fatalf("seed %d: a step left %d clusters up; %d must be\n%s", seed, up, least, w.history())
	}
	if bound && placed > target+w.budget.MaxSurge {
		t.Fatalf("seed %d: a step left %d clusters with content; %d are wanted, %d more may be\n%s", seed, placed, target, w.budget.MaxSurge, w.history())
	}
	w.checkTurns(t, seed, step)
	return len(step.Move)+len(step.Restyle)+len(step.Remove)+len(step.Back)+len(step.Fallback) > 0 || remembered
}

// give is the write that gives a binding a revision.
func (w *model) give(s *site, to v1beta1.Revision, back bool) {
	if w.policy == nil {
		s.Mark = nil
	} else if s.Mark = ptr.To(NewMark(s.Binding, to, w.content().Course, w.now)); back {
		s.Mark = &delivery.Mark{To: to, At: w.now, Before: &to, Back: true}
	}
	switch {
	case back:
		s.before = &to
	case s.before == nil || s.LastHealthy == nil || !delivery.Same(*s.LastHealthy, to):
		s.before = s.LastHealthy
	}
	s.since = w.now
	s.State, s.Snapshot, s.Strategy, s.up, s.busy, s.stuck = v1beta1.BindingStateBound, to.ResourceSnapshotName, to.ApplyStrategy, false, true, false
	s.Generation++
}

// tell is the write of how a binding comes back.
func (w *model) tell(s *site, f delivery.Fate) {
	status := metav1.ConditionFalse
	switch f.State {
	case delivery.Waiting, delivery.Returning:
		status = metav1.ConditionUnknown
	case delivery.Returned:
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&s.told, s.condition(v1beta1.ConditionRolledBack, status, "R", w.now))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// overdue counts the clusters that have been without health for the window or longer: nobody has to wait for them.
func (w *model) overdue() int {
	n := 0
	for _, s := range w.bindings {
		n += count(w.policy != nil && !s.up && s.living() && s.Snapshot != "" && w.now.Sub(later(s.since, w.policy.From)) >= w.policy.Window)
	}
	return n
}

// dismiss is what a user does who wants a failed revision to be tried again.
func (w *model) dismiss() {
	if course := w.courses[w.snapshot()]; course.Spent != nil {
		w.note("the rejection is dismissed")
		rejection := *course.Spent
		rejection.Dismissed = true
		course.Spent = &rejection
		w.courses[w.snapshot()] = course
	}
}

// checkRejection looks for clusters that are given a revision on which there is a rejection, for rejections without so
// many that could have failed, and for what no policy asks for.
func (w *model) checkRejection(t *testing.T, seed uint64, step Step) {
	course := w.content().Course
	switch {
	case w.policy == nil && (step.Course != nil || len(step.Back)+len(step.Fates) > 0):
		t.Fatalf("seed %d: %+v without a policy\n%s", seed, step, w.history())
	case course.Spent != nil && len(step.Move)+len(step.Restyle) > 0:
		t.Fatalf("seed %d: %v gets a revision that has failed\n%s", seed, append(step.Move, step.Restyle...), w.history())
	case len(step.Back) > 0 && (course.Spent == nil || !w.policy.Rollback):
		t.Fatalf("seed %d: %v are taken back\n%s", seed, step.Back, w.history())
	case course.Spent == nil && step.Course != nil && step.Course.Spent != nil && (step.Course.Spent.Count <= w.budget.Policy.Budget || w.overdue() < step.Course.Spent.Count):
		t.Fatalf("seed %d: the rejection is %+v; %d clusters were without health for long\n%s", seed, *step.Course.Spent, w.overdue(), w.history())
	}
	for _, back := range step.Back {
		s := w.site(back.Binding)
		if s.Snapshot != w.snapshot() || s.before == nil || !delivery.Same(back.To, *s.before) {
			t.Fatalf("seed %d: %s is taken back to %+v; it last ran %+v healthily\n%s", seed, s.Name, back.To, s.before, w.history())
		}
	}
}

// planned are the names of the replacements without content.
func (w *model) planned() map[string]bool {
	out := map[string]bool{}
	for _, s := range w.bindings {
		if by := w.replacement(s); by != nil && by.State == v1beta1.BindingStateScheduled && !by.Gone {
			out[by.Name] = true
		}
	}
	return out
}

// checkExchanges looks for replaced clusters that lose their content before the replacement is ready, or keep it for
// too long, and for replacements that wait for a budget.
func (w *model) checkExchanges(t *testing.T, seed uint64, step Step, planned map[string]bool) {
	for _, s := range w.bindings {
		removed := slices.Contains(step.Remove, s.Name)
		switch by := w.replacement(s); {
		case s.Deleting:
		case removed && w.orphan(s) && w.waits(s):
			t.Fatalf("seed %d: %s is removed, and the others are not ready\n%s", seed, s.Name, w.history())
		case by == nil:
		case removed && w.waits(s) && !w.immediate(s):
			t.Fatalf("seed %d: %s is removed, and %s is not ready\n%s", seed, s.Name, by.Name, w.history())
		case !removed && w.immediate(s) && !s.Unheard:
			t.Fatalf("seed %d: %s is not removed at once\n%s", seed, s.Name, w.history())
		}
	}
	for _, b := range step.Blocked {
		if planned[b.Binding] && b.By == ByBudget {
			t.Fatalf("seed %d: the replacement %s waits for a budget\n%s", seed, b.Binding, w.history())
		}
	}
}

// checkTurns looks for a cluster that was given content while another binding still had some there.
func (w *model) checkTurns(t *testing.T, seed uint64, step Step) {
	for _, name := range step.Move {
		for _, s := range w.bindings {
			if s.Name != name && s.Cluster == w.site(name).Cluster && s.mayHaveContent() {
				t.Fatalf("seed %d: %s was moved while %s is on the cluster\n%s", seed, name, s.Name, w.history())
			}
		}
	}
}

// expected is how many clusters would be up if nothing was ever changed.
func (w *model) expected(target int) int {
	living, vanished := 0, false
	for _, s := range w.bindings {
		living += count(!s.Gone && (s.living() || s.Deleting && s.State == v1beta1.BindingStateBound))
		vanished = vanished || s.Gone && s.State == v1beta1.BindingStateBound || s.Gone && s.living()
	}
	if w.short || vanished {
		return min(target, living)
	}
	return target
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func (w *model) site(name string) *site {
	return w.bindings[slices.IndexFunc(w.bindings, func(s *site) bool { return s.Name == name })]
}

// heal ends all troubles: good content, clusters that work, and nothing that comes or goes any more. Clusters that
// were ready when they fell silent stay so, but for those that replaced ones wait for: the others must not wait for
// them.
func (w *model) heal() {
	w.healed = true
	w.percent = max(1, w.percent)
	w.choose()
	for w.revision++; bad(w.snapshot()); {
		w.revision++
	}
	w.note("all is well")
	w.fragile = map[string]bool{}
	replacements, orphans := map[*site]bool{}, slices.ContainsFunc(w.bindings, w.orphan)
	for _, s := range w.bindings {
		replacements[w.replacement(s)] = true
	}
	for _, s := range w.bindings {
		s.Silent = s.Silent && s.up && s.reported() && s.State == v1beta1.BindingStateBound && !s.Deleting && !replacements[s] && !orphans
		s.Unheard = s.Unheard && s.Silent
		if s.broken {
			s.broken, s.busy = false, true
		}
	}
}

// done returns whether everything is as it should be. What lost its replacement stays while there is nothing else.
func (w *model) done() bool {
	last := !slices.ContainsFunc(w.bindings, func(s *site) bool { return s.living() })
	for _, s := range w.bindings {
		if s.Silent || last && w.orphan(s) && w.number > 0 {
			continue
		}
		if s.Deleting || s.State != v1beta1.BindingStateBound || s.Snapshot != w.snapshot() || !s.up {
			return false
		}
	}
	return true
}

func (w *model) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%s %s", w.now.Format(time.TimeOnly), fmt.Sprintf(format, args...)))
}

func (w *model) history() string {
	for _, s := range w.bindings {
		w.note("%+v", *s)
	}
	return strings.Join(w.log[max(0, len(w.log)-60):], "\n")
}
