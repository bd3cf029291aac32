// Package evict decides what becomes of an eviction: the request to take a placement off a cluster. The placement, its bindings, its
// disruption budget and the cluster go in; a verdict comes out. The evictor carries it out.
package evict

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Facts are what an eviction is judged by.
type Facts struct {
	// Cluster is to be left.
	Cluster string
	// Namespaced is whether the eviction is about a ResourcePlacement: messages name the kind.
	Namespaced bool
	// Placement is nil if there is none.
	Placement v1beta1.PlacementObject
	// Bindings are all of the placement.
	Bindings []v1beta1.BindingObject
	// Budget is nil if there is none.
	Budget *v1beta1.PlacementDisruptionBudgetSpec
	// Spent are the bindings that other evictions are about to delete.
	Spent map[types.UID]bool
}

// Verdict is the outcome of an eviction.
type Verdict struct {
	// Valid is whether the eviction can be considered; Message says why not.
	Valid bool
	// Executed is whether the cluster is left; Message says why, or why not.
	Executed bool
	Message  string
	// Evict is the binding to delete; nil if there is none to delete (any more).
	Evict v1beta1.BindingObject
	// Spends is whether the budget allows it, and must not allow it to another one at the same time.
	Spends bool
}

// Decide judges an eviction. The first rule that applies counts; their order and words are those of the contract.
func Decide(f Facts) Verdict {
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

// decide judges a valid eviction of binding b.
func (f Facts) decide(b v1beta1.BindingObject) Verdict {
	evict := func(text string, args ...any) Verdict {
		return Verdict{Valid: true, Executed: true, Message: fmt.Sprintf(text, args...), Evict: b}
	}
	budget := f.kind() + "DisruptionBudget"
	switch {
	case !b.GetDeletionTimestamp().IsZero():
		return Leaving()
	case !delivery.MayHaveContent(b.GetSpec().State, delivery.Previous(b), ""): // the contract of evictions goes by the note alone
		return blocked("Eviction is blocked, placement has not propagated resources to target cluster yet")
	case failed(b):
		return evict("Eviction is allowed, placement has failed")
	case f.Budget == nil:
		return evict("Eviction is allowed, no %s specified", budget)
	case len(validate.DisruptionBudget(f.Budget, f.Placement)) > 0:
		return blocked("Eviction is blocked by misconfigured %s, either MaxUnavailable is specified or "+
			"MinAvailable is specified as a percentage for PickAll %s", budget, f.kind())
	}
	available := f.available(b)
	if !f.allows(available) {
		return blocked("Eviction is blocked by specified %s, availablePlacements: %d, totalPlacements: %d", budget, available, len(f.Bindings))
	}
	v := evict("Eviction is allowed by specified %s, availablePlacements: %d, totalPlacements: %d", budget, available, len(f.Bindings))
	v.Spends = true
	return v
}

// Leaving is the verdict about a cluster that is being left already.
func Leaving() Verdict {
	return Verdict{Valid: true, Executed: true,
		Message: "Eviction is allowed, resources propagated by placement is currently being removed from cluster targeted by eviction"}
}

func invalid(text string) Verdict { return Verdict{Message: text} }

func blocked(text string, args ...any) Verdict {
	return Verdict{Valid: true, Message: fmt.Sprintf(text, args...)}
}

// kind is the kind of the placement.
func (f Facts) kind() string {
	if f.Namespaced {
		return "ResourcePlacement"
	}
	return "ClusterResourcePlacement"
}

// failed says whether the binding's content is not up on the cluster, or is only compared there: leaving it then takes nothing away.
func failed(b v1beta1.BindingObject) bool {
	status := delivery.StatusOf(b)
	for _, kind := range delivery.Outcome() {
		if c := status.Current(kind); c != nil && c.Status == metav1.ConditionFalse && delivery.MeaningOf(*c, status.FailedObjects) != delivery.Pending {
			return true
		}
	}
	return status.Current(v1beta1.ConditionDiffReported) != nil
}

// available counts the clusters on which the placement is available, as far as other evictions let them. The target counts as
// it is.
func (f Facts) available(target v1beta1.BindingObject) int {
	n := 0
	for _, b := range f.Bindings {
		going := !b.GetDeletionTimestamp().IsZero() || f.Spent[b.GetUID()] && b.GetUID() != target.GetUID()
		if !going && delivery.StatusOf(b).Is(v1beta1.ConditionAvailable, metav1.ConditionTrue) {
			n++
		}
	}
	return n
}

// allows says whether the budget lets one more cluster go when available ones are left. A cluster that is wanted and not there at all
// counts as unavailable: else the budget would be whole again as soon as evicted clusters are gone. The contract counts only what is there;
// wherever it fixes an outcome all wanted clusters are there, and both come to the same.
func (f Facts) allows(available int) bool {
	desired := 0
	if policy := f.Placement.GetSpec().Policy; policy != nil {
		desired = int(ptr.Deref(policy.NumberOfClusters, 0))
	}
	switch {
	case f.Budget.MaxUnavailable != nil:
		most, err := intstr.GetScaledValueFromIntOrPercent(f.Budget.MaxUnavailable, desired, true)
		return err == nil && most-(max(len(f.Bindings), desired)-available) > 0
	case f.Budget.MinAvailable != nil:
		least, err := intstr.GetScaledValueFromIntOrPercent(f.Budget.MinAvailable, desired, true)
		return err == nil && available-least > 0
	}
	return false
}
