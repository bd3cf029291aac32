package placer

import (
	"context"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/hub/revise"
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
}

// choose selects the objects of a placement, unless the last selection is still valid. While changes are gathered, it
// returns for how much longer. A selection.UserError is for the user.
func (p *Placer) choose(ctx context.Context, s *observed) (time.Duration, error) {
	if due, wait := p.due(s); !due {
		return wait, nil
	}
	ctx, end := trace.Step(ctx, "select")
	defer end()
	m := &s.memory.selection
	m.attempt++
	m.generation = s.Placement.GetGeneration()
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
	changes := p.Objects.Changes(s.key)
	if changes.First.IsZero() {
		return false, 0
	}
	wait = snapshot.Wait(p.Windows, changes, s.made(), s.Now)
	return wait <= 0, wait
}

// selectionStands reports whether the revision contains the last selection, and the placement has not changed since.
func (s *observed) selectionStands() bool {
	m := s.memory.selection
	return m.attempt > 0 && m.attempt == s.memory.revision.attempt &&
		m.generation == s.Placement.GetGeneration() && m.restricted == revise.Restricted(s.Placement)
}

// made returns when the latest revision was created; zero if there is none.
func (s *observed) made() time.Time {
	latest, ok := snapshot.Latest(s.Groups)
	if !ok {
		return time.Time{}
	}
	return latest.Master.GetCreationTimestamp().Time
}
