package roller

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

func behindHand(s *scene) {
	s.settled()
	s.content(1, 1, 0)
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
	s.available("m1", true)
	s.await("m1=Bound1 m2=Bound1 m3=Bound0!")
	// Another leader has put newer content there, which exists but is not ours to see yet: it lacks the placement's
	// label.
	newer := scope.ResourceSnapshots.New(s.key)
	newer.SetNamespace(s.key.Namespace)
	newer.SetName(contract.MasterSnapshotName(s.key.Name, 2))
	newer.GetSpec().SelectedResources = []v1beta1.ResourceContent{}
	s.Must(s.Client.Create(s.Context(), newer))
	s.change("m2", func(b v1beta1.BindingObject) { b.GetSpec().ResourceSnapshotName = newer.GetName() })
	s.available("m2", true)
	s.quiet("a cluster has newer content than is known")
	s.Must(s.Client.Delete(s.Context(), newer))
	s.edit(func(spec *v1beta1.PlacementSpec) { spec.Strategy.RollingUpdate.UnavailablePeriodSeconds = ptr.To(2) })
	s.await("m1=Bound1 m2=Bound1 m3=Bound0!")
}

func restarts(s *scene) {
	s.settled()
	s.content(1, 1, 0)
	s.await("m1=Bound1 m2=Bound0! m3=Bound0!")
	second := s.startAgent()
	s.silent(time.Second, "silence after a start", second)
	second.Stop()
	if c := meta.FindStatusCondition(*s.binding("m2").GetConditions(), v1beta1.ConditionRolloutStarted); c == nil || c.Message == "" {
		s.Errorf("a binding that waits says %+v", c)
	}
}
