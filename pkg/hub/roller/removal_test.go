package roller

import (
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

func removes(s *scene) {
	s.settled(func(spec *v1beta1.PlacementSpec) {
		spec.Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(int32(3))}
		spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(0))
	})
	s.change("m3", func(b v1beta1.BindingObject) { b.GetSpec().State = v1beta1.BindingStateUnscheduled })
	s.available("m3", true)
	s.quiet("it is needed")
	s.edit(func(spec *v1beta1.PlacementSpec) { spec.Policy.NumberOfClusters = ptr.To(int32(2)) })
	s.await("m1=Bound0 m2=Bound0 m3=Unscheduled0-")
}

func leaves(s *scene) {
	s.place(func(spec *v1beta1.PlacementSpec) {
		spec.Strategy = v1beta1.RolloutStrategy{Type: v1beta1.RolloutStrategyTypeExternal}
	})
	s.content(0, 1, 0)
	s.schedule("m1")
	s.quiet("update runs have it")
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.Must(s.Client.Delete(s.Context(), placement))
	s.schedule("m2")
	s.quiet("the placement is going")
}
