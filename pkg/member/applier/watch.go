package applier

import (
	"context"
	"fmt"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
)

// place is where an object of the member cluster is found, whether or not it exists.
type place struct {
	schema.GroupVersionResource
	types.NamespacedName
}

var (
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	crds       = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// definitions is the place where any CRD of a group is found.
func definitions(group string) place {
	return place{crds, types.NamespacedName{Name: "*." + group}}
}

// watches keeps one metadata watch for each resource that some Work has an interest in, and hands events to the Works interested in
// their place. Nothing is stored but the interests: a cluster's other objects cost no memory.
type watches struct {
	client metadata.Interface
	// seen takes one event; listed takes the state of a resource at resourceVersion, as far as anybody is interested in it.
	seen   func(work string, p place, e occurrence)
	listed func(work string, p place, resourceVersion string)

	mu        sync.Mutex
	ctx       context.Context
	resources map[schema.GroupVersionResource]*watched
	interests map[string]map[place]bool // by Work
}

// watched is one resource. works are by place.
type watched struct {
	cancel context.CancelFunc
	works  map[types.NamespacedName]map[string]bool
}

func newWatches(client metadata.Interface, seen func(string, place, occurrence), listed func(string, place, string)) *watches {
	return &watches{
		client: client, seen: seen, listed: listed,
		resources: map[schema.GroupVersionResource]*watched{}, interests: map[string]map[place]bool{},
	}
}

// start sets the context in which watches run.
func (w *watches) start(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ctx = ctx
}

// add notes a Work's interest in a place, and starts to watch its resource if nobody does yet. Add before reading: what happens
// afterwards is then seen.
func (w *watches) add(work string, p place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.interests[work] == nil {
		w.interests[work] = map[place]bool{}
	}
	if w.interests[work][p] {
		return
	}
	w.interests[work][p] = true
	r := w.resources[p.GroupVersionResource]
	if r == nil {
		ctx, cancel := context.WithCancel(w.ctx)
		r = &watched{cancel: cancel, works: map[types.NamespacedName]map[string]bool{}}
		w.resources[p.GroupVersionResource] = r
		go w.run(ctx, p.GroupVersionResource)
	}
	if r.works[p.NamespacedName] == nil {
		r.works[p.NamespacedName] = map[string]bool{}
	}
	r.works[p.NamespacedName][work] = true
}

// retain drops the interests of a Work that keep does not have.
func (w *watches) retain(work string, keep map[place]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.interests[work] {
		if !keep[p] {
			w.drop(work, p)
		}
	}
	if len(w.interests[work]) == 0 {
		delete(w.interests, work)
	}
}

func (w *watches) release(work string) { w.retain(work, nil) }

func (w *watches) drop(work string, p place) {
	delete(w.interests[work], p)
	r := w.resources[p.GroupVersionResource]
	delete(r.works[p.NamespacedName], work)
	if len(r.works[p.NamespacedName]) == 0 {
		delete(r.works, p.NamespacedName)
	}
	if len(r.works) == 0 {
		r.cancel()
		delete(w.resources, p.GroupVersionResource)
	}
}

func (w *watches) stopAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.resources {
		r.cancel()
	}
	w.resources = map[schema.GroupVersionResource]*watched{}
	w.interests = map[string]map[place]bool{}
}

// interested returns the Works that want to know about p.
func (w *watches) interested(p place) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.resources[p.GroupVersionResource]
	if r == nil {
		return nil
	}
	var out []string
	for work := range r.works[p.NamespacedName] {
		out = append(out, work)
	}
	return out
}

// awaited returns the places of a resource in which somebody is interested.
func (w *watches) awaited(gvr schema.GroupVersionResource) []types.NamespacedName {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.resources[gvr]
	if r == nil {
		return nil
	}
	out := make([]types.NamespacedName, 0, len(r.works))
	for name := range r.works {
		out = append(out, name)
	}
	return out
}

// run watches one resource until ctx ends. A watch that breaks is taken up where it broke or with a new list; a forbidden one is
// tried again after growing pauses.
func (w *watches) run(ctx context.Context, gvr schema.GroupVersionResource) {
	api := w.client.Resource(gvr)
	source := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return api.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return api.Watch(ctx, options)
		},
	}, w.client)
	tap := &tap{watches: w, gvr: gvr}
	cache.NewReflectorWithOptions(source, &metav1.PartialObjectMetadata{}, tap, cache.ReflectorOptions{
		Name: "applied " + gvr.GroupResource().String(), TypeDescription: gvr.String(),
	}).RunWithContext(ctx)
}

// tap is a store that keeps nothing and passes on what concerns somebody.
type tap struct {
	watches *watches
	gvr     schema.GroupVersionResource
}

func (t *tap) Add(obj any) error    { return t.pass(obj, false) }
func (t *tap) Update(obj any) error { return t.pass(obj, false) }
func (t *tap) Delete(obj any) error { return t.pass(obj, true) }
func (t *tap) Resync() error        { return nil }

// Transformer shrinks objects nobody is interested in while the reflector gathers a list, to keep the peak low.
func (t *tap) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		o, ok := obj.(*metav1.PartialObjectMetadata)
		if !ok {
			return obj, nil
		}
		o.ManagedFields = nil
		if t.gvr != crds && len(t.watches.interested(t.at(o))) == 0 {
			return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion,
			}}, nil
		}
		return o, nil
	}
}

func (t *tap) at(o *metav1.PartialObjectMetadata) place {
	return place{t.gvr, types.NamespacedName{Namespace: o.Namespace, Name: o.Name}}
}

func (t *tap) pass(obj any, gone bool) error {
	o, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return fmt.Errorf("watch %s: got %T", t.gvr, obj)
	}
	places := []place{t.at(o)}
	if t.gvr == crds {
		if _, group, ok := strings.Cut(o.Name, "."); ok {
			places = append(places, definitions(group))
		}
	}
	for _, p := range places {
		works := t.watches.interested(p)
		if len(works) == 0 {
			continue
		}
		e := occurrence{resourceVersion: o.ResourceVersion, metadata: digestMetadata(o), generation: o.Generation, gone: gone}
		for _, work := range works {
			t.watches.seen(work, p, e)
		}
	}
	return nil
}

// Replace takes the state of the resource: at first, and whenever a watch could not be taken up again. What is awaited and missing has
// gone in the meantime.
func (t *tap) Replace(list []any, resourceVersion string) error {
	present := make(map[types.NamespacedName]bool, len(list))
	for _, obj := range list {
		if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
			present[t.at(o).NamespacedName] = true
		}
		if err := t.pass(obj, false); err != nil {
			return err
		}
	}
	for _, name := range t.watches.awaited(t.gvr) {
		if present[name] {
			continue
		}
		p := place{t.gvr, name}
		for _, work := range t.watches.interested(p) {
			t.watches.listed(work, p, resourceVersion)
		}
	}
	return nil
}
