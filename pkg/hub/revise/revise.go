// Package revise makes revisions of placements: it reads what a placement selects, asks package snapshot which resource snapshots have
// to be written, and writes them. The placer uses it when selected objects have changed, the stager when an update run releases what is
// selected at that time. Both share one Reviser, and take turns at each placement.
package revise

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// Objects reads the objects of the hub that placements select.
type Objects interface {
	// Look returns what a placement selects. A selection.UserError is for the user.
	Look(ctx context.Context, key types.NamespacedName, terms []v1beta1.ResourceSelectorTerm) (selection.Selection, error)
	// Read reads contents, in the order of refs. It fails if any cannot be read.
	Read(ctx context.Context, refs []selection.Ref) ([]selection.Content, error)
}

// Reviser makes the revisions of all placements. All exported fields must be set.
type Reviser struct {
	// Client reads the cache and sees its own writes.
	Client  client.Client
	Objects Objects
	// Now is the clock.
	Now func() time.Time

	turns turns
}

// State is a placement with its resource snapshots and bindings, as they were observed in one turn.
type State struct {
	Placement v1beta1.PlacementObject
	Groups    []snapshot.Group
	Bindings  []v1beta1.BindingObject
	// Now is when they were observed.
	Now time.Time
}

// Turn waits until no other caller has the turn at a placement, and takes it. What is observed of resource snapshots, decided about them
// and written in one turn is not changed by another caller in between. It fails only if ctx ends first.
func (r *Reviser) Turn(ctx context.Context, placement types.NamespacedName) (end func(), err error) {
	return r.turns.take(ctx, placement)
}

// Observe reads what belongs to a placement. The caller has the turn, and must not change what is listed.
func (r *Reviser) Observe(ctx context.Context, placement v1beta1.PlacementObject) (State, error) {
	key, now := client.ObjectKeyFromObject(placement), r.Now()
	resources, err := scope.ResourceSnapshots.List(ctx, r.Client, key.Namespace, scope.OfPlacement(key), client.UnsafeDisableDeepCopy)
	if err != nil {
		return State{}, err
	}
	// Other agents write bindings, so there are no writes of ours to wait for; their updates requeue the placement.
	bindings, err := scope.Bindings.List(ctx, r.Client, key.Namespace, scope.OfPlacement(key), client.UnsafeDisableDeepCopy,
		client.DisableReadYourWritesConsistency)
	if err != nil {
		return State{}, err
	}
	return State{Placement: placement, Groups: snapshot.Groups(resources), Bindings: scope.OnlyOf(placement, bindings), Now: now}, nil
}

// Release makes the resource snapshots of what a placement selects now, unless the latest revision holds that already, and returns the
// index of the revision. The windows in which changes are gathered do not count. A selection.UserError is for the user.
func (r *Reviser) Release(ctx context.Context, key types.NamespacedName) (index int, err error) {
	end, err := r.Turn(ctx, key)
	if err != nil {
		return 0, err
	}
	defer end()
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithValues("placement", key))
	placement, err := scope.Placements.Get(ctx, r.Client, key)
	if err != nil {
		return 0, err
	}
	state, err := r.Observe(ctx, placement)
	if err != nil {
		return 0, err
	}
	// Look, and not Select: the placer has yet to see the changes that are in this revision.
	selected, err := Pick(ctx, placement, r.Objects.Look)
	if err != nil {
		return 0, err
	}
	if err := state.HoldUnread(selected.Selection); err != nil {
		return 0, err
	}
	content, err := r.Read(ctx, state, selected.Selection, Content{})
	if err != nil {
		return 0, err
	}
	step, err := r.Write(ctx, state, content)
	return step.Index, err
}
