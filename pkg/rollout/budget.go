package rollout

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// The limits of a placement that sets none.
const (
	defaultShare  = "25%"
	defaultPeriod = 60 * time.Second
)

// BudgetOf reads the limits of a placement that wants target clusters. Percentages are of target and are rounded up,
// but for the failure budget, which is rounded down. It returns an error for a value that the API does not accept.
func BudgetOf(strategy v1beta1.RolloutStrategy, target int) (Budget, error) {
	config := strategy.RollingUpdate
	if wrong := validate.RollingUpdate(config, field.NewPath("spec", "strategy", "rollingUpdate")); len(wrong) > 0 {
		return Budget{}, wrong.ToAggregate()
	}
	if config == nil {
		config = &v1beta1.RollingUpdateConfig{}
	}
	b := Budget{Target: target, Period: defaultPeriod}
	if config.UnavailablePeriodSeconds != nil {
		b.Period = time.Duration(min(*config.UnavailablePeriodSeconds, int(math.MaxInt64/time.Second))) * time.Second
	}
	var err error
	if b.MaxUnavailable, err = Share(config.MaxUnavailable, target); err != nil {
		return Budget{}, fmt.Errorf("read maxUnavailable: %w", err)
	}
	if b.MaxSurge, err = Share(config.MaxSurge, target); err != nil {
		return Budget{}, fmt.Errorf("read maxSurge: %w", err)
	}
	if b.Policy, err = policyOf(config.FailurePolicy, strategy.ApplyStrategy, target); err != nil {
		return Budget{}, err
	}
	return b, nil
}

// Share reads a number, which the API accepts as text too, or a percentage of target, rounded up; nil is the default
// of the rollout limits.
func Share(value *intstr.IntOrString, target int) (int, error) {
	share := ptr.Deref(value, intstr.FromString(defaultShare))
	if n, err := strconv.ParseInt(share.StrVal, 10, 32); err == nil || errors.Is(err, strconv.ErrRange) {
		return int(n), nil // ParseInt returns the greatest number for one out of range
	}
	return intstr.GetScaledValueFromIntOrPercent(&share, target, true)
}

// Target is how many clusters a placement with policy wants. For PickAll that is how many the scheduler picks now: the
// bindings that are not given up, counting one that is being deleted while it may have content. Clusters that a policy
// gives up, and that are held, are wanted besides those that it picks.
func Target(policy *v1beta1.PlacementPolicy, bindings []Binding) int {
	if policy != nil && policy.PlacementType == v1beta1.PlacementTypePickFixed {
		return len(policy.ClusterNames) + held(bindings)
	}
	if policy != nil && policy.PlacementType == v1beta1.PlacementTypePickN {
		return int(ptr.Deref(policy.NumberOfClusters, 0)) + held(bindings)
	}
	return wanted(bindings)
}

// held counts the bindings to clusters of the fleet that stay only because it is held that they are given up.
func held(bindings []Binding) int {
	n := 0
	for _, b := range bindings {
		if b.Stays && !b.Gone && b.wanted() {
			n++
		}
	}
	return n
}

// wanted counts the bindings to clusters of the fleet that are not given up.
func wanted(bindings []Binding) int {
	n := 0
	for _, b := range bindings {
		if !b.Gone && b.wanted() {
			n++
		}
	}
	return n
}

// wanted returns whether the binding is not given up; one that is being deleted counts while it may have content.
func (b Binding) wanted() bool {
	return b.State == v1beta1.BindingStateBound || b.State == v1beta1.BindingStateScheduled && !b.Deleting
}
