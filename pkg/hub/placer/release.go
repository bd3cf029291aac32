package placer

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// Release makes the resource snapshots of what a placement with an External strategy selects now, unless its latest are that already,
// and returns their index. Update runs call it when they are to release whatever there is: the windows in which changes are gathered
// do not count. A selection.UserError is for the user.
func (p *Placer) Release(ctx context.Context, key types.NamespacedName) (index int, err error) {
	placement, err := scope.Placements.Get(ctx, p.Client, key)
	if err != nil {
		return 0, err
	}
	s, err := p.observe(ctx, placement)
	if err != nil {
		return 0, err
	}
	// What is remembered of the placement belongs to Reconcile, and so do the changes that it has not seen yet.
	found, _, err := pick(ctx, placement, p.Objects.Look)
	if err != nil {
		return 0, err
	}
	if err := s.holdUnread(found); err != nil {
		return 0, err
	}
	latest, _ := snapshot.Latest(s.groups)
	read, err := p.read(ctx, found, content{}, latest)
	if err != nil {
		return 0, err
	}
	inUse, err := p.inUse(ctx, s)
	if err != nil {
		return 0, err
	}
	step := snapshot.Resources(placement, s.groups, read.Content, inUse, s.now)
	if err := p.carryOutRevision(ctx, key, step); err != nil {
		return 0, err
	}
	return step.Index, nil
}
