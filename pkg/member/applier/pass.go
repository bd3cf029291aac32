package applier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/health"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
)

// pass is one look at a Work: what it wants, what is remembered, and what came out.
type pass struct {
	*Applier
	work     *v1beta1.Work
	strategy v1beta1.ApplyStrategy
	memory   *recollection
	ledger   *ledger
	// blind: nothing of this generation was reported yet, so what the ledger does not hold is taken to be absent until a create says
	// otherwise. That saves a read for each new object.
	blind bool
	items []*item
	stamp apply.Stamp
	// gone is what has left the Work and the member, held what has left the Work, but perhaps only because the hub went back in time.
	gone []apply.Key
	held map[place]apply.Key
	// unserved is what has left the Work and is of a kind that the member does not serve now, with the place that tells when it does.
	unserved map[apply.Key]place
	// occupied is what has left the Work and stays because it holds what was not placed, and what that is.
	occupied map[apply.Key]string
	// elsewhere is what has left the Work and is held by another one.
	elsewhere sets.Set[apply.Key]
	// awaiting: nothing is removed before the other Works of the placement are there.
	awaiting bool
}

// item is one manifest in a pass.
type item struct {
	apply.Manifest
	// origin tells the hub's object from others of its name; empty if it is not known.
	origin string
	intent uint64
	wave   int
	// object is what came of it, now or in an earlier pass; nil if it was not applied.
	object *object
	// fact is what to report. again says that it must be tried again although nothing may happen on the member.
	fact  report.Manifest
	again bool
	// places are what to watch for its sake.
	places []place
	// uid is that of the object as it was last seen, end how it ended, as far as is known.
	uid types.UID
	end *ending
	// autoscaler is the one that the object's replicas are left to; nil if there is none.
	autoscaler *reliance
	// verified is the digestJudged that a trial showed applying the manifest would not change; 0 if there was none.
	verified uint64
}

// sync carries out what a Work says now.
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
	carried := false
	facts := report.Pass{DiffOnly: p.strategy.Type == v1beta1.ApplyStrategyTypeReportDiff, Incomplete: p.stamp.Incomplete}
	switch {
	case facts.DiffOnly:
		if err := p.compareAll(ctx); err != nil {
			return reconcile.Result{}, err
		}
	case ledger != nil && !ledger.work.DeletionTimestamp.IsZero():
		p.awaitLedger()
	case standing == apply.Foreign:
		facts.Contested = contest(ledger, who)
		p.refuse("Not applied: " + facts.Contested)
		if err := a.contested(ctx, ledger, facts.Contested); err != nil {
			return reconcile.Result{}, err
		}
	default:
		if standing == apply.Inherited {
			if err := a.inherit(ctx, ledger, who); err != nil {
				return reconcile.Result{}, err
			}
		}
		if err := p.applyAll(ctx); err != nil {
			return reconcile.Result{}, err
		}
		if facts.Remaining, err = p.clear(ctx); err != nil {
			return reconcile.Result{}, err
		}
		for _, key := range p.held {
			facts.Held = append(facts.Held, key.String())
		}
		for key, why := range p.occupied {
			facts.Occupied = append(facts.Occupied, fmt.Sprintf("%s (%s)", key, why))
		}
		for key := range p.unserved {
			facts.Unserved = append(facts.Unserved, key.String())
		}
		carried = true
	}
	p.remember()
	if err := ctx.Err(); err != nil {
		return reconcile.Result{}, err // half a pass is not reported
	}
	for _, it := range p.items {
		facts.Manifests = append(facts.Manifests, it.fact)
	}
	wait, err := p.report(ctx, facts)
	if err != nil {
		return reconcile.Result{}, err
	}
	if carried { // last, because nobody waits for it: what it is about to hold is in the ledger as intents already
		if err := p.settle(ctx, p.ledger, who, p.entries(), p.gone); err != nil {
			return reconcile.Result{}, err
		}
		p.legacy.recorded(work, p.items)
	}
	return p.again(wait, len(facts.Remaining) > 0 || len(p.occupied) > 0 || p.awaiting), nil
}

