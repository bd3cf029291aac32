package scheduler

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// adopts plays an upgrade, and a placement that was made again: bindings of a version that did not mark them, and of
// an earlier placement, get the mark where their cluster is picked; others of an earlier placement are let be.
func adopts(s *scene) {
	s.place(contract.FinalizerScheduler)
	s.use(pickFixed("m1", "m2", "m3"), 0)
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled", "m1 m2 m3 "+fulfilledReason)
	uid := s.binding("m1").GetAnnotations()[contract.AnnotationPlacementUID]
	marked := func(cluster, mark string) {
		s.Helper()
		testworld.Await(s, testworld.Soon, "the mark of "+cluster, func(context.Context) error {
			if got := s.binding(cluster).GetAnnotations()[contract.AnnotationPlacementUID]; got != mark {
				return fmt.Errorf("it is %q, not %q", got, mark)
			}
			return nil
		})
	}
	s.rebind("m1", func(b client.Object) { b.SetAnnotations(nil) })
	for _, cluster := range []string{"m2", "m3"} {
		s.rebind(cluster, func(b client.Object) {
			b.SetAnnotations(map[string]string{contract.AnnotationPlacementUID: "of-an-earlier-placement"})
			b.(v1beta1.BindingObject).GetSpec().SchedulingPolicySnapshotName = "an-earlier-one"
		})
	}
	s.use(pickFixed("m1", "m2"), 0)
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled", "m1 m2 "+fulfilledReason)
	marked("m1", uid)
	marked("m2", uid)
	marked("m3", "of-an-earlier-placement")
}
