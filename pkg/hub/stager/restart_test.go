package stager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func anew(s *scene) {
	s.lay(all(2))
	s.schedule()
	first := s.start()
	s.run()
	s.is(stage.Active, 0)
	s.available("m1")
	s.is(stage.Active, 1)
	first.Stop()
	s.available("m2")
	agent := s.start()
	s.is(stage.Active, 2)
	s.available("m3")
	s.available("m4")
	s.is(stage.Succeeded, 4)
	quiet(s, agent)
	run, err := scope.UpdateRuns.Get(s.Context(), s.Client, s.key)
	must(s.T, err)
	must(s.T, s.Client.Delete(s.Context(), run))
	testworld.Await(s, testworld.Soon, "the metrics of the deleted run to end", func(context.Context) error {
		if names := s.measured(); slices.Contains(names, s.key.String()) {
			return fmt.Errorf("there are metrics of %q", names)
		}
		return nil
	})
}

// measured are the runs that have metrics.
func (s *scene) measured() []string {
	s.Helper()
	families, err := metrics.Registry.Gather()
	must(s.T, err)
	var out []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "fleet_workload_update_run_") {
			continue
		}
		for _, m := range f.GetMetric() {
			key := types.NamespacedName{}
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "namespace":
					key.Namespace = l.GetValue()
				case "name":
					key.Name = l.GetValue()
				}
			}
			out = append(out, key.String())
		}
	}
	return out
}

// quiet asserts that an agent writes nothing of the placement, and that another one that starts now does not either.
// Other placements are left as they were when their tests ended, and go on.
func quiet(s *scene, agent *testworld.Agent) {
	s.Helper()
	again := s.start()
	for _, w := range []*testworld.Agent{agent, again} {
		w.Take()
		testworld.Stable(s, 300*time.Millisecond, "quiet", func(context.Context) error {
			for _, write := range w.All() {
				if strings.Contains(write, s.key.Name) {
					return errors.New(write)
				}
			}
			return nil
		})
	}
}
