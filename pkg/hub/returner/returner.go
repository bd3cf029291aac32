// Package returner is the agent that writes the status of placed objects to the objects of the hub that they were made
// from, for placements that ask for it and go to one cluster. It reads placements, bindings and Works, which hold what
// the member reports, and writes the status of users' objects.
package returner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// RecorderName is the name under which the returner records events.
const RecorderName = "status-back-reporter"

// eventFailed is the reason of the events on a placement whose objects' status cannot be returned.
const eventFailed = "StatusBackReportFailed"

// Returner reconciles placements.
type Returner struct {
	// Client reads placements and Works from the cache. Direct reads and writes users' objects.
	Client, Direct client.Client
	Recorder       record.EventRecorder
	// Workers is how many placements are reconciled at once.
	Workers int
	// Namespaced is whether ResourcePlacements are served too.
	Namespaced bool
	// RetryRefused is after how long a status that the hub refused is written again: a permission that is granted, or a
	// schema that is changed, is no event. The time doubles, up to an hour, as long as the hub takes no status of the
	// placement.
	RetryRefused time.Duration

	mu sync.Mutex
	// failures are the failures of placements. They are dropped when the placement changes, or when all is written.
	failures map[types.NamespacedName]*failing
	// done is a digest of the status that an object was last seen to have. It saves a read, and is dropped when the
	// placement changes.
	done map[types.NamespacedName]map[report.Origin]uint64
}

// failing is what one placement has failed with, and when its refused statuses are written again.
type failing struct {
	// reported are the messages for which an event was recorded, so that each is recorded once.
	reported sets.Set[string]
	// wait is the time between the last two attempts; zero for none. The next attempt is due at due.
	wait time.Duration
	due  time.Time
}

const (
	// mostReported is how many messages are recorded for one placement.
	mostReported = 20
	// mostWait bounds the wait until a refused status is written again.
	mostWait = time.Hour
)

// SetupWithManager registers the controller with mgr.
func (r *Returner) SetupWithManager(mgr ctrl.Manager) error {
	r.failures, r.done = map[types.NamespacedName]*failing{}, map[types.NamespacedName]map[report.Origin]uint64{}
	ofWork := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		key, ok := scope.PlacementOf(o)
		if !ok || key.Namespace != "" && !r.Namespaced {
			return nil
		}
		return []reconcile.Request{{NamespacedName: key}}
	})
	b := ctrl.NewControllerManagedBy(mgr).Named("returner").WithOptions(loop.Options(r.Workers)).
		Watches(&v1beta1.Work{}, ofWork, builder.WithPredicates(works()))
	kinds := scope.Placements.Both()
	if !r.Namespaced {
		kinds = kinds[:1]
	}
	for _, kind := range kinds {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(r.again), builder.WithPredicates(placements()))
	}
	if err := b.Complete(loop.Settle(loop.Unreserved(r))); err != nil {
		return fmt.Errorf("set up the returner: %w", err)
	}
	return nil
}

// works passes Works that may report a status to return.
func works() predicate.Predicate {
	reports := func(o client.Object) bool {
		work, ok := o.(*v1beta1.Work)
		return ok && work.Spec.ReportBackStrategy != nil && work.Spec.ReportBackStrategy.Type == v1beta1.ReportBackTypeMirror
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return reports(e.Object) },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(*v1beta1.Work)
			return ok && reports(e.ObjectNew) && (!equality.Semantic.DeepEqual(before.Status, e.ObjectNew.(*v1beta1.Work).Status) ||
				before.Annotations[contract.AnnotationBindingUID] != e.ObjectNew.GetAnnotations()[contract.AnnotationBindingUID])
		},
	}
}

// placements passes changes of the spec, or of what is selected.
func placements() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, // its Works have events of their own
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(v1beta1.PlacementObject)
			after, ok2 := e.ObjectNew.(v1beta1.PlacementObject)
			return ok1 && ok2 && (before.GetGeneration() != after.GetGeneration() ||
				!equality.Semantic.DeepEqual(before.GetStatus().SelectedResources, after.GetStatus().SelectedResources))
		},
	}
}

