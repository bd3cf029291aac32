package roller

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// blockedMessages are for bindings that cannot get their content yet: why, and where to look.
var blockedMessages = map[rollout.Block]string{
	rollout.ByBudget: "Waiting until maxUnavailable and maxSurge of the placement's rollout strategy let the cluster change; " +
		"see the clusters that are not available",
	rollout.ByCluster: "Waiting until the content of another binding of the placement is removed from the cluster",
	rollout.ByAgent:   "Waiting until the cluster's member agent reports again; see agentStatus of the MemberCluster",
}

// rejectionMessage is for bindings that do not get a rejected revision.
func (s *observed) rejectionMessage() string {
	command := "kubectl fleet rollout resume " + s.placement.Name
	if s.placement.Namespace != "" {
		command += " -n " + s.placement.Namespace
	}
	return s.want.Course.Spent.Message(s.latest.IndexLabel()) + ". No other cluster gets it; change the resources, or try again with \"" + command + "\""
}

// carryOut carries out the step. Every write names the resourceVersion that it was decided from, so that a decision
// from an older one conflicts, and is made again.
func (r *Roller) carryOut(ctx context.Context, seen *observed, step rollout.Step) error {
	if step.Course != nil {
		if err := r.storeCourse(ctx, seen, *step.Course); err != nil {
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
	for _, blocked := range step.Blocked {
		message := blockedMessages[blocked.By]
		if blocked.By == rollout.ByRejection {
			message = seen.rejectionMessage()
		}
		add(blocked.Binding, func(ctx context.Context, b v1beta1.BindingObject) error {
			return r.reportRollout(ctx, b, report.RolloutBlocked(b.GetGeneration(), message))
		})
	}
	for _, back := range step.Back {
		add(back.Binding, func(ctx context.Context, b v1beta1.BindingObject) error { return r.rollBack(ctx, b, back.To, seen) })
	}
	for _, fallback := range step.Fallback {
		add(fallback.Binding, func(ctx context.Context, b v1beta1.BindingObject) error { return r.fallBack(ctx, b, fallback.To) })
	}
	for _, fate := range step.Fates {
		add(fate.Binding, func(ctx context.Context, b v1beta1.BindingObject) error { return r.reportFate(ctx, b, fate.Fate, seen) })
	}
	for _, name := range step.Resume {
		add(name, func(ctx context.Context, b v1beta1.BindingObject) error {
			return r.reportRollout(ctx, b, report.RolloutStarted(b.GetGeneration()))
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

// move gives a binding the latest content.
func (r *Roller) move(ctx context.Context, b v1beta1.BindingObject, seen *observed) error {
	overrides := seen.want.Overrides[b.GetSpec().TargetCluster]
	content := give.Content{
		Revision: delivery.NewRevision(seen.want.Snapshot, overrides, &seen.want.Strategy), Fingerprint: overrides.Fingerprint,
	}
	if seen.budget.Policy == nil {
		delete(b.GetAnnotations(), contract.AnnotationRollout)
	} else {
		content.Mark = ptr.To(rollout.NewMark(rollout.BindingOf(b), content.Revision, seen.want.Course, r.Now()))
	}
	if err := give.Give(ctx, r.Client, b, content); err != nil {
		return err
	}
	log(ctx, b, "Bound cluster", "snapshot", seen.want.Snapshot)
	return nil
}

// rollBack gives a binding what its cluster was last healthy with. Its overrides have no fingerprint: the labels they
// were resolved with then are not recorded.
func (r *Roller) rollBack(ctx context.Context, b v1beta1.BindingObject, to v1beta1.Revision, seen *observed) error {
	content := give.Content{Revision: to, Mark: &delivery.Mark{To: to, At: r.Now(), Before: &to, Back: true}}
	if err := give.Give(ctx, r.Client, b, content); err != nil {
		return err
	}
	log(ctx, b, "Rolling back cluster", "snapshot", to.ResourceSnapshotName)
	return r.reportFate(ctx, b, delivery.Sent(to), seen)
}

// fallBack gives a replacement an older revision, because the latest is rejected. It is blocked like others that do
// not have the latest.
func (r *Roller) fallBack(ctx context.Context, b v1beta1.BindingObject, to v1beta1.Revision) error {
	delete(b.GetAnnotations(), contract.AnnotationRollout)
	if err := give.Give(ctx, r.Client, b, give.Content{Revision: to}); err != nil {
		return err
	}
	log(ctx, b, "Bound cluster to an older revision", "snapshot", to.ResourceSnapshotName)
	return nil
}

// log logs a step that changed a binding. The logger in ctx names the placement.
func log(ctx context.Context, b v1beta1.BindingObject, message string, values ...any) {
	ctrl.LoggerFrom(ctx).Info(message, append([]any{"cluster", b.GetSpec().TargetCluster, "binding", b.GetName()}, values...)...)
}

// restyle changes the apply strategy of a binding's content.
func (r *Roller) restyle(ctx context.Context, b v1beta1.BindingObject, want rollout.Content) error {
	b.GetSpec().ApplyStrategy = want.Strategy.DeepCopy()
	if err := r.Client.Update(ctx, b); err != nil {
		return fmt.Errorf("change apply strategy of binding %s: %w", client.ObjectKeyFromObject(b), err)
	}
	log(ctx, b, "Changed apply strategy")
	return nil
}

func (r *Roller) remove(ctx context.Context, b v1beta1.BindingObject) error {
	err := r.Client.Delete(ctx, b, client.Preconditions(metav1.Preconditions{UID: ptr.To(b.GetUID()), ResourceVersion: ptr.To(b.GetResourceVersion())}))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete binding %s: %w", client.ObjectKeyFromObject(b), err)
	}
	log(ctx, b, "Deleted binding")
	return nil
}

// reportRollout writes the condition RolloutStarted of a binding, if it is not there already.
func (r *Roller) reportRollout(ctx context.Context, b v1beta1.BindingObject, started metav1.Condition) error {
	before := b.DeepCopyObject().(v1beta1.BindingObject)
	*b.GetConditions() = report.Rollout(*before.GetConditions(), started, metav1.NewTime(r.Now()))
	meta.RemoveStatusCondition(b.GetConditions(), v1beta1.ConditionRolledBack)
	_, err := loop.WriteStatus(ctx, r.Client, before, b)
	return err
}

// reportFate writes the condition RolledBack of a binding that a rejected rollout changed, if it is not there already.
// A binding that was rolled back lacks the latest revision, so it is blocked, too.
func (r *Roller) reportFate(ctx context.Context, b v1beta1.BindingObject, fate delivery.Fate, seen *observed) error {
	before := b.DeepCopyObject().(v1beta1.BindingObject)
	now := metav1.NewTime(r.Now())
	if rollout.BindingOf(b).SentBack() {
		*b.GetConditions() = report.Rollout(*b.GetConditions(), report.RolloutBlocked(b.GetGeneration(), seen.rejectionMessage()), now)
	}
	*b.GetConditions() = report.Rollout(*b.GetConditions(), report.RolledBack(b.GetGeneration(), fate), now)
	_, err := loop.WriteStatus(ctx, r.Client, before, b)
	return err
}

// storeCourse stores the course of a rollout on the master of the latest snapshots.
func (r *Roller) storeCourse(ctx context.Context, seen *observed, course rollout.Course) error {
	key := client.ObjectKeyFromObject(seen.latest.Master)
	patch, err := course.Patch(seen.latest.Master)
	if err != nil {
		return err
	}
	snapshot := scope.ResourceSnapshots.New(key)
	snapshot.SetNamespace(key.Namespace)
	snapshot.SetName(key.Name)
	if err := r.Client.Patch(ctx, snapshot, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("store the rollout course of resource snapshot %s: %w", key, err)
	}
	logger := ctrl.LoggerFrom(ctx).WithValues("snapshot", key.Name)
	switch was := seen.want.Course; {
	case course.Spent != nil:
		logger.Info("Rejected revision", "reason", course.Spent.Message(seen.latest.IndexLabel()))
	case was.Spent != nil:
		logger.Info("Resumed rollout")
	case !course.Done.Equal(was.Done):
		logger.Info("Finished rollout")
	}
	return nil
}
