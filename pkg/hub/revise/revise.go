// Package revise makes revisions of placements: it reads the objects that a placement selects and writes the resource
// snapshots that package snapshot decides on. The placer uses it when selected objects have changed, the stager when
// an update run releases the current selection. Both share one Reviser, and take turns at each placement.
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

// Objects reads the hub's objects that placements select.
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

// Turn waits until no other caller has the turn at a placement, and takes it. During a turn no other caller changes
// the placement's resource snapshots. It fails only if ctx ends first.
func (r *Reviser) Turn(ctx context.Context, placement types.NamespacedName) (end func(), err error) {
	return r.turns.take(ctx, placement)
}

// Observe reads the resource snapshots and bindings of a placement. The caller must have the turn, and must not modify
// the result.
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

// Release makes a revision of the objects that a placement selects now, unless the latest revision already contains
// them, and returns its index. It does not wait for more changes. A selection.UserError is for the user.
func (r *Reviser) Release(ctx context.Context, key types.NamespacedName) (index int, err error) {
	end, err := r.Turn(ctx, key)
	if err != nil {
		return 0, err
	}
	defer end()
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithValues("placement", scope.Name(key)))
	placement, err := scope.Placements.Get(ctx, r.Client, key)
	if err != nil {
		return 0, err
	}
	state, err := r.Observe(ctx, placement)
	if err != nil {
		return 0, err
	}
	// Look, and not Select: the placer must still process the changes that this revision contains.
	selected, err := Pick(ctx, placement, r.Objects.Look)
	if err != nil {
		return 0, err
	}
	if err := state.CheckUnread(selected.Selection); err != nil {
		return 0, err
	}
	content, err := r.Read(ctx, state, selected.Selection, Content{})
	if err != nil {
		return 0, err
	}
	step, err := r.Write(ctx, state, content)
	return step.Index, err
}
