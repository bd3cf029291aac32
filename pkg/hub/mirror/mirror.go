// Package mirror is the agent that carries the status of placed objects back to the objects of the hub that they were made from, for
// placements that ask for it and go to one cluster. Works come in, which hold what the member reports; statuses of users' objects go out.
package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
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

// RecorderName is the name under which the mirror records events.
const RecorderName = "status-back-reporter"

// eventFailed is the reason of the events on a placement whose objects' status cannot be carried back.
const eventFailed = "StatusBackReportFailed"

// Mirror reconciles placements.
type Mirror struct {
	// Client reads placements and Works from the cache. Direct reads and writes users' objects.
	Client, Direct client.Client
	Recorder       record.EventRecorder
	// Workers is how many placements are looked at at once.
	Workers int
	// Namespaced is whether ResourcePlacements are looked at too.
	Namespaced bool

	mu sync.Mutex
	// told is what was last said of a placement in an event, so that it is said once.
	told map[types.NamespacedName]string
	// done is a digest of the status that an object was last seen to have. It saves a read, and is forgotten when the placement changes.
	done map[types.NamespacedName]map[report.Origin]uint64
}

// SetupWithManager starts the mirror with mgr.
func (m *Mirror) SetupWithManager(mgr ctrl.Manager) error {
	m.told, m.done = map[types.NamespacedName]string{}, map[types.NamespacedName]map[report.Origin]uint64{}
	ofWork := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		key, ok := scope.PlacementOf(o)
		if !ok || key.Namespace != "" && !m.Namespaced {
			return nil
		}
		return []reconcile.Request{{NamespacedName: key}}
	})
	b := ctrl.NewControllerManagedBy(mgr).Named("mirror").WithOptions(loop.Options(m.Workers)).
		Watches(&v1beta1.Work{}, ofWork, builder.WithPredicates(works()))
	kinds := scope.Placements.Both()
	if !m.Namespaced {
		kinds = kinds[:1]
	}
	for _, kind := range kinds {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(m.again), builder.WithPredicates(placements()))
	}
	if err := b.Complete(loop.Settle(loop.Unreserved(m))); err != nil {
		return fmt.Errorf("set up the mirror: %w", err)
	}
	return nil
}

// works lets through what may have a status to carry back.
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

// placements lets through a change of what is wanted, or of what is selected.
func placements() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, // its Works come by themselves
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(v1beta1.PlacementObject)
			after, ok2 := e.ObjectNew.(v1beta1.PlacementObject)
			return ok1 && ok2 && (before.GetGeneration() != after.GetGeneration() ||
				!equality.Semantic.DeepEqual(before.GetStatus().SelectedResources, after.GetStatus().SelectedResources))
		},
	}
}

// again looks at a placement that has changed as if for the first time.
func (m *Mirror) again(_ context.Context, o client.Object) []reconcile.Request {
	key := client.ObjectKeyFromObject(o)
	m.forget(key)
	if !o.GetDeletionTimestamp().IsZero() {
		return nil
	}
	return []reconcile.Request{{NamespacedName: key}}
}

func (m *Mirror) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.done, key)
	delete(m.told, key)
}

// Reconcile carries back what the Works of one placement report.
func (m *Mirror) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	placement, err := scope.Placements.Get(ctx, m.Client, req.NamespacedName)
	if apierrors.IsNotFound(err) {
		m.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get placement %s: %w", req, err)
	}
	wanted, mistake := report.ReturnsStatus(placement.GetSpec())
	if mistake != "" {
		m.tell(placement, mistake)
	}
	if !wanted || !placement.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil
	}
	works, err := m.worksOf(ctx, placement)
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
	errs = append(errs, loop.Each(ctx, writers, found, func(ctx context.Context, r report.Returned) error {
		return m.carry(ctx, placement, r)
	}))
	return ctrl.Result{}, errors.Join(errs...)
}

