// Package divider divides the replicas of workloads over the clusters of their placement: it reads a placement, its
// bindings, resource snapshots and override snapshots, and the MemberClusters, decides with package replicas, and
// writes the shares on the bindings.
//
// It serves placements with policy.replicas, and removes shares from the bindings of others.
package divider

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/replicas"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// RecorderName is the name under which the divider records events.
const RecorderName = "replica-divider"

// eventLost is the reason of the event that other clusters get the replicas of a lost one.
const eventLost = "ReplicasMovedFromLostCluster"

// writersPerPlacement is how many bindings of one placement are written at once.
const writersPerPlacement = 16

// Divider reconciles placements of both scopes.
type Divider struct {
	// Client reads from the cache, in which scope.Index has registered its indexes, and sees its own writes.
	Client client.Client
	// Workers is how many placements are reconciled at once.
	Workers int
	// Namespaced is whether ResourcePlacements are served.
	Namespaced bool
	// Domain is the label of MemberClusters that names domains which can fail as a whole; empty for none.
	Domain string
	// Recorder records on placements that replicas move because a cluster is lost, and why they cannot be divided.
	Recorder record.EventRecorder
	// Now is the clock.
	Now func() time.Time

	problems sync.Map // by placement: the message recorded last
	contents contents
	promises promises
	// waiting are the placements with replicas for which no cluster had room.
	waiting loop.Waiting
}

// Reconcile takes the next step of one placement.
func (d *Divider) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ctx = ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("placement", scope.Name(req.NamespacedName)))
	placement := scope.Placements.New(req.NamespacedName)
	err := d.Client.Get(ctx, req.NamespacedName, placement, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		d.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get placement %s: %w", scope.Name(req.NamespacedName), err)
	}
	if !placement.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil
	}
	bindings, err := d.bindings(ctx, placement)
	if err != nil {
		return ctrl.Result{}, err
	}
	if replicas.PolicyOf(placement) == nil || len(bindings) == 0 {
		d.forget(req.NamespacedName)
		return ctrl.Result{}, d.clear(ctx, bindings)
	}
	return d.divide(ctx, placement, bindings)
}

// forget forgets what is remembered about a placement that divides nothing.
func (d *Divider) forget(placement types.NamespacedName) {
	d.contents.forget(placement)
	d.waiting.Set(placement, false)
	d.problems.Delete(placement)
}

