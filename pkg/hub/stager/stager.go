// Package stager carries out staged update runs: it works their plan out, gives the release to clusters stage by stage, asks for
// approvals, and tells on the run how far it has come. Package stage decides.
//
// It reads runs, update strategies, approval requests, the placement with its snapshots and bindings, and MemberClusters. It writes
// runs' status and finalizers, approval requests, and the bindings of placements whose rollout strategy is External: what they have, and
// that their rollout has started.
package stager

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// RecorderName is the name under which the stager records events.
const RecorderName = "cluster-staged-update-run-controller"

// writers is how many objects of one run are written at once.
const writers = 16

// Stager reconciles update runs of both scopes.
type Stager struct {
	// Client reads from the cache, in which scope.Index has registered its indexes, and sees its own writes. Direct does neither.
	Client, Direct client.Client
	Recorder       record.EventRecorder
	// Release makes the resource snapshots of what a placement selects now, unless the latest are that already, and returns their index.
	// A selection.UserError is for the user.
	Release func(ctx context.Context, placement types.NamespacedName) (index int, err error)
	// Workers is how many runs are looked at at once.
	Workers int
	// Namespaced is whether StagedUpdateRuns are served.
	Namespaced bool
	// Now is the clock.
	Now func() time.Time

	// awake is since when the stager hears of what happens.
	awake time.Time
	// clocks are the exact times of the stages of each run that this process moves, by types.NamespacedName; only fractions of seconds are
	// lost with them. What a status says was stored by this process or before it led, and times are kept here before they are stored: so
	// one that fits the status is never early.
	clocks sync.Map
}

// Reconcile looks at one run.
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
		return ctrl.Result{}, nil // its end is an event
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

// finish deletes the approval requests of a run that is going, and lets it go. Clusters stay as they are.
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

// move takes a run one step on, and says when to look again although nothing happens; zero is never.
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
		return 0, s.store(ctx, run, progress) // which makes the conditions speak of the generation
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

// step takes one step of a run. It returns what to store of it, and when to look again. An Abort ends the run.
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
		maps.Copy(world.Refused, refused) // what was not done must not be stored as done
		moved, step = next(progress, world)
		if step.Again == 0 || step.Again > refusedWait {
			step.Again = refusedWait
		}
	}
	return moved, step.Again, nil
}

// observe reads what a step is decided from, once it is sure that the plan holds.
func (s *Stager) observe(ctx context.Context, run v1beta1.UpdateRunObject, progress stage.Progress) (stage.World, error) {
	fleet, err := s.settled(ctx, run, func(fleet stage.Fleet) error {
		if progress.Retreating() && run.GetStatus().UpdateStrategySnapshot != nil {
			return nil // whatever has changed, what the run did is to be taken back
		}
		return stage.Check(fleet, *run.GetStatus())
	})
	if err != nil {
		return stage.World{}, err
	}
	return s.world(ctx, run, fleet)
}

// settle decides on a step that can be taken. One that cannot be taken back is decided from the API server's own answers, as in settled; and
// what a cluster is to get must be there: on the way back a cluster of which it is not is left as it is, on the way forward the run ends.
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
	if err != nil {
		return moved, step, err
	}
	world.Refused = lost
	switch {
	case len(lost) == 0:
	case moved.Retreating():
		moved, step = next(progress, *world)
	default:
		return moved, step, loss(lost)
	}
	return moved, step, nil
}

// refusedWait is how long until a binding that the API server refused to change is tried again: a webhook or a quota may have changed.
const refusedWait = 15 * time.Second

// store writes a run's progress if it says something new.
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
	if before.Retreating() && !progress.Retreating() {
		s.tellBack(run, progress.Back)
	}
	if progress.Phase != before.Phase {
		s.tell(run, progress)
	}
	return nil
}

// tellBack records how the way back has ended.
func (s *Stager) tellBack(run v1beta1.UpdateRunObject, back stage.Verdict) {
	if back.Phase == stage.Failed {
		s.Recorder.Event(run, corev1.EventTypeWarning, v1beta1.ReasonRollbackFailed, back.Message)
		return
	}
	s.Recorder.Event(run, corev1.EventTypeNormal, v1beta1.ReasonRollbackSucceeded, back.Message)
}

// tell records what has become of a run.
func (s *Stager) tell(run v1beta1.UpdateRunObject, progress stage.Progress) {
	kind, text := corev1.EventTypeNormal, progress.Message
	switch progress.Phase {
	case stage.Failed:
		kind, text = corev1.EventTypeWarning, progress.Cause
	case stage.Stuck, stage.Retreating:
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

// fleet reads what a run is planned from; ours selects what belongs to its placement.
func fleet(ctx context.Context, from client.Reader, ours client.ListOption, run v1beta1.UpdateRunObject) (stage.Fleet, error) {
	key := placementOf(run)
	out := stage.Fleet{Labels: map[string]map[string]string{}}
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
		out.Labels[clusters.Items[i].Name] = clusters.Items[i].Labels
	}
	return out, nil
}

// settled reads the fleet for decide, and returns it with the error of that. An Abort is final, and a cache may not have heard of everything
// yet: so it counts only if the API server's own answers lead to it.
func (s *Stager) settled(ctx context.Context, run v1beta1.UpdateRunObject, decide func(stage.Fleet) error) (stage.Fleet, error) {
	seen, err := fleet(ctx, s.Client, scope.OfPlacement(placementOf(run)), run)
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

// fleetNow is the fleet as the API server itself has it.
func (s *Stager) fleetNow(ctx context.Context, run v1beta1.UpdateRunObject) (stage.Fleet, error) {
	return fleet(ctx, s.Direct, client.MatchingLabels{contract.LabelPlacement: run.GetSpec().PlacementName}, run)
}
