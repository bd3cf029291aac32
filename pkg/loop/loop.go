// Package loop is shared by all reconcilers: controller settings, requeueing after a conflict, status writes that
// happen only when something changed and that may be held back, and parallel work that does not stop at the first
// failure. It decides nothing about the fleet.
package loop

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
)

const (
	// retryFirst and retryMost bound the wait before a failed object is retried. The wait is per object and there is
	// no shared bucket, so one failing placement never slows another.
	retryFirst = 5 * time.Millisecond
	retryMost  = time.Minute
	// conflictWait gives the cache time to receive the write that won. The event of that write usually arrives first
	// and ends the wait.
	conflictWait = 10 * time.Millisecond
)

// Options are the settings of every controller: workers at once, a retry limiter of its own, panics recovered and
// counted, and controller-runtime's priority queue, which puts new events before the initial list.
func Options(workers int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryMost),
	}
}

// Settle wraps a reconciler so that losing a race (a conflict, or an object that already exists) is not an error: the
// object is requeued after a time in which the cache usually catches up, without back-off and without a log line.
// Other errors are logged without the values that API servers quote in them, because they may contain Secrets.
func Settle(r reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		result, err := r.Reconcile(ctx, req)
		if err != nil && lostRace(err) {
			return ctrl.Result{RequeueAfter: conflictWait}, nil
		}
		return result, secrecy.Discreet(err)
	})
}

// Unreserved wraps a reconciler so that it gets no requests in reserved namespaces: see scope.Reserved. It is for
// reconcilers whose requests name placements or objects that belong to placements.
func Unreserved(r reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		if scope.Reserved(req.NamespacedName) {
			return reconcile.Result{}, nil
		}
		return r.Reconcile(ctx, req)
	})
}

// lostRace reports whether err consists only of lost races. Any other error among joined errors must be returned.
func lostRace(err error) bool {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			if !lostRace(e) {
				return false
			}
		}
		return true
	}
	if one := errors.Unwrap(err); one != nil {
		return lostRace(one)
	}
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}

// Each calls do for every item, at most workers at once, and returns all errors joined. It continues after a failure,
// because one bad object must not stop the rest, and stops early only when ctx ends.
func Each[T any](ctx context.Context, workers int, items []T, do func(context.Context, T) error) error {
	errs := make([]error, len(items))
	slots := make(chan struct{}, max(1, workers))
	var running sync.WaitGroup
	for i, item := range items {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			running.Wait()
			return errors.Join(append(errs, ctx.Err())...)
		}
		running.Go(func() {
			defer func() { <-slots }()
			defer Recovered(ctx, &errs[i])
			errs[i] = do(ctx, item)
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// All runs jobs as Each does.
func All(ctx context.Context, workers int, jobs ...func(context.Context) error) error {
	return Each(ctx, workers, jobs, func(ctx context.Context, job func(context.Context) error) error { return job(ctx) })
}

// Recovered turns a panic, when deferred, into an error, as controller-runtime does in the goroutine of a reconciler,
// so that one bad object does not end the process. The log has the stack.
func Recovered(ctx context.Context, err *error) {
	r := recover()
	if r == nil {
		return
	}
	cause, _ := r.(goruntime.Error) // other values may quote objects
	ctrl.LoggerFrom(ctx).Error(cause, "Recovered from a panic", "type", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
	*err = fmt.Errorf("bug in the agent, see its log: panic (%T)", r)
}

// WriteStatus updates obj's status if it differs from that of before, an unchanged copy of the object as it was read,
// and returns whether it wrote. The write carries the resourceVersion that was read: a conflict means that another
// client's write must be read first.
func WriteStatus(ctx context.Context, c client.StatusClient, before, obj client.Object) (bool, error) {
	if equality.Semantic.DeepEqual(before, obj) {
		return false, nil
	}
	if err := c.Status().Update(ctx, obj); err != nil {
		return false, fmt.Errorf("write status of %T %s: %w", obj, client.ObjectKeyFromObject(obj), err)
	}
	return true, nil
}

// Refused reports whether an API server has refused a write because of its content or of its user, so that retrying
// cannot help until one of the two changes. Writes into a namespace that is being deleted are refused too, with the
// cause NamespaceTerminating: callers check for that first.
func Refused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}
