package rollout

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Policy says when a cluster has failed with a revision, how many may, and what is done when more do. Without one nothing in this file
// and in retreat.go happens.
type Policy struct {
	// Window is how long a cluster may be without health.
	Window time.Duration
	// Budget is how many clusters may fail, and Said how the placement puts that.
	Budget int
	Said   string
	// Rollback is whether changed clusters are taken back when the budget is spent.
	Rollback bool
	// Awake is since when anybody hears of what happens: what passed before is held against nobody.
	Awake time.Time
}

// policyOf reads the failure policy of a placement that wants target clusters; nil if it has none.
func policyOf(said *v1beta1.FailurePolicy, apply *v1beta1.ApplyStrategy, target int) (*Policy, error) {
	if said == nil {
		return nil, nil
	}
	budget := ptr.Deref(said.FailureBudget, intstr.FromInt32(0))
	n, err := intstr.GetScaledValueFromIntOrPercent(&budget, target, false)
	if err != nil {
		return nil, fmt.Errorf("read failurePolicy.failureBudget: %w", err)
	}
	return &Policy{
		Window: WindowOf(said),
		Budget: n, Said: budget.String(), Rollback: TakesBack(said, apply),
	}, nil
}

// TakesBack says whether clusters are taken back when the budget is spent. Where content is only compared nothing was changed, and going
// back to what was once applied would change something.
func TakesBack(policy *v1beta1.FailurePolicy, apply *v1beta1.ApplyStrategy) bool {
	return policy != nil && policy.OnFailure == v1beta1.FailureActionRollback &&
		(apply == nil || apply.Type != v1beta1.ApplyStrategyTypeReportDiff)
}

// Course is what is remembered of the rollout of a revision under a failure policy: contract.AnnotationRolloutCourse on the revision's
// master snapshot, JSON.
type Course struct {
	// Done is when the rollout had come to its end: every cluster had what it was to get, and had become healthy with it or failed
	// within the budget. What was given until then is proven: nobody is judged by it any more.
	Done time.Time `json:"done,omitzero"`
	// Again is when the rollout was taken up again after a verdict. Windows begin anew there.
	Again time.Time `json:"again,omitzero"`
	// Spent is the verdict on a revision that failed on more clusters than may. It stands although these may be well again since, with
	// what they had before: without it the rollout would begin again.
	Spent *Verdict `json:"spent,omitempty"`
}

// Verdict says that the failure budget is spent.
type Verdict struct {
	At time.Time `json:"at"`
	// Budget is how many of Of clusters might fail, Said how the placement put that, Count how many did.
	Budget int    `json:"budget"`
	Said   string `json:"said"`
	Of     int    `json:"of"`
	Count  int    `json:"count"`
	// Strategy is the apply strategy with which they did.
	Strategy v1beta1.ApplyStrategy `json:"applyStrategy"`
	// Failed are those that failed; of very many not all.
	Failed []Failure `json:"failed"`
	// Dismissed is set by a user who wants the revision to be tried again.
	Dismissed bool `json:"dismissed,omitempty"`
}

// Failure is a cluster that failed, and with which overrides.
type Failure struct {
	Cluster   string             `json:"cluster"`
	Overrides delivery.Overrides `json:"overrides,omitzero"`
}

// mostFailures is how many clusters a verdict names at least, if there are so many. An object's annotations may have 256 KiB.
const mostFailures = 100

// String says it in words, of the revision with this index.
func (v Verdict) String(index string) string {
	names := make([]string, 0, len(v.Failed))
	for _, f := range v.Failed {
		names = append(names, f.Cluster)
	}
	const most = 10
	text := strings.Join(names[:min(len(names), most)], ", ")
	if v.Count > most {
		text = fmt.Sprintf("%s and %d more", text, v.Count-most)
	}
	return fmt.Sprintf("Revision %s has spent its failure budget of %d: %d of %d clusters failed: %s", index, v.Budget, v.Count, v.Of, text)
}

// MarkOf is the mark for a binding that is given a revision now.
func MarkOf(b Binding, to v1beta1.Revision, course Course, now time.Time) delivery.Mark {
	before := b.LastHealthy
	if before != nil && delivery.Same(*before, to) && b.marked() {
		before = b.Mark.Before // it was taken back from what it gets again
	}
	if !now.After(course.Done) {
		now = course.Done.Add(1) // by the clock of another replica
	}
	return delivery.Mark{To: to, At: now, Before: before}
}

// Revision is what the binding was given.
func (b Binding) Revision() v1beta1.Revision {
	return delivery.NewRevision(b.Snapshot, b.Overrides, b.Strategy)
}

// marked says whether the binding's mark tells of what it has.
func (b Binding) marked() bool { return b.Mark != nil && delivery.Same(b.Mark.To, b.Revision()) }

// Before is what the cluster had last run healthily when it was given what it has; what it has if that is nothing new to it.
func (b Binding) Before() *v1beta1.Revision {
	if b.marked() {
		return b.Mark.Before
	}
	return b.LastHealthy
}

// changedBy says whether the binding has something new because of a rollout. A cluster that joined when the content was proven elsewhere
// says something of itself only.
func (b Binding) changedBy(course Course) bool {
	before := b.Before()
	if before == nil {
		return course.Done.IsZero()
	}
	return !delivery.Same(*before, b.Revision()) && (course.Done.IsZero() || !b.marked() || b.Mark.At.After(course.Done))
}

// WindowOf is the health window of a failure policy: five minutes if it names none.
func WindowOf(policy *v1beta1.FailurePolicy) time.Duration {
	return ptr.Deref(policy.HealthWindow, metav1.Duration{Duration: 5 * time.Minute}).Duration
}

