package scheduler

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func restarts(s *scene) {
	s.place(contract.FinalizerScheduler)
	s.use(pickN(), 2)
	s.await("m2=Scheduled m3=Scheduled", "m2 m3 "+fulfilledReason)
	s.use(pickFixed("m1", "m2", "m4", "ghost"), 0)
	s.await("m1=Scheduled m2=Scheduled m3=Unscheduled", "m1 m2 "+unfulfilledReason)
	second := s.startAgent()
	testworld.Stable(s, time.Second, "silence after a start", func(context.Context) error {
		if writes := second.Take(); len(writes) > 0 {
			return fmt.Errorf("writes: %s", strings.Join(writes, ", "))
		}
		return nil
	})
	second.Stop()
}
