// Package overrider keeps the snapshots of overrides: one for each spec an override has had, of which rollouts use the latest. It reads
// overrides, their snapshots and the bindings that name these, from the cache, and asks package snapshot what to keep.
package overrider

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

const owner = client.FieldOwner(contract.ManagerOverride)

// Overrider reconciles overrides of both scopes.
type Overrider struct {
	// Client reads from the cache, in which scope.Index has registered its indexes, and sees its own writes.
	Client client.Client
	// Workers is how many overrides are looked at at once.
	Workers int
	// Namespaced is whether ResourceBindings are served, which may name snapshots.
	Namespaced bool
	// Recorder takes the events of overrides.
	Recorder record.EventRecorder
	// Patience is how long an override may do nothing before it says so.
	Patience time.Duration
	// Now is the clock.
	Now func() time.Time

	young young
}

// SetupWithManager starts the overrider with mgr. After a start every override is looked at once.
func (o *Overrider) SetupWithManager(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("overrider").WithOptions(loop.Options(o.Workers))
	for _, kind := range scope.Overrides.Both() {
		b = b.Watches(kind, &handler.EnqueueRequestForObject{}, builder.WithPredicates(overrides()))
	}
	for _, kind := range scope.OverrideSnapshots.Both() {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(ofOverride), builder.WithPredicates(damage()))
	}
	if err := b.Complete(loop.Settle(loop.Unreserved(o))); err != nil {
		return fmt.Errorf("set up the overrider: %w", err)
	}
	return nil
}

// overrides lets through what changes what an override says, or that it is to go.
func overrides() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
				e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
				!controllerutil.ContainsFinalizer(e.ObjectNew, contract.FinalizerOverride)
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// damage lets through what somebody else does to a snapshot: its content and what it is called are nobody's to change.
func damage() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetLabels()[contract.LabelLatest] != e.ObjectNew.GetLabels()[contract.LabelLatest]
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

func ofOverride(_ context.Context, obj client.Object) []reconcile.Request {
	key, ok := scope.OverrideOf(obj.(v1beta1.OverrideSnapshotObject))
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: key}}
}

// Reconcile looks at one override.
func (o *Overrider) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	obj, err := scope.Overrides.Get(ctx, o.Client, req.NamespacedName)
	if apierrors.IsNotFound(err) {
		o.young.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	of := scope.OfOverride(req.NamespacedName)
	existing, err := scope.OverrideSnapshots.List(ctx, o.Client, req.Namespace, of, client.UnsafeDisableDeepCopy)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !obj.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, o.release(ctx, obj, existing)
	}
	if wrong := validate.OverrideSnapshot(obj); len(wrong) > 0 {
		o.refuse(obj, wrong[0])
		return ctrl.Result{}, nil
	}
	inUse, err := o.inUse(ctx, req.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	step, err := snapshot.Overrides(obj, existing, inUse)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := o.carryOut(ctx, obj, step); err != nil {
		return ctrl.Result{}, err
	}
	if step.Create != nil {
		o.young.add(req.NamespacedName, birth{snapshot: step.Create.GetName(), at: o.Now()})
	}
	return o.examine(ctx, obj, existing, inUse)
}

// refuse records why an override has no snapshot of its present state.
func (o *Overrider) refuse(override v1beta1.OverrideObject, why *field.Error) {
	if why.Type == field.ErrorTypeTooLong {
		o.Recorder.Event(override, corev1.EventTypeWarning, eventNameTooLong, "It changes nothing: "+why.Detail)
		return
	}
	o.Recorder.Event(override, corev1.EventTypeWarning, eventTooDeep, "This state of it changes nothing: "+why.Field+" "+why.Detail)
}

