package divider

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/replicas"
)

// mostRevisions is how many revisions of a placement are cached.
const mostRevisions = 10

// contents caches what is divided in the revisions of each placement.
type contents struct {
	mu   sync.Mutex
	last map[types.NamespacedName]*content
}

// content caches what is divided in the revisions of a placement, by the UID of the resource snapshot.
type content struct {
	kinds     string
	revisions map[types.UID][]replicas.Number
}

// of returns the cache of a placement, which one worker uses at a time.
func (c *contents) of(placement types.NamespacedName) *content {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		c.last = map[types.NamespacedName]*content{}
	}
	if c.last[placement] == nil {
		c.last[placement] = &content{}
	}
	return c.last[placement]
}

func (c *contents) forget(placement types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.last, placement)
}

// numbers returns what is divided in a revision, and reads it if it is not known.
func (c *content) numbers(placement v1beta1.PlacementObject) func(v1beta1.ResourceSnapshotObject, func() ([]replicas.Number, error)) ([]replicas.Number, error) {
	return func(s v1beta1.ResourceSnapshotObject, read func() ([]replicas.Number, error)) ([]replicas.Number, error) {
		kinds, err := contract.Hash(replicas.PolicyOf(placement).Kinds)
		if err != nil {
			return nil, err
		}
		if kinds != c.kinds || len(c.revisions) >= mostRevisions {
			c.kinds, c.revisions = kinds, map[types.UID][]replicas.Number{}
		}
		known, ok := c.revisions[s.GetUID()]
		if ok {
			return known, nil
		}
		if known, err = read(); err == nil {
			c.revisions[s.GetUID()] = known
		}
		return known, err
	}
}
