// Package stager carries out staged update runs: it plans them, gives the release to clusters stage by stage, asks for
// approvals, and reports the progress in the run's status. Package stage decides.
//
// It reads runs, update strategies, approval requests, the placement with its snapshots and bindings, and
// MemberClusters. It writes runs' status and finalizers, approval requests, and the bindings of placements whose
// rollout strategy is External: their revision, and the condition RolloutStarted.
package stager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
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
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// RecorderName is the name under which the stager records events.
const RecorderName = "cluster-staged-update-run-controller"

// writers is how many objects of one run are written at once.
const writers = 16

// Revisions is what the stager needs of revise.Reviser.
type Revisions interface {
	// Release makes the resource snapshots of what a placement selects now, unless the latest revision holds that
	// already, and returns the index of the revision. A selection.UserError is for the user.
	Release(ctx context.Context, placement types.NamespacedName) (index int, err error)
}

// Stager reconciles update runs of both scopes.
type Stager struct {
	// Client reads from the cache, in which scope.Index has registered its indexes, and sees its own writes. Direct
	// does neither.
	Client, Direct client.Client
	Recorder       record.EventRecorder
	// Revisions makes the revision of a run that releases what its placement selects.
	Revisions Revisions
	// Workers is how many runs are reconciled at once.
	Workers int
	// Namespaced is whether StagedUpdateRuns are served.
	Namespaced bool
	// Now is the clock.
	Now func() time.Time

	// awake is when the stager started; no health window begins earlier.
	awake time.Time
	// clocks are the exact times of the stages of each run that this process moves, by types.NamespacedName; a restart
	// loses only the fractions of seconds. A status was stored by this process or before it led, and times are put
	// here before they are stored: so one that matches the status is never early.
	clocks sync.Map
}

// Reconcile takes the next step of one run.
func (s *Stager) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	run, err := scope.UpdateRuns.Get(ctx, s.Client, req.NamespacedName)
	if apierrors.IsNotFound(err) {
		forget(req.NamespacedName)
		s.clocks.Delete(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	ctx = ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("placement", scope.Name(placementOf(run))))
	if !run.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, s.finish(ctx, run)
	}
	if err := s.claim(ctx, run); err != nil {
		return ctrl.Result{}, err
	}
	wait, err := s.move(ctx, run)
	seenAs(run, s.Now())
	if errors.Is(err, stage.ErrUnsettled) {
		ctrl.LoggerFrom(ctx).V(1).Info("Waiting for the scheduler", "reason", err.Error())
		return ctrl.Result{}, nil // its decision is an event
	}
	var coming unoverridden
	if errors.As(err, &coming) {
		return ctrl.Result{RequeueAfter: coming.wait}, nil
	}
	return ctrl.Result{RequeueAfter: wait}, err
}

// claim adds the finalizer.
func (s *Stager) claim(ctx context.Context, run v1beta1.UpdateRunObject) error {
	before := run.DeepCopyObject().(client.Object)
	if !controllerutil.AddFinalizer(run, contract.FinalizerUpdateRun) {
		return nil
	}
	if err := s.Client.Patch(ctx, run, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("add finalizer to update run %s: %w", client.ObjectKeyFromObject(run), err)
	}
	return nil
}

// finish deletes the approval requests of a run that is being deleted, and removes its finalizer. Clusters keep what
// they have.
func (s *Stager) finish(ctx context.Context, run v1beta1.UpdateRunObject) error {
	key := client.ObjectKeyFromObject(run)
	if !controllerutil.ContainsFinalizer(run, contract.FinalizerUpdateRun) {
		return nil
	}
	err := s.Direct.DeleteAllOf(ctx, scope.ApprovalRequests.New(key), client.InNamespace(key.Namespace), client.MatchingLabels{contract.LabelApprovalRun: key.Name})
	if err != nil {
		return fmt.Errorf("delete the approval requests of update run %s: %w", key, err)
	}
	before := run.DeepCopyObject().(client.Object)
	controllerutil.RemoveFinalizer(run, contract.FinalizerUpdateRun)
	if err := s.Client.Patch(ctx, run, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove finalizer from update run %s: %w", key, err)
	}
	return nil
}

// move takes the next step of a run. It returns when to call again without an event; zero is never.
func (s *Stager) move(ctx context.Context, run v1beta1.UpdateRunObject) (time.Duration, error) {
	initialized := meta.FindStatusCondition(*run.GetConditions(), v1beta1.ConditionInitialized)
	switch {
	case initialized == nil || initialized.Status == metav1.ConditionUnknown:
		if err := s.initialize(ctx, run); err != nil || run.GetSpec().State == v1beta1.UpdateRunInitialize {
			return 0, err
		}
	case initialized.Status == metav1.ConditionFalse:
		return 0, nil
	}
	progress := stage.Read(*run.GetStatus())
	if !meta.IsStatusConditionTrue(*run.GetConditions(), v1beta1.ConditionInitialized) || progress.Phase.Done() {
		return 0, nil
	}
	if clocks, ok := s.clocks.Load(client.ObjectKeyFromObject(run)); ok {
		progress.SetBy(clocks.([]time.Time))
	}
	return s.proceed(ctx, run, progress)
}

