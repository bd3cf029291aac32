package placer

import (
	"context"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/hub/revise"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// revision is what revise remembers about a placement's latest revision.
type revision struct {
	// attempt is the attempt of the selection that the revision contains.
	attempt int
	// content is the content of that selection.
	content revise.Content
	// decoded has the snapshots that bindings name, by the UID of the master, with strategy External.
	decoded map[types.UID]report.Snapshot
}

// revise creates a revision if the selected objects differ from the latest one, and prunes the oldest. With strategy
// External update runs do that, and the status reports no latest revision.
func (p *Placer) revise(ctx context.Context, s *observed) (time.Duration, error) {
	m := &s.memory.revision
	if external(s.Placement) {
		m.attempt = s.memory.selection.attempt
		return 0, s.decodeBound()
	}
	if s.found != nil {
		content, err := p.read(ctx, s)
		if err != nil {
			return 0, err
		}
		m.content = content
	}
	writing, written := trace.Step(ctx, "write revision")
	step, err := p.Reviser.Write(writing, s.State, m.content)
	written()
	if err != nil {
		return 0, err
	}
	m.attempt = s.memory.selection.attempt
	s.latest = report.Snapshot{Name: step.Latest, Index: strconv.Itoa(step.Index), Resources: m.content.Identifiers()}
	return step.Again, nil
}

// read reads the contents of the new selection.
func (p *Placer) read(ctx context.Context, s *observed) (revise.Content, error) {
	ctx, end := trace.Step(ctx, "read contents")
	defer end()
	return p.Reviser.Read(ctx, s.State, *s.found, s.memory.revision.content)
}

// keepRevision keeps the latest revision without a selection. It returns false if the content of that revision is not
// in memory.
func (s *observed) keepRevision() (bool, error) {
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

// decodeBound sets bound to the complete revisions that bindings name.
func (s *observed) decodeBound() error {
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
