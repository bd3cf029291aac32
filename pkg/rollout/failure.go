package rollout

import (
	"fmt"
	"time"

	"k8s.io/utils/ptr"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Policy is the failure policy of a placement.
type Policy struct {
	delivery.FailurePolicy
	// Budget is how many clusters may fail, Setting the placement's value for it.
	Budget  int
	Setting string
}

// policyOf reads the failure policy of a placement that wants target clusters; nil if it has none.
func policyOf(policy *v1beta1.FailurePolicy, apply *v1beta1.ApplyStrategy, target int) (*Policy, error) {
	if policy == nil {
		return nil, nil
	}
	n, err := delivery.FailureBudget(policy.FailureBudget, target)
	if err != nil {
		return nil, fmt.Errorf("read failurePolicy.failureBudget: %w", err)
	}
	setting := ptr.Deref(policy.FailureBudget, intstr.FromInt32(0))
	return &Policy{FailurePolicy: *delivery.FailurePolicyOf(policy, apply), Budget: n, Setting: setting.String()}, nil
}

// judgement is what the failure policy makes of the bindings.
type judgement struct {
	// course is what to store; nil if the stored one is right.
	course *Course
	// storeFirst is whether nothing else may be done before course is stored.
	storeFirst bool
	// failed are the names of the bindings whose clusters have failed.
	failed map[string]bool
	// again is when the next window ends; zero if none runs.
	again time.Duration
}

// judge finds the failed clusters, and decides whether the revision is rejected, whether a rejection ends, and whether the rollout is done.
func (p *plan) judge(bindings []Binding) judgement {
	course := p.want.Course
	switch {
	case p.budget.Policy == nil && course.Spent == nil:
		return judgement{}
	case p.budget.Policy == nil:
		return judgement{course: &Course{Done: course.Done}}
	case course.Spent == nil:
		return p.judgeRollout(bindings)
	case p.void(*course.Spent, bindings):
		return judgement{course: &Course{Done: course.Done, Again: p.now}, storeFirst: true}
	}
	return judgement{}
}

// judgeRollout judges the clusters of a rollout that is not rejected.
func (p *plan) judgeRollout(bindings []Binding) judgement {
	course := p.want.Course
	out := judgement{failed: map[string]bool{}}
	var failed []Binding
	// A rollout is done only if some cluster has the content; after the first time, only if it gave a cluster something new.
	done, changed, any := true, course.Done.IsZero(), false
	last := p.now
	for _, b := range bindings {
		if b.Gone || !b.living() {
			continue
		}
		if b.State != v1beta1.BindingStateBound || b.Snapshot == "" || p.outdated(b) {
			done = done && b.Silent
			continue
		}
		any = true
		if !b.changedBy(course) {
			continue
		}
		changed = true
		if m := b.mark(); m != nil && m.At.After(last) {
			last = m.At
		}
		isFailed, left := p.policy().Failed(b.change(), p.now)
		out.again = sooner(out.again, left)
		if isFailed {
			failed = append(failed, b)
			out.failed[b.Name] = true
			continue
		}
		done = done && b.Well()
	}
	switch {
	case len(failed) > p.budget.Policy.Budget:
		return judgement{course: &Course{Done: course.Done, Again: course.Again, Spent: p.reject(failed)}, storeFirst: true}
	case done && changed && any:
		out.course = &Course{Done: last}
	}
	return out
}

// policy is the failure policy, whose windows begin no earlier than the rollout was resumed.
func (p *plan) policy() delivery.FailurePolicy {
	policy := p.budget.Policy.FailurePolicy
	if again := p.want.Course.Again; again.After(policy.From) {
		policy.From = again
	}
	return policy
}

// sooner returns the shorter of two times to wait; zero is no need to.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

func (p *plan) reject(failed []Binding) *Rejection {
	policy := p.budget.Policy
	r := &Rejection{
		At: p.now, Budget: policy.Budget, Setting: policy.Setting, Of: p.budget.Target, Count: len(failed), Strategy: p.want.Strategy,
	}
	for _, b := range failed[:min(len(failed), max(mostFailures, policy.Budget+1))] {
		r.Failed = append(r.Failed, Failure{Cluster: b.Cluster, Overrides: p.want.Overrides[b.Cluster]})
	}
	return r
}

// void returns whether a rejection ends: a user dismissed it, the apply strategy is another one, or so many of the failed clusters would get
// something else now that the others are within the budget. A user who changes the budget can extend it; a budget that grows with the
// placement does not count.
func (p *plan) void(r Rejection, bindings []Binding) bool {
	limit := r.Budget
	if r.Setting != p.budget.Policy.Setting {
		limit = max(limit, p.budget.Policy.Budget)
	}
	exists := map[string]bool{}
	for _, b := range bindings {
		exists[b.Cluster] = exists[b.Cluster] || !b.Gone
	}
	same := r.Count - len(r.Failed)
	for _, f := range r.Failed {
		if !exists[f.Cluster] || p.want.Overrides[f.Cluster].Keeps(f.Overrides) {
			same++
		}
	}
	return r.Dismissed || same <= limit || !delivery.SameStrategy(&r.Strategy, &p.want.Strategy)
}