// decide is stage.Next or stage.Stop.
type decide func(stage.Progress, stage.World) (stage.Progress, stage.Step)

// proceed moves a planned run on.
func (s *Stager) proceed(ctx context.Context, run v1beta1.UpdateRunObject, progress stage.Progress) (time.Duration, error) {
	var next decide
	switch run.GetSpec().State {
	case v1beta1.UpdateRunRun:
		next = stage.Next
	case v1beta1.UpdateRunStop:
		next = stage.Stop
	default:
		return 0, s.store(ctx, run, progress) // which updates the observedGeneration of the conditions
	}
	moved, again, err := s.step(ctx, run, progress, next)
	if abort := stage.AbortOf(err); abort != nil {
		progress.Fail(abort.Error())
		return 0, s.store(ctx, run, progress)
	}
	if err != nil {
		return 0, err
	}
	return again, s.store(ctx, run, moved)
}

// step carries out one step of a run. It returns the progress to store, and when to call again. An Abort ends the run.
func (s *Stager) step(ctx context.Context, run v1beta1.UpdateRunObject, progress stage.Progress, next decide) (stage.Progress, time.Duration, error) {
	world, err := s.observe(ctx, run, progress)
	if err != nil {
		return progress, 0, err
	}
	moved, step, err := s.settle(ctx, run, progress, &world, next)
	if err != nil {
		return progress, 0, err
	}
	refused, err := s.carryOut(ctx, run, step, world)
	if err != nil {
		return progress, 0, err
	}
	if len(refused) > 0 {
		world.Refused = refused // what was not done must not be stored as done
		moved, step = next(progress, world)
		if step.Again == 0 || step.Again > refusedWait {
			step.Again = refusedWait
		}
	}
	return moved, step.Again, nil
}

// observe reads the facts for a step, once it is sure that the plan is still valid.
func (s *Stager) observe(ctx context.Context, run v1beta1.UpdateRunObject, progress stage.Progress) (stage.World, error) {
	fleet, err := s.settled(ctx, run, func(fleet stage.Fleet) error {
		if progress.RollingBack() && run.GetStatus().UpdateStrategySnapshot != nil {
			return nil // a rollback continues whatever has changed
		}
		return stage.Check(fleet, *run.GetStatus())
	})
	if err != nil {
		return stage.World{}, err
	}
	return s.world(ctx, run, fleet)
}

// settle decides on a step that can be carried out. A decisive one is decided from the API server's answers, as in
// settled. If the revision for a cluster lacks a snapshot, that cluster is not rolled back; a run that does not roll
// back ends.
func (s *Stager) settle(ctx context.Context, run v1beta1.UpdateRunObject, progress stage.Progress, world *stage.World, next decide) (stage.Progress, stage.Step, error) {
	moved, step := next(progress, *world)
	if stage.Decisive(progress, moved) {
		fleet, err := s.fleetNow(ctx, run)
		if err != nil {
			return moved, step, err
		}
		world.Bindings = fleet.Bindings
		moved, step = next(progress, *world)
	}
	lost, err := s.lost(ctx, run, step)
	switch {
	case err != nil || len(lost) == 0:
		return moved, step, err
	case !moved.RollingBack():
		return moved, step, releaseLost(lost)
	}
	world.Lost = lost
	moved, step = next(progress, *world)
	return moved, step, nil
}

// refusedWait is how long until a binding that the API server refused to change is tried again: a webhook or a quota
// may have changed.
const refusedWait = 15 * time.Second

// store writes a run's progress if it has changed.
func (s *Stager) store(ctx context.Context, run v1beta1.UpdateRunObject, progress stage.Progress) error {
	was, key := *run.GetStatus(), client.ObjectKeyFromObject(run)
	before := stage.Read(was)
	s.clocks.Store(key, progress.Clocks())
	if err := s.write(ctx, run, report.UpdateRun(was, progress, run.GetGeneration(), metav1.NewTime(s.Now()))); err != nil {
		return err
	}
	moved(key, was, before, progress, s.Now())
	if was, is := before.Budget.Phase, progress.Budget.Phase; was != is && is == stage.Failed {
		s.Recorder.Event(run, corev1.EventTypeWarning, v1beta1.ReasonFailureBudgetSpent, progress.Budget.Message)
	}
	if before.RollingBack() && !progress.RollingBack() {
		s.recordRollback(run, progress.Back)
	}
	if progress.Phase != before.Phase {
		s.recordPhase(run, progress)
	}
	logProgress(ctx, before, progress)
	return nil
}

