package roller

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/hub/give"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// heldMessages say what a binding that is held waits for, and what its reader can do.
var heldMessages = map[rollout.Why]string{
	rollout.ForBudget:  "Waits until maxUnavailable and maxSurge of the placement's rollout strategy let the cluster change; see the clusters that are not available",
	rollout.ForCluster: "Waits until what another binding of the placement put on the cluster is removed",
	rollout.ForAgent:   "Waits until the cluster's member agent reports again; see agentStatus of the MemberCluster",
}

// retreatMessage adds to a verdict how the rollout can go on.
func (s *seen) retreatMessage() string {
	command := "kubectl fleet rollout resume " + s.placement.Name
	if s.placement.Namespace != "" {
		command += " -n " + s.placement.Namespace
	}
	return s.want.Course.Spent.String(s.latest.IndexLabel()) + ". No further cluster gets it; change what is placed, or try again with \"" + command + "\""
}

// carryOut takes the step. Every write names the version that it is based on: what was decided from an older view fails, and is
// decided anew.
func (r *Roller) carryOut(ctx context.Context, seen *seen, step rollout.Step) error {
	if step.Course != nil {
		if err := r.remember(ctx, seen.latest.Master, *step.Course); err != nil {
			return err
		}
		seen.want.Course = *step.Course
	}
	writes := map[string][]func(context.Context, v1beta1.BindingObject) error{}
	var order []string
	add := func(name string, write func(context.Context, v1beta1.BindingObject) error) {
		if writes[name] == nil {
			order = append(order, name)
		}
		writes[name] = append(writes[name], write)
	}
	for _, name := range step.Move {
		add(name, func(ctx context.Context, b v1beta1.BindingObject) error { return r.move(ctx, b, seen) })
	}
	for _, name := range step.Restyle {
		add(name, func(ctx context.Context, b v1beta1.BindingObject) error { return r.restyle(ctx, b, seen.want) })
	}
	for _, name := range step.Remove {
		add(name, r.remove)
	}
	for _, held := range step.Hold {
		message := heldMessages[held.Why]
		if held.Why == rollout.ForVerdict {
			message = seen.retreatMessage()
		}
		add(held.Binding, func(ctx context.Context, b v1beta1.BindingObject) error {
			return r.tell(ctx, b, report.RolloutHeld(b.GetGeneration(), message))
		})
	}
	for _, back := range step.Back {
		add(back.Binding, func(ctx context.Context, b v1beta1.BindingObject) error { return r.takeBack(ctx, b, back.To, seen) })
	}
	for _, fate := range step.Fates {
		add(fate.Binding, func(ctx context.Context, b v1beta1.BindingObject) error { return r.tellFate(ctx, b, fate, seen) })
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

// move gives a binding its content.
func (r *Roller) move(ctx context.Context, b v1beta1.BindingObject, seen *seen) error {
	overrides := seen.want.Overrides[b.GetSpec().TargetCluster]
	content := give.Content{
		Revision: delivery.NewRevision(seen.want.Snapshot, overrides, &seen.want.Strategy), Fingerprint: overrides.Fingerprint,
	}
	if seen.budget.Policy == nil {
		delete(b.GetAnnotations(), contract.AnnotationRollout)
	} else {
		content.Mark = ptr.To(rollout.MarkOf(rollout.BindingOf(b), content.Revision, seen.want.Course, r.Now()))
	}
	return r.give(ctx, b, content)
}

// takeBack gives a binding what its cluster last ran healthily, and says so. What overrides made of the cluster's labels then is not
// known any more.
func (r *Roller) takeBack(ctx context.Context, b v1beta1.BindingObject, to v1beta1.Revision, seen *seen) error {
	content := give.Content{Revision: to, Mark: &delivery.Mark{To: to, At: r.Now(), Before: &to, Back: true}}
	if err := r.give(ctx, b, content); err != nil {
		return err
	}
	return r.tellFate(ctx, b, rollout.Fate{Binding: b.GetName(), What: rollout.Returning}, seen)
}

func (r *Roller) give(ctx context.Context, b v1beta1.BindingObject, content give.Content) error {
	if err := give.Give(ctx, r.Client, b, content); err != nil {
		return err
	}
	ctrl.LoggerFrom(ctx).V(1).Info("Moved binding", "binding", b.GetName(), "cluster", b.GetSpec().TargetCluster,
		"snapshot", content.Revision.ResourceSnapshotName)
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
	ctrl.LoggerFrom(ctx).V(1).Info("Removed binding", "binding", b.GetName(), "cluster", b.GetSpec().TargetCluster)
	return nil
}

// tell writes what became of a binding's rollout into its status, if it is not there already.
func (r *Roller) tell(ctx context.Context, b v1beta1.BindingObject, started metav1.Condition) error {
	before := b.DeepCopyObject().(v1beta1.BindingObject)
	*b.GetConditions() = report.Rollout(*before.GetConditions(), started, metav1.NewTime(r.Now()))
	meta.RemoveStatusCondition(b.GetConditions(), v1beta1.ConditionRolledBack)
	_, err := loop.WriteStatus(ctx, r.Client, before, b)
	return err
}

// tellFate writes what becomes of a binding that a failed rollout has changed into its status, if it is not there already.
func (r *Roller) tellFate(ctx context.Context, b v1beta1.BindingObject, fate rollout.Fate, seen *seen) error {
	before := b.DeepCopyObject().(v1beta1.BindingObject)
	now := metav1.NewTime(r.Now())
	if !fate.What.Has() {
		*b.GetConditions() = report.Rollout(*b.GetConditions(), report.RolloutHeld(b.GetGeneration(), seen.retreatMessage()), now)
	}
	to := ""
	if r := rollout.BindingOf(b).Before(); r != nil {
		to = r.ResourceSnapshotName
	}
	*b.GetConditions() = report.Rollout(*b.GetConditions(), report.TakenBack(b.GetGeneration(), fate, to), now)
	_, err := loop.WriteStatus(ctx, r.Client, before, b)
	return err
}

// remember writes what is to be remembered of a rollout, unless somebody else has changed the snapshot meanwhile.
func (r *Roller) remember(ctx context.Context, master v1beta1.ResourceSnapshotObject, course rollout.Course) error {
	key := client.ObjectKeyFromObject(master)
	patch, err := course.Patch(master)
	if err != nil {
		return err
	}
	snapshot := scope.ResourceSnapshots.New(key)
	snapshot.SetNamespace(key.Namespace)
	snapshot.SetName(key.Name)
	if err := r.Client.Patch(ctx, snapshot, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("remember the rollout of resource snapshot %s: %w", key, err)
	}
	if course.Spent != nil {
		ctrl.LoggerFrom(ctx).Info("Rollout spent its failure budget", "snapshot", key.Name, "reason", course.Spent.String(key.Name))
	}
	return nil
}
