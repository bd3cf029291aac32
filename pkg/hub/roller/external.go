package roller

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/rollout"
)

// observeExchanges reads what rollout.Purge needs of a placement that update runs roll out; nil if there is nothing for
// it to delete.
func (r *Roller) observeExchanges(ctx context.Context, placement v1beta1.PlacementObject) (*observed, error) {
	key := client.ObjectKeyFromObject(placement)
	bindings, err := r.bindings(ctx, placement)
	if err != nil {
		return nil, err
	}
	all := slices.Collect(maps.Values(bindings))
	exchanged := func(b v1beta1.BindingObject) bool { return failover.Exchanged(b, all) }
	if !slices.ContainsFunc(all, exchanged) {
		return nil, nil
	}
	out := &observed{placement: key, of: placement, bindings: bindings, external: true}
	if out.clusters, err = r.clustersOf(ctx, bindings); err != nil {
		return nil, err
	}
	for _, b := range all {
		facts := factsOf(b, out.clusters[b.GetSpec().TargetCluster], r.Now())
		facts.Exchanged = exchanged(b)
		out.facts = append(out.facts, facts)
	}
	spec := placement.GetSpec()
	if out.budget, err = rollout.BudgetOf(v1beta1.RolloutStrategy{}, rollout.Target(spec.Policy, out.facts)); err != nil {
		return nil, fmt.Errorf("placement %s: %w", key, err)
	}
	out.budget.MaxUnavailable, out.budget.MaxSurge = 0, 0
	out.budget.Short, out.budget.Purge = short(placement), purge(placement)
	return out, nil
}
