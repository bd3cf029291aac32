// Package evict decides on evictions: requests to remove a placement from a cluster. The placement, its bindings, its
// disruption budget and the cluster go in; an outcome comes out. hub/evictor carries it out.
package evict

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Facts are what an eviction is decided from.
type Facts struct {
	// Cluster is the cluster from which the placement is removed.
	Cluster string
	// Namespaced is whether the eviction is about a ResourcePlacement: messages name the kind.
	Namespaced bool
	// Placement is nil if there is none.
	Placement v1beta1.PlacementObject
	// Bindings are all bindings of the placement.
	Bindings []v1beta1.BindingObject
	// Budget is nil if there is none.
	Budget *v1beta1.PlacementDisruptionBudgetSpec
	// Unheard are clusters whose next heartbeat is late, or that are not in the fleet.
	Unheard map[string]bool
	// Spent are the bindings that other evictions are about to delete.
	Spent map[types.UID]bool
}

// Outcome is the outcome of an eviction.
type Outcome struct {
	// Valid is whether the eviction names a placement and a cluster that can be evicted; if not, Message is why.
	Valid bool
	// Executed is whether a valid eviction is executed; Message is why, or why not.
	Executed bool
	Message  string
	// Evict is the binding to delete; nil if there is none, or it is being deleted.
	Evict v1beta1.BindingObject
	// Spends is whether the eviction takes from the budget what no other eviction may take at the same time.
	Spends bool
}

// Decide decides on an eviction. The first rule that applies counts; order and messages are those of the contract.
func Decide(f Facts) Outcome {
	if f.Placement == nil {
		return invalid("Failed to find " + f.kind() + " targeted by eviction")
	}
	if wrong := validate.Eviction(f.Placement); len(wrong) > 0 {
		return invalid(wrong[0].Detail)
	}
	var targets []v1beta1.BindingObject
	for _, b := range f.Bindings {
		if b.GetSpec().TargetCluster == f.Cluster {
			targets = append(targets, b)
		}
	}
	switch {
	case len(targets) > 1:
		return invalid("Found more than one scheduler decision for placement in cluster targeted by eviction")
	case len(targets) == 0:
		return invalid("Failed to find scheduler decision for placement in cluster targeted by eviction")
	}
	return f.decide(targets[0])
}

// decide decides on a valid eviction of binding b.
func (f Facts) decide(b v1beta1.BindingObject) Outcome {
	evict := func(text string, args ...any) Outcome {
		return Outcome{Valid: true, Executed: true, Message: fmt.Sprintf(text, args...), Evict: b}
	}
	budget := f.kind() + "DisruptionBudget"
	switch {
	case !b.GetDeletionTimestamp().IsZero():
		return Leaving()
	case !delivery.MayHaveContent(b.GetSpec().State, delivery.Previous(b), ""): // the contract of evictions goes by the annotation alone
		return blocked("Eviction is blocked, placement has not propagated resources to target cluster yet")
	case failed(b):
		return evict("Eviction is allowed, placement has failed")
	case f.Budget == nil:
		return evict("Eviction is allowed, no %s specified", budget)
	case len(validate.DisruptionBudget(f.Budget, f.Placement)) > 0:
		return blocked("Eviction is blocked by misconfigured %s, either MaxUnavailable is specified or "+
			"MinAvailable is specified as a percentage for PickAll %s", budget, f.kind())
	}
	n := f.count(b)
	if !f.allows(n) {
		return blocked("Eviction is blocked by specified %s, availablePlacements: %d, totalPlacements: %d", budget, n.available, n.total)
	}
	v := evict("Eviction is allowed by specified %s, availablePlacements: %d, totalPlacements: %d", budget, n.available, n.total)
	v.Spends = true
	return v
}

// Leaving is the outcome for a binding that is being deleted already.
func Leaving() Outcome {
	return Outcome{Valid: true, Executed: true,
		Message: "Eviction is allowed, resources propagated by placement is currently being removed from cluster targeted by eviction"}
}

func invalid(text string) Outcome { return Outcome{Message: text} }

func blocked(text string, args ...any) Outcome {
	return Outcome{Valid: true, Message: fmt.Sprintf(text, args...)}
}

// kind is the kind of the placement.
func (f Facts) kind() string {
	if f.Namespaced {
		return "ResourcePlacement"
	}
	return "ClusterResourcePlacement"
}

// failed returns whether the binding's content failed on the cluster, or is only compared there: then an eviction
// makes nothing unavailable.
func failed(b v1beta1.BindingObject) bool {
	status := delivery.StatusOf(b)
	for _, kind := range delivery.Outcome() {
		if c := status.Current(kind); c != nil && c.Status == metav1.ConditionFalse && delivery.MeaningOf(*c, status.FailedObjects) != delivery.Pending {
			return true
		}
	}
	return status.Current(v1beta1.ConditionDiffReported) != nil
}

// count is the clusters that a budget counts.
type count struct{ available, total int }

// count counts the clusters, and those on which the placement is available, without those that other evictions are
// about to remove. The target counts as it is. As in a rollout, clusters that the scheduler gave up do not count if
// they are not heard, because their last report may be out of date, nor if another one replaces them: the replacement
// counts in their place.
func (f Facts) count(target v1beta1.BindingObject) (out count) {
	for _, b := range f.Bindings {
		if f.isParked(b) {
			continue
		}
		out.total++
		leaves := !b.GetDeletionTimestamp().IsZero() || f.Spent[b.GetUID()] && b.GetUID() != target.GetUID()
		if !leaves && delivery.StatusOf(b).Is(v1beta1.ConditionAvailable, metav1.ConditionTrue) {
			out.available++
		}
	}
	return out
}

// isParked returns whether the scheduler gave up the binding, and its cluster is not heard or another one replaces it.
func (f Facts) isParked(b v1beta1.BindingObject) bool {
	spec := b.GetSpec()
	return spec.State == v1beta1.BindingStateUnscheduled && (f.Unheard[spec.TargetCluster] || failover.ReplacedBy(b) != nil)
}

// allows returns whether the budget allows one more eviction from these clusters. A cluster that is wanted and has no
// binding counts as unavailable: else the budget would be full again as soon as evicted bindings are deleted. The
// contract counts only existing bindings; in the cases for which it fixes an outcome all wanted clusters have one, and
// both counts are the same.
func (f Facts) allows(c count) bool {
	desired := 0
	if policy := f.Placement.GetSpec().Policy; policy != nil {
		desired = int(ptr.Deref(policy.NumberOfClusters, 0))
	}
	switch {
	case f.Budget.MaxUnavailable != nil:
		most, err := intstr.GetScaledValueFromIntOrPercent(f.Budget.MaxUnavailable, desired, true)
		return err == nil && most-(max(c.total, desired)-c.available) > 0
	case f.Budget.MinAvailable != nil:
		least, err := intstr.GetScaledValueFromIntOrPercent(f.Budget.MinAvailable, desired, true)
		return err == nil && c.available-least > 0
	}
	return false
}
