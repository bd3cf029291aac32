package applier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// leftovers are the objects that have left a Work, as a pass found them.
type leftovers struct {
	// gone are those that no longer exist on the member either.
	gone []apply.Key
	// held are those that a later state of the Work placed: the hub may have gone back in time.
	held map[place]apply.Key
	// unserved are those whose kind the member does not serve, with the place where its definition will appear.
	unserved map[apply.Key]place
	// occupied are those that stay because they contain objects that the fleet did not place, with those objects.
	occupied map[apply.Key]string
	// remaining names the objects that could not be removed, with the reasons.
	remaining []string
	// elsewhere are those that another Work lists.
	elsewhere sets.Set[apply.Key]
	// braked is why nothing is removed; empty if that is not held.
	braked string
	// awaiting is whether the removal waits until the other Works of the placement exist.
	awaiting bool
}

func newLeftovers() leftovers {
	return leftovers{held: map[place]apply.Key{}, unserved: map[apply.Key]place{}, occupied: map[apply.Key]string{}}
}

// sort files the outcomes of removals. It returns those whose contents were inspected.
func (l *leftovers) sort(all []*leftover) map[apply.Key]look {
	looks := map[apply.Key]look{}
	for _, r := range all {
		key := apply.KeyOf(r.WorkResourceIdentifier)
		if r.gone {
			l.gone = append(l.gone, key)
		}
		if r.occupied != "" {
			l.occupied[key] = r.occupied
			looks[key] = r.look
		}
		switch {
		case r.held == nil:
		case r.unserved:
			l.unserved[key] = *r.held
		default:
			l.held[*r.held] = key
		}
		if r.why != "" {
			l.remaining = append(l.remaining, fmt.Sprintf("%s (%s)", key, r.why))
		}
	}
	slices.Sort(l.remaining)
	return looks
}

// places adds the places whose events may end a wait to to.
func (l *leftovers) places(to map[place]bool) {
	for _, at := range l.unserved {
		to[at] = true
	}
	for at := range l.held {
		to[at] = true
	}
}

// unfinished reports whether the Work must be reconciled again although no event may come.
func (l *leftovers) unfinished() bool {
	return len(l.remaining) > 0 || len(l.occupied) > 0 || l.awaiting
}

// describe adds the leftovers to the report of the pass.
func (l *leftovers) describe(facts *report.Pass) {
	facts.Remaining, facts.Braked = l.remaining, l.braked
	for _, key := range l.held {
		facts.Held = append(facts.Held, key.String())
	}
	for key, why := range l.occupied {
		facts.Occupied = append(facts.Occupied, fmt.Sprintf("%s (%s)", key, why))
	}
	for key := range l.unserved {
		facts.Unserved = append(facts.Unserved, key.String())
	}
}

// removeLeftovers removes the objects that have left the Work, unless something keeps them.
func (p *pass) removeLeftovers(ctx context.Context) error {
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
	return p.removeAll(ctx, apply.LeftOver(entries, manifests, applied), applied)
}

// twin looks up an object that is listed. ok is false if it is unknown whether it exists: then an object that may be
// the same one is treated as still listed.
func (p *pass) twin(ctx context.Context, key apply.Key, manifests []apply.Manifest) (uid types.UID, ok bool) {
	at := slices.IndexFunc(manifests, func(m apply.Manifest) bool { return m.Key() == key })
	where, err := p.agent.locate(manifests[at].GroupVersionKind(), types.NamespacedName{Namespace: key.Namespace, Name: key.Name})
	if err != nil {
		return "", false
	}
	live, err := p.agent.live(ctx, where)
	switch {
	case err != nil:
		p.left.awaiting = true
		return "", false
	case live == nil:
		return apply.Absent, true
	}
	return live.GetUID(), true
}

// removeAll removes leftovers from the member, the last wave first, so that an object goes before the objects it
// depends on. applied are the objects that are listed.
func (p *pass) removeAll(ctx context.Context, left []apply.Entry, applied map[apply.Key]types.UID) error {
	if len(left) == 0 {
		p.agent.Brake.Done(p.work.UID)
		return p.agent.record(ctx, p.ledger, nil)
	}
	abreast, err := p.agent.abreast(ctx, p.work)
	if err != nil {
		return err
	}
	if !abreast {
		p.left.awaiting = true // another Work, which does not exist yet, may list them now
		return nil
	}
	keys := make([]apply.Key, len(left))
	for i, e := range left {
		keys[i] = apply.KeyOf(e.WorkResourceIdentifier)
	}
	if p.left.elsewhere, err = p.agent.wantedElsewhere(ctx, p.work, keys); err != nil {
		return err
	}
	held, err := p.agent.brake(ctx, p.work, p.ledger, left, p.left.elsewhere)
	if err != nil && (ctx.Err() != nil || apierrors.IsConflict(err)) {
		return err
	}
	if err != nil {
		p.left.remaining = append(p.left.remaining, "nothing is removed: "+err.Error())
		return nil //nolint:nilerr // what was applied is reported nevertheless, with the cause
	}
	if held != nil {
		p.left.braked = heldText(p.work.Name, held)
		left = slices.DeleteFunc(slices.Clone(left), func(e apply.Entry) bool { return !p.left.elsewhere.Has(apply.KeyOf(e.WorkResourceIdentifier)) })
	}
	p.agent.legacy.leave(p.work, left, p.left.elsewhere)
	kept := sets.New[types.UID]()
	for _, uid := range applied {
		kept.Insert(uid)
	}
	all, err := p.removeWaves(ctx, left, kept)
	if err != nil {
		return err
	}
	p.memory.looks = p.left.sort(all)
	return nil
}

