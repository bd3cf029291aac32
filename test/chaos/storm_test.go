package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// storm strikes agents at random moments.
type storm struct {
	agents *replicas
	rng    *rand.Rand
	stop   context.CancelFunc
	ended  chan struct{}

	mu  sync.Mutex
	did map[string]int
}

func (r *replicas) storm(t *testing.T, rng *rand.Rand) *storm {
	ctx, stop := context.WithCancel(t.Context())
	s := &storm{agents: r, rng: rng, stop: stop, ended: make(chan struct{}), did: map[string]int{}}
	go func() {
		defer close(s.ended)
		s.blow(ctx, t)
	}()
	t.Cleanup(func() { s.ends(t) })
	return s
}

// ends returns when the last agent that was struck is up again.
func (s *storm) ends(t *testing.T) {
	t.Helper()
	s.stop()
	<-s.ended
}

func (s *storm) blows() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, k := range s.did {
		n += k
	}
	return n
}

func (s *storm) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.did)
}

func (s *storm) blow(ctx context.Context, t *testing.T) {
	var halted sync.WaitGroup
	defer halted.Wait()
	for ctx.Err() == nil {
		pause(ctx, time.Duration(s.rng.ExpFloat64()*float64(2*time.Second)))
		if ctx.Err() != nil {
			return
		}
		one := s.agents.each[s.rng.IntN(len(s.agents.each))]
		var what string
		switch n := s.rng.IntN(100); {
		case n < 25:
			what = "hub agent killed"
			one.signal(syscall.SIGKILL)
		case n < 32:
			what = "both hub agents killed"
			for _, one := range s.agents.each {
				one.signal(syscall.SIGKILL)
			}
		case n < 40:
			what = "hub agent told to end"
			one.signal(syscall.SIGTERM)
		case n < 65:
			what = "hub agent halted"
			halted.Wait() // one at a time, or nobody would lead
			one.signal(syscall.SIGSTOP)
			after := lease + time.Duration(s.rng.IntN(1500))*time.Millisecond
			halted.Go(func() {
				pause(ctx, after)
				one.signal(syscall.SIGCONT)
			})
		default:
			what = "member agent killed"
			s.killMember(ctx, t)
		}
		s.mu.Lock()
		s.did[what]++
		s.mu.Unlock()
	}
}

// killMember kills a member's agent, and starts it again a moment later.
func (s *storm) killMember(ctx context.Context, t *testing.T) {
	name := slices.Sorted(maps.Keys(rings))[s.rng.IntN(len(rings))]
	if err := fleet.KillAgent(name); err != nil {
		t.Errorf("kill the agent of %s: %v", name, err)
	}
	pause(ctx, time.Duration(s.rng.IntN(800))*time.Millisecond)
	if err := fleet.StartAgent(context.WithoutCancel(ctx), name); err != nil {
		t.Errorf("start the agent of %s: %v", name, err)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
