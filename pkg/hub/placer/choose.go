package placer

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// selected is what choose keeps of a placement's selection.
type selected struct {
	// attempt counts selections, those that failed included. The revision names the one that it holds.
	attempt int
	// generation is that of the placement when the selection was made.
	generation int64
	// restricted is whether the selection was made for an author who may not place privileged objects, and withheld are those.
	restricted bool
	withheld   []v1beta1.ResourceIdentifier
	// kept are selected objects that stay on the hub, as far as the selection shows, and that are reported to the user.
	kept []selection.Kept
	// ofChange is whether the selection was made because objects have changed.
	ofChange bool
}

// choose selects the objects of a placement, unless the last selection stands, or changes are still being gathered: then it returns for
// how long. A selection.UserError is for the user.
func (p *Placer) choose(ctx context.Context, s *seen) (time.Duration, error) {
	stands := s.selectionStands()
	if stands {
		first, latest := p.Objects.Changes(s.key)
		if first.IsZero() {
			return 0, nil
		}
		if wait := snapshot.Wait(p.Windows, snapshot.Changes{First: first, Last: latest}, s.last(), s.now); wait > 0 {
			return wait, nil
		}
	}
	m := &s.memory.selection
	m.attempt++
	m.generation, m.ofChange = s.placement.GetGeneration(), stands
	found, withheld, err := pick(ctx, s.placement, p.Objects.Select)
	if err != nil {
		return 0, err
	}
	m.restricted, m.withheld, m.kept = restricted(s.placement), withheld, found.Kept
	if err := s.holdUnread(found); err != nil {
		return 0, err
	}
	s.found = &found
	return 0, nil
}

// selectionStands is whether the revision holds the last selection, and that was made for the placement as it is.
func (s *seen) selectionStands() bool {
	m := s.memory.selection
	return m.attempt > 0 && m.attempt == s.memory.revision.attempt &&
		m.generation == s.placement.GetGeneration() && m.restricted == restricted(s.placement)
}

// restricted is whether the author of a placement may not place privileged objects.
func restricted(placement v1beta1.PlacementObject) bool {
	return placement.GetAnnotations()[contract.AnnotationAuthor] == contract.AuthorRestricted
}

// selecting is Select or Look of Objects.
type selecting func(context.Context, types.NamespacedName, []v1beta1.ResourceSelectorTerm) (selection.Selection, error)

// pick works out what a placement selects and its author may place; withheld is what the author may not.
func pick(ctx context.Context, placement v1beta1.PlacementObject, from selecting) (
	found selection.Selection, withheld []v1beta1.ResourceIdentifier, err error,
) {
	key := types.NamespacedName{Namespace: placement.GetNamespace(), Name: placement.GetName()}
	found, err = from(ctx, key, placement.GetSpec().ResourceSelectors)
	if err != nil || !restricted(placement) {
		return found, nil, err
	}
	permitted, refs := found.Permitted()
	for _, ref := range refs {
		withheld = append(withheld, ref.Identifier())
	}
	return permitted, withheld, nil
}

// last is the revision that the next one waits for.
func (s *seen) last() snapshot.Last {
	latest, ok := snapshot.Latest(s.groups)
	if !ok {
		return snapshot.Last{}
	}
	m := s.memory.revision
	last := snapshot.Last{Made: m.made, Arrived: s.arrived(latest), Took: m.took, OfChange: m.ofChange}
	// The time on the object has whole seconds only.
	if created := latest.Master.GetCreationTimestamp().Time; created.After(last.Made) {
		last.Made = created
	}
	return last
}

// arrived is whether every bound cluster has reported on a revision.
func (s *seen) arrived(group snapshot.Group) bool {
	for _, binding := range s.bindings {
		if binding.GetSpec().State == v1beta1.BindingStateBound && binding.GetDeletionTimestamp().IsZero() &&
			!report.Arrived(binding, group.Master.GetName()) {
			return false
		}
	}
	return true
}

// holdUnread is an error if objects may be missing from a selection only because they could not be read, although the latest revision
// holds objects of such a kind: leaving them out would remove them from the members.
func (s *seen) holdUnread(found selection.Selection) error {
	if len(found.Unread) == 0 {
		return nil
	}
	latest, ok := snapshot.Latest(s.groups)
	if !ok {
		return nil
	}
	items, err := latest.Items()
	if err != nil {
		return err
	}
	for _, item := range items {
		if kind := (schema.GroupKind{Group: item.ID.Group, Kind: item.ID.Kind}); found.Unreads(kind) {
			return fmt.Errorf("%s, which is placed, cannot be read on the hub: %w", kind.String(), found.Cause)
		}
	}
	return nil
}
