package applier

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// pass is one reconciliation of a Work: its manifests, what is remembered of them, and the outcome.
type pass struct {
	agent    *Applier
	work     *v1beta1.Work
	strategy v1beta1.ApplyStrategy
	memory   *recollection
	ledger   *ledger
	// blind is whether nothing of this generation was reported yet; then objects that the ledger does not list are
	// assumed absent until a create fails. That saves a read for each new object.
	blind bool
	items []*item
	stamp apply.Stamp
	left  leftovers
	// created and changed count what this pass wrote.
	created, changed atomic.Int32
}

// sync applies the Work to the member and reports the outcome.
func (a *Applier) sync(ctx context.Context, work *v1beta1.Work) (reconcile.Result, error) {
	ledger, err := a.ledgerOf(ctx, work.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	who := a.identity(work.UID)
	standing := apply.Own
	if ledger != nil {
		standing = who.StandingTo(ledger.work)
	}
	if standing != apply.Foreign {
		if err := a.found(ctx, ledger); err != nil {
			return reconcile.Result{}, err
		}
	}
	p := a.newPass(work, ledger)
	facts := report.Pass{DiffOnly: p.comparing(), Incomplete: p.stamp.Incomplete}
	carried := false
	switch {
	case p.comparing():
		err = p.compareAll(ctx)
	case ledger != nil && !ledger.work.DeletionTimestamp.IsZero():
		p.awaitLedger()
	case standing == apply.Foreign:
		facts.Contested = contest(ledger, who)
		p.refuse("Not applied: " + facts.Contested)
		err = a.contested(ctx, ledger, facts.Contested)
	default:
		carried = true
		err = p.carryOut(ctx, who, standing)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	p.prune()
	if err := ctx.Err(); err != nil {
		return reconcile.Result{}, err // an incomplete pass is not reported
	}
	p.countUnschedulable()
	for _, it := range p.items {
		facts.Manifests = append(facts.Manifests, it.fact)
	}
	p.left.describe(&facts)
	wait, err := p.report(ctx, facts)
	if err != nil {
		return reconcile.Result{}, err
	}
	if carried { // last, because nothing waits for it: the ledger already lists its new entries as intents
		ctx, end := trace.Step(ctx, "record in ledger")
		defer end()
		if err := p.agent.settle(ctx, p.ledger, who, p.entries(), p.left.gone); err != nil {
			return reconcile.Result{}, err
		}
		p.agent.legacy.recorded(work, p.items)
	}
	return p.again(wait, p.left.unfinished()), nil
}

func (a *Applier) newPass(work *v1beta1.Work, ledger *ledger) *pass {
	p := &pass{agent: a, work: work, strategy: work.Spec.ApplyStrategy.WithDefaults(), memory: a.memory.of(work.Name),
		ledger: ledger, blind: !reported(work), stamp: apply.StampOf(a.HubAddress, work), left: newLeftovers()}
	p.memory.begin(work.UID, work.Generation)
	var uid types.UID
	if ledger != nil {
		uid = ledger.work.UID
	}
	if p.memory.ledger != uid {
		p.memory.reset() // the remembered objects were owned by another AppliedWork
		p.memory.ledger = uid
	}
	strategy, err := json.Marshal(p.strategy)
	if err != nil {
		strategy = nil // a struct of strings and booleans always encodes
	}
	origins := contract.SplitOrigins(work.Annotations[contract.AnnotationOrigins], len(work.Spec.Workload.Manifests))
	for i, m := range apply.Decode(work.Spec.Workload.Manifests) {
		digest := xxhash.New()
		_, _ = digest.Write(strategy)
		_, _ = digest.Write(m.Raw)
		it := &item{Manifest: m, intent: digest.Sum64(), fact: report.Manifest{Identifier: m.Identifier}}
		if origins != nil {
			it.origin = origins[i]
		}
		if m.Problem.Reason != "" {
			it.fact.Applied = report.Finding(m.Problem)
		}
		p.items = append(p.items, it)
	}
	return p
}

// carryOut applies the Work's manifests, and then removes objects that have left the Work.
func (p *pass) carryOut(ctx context.Context, who apply.Identity, standing apply.Standing) error {
	if standing == apply.Inherited {
		if err := p.agent.inherit(ctx, p.ledger, who); err != nil {
			return err
		}
	}
	err := p.applyAll(ctx)
	if created, changed := p.created.Load(), p.changed.Load(); created+changed > 0 {
		ctrl.LoggerFrom(ctx).Info("Applied objects", "work", p.work.Name, "created", created, "changed", changed)
	}
	if err != nil {
		return err
	}
	return p.removeLeftovers(ctx)
}

// applyAll applies, wave by wave, every manifest whose object is not known to be up to date.
func (p *pass) applyAll(ctx context.Context) error {
	todo := p.unknown()
	if len(todo) == 0 && p.ledger != nil {
		return nil
	}
	for _, it := range todo {
		p.order(it)
	}
	if err := p.intend(ctx, todo); err != nil {
		return err
	}
	slices.SortStableFunc(todo, func(x, y *item) int { return x.wave - y.wave })
	for len(todo) > 0 {
		n := 1
		for n < len(todo) && todo[n].wave == todo[0].wave {
			n++
		}
		// Each item records its own failure; an error here means that the pass was cut short.
		wave, end := trace.Step(ctx, fmt.Sprintf("apply wave %d", todo[0].wave))
		err := loop.Each(wave, p.agent.Parallel, todo[:n], p.apply)
		if end(); err != nil {
			return err
		}
		todo = todo[n:]
	}
	return nil
}

// unknown takes over the outcomes of earlier passes and returns the manifests without one.
func (p *pass) unknown() []*item {
	var todo []*item
	for _, it := range p.items {
		if it.Problem.Reason != "" {
			continue
		}
		if o := p.memory.current(it.Key(), it.intent); o != nil {
			it.take(o)
			continue
		}
		todo = append(todo, it)
	}
	return todo
}

// order sets the wave of an item. A kind that the member does not serve yet goes last, when an earlier wave may have
// created it.
func (p *pass) order(it *item) {
	it.wave = apply.LastWave
	at, err := p.agent.locate(it.GroupVersionKind(), it.name())
	if err != nil {
		return
	}
	it.wave = apply.Wave(at.GroupResource())
	it.Identifier.Resource = at.Resource
}

// intend makes sure that the ledger lists every object before it is applied.
func (p *pass) intend(ctx context.Context, todo []*item) error {
	var ids []v1beta1.WorkResourceIdentifier
	for _, it := range todo {
		if p.ledger == nil || !p.ledger.knows(it.Key()) {
			ids = append(ids, it.Identifier)
		}
	}
	if p.ledger != nil && len(ids) == 0 {
		return nil
	}
	ctx, end := trace.Step(ctx, "list in ledger")
	defer end()
	l, err := p.agent.intend(ctx, p.ledger, p.work, ids)
	if err != nil {
		return err
	}
	p.ledger = l
	p.memory.ledger = l.work.UID
	return nil
}

// compareAll reports how the member's objects differ from the manifests. It changes neither them nor the ledger:
// objects applied earlier stay ours, and those that leave the Work meanwhile are removed when the Work applies again.
func (p *pass) compareAll(ctx context.Context) error {
	if err := loop.Each(ctx, p.agent.Parallel, p.unknown(), p.apply); err != nil {
		return err
	}
	for _, it := range p.items {
		why := it.fact.Applied
		if it.Problem.Reason != "" {
			why = report.Finding(it.Problem)
		}
		if why.Reason != "" { // the comparison failed
			it.fact.Diffed = report.Finding{Reason: v1beta1.ReasonManifestFailedToReportDiff,
				Message: fmt.Sprintf("Not compared (%s): %s", why.Reason, strings.TrimPrefix(why.Message, notApplied))}
		}
		it.fact.Applied = report.Finding{}
	}
	return nil
}

// awaitLedger reports that the objects of an earlier Work of this name are still being removed; the end of the removal
// is an event.
func (p *pass) awaitLedger() {
	for _, it := range p.items {
		if it.Problem.Reason != "" {
			continue
		}
		it.fact.Passing = true
		it.fact.Applied = report.Finding{Reason: v1beta1.ReasonManifestApplyFailed,
			Message: "Not applied: objects of an earlier Work of this name are still being removed from the member cluster; see AppliedWork " + p.work.Name}
	}
}

// refuse reports on every manifest that nothing was applied, and why.
func (p *pass) refuse(why string) {
	for _, it := range p.items {
		if it.Problem.Reason == "" {
			it.fact.Applied = report.Finding{Reason: v1beta1.ReasonManifestApplyFailed, Message: why}
		}
	}
}

// prune forgets, and stops watching, everything that no manifest and no leftover needs.
func (p *pass) prune() {
	keys, places := map[apply.Key]bool{}, map[place]bool{}
	for _, it := range p.items {
		keys[it.Key()] = true
		for _, at := range it.places {
			places[at] = true
		}
	}
	p.left.places(places)
	p.agent.watches.retain(p.work.Name, places)
	p.memory.retain(keys, places)
}

const (
	retryFirst = 20 * time.Millisecond
	retryMost  = time.Minute
	// For a while after an awaited event, retries are more frequent: a kind is served some time after its definition
	// exists, without an event.
	hopeful, retryHopeful = 10 * time.Second, 320 * time.Millisecond
)

// again returns when the Work is reconciled next even without an event: when a status write is delayed, or something
// failed.
func (p *pass) again(wait time.Duration, failed bool) reconcile.Result {
	passing := false
	for _, it := range p.items {
		failed, passing = failed || it.again, passing || it.again && it.fact.Passing
		if it.object != nil && it.object.wait > 0 && (wait == 0 || it.object.wait < wait) {
			wait = it.object.wait
		}
	}
	if !failed {
		p.memory.attempts = 0
	} else {
		most := retryMost
		if passing && p.agent.Now().Sub(p.memory.hope) < hopeful {
			most = retryHopeful
		}
		retry := most
		if p.memory.attempts < 12 {
			retry = min(most, retryFirst<<p.memory.attempts)
		}
		p.memory.attempts++
		if wait == 0 || retry < wait {
			wait = retry
		}
	}
	priority := priorityRecheck
	return reconcile.Result{RequeueAfter: wait, Priority: &priority}
}
