package testworld

import (
	"fmt"
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Applying sets how objects are applied.
func Applying(strategy v1beta1.ApplyStrategy) Option {
	return func(s *v1beta1.PlacementSpec) { s.Strategy.ApplyStrategy = &strategy }
}

// DiffReported is a placement that has reported differences on these clusters.
func DiffReported(clusters ...string) Status {
	return stopped(fmt.Sprintf("DIFFREPORTED%v", clusters), 4, clusters,
		yes(v1beta1.ConditionDiffReported, v1beta1.ReasonDiffReportingCompleted),
		yes(v1beta1.ConditionDiffReported, v1beta1.ReasonAllWorkHaveDiffReported))
}

// DiffFailed is a placement that cannot report differences on any of these clusters.
func DiffFailed(clusters ...string) Status {
	return stopped(fmt.Sprintf("DIFFFAILED%v", clusters), 4, clusters,
		no(v1beta1.ConditionDiffReported, v1beta1.ReasonDiffReportingIncompleteOrFailed),
		no(v1beta1.ConditionDiffReported, v1beta1.ReasonNotAllWorkHaveDiffReported))
}

// FailingOn is s when it fails to apply on more clusters.
func (s Status) FailingOn(clusters ...string) Status {
	out := s
	out.clusters = map[string][]expected{}
	for name, conditions := range s.clusters {
		out.clusters[name] = conditions
	}
	for _, name := range clusters {
		failed := ApplyFailed(name, name)
		out.placement, out.clusters[name] = failed.placement, failed.clusters[name]
	}
	out.name = fmt.Sprintf("%s, APPLYFAILED%v", s.name, clusters)
	return out
}

// Blocked is s when its rollout has not started on some of its clusters, because too many are unavailable.
func (s Status) Blocked(clusters ...string) Status {
	blocked := no(v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutNotStartedYet)
	out := stopped(fmt.Sprintf("%s, BLOCKED%v", s.name, clusters), 1, clusters, blocked, blocked)
	for name, conditions := range s.clusters {
		if !slices.Contains(clusters, name) {
			out.clusters[name] = conditions
		}
	}
	out.index, out.orNext = s.index, s.orNext
	return out
}
