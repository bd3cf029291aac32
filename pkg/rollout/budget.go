package rollout

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// What a placement's limits are where it sets none.
const (
	defaultShare  = "25%"
	defaultPeriod = 60 * time.Second
)

// BudgetOf reads the limits of a placement that wants target clusters. Shares are of target and are rounded up. The error is about a
// value that the API does not accept.
func BudgetOf(config *v1beta1.RollingUpdateConfig, target int) (Budget, error) {
	if config == nil {
		config = &v1beta1.RollingUpdateConfig{}
	}
	b := Budget{Target: target, Period: defaultPeriod}
	if config.UnavailablePeriodSeconds != nil {
		b.Period = time.Duration(*config.UnavailablePeriodSeconds) * time.Second
	}
	var err error
	if b.MaxUnavailable, err = clusters(config.MaxUnavailable, target); err != nil {
		return Budget{}, fmt.Errorf("read maxUnavailable: %w", err)
	}
	if b.MaxSurge, err = clusters(config.MaxSurge, target); err != nil {
		return Budget{}, fmt.Errorf("read maxSurge: %w", err)
	}
	return b, nil
}

func clusters(value *intstr.IntOrString, target int) (int, error) {
	return intstr.GetScaledValueFromIntOrPercent(ptr.To(ptr.Deref(value, intstr.FromString(defaultShare))), target, true)
}

// Target is how many clusters a placement with policy wants. For PickAll that is what the scheduler wants at present: the bindings
// in seen that are not given up, counting one that is being deleted while it may have content.
func Target(policy *v1beta1.PlacementPolicy, seen []Binding) int {
	if policy != nil && policy.PlacementType == v1beta1.PlacementTypePickFixed {
		return len(policy.ClusterNames)
	}
	if policy != nil && policy.PlacementType == v1beta1.PlacementTypePickN {
		return int(ptr.Deref(policy.NumberOfClusters, 0))
	}
	n := 0
	for _, b := range seen {
		if !b.Gone && (b.State == v1beta1.BindingStateBound || b.State == v1beta1.BindingStateScheduled && !b.Deleting) {
			n++
		}
	}
	return n
}

// Strategy is a copy of the apply strategy with all defaults filled in, as the API would.
func Strategy(s *v1beta1.ApplyStrategy) v1beta1.ApplyStrategy {
	out := v1beta1.ApplyStrategy{}
	if s != nil {
		out = *s.DeepCopy()
	}
	if out.ComparisonOption == "" {
		out.ComparisonOption = v1beta1.ComparisonOptionPartialComparison
	}
	if out.WhenToApply == "" {
		out.WhenToApply = v1beta1.WhenToApplyAlways
	}
	if out.Type == "" {
		out.Type = v1beta1.ApplyStrategyTypeClientSideApply
	}
	if out.WhenToTakeOver == "" {
		out.WhenToTakeOver = v1beta1.WhenToTakeOverAlways
	}
	if out.Type == v1beta1.ApplyStrategyTypeServerSideApply && out.ServerSideApplyConfig == nil {
		out.ServerSideApplyConfig = &v1beta1.ServerSideApplyConfig{}
	}
	return out
}

// SameStrategy says whether has means want, which has all defaults filled in.
func SameStrategy(has *v1beta1.ApplyStrategy, want v1beta1.ApplyStrategy) bool {
	return equality.Semantic.DeepEqual(Strategy(has), want)
}
