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

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// storm strikes agents at random moments.
type storm struct {
	agents *replicas
	rng    *rand.Rand
	*testworld.Running

	mu  sync.Mutex
	did map[string]int
}

func (r *replicas) storm(t *testing.T, rng *rand.Rand) *storm {
	s := &storm{agents: r, rng: rng, did: map[string]int{}}
	// It ends when the last agent that was struck is up again.
	s.Running = testworld.Go(t, "the storm", func(ctx context.Context) error {
		s.blow(ctx, t)
		return nil
	})
	return s
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
			after := s.agents.terms.lease + time.Duration(s.rng.IntN(1500))*time.Millisecond
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
		s.lull(ctx)
	}
}

// lull mostly waits until an agent leads again: a machine on which that takes longer than from one blow to the next
// would get nowhere.
func (s *storm) lull(ctx context.Context) {
	if s.rng.IntN(4) == 0 {
		return
	}
	for ; ctx.Err() == nil; testworld.Pause() {
		if _, err := s.agents.leader(ctx); err == nil {
			return
		}
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
	case <-time.After(d): //nolint:forbidigo // when a game moves is random, and it waits for nothing
	case <-ctx.Done():
	}
}
