package scheduler

import (
	"context"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// followers are the placements whose policy has terms about other placements. It is empty after a start, when every
// placement is decided.
type followers struct {
	mu  sync.Mutex
	all map[types.NamespacedName]follower
}

type follower struct {
	selection schedule.Selection
	// settled is whether no other placement can change the decision.
	settled bool
}

// set records which placements the policy of a placement refers to, an empty selection that it refers to none.
func (f *followers) set(placement types.NamespacedName, selection schedule.Selection) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if selection.Empty() {
		delete(f.all, placement)
		return
	}
	if f.all == nil {
		f.all = map[types.NamespacedName]follower{}
	}
	f.all[placement] = follower{selection: selection}
}

// settle records a decision that was carried out: a placement of PickN that has all its clusters keeps them.
func (f *followers) settle(placement types.NamespacedName, policy *v1beta1.PlacementPolicy, d schedule.Decision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if of, ok := f.all[placement]; ok {
		of.settled = policy.PlacementType == v1beta1.PlacementTypePickN && d.Fulfilled() && !d.Waiting
		f.all[placement] = of
	}
}

// of are the placements that refer to another one with one of these sets of labels. Without labels (nil) it returns
// those that may.
func (f *followers) of(other types.NamespacedName, labels ...map[string]string) (out []types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, each := range f.all {
		if key.Namespace != other.Namespace || key == other || each.settled {
			continue
		}
		has := func(labels map[string]string) bool { return each.selection.Has(other.Name, labels) }
		if labels == nil && each.selection.ByLabels() || labels == nil && has(nil) || slices.ContainsFunc(labels, has) {
			out = append(out, key)
		}
	}
	return out
}

// others reads the other placements that a policy refers to. The bindings that this agent has created last are among
// theirs.
func (s *Scheduler) others(ctx context.Context, own types.NamespacedName, selection schedule.Selection) ([]schedule.Placement, error) {
	selected, err := s.selected(ctx, own, selection)
	if err != nil {
		return nil, err
	}
	var out []schedule.Placement
	for i, p := range selected {
		opts := []client.ListOption{scope.OfPlacement(client.ObjectKeyFromObject(p)), client.UnsafeDisableDeepCopy}
		if i > 0 {
			opts = append(opts, client.DisableReadYourWritesConsistency) // the first list has waited for all writes
		}
		bindings, err := scope.Bindings.List(ctx, s.Client, own.Namespace, opts...)
		if err != nil {
			return nil, err
		}
		out = append(out, schedule.PlacementOf(p, bindings))
	}
	return out, nil
}

func (s *Scheduler) selected(ctx context.Context, own types.NamespacedName, selection schedule.Selection) (out []v1beta1.PlacementObject, err error) {
	if selection.ByLabels() {
		// One that cannot be decoded has bindings all the same, and its metadata says enough.
		all, err := scope.Placements.List(lenient.StandIns(ctx), s.Client, own.Namespace, scope.Fast()...)
		return slices.DeleteFunc(all, func(p v1beta1.PlacementObject) bool {
			return p.GetName() == own.Name || !selection.Has(p.GetName(), p.GetLabels())
		}), err
	}
	for _, name := range selection.Names() {
		p, err := scope.Placements.Get(ctx, s.Client, types.NamespacedName{Namespace: own.Namespace, Name: name})
		switch {
		case apierrors.IsNotFound(err) || name == own.Name:
		case err != nil:
			return nil, err
		default:
			out = append(out, p)
		}
	}
	return out, nil
}

// otherPlacements enqueues the placements that refer to one that appears, goes, or gets other labels.
func (s *Scheduler) otherPlacements() handler.EventHandler {
	enqueue := func(q queue, o client.Object, labels ...map[string]string) {
		for _, key := range s.followers.of(client.ObjectKeyFromObject(o), labels...) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { enqueue(q, e.Object, e.Object.GetLabels()) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld, e.ObjectNew
			if was.GetUID() != is.GetUID() || !maps.Equal(was.GetLabels(), is.GetLabels()) {
				enqueue(q, is, was.GetLabels(), is.GetLabels())
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { enqueue(q, e.Object, e.Object.GetLabels()) },
	}
}

// otherBindings enqueues the placements that refer to the placement of a binding whose cluster begins or ceases to
// count as picked.
func (s *Scheduler) otherBindings() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { s.enqueueFollowers(ctx, nil, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			s.enqueueFollowers(ctx, e.ObjectOld, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { s.enqueueFollowers(ctx, e.Object, nil, q) },
	}
}

// enqueueFollowers compares a binding with its previous state; was is nil for a new one, is for one that is gone.
func (s *Scheduler) enqueueFollowers(ctx context.Context, was, is client.Object, q queue) {
	before, after := pickOf(was), pickOf(is)
	if before == after {
		return
	}
	for _, placement := range []types.NamespacedName{before.placement, after.placement} {
		if placement.Name == "" || len(s.followers.of(placement)) == 0 {
			continue
		}
		var labels []map[string]string
		p := scope.Placements.New(placement)
		err := s.Client.Get(ctx, placement, p, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
		switch {
		case err == nil:
			labels = append(labels, p.GetLabels())
		case !apierrors.IsNotFound(err):
			ctrl.LoggerFrom(ctx).Error(err, "Failed to get the placement of a binding", "placement", scope.Name(placement))
		}
		for _, key := range s.followers.of(placement, labels...) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
}

// pick is what counts of a binding for other placements; a zero one if nothing does.
type pick struct {
	placement    types.NamespacedName
	uid, cluster string
}

func pickOf(o client.Object) pick {
	b, ok := o.(v1beta1.BindingObject)
	if !ok || !schedule.Occupies(b) {
		return pick{}
	}
	placement, _ := scope.PlacementOf(b)
	return pick{placement: placement, uid: b.GetAnnotations()[contract.AnnotationPlacementUID], cluster: b.GetSpec().TargetCluster}
}
