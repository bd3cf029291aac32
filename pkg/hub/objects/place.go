package objects

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/pager"

	"github.com/flagship-fleet/flagship/pkg/loop"
)

// place is a namespace that a placement selects from.
type place struct {
	// since is the resource version of the list that added the namespace while the watch was running. Earlier events
	// are outdated. It is empty if the watch starts at the resource version of the list.
	since string
	// filling is that list while it is running; nil once its objects are stored.
	filling *filling
}

// listed is every place that the list of all objects includes, or will include.
var listed = &place{}

// filling is a running list of some namespaces.
type filling struct {
	done chan struct{}
	err  error
	// events are the latest events received meanwhile, by object.
	events map[types.NamespacedName]event
}

// takes reports whether an event is applied now. Events that arrive while the namespace is listed are kept for later.
func (p *place) takes(key types.NamespacedName, e event) bool {
	switch {
	case p == nil:
		return false
	case p.filling != nil:
		p.filling.events[key] = e
		return false
	}
	return e.after(p.since)
}

// after reports whether an event is newer than a list of the given resource version. An API server whose resource
// versions cannot be compared may send an old state again; the next event corrects it.
func (e event) after(version string) bool {
	order, err := resourceversion.CompareResourceVersion(e.version, version)
	return err != nil || order > 0
}

// ask requests the objects of namespaces and returns when they are known. If they are not, it returns the error of
// unready, and settled is called when they are.
func (s *store) ask(ctx context.Context, namespaces ...string) error {
	missing, f, err := s.register(namespaces)
	if err != nil {
		return err
	}
	if f != nil {
		if s.fill(ctx, missing, f); f.err != nil {
			return f.err
		}
	}
	for _, namespace := range namespaces {
		if err := s.await(ctx, namespace); err != nil {
			return err
		}
	}
	return nil
}

// register records a request for namespaces. missing are those that must be listed first, and f is for their list.
func (s *store) register(namespaces []string) (missing []string, f *filling, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, namespace := range namespaces {
		if s.asked[namespace] == nil {
			missing = append(missing, namespace)
		}
	}
	p := listed
	switch {
	case len(missing) == 0:
	case s.listing != nil && s.listing.dropping:
		s.listing.refused = true
		return nil, nil, s.unready()
	case s.part:
		f = &filling{done: make(chan struct{}), events: map[types.NamespacedName]event{}}
		p = &place{filling: f}
	}
	for _, namespace := range missing {
		s.asked[namespace] = p
	}
	if !s.isListed {
		return nil, nil, s.unready()
	}
	return missing, f, nil
}

// await waits until the objects of a requested namespace are known.
func (s *store) await(ctx context.Context, namespace string) error {
	s.mu.RLock()
	p := s.asked[namespace]
	s.mu.RUnlock()
	if p == nil {
		return fmt.Errorf("list %s of namespace %s: %w", s.kind, namespace, errOvertaken)
	}
	if p.filling == nil {
		return nil
	}
	select {
	case <-p.filling.done:
		return p.filling.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errOvertaken means that a list failed for another caller, or that its result was dropped because of a later change.
var errOvertaken = errors.New("the list was overtaken, or failed for an earlier caller")

// fill lists namespaces and stores their objects while the watch of the kind is running.
func (s *store) fill(ctx context.Context, namespaces []string, f *filling) {
	defer close(f.done)
	lists, err := s.listPlaces(ctx, namespaces)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		f.err = err
	}
	for _, namespace := range namespaces {
		p := s.asked[namespace]
		switch {
		case p == nil || p.filling != f: // a list of all objects was stored meanwhile
		case err != nil:
			delete(s.asked, namespace)
		default:
			s.file(namespace, lists[namespace])
		}
	}
	for key, e := range f.events {
		if p := s.asked[key.Namespace]; err == nil && p != nil && p.filling == nil && e.after(p.since) && p != listed {
			s.set(key.Namespace, key.Name, e.state)
		}
	}
}

// file stores the list of a namespace.
func (s *store) file(namespace string, list placeList) {
	s.asked[namespace] = &place{since: list.version}
	for _, e := range list.entries {
		s.set(namespace, e.Name, e)
	}
}

// placeList has the objects in a namespace at a resource version.
type placeList struct {
	version string
	entries []*entry
}

// listPlaces lists the objects of namespaces, one by one, or with one list of all namespaces if that is cheaper.
func (s *store) listPlaces(ctx context.Context, namespaces []string) (map[string]placeList, error) {
	out := make(map[string]placeList, len(namespaces))
	if len(namespaces) > s.listEach {
		all, err := s.listPlace(ctx, metav1.NamespaceAll, namespaces)
		for _, namespace := range namespaces {
			out[namespace] = placeList{version: all.version}
		}
		for _, e := range all.entries {
			list := out[e.Namespace]
			list.entries = append(list.entries, e)
			out[e.Namespace] = list
		}
		return out, err
	}
	var mu sync.Mutex
	err := loop.Each(ctx, readers, namespaces, func(ctx context.Context, namespace string) error {
		list, err := s.listPlace(ctx, namespace, []string{namespace})
		mu.Lock()
		defer mu.Unlock()
		out[namespace] = list
		return err
	})
	return out, err
}

// listPlace lists one namespace, or all, and keeps the objects in the wanted namespaces.
func (s *store) listPlace(ctx context.Context, namespace string, wanted []string) (placeList, error) {
	resource := s.client.Resource(s.kind.GVR()).Namespace(namespace)
	keep := sets.New(wanted...)
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		page, err := resource.List(ctx, options)
		if err == nil {
			page.Items = slices.DeleteFunc(page.Items, func(o metav1.PartialObjectMetadata) bool { return !keep.Has(o.Namespace) })
		}
		return page, err
	})
	var out placeList
	all, _, err := pages.ListWithAlloc(ctx, metav1.ListOptions{})
	if err != nil {
		return out, fmt.Errorf("list %s of namespace %q: %w", s.kind, namespace, err)
	}
	list, err := meta.ListAccessor(all)
	if err != nil {
		return out, err
	}
	out.version = list.GetResourceVersion()
	return out, meta.EachListItemWithAlloc(all, func(obj runtime.Object) error {
		e, _, err := s.entry(obj)
		if err == nil && !s.never(s.kind.GroupKind(), &e.Object) {
			out.entries = append(out.entries, e)
		}
		return err
	})
}

// wouldFill reports whether ask would list some of the namespaces.
func (s *store) wouldFill(namespaces []string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.part && slices.ContainsFunc(namespaces, func(namespace string) bool { return s.asked[namespace] == nil })
}

// places returns the namespaces whose objects are kept because placements requested them.
func (s *store) places() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for namespace, p := range s.asked {
		if s.kind.Namespaced && p.filling == nil {
			out = append(out, namespace)
		}
	}
	return out
}

// leave drops a namespace that no placement needs any more.
func (s *store) leave(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.asked[namespace]; p == nil || p.filling != nil {
		return
	}
	delete(s.asked, namespace)
	if s.part {
		s.size -= len(s.byNamespace[namespace])
		delete(s.byNamespace, namespace)
	}
}
