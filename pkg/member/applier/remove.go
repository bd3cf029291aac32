package applier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// removeAll removes left-overs from the member, the last wave first, so that an object goes before what it needs. It returns the keys
// that are gone from the ledger's point of view, and what could not be removed and why.
func (p *pass) removeAll(ctx context.Context, left []apply.Entry, applied map[apply.Key]types.UID) (gone []apply.Key, remaining []string, err error) {
	if len(left) == 0 {
		return nil, nil, nil
	}
	abreast, err := p.abreast(ctx, p.work)
	if err != nil {
		return nil, nil, err
	}
	if !abreast {
		p.awaiting = true // another Work, which is on its way, may hold them now
		return nil, nil, nil
	}
	keys := make([]apply.Key, len(left))
	for i, e := range left {
		keys[i] = apply.KeyOf(e.WorkResourceIdentifier)
	}
	if p.elsewhere, err = p.wantedElsewhere(ctx, p.work, keys); err != nil {
		return nil, nil, err
	}
	p.legacy.leave(p.work, left, p.elsewhere)
	kept := sets.New[types.UID]()
	for _, uid := range applied {
		kept.Insert(uid)
	}
	all, err := p.removeWaves(ctx, left, kept)
	if err != nil {
		return nil, nil, err
	}
	looks := map[apply.Key]look{}
	for _, r := range all {
		key := apply.KeyOf(r.WorkResourceIdentifier)
		if r.gone {
			gone = append(gone, key)
		}
		if r.occupied != "" {
			p.occupied[key] = r.occupied
			looks[key] = r.look
		}
		switch {
		case r.held == nil:
		case r.unserved:
			p.unserved[key] = *r.held
		default:
			p.held[*r.held] = key
		}
		if r.why != "" {
			remaining = append(remaining, fmt.Sprintf("%s (%s)", key, r.why))
		}
	}
	p.memory.looks = looks
	slices.Sort(remaining)
	return gone, remaining, nil
}

// removal is one left-over and what became of it.
type removal struct {
	apply.Entry
	wave int
	outcome
	// why it could not be removed; empty if it was, or if it stays for now.
	why string
	// look is when the object was looked into, if it was.
	look look
}

// look is when, and for which generation of the Work, it was found out what an object holds that was not placed. That costs a list of each
// kind, so it is believed for a while.
type look struct {
	at         time.Time
	generation int64
	occupied   string
}

const lookAgain = 5 * time.Second

// removeWaves removes left-overs, the last wave first. What could not be removed keeps what it would go with.
func (p *pass) removeWaves(ctx context.Context, left []apply.Entry, kept sets.Set[types.UID]) ([]*removal, error) {
	all := make([]*removal, len(left))
	for i, e := range left {
		all[i] = &removal{Entry: e, wave: apply.Wave(schema.GroupResource{Group: e.Group, Resource: e.Resource})}
	}
	slices.SortStableFunc(all, func(x, y *removal) int { return y.wave - x.wave })
	waits := map[apply.Key][]string{}
	for rest := all; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].wave == rest[0].wave {
			n++
		}
		err := loop.Each(ctx, p.Parallel, rest[:n], func(ctx context.Context, r *removal) error {
			p.removeOrWait(ctx, r, waits[apply.KeyOf(r.WorkResourceIdentifier)], kept)
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
		for _, r := range rest[:n] {
			for _, holder := range holders(r.Entry) {
				if r.why != "" {
					waits[holder] = append(waits[holder], apply.KeyOf(r.WorkResourceIdentifier).String())
				}
			}
		}
		rest = rest[n:]
	}
	return all, nil
}

// removeOrWait removes a left-over unless something that would go with it is there still, or it was looked into a moment ago.
func (p *pass) removeOrWait(ctx context.Context, r *removal, waits []string, kept sets.Set[types.UID]) {
	if len(waits) > 0 {
		r.why = "waiting for " + report.Few(waits)
		return
	}
	r.look = p.memory.looks[apply.KeyOf(r.WorkResourceIdentifier)]
	if r.look.occupied != "" && r.look.generation == p.work.Generation && p.Now().Sub(r.look.at) < lookAgain {
		r.occupied = r.look.occupied
		return
	}
	var err error
	if r.outcome, err = p.removeOne(ctx, r.Entry, kept); err != nil {
		r.why = explain(err, kindOf(r.Entry))
	}
	r.look = look{p.Now(), p.work.Generation, r.occupied}
}

// outcome is what became of a left-over: it is gone from the ledger's point of view, or held at a place, or stays for now.
type outcome struct {
	gone bool
	held *place
	// occupied says what an object holds that was not placed; therefore it stays.
	occupied string
	// unserved: it is held because the member does not serve its kind; then the place is where definitions of the kind are found.
	unserved bool
}

