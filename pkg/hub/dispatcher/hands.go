package dispatcher

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// restoreEvery is the minimal time between two restorations of a Work that another client keeps changing.
const restoreEvery = time.Second

// hands record the dispatcher's last write to the spec of each Work. The cache does not hold manifests, so a change by
// another client shows only in the generation. The record can be lost: the first generation seen then counts as the
// dispatcher's own.
type hands struct {
	mu    sync.Mutex
	works map[types.UID]hand
}

type hand struct {
	// generation is the result of the dispatcher's last write, and restored is when it last undid a change.
	generation int64
	restored   time.Time
}

// wrote records the API server's answer to a write of the dispatcher that set the whole spec.
func (h *hands) wrote(w *v1beta1.Work) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.works[w.UID]
	was.generation = max(was.generation, w.Generation)
	h.set(w.UID, was)
}

// retuned records the API server's answer to a patch that left the manifests unchanged. seen is the generation in the
// cache before the patch, and respecified is whether the patch changed the spec. A generation beyond the result of
// this patch includes another client's change, which still has to be undone.
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

// own reports whether the dispatcher is known to have written this state of a Work.
func (h *hands) own(w *v1beta1.Work) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return w.Generation <= h.works[w.UID].generation
}

// ahead reports whether the dispatcher has written a later state of a Work than this one.
func (h *hands) ahead(w *v1beta1.Work) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return w.Generation < h.works[w.UID].generation
}

// changed reports whether another client has changed the spec of a Work and its restoration is due; then it assumes
// that the caller restores it. If it is not due yet, wait is the remaining time.
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
