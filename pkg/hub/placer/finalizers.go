package placer

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// addFinalizers adds the finalizers of the placer and of the scheduler in one write. Each agent removes its own.
func (p *Placer) addFinalizers(ctx context.Context, placement v1beta1.PlacementObject) error {
	before := placement.DeepCopyObject().(v1beta1.PlacementObject)
	mine := controllerutil.AddFinalizer(placement, contract.FinalizerPlacement)
	theirs := controllerutil.AddFinalizer(placement, contract.FinalizerScheduler)
	if !mine && !theirs {
		return nil
	}
	if err := p.patch(ctx, before, placement); err != nil {
		return fmt.Errorf("add the finalizers: %w", err)
	}
	return nil
}

// patch writes the difference between two states of an object, with an optimistic lock.
func (p *Placer) patch(ctx context.Context, before, after client.Object) error {
	return p.Client.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// finish deletes the snapshots of a placement that is being deleted, and removes the placer's finalizer.
func (p *Placer) finish(ctx context.Context, placement v1beta1.PlacementObject) error {
	key := client.ObjectKeyFromObject(placement)
	p.forget(key)
	if !slices.Contains(placement.GetFinalizers(), contract.FinalizerPlacement) {
		return nil
	}
	placement, err := p.abandon(ctx, placement)
	if err != nil || placement == nil {
		return err
	}
	placement, held, err := p.brake(ctx, placement)
	if err != nil || held || placement == nil {
		return err
	}
	kinds := []client.Object{scope.PolicySnapshots.New(key), scope.ResourceSnapshots.New(key)}
	if !contract.FitsLabel(key.Name) {
		kinds = nil
	}
	err = loop.Each(ctx, len(kinds), kinds, func(ctx context.Context, kind client.Object) error {
		err := p.Direct.DeleteAllOf(ctx, kind, client.InNamespace(key.Namespace), client.MatchingLabels{contract.LabelPlacement: key.Name})
		if err != nil {
			return fmt.Errorf("delete the snapshots of placement %s: %w", key, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	after := placement.DeepCopyObject().(v1beta1.PlacementObject)
	controllerutil.RemoveFinalizer(after, contract.FinalizerPlacement)
	if err := p.patch(ctx, placement, after); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove the finalizer: %w", err)
	}
	p.Recorder.Event(placement, corev1.EventTypeNormal, "PlacementCleanupFinalizerRemoved", "The snapshots are deleted")
	return nil
}

// abandon sets the condition of a placement that is being deleted with delete strategy Abandon. It returns the updated
// placement; nil if it no longer exists.
func (p *Placer) abandon(ctx context.Context, placement v1beta1.PlacementObject) (v1beta1.PlacementObject, error) {
	how := placement.GetSpec().Strategy.DeleteStrategy
	if how == nil || how.PropagationPolicy != v1beta1.DeletePropagationPolicyAbandon {
		return placement, nil
	}
	after := placement.DeepCopyObject().(v1beta1.PlacementObject)
	*after.GetStatus() = report.PlacementAbandoned(placement, metav1.NewTime(p.Now().Truncate(time.Second)))
	if _, err := loop.WriteStatus(ctx, p.Client, placement, after); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	return after, nil
}
