package scheduler

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/hub/give"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// external reports whether update runs roll out a placement.
func external(placement v1beta1.PlacementObject) bool {
	return placement.GetSpec().Strategy.Type == v1beta1.RolloutStrategyTypeExternal
}

// activeRun returns the name of an update run that another set of clusters would end; empty if there is none. The cache
// may not have a run that was just created. Such a run has no plan, or one for the clusters before the exchange: the
// stager plans it when both writes of the exchange are done, or aborts it because other clusters are picked.
func (s *Scheduler) activeRun(ctx context.Context, placement v1beta1.PlacementObject) (string, error) {
	if !s.Runs || !external(placement) {
		return "", nil
	}
	key := client.ObjectKeyFromObject(placement)
	runs, err := scope.UpdateRuns.List(ctx, s.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...)
	return delivery.ActiveRun(runs, placement), err
}

// runs passes update runs that become active or end.
func runs() predicate.Predicate {
	active := func(obj client.Object) bool {
		run := obj.(v1beta1.UpdateRunObject)
		return delivery.Active(run, run.GetStatus().PlacementUID)
	}
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return !e.IsInInitialList && active(e.Object) },
		UpdateFunc:  func(e event.UpdateEvent) bool { return active(e.ObjectOld) != active(e.ObjectNew) },
		DeleteFunc:  func(e event.DeleteEvent) bool { return active(e.Object) },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// requestOfRun enqueues the placement of an update run.
func requestOfRun(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{
		Namespace: obj.GetNamespace(), Name: obj.(v1beta1.UpdateRunObject).GetSpec().PlacementName,
	}}}
}

// inherit gives a binding, in memory, the content of the one to the cluster that it replaces: revision, overrides and
// apply strategy. It leaves the binding as it is if there is no such content, or some of it does not exist any more:
// then the binding waits for an update run, like that of any other new cluster.
func (s *Scheduler) inherit(ctx context.Context, bindings []v1beta1.BindingObject, of string, b v1beta1.BindingObject) error {
	from := withContent(bindings, of)
	if from == nil {
		return nil
	}
	revision := delivery.Of(from)
	search := give.Search{Client: s.Client, Direct: s.Direct}
	lost, err := search.Lost(ctx, b.GetNamespace(), revision)
	if err != nil {
		return err
	}
	if lost != nil {
		ctrl.LoggerFrom(ctx).Info("Waiting for an update run: the content of the replaced cluster is gone",
			"cluster", b.GetSpec().TargetCluster, "reason", lost.Gone())
		return nil
	}
	var cluster clusterv1beta1.MemberCluster
	if err := s.Client.Get(ctx, types.NamespacedName{Name: b.GetSpec().TargetCluster}, &cluster, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("get member cluster %s: %w", b.GetSpec().TargetCluster, err)
	}
	target := override.Cluster{Name: cluster.Name, Labels: cluster.Labels}
	fingerprint, err := give.Fingerprint(ctx, s.Client, delivery.OverridesIn(revision), target)
	if err != nil {
		return err
	}
	return give.Content{Revision: revision, Fingerprint: fingerprint}.Put(b)
}

// withContent returns the binding to a cluster that was given content, a living one rather than one that was given up;
// nil if there is none.
func withContent(bindings []v1beta1.BindingObject, cluster string) (found v1beta1.BindingObject) {
	for _, b := range bindings {
		spec := b.GetSpec()
		if spec.TargetCluster != cluster || !b.GetDeletionTimestamp().IsZero() || spec.ResourceSnapshotName == "" ||
			!delivery.MayHaveContent(spec.State, delivery.Previous(b), spec.ResourceSnapshotName) {
			continue
		}
		if found == nil || spec.State == v1beta1.BindingStateBound {
			found = b
		}
	}
	return found
}
