package roller

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/hub/give"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// lookAt computes the facts of the bindings. While a rejection stands it also looks whether what bindings return to
// still exists.
func (r *Roller) lookAt(ctx context.Context, s *observed) error {
	s.facts = s.facts[:0]
	search := give.Search{Client: r.Client, Direct: r.Direct}
	for _, b := range s.bindings {
		facts := factsOf(b, s.clusters[b.GetSpec().TargetCluster], r.Now())
		if s.want.Course.Spent != nil && rollout.Affected(facts, s.want.Snapshot, s.want.Course) && facts.Before() != nil {
			lost, err := search.Lost(ctx, s.placement.Namespace, *facts.Before())
			if err != nil {
				return err
			}
			if lost != nil {
				facts.Lost = lost.Gone()
			}
		}
		s.facts = append(s.facts, facts)
	}
	return nil
}

// observeNow reads the bindings again, from the API server.
func (r *Roller) observeNow(ctx context.Context, key types.NamespacedName, s *observed) error {
	list, err := scope.Bindings.List(ctx, r.Direct, key.Namespace, client.MatchingLabels{contract.LabelPlacement: key.Name})
	if err != nil {
		return err
	}
	s.bindings = make(map[string]v1beta1.BindingObject, len(list))
	for _, b := range scope.OnlyOf(s.of, list) {
		s.bindings[b.GetName()] = b
	}
	return r.lookAt(ctx, s)
}
