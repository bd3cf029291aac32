package stage

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Replaced returns whether a run was planned for an earlier placement of the name.
func Replaced(now Plan, status v1beta1.UpdateRunStatus) bool {
	return status.PlacementUID != "" && status.PlacementUID != now.Placement
}

// goOn is what the user can do about a plan that is not valid any more.
const goOn = "; to continue from here, create a run that names this one in spec.resumeFrom"

// Check returns an Abort if the plan in a run's status is not valid any more, with what has changed. Any other error is temporary.
func Check(fleet Fleet, status v1beta1.UpdateRunStatus) error {
	if status.UpdateStrategySnapshot == nil || status.DeletionStageStatus == nil || len(status.StagesStatus) != len(status.UpdateStrategySnapshot.Stages) {
		return defect("the plan is missing from the run's status; create a new run")
	}
	now, err := picked(fleet)
	if err != nil {
		return err
	}
	changed := changes(recordedClusters(status), now.selected)
	switch {
	case Replaced(now.Plan, status):
		return mistake("the placement was deleted and recreated since the run was initialized; create a new run")
	case status.ApplyStrategy == nil || !delivery.SameStrategy(status.ApplyStrategy, &now.Apply):
		return mistake("the placement's spec.strategy.applyStrategy has changed since the run was initialized" + goOn)
	case now.PolicyIndex != status.PolicySnapshotIndexUsed:
		return mistake("the placement's policy has changed since the run was initialized, from policy snapshot %s to %s%s"+goOn,
			status.PolicySnapshotIndexUsed, now.PolicyIndex, changed)
	case now.short != nil:
		return mistake("%s%s"+goOn, AbortOf(now.short).Message, changed)
	case changed != "" || now.Count != status.PolicyObservedClusterCount:
		return mistake("the placement has picked other clusters since the run was initialized%s"+goOn, changed)
	}
	if err := checkStages(fleet, now.selected, status); err != nil {
		return err
	}
	return checkDeletions(now.Deletions, status)
}

// checkStages returns an Abort if a cluster left the fleet, belongs to another stage, or to another place in it.
func checkStages(fleet Fleet, selected []string, status v1beta1.UpdateRunStatus) error {
	var gone []string
	for _, cluster := range selected {
		if _, known := fleet.Labels[cluster]; !known {
			gone = append(gone, cluster)
		}
	}
	if len(gone) > 0 {
		return mistake("clusters have left the fleet since the run was initialized: %s"+goOn, brief.List(gone, mostNamed))
	}
	strategy := withoutApprovalWaits(*status.UpdateStrategySnapshot)
	now, err := stages(strategy, selected, fleet.Labels)
	if abort := AbortOf(err); abort != nil {
		return mistake("the labels of MemberClusters have changed since the run was initialized: %s; restore them if that was a mistake"+goOn,
			abort.Message)
	}
	if err != nil {
		return err
	}
	in := map[string]string{}
	for i, clusters := range now {
		for _, cluster := range clusters {
			in[cluster] = strategy.Stages[i].Name
		}
	}
	var moved []string
	for i, s := range status.StagesStatus {
		for _, c := range s.Clusters {
			if to, from := in[c.ClusterName], strategy.Stages[i].Name; to != from {
				moved = append(moved, fmt.Sprintf("%s from stage %s to %s", c.ClusterName, from, to))
			}
		}
	}
	if len(moved) > 0 {
		return mistake("the labels of MemberClusters have changed since the run was initialized, which moves %s; "+
			"restore them if that was a mistake"+goOn, brief.List(moved, mostNamed))
	}
	for i, clusters := range now {
		if err := checkOrder(strategy.Stages[i], status.StagesStatus[i].Clusters, clusters); err != nil {
			return err
		}
	}
	return nil
}

// checkOrder returns an Abort if the clusters of a stage, which are the same, have another order.
func checkOrder(config v1beta1.StageConfig, was []v1beta1.ClusterUpdatingStatus, now []string) error {
	for i := range was {
		if was[i].ClusterName == now[i] {
			continue
		}
		var before []string
		for _, c := range was[i:] {
			before = append(before, c.ClusterName)
		}
		return mistake("label %s of MemberClusters has changed since the run was initialized, which changes the order of stage %s: "+
			"from position %d on it was %s and is %s; restore the label if that was a mistake"+goOn,
			ptr.Deref(config.SortingLabelKey, ""), config.Name, i+1, brief.List(before, mostNamed), brief.List(now[i:], mostNamed))
	}
	return nil
}

// checkDeletions returns an Abort if the placement gave up other clusters since the run was initialized. Fewer are fine: the run deletes them.
func checkDeletions(deletions []string, status v1beta1.UpdateRunStatus) error {
	planned := sets.New[string]()
	for _, c := range status.DeletionStageStatus.Clusters {
		planned.Insert(c.ClusterName)
	}
	var new []string
	for _, cluster := range deletions {
		if !planned.Has(cluster) {
			new = append(new, cluster)
		}
	}
	if len(new) > 0 {
		return mistake("the placement has given up clusters since the run was initialized: %s"+goOn, brief.List(new, mostNamed))
	}
	return nil
}

func recordedClusters(status v1beta1.UpdateRunStatus) sets.Set[string] {
	out := sets.New[string]()
	for _, s := range status.StagesStatus {
		for _, c := range s.Clusters {
			out.Insert(c.ClusterName)
		}
	}
	return out
}

// changes is the part of a message about clusters that were picked and are not any more, and the reverse.
func changes(was sets.Set[string], now []string) string {
	text := ""
	if joined := sets.New(now...).Difference(was); len(joined) > 0 {
		text += "; new: " + brief.List(slices.Sorted(maps.Keys(joined)), mostNamed)
	}
	if left := was.Difference(sets.New(now...)); len(left) > 0 {
		text += "; no longer picked: " + brief.List(slices.Sorted(maps.Keys(left)), mostNamed)
	}
	return text
}

// withoutApprovalWaits drops a wait time that older schemas let an Approval have.
func withoutApprovalWaits(strategy v1beta1.UpdateStrategySpec) v1beta1.UpdateStrategySpec {
	strategy = *strategy.DeepCopy()
	for i := range strategy.Stages {
		for _, list := range [][]v1beta1.StageTask{strategy.Stages[i].BeforeStageTasks, strategy.Stages[i].AfterStageTasks} {
			for j := range list {
				if list[j].Type == v1beta1.StageTaskApproval {
					list[j].WaitTime = nil
				}
			}
		}
	}
	return strategy
}
