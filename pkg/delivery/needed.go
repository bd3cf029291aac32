package delivery

import (
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// NeededBy returns the revisions that a binding may need: what it has, and what a rolling update may roll its cluster
// back to, which is what was last healthy there and what was before the last change. Their snapshots must not be
// pruned.
func NeededBy(b v1beta1.BindingObject) []v1beta1.Revision {
	out := []v1beta1.Revision{Of(b)}
	if last := b.GetStatus().LastHealthy; last != nil {
		out = append(out, *last)
	}
	if before := beforeIn(b); before != nil {
		out = append(out, *before)
	}
	return out
}

// Ended returns whether an update run has ended, so that it needs no snapshots.
func Ended(run v1beta1.UpdateRunObject) bool {
	return meta.FindStatusCondition(*run.GetConditions(), v1beta1.ConditionSucceeded) != nil
}

// Active returns whether an update run may still change clusters of the placement: it has not ended, can begin, and is
// not that of an earlier placement of the name.
func Active(run v1beta1.UpdateRunObject, placement types.UID) bool {
	of := run.GetStatus().PlacementUID
	return run.GetDeletionTimestamp().IsZero() && !Ended(run) && !meta.IsStatusConditionFalse(*run.GetConditions(), v1beta1.ConditionInitialized) &&
		(of == "" || of == placement)
}

// ActiveRun names the first active update run of a placement; empty if there is none.
func ActiveRun(runs []v1beta1.UpdateRunObject, placement v1beta1.PlacementObject) (name string) {
	for _, run := range runs {
		if run.GetSpec().PlacementName == placement.GetName() && Active(run, placement.GetUID()) && (name == "" || run.GetName() < name) {
			name = run.GetName()
		}
	}
	return name
}

// NeededByRun returns the revisions that an update run may need; bindings are those of its placement. Snapshots of
// releases may never have existed, because a run can name any index; before are the revisions to which it may roll
// clusters back, which existed.
func NeededByRun(run v1beta1.UpdateRunObject, bindings []v1beta1.BindingObject) (releases, before []v1beta1.Revision) {
	if Ended(run) {
		return nil, nil
	}
	status, snapshot := run.GetStatus(), released(run)
	if snapshot != "" {
		releases = append(releases, v1beta1.Revision{ResourceSnapshotName: snapshot})
	}
	for _, s := range status.StagesStatus {
		for _, c := range s.Clusters {
			overrides := Overrides{Cluster: c.ClusterResourceOverrideSnapshots, Namespaced: c.ResourceOverrideSnapshots}
			releases = append(releases, NewRevision(snapshot, overrides, status.ApplyStrategy))
			if c.LastHealthy != nil {
				before = append(before, *c.LastHealthy)
			}
		}
	}
	for _, b := range bindings {
		if m := RunMark(b, run.GetUID()); m != nil && m.Before != nil {
			before = append(before, *m.Before)
		}
	}
	return releases, before
}

// released names the resource snapshot that a run releases; empty if it has not chosen one yet.
func released(run v1beta1.UpdateRunObject) string {
	text := run.GetStatus().ResourceSnapshotIndexUsed
	if text == "" {
		text = run.GetSpec().ResourceSnapshotIndex
	}
	index, err := strconv.Atoi(text)
	if err != nil {
		return ""
	}
	return contract.MasterSnapshotName(run.GetSpec().PlacementName, index)
}