// again requeues a placement that has changed, and forgets what it has done for it.
func (r *Returner) again(_ context.Context, o client.Object) []reconcile.Request {
	key := client.ObjectKeyFromObject(o)
	r.forget(key)
	if !o.GetDeletionTimestamp().IsZero() {
		return nil
	}
	return []reconcile.Request{{NamespacedName: key}}
}

func (r *Returner) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.done, key)
	delete(r.failures, key)
}

// Reconcile returns the status that the Works of one placement report.
func (r *Returner) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	placement, err := scope.Placements.Get(ctx, r.Client, req.NamespacedName)
	if apierrors.IsNotFound(err) {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get placement %s: %w", req, err)
	}
	wanted, mistake := report.ReturnsStatus(placement.GetSpec())
	if mistake != "" {
		r.recordFailure(placement, mistake)
	}
	if !wanted || !placement.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil
	}
	works, err := r.worksOf(ctx, placement)
	if err != nil {
		return ctrl.Result{}, err
	}
	var errs []error
	var found []report.Returned
	for i := range works {
		returned, err := report.Returns(&works[i], placement.GetStatus().SelectedResources)
		found = append(found, returned...)
		errs = append(errs, err)
	}
	var pass pass
	errs = append(errs, loop.Each(ctx, writers, found, func(ctx context.Context, back report.Returned) error {
		return r.carry(ctx, &pass, placement, back)
	}))
	switch err := errors.Join(errs...); {
	case err != nil:
		return ctrl.Result{}, err
	case pass.refused.Load():
		return ctrl.Result{RequeueAfter: r.backOff(req.NamespacedName, time.Now())}, nil
	default:
		r.recovered(req.NamespacedName)
		return ctrl.Result{}, nil
	}
}

// pass is what one reconciliation of a placement has found.
type pass struct {
	// refused is whether the hub refused a status, which only the user can change.
	refused atomic.Bool
	// forbidden are the grants that the hub agent lacks.
	forbidden sync.Map
}

// grant is a permission to write the status of the objects of a kind in a namespace.
type grant struct {
	schema.GroupKind
	namespace string
}

func grantFor(back report.Returned) grant {
	return grant{GroupKind: back.GroupKind(), namespace: back.Namespace}
}

// backOff returns the time until the refused statuses of a placement are written again. Reconciliations for another
// reason do not lengthen it.
func (r *Returner) backOff(key types.NamespacedName, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.failingOf(key)
	if !now.Before(f.due) {
		f.wait = min(max(r.RetryRefused, 2*f.wait), mostWait)
		f.due = now.Add(f.wait)
	}
	return f.due.Sub(now)
}

// restart starts the back-off of a placement anew.
func (r *Returner) restart(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.failures[key]; f != nil {
		f.wait, f.due = 0, time.Time{}
	}
}

// recovered forgets the failures of a placement.
func (r *Returner) recovered(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failures, key)
}

// failingOf returns the failures of a placement. The caller holds the lock.
func (r *Returner) failingOf(key types.NamespacedName) *failing {
	f := r.failures[key]
	if f == nil {
		f = &failing{reported: sets.Set[string]{}}
		r.failures[key] = f
	}
	return f
}

// worksOf are the Works that were made for the placement's bindings, each in the namespace of its binding's cluster.
// Any member could create one in its own namespace that names the placement; what it reports there is not believed.
func (r *Returner) worksOf(ctx context.Context, placement v1beta1.PlacementObject) ([]v1beta1.Work, error) {
	key := client.ObjectKeyFromObject(placement)
	bindings, err := scope.Bindings.List(ctx, r.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...)
	if err != nil {
		return nil, err
	}
	var out []v1beta1.Work
	for _, b := range scope.OnlyOf(placement, bindings) {
		order, ok := work.OrderOf(b, nil)
		if !ok || b.GetSpec().State != v1beta1.BindingStateBound || !b.GetDeletionTimestamp().IsZero() {
			continue
		}
		var list v1beta1.WorkList
		if err := r.Client.List(ctx, &list, client.InNamespace(contract.MemberNamespace(order.Cluster)), scope.OfBinding(order.Binding)); err != nil {
			return nil, fmt.Errorf("list works of binding %s: %w", order.Binding, err)
		}
		out = append(out, slices.DeleteFunc(list.Items, func(w v1beta1.Work) bool { return !order.Made(&w) })...)
	}
	return out, nil
}