func (a *Applier) newPass(work *v1beta1.Work, ledger *ledger) *pass {
	p := &pass{Applier: a, work: work, strategy: work.Spec.ApplyStrategy.WithDefaults(), memory: a.memory.of(work.Name),
		ledger: ledger, blind: !reported(work), stamp: apply.StampOf(a.HubAddress, work), held: map[place]apply.Key{},
		unserved: map[apply.Key]place{}, occupied: map[apply.Key]string{}}
	a.memory.begin(p.memory, work.UID, work.Generation)
	var uid types.UID
	if ledger != nil {
		uid = ledger.work.UID
	}
	if p.memory.ledger != uid {
		a.memory.reset(p.memory) // what is remembered was owned by another AppliedWork
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
			it.fact.Applied = report.Verdict(m.Problem)
		}
		p.items = append(p.items, it)
	}
	return p
}

// applyAll brings every manifest to the member that is not known to be there as it should be, wave by wave.
func (p *pass) applyAll(ctx context.Context) error {
	todo := p.news()
	if len(todo) == 0 && p.ledger != nil {
		return nil
	}
	for _, it := range todo {
		p.find(it)
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
		// Failures are the items' own; the error is that of a pass cut short.
		if err := loop.Each(ctx, p.Parallel, todo[:n], p.apply); err != nil {
			return err
		}
		todo = todo[n:]
	}
	return nil
}

// news takes over what is known of each manifest from earlier passes and returns the manifests of which nothing is.
func (p *pass) news() []*item {
	var todo []*item
	for _, it := range p.items {
		if it.Problem.Reason != "" {
			continue
		}
		if o := p.Applier.memory.current(p.memory, it.Key(), it.intent); o != nil {
			it.take(o)
			continue
		}
		todo = append(todo, it)
	}
	return todo
}

// find looks up where the item belongs. What the member does not serve yet is tried last, when an earlier wave may have brought it.
func (p *pass) find(it *item) {
	it.wave = apply.LastWave
	at, err := p.locate(it.GroupVersionKind(), it.name())
	if err != nil {
		return
	}
	it.wave = apply.Wave(at.GroupResource())
	it.Identifier.Resource = at.Resource
}

// intend makes sure that the ledger knows of everything that is about to be applied.
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
	l, err := p.Applier.intend(ctx, p.ledger, p.work, ids)
	if err != nil {
		return err
	}
	p.ledger = l
	p.memory.ledger = l.work.UID
	return nil
}

func (it *item) name() types.NamespacedName {
	return types.NamespacedName{Namespace: it.Identifier.Namespace, Name: it.Identifier.Name}
}

// take adopts an outcome, of this pass or of an earlier one in which the manifest may have had another place.
func (it *item) take(o *object) {
	it.object = o
	ordinal := it.Identifier.Ordinal
	it.fact = o.fact
	it.fact.Identifier.Ordinal = ordinal
	it.Identifier = it.fact.Identifier
	it.places = append(it.places, o.place)
	if o.relies != nil {
		it.places = append(it.places, o.relies.place)
	}
}

// apply carries one manifest through: find, decide, write. What goes wrong becomes the item's fact.
func (p *pass) apply(ctx context.Context, it *item) error {
	if o := p.Applier.memory.drop(p.memory, it.Key()); o != nil {
		it.uid = o.uid
		if o.intent == it.intent {
			it.verified = o.verified
		}
	}
	o, err := p.attempt(ctx, it)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		p.fail(it, err)
		return nil
	}
	o.intent, o.fact.Identifier = it.intent, it.Identifier
	it.take(o)
	if o.wait > 0 {
		return nil
	}
	if o.fact.Passing {
		it.again = true
		return nil
	}
	p.Applier.memory.record(p.memory, it.Key(), o)
	return nil
}

func (p *pass) fail(it *item, err error) {
	it.again = true
	it.fact.Identifier = it.Identifier
	it.fact.Passing = passing(err)
	reason := v1beta1.ReasonManifestApplyFailed
	if p.comparing() {
		reason = v1beta1.ReasonManifestFailedToRunDriftDetection
	}
	var read readError
	switch {
	case meta.IsNoMatchError(err):
		reason = v1beta1.ReasonManifestDecodingErred
	case errors.As(err, &read):
		reason = v1beta1.ReasonManifestFailedToFindObjInMemberCluster
	}
	it.fact.Applied = report.Verdict{Reason: reason, Message: notApplied + explain(err, it.GroupVersionKind().GroupKind())}
	if at, ok := awaited(err, it.Manifest); ok {
		p.watch(it, at)
	}
}