// removeOne removes one left-over. A kind that the member does not serve holds: its objects may come back with it.
func (p *pass) removeOne(ctx context.Context, e apply.Entry, kept sets.Set[types.UID]) (outcome, error) {
	at, err := p.placeOf(e)
	if err != nil {
		if meta.IsNoMatchError(err) {
			at = definitions(e.Group)
			p.watches.add(p.work.Name, at)
			return outcome{held: &at, unserved: true}, nil
		}
		return outcome{}, err
	}
	in := apply.Parting{
		Entry: e, Owner: p.ledger.owner(), Strategy: p.work.Spec.DeleteStrategy, Stamp: p.stamp, Wanted: kept,
		Elsewhere: p.elsewhere.Has(apply.KeyOf(e.WorkResourceIdentifier)),
	}
	what, err := p.part(ctx, at, in)
	if err == nil && what.Fate == apply.Hold { // its release must be an event; add before reading
		p.watches.add(p.work.Name, at)
		what, err = p.part(ctx, at, in)
	}
	var read readError
	switch {
	case e.UID == "" && errors.As(err, &read) && apierrors.IsForbidden(err): // it was never applied, as far as the ledger knows
		return outcome{gone: true}, nil
	case err != nil:
		return outcome{}, err
	case what.Fate == apply.Hold:
		return outcome{held: &at}, nil
	case what.Fate == apply.Stay:
		return outcome{occupied: what.reason()}, nil
	}
	return outcome{gone: true}, nil
}

// placeOf finds an object of the ledger; the version it was applied in may be gone.
func (a *Applier) placeOf(e apply.Entry) (place, error) {
	gk := schema.GroupKind{Group: e.Group, Kind: e.Kind}
	mapping, err := a.Mapper.RESTMapping(gk, e.Version)
	if meta.IsNoMatchError(err) {
		mapping, err = a.Mapper.RESTMapping(gk)
	}
	if err != nil {
		return place{}, err
	}
	return place{mapping.Resource, types.NamespacedName{Namespace: e.Namespace, Name: e.Name}}, nil
}

// remove takes a Work's objects off the member: the AppliedWork is deleted in the foreground, so that it is gone only when what it
// owns is, and the finalizer goes with it.
func (a *Applier) remove(ctx context.Context, work *v1beta1.Work) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(work, contract.FinalizerWork) {
		a.forget(work.Name)
		return reconcile.Result{}, nil
	}
	a.watches.release(work.Name)
	ledger, err := a.ledgerOf(ctx, work.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if ledger == nil {
		return reconcile.Result{}, a.release(ctx, work)
	}
	began, standing := ledger.work.DeletionTimestamp, a.identity(work.UID).StandingTo(ledger.work)
	if standing == apply.Foreign || standing == apply.Inherited && began.IsZero() {
		// This Work placed nothing that the ledger lists: nothing goes with it.
		ctrl.LoggerFrom(ctx).Info("Kept what another Work placed", "work", work.Name, "reason", string(standing))
		a.forget(work.Name)
		return reconcile.Result{}, a.setFinalizer(ctx, work, false)
	}
	if began.IsZero() {
		// Its condition Held would keep what the ledger lists from going with a namespace. What an earlier attempt kept stays as it is.
		if !report.IsKept(ledger.work.Status) {
			if err := a.found(ctx, ledger); err != nil {
				return reconcile.Result{}, err
			}
		}
		elsewhere, err := a.wantedElsewhere(ctx, work, ledger.keys())
		if err != nil {
			return reconcile.Result{}, a.undecided(ctx, work, err)
		}
		a.legacy.leave(work, ledger.list(), elsewhere)
		fates, err := a.depart(ctx, work, ledger, elsewhere, a.Now().Sub(work.DeletionTimestamp.Time) < a.DeletionWait)
		if err != nil {
			return reconcile.Result{}, err
		}
		if remains(fates) {
			return a.removeRest(ctx, work, ledger, fates)
		}
		uid, how := ledger.work.UID, metav1.DeletePropagationForeground
		if work.Spec.DeleteStrategy.Abandons() {
			how = metav1.DeletePropagationOrphan // what the ledger does not know of stays, too
			if err := a.reportAbandoned(ctx, work); err != nil {
				return reconcile.Result{}, err
			}
		}
		err = a.MemberClient.Delete(ctx, ledger.work, client.PropagationPolicy(how), client.Preconditions{UID: &uid})
		if err := client.IgnoreNotFound(err); err != nil {
			return reconcile.Result{}, fmt.Errorf("delete AppliedWork %s: %w", work.Name, err)
		}
		return reconcile.Result{RequeueAfter: min(a.sayAfter, a.DeletionWait)}, nil // its end is an event and comes before
	}
	return a.await(ctx, work, ledger, *began)
}

