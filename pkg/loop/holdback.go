package loop

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// HoldBack is the time for which the status of one object is held back because it only reports progress: a status that is settled by the
// end of that time is written once and not twice. The zero value holds nothing back yet.
type HoldBack struct {
	// since is when a status was first held back that has not been written since; zero for none.
	since time.Time
}

// Wait returns for how much longer a status that differs from the stored one may be held back; zero to write it now. most is for how
// long it may be, from the first call on; zero for a status that is not held back.
func (h *HoldBack) Wait(most time.Duration, now time.Time) time.Duration {
	if most > 0 && h.since.IsZero() {
		h.since = now
	}
	return left(h.since, most, now)
}

// End ends the time: the status has been written, or no longer differs from the stored one.
func (h *HoldBack) End() { h.since = time.Time{} }

// left is what is left at now of the time most that began at since.
func left(since time.Time, most time.Duration, now time.Time) time.Duration {
	return max(0, most-now.Sub(since))
}

// HoldBacks are the HoldBacks of many objects, by key. They may be used concurrently; the zero value is ready.
type HoldBacks struct {
	mu sync.Mutex
	of map[types.NamespacedName]HoldBack
}

// Wait is HoldBack.Wait for the object of key.
func (h *HoldBacks) Wait(key types.NamespacedName, most time.Duration, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.of[key]
	wait := one.Wait(most, now)
	if h.of == nil {
		h.of = map[types.NamespacedName]HoldBack{}
	}
	h.of[key] = one
	return wait
}

// End is HoldBack.End for the object of key, which may be gone.
func (h *HoldBacks) End(key types.NamespacedName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.of, key)
}
