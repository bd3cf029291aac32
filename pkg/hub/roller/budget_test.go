package roller

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func binds(s *scene) {
	s.place(func(spec *v1beta1.PlacementSpec) {
		spec.Strategy.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}
	})
	s.schedule("m1", "m2")
	s.quiet("no content yet")
	s.content(0, 1, 0)
	s.await("m1=Bound0 m2=Bound0")
	b := s.binding("m1")
	if got := b.GetFinalizers(); !slices.Equal(got, []string{contract.FinalizerBinding, contract.FinalizerWork}) {
		s.Errorf("finalizers are %v", got)
	}
	if got := b.GetSpec().ApplyStrategy; got == nil || got.Type != v1beta1.ApplyStrategyTypeServerSideApply || got.WhenToApply != v1beta1.WhenToApplyAlways {
		s.Errorf("apply strategy is %+v", got)
	}
	if len(*b.GetConditions()) > 0 {
		s.Errorf("conditions are %+v; the dispatcher writes them", *b.GetConditions())
	}
	if writes := s.agent.Take(); len(writes) != 2 {
		s.Errorf("writes are %v; want one for each binding", writes)
	}
	s.quiet("all is bound")
}

func turns(s *scene) {
	s.settled()
	s.content(1, 1, 0)
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
	s.available("m1", false)
	s.quiet("the first is not available")
	s.content(2, 1, 0)
	s.await("m1=Bound2 m2=Bound0! m3=Bound0!")
	s.available("m1", true)
	s.await("m1=Bound2 m2=Bound2 m3=Bound0!")
	s.available("m2", true)
	s.await("m1=Bound2 m2=Bound2 m3=Bound2")
}

func parts(s *scene) {
	s.settled()
	s.content(1, 3, 0, 2)
	s.quiet("a part is missing")
	s.content(1, 3, 1)
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
}

func edits(s *scene) {
	s.settled()
	s.content(1, 1, 0)
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
	s.available("m1", false)
	s.quiet("the first is not available")
	s.edit(func(spec *v1beta1.PlacementSpec) {
		spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(2))
	})
	s.await("m1=Bound1 m2=Bound1 m3=Bound0!")
	s.edit(func(spec *v1beta1.PlacementSpec) {
		spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromString("100%"))
	})
	s.await("m1=Bound1 m2=Bound1 m3=Bound1")
	for _, cluster := range []string{"m1", "m2", "m3"} {
		s.available(cluster, true)
	}
	s.quiet("all have it")
	s.edit(func(spec *v1beta1.PlacementSpec) {
		spec.Strategy.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
	})
	testworld.Await(s, testworld.Soon, "the strategy", func(context.Context) error {
		for _, cluster := range []string{"m1", "m2", "m3"} {
			if got := s.binding(cluster).GetSpec().ApplyStrategy; got.Type != v1beta1.ApplyStrategyTypeReportDiff {
				return fmt.Errorf("%s has strategy %s", cluster, got.Type)
			}
		}
		return nil
	})
	if writes := s.agent.Take(); len(writes) != 3 {
		s.Errorf("writes are %v; want one for each binding", writes)
	}
}

func shortage(s *scene) {
	s.settled(func(spec *v1beta1.PlacementSpec) {
		spec.Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(int32(4))}
	})
	s.content(1, 1, 0)
	s.await("m1=Bound0! m2=Bound0! m3=Bound0!") // there may be a fourth in a moment
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	*placement.GetConditions() = []metav1.Condition{{
		Type: placement.ConditionType(v1beta1.ConditionScheduled), Status: metav1.ConditionFalse, Reason: v1beta1.ReasonSchedulingPolicyUnfulfilled,
		ObservedGeneration: placement.GetGeneration(), LastTransitionTime: metav1.Now(),
	}}
	s.Must(s.Client.Status().Update(s.Context(), placement))
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
}
