package loop

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Waiting are objects that wait for something that is no event of theirs. Its zero value is empty. It is forgotten at a
// start, when every object is looked at.
type Waiting struct {
	mu   sync.Mutex
	keys map[types.NamespacedName]bool
}

// Set records whether an object waits.
func (w *Waiting) Set(key types.NamespacedName, waits bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !waits {
		delete(w.keys, key)
		return
	}
	if w.keys == nil {
		w.keys = map[types.NamespacedName]bool{}
	}
	w.keys[key] = true
}

// Has reports whether an object waits.
func (w *Waiting) Has(key types.NamespacedName) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.keys[key]
}

// All returns the objects that wait, in no order.
func (w *Waiting) All() []types.NamespacedName {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.keys))
}
