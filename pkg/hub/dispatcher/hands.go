package dispatcher

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// restoreEvery is how often a Work is put right, at most, that another writer keeps changing.
const restoreEvery = time.Second

// hands tells whose hand was last on the specs of Works. Their manifests are not in the cache, so that a change by
// others shows in their generation only. It can be lost: the generation that is seen first is taken for the
// dispatcher's own.
type hands struct {
	mu    sync.Mutex
	works map[types.UID]hand
}

type hand struct {
	// generation is the one that the dispatcher's last write has left, and restored when it last undid a change.
	generation int64
	restored   time.Time
}

// wrote takes what the API server answered to a write of the dispatcher that set the whole spec.
func (h *hands) wrote(w *v1beta1.Work) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.works[w.UID]
	was.generation = max(was.generation, w.Generation)
	h.set(w.UID, was)
}

// retuned takes what the API server answered to a patch that left the manifests alone. seen is the generation in the cache
// when the patch was made, and respecified is whether the patch changed the spec. A generation that this patch alone cannot
// have led to contains another writer's change, which remains to be undone.
func (h *hands) retuned(w *v1beta1.Work, seen int64, respecified bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, known := h.works[w.UID]
	if !known {
		was.generation = seen
	}
	reachable := was.generation
	if respecified {
		reachable++
	}
	if w.Generation <= reachable {
		was.generation = max(was.generation, w.Generation)
	}
	h.set(w.UID, was)
}

func (h *hands) set(uid types.UID, to hand) {
	if h.works == nil {
		h.works = map[types.UID]hand{}
	}
	h.works[uid] = to
}

// own says whether the dispatcher is known to have made this state of a Work.
func (h *hands) own(w *v1beta1.Work) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return w.Generation <= h.works[w.UID].generation
}

// ahead says whether the dispatcher has written a later state of a Work than this one.
func (h *hands) ahead(w *v1beta1.Work) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return w.Generation < h.works[w.UID].generation
}

// changed says whether the spec of a Work is another writer's now and is due to be put right; it takes it that the
// caller does that. If it is not due yet, wait is for how long.
func (h *hands) changed(w *v1beta1.Work, now time.Time) (changed bool, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, known := h.works[w.UID]
	if !known {
		h.set(w.UID, hand{generation: w.Generation})
		return false, 0
	}
	if w.Generation <= was.generation {
		return false, 0
	}
	if wait := was.restored.Add(restoreEvery).Sub(now); wait > 0 {
		return false, wait
	}
	was.restored = now
	h.set(w.UID, was)
	return true, 0
}

func (h *hands) forget(uid types.UID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.works, uid)
}
