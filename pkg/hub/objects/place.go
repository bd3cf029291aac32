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

// place is a namespace that a placement has asked for.
type place struct {
	// since is the resource version of the list by which the namespace was taken in while the watch went on. Events
	// of before are old. It is empty if the watch itself begins where the list was.
	since string
	// filling is that list while it is on its way; nil once it is in.
	filling *filling
}

// listed is every place that the list of all took in, or will.
var listed = &place{}

// filling is a list of some namespaces on its way.
type filling struct {
	done chan struct{}
	err  error
	// events are the last ones that came meanwhile, by object.
	events map[types.NamespacedName]event
}

// takes is whether an event is filed now. Those that come while the namespace is listed are kept for later.
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

// after is whether an event is not yet in a list of the given resource version. An API server whose versions cannot be compared
// may send an old state once more: the next event corrects it.
func (e event) after(version string) bool {
	order, err := resourceversion.CompareResourceVersion(e.version, version)
	return err != nil || order > 0
}

// ask returns once the objects of namespaces are known. The error is that of unready if they are not; told is called when they are.
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

// register notes that namespaces are asked for. Those that have to be listed first are missing, and f is for their list.
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

// await waits until a namespace that was asked for is known.
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

// errOvertaken is a list that did not come to its end, or was not kept, because of something else that happened meanwhile.
var errOvertaken = errors.New("the list was overtaken, or failed for an earlier caller")

// fill takes in namespaces while the watch of the whole kind goes on.
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
		case p == nil || p.filling != f: // a list of all came in meanwhile
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

// file takes in the list of a namespace.
func (s *store) file(namespace string, list placeList) {
	s.asked[namespace] = &place{since: list.version}
	for _, e := range list.entries {
		s.set(namespace, e.Name, e)
	}
}

// placeList is what was in a namespace at a resource version.
type placeList struct {
	version string
	entries []*entry
}

// listPlaces lists namespaces: each, or all there are if that is less to ask for.
func (s *store) listPlaces(ctx context.Context, namespaces []string) (map[string]placeList, error) {
	out := make(map[string]placeList, len(namespaces))
	if len(namespaces) > s.crowd {
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

// listPlace lists one namespace, or all, and keeps what is in the wanted ones.
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

// wouldFill is whether asking for namespaces means listing some of them.
func (s *store) wouldFill(namespaces []string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.part && slices.ContainsFunc(namespaces, func(namespace string) bool { return s.asked[namespace] == nil })
}

// places are the namespaces that are kept because placements asked for them.
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

// leave drops a namespace that no placement asks for any more.
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
