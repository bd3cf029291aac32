package scheduler

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func cleansUp(s *scene) {
	s.place("example.com/test", contract.FinalizerScheduler)
	s.use(nil, 0)
	s.await("m1=Scheduled m2=Scheduled m3=Scheduled", "m1 m2 m3 "+fulfilledReason)
	s.rebind("m1", func(b client.Object) { controllerutil.AddFinalizer(b, contract.FinalizerWork) })
	s.agent.Take()
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.Must(s.Client.Delete(s.Context(), placement))
	testworld.Await(s, testworld.Soon, "the placement to be let go", func(ctx context.Context) error {
		placement, err := scope.Placements.Get(ctx, s.Client, s.key)
		if err != nil {
			return err
		}
		if got := placement.GetFinalizers(); !slices.Equal(got, []string{"example.com/test"}) {
			return fmt.Errorf("finalizers are %v", got)
		}
		left := s.bindings()
		if len(left) != 1 || left[0].GetDeletionTimestamp().IsZero() || len(left[0].GetFinalizers()) != 2 {
			return fmt.Errorf("left are %+v; want the one that has content, with both finalizers", left)
		}
		return nil
	})
	// Three deletions, the placement's finalizer, and the finalizers of two bindings without other ones. One is
	// repeated where the cache had not shown yet that it had succeeded.
	writes := s.writes()
	slices.Sort(writes)
	if writes = slices.Compact(writes); len(writes) != 6 {
		s.Errorf("writes are %d: %v", len(writes), writes)
	}
	s.edit(placement, func(p client.Object) { p.SetFinalizers(nil) })
}

// A placement whose name is too long for a label is never placed. It must still be possible to delete it.
func letsGo(s *scene) {
	s.key.Name = strings.Repeat("x", 64)
	s.place(contract.FinalizerScheduler)
	placement, err := scope.Placements.Get(s.Context(), s.Client, s.key)
	s.Must(err)
	s.Must(s.Client.Delete(s.Context(), placement))
	testworld.AwaitGone(s, s.Client, placement, nil)
	s.key.Name = "gone"
}
