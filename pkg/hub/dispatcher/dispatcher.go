// Package dispatcher carries out bindings: it writes the Works of a bound binding into its cluster's namespace,
// reports their outcome in the binding's status, and finishes the deletion of a binding once its Works are gone.
//
// It reads bindings, resource, policy and override snapshots, Works, placements, MemberClusters and
// InternalMemberClusters from the cache.
package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/failover/state"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/replicas"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/trace"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// Names of the event recorders, by the scope of the binding that the event is about.
const (
	RecorderName           = "cluster resource binding work generator"
	NamespacedRecorderName = "resource binding work generator"
)

// rejectedWait is how long until a Work that the API server refused is retried without an event: a quota or a webhook
// may have changed.
const rejectedWait = time.Minute

// Dispatcher reconciles bindings of both scopes.
type Dispatcher struct {
	// Client reads from the cache, in which scope.Index has registered its indexes, and sees its own writes.
	Client client.Client
	// Direct reads from the API server itself.
	Direct client.Reader
	// Recorder and NamespacedRecorder take the events of ClusterResourceBindings and of ResourceBindings.
	Recorder, NamespacedRecorder record.EventRecorder
	// Workers is the number of bindings reconciled in parallel.
	Workers int
	// Namespaced is whether ResourceBindings are served.
	Namespaced bool
	// ClusterScoped reports the scope of the kinds that the hub serves.
	ClusterScoped work.Scopes
	// Removal is what one change may remove if its placement does not say.
	Removal removal.Policy
	// Now is the clock.
	Now func() time.Time
	// Trace records spans; nil for none.
	Trace *trace.Agent

	delayed loop.HoldBacks
	hands   hands
	granted loop.Granted
	// idleReported are the UIDs of override snapshots for which the event was recorded that they select nothing.
	idleReported sync.Map
	// foreignReported are the UIDs of Works that only claim to belong to a binding and for which an event was
	// recorded.
	foreignReported sync.Map
}

// Reconcile carries out one binding.
func (d *Dispatcher) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	binding, err := scope.Bindings.Get(ctx, d.Client, req.NamespacedName)
	if apierrors.IsNotFound(err) {
		d.delayed.End(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	of := trace.Subject{UID: trace.PlacementUID(binding), Cluster: binding.GetSpec().TargetCluster}
	if key, ok := scope.PlacementOf(binding); ok {
		of.Placement = key
		ctx = ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("placement", scope.Name(key), "cluster", binding.GetSpec().TargetCluster))
	}
	if !binding.GetDeletionTimestamp().IsZero() {
		d.delayed.End(req.NamespacedName)
		d.granted.Done(binding.GetUID())
		ctx, end := d.Trace.Remove(ctx, req.NamespacedName, of, binding.GetDeletionTimestamp())
		defer func() { end(err) }()
		return ctrl.Result{}, d.release(ctx, binding)
	}
	if scope.Reserved(req.NamespacedName) {
		return ctrl.Result{}, nil // its author may be a member; only its deletion is carried out, with the Works of an older version
	}
	if state := binding.GetSpec().State; state != v1beta1.BindingStateBound && state != v1beta1.BindingStateUnscheduled {
		return ctrl.Result{}, nil
	}
	ctx, end := d.Trace.Continue(ctx, req.NamespacedName, of, binding)
	defer func() { end(err) }()
	return d.dispatch(ctx, binding)
}

