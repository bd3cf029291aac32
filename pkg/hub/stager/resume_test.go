package stager

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// next creates the update run name, which goes on from another one.
func (s *scene) next(name, from, index string) types.NamespacedName {
	s.Helper()
	run := scope.UpdateRuns.New(s.key)
	s.name(run, name)
	*run.GetSpec() = v1beta1.UpdateRunSpec{
		PlacementName: s.key.Name, StagedUpdateStrategyName: s.key.Name, ResourceSnapshotIndex: index, State: v1beta1.UpdateRunRun, ResumeFrom: from,
	}
	s.create(run)
	return client.ObjectKeyFromObject(run)
}

// says waits until a condition of a run has a status and says something.
func (s *scene) says(run types.NamespacedName, kind string, status metav1.ConditionStatus, text string) v1beta1.UpdateRunObject {
	s.Helper()
	var found v1beta1.UpdateRunObject
	testworld.Await(s, testworld.Soon, fmt.Sprintf("%s of %s to be %s", kind, run, status), func(ctx context.Context) (err error) {
		if found, err = scope.UpdateRuns.Get(ctx, s.Client, run); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(*found.GetConditions(), kind); c == nil || c.Status != status || !strings.Contains(c.Message, text) {
			return fmt.Errorf("conditions %+v; want %q", *found.GetConditions(), text)
		}
		return nil
	})
	return found
}

// approve opens a gate.
func (s *scene) approve(name string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "approval of "+name, func(ctx context.Context) error {
		request, err := scope.ApprovalRequests.Get(ctx, s.Client, types.NamespacedName{Namespace: s.key.Namespace, Name: name})
		if err != nil {
			return err
		}
		meta.SetStatusCondition(request.GetConditions(), metav1.Condition{
			Type: v1beta1.ConditionApproved, Status: metav1.ConditionTrue, Reason: "Fine", ObservedGeneration: request.GetGeneration(),
		})
		return s.Client.Status().Update(ctx, request)
	})
}

// gated is all clusters, one after the other, after an approval.
func gated() v1beta1.StageConfig {
	config := all(1)
	config.BeforeStageTasks = []v1beta1.StageTask{{Type: v1beta1.StageTaskApproval}}
	return config
}

func goesOn(s *scene) {
	s.lay(gated())
	for _, m := range members[:3] {
		s.pick(m)
	}
	s.scheduled()
	s.start()
	s.run()
	s.approve(contract.BeforeStageApproval(s.key.Name, "all"))
	s.available("m1")
	s.is(stage.Active, 1)
	s.pick("m4")
	s.says(s.key, v1beta1.ConditionSucceeded, metav1.ConditionFalse, "picked other clusters since the run was initialized; new: m4;")
	again := s.next(s.key.Name+"-again", s.key.Name, "")
	for _, m := range members[1:] {
		s.available(m)
	}
	run := s.says(again, v1beta1.ConditionSucceeded, metav1.ConditionTrue, "")
	if got := run.GetStatus().ResourceSnapshotIndexUsed; got != "0" {
		s.Errorf("it releases resource snapshot %q", got)
	}
	task := run.GetStatus().StagesStatus[0].BeforeStageTaskStatus[0]
	passed := meta.FindStatusCondition(task.Conditions, v1beta1.ConditionApprovalRequestApproved)
	if passed == nil || passed.Reason != v1beta1.ReasonStageTaskPassedEarlier || passed.Message != "Passed in update run "+s.key.Name || len(task.Conditions) != 1 {
		s.Errorf("the gate's conditions are %+v", task.Conditions)
	}
	requests, err := scope.ApprovalRequests.List(s.Context(), s.Client, s.key.Namespace, client.MatchingLabels{contract.LabelApprovalRun: again.Name})
	must(s.T, err)
	if len(requests) > 0 {
		s.Errorf("it has asked for %d approvals", len(requests))
	}
}

func cannotGoOn(s *scene) {
	s.lay(gated())
	s.schedule()
	s.start()
	s.run()
	s.is(stage.Waiting, 0)
	nowhere := s.next(s.key.Name+"-nowhere", "none", "")
	s.says(nowhere, v1beta1.ConditionInitialized, metav1.ConditionFalse, `spec.resumeFrom "none": there is no such update run`)
	for name, c := range map[string]struct{ from, index, says string }{
		"itself":     {s.key.Name + "-itself", "", "that is the run itself"},
		"unfinished": {s.key.Name, "", "that run has not ended"},
		"unplanned":  {nowhere.Name, "", "that run was never initialized"},
	} {
		s.says(s.next(s.key.Name+"-"+name, c.from, c.index), v1beta1.ConditionInitialized, metav1.ConditionFalse, c.says)
	}
	b, err := scope.Bindings.Get(s.Context(), s.Client, types.NamespacedName{Namespace: s.key.Namespace, Name: s.key.Name + "-m4"})
	must(s.T, err)
	must(s.T, s.Client.Delete(s.Context(), b))
	s.says(s.key, v1beta1.ConditionSucceeded, metav1.ConditionFalse, "no longer picked: m4;")
	s.says(s.next(s.key.Name+"-index", s.key.Name, "1"), v1beta1.ConditionInitialized, metav1.ConditionFalse, `spec.resourceSnapshotIndex is "1"`)
}