// complaint puts what is wrong in words that do not change while it is the same.
func (b Binding) complaint() string {
	if c := b.Wrong(); c != nil {
		return fmt.Sprintf("%s is False (%s)", c.Type, c.Reason)
	}
	return "nothing is said about it; is the agent of the member running?"
}

// without says since when the cluster has been without health; zero if it is well, or if nobody knows yet whether it is still: after a
// write that concerns the scheduler alone, the report on what was well before is yet to come.
func (p *plan) without(b Binding) time.Time {
	if b.Well() {
		return time.Time{}
	}
	var since time.Time
	if b.marked() {
		since = b.Mark.At
	}
	c := b.Wrong()
	relapse := b.proven() || !b.marked()
	if c == nil && (relapse || b.stood()) {
		return time.Time{}
	}
	if relapse {
		since = later(since, c.LastTransitionTime.Time)
	}
	return later(later(since, p.budget.Policy.Awake), p.want.Course.Again)
}

// proven says whether the cluster has been healthy with what it has since it was given it. Of content that is only compared nobody keeps
// that; it counts as proven, so that its window begins with the first report.
func (b Binding) proven() bool {
	if b.Strategy != nil && b.Strategy.Type == v1beta1.ApplyStrategyTypeReportDiff || b.Is(v1beta1.ConditionRolledBack, metav1.ConditionTrue) {
		return true
	}
	return b.LastHealthy != nil && delivery.Same(*b.LastHealthy, b.Revision()) && !b.back()
}

// stood says whether the cluster was well with what it has when it was last reported on, before a write that did not concern it.
func (b Binding) stood() bool {
	c := meta.FindStatusCondition(b.Conditions, v1beta1.ConditionAvailable)
	return c != nil && c.Status == metav1.ConditionTrue && b.marked() && !c.LastTransitionTime.Time.Before(b.Mark.At)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// expired says whether the cluster has been without health for the whole window. If it is without, and has not been for so long, the
// rollout is looked at again when it will have been.
func (p *plan) expired(b Binding) bool {
	since := p.without(b)
	if since.IsZero() {
		return false
	}
	left := p.budget.Policy.Window - p.now.Sub(since)
	if left > 0 && (p.window == 0 || left < p.window) {
		p.window = left
	}
	return left <= 0
}

// holds says whether the binding has what its cluster is to have.
func (p *plan) holds(b Binding) bool {
	return b.State == v1beta1.BindingStateBound && b.Snapshot != "" && !p.outdated(b)
}

// judge finds the clusters that have failed, and says whether the budget is spent, whether a verdict stands no more, or whether the rollout
// is done. It returns false if nothing else may be done before that is written.
func (p *plan) judge(seen []Binding) bool {
	course := p.want.Course
	switch {
	case p.budget.Policy == nil && course.Spent == nil:
		return true
	case p.budget.Policy == nil:
		p.step.Course = &Course{Done: course.Done}
		p.want.Course = *p.step.Course
		return true
	case course.Spent != nil:
		if !p.void(*course.Spent, seen) {
			return true
		}
		p.step.Course = &Course{Done: course.Done, Again: p.now}
		return false
	}
	var failed []Binding
	done, news, some := true, course.Done.IsZero(), false
	last := p.now
	for _, b := range seen {
		if b.Gone || !b.living() {
			continue
		}
		if !p.holds(b) {
			done = done && b.Silent
			continue
		}
		some = true
		if !b.changedBy(course) {
			continue
		}
		news = true
		if b.marked() {
			last = later(last, b.Mark.At)
		}
		if p.expired(b) {
			failed = append(failed, b)
			p.failed[b.Name] = true
			continue
		}
		done = done && b.Well()
	}
	if len(failed) > p.budget.Policy.Budget {
		p.step.Course = &Course{Done: course.Done, Again: course.Again, Spent: p.verdict(failed)}
		return false
	}
	if done && news && some {
		p.step.Course = &Course{Done: last}
	}
	return true
}

// living says whether the binding is there to stay.
func (b Binding) living() bool { return !b.Deleting && b.State != v1beta1.BindingStateUnscheduled }

func (p *plan) verdict(failed []Binding) *Verdict {
	v := &Verdict{
		At: p.now, Budget: p.budget.Policy.Budget, Said: p.budget.Policy.Said, Of: p.budget.Target, Count: len(failed), Strategy: p.want.Strategy,
	}
	for _, b := range failed[:min(len(failed), max(mostFailures, v.Budget+1))] {
		v.Failed = append(v.Failed, Failure{Cluster: b.Cluster, Overrides: p.want.Overrides[b.Cluster]})
	}
	return v
}

// void says whether a verdict stands no more: a user has dismissed it, or of the clusters that failed so many would get something else now
// that the others are within the budget. A budget that grows with the placement changes nothing; one that somebody has changed does.
func (p *plan) void(v Verdict, seen []Binding) bool {
	limit := v.Budget
	if v.Said != p.budget.Policy.Said {
		limit = max(limit, p.budget.Policy.Budget)
	}
	there := map[string]bool{}
	for _, b := range seen {
		there[b.Cluster] = there[b.Cluster] || !b.Gone
	}
	same := v.Count - len(v.Failed)
	for _, f := range v.Failed {
		if !there[f.Cluster] || p.want.Overrides[f.Cluster].Keeps(f.Overrides) {
			same++
		}
	}
	return v.Dismissed || same <= limit || !delivery.SameStrategy(&v.Strategy, &p.want.Strategy)
}
