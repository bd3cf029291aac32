package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// cleanUp deletes every binding of a placement that is being deleted, once, and then removes the scheduler's finalizer
// from the placement, after the placer's: of two writes at the same time, one would be made again. The bindings remain
// until their objects are removed, which the dispatcher handles.
func (s *Scheduler) cleanUp(ctx context.Context, placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject) error {
	if err := s.releaseUnplaced(ctx, bindings); err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(placement)
	if !controllerutil.ContainsFinalizer(placement, contract.FinalizerScheduler) || s.letGo.has(key, placement.GetUID()) {
		return nil
	}
	s.granted.Done(placement.GetUID())
	if removal.Waits(placement, s.Removal) {
		ctrl.LoggerFrom(ctx).V(1).Info("Waiting until the placer has decided whether the deletion is held")
		return nil
	}
	// Until the cache shows that they are being deleted, another pass would delete them again.
	if !s.began.has(key, placement.GetUID()) {
		if err := deleteAll(ctx, s.Client, bindings); err != nil {
			return err
		}
		s.began.add(key, placement.GetUID())
	}
	if controllerutil.ContainsFinalizer(placement, contract.FinalizerPlacement) {
		return nil // its removal is an event
	}
	// The cache of a new leader may lack bindings that the last one created, and no agent looks for the bindings of a
	// placement that is gone.
	live, err := s.undeleted(ctx, placement)
	if err != nil {
		return err
	}
	if err := deleteAll(ctx, s.Client, live); err != nil {
		return err
	}
	before := placement.DeepCopyObject().(client.Object)
	controllerutil.RemoveFinalizer(placement, contract.FinalizerScheduler)
	if err := s.Client.Patch(ctx, placement, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove the scheduler's finalizer from placement %s: %w", key, err)
	}
	s.letGo.add(key, placement.GetUID())
	ctrl.LoggerFrom(ctx).Info("Deleted the bindings of the placement")
	return nil
}

func (s *Scheduler) undeleted(ctx context.Context, placement client.Object) ([]*metav1.PartialObjectMetadata, error) {
	if !contract.FitsLabel(placement.GetName()) {
		return nil, nil // it never had any: they need its name as a label
	}
	bindings, err := scope.Bindings.ListMetadata(ctx, s.Direct, placement.GetNamespace(), client.MatchingLabels{contract.LabelPlacement: placement.GetName()})
	if err != nil {
		return nil, fmt.Errorf("list the remaining bindings of placement %s: %w", client.ObjectKeyFromObject(placement), err)
	}
	out := make([]*metav1.PartialObjectMetadata, len(bindings))
	for i := range bindings {
		out[i] = &bindings[i]
	}
	return out, nil
}

// deleteAll deletes the bindings that are not being deleted yet.
func deleteAll[B metav1.Object](ctx context.Context, c client.Client, bindings []B) error {
	var deletes []func(context.Context) error
	for _, b := range bindings {
		if !b.GetDeletionTimestamp().IsZero() {
			continue
		}
		deletes = append(deletes, func(ctx context.Context) error {
			// The client writes the server's answer into its argument, and b may be the cache's.
			key := types.NamespacedName{Namespace: b.GetNamespace(), Name: b.GetName()}
			doomed := scope.Bindings.New(key)
			doomed.SetNamespace(b.GetNamespace())
			doomed.SetName(b.GetName())
			err := c.Delete(ctx, doomed, client.Preconditions(metav1.Preconditions{UID: ptr.To(b.GetUID())}))
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete binding %s: %w", key, err)
			}
			return nil
		})
	}
	return loop.All(ctx, writersPerPlacement, deletes...)
}

// releaseUnplaced releases the deleted bindings of a placement that is gone or being deleted, if nothing was placed
// through them. The dispatcher releases the others, in the same write in which it reports that all objects are
// removed.
func (s *Scheduler) releaseUnplaced(ctx context.Context, bindings []v1beta1.BindingObject) error {
	var errs []error
	for _, b := range bindings {
		if !b.GetDeletionTimestamp().IsZero() && !controllerutil.ContainsFinalizer(b, contract.FinalizerWork) {
			errs = append(errs, s.release(ctx, b))
		}
	}
	return errors.Join(errs...)
}

// releaseDeleted releases the deleted bindings of a placement that is not being deleted and for which no decision is
// possible yet.
func (s *Scheduler) releaseDeleted(ctx context.Context, bindings []v1beta1.BindingObject) error {
	var errs []error
	for _, b := range bindings {
		if !b.GetDeletionTimestamp().IsZero() {
			errs = append(errs, s.release(ctx, b))
		}
	}
	return errors.Join(errs...)
}

// release removes the scheduler's finalizer from a binding that is being deleted.
func (s *Scheduler) release(ctx context.Context, seen v1beta1.BindingObject) error {
	if !controllerutil.ContainsFinalizer(seen, contract.FinalizerBinding) {
		return nil
	}
	binding := seen.DeepCopyObject().(v1beta1.BindingObject)
	controllerutil.RemoveFinalizer(binding, contract.FinalizerBinding)
	if err := s.Client.Patch(ctx, binding, client.MergeFromWithOptions(seen, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove the scheduler's finalizer from binding %s: %w", client.ObjectKeyFromObject(seen), err)
	}
	return nil
}

// once remembers placements for which something was done once, until the cache shows that they are gone. The answer to
// the write that removes the last finalizer does not tell when that is.
type once struct {
	mu   sync.Mutex
	uids map[types.NamespacedName]types.UID
}

func (o *once) add(key types.NamespacedName, uid types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.uids == nil {
		o.uids = map[types.NamespacedName]types.UID{}
	}
	o.uids[key] = uid
}

func (o *once) has(key types.NamespacedName, uid types.UID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.uids[key] == uid
}

func (o *once) forget(key types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.uids, key)
}