// undecided sets the Work's status when it is not known, for a while already, what its deletion may remove. It returns the cause.
func (a *Applier) undecided(ctx context.Context, work *v1beta1.Work, cause error) error {
	cause = fmt.Errorf("decide what stays of work %s: %w", work.Name, cause)
	if a.Now().Sub(work.DeletionTimestamp.Time) < a.sayAfter {
		return cause
	}
	next := work.DeepCopy()
	next.Status = report.Unremoved(work.Status, work.Generation, *work.DeletionTimestamp, []string{cause.Error()}, metav1.NewTime(a.Now().Truncate(time.Second)))
	if equality.Semantic.DeepEqual(next.Status, work.Status) {
		return cause
	}
	return errors.Join(cause, a.writeStatus(ctx, next))
}

// release drops the finalizer once the API server itself says that the AppliedWork is gone.
func (a *Applier) release(ctx context.Context, work *v1beta1.Work) error {
	err := a.MemberReader.Get(ctx, types.NamespacedName{Name: work.Name}, &v1beta1.AppliedWork{})
	switch {
	case err == nil:
		return apierrors.NewConflict(schema.GroupResource{Group: v1beta1.GroupVersion.Group, Resource: "appliedworks"}, work.Name,
			errors.New("the cache does not show it yet"))
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("get AppliedWork %s: %w", work.Name, err)
	}
	a.forget(work.Name)
	return a.setFinalizer(ctx, work, false)
}

// await looks at a removal that goes on: after a while it says what is waited for, and in the end objects that others own too no longer
// hold it up.
func (a *Applier) await(ctx context.Context, work *v1beta1.Work, ledger *ledger, began metav1.Time) (reconcile.Result, error) {
	taken := a.Now().Sub(began.Time)
	if left := min(a.sayAfter, a.DeletionWait) - taken; left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	unblock := taken >= a.DeletionWait
	waiting, err := a.remaining(ctx, ledger, unblock)
	if err != nil {
		return reconcile.Result{}, err
	}
	next := work.DeepCopy()
	next.Status = report.Unremoved(work.Status, work.Generation, began, waiting, metav1.NewTime(a.Now().Truncate(time.Second)))
	if !equality.Semantic.DeepEqual(next.Status, work.Status) {
		if err := a.writeStatus(ctx, next); err != nil {
			return reconcile.Result{}, err
		}
	}
	later := a.sayAfter
	if !unblock {
		later = min(later, a.DeletionWait-taken)
	}
	priority := priorityRecheck
	return reconcile.Result{RequeueAfter: later, Priority: &priority}, nil
}

// remaining lists the objects of the ledger that are still there and ours.
func (a *Applier) remaining(ctx context.Context, ledger *ledger, unblock bool) ([]string, error) {
	entries := ledger.list()
	lines := make([]string, len(entries))
	indexes := make([]int, len(entries))
	for i := range entries {
		indexes[i] = i
	}
	err := loop.Each(ctx, a.Parallel, indexes, func(ctx context.Context, i int) error {
		at, err := a.placeOf(entries[i])
		if meta.IsNoMatchError(err) {
			return nil
		}
		kind := schema.GroupKind{Group: entries[i].Group, Kind: entries[i].Kind}
		name := apply.KeyOf(entries[i].WorkResourceIdentifier).String()
		var live *unstructured.Unstructured
		if err == nil {
			live, err = a.live(ctx, at)
		}
		switch {
		case err != nil:
			lines[i] = fmt.Sprintf("%s (%s)", name, explain(err, kind))
			return ctx.Err()
		case live == nil || !ledger.owner().Owns(live):
			return nil
		}
		lines[i] = name
		if held := live.GetFinalizers(); len(held) > 0 {
			lines[i] = fmt.Sprintf("%s (finalizers %s)", name, strings.Join(held, " "))
		}
		if !unblock {
			return nil
		}
		body, err := apply.Unblock(live, ledger.owner())
		if err == nil && body != nil {
			_, err = a.patch(ctx, at, types.JSONPatchType, body, false)
		}
		if err = client.IgnoreNotFound(err); err != nil {
			return fmt.Errorf("unblock %s: %s", name, explain(err, kind))
		}
		return nil
	})
	lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" })
	slices.Sort(lines)
	return lines, err
}