// leftover is an object that has left the Work, and its outcome.
type leftover struct {
	apply.Entry
	outcome
	// why it could not be removed; empty if it was, or if it stays for now.
	why string
	// look is when the object's contents were inspected, if they were.
	look look
}

// look is when, and for which generation of the Work, the contents of an object were listed. That costs a list of each
// kind, so the result is reused for lookAgain.
type look struct {
	at         time.Time
	generation int64
	occupied   string
}

const lookAgain = 5 * time.Second

// removeWaves removes leftovers, the last wave first. An object that could not be removed keeps the namespace or
// definition that it would go with.
func (p *pass) removeWaves(ctx context.Context, left []apply.Entry, kept sets.Set[types.UID]) ([]*leftover, error) {
	all := make([]*leftover, len(left))
	for i, e := range left {
		all[i] = &leftover{Entry: e}
	}
	waits := map[apply.Key][]string{}
	err := eachWave(all, func(r *leftover) int { return waveOf(r.Entry) }, func(wave []*leftover) error {
		err := loop.Each(ctx, p.agent.Parallel, wave, func(ctx context.Context, r *leftover) error {
			p.removeOrWait(ctx, r, waits[apply.KeyOf(r.WorkResourceIdentifier)], kept)
			return ctx.Err()
		})
		for _, r := range wave {
			for _, holder := range holders(r.Entry) {
				if r.why != "" {
					waits[holder] = append(waits[holder], apply.KeyOf(r.WorkResourceIdentifier).String())
				}
			}
		}
		return err
	})
	return all, err
}

// removeOrWait removes a leftover unless it contains objects that are still waiting, or its contents were inspected a
// moment ago.
func (p *pass) removeOrWait(ctx context.Context, r *leftover, waits []string, kept sets.Set[types.UID]) {
	if len(waits) > 0 {
		r.why = "waiting for " + brief.List(waits, report.MostKept)
		return
	}
	r.look = p.memory.looks[apply.KeyOf(r.WorkResourceIdentifier)]
	if r.look.occupied != "" && r.look.generation == p.work.Generation && p.agent.Now().Sub(r.look.at) < lookAgain {
		r.occupied = r.look.occupied
		return
	}
	var err error
	if r.outcome, err = p.removeOne(ctx, r.Entry, kept); err != nil {
		r.why = explain(err, kindOf(r.Entry))
	}
	r.look = look{p.agent.Now(), p.work.Generation, r.occupied}
}

// outcome is the result for a leftover: it needs no ledger entry any more, or is held at a place, or stays for now.
type outcome struct {
	gone bool
	held *place
	// occupied names the contents that the fleet did not place; they keep it.
	occupied string
	// unserved: it is held because the member does not serve its kind; then the place is where definitions of the kind
	// appear.
	unserved bool
}

// removeOne removes one leftover. An object whose kind the member does not serve is held: it may come back with its
// kind.
func (p *pass) removeOne(ctx context.Context, e apply.Entry, kept sets.Set[types.UID]) (outcome, error) {
	at, err := p.agent.placeOf(e)
	if err != nil {
		if meta.IsNoMatchError(err) {
			at = definitions(e.Group)
			p.agent.watches.add(p.work.Name, at)
			return outcome{held: &at, unserved: true}, nil
		}
		return outcome{}, err
	}
	in := apply.Parting{
		Entry: e, Owner: p.ledger.owner(), Strategy: p.work.Spec.DeleteStrategy, Stamp: p.stamp, Wanted: kept,
		Elsewhere: p.left.elsewhere.Has(apply.KeyOf(e.WorkResourceIdentifier)),
	}
	what, err := p.agent.part(ctx, at, in)
	if err == nil && what.Fate == apply.Hold { // its release must be an event; add before reading
		p.agent.watches.add(p.work.Name, at)
		what, err = p.agent.part(ctx, at, in)
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

// placeOf locates an object of the ledger; the version in which it was applied may no longer be served.
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
