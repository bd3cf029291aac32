package stager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// initialize plans a run and stores the plan, or why it cannot be planned.
func (s *Stager) initialize(ctx context.Context, run v1beta1.UpdateRunObject) error {
	status, earlier, err := s.planned(ctx, run)
	now := metav1.NewTime(s.Now())
	var invalid *selection.UserError
	switch abort := stage.AbortOf(err); {
	case abort != nil:
		s.Recorder.Event(run, corev1.EventTypeWarning, v1beta1.ReasonUpdateRunInitializedFailed, abort.Error())
		return s.write(ctx, run, report.UnplannedRun(*run.GetStatus(), abort.Error(), run.GetGeneration(), now))
	case errors.As(err, &invalid):
		cause := stage.UserError + "the placement's resource selectors are invalid: " + invalid.Error()
		s.Recorder.Event(run, corev1.EventTypeWarning, v1beta1.ReasonUpdateRunInitializedFailed, cause)
		return s.write(ctx, run, report.UnplannedRun(*run.GetStatus(), cause, run.GetGeneration(), now))
	case err != nil:
		return err
	}
	status = report.PlannedRun(status, *run.GetConditions(), run.GetGeneration(), now)
	if earlier != nil {
		status = report.ResumedRun(status, earlier, run.GetGeneration(), now)
	}
	if err := s.write(ctx, run, status); err != nil {
		return err
	}
	ctrl.LoggerFrom(ctx).Info("Initialized update run", "snapshot", status.ResourceSnapshotIndexUsed)
	return nil
}

// planned computes the status of a run with its plan. earlier is the run from which it continues, nil if there is none.
func (s *Stager) planned(ctx context.Context, run v1beta1.UpdateRunObject) (none v1beta1.UpdateRunStatus, earlier v1beta1.UpdateRunObject, err error) {
	strategy, err := s.strategy(ctx, run)
	if err != nil {
		return none, nil, err
	}
	plan, fleet, err := s.plan(ctx, run, strategy)
	if err != nil {
		return none, nil, err
	}
	if earlier, err = s.earlier(ctx, run, plan); err != nil {
		return none, nil, err
	}
	group, err := s.revision(ctx, run, earlier)
	if err != nil {
		return none, nil, err
	}
	overrides, err := s.overrides(ctx, placementOf(run), group, plan, fleet)
	if err != nil {
		return none, nil, err
	}
	return plan.Status(run.GetName(), strconv.Itoa(group.Index), strategy, overrides), earlier, nil
}

// strategy reads the strategy of a run. It returns an Abort if it does not exist; if the placement does not exist either, the Abort is about
// the placement.
func (s *Stager) strategy(ctx context.Context, run v1beta1.UpdateRunObject) (v1beta1.UpdateStrategySpec, error) {
	key := types.NamespacedName{Namespace: run.GetNamespace(), Name: run.GetSpec().StagedUpdateStrategyName}
	strategy, err := scope.UpdateStrategies.Get(ctx, s.Client, key)
	if apierrors.IsNotFound(err) { // it may be missing in the cache only
		strategy, err = scope.UpdateStrategies.Get(ctx, s.Direct, key)
	}
	if err == nil {
		return *strategy.GetSpec(), nil
	}
	if !apierrors.IsNotFound(err) {
		return v1beta1.UpdateStrategySpec{}, err
	}
	if _, fleet, err := s.plan(ctx, run, v1beta1.UpdateStrategySpec{}); err != nil && fleet.Placement == nil {
		return v1beta1.UpdateStrategySpec{}, err
	}
	return v1beta1.UpdateStrategySpec{}, &stage.Abort{User: true, Message: fmt.Sprintf(
		"update strategy %s is not found: spec.stagedRolloutStrategyName must name one that exists", key.Name)}
}

// plan plans a run with a strategy, and returns the fleet that the plan is for.
func (s *Stager) plan(ctx context.Context, run v1beta1.UpdateRunObject, strategy v1beta1.UpdateStrategySpec) (plan stage.Plan, fleet stage.Fleet, err error) {
	decide := func(fleet stage.Fleet) (err error) {
		plan, err = stage.NewPlan(fleet, strategy)
		return err
	}
	if fleet, err = s.settled(ctx, run, decide); err != nil {
		return plan, fleet, err
	}
	// A run is planned once, and the cache may lack a binding that the status of the policy snapshot counts already.
	behind, err := s.behind(ctx, run, fleet.Bindings)
	if err != nil || !behind {
		return plan, fleet, err
	}
	if fleet, err = s.fleetNow(ctx, run); err == nil {
		err = decide(fleet)
	}
	return plan, fleet, err
}

