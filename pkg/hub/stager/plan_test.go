package stager

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/stage"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func early(s *scene) {
	s.lay(all(4))
	s.start()
	s.run()
	testworld.Stable(s, 300*time.Millisecond, "a run that waits", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err == nil && len(*run.GetConditions()) > 0 {
			err = fmt.Errorf("conditions %+v", *run.GetConditions())
		}
		return err
	})
	s.schedule()
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Succeeded, 4)
}

func entire(s *scene) {
	s.lay(all(4))
	s.schedule()
	s.lacks.Store(s.key.Name + "-m4")
	s.start()
	s.run()
	testworld.Await(s, testworld.Soon, "the plan", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err == nil && len(run.GetStatus().StagesStatus) == 0 {
			err = fmt.Errorf("there is none: %+v", run.GetStatus())
		}
		return err
	})
	s.lacks.Store("")
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Succeeded, 4)
}

func nowhere(s *scene) {
	s.start()
	s.run()
	testworld.Await(s, testworld.Soon, "the run to be ended", func(ctx context.Context) error {
		run, err := scope.UpdateRuns.Get(ctx, s.Client, s.key)
		if err != nil {
			return err
		}
		c := meta.FindStatusCondition(*run.GetConditions(), v1beta1.ConditionInitialized)
		if c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "the parent placement is not found") {
			return fmt.Errorf("conditions %+v", *run.GetConditions())
		}
		return nil
	})
}
