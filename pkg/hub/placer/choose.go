package placer

import (
	"context"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/hub/revise"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// selected is what choose remembers about a placement's selection.
type selected struct {
	// attempt counts selections, including failed ones. The revision has the attempt whose objects it contains.
	attempt int
	// generation is the placement's generation at the time of the selection.
	generation int64
	// restricted is whether the placement's author may not place privileged objects; withheld are those objects.
	restricted bool
	withheld   []v1beta1.ResourceIdentifier
	// leftOut are the selected objects that stay on the hub, as far as the selection without contents shows, and that
	// are reported to the user.
	leftOut []selection.LeftOut
	// ofChange is whether objects changed, rather than the placement.
	ofChange bool
}

// choose selects the objects of a placement, unless the last selection is still valid. While changes are gathered, it
// returns for how much longer. A selection.UserError is for the user.
func (p *Placer) choose(ctx context.Context, s *observed) (time.Duration, error) {
	if due, wait := p.due(s); !due {
		return wait, nil
	}
	ctx, end := trace.Step(ctx, "select")
	defer end()
	m, stood := &s.memory.selection, s.selectionStands()
	m.attempt++
	m.generation, m.ofChange = s.Placement.GetGeneration(), stood
	found, err := revise.Pick(ctx, s.Placement, p.Objects.Select)
	if err != nil {
		return 0, err
	}
	m.restricted, m.withheld, m.leftOut = found.Restricted, found.Withheld, found.LeftOut
	if err := s.CheckUnread(found.Selection); err != nil {
		return 0, err
	}
	s.found = &found.Selection
	return 0, nil
}

// due reports whether the objects of a placement are selected now. They are not while changes are gathered; wait is for
// how much longer.
func (p *Placer) due(s *observed) (due bool, wait time.Duration) {
	if !s.selectionStands() {
		return true, 0
	}
	first, latest := p.Objects.Changes(s.key)
	if first.IsZero() {
		return false, 0
	}
	wait = snapshot.Wait(p.Windows, snapshot.Changes{First: first, Last: latest}, s.last(), s.Now)
	return wait <= 0, wait
}

// selectionStands reports whether the revision contains the last selection, and the placement has not changed since.
func (s *observed) selectionStands() bool {
	m := s.memory.selection
	return m.attempt > 0 && m.attempt == s.memory.revision.attempt &&
		m.generation == s.Placement.GetGeneration() && m.restricted == revise.Restricted(s.Placement)
}

// last describes the revision for whose arrival the next one waits.
func (s *observed) last() snapshot.Last {
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

// arrived reports whether every bound cluster has reported on a revision.
func (s *observed) arrived(group snapshot.Group) bool {
	for _, binding := range s.Bindings {
		if binding.GetSpec().State == v1beta1.BindingStateBound && binding.GetDeletionTimestamp().IsZero() &&
			!report.Arrived(binding, group.Master.GetName()) {
			return false
		}
	}
	return true
}
