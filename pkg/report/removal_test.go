package report

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func heldOn(cluster string, removed, total, protected int32) *v1beta1.ClusterResourceBinding {
	h := &v1beta1.HeldRemoval{Digest: "digest-" + cluster, Removed: removed, Total: total, Protected: protected}
	for i := range min(removed, 10) {
		h.First = append(h.First, fmt.Sprintf("ConfigMap shop/c%d", i))
	}
	b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{Name: "web-" + cluster}, Status: v1beta1.ResourceBindingStatus{HeldRemoval: h}}
	b.Spec.TargetCluster = cluster
	return b
}

func TestRemovalHeld(t *testing.T) {
	wide := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 7}}
	free := &v1beta1.ClusterResourceBinding{}
	gone := heldOn("gone", 1, 1, 0)
	gone.DeletionTimestamp = &metav1.Time{}
	gone.DeletionTimestamp.Time = gone.DeletionTimestamp.AddDate(2030, 0, 0)
	policy := &v1beta1.ClusterSchedulingPolicySnapshot{}
	policy.Status.HeldRemoval = &v1beta1.HeldRemoval{Digest: "clusters", Removed: 9, Total: 10, First: []string{"a", "b", "c", "d"}}
	for name, tc := range map[string]struct {
		placement v1beta1.PlacementObject
		holds     Holds
		want      string
	}{
		"nothing": {placement: wide, holds: HoldsOf([]v1beta1.BindingObject{free, gone}, &v1beta1.ClusterSchedulingPolicySnapshot{})},
		"content": {
			placement: wide, holds: HoldsOf([]v1beta1.BindingObject{heldOn("west", 1, 9, 0), free, heldOn("east", 5, 9, 2)}, nil),
			want: "More than strategy.removal allows is held: objects would be removed from 2 clusters: east, west; from east 5 of 9 objects (2 of protected kinds): " +
				"ConfigMap shop/c0, ConfigMap shop/c1, ConfigMap shop/c2 and 2 more. " +
				"To let it through, run: kubectl fleet release web; to end the hold, revert the change",
		},
		"clusters, and content of one": {
			placement: &v1beta1.ResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}},
			holds:     HoldsOf([]v1beta1.BindingObject{heldOn("west", 1, 2, 0)}, policy),
			want: "More than strategy.removal allows is held: the policy would leave 9 of 10 clusters: a, b, c and 6 more; " +
				"objects would be removed from 1 cluster: west; from west 1 of 2 objects: ConfigMap shop/c0. " +
				"To let it through, run: kubectl fleet release web -n shop; to end the hold, revert the change",
		},
		"the placement": {
			placement: wide, holds: Holds{On: 2, Placement: &v1beta1.HeldRemoval{Digest: "d", Removed: 3, Total: 3, First: []string{"Namespace shop"}}},
			want: "More than strategy.removal allows is held: the deletion of the placement would remove 3 objects from 2 clusters: Namespace shop and 2 more. " +
				"To let it through, run: kubectl fleet release web; to keep the objects on the clusters, set deleteStrategy.propagationPolicy to Abandon",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := RemovalHeld(tc.placement, tc.holds)
			if tc.want == "" {
				if c != nil {
					t.Errorf("%+v", c)
				}
				return
			}
			if c == nil || c.Message != tc.want || c.Status != metav1.ConditionTrue || c.Type != tc.placement.ConditionType(v1beta1.ConditionRemovalHeld) {
				t.Errorf("%+v", c)
			}
		})
	}
}

// The message is bounded, whatever objects are called.
func TestRemovalHeldIsBounded(t *testing.T) {
	b := heldOn("east", 10, 10, 0)
	for i := range b.Status.HeldRemoval.First {
		b.Status.HeldRemoval.First[i] = strings.Repeat("x", 512)
	}
	c := RemovalHeld(&v1beta1.ClusterResourcePlacement{}, HoldsOf([]v1beta1.BindingObject{b}, nil))
	if len(c.Message) > 4096 {
		t.Errorf("%d bytes", len(c.Message))
	}
}

// The placement has the condition as long as something is held, with one warning when that begins.
func TestAHoldIsReportedOnce(t *testing.T) {
	placement := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 1}}
	status := func(bindings ...v1beta1.BindingObject) (*v1beta1.PlacementStatus, []string) {
		update := Placement(PlacementFacts{Placement: placement, Bindings: bindings}, metav1.Now())
		var reasons []string
		for _, e := range PlacementEvents(placement, &update.Status) {
			if e.Warning {
				reasons = append(reasons, e.Reason)
			}
		}
		placement.Status = update.Status
		return &update.Status, reasons
	}
	kind := placement.ConditionType(v1beta1.ConditionRemovalHeld)
	has := func(s *v1beta1.PlacementStatus) (out int) {
		for _, c := range s.Conditions {
			if c.Type == kind {
				out++
			}
		}
		return out
	}
	if s, warnings := status(heldOn("east", 1, 2, 0)); has(s) != 1 || len(warnings) != 1 || warnings[0] != "RemovalHeld" {
		t.Errorf("%d conditions, warnings %q", has(s), warnings)
	}
	if s, warnings := status(heldOn("east", 1, 2, 0), heldOn("west", 1, 2, 0)); has(s) != 1 || len(warnings) != 0 {
		t.Errorf("%d conditions, warnings %q", has(s), warnings)
	}
	if s, warnings := status(); has(s) != 0 || len(warnings) != 0 {
		t.Errorf("%d conditions, warnings %q", has(s), warnings)
	}
}
