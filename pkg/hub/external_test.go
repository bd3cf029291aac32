package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// staged is placement "staged" on two of west-1, west-2 and east-1. Its update runs have stage one for west-1, which
// ends with an approval, and stage two for the others.
type staged struct{ *placed }

func (f *failovers) staged() *staged {
	f.Helper()
	p := testworld.ClusterPlacement("staged", "shop", testworld.PickN(2, among("west-1", "west-2", "east-1")), failing, func(spec *v1beta1.PlacementSpec) {
		spec.Strategy = v1beta1.RolloutStrategy{Type: v1beta1.RolloutStrategyTypeExternal}
	})
	p.Finalizers = nil
	strategy := &v1beta1.ClusterStagedUpdateStrategy{ObjectMeta: metav1.ObjectMeta{Name: p.Name}}
	strategy.Spec.Stages = []v1beta1.StageConfig{
		{Name: "one", LabelSelector: among("west-1").LabelSelector, AfterStageTasks: []v1beta1.StageTask{{Type: v1beta1.StageTaskApproval}}},
		{Name: "two", LabelSelector: among("west-2", "east-1").LabelSelector},
	}
	tint := testworld.ClusterOverride("staged", "shop", testworld.Patching([]v1beta1.ClusterSelectorTerm{among("west-2")}, testworld.Annotating("tint", "red")))
	tint.Spec.Placement = &v1beta1.PlacementRef{Name: p.Name}
	for _, o := range []client.Object{p, strategy, tint} {
		f.must(f.Client.Create(f.Context(), o))
		f.Cleanup(func() {
			f.must(f.Client.Delete(context.WithoutCancel(f.Context()), o))
			testworld.AwaitGone(f, f.Client, o, nil)
		})
	}
	testworld.Await(f, testworld.Workload, p.Name+" to be scheduled", func(ctx context.Context) error {
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(p.Status.Conditions, p.ConditionType(v1beta1.ConditionScheduled)) {
			return fmt.Errorf("conditions %+v", p.Status.Conditions)
		}
		return nil
	})
	return &staged{&placed{failovers: f, of: p}}
}

// run creates an update run, and waits until it asks for the approval after stage one.
func (s *staged) run(name string) {
	s.Helper()
	run := &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: name}}
	run.Spec = v1beta1.UpdateRunSpec{PlacementName: s.of.Name, StagedUpdateStrategyName: s.of.Name, State: v1beta1.UpdateRunRun}
	s.must(s.Client.Create(s.Context(), run))
	s.Cleanup(func() { s.must(client.IgnoreNotFound(s.Client.Delete(context.WithoutCancel(s.Context()), run))) })
	s.await(name, stage.Waiting)
}

// await waits until a run is in a phase.
func (s *staged) await(name string, phase stage.Phase) (status v1beta1.UpdateRunStatus) {
	s.Helper()
	testworld.Await(s, testworld.Workload, "update run "+name, func(ctx context.Context) error {
		var run v1beta1.ClusterStagedUpdateRun
		if err := s.Client.Get(ctx, client.ObjectKey{Name: name}, &run); err != nil {
			return err
		}
		if progress := stage.Read(run.Status); progress.Phase != phase {
			return fmt.Errorf("phase %d, %s %s", progress.Phase, progress.Message, progress.Cause)
		}
		status = run.Status
		return nil
	})
	return status
}

// approve lets a run go on with stage two.
func (s *staged) approve(name string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "the approval", func(ctx context.Context) error {
		var request v1beta1.ClusterApprovalRequest
		if err := s.Client.Get(ctx, client.ObjectKey{Name: contract.AfterStageApproval(name, "one")}, &request); err != nil {
			return err
		}
		meta.SetStatusCondition(&request.Status.Conditions, metav1.Condition{
			Type: v1beta1.ConditionApproved, Status: metav1.ConditionTrue, Reason: "Fine", ObservedGeneration: request.Generation,
		})
		return s.Client.Status().Update(ctx, &request)
	})
}

// end deletes a run.
func (s *staged) end(name string) {
	s.Helper()
	run := &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s.must(s.Client.Delete(s.Context(), run))
	testworld.AwaitGone(s, s.Client, run, nil)
}

// to returns the binding to a cluster once everything is available there.
func (s *staged) to(cluster string) (found v1beta1.ClusterResourceBinding) {
	s.Helper()
	testworld.Await(s, testworld.Workload, s.of.Name+" to be available on "+cluster, func(ctx context.Context) error {
		var list v1beta1.ClusterResourceBindingList
		if err := s.Client.List(ctx, &list, client.MatchingLabels{contract.LabelPlacement: s.of.Name}); err != nil {
			return err
		}
		for _, b := range list.Items {
			c := meta.FindStatusCondition(b.Status.Conditions, v1beta1.ConditionAvailable)
			if found = b; b.Spec.TargetCluster == cluster && c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == b.Generation {
				return nil
			}
		}
		return errors.New("it is not")
	})
	return found
}