func (p *pass) watch(it *item, at place) {
	if !slices.Contains(it.places, at) {
		it.places = append(it.places, at)
	}
	p.watches.add(p.work.Name, at)
}

// readError marks failures to read the object.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

const notApplied = "Not applied: "

// mostRaces is how often a manifest is decided anew within a pass because the object changed under our hands.
const mostRaces = 3

func (p *pass) attempt(ctx context.Context, it *item) (_ *object, err error) {
	defer loop.Recovered(ctx, &err)
	at, err := p.locate(it.GroupVersionKind(), it.name())
	if err != nil {
		return nil, err
	}
	it.Identifier.Resource = at.Resource
	spot := apply.Spot{GroupResource: at.GroupResource(), NamespacedName: at.NamespacedName}
	if why := p.Wall.Refuses(spot, p.work.Labels[contract.LabelPlacementNamespace]); why != "" {
		return nil, wallError(why)
	}
	p.watch(it, at)
	manifest, err := it.Object()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBroken, err)
	}
	var live *unstructured.Unstructured
	if !p.blind || p.comparing() || p.ledger.entries[it.Key()].UID != "" {
		if live, err = p.live(ctx, at); err != nil {
			return nil, readError{err}
		}
	}
	stamp := p.stamp
	stamp.Origin = it.origin
	for race := 0; ; race++ {
		o, err := p.once(ctx, it, at, apply.Input{Manifest: manifest, Live: live, Owner: p.owner(), Strategy: p.strategy, Stamp: stamp})
		lost := apierrors.IsConflict(err) && !claimedByAnother(err) || apierrors.IsAlreadyExists(err) || live != nil && apierrors.IsNotFound(err) ||
			errors.Is(err, errReplaced) || errors.Is(err, errInherited)
		if !lost || race == mostRaces {
			return o, err
		}
		if live, err = p.live(ctx, at); err != nil {
			return nil, readError{err}
		}
	}
}

func (p *pass) comparing() bool { return p.strategy.Type == v1beta1.ApplyStrategyTypeReportDiff }

// owner is the AppliedWork of the Work; nobody if there is none, which only a comparison may meet.
func (p *pass) owner() apply.Owner {
	if p.ledger == nil {
		return apply.Owner{}
	}
	return p.ledger.owner()
}

// once decides about a live object and carries the decision out.
func (p *pass) once(ctx context.Context, it *item, at place, in apply.Input) (*object, error) {
	if in.Live != nil && !p.comparing() {
		var err error
		if in.Abandoned, err = p.abandoned(ctx, in.Live); err != nil {
			return nil, err
		}
	}
	if it.autoscaler = nil; in.Live != nil && apply.Scaled(in.Manifest, in.Live) {
		var err error
		if in.Autoscaled, err = p.autoscaled(ctx, it, in.Live); err != nil {
			return nil, err
		}
	}
	if err := p.conclude(ctx, it, at, &in); err != nil {
		return nil, err
	}
	action, err := p.decide(ctx, it, at, &in)
	if err != nil {
		return nil, err
	}
	f := p.Applier.memory.fightOf(p.memory, it.Key(), it.intent, p.Now())
	if wait := f.Wait(p.Now()); wait > 0 && action.Writes() {
		action.Verb = apply.Refuse
		return f.held(p.outcome(it, at, in.Live, action), wait), nil
	}
	live, err := p.act(ctx, at, in.Live, action)
	if apierrors.IsInvalid(err) && action.Verb == apply.Patch {
		err = p.replace(ctx, it, at, in, err)
	}
	if err != nil {
		return nil, err
	}
	if action.Writes() {
		if live, action, f, err = p.settled(ctx, it, at, in, live, action); err != nil {
			return nil, err
		}
	}
	o := p.outcome(it, at, live, action)
	if f.Hot() && action.Verb != apply.Wait {
		return f.held(o, f.Look(p.Now())), nil
	}
	return o, nil
}

