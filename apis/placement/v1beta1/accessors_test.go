package v1beta1_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// What is set through the accessors must be in the object itself, not in a copy.
func TestAccessorsPointIntoTheObject(t *testing.T) {
	lists := map[string]v1beta1.BindingObjectList{
		"cluster-wide": &v1beta1.ClusterResourceBindingList{Items: make([]v1beta1.ClusterResourceBinding, 2)},
		"namespaced":   &v1beta1.ResourceBindingList{Items: make([]v1beta1.ResourceBinding, 2)},
	}
	for name, list := range lists {
		t.Run(name, func(t *testing.T) {
			second := list.Objects()[1]
			second.SetName("second")
			second.GetSpec().TargetCluster = "spoke-1"
			second.GetStatus().FailedPlacements = make([]v1beta1.FailedResourcePlacement, 1)
			*second.GetConditions() = []metav1.Condition{{Type: v1beta1.ConditionApplied}}

			again := list.Objects()[1]
			if again.GetName() != "second" || again.GetSpec().TargetCluster != "spoke-1" ||
				len(again.GetStatus().FailedPlacements) != 1 || len(again.GetStatus().Conditions) != 1 {
				t.Errorf("changes are lost: %+v", again)
			}
			if first := list.Objects()[0]; first.GetName() != "" {
				t.Errorf("the wrong item was changed: %+v", first)
			}
		})
	}
}

func TestConditionTypesOfPlacements(t *testing.T) {
	for want, placement := range map[string]v1beta1.PlacementObject{
		"ClusterResourcePlacementScheduled": &v1beta1.ClusterResourcePlacement{},
		"ResourcePlacementScheduled":        &v1beta1.ResourcePlacement{},
	} {
		if got := placement.ConditionType(v1beta1.ConditionScheduled); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