// dispatch updates the Works of a binding that is not being deleted and reports on them.
func (d *Dispatcher) dispatch(ctx context.Context, binding v1beta1.BindingObject) (ctrl.Result, error) {
	seen, err := d.observe(ctx, binding)
	if err != nil || seen == nil {
		return ctrl.Result{}, err
	}
	if seen.doubt != nil && (!seen.doubt.Keeps || len(seen.works) == 0) {
		result, _, err := d.report(ctx, binding, report.BindingFacts{
			Generation: binding.GetGeneration(), Overridden: seen.order.Overridden(), SyncFailure: seen.doubt.Why, Passing: seen.doubt.Passing,
			Held: seen.held,
		})
		return result, err
	}
	resumed := seen.external && (seen.divided || !failover.TakenBack(binding).IsZero()) && work.Holds(seen.order, seen.works)
	plan, err := d.plan(ctx, seen)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := d.claim(ctx, binding, plan.changes); err != nil {
		return ctrl.Result{}, err
	}
	outcome := d.carryOut(ctx, seen, plan)
	if outcome.err != nil && outcome.failure == "" {
		return ctrl.Result{}, outcome.err // the user cannot act on it
	}
	if plan.sync == "" {
		plan.sync, plan.passing = outcome.failure, plan.passing || outcome.passing
	}
	held := seen.held
	if plan.braked && (outcome.failure == "" || plan.held != nil) {
		held = plan.held // a removal that was released and has failed stays the same one
	}
	result, wrote, err := d.report(ctx, binding, report.BindingFacts{
		Generation:      binding.GetGeneration(),
		Bound:           binding.GetSpec().State == v1beta1.BindingStateBound && (!seen.external || failover.Replaces(binding) != nil),
		Resumed:         resumed,
		Overridden:      seen.order.Overridden(),
		IdleOverrides:   idleNames(plan.idle),
		Content:         seen.order.Content,
		ReportDiff:      delivery.Compared(seen.order.Content.ApplyStrategy),
		OverrideFailure: plan.override,
		SyncFailure:     plan.sync,
		Passing:         plan.passing,
		Works:           outcome.works,
		Shares:          seen.order.Shares,
		Held:            held,
		Kept:            plan.kept,
	})
	if err != nil || outcome.err != nil {
		return ctrl.Result{}, errors.Join(err, outcome.err)
	}
	if plan.braked && outcome.failure == "" {
		d.granted.Done(seen.order.UID)
	}
	if wrote {
		d.recordEvents(binding, append(plan.events, d.idleEvents(seen.order, plan.idle)...))
	}
	if outcome.rejected && result.RequeueAfter == 0 {
		result.RequeueAfter = rejectedWait
	}
	if plan.again > 0 && (result.RequeueAfter == 0 || plan.again < result.RequeueAfter) {
		result.RequeueAfter = plan.again
	}
	return result, nil
}

// report writes the binding's status if it differs and is worth a write now; otherwise it returns when to check again.
func (d *Dispatcher) report(ctx context.Context, binding v1beta1.BindingObject, facts report.BindingFacts) (result ctrl.Result, wrote bool, err error) {
	ctx, end := trace.Step(ctx, "report")
	defer end()
	key := client.ObjectKeyFromObject(binding)
	before := binding.DeepCopyObject().(client.Object)
	now := d.Now()
	update := report.Binding(*binding.GetStatus(), facts, metav1.NewTime(now))
	if equality.Semantic.DeepEqual(*binding.GetStatus(), update.Status) {
		d.delayed.End(key)
		return ctrl.Result{}, false, nil
	}
	if wait := d.delayed.Wait(key, report.Hold(update.Settled), now); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, false, nil
	}
	*binding.GetStatus() = update.Status
	wrote, err = loop.WriteStatus(ctx, d.Client, before, binding)
	if err != nil {
		return ctrl.Result{}, false, err
	}
	d.delayed.End(key)
	return ctrl.Result{}, wrote, nil
}

// claim adds the finalizer to a binding that lacks it before its first Work is created. The roller sets it together
// with the content; other clients that bind may not.
func (d *Dispatcher) claim(ctx context.Context, binding v1beta1.BindingObject, changes work.Changes) error {
	if len(changes.Create) == 0 || controllerutil.ContainsFinalizer(binding, contract.FinalizerWork) {
		return nil
	}
	before := binding.DeepCopyObject().(client.Object)
	controllerutil.AddFinalizer(binding, contract.FinalizerWork)
	if err := d.Client.Patch(ctx, binding, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("add finalizer to binding %s: %w", client.ObjectKeyFromObject(binding), err)
	}
	return nil
}

// observed is the state of one binding as it was read. It belongs to the cache and must not be modified.
type observed struct {
	order   work.Order
	cluster override.Cluster
	// uid is that of the placement; empty if the binding does not name it.
	uid types.UID
	// external is whether update runs start its rollouts.
	external bool
	// divided is whether the placement divides replicas; then shares are those of the revision, nil if they are not
	// decided.
	divided bool
	shares  *v1beta1.RevisionShares
	// policy is what a change may remove from the cluster, held what is held of one, and released are the digests of
	// those that are let through.
	policy   removal.Policy
	held     *v1beta1.HeldRemoval
	released []string
	// doubt is why the binding is not carried out; nil if it is.
	doubt     *work.Doubt
	snapshots []v1beta1.ResourceSnapshotObject
	works     []*v1beta1.Work
}