// settled decides again about what a write has left, so that no pass reports what the next look would deny: something rewrote it, or a
// full comparison shows what is there beside the manifest. It returns the object as it is now, and what to report.
func (p *pass) settled(
	ctx context.Context, it *item, at place, in apply.Input, live *unstructured.Unstructured, action apply.Action,
) (*unstructured.Unstructured, apply.Action, fight, error) {
	now := in
	now.Live, now.Trial = live, nil
	after, err := p.decide(ctx, it, at, &now)
	if err != nil {
		return nil, action, fight{}, err
	}
	if action.Verb == apply.Create && after.Verb == apply.Patch && after.Type == types.ApplyPatchType {
		// What a creation leaves may need an apply that records what is ours. Only what that one leaves shows whether something rewrites
		// the object.
		left, err := p.act(ctx, at, live, after)
		if err != nil {
			p.wrote(it, in, now, false) // the creation counts all the same
			return nil, action, fight{}, err
		}
		now.Live, now.Trial = left, nil
		if after, err = p.decide(ctx, it, at, &now); err != nil {
			return nil, action, fight{}, err
		}
	}
	if !after.Writes() {
		action = after
	}
	return now.Live, action, p.wrote(it, in, now, after.Writes()), nil
}

// decide asks for a decision, and the API server for what that needs to know.
func (p *pass) decide(ctx context.Context, it *item, at place, in *apply.Input) (apply.Action, error) {
	for {
		action, err := apply.Decide(*in)
		if err != nil {
			return action, fmt.Errorf("%w: %w", errBroken, err)
		}
		if action.Verb != apply.Try {
			if in.Trial != nil && (action.Verb == apply.Nothing || action.Diffed.Reason == v1beta1.ReasonManifestNoDiffFound) {
				it.verified = digestJudged(*in)
			}
			return action, nil
		}
		if it.verified != 0 && it.verified == digestJudged(*in) {
			in.Trial = &apply.Trial{Same: true}
			continue
		}
		if in.Trial, err = p.try(ctx, at, action, in.Live); err != nil {
			return action, err
		}
	}
}

// act carries a decision out and returns the object it leaves.
func (p *pass) act(
	ctx context.Context, at place, live *unstructured.Unstructured, action apply.Action,
) (*unstructured.Unstructured, error) {
	switch action.Verb {
	case apply.Create:
		return p.create(ctx, at, action.Object)
	case apply.Patch:
		if action.Migrate != nil {
			if _, err := p.patch(ctx, at, types.JSONPatchType, action.Migrate, false); err != nil {
				return nil, err
			}
		}
		return p.patch(ctx, at, action.Type, action.Body, action.Force)
	}
	return live, nil
}

// outcome is what to remember and report of an object.
func (p *pass) outcome(it *item, at place, live *unstructured.Unstructured, action apply.Action) *object {
	o := &object{place: at, quiet: true, verified: it.verified}
	if live != nil {
		o = observe(at, live, p.owner())
		o.verified = it.verified
		o.quiet = o.quiet || p.comparing()
	}
	o.end = p.endOf(it, live)
	o.relies = it.autoscaler
	o.fact.Applied, o.fact.Diffed = report.Verdict(action.Applied), report.Verdict(action.Diffed)
	o.fact.Drifts = comparison(live, action.Drifts)
	o.fact.Diffs = comparison(live, action.Diffs)
	switch action.Verb {
	case apply.Wait:
		o.fact.Passing = true
	case apply.Ran:
		o.fact.Available = report.Verdict(action.Available)
		o.fact.Mirror = p.carriedBack(it.Key())
	case apply.Create, apply.Patch, apply.Nothing:
		o.fact.Available = report.Verdict(apply.Available(live, p.rules))
		if p.mirrors() {
			o.quiet = false
			o.fact.Mirror = statusOf(live)
		}
	}
	return o
}

func comparison(live *unstructured.Unstructured, details []v1beta1.PatchDetail) *report.Comparison {
	switch {
	case len(details) == 0:
		return nil
	case live == nil:
		return &report.Comparison{Absent: true, Details: details}
	}
	return &report.Comparison{Generation: live.GetGeneration(), Details: details}
}

func observe(at place, live *unstructured.Unstructured, owner apply.Owner) *object {
	o := &object{place: at, uid: live.GetUID(), resourceVersion: live.GetResourceVersion(), metadata: digestMetadata(live),
		owned: owner.Owns(live), taken: apply.TakenOver(live), quiet: !health.Tracked(live)}
	o.fact.Generation = live.GetGeneration()
	return o
}

func (p *pass) mirrors() bool {
	s := p.work.Spec.ReportBackStrategy
	return s != nil && s.Type == v1beta1.ReportBackTypeMirror
}

