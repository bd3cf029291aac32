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

// Replaced says whether a run was planned for an earlier placement of the name.
func Replaced(now Plan, status v1beta1.UpdateRunStatus) bool {
	return status.PlacementUID != "" && status.PlacementUID != now.Placement
}

// goOn tells the user what to do about a plan that does not hold any more.
const goOn = "; to go on where this run is, make one that names it in spec.resumeFrom"

// Check says whether the plan in a run's status still holds; the error is an Abort if it does not, and says what has changed.
func Check(fleet Fleet, status v1beta1.UpdateRunStatus) error {
	if status.UpdateStrategySnapshot == nil || status.DeletionStageStatus == nil || len(status.StagesStatus) != len(status.UpdateStrategySnapshot.Stages) {
		return defect("the plan is missing from the run's status; make a new run")
	}
	now, err := picked(fleet)
	if err != nil {
		return err
	}
	news := changes(recordedClusters(status), now.selected)
	switch {
	case Replaced(now.Plan, status):
		return mistake("the placement was deleted and made again since the run was initialized; make a new run")
	case status.ApplyStrategy == nil || !delivery.SameStrategy(status.ApplyStrategy, &now.Apply):
		return mistake("the placement's spec.strategy.applyStrategy has changed since the run was initialized" + goOn)
	case now.PolicyIndex != status.PolicySnapshotIndexUsed:
		return mistake("the placement's policy has changed since the run was initialized, from policy snapshot %s to %s%s"+goOn,
			status.PolicySnapshotIndexUsed, now.PolicyIndex, news)
	case now.short != nil:
		return mistake("%s%s"+goOn, AbortOf(now.short).Message, news)
	case news != "" || now.Count != status.PolicyObservedClusterCount:
		return mistake("the placement has picked other clusters since the run was initialized%s"+goOn, news)
	}
	if err := checkStages(fleet, now.selected, status); err != nil {
		return err
	}
	return checkDeletions(now.Deletions, status)
}

// checkStages makes sure that every cluster belongs where it did; the clusters are the same.
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

// checkOrder makes sure that the clusters of a stage, which are the same, have their order still.
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
			"from number %d on it was %s and is %s; restore the label if that was a mistake"+goOn,
			ptr.Deref(config.SortingLabelKey, ""), config.Name, i+1, brief.List(before, mostNamed), brief.List(now[i:], mostNamed))
	}
	return nil
}

// checkDeletions makes sure that nothing is to be given up that was not when the run was initialized. The reverse comes of giving up.
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

// changes says which clusters have come and gone.
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
