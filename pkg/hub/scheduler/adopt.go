package scheduler

import (
	"context"
	"fmt"
	"slices"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// ours are the bindings to decide about: those of the placement, and those of earlier placements of its name to
// clusters to which it has no binding itself. After a restore that gives placements new UIDs, these bindings keep the
// placed objects, and are adopted if the placement still picks their cluster.
func ours(placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject) []v1beta1.BindingObject {
	own := map[string]bool{}
	for _, b := range bindings {
		if scope.Of(b, placement) && b.GetDeletionTimestamp().IsZero() {
			own[b.GetSpec().TargetCluster] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(bindings), func(b v1beta1.BindingObject) bool {
		return !scope.Of(b, placement) && b.GetDeletionTimestamp().IsZero() && own[b.GetSpec().TargetCluster]
	})
}

// adoptable reports whether a binding needs the placement's mark: an earlier version created it without one, or it is
// an earlier placement's, to a cluster that is picked. Other bindings of earlier placements are kept: the dispatcher's
// condition on them describes what to do.
func adoptable(placement v1beta1.PlacementObject, b v1beta1.BindingObject, decision schedule.Decision) bool {
	if !b.GetDeletionTimestamp().IsZero() || scope.Marked(b) && scope.Of(b, placement) {
		return false
	}
	verdict, ok := decision.Of(b.GetSpec().TargetCluster)
	return !scope.Marked(b) || ok && verdict.Outcome.Selected()
}

// adopt marks a binding as the placement's.
func (s *Scheduler) adopt(ctx context.Context, placement v1beta1.PlacementObject, seen v1beta1.BindingObject) error {
	binding := seen.DeepCopyObject().(v1beta1.BindingObject)
	mark(placement, binding)
	err := s.Client.Patch(ctx, binding, client.MergeFromWithOptions(seen, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("adopt binding %s: %w", client.ObjectKeyFromObject(seen), err)
	}
	ctrl.LoggerFrom(ctx).Info("Adopted binding", "binding", binding.GetName(), "cluster", binding.GetSpec().TargetCluster)
	return nil
}

func mark(placement v1beta1.PlacementObject, binding v1beta1.BindingObject) {
	annotations := binding.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[contract.AnnotationPlacementUID] = string(placement.GetUID())
	binding.SetAnnotations(annotations)
}