// statusOf is the object's status in the form in which it is carried back; nil if it has none or cannot be encoded.
func statusOf(live *unstructured.Unstructured) []byte {
	status, ok := live.Object["status"]
	if !ok || secrecy.Covers(live.GroupVersionKind().GroupKind()) {
		return nil
	}
	data, err := json.Marshal(map[string]any{"apiVersion": live.GetAPIVersion(), "kind": live.GetKind(), "status": status})
	if err != nil {
		return nil
	}
	return data
}

// abandoned returns those of the other AppliedWorks that own live whose Works are gone from the hub. What another hub or another member
// made is not ours to judge.
func (p *pass) abandoned(ctx context.Context, live *unstructured.Unstructured) (sets.Set[string], error) {
	out := sets.New[string]()
	for _, name := range apply.OtherAppliedWorks(live, p.ledger.owner()) {
		other, err := p.ledgerOf(ctx, name)
		if err != nil {
			return nil, err
		}
		if other != nil && !p.identity("").SameMember(other.work) {
			continue
		}
		err = p.HubClient.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: name}, &v1beta1.Work{})
		switch {
		case apierrors.IsNotFound(err):
			out.Insert(name)
		case err != nil:
			return nil, fmt.Errorf("look for work %s, which owns the object: %w", name, err)
		}
	}
	return out, nil
}

// clear removes what has left the Work. It returns what could not be removed and why.
func (p *pass) clear(ctx context.Context) ([]string, error) {
	applied := map[apply.Key]types.UID{}
	for _, it := range p.items {
		switch {
		case it.object == nil:
		case it.object.owned:
			applied[it.Key()] = it.object.uid
		case it.object.end != nil:
			applied[it.Key()] = it.object.end.uid
		}
	}
	manifests := make([]apply.Manifest, len(p.items))
	for i, it := range p.items {
		manifests[i] = it.Manifest
	}
	entries := p.ledger.list()
	for _, twin := range apply.Twins(entries, manifests, applied) {
		if uid, ok := p.twin(ctx, twin, manifests); ok {
			applied[twin] = uid
		}
	}
	var remaining []string
	var err error
	p.gone, remaining, err = p.removeAll(ctx, apply.LeftOver(entries, manifests, applied), applied)
	return remaining, err
}

// twin looks for an object that is wanted. ok is false if it is not known whether there is one: then it is as if the object that may be the
// same were still wanted.
func (p *pass) twin(ctx context.Context, key apply.Key, manifests []apply.Manifest) (uid types.UID, ok bool) {
	at := slices.IndexFunc(manifests, func(m apply.Manifest) bool { return m.Key() == key })
	where, err := p.locate(manifests[at].GroupVersionKind(), types.NamespacedName{Namespace: key.Namespace, Name: key.Name})
	if err != nil {
		return "", false
	}
	live, err := p.live(ctx, where)
	switch {
	case err != nil:
		p.awaiting = true
		return "", false
	case live == nil:
		return apply.Absent, true
	}
	return live.GetUID(), true
}

// entries is what the ledger is to hold: what is ours, what may be, and what has left the Work but not yet the member.
func (p *pass) entries() []apply.Entry {
	var out []apply.Entry
	done := map[apply.Key]bool{}
	for _, key := range p.gone {
		done[key] = true
	}
	for _, it := range p.items {
		key := it.Key()
		if it.Problem.Reason != "" || done[key] {
			continue
		}
		done[key] = true
		entry, known := p.ledger.entries[key]
		switch {
		case it.object != nil && it.object.owned:
			// Once taken over is always taken over, also if the annotation is removed from the object.
			entry.TakenOver = it.object.taken || entry.TakenOver && entry.UID == it.object.uid
			entry.UID, entry.Held = it.object.uid, false
			entry.Finished = it.object.end.record()
		case it.object != nil && it.object.end != nil: // over and gone
			entry.UID, entry.Held, entry.Finished = it.object.end.uid, false, it.object.end.record()
		case it.object != nil || !known:
			continue // seen, and not ours
		}
		entry.WorkResourceIdentifier = it.Identifier
		out = append(out, entry)
	}
	heldNow := sets.New[apply.Key]()
	for _, key := range p.held {
		heldNow.Insert(key)
	}
	for _, key := range p.ledger.order {
		if !done[key] {
			entry := p.ledger.entries[key]
			entry.Held = entry.Held || heldNow.Has(key)
			out = append(out, entry)
		}
	}
	return out
}