// divide writes the next shares.
func (d *Divider) divide(ctx context.Context, placement v1beta1.PlacementObject, bindings map[string]v1beta1.BindingObject) (ctrl.Result, error) {
	request, again, ok, err := d.request(ctx, placement, bindings)
	if err != nil || !ok {
		return ctrl.Result{}, err
	}
	d.recordProblem(placement, request.Revisions[len(request.Revisions)-1])
	decision, err := replicas.Decide(request)
	if err != nil { // the user has to correct the policy, and the placement's status says so
		ctrl.LoggerFrom(ctx).V(1).Info("Replicas cannot be divided", "reason", err.Error())
		d.waiting.Set(client.ObjectKeyFromObject(placement), false)
		return ctrl.Result{}, nil
	}
	d.waiting.Set(client.ObjectKeyFromObject(placement), decision.Waiting)
	write := func(ctx context.Context, w replicas.Write) error {
		if err := d.write(ctx, bindings[w.Binding], w.Shares); err != nil {
			return err
		}
		cluster := bindings[w.Binding].GetSpec().TargetCluster
		if w.Lost {
			d.Recorder.Event(placement, corev1.EventTypeWarning, eventLost, fmt.Sprintf("Cluster %s is lost: other clusters get its replicas", cluster))
		}
		d.promises.add(cluster, w.Promises, d.Now())
		return nil
	}
	for writes := decision.Writes; len(writes) > 0; {
		turn := writes
		if end := slices.IndexFunc(writes, func(w replicas.Write) bool { return w.Turn != writes[0].Turn }); end > 0 {
			turn = writes[:end]
		}
		if err := loop.Each(ctx, writersPerPlacement, turn, write); err != nil {
			return ctrl.Result{}, err
		}
		writes = writes[len(turn):]
	}
	if again == 0 || decision.Again > 0 && decision.Again < again {
		again = decision.Again
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// recordProblem records once why the latest revision cannot be divided.
func (d *Divider) recordProblem(placement v1beta1.PlacementObject, latest replicas.Revision) {
	key := client.ObjectKeyFromObject(placement)
	if latest.Problem == nil {
		d.problems.Delete(key)
		return
	}
	text := latest.Problem.Error()
	if was, _ := d.problems.Swap(key, text); was != text {
		d.Recorder.Event(placement, corev1.EventTypeWarning, v1beta1.ReasonNotDividable, "The replicas are not divided, and the content waits: "+text)
	}
}

// write sets the shares of a binding. It names the resourceVersion that the shares were decided from.
func (d *Divider) write(ctx context.Context, seen v1beta1.BindingObject, shares []v1beta1.RevisionShares) error {
	binding := seen.DeepCopyObject().(v1beta1.BindingObject)
	binding.GetSpec().Shares = shares
	err := d.Client.Patch(ctx, binding, client.MergeFromWithOptions(seen, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the shares of binding %s: %w", client.ObjectKeyFromObject(seen), err)
	}
	ctrl.LoggerFrom(ctx).Info("Changed shares of replicas", "binding", binding.GetName(), "cluster", binding.GetSpec().TargetCluster)
	return nil
}

// clear removes shares from bindings of a placement that does not divide replicas.
func (d *Divider) clear(ctx context.Context, bindings map[string]v1beta1.BindingObject) error {
	var names []string
	for name, b := range bindings {
		if len(b.GetSpec().Shares) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return loop.Each(ctx, writersPerPlacement, names, func(ctx context.Context, name string) error { return d.write(ctx, bindings[name], nil) })
}

// bindings reads the placement's bindings that are not being deleted, each no older than the last write of this
// process to it: a step that is carried out must not be decided again.
func (d *Divider) bindings(ctx context.Context, placement v1beta1.PlacementObject) (map[string]v1beta1.BindingObject, error) {
	key := client.ObjectKeyFromObject(placement)
	list, err := scope.Bindings.List(ctx, d.Client, key.Namespace, scope.OfPlacement(key), client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, err
	}
	out := make(map[string]v1beta1.BindingObject, len(list))
	for _, b := range list {
		if scope.Of(b, placement) && b.GetDeletionTimestamp().IsZero() {
			out[b.GetName()] = b
		}
	}
	return out, nil
}

// request reads the input of a decision; ok is false if there is nothing to divide yet. again is when to decide again
// without an event, 0 for never.
func (d *Divider) request(ctx context.Context, placement v1beta1.PlacementObject, bindings map[string]v1beta1.BindingObject) (
	request replicas.Request, again time.Duration, ok bool, err error) {
	key := client.ObjectKeyFromObject(placement)
	observed := replicas.Observed{
		Placement: placement, Bindings: slices.Collect(maps.Values(bindings)), Objects: work.ObjectsOf, Promised: d.promises.on,
		Numbers: d.contents.of(key).numbers(placement), Domain: d.Domain, Now: d.Now(),
		Override: func(key types.NamespacedName) (v1beta1.OverrideSnapshotObject, error) { return d.override(ctx, key) },
	}
	if observed.Snapshots, err = scope.ResourceSnapshots.List(ctx, d.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...); err != nil {
		return request, 0, false, err
	}
	if observed.Policies, err = scope.PolicySnapshots.List(ctx, d.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...); err != nil {
		return request, 0, false, err
	}
	var clusters clusterv1beta1.MemberClusterList
	if err := d.Client.List(ctx, &clusters, scope.Fast()...); err != nil {
		return request, 0, false, fmt.Errorf("list member clusters: %w", err)
	}
	observed.Clusters = clusters.Items
	return observed.Request()
}

// override reads an override snapshot; nil if it does not exist any more.
func (d *Divider) override(ctx context.Context, key types.NamespacedName) (v1beta1.OverrideSnapshotObject, error) {
	s := scope.OverrideSnapshots.New(key)
	err := d.Client.Get(ctx, key, s, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get override snapshot %s: %w", scope.Name(key), err)
	}
	return s, nil
}
