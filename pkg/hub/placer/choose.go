package placer

import (
	"context"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/hub/revise"
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
		if wait := snapshot.Wait(p.Windows, snapshot.Changes{First: first, Last: latest}, s.last(), s.Now); wait > 0 {
			return wait, nil
		}
	}
	m := &s.memory.selection
	m.attempt++
	m.generation, m.ofChange = s.Placement.GetGeneration(), stands
	found, err := revise.Pick(ctx, s.Placement, p.Objects.Select)
	if err != nil {
		return 0, err
	}
	m.restricted, m.withheld, m.kept = found.Restricted, found.Withheld, found.Kept
	if err := s.HoldUnread(found.Selection); err != nil {
		return 0, err
	}
	s.found = &found.Selection
	return 0, nil
}

// selectionStands is whether the revision holds the last selection, and that was made for the placement as it is.
func (s *seen) selectionStands() bool {
	m := s.memory.selection
	return m.attempt > 0 && m.attempt == s.memory.revision.attempt &&
		m.generation == s.Placement.GetGeneration() && m.restricted == revise.Restricted(s.Placement)
}

// last is the revision that the next one waits for.
func (s *seen) last() snapshot.Last {
	latest, ok := snapshot.Latest(s.Groups)
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
	for _, binding := range s.Bindings {
		if binding.GetSpec().State == v1beta1.BindingStateBound && binding.GetDeletionTimestamp().IsZero() &&
			!report.Arrived(binding, group.Master.GetName()) {
			return false
		}
	}
	return true
}
