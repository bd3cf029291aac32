package applier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// remove removes a Work's objects from the member: the agent deletes them if all are leaves, and then the AppliedWork.
// If objects still exist, that is deleted in the foreground, so that it exists until the garbage collector has deleted
// all of them with what belongs to them; then the finalizer is removed.
func (a *Applier) remove(ctx context.Context, work *v1beta1.Work) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(work, contract.FinalizerWork) {
		a.forget(work.Name)
		return reconcile.Result{}, nil
	}
	a.unwatch(work.Name)
	ledger, err := a.ledgerOf(ctx, work.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if ledger == nil {
		return reconcile.Result{}, a.release(ctx, work)
	}
	began, standing := ledger.work.DeletionTimestamp, a.identity(work.UID).StandingTo(ledger.work)
	if standing == apply.Foreign || standing == apply.Inherited && began.IsZero() {
		// This Work placed none of the objects in the ledger, so none is removed with it.
		ctrl.LoggerFrom(ctx).Info("Kept objects that another Work placed", "work", work.Name, "reason", string(standing))
		a.forget(work.Name)
		return reconcile.Result{}, a.setFinalizer(ctx, work, false)
	}
	if began.IsZero() {
		// Its condition Held would keep the ledger's objects from being removed with a namespace. The condition of an
		// earlier attempt to delete the Work stays.
		if !report.IsKept(ledger.work.Status) {
			if err := a.found(ctx, ledger); err != nil {
				return reconcile.Result{}, err
			}
		}
		elsewhere, err := a.wantedElsewhere(ctx, work, ledger.keys())
		if err != nil {
			return reconcile.Result{}, a.undecided(ctx, work, err)
		}
		if !work.Spec.DeleteStrategy.Abandons() {
			held, err := a.brake(ctx, work, ledger, ledger.list(), elsewhere)
			if err != nil {
				return reconcile.Result{}, a.undecided(ctx, work, err)
			}
			if held != nil {
				return a.awaitRelease(ctx, work, held)
			}
		}
		a.legacy.leave(work, ledger.list(), elsewhere)
		fates, err := a.depart(ctx, work, ledger, elsewhere, a.Now().Sub(work.DeletionTimestamp.Time) < a.DeletionWait)
		if errors.Is(err, errLater) {
			priority := priorityRecheck
			return reconcile.Result{RequeueAfter: time.Nanosecond, Priority: &priority}, nil
		}
		if err != nil {
			return reconcile.Result{}, err
		}
		if remains(fates) {
			if err := a.deleteAll(ctx, ledger.list(), fates); err != nil {
				return reconcile.Result{}, err
			}
			return a.awaitRest(ctx, work, ledger, fates)
		}
		uid, how := ledger.work.UID, metav1.DeletePropagationForeground
		if isOver(fates) {
			how = metav1.DeletePropagationBackground
		}
		if work.Spec.DeleteStrategy.Abandons() {
			how = metav1.DeletePropagationOrphan // objects that the ledger does not list stay, too
			if err := a.reportAbandoned(ctx, work); err != nil {
				return reconcile.Result{}, err
			}
		}
		err = a.MemberClient.Delete(ctx, ledger.work, client.PropagationPolicy(how), client.Preconditions{UID: &uid})
		if err := client.IgnoreNotFound(err); err != nil {
			return reconcile.Result{}, fmt.Errorf("delete AppliedWork %s: %w", work.Name, err)
		}
		if how == metav1.DeletePropagationBackground && len(ledger.work.Finalizers) == 0 {
			return reconcile.Result{}, a.release(ctx, work)
		}
		return reconcile.Result{RequeueAfter: min(a.reportAfter, a.DeletionWait)}, nil // the end of the deletion is an event and usually comes earlier
	}
	return a.await(ctx, work, ledger, *began)
}

// release removes the finalizer once the API server itself has no AppliedWork.
func (a *Applier) release(ctx context.Context, work *v1beta1.Work) error {
	err := a.MemberReader.Get(ctx, types.NamespacedName{Name: work.Name}, &v1beta1.AppliedWork{})
	switch {
	case err == nil:
		return apierrors.NewConflict(schema.GroupResource{Group: v1beta1.GroupVersion.Group, Resource: "appliedworks"}, work.Name,
			errors.New("the cache does not show it yet"))
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("get AppliedWork %s: %w", work.Name, err)
	}
	a.forget(work.Name)
	a.Brake.Done(work.UID)
	return a.setFinalizer(ctx, work, false)
}

// await reconciles a removal in progress: after reportAfter the Work lists the objects it waits for, and after
// DeletionWait objects with other owners no longer block it.
func (a *Applier) await(ctx context.Context, work *v1beta1.Work, ledger *ledger, began metav1.Time) (reconcile.Result, error) {
	taken := a.Now().Sub(began.Time)
	if left := min(a.reportAfter, a.DeletionWait) - taken; left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	unblock := taken >= a.DeletionWait
	waiting, err := a.remaining(ctx, ledger, unblock)
	if err != nil {
		return reconcile.Result{}, err
	}
	next := work.DeepCopy()
	next.Status = report.Unremoved(work.Status, work.Generation, began, waiting, metav1.NewTime(a.Now().Truncate(time.Second)))
	if !equality.Semantic.DeepEqual(next.Status, work.Status) {
		if err := a.writeStatus(ctx, next); err != nil {
			return reconcile.Result{}, err
		}
	}
	later := a.reportAfter
	if !unblock {
		later = min(later, a.DeletionWait-taken)
	}
	priority := priorityRecheck
	return reconcile.Result{RequeueAfter: later, Priority: &priority}, nil
}

// remaining lists the objects of the ledger that still exist and are ours.
func (a *Applier) remaining(ctx context.Context, ledger *ledger, unblock bool) ([]string, error) {
	entries := ledger.list()
	lines := make([]string, len(entries))
	indexes := make([]int, len(entries))
	for i := range entries {
		indexes[i] = i
	}
	err := loop.Each(ctx, a.Parallel, indexes, func(ctx context.Context, i int) error {
		at, err := a.placeOf(entries[i])
		if meta.IsNoMatchError(err) {
			return nil
		}
		kind := schema.GroupKind{Group: entries[i].Group, Kind: entries[i].Kind}
		name := apply.KeyOf(entries[i].WorkResourceIdentifier).String()
		var live *unstructured.Unstructured
		if err == nil {
			live, err = a.live(ctx, at)
		}
		switch {
		case err != nil:
			lines[i] = fmt.Sprintf("%s (%s)", name, explain(err, kind))
			return ctx.Err()
		case live == nil || !ledger.owner().Owns(live):
			return nil
		}
		lines[i] = name
		if finalizers := live.GetFinalizers(); len(finalizers) > 0 {
			lines[i] = fmt.Sprintf("%s (finalizers %s)", name, strings.Join(finalizers, " "))
		}
		if !unblock {
			return nil
		}
		body, err := apply.Unblock(live, ledger.owner())
		if err == nil && body != nil {
			_, err = a.patch(ctx, at, types.JSONPatchType, body, false)
		}
		if err = client.IgnoreNotFound(err); err != nil {
			return fmt.Errorf("unblock %s: %s", name, explain(err, kind))
		}
		return nil
	})
	lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" })
	slices.Sort(lines)
	return lines, err
}
