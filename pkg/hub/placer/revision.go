package placer

import (
	"context"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/hub/revise"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// revision is what revise keeps of a placement's latest revision.
type revision struct {
	// attempt is that of the selection which the revision holds.
	attempt int
	// content is what was read of that selection.
	content revise.Content
	// made is when this process made the revision; took is how long it took to arrive, or the one before if it has not.
	made time.Time
	took time.Duration
	// awaited is whether it has not arrived yet.
	awaited bool
	// ofChange is whether it was made because objects have changed.
	ofChange bool
	// decoded are the snapshots that bindings name, by the UID of the master. They serve placements with an External strategy.
	decoded map[types.UID]report.Snapshot
}

// revise makes the resource snapshots of a placement hold what it selects, and prunes the oldest. With an External strategy update runs
// do that, and the placement has no latest revision of its own.
func (p *Placer) revise(ctx context.Context, s *seen) (time.Duration, error) {
	m := &s.memory.revision
	s.noteArrival()
	if external(s.Placement) {
		m.attempt = s.memory.selection.attempt
		return 0, s.decodeBound()
	}
	if s.found != nil {
		content, err := p.Reviser.Read(ctx, s.State, *s.found, m.content)
		if err != nil {
			return 0, err
		}
		m.content = content
	}
	step, err := p.Reviser.Write(ctx, s.State, m.content)
	if err != nil {
		return 0, err
	}
	if step.Master != nil {
		m.made, m.awaited, m.ofChange = p.Now(), true, s.memory.selection.ofChange
	}
	m.attempt = s.memory.selection.attempt
	s.latest = report.Snapshot{Name: step.Latest, Index: strconv.Itoa(step.Index), Resources: m.content.Identifiers()}
	return step.Again, nil
}

// keepRevision leaves the latest revision in force, without a selection. It returns false if what that holds is not remembered.
func (s *seen) keepRevision() (bool, error) {
	s.noteArrival()
	if external(s.Placement) {
		return true, s.decodeBound()
	}
	m := s.memory.revision
	latest, ok := snapshot.Latest(s.Groups)
	if !ok || !latest.Complete() || latest.Hash() != m.content.Hash {
		return false, nil
	}
	s.latest = report.Snapshot{Name: latest.Master.GetName(), Index: latest.IndexLabel(), Resources: m.content.Identifiers()}
	return true, nil
}

// noteArrival notes how long the latest revision took to arrive.
func (s *seen) noteArrival() {
	m := &s.memory.revision
	if latest, ok := snapshot.Latest(s.Groups); ok && m.awaited && s.arrived(latest) {
		m.awaited, m.took = false, s.Now.Sub(m.made)
	}
}

// decodeBound sets bound to the revisions that bindings name and that are complete.
func (s *seen) decodeBound() error {
	bound := map[string]bool{}
	for _, b := range s.Bindings {
		bound[b.GetSpec().ResourceSnapshotName] = true
	}
	out, kept := map[string]report.Snapshot{}, map[types.UID]report.Snapshot{}
	for _, g := range s.Groups {
		if g.Master == nil || !bound[g.Master.GetName()] || !g.Complete() {
			continue
		}
		shown, ok := s.memory.revision.decoded[g.Master.GetUID()]
		if !ok {
			items, err := g.Items()
			if err != nil {
				return err
			}
			shown = report.Snapshot{Name: g.Master.GetName(), Index: g.IndexLabel(), Resources: snapshot.Content{Items: items}.Identifiers()}
		}
		out[shown.Name], kept[g.Master.GetUID()] = shown, shown
	}
	s.memory.revision.decoded = kept
	s.bound = out
	return nil
}
