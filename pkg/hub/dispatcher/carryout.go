package dispatcher

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/membership"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
	"github.com/flagship-fleet/flagship/pkg/trace"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// writers is how many Works of one binding are written in parallel.
const writers = 8

// outcome is the result of carrying out a plan.
type outcome struct {
	// works are the wanted Works as the API server has them.
	works []*v1beta1.Work
	// failure, for the user, is why a Work could not be written. passing is whether that may end by itself; then err
	// is set too, unless its end is an event.
	failure  string
	passing  bool
	rejected bool
	err      error
}

// carryOut writes the changes. It continues after a failure, so that a Work that the API server refuses does not stop
// the others; the plan has already decided which Works may be written.
func (d *Dispatcher) carryOut(ctx context.Context, seen *observed, plan plan) outcome {
	ctx, end := trace.Step(ctx, "write works")
	defer end()
	var mu sync.Mutex
	written := map[string]*v1beta1.Work{}
	failed := map[string]error{}
	do := func(ctx context.Context, w write) error {
		err := w.do(ctx)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed[w.work.Name] = err
			return fmt.Errorf("%s work %s: %w", w.verb, client.ObjectKeyFromObject(w.work), err)
		}
		ctrl.LoggerFrom(ctx).Info(done[w.verb], "work", client.ObjectKeyFromObject(w.work), "snapshot", seen.order.Content.ResourceSnapshotName)
		written[w.work.Name] = w.work
		return nil
	}
	// The content of a Work to delete may be in another one now: the member must get that one first.
	last := work.Changes{Delete: plan.changes.Delete}
	plan.changes.Delete = nil
	err := loop.Each(ctx, writers, d.writes(seen, plan.changes), do)
	if err == nil {
		err = loop.Each(ctx, writers, d.writes(seen, last), do)
	}
	if err != nil {
		return assess(seen.order, failed, err)
	}
	return outcome{works: current(plan.wanted, seen.works, written)}
}

// write is one change to one Work; afterwards, work is the API server's answer.
type write struct {
	verb string
	work *v1beta1.Work
	do   func(context.Context) error
}

// done are the log messages of writes, by their verb.
var done = map[string]string{"create": "Created Work", "update": "Updated Work", "retune": "Updated strategies of Work", "delete": "Deleted Work"}

func (d *Dispatcher) writes(seen *observed, changes work.Changes) []write {
	var out []write
	for _, w := range changes.Create {
		out = append(out, write{"create", w, func(ctx context.Context) error {
			trace.PutOnWork(ctx, w, seen.uid)
			return d.create(ctx, w)
		}})
	}
	for _, w := range changes.Update {
		out = append(out, write{"update", w, func(ctx context.Context) error {
			trace.PutOnWork(ctx, w, seen.uid)
			return d.replace(ctx, w)
		}})
	}
	for _, w := range changes.Retune {
		before := seen.works[slices.IndexFunc(seen.works, func(s *v1beta1.Work) bool { return s.Name == w.Name })]
		out = append(out, write{"retune", w, func(ctx context.Context) error { return d.retune(ctx, before, w) }})
	}
	for _, w := range changes.Delete {
		out = append(out, write{"delete", w, func(ctx context.Context) error { return d.discard(ctx, w) }})
	}
	return out
}

func (d *Dispatcher) create(ctx context.Context, w *v1beta1.Work) error {
	if err := d.Client.Create(ctx, w); err != nil {
		return err
	}
	d.hands.wrote(w)
	return nil
}

// retune patches the strategies of a Work. Its manifests stay as they are on the API server, where another client may
// have changed them.
func (d *Dispatcher) retune(ctx context.Context, before, w *v1beta1.Work) error {
	seen := before.Generation
	respecified := !equality.Semantic.DeepEqual(before.Spec, w.Spec)
	if err := d.Client.Patch(ctx, w, client.MergeFrom(before)); err != nil {
		return err
	}
	d.hands.retuned(w, seen, respecified)
	return nil
}

// replace writes the whole spec and the marks of a Work that exists. A JSON patch, unlike an update, does not conflict
// with the member's status writes on the same Work, which may come at any moment.
func (d *Dispatcher) replace(ctx context.Context, w *v1beta1.Work) error {
	patch, err := json.Marshal([]map[string]any{
		{"op": "add", "path": "/metadata/labels", "value": w.Labels},
		{"op": "add", "path": "/metadata/annotations", "value": w.Annotations},
		{"op": "add", "path": "/spec", "value": w.Spec},
	})
	if err != nil {
		return err
	}
	if err := d.Client.Patch(ctx, w, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return err
	}
	d.hands.wrote(w)
	return nil
}

