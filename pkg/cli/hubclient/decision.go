package hubclient

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// ActiveRun names an update run of the placement that is active; it is empty if there is none, or if the strategy is
// not External.
func ActiveRun(ctx context.Context, hub client.Reader, placement v1beta1.PlacementObject) (string, error) {
	if placement.GetSpec().Strategy.Type != v1beta1.RolloutStrategyTypeExternal {
		return "", nil
	}
	runs, err := scope.UpdateRuns.List(ctx, hub, placement.GetNamespace())
	return delivery.ActiveRun(runs, placement), err
}

// Others reads the placements to which the policy of a placement refers, and what they have picked. The error joins
// those of all resources that could not be read.
func Others(ctx context.Context, hub client.Reader, key types.NamespacedName, policy *v1beta1.PlacementPolicy) ([]schedule.Placement, error) {
	selection := schedule.SelectionOf(policy)
	if selection.Empty() {
		return nil, nil
	}
	placements, errPlacements := scope.Placements.List(ctx, hub, key.Namespace)
	bindings, errBindings := scope.Bindings.List(ctx, hub, key.Namespace, client.HasLabels{contract.LabelPlacement})
	if err := errors.Join(errPlacements, errBindings); err != nil {
		return nil, err
	}
	of := map[string][]v1beta1.BindingObject{}
	for _, b := range bindings {
		of[b.GetLabels()[contract.LabelPlacement]] = append(of[b.GetLabels()[contract.LabelPlacement]], b)
	}
	var out []schedule.Placement
	for _, p := range placements {
		if p.GetName() != key.Name && selection.Has(p.GetName(), p.GetLabels()) {
			out = append(out, schedule.PlacementOf(p, of[p.GetName()]))
		}
	}
	return out, nil
}