// worksOf are the Works that were made for the placement's bindings, each in the namespace of its binding's cluster. Any member could
// make one in its own namespace that names the placement; what it reports there is not believed.
func (m *Mirror) worksOf(ctx context.Context, placement v1beta1.PlacementObject) ([]v1beta1.Work, error) {
	key := client.ObjectKeyFromObject(placement)
	bindings, err := scope.Bindings.List(ctx, m.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...)
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
		if err := m.Client.List(ctx, &list, client.InNamespace(contract.MemberNamespace(order.Cluster)), scope.OfBinding(order.Binding)); err != nil {
			return nil, fmt.Errorf("list works of binding %s: %w", order.Binding, err)
		}
		out = append(out, slices.DeleteFunc(list.Items, func(w v1beta1.Work) bool { return !order.Made(&w) })...)
	}
	return out, nil
}

// writers is how many objects of one placement are written at once.
const writers = 4

// carry writes one status if the object does not have it. What only the user can mend is told, and is no error.
func (m *Mirror) carry(ctx context.Context, placement v1beta1.PlacementObject, r report.Returned) error {
	key, digest := client.ObjectKeyFromObject(placement), xxhash.Sum64(r.Status)
	if m.known(key, r.Origin, digest) {
		return nil
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(r.GroupVersionKind)
	err := m.Direct.Get(ctx, r.NamespacedName, object)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil // the placement is about to see that too
	}
	if err != nil {
		return fmt.Errorf("get %s %s: %w", r.Kind, r.NamespacedName, err)
	}
	if !same(object.Object["status"], r.Status) {
		var status any
		if err := decode.JSON(r.Status, &status); err != nil { // whole numbers stay whole
			return fmt.Errorf("read the status of %s %s: %w", r.Kind, r.NamespacedName, err)
		}
		object.Object["status"] = status
		if err := m.write(ctx, placement, r, object); err != nil {
			return err
		}
	}
	m.remember(key, r.Origin, digest)
	return nil
}

// same says whether a status is what a member reports, however its numbers are decoded.
func same(status any, reported json.RawMessage) bool {
	text, err := json.Marshal(status)
	if err != nil {
		return false
	}
	var a, b any
	return decode.JSON(text, &a) == nil && decode.JSON(reported, &b) == nil && equality.Semantic.DeepEqual(a, b)
}

func (m *Mirror) write(ctx context.Context, placement v1beta1.PlacementObject, r report.Returned, object *unstructured.Unstructured) error {
	err := m.Direct.Status().Update(ctx, object)
	switch {
	case apierrors.IsForbidden(err):
		m.tell(placement, fmt.Sprintf("the hub agent may not write the status of %s in API group %q: add it to the value statusBackReporting of its chart",
			r.Kind, r.Group))
	case apierrors.IsInvalid(err):
		m.tell(placement, fmt.Sprintf("the hub does not take the status of %s %s: %s", r.Kind, r.NamespacedName,
			secrecy.WithoutValues(err.Error())))
	case apierrors.IsNotFound(err):
		// It is gone, or its kind has no status of its own on the hub.
	case err != nil:
		return fmt.Errorf("write the status of %s %s: %w", r.Kind, r.NamespacedName, err)
	}
	return nil
}

func (m *Mirror) known(placement types.NamespacedName, origin report.Origin, digest uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, ok := m.done[placement][origin]
	return ok && was == digest
}

func (m *Mirror) remember(placement types.NamespacedName, origin report.Origin, digest uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done[placement] == nil {
		m.done[placement] = map[report.Origin]uint64{}
	}
	m.done[placement][origin] = digest
}

// tell says to the owner of a placement, once, why the status of its objects is not carried back.
func (m *Mirror) tell(placement v1beta1.PlacementObject, why string) {
	key := client.ObjectKeyFromObject(placement)
	m.mu.Lock()
	told := m.told[key] == why
	m.told[key] = why
	m.mu.Unlock()
	if !told {
		m.Recorder.Event(placement, corev1.EventTypeWarning, eventFailed, why)
	}
}
