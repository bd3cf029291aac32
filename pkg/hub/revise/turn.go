package revise

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// turns lets one caller at a time have each placement. The zero value is ready for use.
type turns struct {
	mu    sync.Mutex
	taken map[types.NamespacedName]*turn
}

// turn is the turn at one placement, while any caller has it or waits for it.
type turn struct {
	// slot is full while a caller has the turn.
	slot    chan struct{}
	callers int
}

func (t *turns) take(ctx context.Context, key types.NamespacedName) (end func(), err error) {
	one := t.enter(key)
	select {
	case one.slot <- struct{}{}:
		return func() {
			<-one.slot
			t.leave(key, one)
		}, nil
	case <-ctx.Done():
		t.leave(key, one)
		return nil, ctx.Err()
	}
}

func (t *turns) enter(key types.NamespacedName) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken == nil {
		t.taken = map[types.NamespacedName]*turn{}
	}
	one := t.taken[key]
	if one == nil {
		one = &turn{slot: make(chan struct{}, 1)}
		t.taken[key] = one
	}
	one.callers++
	return one
}

func (t *turns) leave(key types.NamespacedName, one *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.callers--; one.callers == 0 {
		delete(t.taken, key)
	}
}