// observe reads the state of a binding. It returns nil for a binding that has to wait: its cluster does not exist, or
// is leaving, and then its Works must stay unchanged. The creation of the InternalMemberCluster requeues it.
func (d *Dispatcher) observe(ctx context.Context, binding v1beta1.BindingObject) (*observed, error) {
	order, ok := work.OrderOf(binding, nil)
	if !ok {
		return nil, nil
	}
	log := ctrl.LoggerFrom(ctx)
	var cluster clusterv1beta1.MemberCluster
	err := d.Client.Get(ctx, types.NamespacedName{Name: order.Cluster}, &cluster, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		log.V(1).Info("Waiting for the member cluster")
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get member cluster %s: %w", order.Cluster, err)
	case !cluster.DeletionTimestamp.IsZero():
		log.V(1).Info("Skipped binding of a leaving cluster")
		return nil, nil
	}
	placement, err := d.placement(ctx, order.Placement)
	if err != nil {
		return nil, err
	}
	out := &observed{order: order, cluster: override.Cluster{Name: cluster.Name, Labels: cluster.Labels}, uid: trace.PlacementUID(binding), held: binding.GetStatus().HeldRemoval}
	if placement != nil {
		out.policy, out.released = removal.PolicyOf(placement, d.Removal), removal.Released(placement)
		strategy := placement.GetSpec().Strategy
		out.order.ReportBack, out.order.Delete = state.ReportBack(placement.GetSpec()), strategy.DeleteStrategy
		out.external = strategy.Type == v1beta1.RolloutStrategyTypeExternal
		if out.divided = replicas.PolicyOf(placement) != nil; out.divided {
			if shares, ok := replicas.Of(binding, order.Content.ResourceSnapshotName); ok {
				out.shares = &shares
				out.order.Shares = shares.Workloads
			}
		}
	}
	if out.snapshots, err = scope.ResourceSnapshots.List(ctx, d.Client, order.Placement.Namespace, scope.Fast(scope.OfPlacement(order.Placement))...); err != nil {
		return nil, err
	}
	works, err := d.worksOf(ctx, order.Binding, order.Cluster, scope.Fast()...)
	if err != nil {
		return nil, err
	}
	for _, w := range works {
		if d.hands.ahead(w) { // the cache has not seen this agent's last write
			if w, err = d.namesake(ctx, client.ObjectKeyFromObject(w)); err != nil {
				return nil, err
			}
			if w == nil {
				continue
			}
		}
		if order.Adopts(w) {
			out.works = append(out.works, w)
		} else {
			d.reportForeign(ctx, binding, w)
		}
	}
	return out, d.believe(ctx, binding, placement, out)
}

// believe sets the reason against carrying out the binding, and keeps only the placement's own snapshots.
func (d *Dispatcher) believe(ctx context.Context, binding v1beta1.BindingObject, placement v1beta1.PlacementObject, out *observed) error {
	key := out.order.Placement
	policies, err := scope.PolicySnapshots.List(ctx, d.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...)
	if err != nil {
		return err
	}
	out.doubt = work.Believe(binding, placement, policies, out.snapshots)
	if out.doubt == nil {
		out.snapshots = slices.DeleteFunc(out.snapshots, func(s v1beta1.ResourceSnapshotObject) bool { return !scope.OwnedBy(s, placement) })
	}
	return nil
}

// placement reads a placement; nil if there is none.
func (d *Dispatcher) placement(ctx context.Context, key types.NamespacedName) (v1beta1.PlacementObject, error) {
	placement := scope.Placements.New(key)
	err := d.Client.Get(ctx, key, placement, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get placement %s: %w", key, err)
	}
	return placement, nil
}

// reportForeign reports, once, a Work that names a binding but was not made for it. Its reports are not used, and it
// is left unchanged.
func (d *Dispatcher) reportForeign(ctx context.Context, binding v1beta1.BindingObject, w *v1beta1.Work) {
	if _, known := d.foreignReported.LoadOrStore(w.UID, true); known {
		return
	}
	ctrl.LoggerFrom(ctx).Info("Ignored Work that was not created for the binding it names", "work", client.ObjectKeyFromObject(w))
	d.recordEvents(binding, []happening{{reason: eventForeign, message: fmt.Sprintf(
		"Work %s names this binding but was not created for it; the hub agent ignores it, and you can delete it", client.ObjectKeyFromObject(w))}})
}

// worksOf lists the Works that name a binding, in its cluster's namespace, including terminating ones.
func (d *Dispatcher) worksOf(ctx context.Context, binding types.NamespacedName, cluster string, opts ...client.ListOption) ([]*v1beta1.Work, error) {
	var list v1beta1.WorkList
	opts = append([]client.ListOption{client.InNamespace(contract.MemberNamespace(cluster)), scope.OfBinding(binding)}, opts...)
	if err := d.Client.List(ctx, &list, opts...); err != nil {
		return nil, fmt.Errorf("list works of %s: %w", binding, err)
	}
	out := make([]*v1beta1.Work, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out, nil
}
