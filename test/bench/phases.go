package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// figure is a list of durations of one kind.
type figure []time.Duration

func (f figure) percentile(p int) time.Duration {
	if len(f) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f))
	return sorted[(len(sorted)-1)*p/100]
}

// times are the durations measured for a set of placements, from when the user's write is sent.
type times struct {
	placed, available, edited, deleted figure
	// wholes are from the first write to the last effect, over all placements of the set.
	placedWhole, editedWhole, deletedWhole time.Duration
}

const payloadBytes = 512

// payload is the text of one config map, of payloadBytes, beginning with mark.
func payload(mark string) string {
	return mark + strings.Repeat("x", payloadBytes-len(mark))
}

func configMap(namespace, name, mark string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"bench": "true"}},
		Data:       map[string]string{"data": payload(mark)},
	}
}

func placement(name string) *v1beta1.ClusterResourcePlacement {
	all := intstr.FromString("100%")
	return &v1beta1.ClusterResourcePlacement{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1beta1.PlacementSpec{
			ResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: name}},
			Policy:            &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll},
			Strategy: v1beta1.RolloutStrategy{
				Type:          v1beta1.RolloutStrategyTypeRollingUpdate,
				RollingUpdate: &v1beta1.RollingUpdateConfig{MaxUnavailable: &all},
			},
		},
	}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"bench": "true"}}}
}

// each calls do for every name with limited concurrency, and returns the first error.
func each(names []string, atOnce int, do func(string) error) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, name := range names {
		group.Go(func() error { return do(name) })
	}
	return group.Wait()
}

// prepare creates a namespace with maps config maps on the hub, for every name.
func (b *bench) prepare(ctx context.Context, names []string, maps int) error {
	return each(names, 8, func(name string) error {
		if err := b.hub.Create(ctx, namespace(name)); err != nil {
			return err
		}
		for i := range maps {
			if err := b.hub.Create(ctx, configMap(name, mapName(i), "one")); err != nil {
				return err
			}
		}
		return nil
	})
}

func mapName(i int) string { return fmt.Sprintf("cm-%03d", i) }

// sample accumulates the durations of a set of placements. It may be used concurrently.
type sample struct {
	mu sync.Mutex
	times
}

func (s *sample) add(to *figure, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*to = append(*to, d)
}

// create makes a placement for every name and measures until its maps are on every member, and until its status
// reports that it is available.
func (b *bench) create(ctx context.Context, s *sample, names []string, atOnce, maps int) error {
	begin := time.Now()
	starts := map[string]time.Time{}
	var mu sync.Mutex
	if err := each(names, atOnce, func(name string) error {
		mu.Lock()
		starts[name] = time.Now()
		mu.Unlock()
		return b.hub.Create(ctx, placement(name))
	}); err != nil {
		return fmt.Errorf("create placements: %w", err)
	}
	for _, name := range names {
		last, err := b.everywhere(ctx, name, maps, holds(payload("one")))
		if err != nil {
			return err
		}
		s.add(&s.placed, last.Sub(starts[name]))
		s.placedWhole = max(s.placedWhole, last.Sub(begin))
		ready, err := b.placements.when(ctx, key("", name), isAvailable)
		if err != nil {
			return fmt.Errorf("available: %w", err)
		}
		s.add(&s.available, ready.Sub(starts[name]))
	}
	return nil
}