// logProgress logs the stages that have begun and ended, and the end of the run.
func logProgress(ctx context.Context, before, after stage.Progress) {
	logger := ctrl.LoggerFrom(ctx)
	for i, s := range append(slices.Clone(after.Stages), after.Deletion) {
		was := append(slices.Clone(before.Stages), before.Deletion)[i]
		if was.Start.IsZero() && !s.Start.IsZero() && s.Phase != stage.Skipped {
			logger.Info("Started stage", "stage", s.Name)
		}
		if s.Phase.Done() && !was.Phase.Done() {
			logger.Info("Finished stage", "stage", s.Name, "reason", s.Cause)
		}
	}
	switch {
	case after.RollingBack() && !before.RollingBack():
		logger.Info("Started rollback", "reason", after.Budget.Message)
	case after.Phase.Done() && !before.Phase.Done():
		logger.Info("Finished update run", "reason", after.Cause)
	}
}

// recordRollback records the event about the end of a rollback.
func (s *Stager) recordRollback(run v1beta1.UpdateRunObject, back delivery.Fate) {
	if back.State == delivery.Astray {
		s.Recorder.Event(run, corev1.EventTypeWarning, v1beta1.ReasonRollbackFailed, back.Message)
		return
	}
	s.Recorder.Event(run, corev1.EventTypeNormal, v1beta1.ReasonRollbackSucceeded, back.Message)
}

// recordPhase records the event about a new phase of a run.
func (s *Stager) recordPhase(run v1beta1.UpdateRunObject, progress stage.Progress) {
	kind, text := corev1.EventTypeNormal, progress.Message
	switch progress.Phase {
	case stage.Failed:
		kind, text = corev1.EventTypeWarning, progress.Cause
	case stage.Stuck, stage.RollingBack:
		kind = corev1.EventTypeWarning
	}
	if c := meta.FindStatusCondition(*run.GetConditions(), v1beta1.ConditionProgressing); c != nil {
		s.Recorder.Event(run, kind, c.Reason, text)
	}
}

func (s *Stager) write(ctx context.Context, run v1beta1.UpdateRunObject, status v1beta1.UpdateRunStatus) error {
	if equality.Semantic.DeepEqual(*run.GetStatus(), status) {
		return nil
	}
	before := run.DeepCopyObject().(client.Object)
	*run.GetStatus() = status
	_, err := loop.WriteStatus(ctx, s.Client, before, run)
	return err
}

// placementOf is the key of a run's placement.
func placementOf(run v1beta1.UpdateRunObject) types.NamespacedName {
	return types.NamespacedName{Namespace: run.GetNamespace(), Name: run.GetSpec().PlacementName}
}

// fleet reads what a run is planned from; ours selects the objects of its placement.
func (s *Stager) fleet(ctx context.Context, from client.Reader, ours client.ListOption, run v1beta1.UpdateRunObject) (stage.Fleet, error) {
	key := placementOf(run)
	out := stage.Fleet{Labels: map[string]map[string]string{}, Unheard: map[string]bool{}}
	placement := scope.Placements.New(key)
	err := from.Get(ctx, key, placement, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	if client.IgnoreNotFound(err) != nil {
		return out, fmt.Errorf("get placement %s: %w", key, err)
	}
	if err == nil {
		out.Placement = placement
	}
	if out.Policies, err = scope.PolicySnapshots.List(ctx, from, key.Namespace, scope.Fast(ours)...); err != nil {
		return out, err
	}
	if out.Bindings, err = scope.Bindings.Current(ctx, from, key.Namespace, ours); err != nil {
		return out, err
	}
	if out.Placement != nil {
		out.Bindings = scope.OnlyOf(placement, out.Bindings)
	}
	var clusters clusterv1beta1.MemberClusterList
	if err := from.List(ctx, &clusters, scope.Fast()...); err != nil {
		return out, fmt.Errorf("list member clusters: %w", err)
	}
	for i := range clusters.Items {
		cluster := &clusters.Items[i]
		out.Labels[cluster.Name] = cluster.Labels
		out.Unheard[cluster.Name] = cluster.DeletionTimestamp.IsZero() && liveness.Of(cluster, s.Now()) != liveness.Heard
	}
	return out, nil
}

// settled reads the fleet for decide, and returns it with the error of decide. An Abort is final, and a cache may be
// behind: so it counts only if the API server's answers lead to it, too.
func (s *Stager) settled(ctx context.Context, run v1beta1.UpdateRunObject, decide func(stage.Fleet) error) (stage.Fleet, error) {
	seen, err := s.fleet(ctx, s.Client, scope.OfPlacement(placementOf(run)), run)
	if err != nil {
		return seen, err
	}
	if err = decide(seen); stage.AbortOf(err) == nil {
		return seen, err
	}
	if seen, err = s.fleetNow(ctx, run); err != nil {
		return seen, err
	}
	return seen, decide(seen)
}

// fleetNow reads the fleet from the API server.
func (s *Stager) fleetNow(ctx context.Context, run v1beta1.UpdateRunObject) (stage.Fleet, error) {
	return s.fleet(ctx, s.Direct, client.MatchingLabels{contract.LabelPlacement: run.GetSpec().PlacementName}, run)
}
