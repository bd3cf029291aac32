package placer

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// reported is what reportStatus keeps of a placement.
type reported struct {
	// progress is what the metrics hold.
	progress progress
	// held is for a status that only reports progress.
	held loop.HoldBack
}

// reportStatus writes the status of a placement, or returns when to look again if that only reports progress and is held back.
func (p *Placer) reportStatus(ctx context.Context, s *seen) (time.Duration, error) {
	facts := report.PlacementFacts{
		Placement: s.Placement, Policy: s.policy, Bindings: s.Bindings, Latest: s.latest, Snapshots: s.bound,
		TooLarge: s.memory.revision.content.TooLarge(), Withheld: s.memory.selection.withheld,
		Kept: slices.Concat(s.memory.selection.kept, s.memory.revision.content.Kept()),
	}
	if latest, ok := snapshot.Latest(s.Groups); ok && latest.Master != nil && latest.Master.GetName() == facts.Latest.Name {
		facts.Course = rollout.CourseOf(latest.Master)
	}
	verdict := report.Placement(facts, s.stamp())
	status, rest := s.due(verdict)
	if err := p.writeStatus(ctx, s, status); err != nil {
		return 0, err
	}
	if rest == 0 {
		s.memory.status.held.End()
	}
	return soonest(rest, verdict.Again), nil
}

// due is the status that a placement should have now: the one it has if the new one only reports progress and may be held back for
// a while longer, which is rest.
func (s *seen) due(verdict report.PlacementVerdict) (status v1beta1.PlacementStatus, rest time.Duration) {
	old := s.Placement.GetStatus()
	if equality.Semantic.DeepEqual(*old, verdict.Status) {
		return verdict.Status, 0
	}
	if rest = s.memory.status.held.Wait(verdict.Hold, s.Now); rest == 0 {
		return verdict.Status, 0
	}
	status = *old
	status.Conditions = slices.Clone(old.Conditions)
	return status, rest
}

// writeStatus makes status that of the placement, of its copy and of the metrics, and records events about what is new in it.
func (p *Placer) writeStatus(ctx context.Context, s *seen, status v1beta1.PlacementStatus) error {
	copied := p.syncCopy(ctx, s, &status)
	s.memory.status.progress.set(s.Placement, &status, s.Now)
	if equality.Semantic.DeepEqual(*s.Placement.GetStatus(), status) {
		return copied
	}
	news := report.PlacementNews(s.Placement, &status)
	after := s.Placement.DeepCopyObject().(v1beta1.PlacementObject)
	// What the API server answers is read into it, and parts of status are the cache's.
	*after.GetStatus() = *status.DeepCopy()
	if _, err := loop.WriteStatus(ctx, p.Client, s.Placement, after); err != nil {
		return errors.Join(copied, err)
	}
	for _, n := range news {
		kind := corev1.EventTypeNormal
		if n.Warning {
			kind = corev1.EventTypeWarning
		}
		p.Recorder.Event(s.Placement, kind, n.Reason, n.Message)
	}
	return copied
}