// edit changes every map of every name on the hub, one after the other, and measures until members have the last.
func (b *bench) edit(ctx context.Context, s *sample, names []string, atOnce, maps int) error {
	if maps > 1 {
		progress("  editing them one after the other")
	}
	begin := time.Now()
	starts := map[string]time.Time{}
	var mu sync.Mutex
	if err := each(names, atOnce, func(name string) error {
		mu.Lock()
		starts[name] = time.Now()
		mu.Unlock()
		for i := range maps {
			if err := b.hub.Update(ctx, configMap(name, mapName(i), "two")); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("edit: %w", err)
	}
	for _, name := range names {
		last, err := b.everywhere(ctx, name, maps, holds(payload("two")))
		if err != nil {
			return err
		}
		s.add(&s.edited, last.Sub(starts[name]))
		s.editedWhole = max(s.editedWhole, last.Sub(begin))
	}
	return nil
}

// remove deletes the placements and measures until their maps are on no member.
func (b *bench) remove(ctx context.Context, s *sample, names []string, atOnce, maps int) error {
	begin := time.Now()
	starts := map[string]time.Time{}
	var mu sync.Mutex
	if err := each(names, atOnce, func(name string) error {
		mu.Lock()
		starts[name] = time.Now()
		mu.Unlock()
		return b.hub.Delete(ctx, placement(name))
	}); err != nil {
		return fmt.Errorf("delete placements: %w", err)
	}
	for _, name := range names {
		last, err := b.everywhere(ctx, name, maps, isGone)
		if err != nil {
			return err
		}
		s.add(&s.deleted, last.Sub(starts[name]))
		s.deletedWhole = max(s.deletedWhole, last.Sub(begin))
		if _, err := b.placements.when(ctx, key("", name), isGone); err != nil {
			return fmt.Errorf("placement gone: %w", err)
		}
	}
	return nil
}

// everywhere waits until every map of name satisfies is on every member, and returns the time when the last one did.
func (b *bench) everywhere(ctx context.Context, name string, maps int, is func(event, bool) bool) (time.Time, error) {
	var last time.Time
	for _, m := range b.members {
		for i := range maps {
			at, err := m.maps.when(ctx, key(name, mapName(i)), is)
			if err != nil {
				return last, fmt.Errorf("%s: %w", m.name, err)
			}
			if at.After(last) {
				last = at
			}
		}
	}
	return last, nil
}

// rest waits until the members have removed every namespace of earlier measurements: the controllers of a cluster are
// busy with the removal long after the contents are gone, which would disturb the next measurement.
func (b *bench) rest(ctx context.Context) error {
	for _, m := range b.members {
		for {
			var left corev1.NamespaceList
			if err := m.List(ctx, &left, client.MatchingLabels{"bench": "true"}); err != nil {
				return fmt.Errorf("namespaces of %s: %w", m.name, err)
			}
			if len(left.Items) == 0 {
				break
			}
			if err := wait(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// floor measures one client that writes the same objects directly to all members in parallel: no propagator is faster.
func (b *bench) floor(ctx context.Context, names []string, atOnce, maps int) (times, error) {
	var s sample
	all := func(do func(m member) error) error {
		var each []string
		byName := map[string]member{}
		for _, m := range b.members {
			each = append(each, m.name)
			byName[m.name] = m
		}
		return eachOf(each, func(name string) error { return do(byName[name]) })
	}
	phase := func(to *figure, whole *time.Duration, do func(m member, name string) error) error {
		begin := time.Now()
		err := each(names, atOnce, func(name string) error {
			start := time.Now()
			if err := all(func(m member) error { return do(m, name) }); err != nil {
				return err
			}
			s.add(to, time.Since(start))
			return nil
		})
		*whole = time.Since(begin)
		return err
	}
	if err := phase(&s.placed, &s.placedWhole, func(m member, name string) error {
		if err := m.Create(ctx, namespace(name)); err != nil {
			return err
		}
		for i := range maps {
			if err := m.Create(ctx, configMap(name, mapName(i), "one")); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return s.times, fmt.Errorf("floor, create: %w", err)
	}
	s.available = s.placed
	if err := phase(&s.edited, &s.editedWhole, func(m member, name string) error {
		for i := range maps {
			if err := m.Update(ctx, configMap(name, mapName(i), "two")); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return s.times, fmt.Errorf("floor, edit: %w", err)
	}
	if err := phase(&s.deleted, &s.deletedWhole, func(m member, name string) error {
		for i := range maps {
			if err := m.Delete(ctx, configMap(name, mapName(i), "")); err != nil {
				return err
			}
		}
		return client.IgnoreNotFound(m.Delete(ctx, namespace(name)))
	}); err != nil {
		return s.times, fmt.Errorf("floor, delete: %w", err)
	}
	return s.times, nil
}

func eachOf(names []string, do func(string) error) error { return each(names, len(names), do) }