// behind returns whether the API server has bindings of a run's placement that are not in known, or are older there.
func (s *Stager) behind(ctx context.Context, run v1beta1.UpdateRunObject, known []v1beta1.BindingObject) (bool, error) {
	placement := client.MatchingLabels{contract.LabelPlacement: run.GetSpec().PlacementName}
	there, err := scope.Bindings.ListMetadata(ctx, s.Direct, run.GetNamespace(), placement)
	if err != nil {
		return false, err
	}
	generations := map[types.UID]int64{}
	for _, b := range known {
		generations[b.GetUID()] = b.GetGeneration()
	}
	return slices.ContainsFunc(there, func(m metav1.PartialObjectMetadata) bool {
		generation, found := generations[m.UID]
		return !found || generation < m.Generation
	}), nil
}

// earlier is the run from which another one continues, nil if there is none. It is read from the API server, because a cache may not have
// its end yet.
func (s *Stager) earlier(ctx context.Context, run v1beta1.UpdateRunObject, plan stage.Plan) (v1beta1.UpdateRunObject, error) {
	name := run.GetSpec().ResumeFrom
	if name == "" {
		return nil, nil
	}
	found, err := scope.UpdateRuns.Get(ctx, s.Direct, types.NamespacedName{Namespace: run.GetNamespace(), Name: name})
	if apierrors.IsNotFound(err) {
		return nil, stage.Resumable(run, nil, plan)
	}
	if err != nil {
		return nil, err
	}
	return found, stage.Resumable(run, found, plan)
}

// unoverridden is why there is no plan yet: an override that was created just before the run has no snapshot. Its snapshot is an event, and
// after wait the run is planned without it.
type unoverridden struct{ wait time.Duration }

func (unoverridden) Error() string { return "an override that was just created has no snapshot yet" }

// overrides are the current snapshots of the overrides that change the release on each cluster of the plan.
func (s *Stager) overrides(ctx context.Context, placement types.NamespacedName, group snapshot.Group, plan stage.Plan, fleet stage.Fleet) (map[string]delivery.Overrides, error) {
	contents, now := override.ContentsOf(group.Objects()), s.Now()
	fresh, err := scope.FreshOverrides(ctx, s.Client, now.Add(-override.Settling), scope.Fast()...)
	if err != nil {
		return nil, err
	}
	if wait := override.Coming(placement, fresh, contents, now); wait > 0 {
		return nil, unoverridden{wait}
	}
	found, err := scope.OverridesFor(ctx, s.Client, placement, contents.Namespaces, scope.Fast()...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	var clusters []override.Cluster
	for _, members := range plan.Stages {
		for _, name := range members {
			clusters = append(clusters, override.Cluster{Name: name, Labels: fleet.Labels[name]})
		}
	}
	return override.Match(placement, found, contents).Lists(clusters), nil
}

// revision is the group of resource snapshots that a run releases: that of earlier, if it continues from that.
func (s *Stager) revision(ctx context.Context, run, earlier v1beta1.UpdateRunObject) (snapshot.Group, error) {
	key, text := placementOf(run), run.GetSpec().ResourceSnapshotIndex
	if earlier != nil {
		text = earlier.GetStatus().ResourceSnapshotIndexUsed
	}
	if wrong := validate.SnapshotIndex(text); len(wrong) > 0 {
		return snapshot.Group{}, &stage.Abort{User: true, Message: wrong[0].Detail}
	}
	index, err := strconv.Atoi(text)
	if text == "" {
		index, err = s.Revisions.Release(ctx, key)
	}
	if err != nil {
		return snapshot.Group{}, err
	}
	group, ok, err := s.group(ctx, key, index)
	switch {
	case err != nil:
		return snapshot.Group{}, err
	case !ok:
		return snapshot.Group{}, &stage.Abort{User: true, Message: fmt.Sprintf("the placement has no resource snapshot with index %d; "+
			"spec.revisionHistoryLimit of the placement says how many are kept", index)}
	case !group.Complete():
		return snapshot.Group{}, fmt.Errorf("resource snapshot %d of placement %s: some of the group is missing", index, key)
	}
	return group, nil
}

func (s *Stager) group(ctx context.Context, key types.NamespacedName, index int) (snapshot.Group, bool, error) {
	// This waits until the cache has what Release has just created.
	all, err := scope.ResourceSnapshots.List(ctx, s.Client, key.Namespace, scope.OfPlacement(key), client.UnsafeDisableDeepCopy)
	if err != nil {
		return snapshot.Group{}, false, err
	}
	for _, g := range snapshot.Groups(all) {
		if g.Index == index && g.Master != nil {
			return g, true, nil
		}
	}
	return snapshot.Group{}, false, nil
}
