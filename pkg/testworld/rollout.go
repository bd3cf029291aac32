package testworld

import (
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Blocked is a placement whose rollout is blocked: clusters at have the new content, which is not available there, and
// the others wait.
func Blocked(at []string, waiting ...string) Status {
	s := Complete()
	s.name = "BLOCKED"
	s.placement = append(slices.Clone(completePlacement[:1]), no(v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutNotStartedYet))
	for _, c := range at {
		s.clusters[c] = append(slices.Clone(completeCluster[:5]), no(v1beta1.ConditionAvailable, v1beta1.ReasonNotAllWorkAreAvailable))
	}
	for _, c := range waiting {
		s.clusters[c] = append(slices.Clone(completeCluster[:1]), no(v1beta1.ConditionRolloutStarted, v1beta1.ReasonRolloutNotStartedYet))
	}
	return s
}
