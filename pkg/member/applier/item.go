package applier

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// item is one manifest in a pass.
type item struct {
	apply.Manifest
	// origin distinguishes the hub's object from others of its name; empty if it is not known.
	origin string
	intent uint64
	wave   int
	// object is the outcome, of this pass or an earlier one; nil if it was not applied.
	object *object
	// fact is what to report. again is whether to retry even without an event on the member.
	fact  report.Manifest
	again bool
	// places are what to watch for this manifest.
	places []place
	// uid is that of the object when last seen, end how its run ended, if known.
	uid types.UID
	end *ending
	// autoscaler is the autoscaler that controls the object's replicas; nil if there is none.
	autoscaler *reliance
	// verified is the digestJudged for which a dry run showed that applying changes nothing; 0 if there was none.
	verified uint64
}

func (it *item) name() types.NamespacedName {
	return types.NamespacedName{Namespace: it.Identifier.Namespace, Name: it.Identifier.Name}
}

// take adopts an outcome, of this pass or of an earlier one in which the manifest may have had another position.
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

// apply processes one manifest: read, decide, write. A failure becomes the item's fact.
func (p *pass) apply(ctx context.Context, it *item) error {
	if o := p.memory.drop(it.Key()); o != nil {
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
	p.memory.record(it.Key(), o)
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
	it.fact.Applied = report.Finding{Reason: reason, Message: notApplied + explain(err, it.GroupVersionKind().GroupKind())}
	if at, ok := awaited(err, it.Manifest); ok {
		p.watch(it, at)
	}
}

func (p *pass) watch(it *item, at place) {
	if !slices.Contains(it.places, at) {
		it.places = append(it.places, at)
	}
	p.agent.watches.add(p.work.Name, at)
}

// readError marks a failure to read the object.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

const notApplied = "Not applied: "

// mostRaces is how often a pass decides anew about a manifest because the object changed meanwhile.
const mostRaces = 3

func (p *pass) attempt(ctx context.Context, it *item) (_ *object, err error) {
	defer loop.Recovered(ctx, &err)
	at, err := p.agent.locate(it.GroupVersionKind(), it.name())
	if err != nil {
		return nil, err
	}
	it.Identifier.Resource = at.Resource
	spot := apply.Spot{GroupResource: at.GroupResource(), NamespacedName: at.NamespacedName}
	if why := p.agent.Wall.Refuses(spot, p.work.Labels[contract.LabelPlacementNamespace]); why != "" {
		return nil, wallError(why)
	}
	p.watch(it, at)
	manifest, err := it.Object()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBroken, err)
	}
	var live *unstructured.Unstructured
	if !p.blind || p.comparing() || p.ledger.entries[it.Key()].UID != "" {
		if live, err = p.agent.live(ctx, at); err != nil {
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
		if live, err = p.agent.live(ctx, at); err != nil {
			return nil, readError{err}
		}
	}
}