// inUse names the snapshots of an override that bindings may need, or update runs that have not ended.
func (o *Overrider) inUse(ctx context.Context, key types.NamespacedName) (map[string]bool, error) {
	out := map[string]bool{}
	add := func(revisions []v1beta1.Revision) {
		for _, r := range revisions {
			for _, s := range delivery.OverridesIn(r).Keys() {
				if s.Namespace == key.Namespace {
					out[s.Name] = true
				}
			}
		}
	}
	bindings, err := scope.Bindings.AllServed(ctx, o.Client, o.Namespaced,
		scope.OfOverride(key), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, err
	}
	for _, b := range bindings {
		add(delivery.NeededBy(b))
	}
	runs, err := scope.UpdateRuns.AllServed(ctx, o.Client, o.Namespaced, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		if delivery.Ended(run) {
			continue
		}
		releases, before, err := o.neededBy(ctx, run)
		if err != nil {
			return nil, err
		}
		add(releases)
		add(before)
	}
	return out, nil
}

func (o *Overrider) neededBy(ctx context.Context, run v1beta1.UpdateRunObject) (releases, before []v1beta1.Revision, err error) {
	placement := types.NamespacedName{Namespace: run.GetNamespace(), Name: run.GetSpec().PlacementName}
	bindings, err := scope.Bindings.List(ctx, o.Client, run.GetNamespace(), scope.OfPlacement(placement),
		client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, nil, err
	}
	releases, before = delivery.NeededByRun(run, bindings)
	return releases, before, nil
}

// carryOut takes the step. The finalizer comes before the first snapshot, and the new snapshot before the old one loses its label: there
// is no moment without one in force, in which rollouts would take the override back.
func (o *Overrider) carryOut(ctx context.Context, override v1beta1.OverrideObject, step snapshot.OverrideStep) error {
	if err := o.claim(ctx, override); err != nil {
		return err
	}
	log, key := ctrl.LoggerFrom(ctx), client.ObjectKeyFromObject(override)
	if step.Create != nil {
		if err := o.Client.Create(ctx, step.Create, owner); err != nil {
			return fmt.Errorf("create snapshot %s of override %s: %w", step.Create.GetName(), key, err)
		}
		log.Info("Created override snapshot", "object", key, "snapshot", step.Create.GetName())
	}
	for _, mark := range step.Marks {
		s := scope.OverrideSnapshots.New(key)
		s.SetNamespace(key.Namespace)
		s.SetName(mark.Name)
		if err := o.Client.Patch(ctx, s, client.RawPatch(types.MergePatchType, mark.Patch()), owner); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("mark snapshot %s of override %s: %w", mark.Name, key, err)
		}
	}
	return o.remove(ctx, step.Prune)
}

func (o *Overrider) claim(ctx context.Context, override v1beta1.OverrideObject) error {
	before := override.DeepCopyObject().(client.Object)
	if !controllerutil.AddFinalizer(override, contract.FinalizerOverride) {
		return nil
	}
	return o.patchFinalizers(ctx, override, before)
}

// release lets a deleted override go after its snapshots. The one in force goes last: an older one must not take its place.
func (o *Overrider) release(ctx context.Context, override v1beta1.OverrideObject, existing []v1beta1.OverrideSnapshotObject) error {
	before := override.DeepCopyObject().(client.Object)
	if !controllerutil.RemoveFinalizer(override, contract.FinalizerOverride) {
		return nil
	}
	latest := snapshot.LatestOverride(existing)
	var older, last []v1beta1.OverrideSnapshotObject
	for _, s := range existing {
		if s == latest {
			last = append(last, s)
			continue
		}
		older = append(older, s)
	}
	if err := o.remove(ctx, older); err != nil {
		return err
	}
	if err := o.remove(ctx, last); err != nil {
		return err
	}
	return o.patchFinalizers(ctx, override, before)
}

func (o *Overrider) patchFinalizers(ctx context.Context, override v1beta1.OverrideObject, before client.Object) error {
	err := o.Client.Patch(ctx, override, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), owner)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("change finalizers of override %s: %w", client.ObjectKeyFromObject(override), err)
	}
	return nil
}

// remove deletes snapshots as they were seen.
func (o *Overrider) remove(ctx context.Context, snapshots []v1beta1.OverrideSnapshotObject) error {
	var errs []error
	for _, s := range snapshots {
		uid := s.GetUID()
		if err := o.Client.Delete(ctx, s, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("delete override snapshot %s: %w", client.ObjectKeyFromObject(s), err))
		}
	}
	return errors.Join(errs...)
}
