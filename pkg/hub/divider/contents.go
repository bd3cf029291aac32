package divider

import (
	"errors"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/replicas"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// contents caches what is divided in the revisions of each placement.
type contents struct {
	mu   sync.Mutex
	last map[types.NamespacedName]*content
}

type content struct {
	kinds     string
	revisions map[string]revision
}

type revision struct {
	master  types.UID
	numbers []replicas.Number
}

// of returns the cache of a placement, which one worker uses at a time.
func (c *contents) of(placement types.NamespacedName) *content {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		c.last = map[types.NamespacedName]*content{}
	}
	if c.last[placement] == nil {
		c.last[placement] = &content{revisions: map[string]revision{}}
	}
	return c.last[placement]
}

func (c *contents) forget(placement types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.last, placement)
}

// numbers returns what is divided in a revision.
func (c *content) numbers(placement v1beta1.PlacementObject, name string, all []v1beta1.ResourceSnapshotObject) ([]replicas.Number, error) {
	policy := replicas.PolicyOf(placement)
	kinds, err := contract.Hash(policy.Kinds)
	if err != nil {
		return nil, err
	}
	if kinds != c.kinds {
		c.kinds, c.revisions = kinds, map[string]revision{}
	}
	at := slices.IndexFunc(all, func(s v1beta1.ResourceSnapshotObject) bool { return s.GetName() == name })
	if at < 0 {
		return nil, errors.New("its snapshot does not exist any more")
	}
	if known, ok := c.revisions[name]; ok && known.master == all[at].GetUID() {
		return known.numbers, nil
	}
	group, err := work.GroupOf(name, all)
	if err != nil {
		return nil, err
	}
	objects, err := group.Objects()
	if err != nil {
		return nil, err
	}
	out, err := replicas.In(policy, objects)
	if err != nil {
		return nil, err
	}
	c.revisions[name] = revision{all[at].GetUID(), out}
	return out, nil
}

// keep drops all revisions but those named.
func (c *content) keep(names map[string]int) {
	for name := range c.revisions {
		if _, used := names[name]; !used {
			delete(c.revisions, name)
		}
	}
}