// discard deletes a Work of a binding that continues. Its objects have left the placement, and are removed: Abandon is
// for the objects that are left when the placement is deleted, or no longer picks the cluster.
func (d *Dispatcher) discard(ctx context.Context, w *v1beta1.Work) error {
	if w.Spec.DeleteStrategy.Abandons() {
		after := w.DeepCopy()
		after.Spec.DeleteStrategy.PropagationPolicy = v1beta1.DeletePropagationPolicyDelete
		if err := d.Client.Patch(ctx, after, client.MergeFrom(w)); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	return d.remove(ctx, w)
}

// remove deletes this very Work, not a later one of its name.
func (d *Dispatcher) remove(ctx context.Context, w *v1beta1.Work) error {
	gone := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name, UID: w.UID}}
	return client.IgnoreNotFound(d.Client.Delete(ctx, gone, client.Preconditions{UID: &w.UID}))
}

// current returns the wanted Works, as written or else as seen. Without a list of wanted ones it returns those seen
// that are not being deleted.
func current(wanted []string, seen []*v1beta1.Work, written map[string]*v1beta1.Work) []*v1beta1.Work {
	var out []*v1beta1.Work
	for _, w := range seen {
		if now := written[w.Name]; now != nil {
			w = now
		}
		if (wanted == nil && w.DeletionTimestamp.IsZero()) || slices.Contains(wanted, w.Name) {
			out = append(out, w)
		}
	}
	for _, name := range wanted {
		missing := !slices.ContainsFunc(out, func(w *v1beta1.Work) bool { return w.Name == name })
		if now := written[name]; missing && now != nil {
			out = append(out, now)
		}
	}
	return out
}