// compareAll reports how the member's objects differ from the manifests, and touches none of them, nor the ledger: what was applied
// before stays ours, and what leaves the Work meanwhile is removed when the Work applies again.
func (p *pass) compareAll(ctx context.Context) error {
	if err := loop.Each(ctx, p.Parallel, p.news(), p.apply); err != nil {
		return err
	}
	for _, it := range p.items {
		why := it.fact.Applied
		if it.Problem.Reason != "" {
			why = report.Verdict(it.Problem)
		}
		if why.Reason != "" { // it did not come to a comparison
			it.fact.Diffed = report.Verdict{Reason: v1beta1.ReasonManifestFailedToReportDiff,
				Message: fmt.Sprintf("Not compared (%s): %s", why.Reason, strings.TrimPrefix(why.Message, notApplied))}
		}
		it.fact.Applied = report.Verdict{}
	}
	return nil
}

// awaitLedger reports that the objects of an earlier Work of this name are still being removed; its end is an event.
func (p *pass) awaitLedger() {
	for _, it := range p.items {
		if it.Problem.Reason != "" {
			continue
		}
		it.fact.Passing = true
		it.fact.Applied = report.Verdict{Reason: v1beta1.ReasonManifestApplyFailed,
			Message: "Not applied: what an earlier Work of this name applied is still being removed from the member cluster; see AppliedWork " + p.work.Name}
	}
}

// refuse reports that nothing was applied, and why.
func (p *pass) refuse(why string) {
	for _, it := range p.items {
		if it.Problem.Reason == "" {
			it.fact.Applied = report.Verdict{Reason: v1beta1.ReasonManifestApplyFailed, Message: why}
		}
	}
}

// remember drops what no manifest needs any more.
func (p *pass) remember() {
	keys, places := map[apply.Key]bool{}, map[place]bool{}
	for _, it := range p.items {
		keys[it.Key()] = true
		for _, at := range it.places {
			places[at] = true
		}
	}
	for _, at := range p.unserved {
		places[at] = true
	}
	for at := range p.held {
		places[at] = true
	}
	p.watches.retain(p.work.Name, places)
	p.Applier.memory.retain(p.memory, keys, places)
}

// report writes the Work's status if it says something new. What only says "in progress" is held back for a moment; the wait is
// returned.
func (p *pass) report(ctx context.Context, facts report.Pass) (time.Duration, error) {
	now := metav1.NewTime(p.Now().Truncate(time.Second))
	next := p.work.DeepCopy()
	var settled bool
	next.Status, settled = report.Work(p.work.Status, p.work.Generation, facts, now)
	if err := report.Fit(next, p.work.Status, now); err != nil {
		return 0, err
	}
	count(next.Status)
	if equality.Semantic.DeepEqual(next.Status, p.work.Status) {
		p.memory.held = time.Time{}
		return 0, nil
	}
	if !settled {
		if p.memory.held.IsZero() {
			p.memory.held = p.Now()
		}
		if wait := report.Patience - p.Now().Sub(p.memory.held); wait > 0 {
			return wait, nil
		}
	}
	p.memory.held = time.Time{}
	return 0, p.writeStatus(ctx, next)
}

// writeStatus patches the status alone: a Work's manifests can be large.
func (a *Applier) writeStatus(ctx context.Context, work *v1beta1.Work) error {
	body, err := patchBody(map[string]any{"status": map[string]any{ // null, where a list is empty, removes the old one
		"conditions": work.Status.Conditions, "manifestConditions": work.Status.ManifestConditions,
	}})
	if err != nil {
		return err
	}
	target := &v1beta1.Work{}
	target.Namespace, target.Name = work.Namespace, work.Name
	err = a.HubClient.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, body))
	if err = client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("write status of work %s: %w", work.Name, err)
	}
	ctrl.LoggerFrom(ctx).V(1).Info("Reported", "work", work.Name)
	return nil
}

const (
	retryFirst = 20 * time.Millisecond
	retryMost  = time.Minute
	// For a while after something came that was waited for, its effects are looked for more often: a kind is served some time after
	// its definition is there, without an event.
	hopeful, retryHopeful = 10 * time.Second, 320 * time.Millisecond
)

// again says when to look at the Work next although nothing may happen: when a status is held back, or something failed.
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
		if passing && p.Now().Sub(p.memory.hope) < hopeful {
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
