package report

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestStatusCopyOf(t *testing.T) {
	namespace := func(name string) v1beta1.ResourceSelectorTerm {
		return v1beta1.ResourceSelectorTerm{Version: "v1", Kind: "Namespace", Name: name}
	}
	role := v1beta1.ResourceSelectorTerm{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole", Name: "reader"}
	for name, tc := range map[string]struct {
		namespaced, external, unasked bool
		selectors                     []v1beta1.ResourceSelectorTerm
		placed                        string
		want                          StatusCopy
		mistake                       string
	}{
		"nobody asks": {unasked: true, selectors: []v1beta1.ResourceSelectorTerm{namespace("app")}, placed: "app"},
		"a ResourcePlacement is in its namespace": {namespaced: true, selectors: []v1beta1.ResourceSelectorTerm{namespace("app")}},
		"into the selected namespace": {
			selectors: []v1beta1.ResourceSelectorTerm{role, namespace("app")}, placed: "app", want: StatusCopy{Namespace: "app"},
		},
		"which is not there yet": {
			selectors: []v1beta1.ResourceSelectorTerm{namespace("app")}, want: StatusCopy{Namespace: "app", Absent: true},
		},
		"or may be there: an update run has to say": {
			external: true, selectors: []v1beta1.ResourceSelectorTerm{namespace("app")}, want: StatusCopy{Namespace: "app"},
		},
		"it cannot move": {selectors: []v1beta1.ResourceSelectorTerm{namespace("other")}, placed: "app", want: StatusCopy{Namespace: "app"},
			mistake: "binds the placement to namespace app"},
		"labels name no namespace": {
			selectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", LabelSelector: &metav1.LabelSelector{}}},
			mistake:   "must give the namespace's name",
		},
		"nor does another kind of this name": {
			selectors: []v1beta1.ResourceSelectorTerm{{Group: "example.com", Version: "v1", Kind: "Namespace", Name: "app"}},
			mistake:   "must give the namespace's name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			placement := newPlacement(tc.namespaced)
			spec, status := placement.GetSpec(), placement.GetStatus()
			spec.ResourceSelectors = tc.selectors
			if !tc.unasked {
				spec.StatusReportingScope = v1beta1.StatusReportingScopeNamespaceAccessible
			}
			if tc.external {
				spec.Strategy.Type = v1beta1.RolloutStrategyTypeExternal
			}
			if tc.placed != "" {
				status.SelectedResources = []v1beta1.ResourceIdentifier{
					{Group: "scheduling.k8s.io", Version: "v1", Kind: "PriorityClass", Name: "high"}, {Version: "v1", Kind: "Namespace", Name: tc.placed},
				}
			}
			got := StatusCopyOf(placement, status)
			if !strings.Contains(got.Mistake, tc.mistake) || (got.Mistake == "") != (tc.mistake == "") {
				t.Errorf("mistake %q; want %q in it", got.Mistake, tc.mistake)
			}
			if got.Mistake = ""; got != tc.want {
				t.Errorf("got %+v; want %+v", got, tc.want)
			}
		})
	}
}

// The condition about the copy is of the generation that the status is about, keeps its time, and is not in the copy.
func TestStatusSynced(t *testing.T) {
	placement := newPlacement(false)
	status := &v1beta1.PlacementStatus{}
	if StatusSynced(placement, status, "app", "", before); len(status.Conditions) > 0 || Copyable(placement, status) {
		t.Fatalf("of a status without conditions: %+v", status)
	}
	status.Conditions = []metav1.Condition{yes(generation-1, "ClusterResourcePlacementScheduled", "R", "")}
	sync := func(failure string, now metav1.Time) metav1.Condition {
		StatusSynced(placement, status, "app", failure, now)
		if copied := CopiedStatus(placement, status); len(status.Conditions) != 2 || len(copied.Conditions) != 1 {
			t.Fatalf("conditions %+v, in the copy %+v", status.Conditions, copied.Conditions)
		}
		return status.Conditions[1]
	}
	failed := no(generation-1, "ClusterResourcePlacementStatusSynced", "StatusSyncFailed", "no such namespace")
	failed.LastTransitionTime = before
	if got := sync("no such namespace", before); got != failed {
		t.Errorf("got %+v; want %+v", got, failed)
	}
	if got := sync("no such namespace", after); got != failed {
		t.Errorf("set again: %+v", got)
	}
	synced := yes(generation-1, failed.Type, "StatusSyncSucceeded",
		"Status copied to ClusterResourcePlacementStatus app/"+placement.GetName())
	synced.LastTransitionTime = after
	if got := sync("", after); got != synced {
		t.Errorf("got %+v; want %+v", got, synced)
	}
}