// assess sorts failed writes by their consequence for the user and for the retry. Conflicts have none: the next pass
// reads again.
func assess(order work.Order, failed map[string]error, err error) outcome {
	names := make([]string, 0, len(failed))
	for name := range failed {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		cause := failed[name]
		switch {
		case apierrors.IsConflict(cause) || apierrors.IsAlreadyExists(cause):
		case apierrors.HasStatusCause(cause, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(cause):
			// The registrar recreates the namespace, and an InternalMemberCluster in it, whose creation requeues the
			// binding.
			return outcome{passing: true, failure: fmt.Sprintf("The cluster's namespace %s is missing or being deleted", contract.MemberNamespace(order.Cluster))}
		case loop.Refused(cause):
			return outcome{rejected: true, failure: fmt.Sprintf("The hub's API server refuses work %s: %s", name, secrecy.WithoutValues(cause.Error()))}
		case apierrors.ReasonForError(cause) != metav1.StatusReasonUnknown:
			return outcome{passing: true, failure: fmt.Sprintf("The hub's API server could not store work %s: %s", name, secrecy.WithoutValues(cause.Error())), err: err}
		}
	}
	return outcome{err: err}
}

// release finishes the deletion of a binding: its Works are deleted first, and the finalizer is removed once they no
// longer exist, when the member has removed their objects. Without a member that could do that, the Works' finalizers
// are removed at once.
func (d *Dispatcher) release(ctx context.Context, binding v1beta1.BindingObject) error {
	if !slices.Contains(binding.GetFinalizers(), contract.FinalizerWork) {
		return nil
	}
	if waits, err := d.waits(ctx, binding); err != nil || waits {
		return err
	}
	key, cluster := client.ObjectKeyFromObject(binding), binding.GetSpec().TargetCluster
	// A Work need not be decodable to be deleted.
	works, err := d.worksOf(lenient.StandIns(ctx), key, cluster, scope.Fast()...)
	if err == nil && (len(works) == 0 || slices.ContainsFunc(works, d.hands.ahead)) {
		// This list waits for all writes of this agent: a Work created just before the deletion must not be missed, nor
		// what this agent has written to one.
		works, err = d.worksOf(lenient.StandIns(ctx), key, cluster, client.UnsafeDisableDeepCopy)
	}
	if err != nil {
		return err
	}
	if err := d.deleteLive(ctx, binding, works); err != nil {
		return err
	}
	if len(works) > 0 {
		absent, err := d.absent(ctx, cluster, works)
		if err != nil || !absent {
			return err
		}
		// The binding is released now, so no Work may be missed.
		if works, err = d.worksOf(lenient.StandIns(ctx), key, cluster, client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		if err := d.deleteLive(ctx, binding, works); err != nil {
			return err
		}
		if err := loop.Each(ctx, writers, works, d.free); err != nil {
			return fmt.Errorf("free works of %s: %w", key, err)
		}
	}
	return d.drop(ctx, binding)
}

// waits reports whether the Works of a deleted binding stay because its placement is being deleted, too, and that is
// held or not decided yet. If the namespace of the placement is deleted, its bindings are deleted by others than the
// scheduler.
func (d *Dispatcher) waits(ctx context.Context, binding v1beta1.BindingObject) (bool, error) {
	key, ok := scope.PlacementOf(binding)
	if !ok || scope.Reserved(key) {
		return false, nil
	}
	placement, err := d.placement(ctx, key)
	if err != nil || placement == nil || !scope.Of(binding, placement) {
		return false, err
	}
	if !placement.GetDeletionTimestamp().IsZero() || key.Namespace == "" || !removal.WouldHold(placement, d.Removal) {
		return removal.Waits(placement, d.Removal), nil
	}
	// Kubernetes deletes what is in a namespace in any order: the deletion of the placement comes, and requeues the
	// binding.
	var namespace corev1.Namespace
	if err := d.Direct.Get(ctx, types.NamespacedName{Name: key.Namespace}, &namespace); err != nil {
		return false, fmt.Errorf("get namespace %s: %w", key.Namespace, err)
	}
	return !namespace.DeletionTimestamp.IsZero(), nil
}

// deleteLive deletes those of the Works of a deleted binding that are not being deleted yet.
func (d *Dispatcher) deleteLive(ctx context.Context, binding v1beta1.BindingObject, works []*v1beta1.Work) error {
	live := slices.DeleteFunc(slices.Clone(works), func(w *v1beta1.Work) bool { return !w.DeletionTimestamp.IsZero() })
	if len(live) == 0 {
		return nil
	}
	if err := d.instruct(ctx, binding, live); err != nil {
		return err
	}
	if err := loop.Each(ctx, writers, live, d.remove); err != nil {
		return fmt.Errorf("delete works of %s: %w", client.ObjectKeyFromObject(binding), err)
	}
	ctrl.LoggerFrom(ctx).Info("Deleted the Works of the deleted binding", "binding", binding.GetName(), "works", len(live))
	return nil
}

// instruct sets the delete strategy on Works that are about to be deleted. That of the placement may have changed just
// before, and they must not use an older one; that of a replaced cluster may be another one.
func (d *Dispatcher) instruct(ctx context.Context, binding v1beta1.BindingObject, works []*v1beta1.Work) error {
	key, ok := scope.PlacementOf(binding)
	if !ok || len(works) == 0 {
		return nil
	}
	placement, err := d.placement(ctx, key)
	if err != nil || placement == nil {
		return err
	}
	wanted := placement.GetSpec().Strategy.DeleteStrategy
	if leaves(placement, binding) {
		wanted = ptr.To(ptr.Deref(wanted, v1beta1.DeleteStrategy{}))
		wanted.PropagationPolicy = v1beta1.DeletePropagationPolicyAbandon
	}
	return loop.Each(ctx, writers, works, func(ctx context.Context, w *v1beta1.Work) error {
		if equality.Semantic.DeepEqual(w.Spec.DeleteStrategy, wanted) {
			return nil
		}
		after := w.DeepCopy()
		after.Spec.DeleteStrategy = wanted.DeepCopy()
		if err := d.Client.Patch(ctx, after, client.MergeFrom(w)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("set the delete strategy of work %s: %w", client.ObjectKeyFromObject(w), err)
		}
		return nil
	})
}

// leaves returns whether the objects of a binding that is deleted stay on its cluster because another one replaces it.
// They do not when the placement moves to a better one, nor when it leaves the cluster because of a taint, which
// keeps objects off the cluster; nor when it is deleted itself: then its delete strategy decides. The replacement need
// not exist any more: that may have changed since it was decided to delete the binding, and objects that are removed
// do not come back.
func leaves(placement v1beta1.PlacementObject, binding v1beta1.BindingObject) bool {
	policy, replaced := placement.GetSpec().Policy, failover.ReplacedBy(binding)
	return policy != nil && policy.Failover != nil && policy.Failover.Purge == v1beta1.FailoverPurgeNever &&
		placement.GetDeletionTimestamp().IsZero() && binding.GetSpec().State == v1beta1.BindingStateUnscheduled &&
		replaced != nil && !replaced.Reason.Chosen() && replaced.Reason != failover.Tainted
}

// drop removes the binding's finalizer for Works, and the scheduler's with it if the binding's placement is being
// deleted as well: then the scheduler has nothing left to do.
func (d *Dispatcher) drop(ctx context.Context, binding v1beta1.BindingObject) error {
	doomed, err := d.isDoomed(ctx, binding)
	if err != nil {
		return err
	}
	from, stays, err := d.staying(ctx, binding)
	if err != nil {
		return err
	}
	before := binding.DeepCopyObject().(client.Object)
	binding.SetFinalizers(slices.DeleteFunc(binding.GetFinalizers(), func(f string) bool {
		return f == contract.FinalizerWork || doomed && f == contract.FinalizerBinding
	}))
	err = d.Client.Patch(ctx, binding, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove finalizers of binding %s: %w", client.ObjectKeyFromObject(binding), err)
	}
	ctrl.LoggerFrom(ctx).Info("Released binding", "binding", binding.GetName())
	if stays != "" {
		d.recorder(binding).Event(from, corev1.EventTypeNormal, report.ReasonObjectsAbandoned, stays)
	}
	return nil
}

// staying returns the placement of a binding, and why it leaves the binding's objects on the cluster; empty if it does
// not.
func (d *Dispatcher) staying(ctx context.Context, binding v1beta1.BindingObject) (from v1beta1.PlacementObject, why string, err error) {
	key, ok := scope.PlacementOf(binding)
	if !ok || meta.FindStatusCondition(binding.GetStatus().Conditions, v1beta1.ConditionApplied) == nil {
		return nil, "", nil
	}
	placement, err := d.placement(ctx, key)
	if err != nil || placement == nil {
		return nil, "", err
	}
	switch cluster := binding.GetSpec().TargetCluster; {
	case placement.GetSpec().Strategy.DeleteStrategy.Abandons():
		return placement, report.AbandonedOn(cluster), nil
	case leaves(placement, binding):
		return placement, report.LeftOn(cluster), nil
	}
	return nil, "", nil
}

// isDoomed reports whether the placement of a binding is being deleted or gone, or is one that the scheduler ignores.
func (d *Dispatcher) isDoomed(ctx context.Context, binding v1beta1.BindingObject) (bool, error) {
	key, ok := scope.PlacementOf(binding)
	if !ok || scope.Reserved(key) {
		return true, nil
	}
	placement, err := d.placement(ctx, key)
	return err == nil && (placement == nil || !placement.GetDeletionTimestamp().IsZero()), err
}

// absent reports whether no member can remove the objects of Works, if there are any: there is no such MemberCluster,
// or no agent has ever reported for it, nor on the Works. It reads from the API server: a member that is only missing
// in a cache would keep the objects of the Works.
func (d *Dispatcher) absent(ctx context.Context, cluster string, works []*v1beta1.Work) (bool, error) {
	key := types.NamespacedName{Name: cluster}
	err := d.Direct.Get(ctx, key, &clusterv1beta1.MemberCluster{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("get member cluster %s: %w", cluster, err)
	}
	if slices.ContainsFunc(works, func(w *v1beta1.Work) bool { return len(w.Status.Conditions) > 0 }) {
		return false, nil
	}
	var internal clusterv1beta1.InternalMemberCluster
	key.Namespace = contract.MemberNamespace(cluster)
	err = d.Direct.Get(ctx, key, &internal)
	if apierrors.IsNotFound(err) {
		return false, nil // an agent may have reported there before it was deleted
	}
	if err != nil {
		return false, fmt.Errorf("get internal member cluster %s: %w", cluster, err)
	}
	return membership.NeverJoined(&internal), nil
}

// free removes the member's finalizer from a Work. It patches metadata alone: the rest may be undecodable.
func (d *Dispatcher) free(ctx context.Context, w *v1beta1.Work) error {
	at := slices.Index(w.Finalizers, contract.FinalizerWork)
	if at < 0 {
		return nil
	}
	path := fmt.Sprintf("/metadata/finalizers/%d", at)
	patch, err := json.Marshal([]map[string]any{ // if the finalizers have changed, the patch fails
		{"op": "test", "path": path, "value": contract.FinalizerWork},
		{"op": "remove", "path": path},
	})
	if err != nil {
		return err
	}
	freed := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name}}
	freed.SetGroupVersionKind(v1beta1.GroupVersion.WithKind("Work"))
	return client.IgnoreNotFound(d.Client.Patch(ctx, freed, client.RawPatch(types.JSONPatchType, patch)))
}
