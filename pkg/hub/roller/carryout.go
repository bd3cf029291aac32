package roller

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/rollout"
)

// heldMessages say what a binding that is held waits for, and what its reader can do.
var heldMessages = map[rollout.Why]string{
	rollout.ForBudget:  "Waits until maxUnavailable and maxSurge of the placement's rollout strategy let the cluster change; see the clusters that are not available",
	rollout.ForCluster: "Waits until what another binding of the placement put on the cluster is removed",
	rollout.ForAgent:   "Waits until the cluster's member agent reports again; see agentStatus of the MemberCluster",
}

// carryOut takes the step. Every write names the version that it is based on: what was decided from an older view fails, and is
// decided anew.
func (r *Roller) carryOut(ctx context.Context, seen *seen, step rollout.Step) error {
	writes := map[string][]func(context.Context, v1beta1.BindingObject) error{}
	var order []string
	add := func(name string, write func(context.Context, v1beta1.BindingObject) error) {
		if writes[name] == nil {
			order = append(order, name)
		}
		writes[name] = append(writes[name], write)
	}
	for _, name := range step.Move {
		add(name, func(ctx context.Context, b v1beta1.BindingObject) error { return r.move(ctx, b, seen.want) })
	}
	for _, name := range step.Restyle {
		add(name, func(ctx context.Context, b v1beta1.BindingObject) error { return r.restyle(ctx, b, seen.want) })
	}
	for _, name := range step.Remove {
		add(name, r.remove)
	}
	for _, held := range step.Hold {
		add(held.Binding, func(ctx context.Context, b v1beta1.BindingObject) error {
			return r.tell(ctx, b, report.RolloutHeld(b.GetGeneration(), heldMessages[held.Why]))
		})
	}
	for _, name := range step.Resume {
		add(name, func(ctx context.Context, b v1beta1.BindingObject) error {
			return r.tell(ctx, b, report.RolloutStarted(b.GetGeneration()))
		})
	}
	return loop.Each(ctx, writersPerPlacement, order, func(ctx context.Context, name string) error {
		binding := seen.bindings[name].DeepCopyObject().(v1beta1.BindingObject)
		for _, write := range writes[name] {
			if err := write(ctx, binding); err != nil {
				return err
			}
		}
		return nil
	})
}

// move gives a binding its content, and everything that goes with it, in one write.
func (r *Roller) move(ctx context.Context, b v1beta1.BindingObject, want rollout.Content) error {
	spec := b.GetSpec()
	spec.State = v1beta1.BindingStateBound
	spec.ResourceSnapshotName = want.Snapshot
	overrides := want.Overrides[spec.TargetCluster]
	spec.ClusterResourceOverrideSnapshots, spec.ResourceOverrideSnapshots = overrides.Cluster, overrides.Namespaced
	spec.OverrideFingerprint = overrides.Fingerprint
	spec.ApplyStrategy = want.Strategy.DeepCopy()
	controllerutil.AddFinalizer(b, contract.FinalizerWork)
	if err := r.Client.Update(ctx, b); err != nil {
		return fmt.Errorf("move binding %s to %s: %w", client.ObjectKeyFromObject(b), want.Snapshot, err)
	}
	ctrl.LoggerFrom(ctx).V(1).Info("moved", "binding", b.GetName(), "cluster", spec.TargetCluster, "snapshot", want.Snapshot)
	return nil
}

// restyle changes how a binding's content is applied, and leaves what it is.
func (r *Roller) restyle(ctx context.Context, b v1beta1.BindingObject, want rollout.Content) error {
	b.GetSpec().ApplyStrategy = want.Strategy.DeepCopy()
	if err := r.Client.Update(ctx, b); err != nil {
		return fmt.Errorf("change apply strategy of binding %s: %w", client.ObjectKeyFromObject(b), err)
	}
	return nil
}

func (r *Roller) remove(ctx context.Context, b v1beta1.BindingObject) error {
	err := r.Client.Delete(ctx, b, client.Preconditions(metav1.Preconditions{UID: ptr.To(b.GetUID()), ResourceVersion: ptr.To(b.GetResourceVersion())}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete binding %s: %w", client.ObjectKeyFromObject(b), err)
	}
	ctrl.LoggerFrom(ctx).V(1).Info("removed", "binding", b.GetName(), "cluster", b.GetSpec().TargetCluster)
	return nil
}

// tell writes what became of a binding's rollout into its status, if it is not there already.
func (r *Roller) tell(ctx context.Context, b v1beta1.BindingObject, started metav1.Condition) error {
	before := b.DeepCopyObject().(v1beta1.BindingObject)
	*b.GetConditions() = report.Rollout(*before.GetConditions(), started, metav1.NewTime(r.Now()))
	_, err := loop.WriteStatus(ctx, r.Client, before, b)
	return err
}
