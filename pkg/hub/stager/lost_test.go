package stager

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func bereft(s *scene) {
	s.lay(all(4))
	snapshot := scope.ResourceSnapshots.New(s.key)
	s.name(snapshot, contract.MasterSnapshotName(s.key.Name, 0))
	s.loses(snapshot)
}

// unchanged takes away an override snapshot that the plan names.
func unchanged(s *scene) {
	s.lay(all(4))
	o := s.override(testworld.LeavingOut(testworld.Everywhere()...))
	s.loses(o)
}

// loses lets a snapshot go between the plan and the run.
func (s *scene) loses(snapshot client.Object) {
	s.Helper()
	s.schedule()
	s.start()
	run := scope.UpdateRuns.New(s.key)
	s.name(run, s.key.Name)
	*run.GetSpec() = v1beta1.UpdateRunSpec{PlacementName: s.key.Name, StagedUpdateStrategyName: s.key.Name, State: v1beta1.UpdateRunInitialize}
	s.create(run)
	testworld.Await(s, testworld.Soon, "the run to be initialized", func(ctx context.Context) (err error) {
		if run, err = scope.UpdateRuns.Get(ctx, s.Client, s.key); err == nil && !meta.IsStatusConditionTrue(*run.GetConditions(), v1beta1.ConditionInitialized) {
			err = errors.New("it is not")
		}
		return err
	})
	must(s.T, s.Client.Delete(s.Context(), snapshot))
	run.GetSpec().State = v1beta1.UpdateRunRun
	must(s.T, s.Client.Update(s.Context(), run))
	s.is(stage.Failed, 0)
	if got := s.started(); len(got) > 0 {
		s.Errorf("%q were given a snapshot that does not exist", got)
	}
}