// writers is how many objects of one placement are written at once.
const writers = 4

// carry writes one status if the object does not have it. If the hub refuses it, carry records an event, and notes that
// in the pass. It does not try objects whose permission the pass has found missing.
func (r *Returner) carry(ctx context.Context, pass *pass, placement v1beta1.PlacementObject, back report.Returned) error {
	key, digest := client.ObjectKeyFromObject(placement), xxhash.Sum64(back.Status)
	if r.known(key, back.Origin, digest) {
		return nil
	}
	if _, forbidden := pass.forbidden.Load(grantFor(back)); forbidden {
		return nil
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(back.GroupVersionKind)
	err := r.Direct.Get(ctx, back.NamespacedName, object)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil // the placer is about to see that too
	}
	if err != nil {
		return fmt.Errorf("get %s %s: %w", back.Kind, back.NamespacedName, err)
	}
	if !same(object.Object["status"], back.Status) {
		var status any
		if err := decode.JSON(back.Status, &status); err != nil { // whole numbers stay whole
			return fmt.Errorf("read the status of %s %s: %w", back.Kind, back.NamespacedName, err)
		}
		object.Object["status"] = status
		if written, err := r.write(ctx, pass, placement, back, object); err != nil || !written {
			return err
		}
	}
	r.remember(key, back.Origin, digest)
	return nil
}

// same is whether a status is what a member reports, however its numbers are decoded.
func same(status any, reported json.RawMessage) bool {
	text, err := json.Marshal(status)
	if err != nil {
		return false
	}
	var a, b any
	return decode.JSON(text, &a) == nil && decode.JSON(reported, &b) == nil && equality.Semantic.DeepEqual(a, b)
}

// write writes the status of an object. written is false if the hub refuses it.
func (r *Returner) write(
	ctx context.Context, pass *pass, placement v1beta1.PlacementObject, back report.Returned, object *unstructured.Unstructured,
) (written bool, err error) {
	err = r.Direct.Status().Update(ctx, object)
	switch {
	case unauthorized(err):
		pass.refused.Store(true)
		pass.forbidden.Store(grantFor(back), true)
		r.recordFailure(placement, fmt.Sprintf("the hub agent may not write the status of %s in API group %q: add it to the value statusBackReporting of its chart",
			back.Kind, back.Group))
		return false, nil
	case apierrors.IsInvalid(err) || apierrors.IsForbidden(err):
		pass.refused.Store(true)
		r.recordFailure(placement, fmt.Sprintf("the hub does not take the status of %s %s: %s", back.Kind, back.NamespacedName,
			secrecy.WithoutValues(err.Error())))
		return false, nil
	case apierrors.IsNotFound(err):
		// It is gone, or its kind has no status of its own on the hub.
	case err != nil:
		return false, fmt.Errorf("write the status of %s %s: %w", back.Kind, back.NamespacedName, err)
	default:
		r.restart(client.ObjectKeyFromObject(placement))
		ctrl.LoggerFrom(ctx).Info("Returned status", "placement", scope.Name(client.ObjectKeyFromObject(placement)), "kind", back.Kind, "object", back.NamespacedName)
	}
	return true, nil
}

// unauthorized reports whether the hub agent lacks the permission for an update. Admission, which may deny one object of
// many, returns the same code.
func unauthorized(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot update resource")
}

func (r *Returner) known(placement types.NamespacedName, origin report.Origin, digest uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, ok := r.done[placement][origin]
	return ok && was == digest
}

func (r *Returner) remember(placement types.NamespacedName, origin report.Origin, digest uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done[placement] == nil {
		r.done[placement] = map[report.Origin]uint64{}
	}
	r.done[placement][origin] = digest
}

// recordFailure records on a placement, once for each reason, why the status of its objects is not returned.
func (r *Returner) recordFailure(placement v1beta1.PlacementObject, why string) {
	r.mu.Lock()
	reported := r.failingOf(client.ObjectKeyFromObject(placement)).reported
	known := reported.Has(why) || reported.Len() >= mostReported
	if !known {
		reported.Insert(why)
	}
	r.mu.Unlock()
	if !known {
		r.Recorder.Event(placement, corev1.EventTypeWarning, eventFailed, why)
	}
}
