package delivery

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// names are the snapshots that revisions consist of, each once.
func names(revisions ...v1beta1.Revision) []string {
	var out []string
	for _, r := range revisions {
		if r.ResourceSnapshotName != "" {
			out = append(out, r.ResourceSnapshotName)
		}
		for _, key := range OverridesIn(r).Keys() {
			out = append(out, key.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestNeededBy(t *testing.T) {
	for name, tc := range map[string]struct {
		has    string
		status v1beta1.ResourceBindingStatus
		mark   string
		want   []string
	}{
		"nothing was given":          {},
		"what it has":                {has: "r2", want: []string{"o", "r2"}},
		"what was last healthy":      {has: "r2", status: v1beta1.ResourceBindingStatus{LastHealthy: &v1beta1.Revision{ResourceSnapshotName: "r1"}}, want: []string{"o", "r1", "r2"}},
		"what was before the change": {has: "r2", mark: `{"before":{"resourceSnapshotName":"r0","clusterResourceOverrideSnapshots":["o-0"]}}`, want: []string{"o", "o-0", "r0", "r2"}},
		"a mark of nothing":          {has: "r2", mark: `{"before":null}`, want: []string{"o", "r2"}},
		"a mark that cannot be read": {has: "r2", mark: `{"before":7}`, want: []string{"o", "r2"}},

		"a mark that is readable there alone": {has: "r2", mark: `{"at":7,"before":{"resourceSnapshotName":"r0"}}`, want: []string{"o", "r0", "r2"}},
	} {
		b := &v1beta1.ClusterResourceBinding{Status: tc.status}
		b.Annotations = map[string]string{contract.AnnotationRollout: tc.mark}
		if b.Spec.ResourceSnapshotName = tc.has; tc.has != "" {
			b.Spec.ResourceOverrideSnapshots = []v1beta1.NamespacedName{{Namespace: "app", Name: "o"}}
		}
		if got := names(NeededBy(b)...); !slices.Equal(got, tc.want) {
			t.Errorf("%s: needs %v; want %v", name, got, tc.want)
		}
	}
}

func TestNeededByRun(t *testing.T) {
	cluster := v1beta1.ClusterUpdatingStatus{
		ClusterName: "c1", ClusterResourceOverrideSnapshots: []string{"o-1"}, LastHealthy: &v1beta1.Revision{ResourceSnapshotName: "p-1-snapshot"},
	}
	planned := v1beta1.UpdateRunStatus{
		ResourceSnapshotIndexUsed: "3", StagesStatus: []v1beta1.StageUpdatingStatus{{Clusters: []v1beta1.ClusterUpdatingStatus{cluster}}},
	}
	ended := planned
	ended.Conditions = []metav1.Condition{{Type: v1beta1.ConditionSucceeded, Status: metav1.ConditionFalse}}
	marked := func(run string) []v1beta1.BindingObject {
		b := &v1beta1.ClusterResourceBinding{}
		b.Annotations = map[string]string{contract.AnnotationUpdateRun: `{"run":"` + run + `","before":{"resourceSnapshotName":"p-2-snapshot"}}`}
		return []v1beta1.BindingObject{b}
	}
	for name, tc := range map[string]struct {
		asked            string
		status           v1beta1.UpdateRunStatus
		bindings         []v1beta1.BindingObject
		releases, before []string
	}{
		"not planned, and asked for none":   {},
		"not planned, and asked for one":    {asked: "7", releases: []string{"p-7-snapshot"}},
		"not planned, and asked for a word": {asked: "latest"},
		"planned":                           {asked: "7", status: planned, releases: []string{"o-1", "p-3-snapshot"}, before: []string{"p-1-snapshot"}},
		"changed, and not stored":           {status: planned, bindings: marked("uid"), releases: []string{"o-1", "p-3-snapshot"}, before: []string{"p-1-snapshot", "p-2-snapshot"}},
		"changed by another run":            {bindings: marked("another")},
		"ended":                             {asked: "7", status: ended, bindings: marked("uid")},
	} {
		run := &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{UID: "uid"}, Status: tc.status}
		run.Spec.PlacementName, run.Spec.ResourceSnapshotIndex = "p", tc.asked
		releases, before := NeededByRun(run, tc.bindings)
		if !slices.Equal(names(releases...), tc.releases) || !slices.Equal(names(before...), tc.before) {
			t.Errorf("%s: releases %v, and back to %v; want %v and %v", name, names(releases...), names(before...), tc.releases, tc.before)
		}
	}
}
