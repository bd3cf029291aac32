package stager

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

func together(s *scene) {
	s.lay(all(1))
	s.schedule()
	s.start()
	s.start()
	s.run()
	for i, m := range members {
		s.available(m)
		s.is(map[bool]stage.Phase{false: stage.Active, true: stage.Succeeded}[i == len(members)-1], i+1)
		if got := s.started(); len(got) > i+2 {
			s.Errorf("%q have the release when %d are done; one may be in progress", got, i+1)
		}
	}
}

// exact has a wait begin within a second, and end at the same fraction of another.
func exact(s *scene) {
	s.frozen = time.Now().Truncate(time.Second).Add(100 * time.Millisecond)
	s.lay(all(4, v1beta1.StageTask{Type: v1beta1.StageTaskTimedWait, WaitTime: &metav1.Duration{Duration: time.Second}}))
	s.schedule()
	s.start()
	s.run()
	for _, m := range members {
		s.available(m)
	}
	s.is(stage.Waiting, 4)
	s.ahead.Store(int64(time.Second))
	s.is(stage.Succeeded, 4)
}
