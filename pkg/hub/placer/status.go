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
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// reported is what reportStatus remembers about a placement.
type reported struct {
	// progress has the placement's metric series.
	progress progress
	// delay holds back a status that only reports progress.
	delay loop.HoldBack
}

// reportStatus writes the status of a placement. If the status only reports progress and is held back, it returns for
// how long.
func (p *Placer) reportStatus(ctx context.Context, s *observed) (time.Duration, error) {
	ctx, end := trace.Step(ctx, "report")
	defer end()
	facts := report.PlacementFacts{
		Placement: s.Placement, Policy: s.policy, Bindings: s.Bindings, Latest: s.latest, Snapshots: s.bound,
		TooLarge: s.memory.revision.content.TooLarge(), Withheld: s.memory.selection.withheld,
		LeftOut: slices.Concat(s.memory.selection.leftOut, s.memory.revision.content.LeftOut()),
	}
	if latest, ok := snapshot.Latest(s.Groups); ok && latest.Master != nil && latest.Master.GetName() == facts.Latest.Name {
		facts.Course = rollout.CourseOf(latest.Master)
	}
	setHeld(s.key, report.HoldsOf(s.Bindings, s.policy))
	update := report.Placement(facts, s.stamp())
	status, rest := s.due(update)
	s.delayed = rest > 0
	if err := p.writeStatus(ctx, s, status); err != nil {
		return 0, err
	}
	return soonest(rest, update.Again), nil
}

// due returns the status to write now: the stored one if the new one only reports progress and is held back for rest.
func (s *observed) due(update report.PlacementUpdate) (status v1beta1.PlacementStatus, rest time.Duration) {
	old := s.Placement.GetStatus()
	if equality.Semantic.DeepEqual(*old, update.Status) {
		return update.Status, 0
	}
	if rest = s.memory.status.delay.Wait(update.Delay, s.Now); rest == 0 {
		return update.Status, 0
	}
	status = *old
	status.Conditions = slices.Clone(old.Conditions)
	return status, rest
}

// writeStatus writes status to the placement, to its copy and to the metrics, and records events about changes.
func (p *Placer) writeStatus(ctx context.Context, s *observed, status v1beta1.PlacementStatus) error {
	copied := p.syncCopy(ctx, s, &status)
	s.memory.status.progress.set(s.Placement, &status, s.Now)
	own := p.writeOwnStatus(ctx, s, status)
	if own == nil && !s.delayed { // whatever became of the copy
		s.memory.status.delay.End()
	}
	return errors.Join(copied, own)
}

func (p *Placer) writeOwnStatus(ctx context.Context, s *observed, status v1beta1.PlacementStatus) error {
	if equality.Semantic.DeepEqual(*s.Placement.GetStatus(), status) {
		return nil
	}
	events := report.PlacementEvents(s.Placement, &status)
	after := s.Placement.DeepCopyObject().(v1beta1.PlacementObject)
	// The client decodes the response into it, and status shares parts with the cache.
	*after.GetStatus() = *status.DeepCopy()
	if _, err := loop.WriteStatus(ctx, p.Client, s.Placement, after); err != nil {
		return err
	}
	for _, e := range events {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		p.Recorder.Event(s.Placement, kind, e.Reason, e.Message)
	}
	return nil
}