// release declares a silent cluster lost.
func (f *failovers) release(member string) {
	f.Helper()
	testworld.Await(f, testworld.Soon, "the release of "+member, func(ctx context.Context) error {
		c := testworld.NewMemberCluster(member)
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
			return err
		}
		if c.Status.Silence == nil {
			return errors.New("it is heard")
		}
		c.Annotations = map[string]string{contract.AnnotationRelease: failover.Release(c.Status.Silence)}
		return f.Client.Update(ctx, c)
	})
}

// F13: a placement with staged update runs leaves a lost cluster when none is active, or when the cluster is released.
func TestF13StagedRuns(t *testing.T) {
	s := hubs.take(t).staged()
	s.run("first")
	s.approve("first")
	s.await("first", stage.Succeeded)
	s.available("west-1", "west-2")
	lost := s.to("west-2")

	// No run is active, and there is a newer revision: the replacement gets the one that the lost cluster has.
	cm := testworld.ConfigMap("shop", "newer")
	testworld.Update(s, s.Client, cm, func(cm *corev1.ConfigMap) { cm.Data = map[string]string{"value": "newer"} })
	s.run("second")
	s.end("second")
	s.lose(2*after, "west-2")
	s.bound("east-1", "west-1", "west-2>east-1")
	by := s.to("east-1")
	if newer := s.to("west-1"); newer.Spec.ResourceSnapshotName == lost.Spec.ResourceSnapshotName || by.Spec.ResourceSnapshotName != lost.Spec.ResourceSnapshotName {
		s.Errorf("west-1 has %s, east-1 %s; west-2 had %s", newer.Spec.ResourceSnapshotName, by.Spec.ResourceSnapshotName, lost.Spec.ResourceSnapshotName)
	}
	if want := lost.Spec.ClusterResourceOverrideSnapshots; len(want) != 1 || strings.Join(by.Spec.ClusterResourceOverrideSnapshots, " ") != want[0] || by.Spec.ApplyStrategy == nil {
		s.Errorf("overrides %q, strategy %v; want %q", by.Spec.ClusterResourceOverrideSnapshots, by.Spec.ApplyStrategy, want)
	}
	if !meta.IsStatusConditionTrue(by.Status.Conditions, v1beta1.ConditionRolloutStarted) {
		s.Errorf("conditions %+v", by.Status.Conditions)
	}

	// The next run includes the replacement, and does not wait for the lost cluster.
	s.run("third")
	s.approve("third")
	status := s.await("third", stage.Succeeded)
	if two := status.StagesStatus[1].Clusters; len(two) != 1 || two[0].ClusterName != "east-1" || len(status.DeletionStageStatus.Clusters) > 0 {
		s.Errorf("stage two has %+v, the deletion stage %+v", two, status.DeletionStageStatus.Clusters)
	}
	s.available("east-1", "west-1")
	s.stay("east-1", "west-1", "west-2>east-1")
	s.hear("west-2")
	s.bound("east-1", "west-1")

	// An active run is not aborted, and the exchange happens when it ends.
	s.run("fourth")
	s.lose(2*after, "east-1")
	s.reports(v1beta1.ConditionFailoverComplete, v1beta1.ReasonAwaitingUpdateRun, `cluster "east-1" must be replaced`, "update run fourth ends", "kubectl fleet failover release east-1")
	s.stay("east-1", "west-1")
	s.await("fourth", stage.Waiting)
	s.end("fourth")
	s.bound("east-1>west-2", "west-1", "west-2")
	s.to("west-2")
	s.hear("east-1")
	s.bound("west-1", "west-2")

	// A release ends the run.
	s.run("fifth")
	s.lose(2*after, "west-2")
	s.reports(v1beta1.ConditionFailoverComplete, v1beta1.ReasonAwaitingUpdateRun, `cluster "west-2" must be replaced`, "update run fifth ends")
	s.release("west-2")
	s.awaitSilence("west-2", clusterv1beta1.SilenceReleased)
	s.bound("east-1", "west-1", "west-2>east-1")
	failed := meta.FindStatusCondition(s.await("fifth", stage.Failed).Conditions, v1beta1.ConditionSucceeded)
	if !strings.Contains(failed.Message, "new: east-1; no longer picked: west-2") {
		s.Errorf("the run says: %s", failed.Message)
	}
	s.to("east-1")
}
