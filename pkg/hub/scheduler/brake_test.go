package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// limited gives the placement a removal policy of max.
func (s *scene) limited(max string) {
	s.Helper()
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.edit(placement, func(p client.Object) {
		p.(v1beta1.PlacementObject).GetSpec().Strategy.Removal = &v1beta1.RemovalPolicy{Max: ptr.To(intstr.Parse(max))}
	})
	testworld.AwaitKnown(s, s.agent.Knows, placement)
}

// fills makes bindings bound, with content.
func (s *scene) fills(clusters ...string) {
	s.Helper()
	for _, cluster := range clusters {
		s.rebind(cluster, func(b client.Object) {
			spec := b.(v1beta1.BindingObject).GetSpec()
			spec.State, spec.ResourceSnapshotName = v1beta1.BindingStateBound, contract.MasterSnapshotName(s.key.Name, 0)
		})
	}
}

// awaitHeld waits until so many clusters are held, or none.
func (s *scene) awaitHeld(n int32) (held *v1beta1.HeldRemoval) {
	s.Helper()
	testworld.Await(s, testworld.Soon, fmt.Sprintf("%d clusters to be held", n), func(context.Context) error {
		held = s.policy().GetStatus().HeldRemoval
		if n == 0 && held == nil || held != nil && held.Removed == n {
			return nil
		}
		return fmt.Errorf("held %+v", held)
	})
	return held
}

func holdsClusters(s *scene) {
	s.place(contract.FinalizerScheduler)
	s.limited("1")
	s.use(nil, 0)
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled", "m1 m2 m3 "+fulfilledReason)
	s.fills("m1", "m2", "m3")
	s.use(&v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"m1"}}, 0)
	held := s.awaitHeld(2)
	s.await("m1=Bound m2=Bound m3=Bound", "m1 m2 m3 "+fulfilledReason)
	if !slices.Equal(held.First, []string{"m2", "m3"}) || held.Total != 3 {
		s.Errorf("held %+v", held)
	}
	if mark := s.binding("m2").GetAnnotations()[contract.AnnotationCarriedOver]; mark != contract.CarriedOverHeld {
		s.Errorf("the binding of a held cluster is marked %q", mark)
	}
	s.agent.Take()
	testworld.Stable(s, time.Second, "no writes", func(context.Context) error {
		if writes := s.writes(); len(writes) > 0 {
			return fmt.Errorf("writes %q", writes)
		}
		return nil
	})
	s.use(nil, 0)
	s.awaitHeld(0)
	s.await("m1=Bound m2=Bound m3=Bound", "m1 m2 m3 "+fulfilledReason)

	s.use(&v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"m1"}}, 0)
	release := func(digest string) {
		placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
		s.Must(err)
		s.edit(placement, func(p client.Object) { p.SetAnnotations(map[string]string{contract.AnnotationReleaseRemoval: digest}) })
		testworld.AwaitKnown(s, s.agent.Knows, placement)
	}
	now := s.awaitHeld(2)
	if now.Digest == held.Digest {
		s.Error("a change that is made again is the same one")
	}
	release(held.Digest)
	testworld.Stable(s, time.Second, "the clusters to stay", func(context.Context) error {
		if b := s.binding("m2"); b.GetSpec().State != v1beta1.BindingStateBound {
			return errors.New("it is given up because of an earlier release")
		}
		return nil
	})
	release(now.Digest)
	s.await("m1=Bound m2=Unscheduled m3=Unscheduled", "m1 "+fulfilledReason)
	s.awaitHeld(0)
}

func waitsForPlacer(s *scene) {
	s.place(contract.FinalizerPlacement, contract.FinalizerScheduler)
	s.limited("0")
	s.use(nil, 0)
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled", "m1 m2 m3 "+fulfilledReason)
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.Must(s.Client.Delete(s.Context(), placement))
	testworld.AwaitKnown(s, s.agent.Knows, placement)
	s.agent.Take()
	testworld.Stable(s, time.Second, "no writes", func(context.Context) error {
		if writes := s.writes(); len(writes) > 0 {
			return fmt.Errorf("writes %q", writes)
		}
		return nil
	})
	placement, err = scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.edit(placement, func(p client.Object) { p.SetFinalizers([]string{contract.FinalizerScheduler}) })
	testworld.AwaitGone(s, s.Client, placement, nil)
}
