package loop

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/pkg/removal"
)

// Granted are the removals that a user has released and that are being carried out: if a write fails, what is left of
// them is less than what was released, and goes on nevertheless. It is forgotten at a start; then the rest is held
// again. Its zero value is empty.
type Granted struct {
	mu  sync.Mutex
	all map[types.UID]sets.Set[removal.Object]
}

// Add records that a removal from an object was released, in place of what was recorded; an empty one ends that.
func (g *Granted) Add(of types.UID, removed []removal.Object) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = map[types.UID]sets.Set[removal.Object]{}
	}
	if len(removed) == 0 {
		delete(g.all, of)
		return
	}
	g.all[of] = sets.New(removed...)
}

// Done records that nothing of a removal is left, or that it is no longer wanted.
func (g *Granted) Done(of types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, of)
}

// Of returns what is being removed from an object.
func (g *Granted) Of(of types.UID) []removal.Object {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all[of].UnsortedList()
}

// Covers reports whether a removal is a part of one that was released.
func (g *Granted) Covers(of types.UID, removed []removal.Object) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	all, ok := g.all[of]
	return ok && all.HasAll(removed...)
}
