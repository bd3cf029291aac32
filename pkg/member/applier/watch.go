package applier

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/pager"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/process"
)

// place is where an object of the member cluster is found, whether or not it exists.
type place struct {
	schema.GroupVersionResource
	types.NamespacedName
}

var namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

// definitions is the place where any CRD of a group is found.
func definitions(group string) place {
	return place{process.CRDs, types.NamespacedName{Name: "*." + group}}
}

// watches keeps metadata watches on the resources that some Work has an interest in, and hands events to the Works interested in their
// place. Nothing is stored but the interests, and lists are read page by page, so a cluster's other objects cost no memory: an informer
// would hold all Secrets of a cluster for the sake of one.
//
// A resource is watched in the namespaces that matter, each by a watch of its own; when they get many, one watch over all of them is
// cheaper for everybody.
//
// Of kinds that run to an end, such as Jobs, objects are watched whole: the event that removes one may be the only one that shows how it
// ended.
type watches struct {
	client metadata.Interface
	whole  dynamic.Interface
	// finite reports whether a resource is watched whole; ended returns how such an object ended, nil if it has not.
	finite func(schema.GroupVersionResource) bool
	ended  func(*unstructured.Unstructured) *ending
	// seen takes one event; listed takes the state of a resource at resourceVersion, as far as a Work watches it; turned means
	// that the cluster went back to an older state, so that no resourceVersion that is remembered means anything.
	seen   func(work string, p place, e occurrence)
	listed func(work string, p place, resourceVersion string)
	turned func(work string)

	mu        sync.Mutex
	ctx       context.Context
	resources map[schema.GroupVersionResource]*watched
	interests map[string]map[place]bool // by Work
}

// mostNarrow is how many namespaces of a resource are watched one by one.
const mostNarrow = 8

// watched is one resource. works are by place, places counts those of each namespace.
type watched struct {
	works  map[types.NamespacedName]map[string]bool
	places map[string]int
	// streams end the watches: of one namespace each, or one of the whole cluster, which then is the only one.
	streams map[string]context.CancelFunc
}

func newWatches(client metadata.Interface) *watches {
	return &watches{client: client, resources: map[schema.GroupVersionResource]*watched{}, interests: map[string]map[place]bool{}}
}

// start sets the context in which watches run.
func (w *watches) start(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ctx = ctx
}

// add registers a Work's interest in a place, and starts to watch its resource there if no Work does yet. Add before reading: what happens
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
		r = &watched{works: map[types.NamespacedName]map[string]bool{}, places: map[string]int{}, streams: map[string]context.CancelFunc{}}
		w.resources[p.GroupVersionResource] = r
	}
	if r.works[p.NamespacedName] == nil {
		r.works[p.NamespacedName] = map[string]bool{}
		r.places[p.Namespace]++
	}
	r.works[p.NamespacedName][work] = true
	w.cover(r, p)
}

// cover makes sure that a watch sees p. It is called after the interest was noted: a new watch reads what is there first.
func (w *watches) cover(r *watched, p place) {
	if r.streams[metav1.NamespaceAll] != nil || r.streams[p.Namespace] != nil {
		return
	}
	namespace := p.Namespace
	if len(r.streams) == mostNarrow {
		r.stop()
		namespace = metav1.NamespaceAll
	}
	ctx, cancel := context.WithCancel(w.ctx)
	r.streams[namespace] = cancel
	s := &stream{watches: w, gvr: p.GroupVersionResource, namespace: namespace, api: w.reading(p.GroupVersionResource, namespace)}
	go s.run(ctx)
}

// reader reads what is watched.
type reader interface {
	list(ctx context.Context, options metav1.ListOptions) (page, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

type page interface {
	runtime.Object
	metav1.ListInterface
}

type (
	headers struct{ metadata.ResourceInterface }
	objects struct{ dynamic.ResourceInterface }
)

func (r headers) list(ctx context.Context, options metav1.ListOptions) (page, error) {
	return r.List(ctx, options)
}

func (r objects) list(ctx context.Context, options metav1.ListOptions) (page, error) {
	return r.List(ctx, options)
}

func (w *watches) reading(gvr schema.GroupVersionResource, namespace string) reader {
	if w.finite != nil && w.finite(gvr) {
		return objects{w.whole.Resource(gvr).Namespace(namespace)}
	}
	return headers{w.client.Resource(gvr).Namespace(namespace)}
}

func (r *watched) stop() {
	for _, cancel := range r.streams {
		cancel()
	}
	clear(r.streams)
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
	if len(r.works[p.NamespacedName]) > 0 {
		return
	}
	delete(r.works, p.NamespacedName)
	if r.places[p.Namespace]--; r.places[p.Namespace] == 0 {
		delete(r.places, p.Namespace)
		if cancel := r.streams[p.Namespace]; cancel != nil && p.Namespace != metav1.NamespaceAll {
			cancel()
			delete(r.streams, p.Namespace)
		}
	}
	if len(r.works) == 0 {
		r.stop()
		delete(w.resources, p.GroupVersionResource)
	}
}

func (w *watches) stopAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.resources {
		r.stop()
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
	return slices.Collect(maps.Keys(r.works[p.NamespacedName]))
}

// awaited returns the places of a resource in a namespace, or in all, in which somebody is interested.
func (w *watches) awaited(gvr schema.GroupVersionResource, namespace string) sets.Set[types.NamespacedName] {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := sets.New[types.NamespacedName]()
	r := w.resources[gvr]
	if r == nil {
		return out
	}
	for name := range r.works {
		if namespace == metav1.NamespaceAll || namespace == name.Namespace {
			out.Insert(name)
		}
	}
	return out
}

// stream watches one resource in a namespace, or in all, and passes on what concerns somebody.
type stream struct {
	*watches
	gvr       schema.GroupVersionResource
	namespace string
	api       reader
	// version is up to where everything was passed on; empty if it must be listed anew. latest is the same and never empty again.
	version, latest string
}

// retries of a watch that cannot be had, such as a forbidden one.
var retries = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 30 * time.Second}

// calm is how long a watch must have lasted for its next failure to be the first one again.
const calm = 2 * time.Minute

// run goes on until ctx ends. A watch that ends in good order is taken up where it ended. After an error everything is listed anew:
// a server that was away may have come back with another state.
func (s *stream) run(ctx context.Context) {
	said := ""
	_ = retries.DelayWithReset(clock.RealClock{}, calm).Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		err := s.follow(ctx)
		if err == nil || ctx.Err() != nil {
			said = ""
			return false, nil //nolint:nilerr // ctx has ended, as it was asked to
		}
		s.version = ""
		if why := err.Error(); why != said && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			said = why
			ctrl.LoggerFrom(ctx).Error(err, "Cannot watch what was applied; trying again", "resource", s.gvr.String(), "namespace", s.namespace)
		}
		return false, nil
	})
}

// follow lists if it must, and then watches until the watch ends.
func (s *stream) follow(ctx context.Context) error {
	if s.version == "" {
		if err := s.list(ctx); err != nil {
			return fmt.Errorf("list %s: %w", s.gvr.GroupResource(), err)
		}
	}
	lasting := int64(wait.Jitter(5*time.Minute, 1).Seconds())
	w, err := s.api.Watch(ctx, metav1.ListOptions{ResourceVersion: s.version, AllowWatchBookmarks: true, TimeoutSeconds: &lasting})
	if err != nil {
		return fmt.Errorf("watch %s: %w", s.gvr.GroupResource(), err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			return fmt.Errorf("watch %s: %w", s.gvr.GroupResource(), apierrors.FromObject(e.Object))
		}
		o, ok := e.Object.(metav1.Object)
		if !ok {
			return fmt.Errorf("watch %s: got %T", s.gvr.GroupResource(), e.Object)
		}
		if e.Type != watch.Bookmark {
			s.pass(o, e.Type == watch.Deleted)
		}
		s.version, s.latest = o.GetResourceVersion(), o.GetResourceVersion()
	}
	return nil
}

// pageSize is how many objects of a list are in memory at a time, twice.
const pageSize = 500

// list passes the state of the resource on, and what of it is awaited and not there. Interests are asked for only when the first page is
// here: a Work that adds one later, and reads after that, reads something newer than this list.
func (s *stream) list(ctx context.Context) error {
	version := ""
	var missing sets.Set[types.NamespacedName]
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		page, err := s.api.list(ctx, options)
		if err == nil && version == "" {
			version = page.GetResourceVersion()
			missing = s.awaited(s.gvr, s.namespace)
			s.turn(missing, version)
		}
		return page, err
	})
	pages.PageSize, pages.PageBufferSize = pageSize, 1
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		o, ok := obj.(metav1.Object)
		if !ok {
			return fmt.Errorf("got %T", obj)
		}
		missing.Delete(s.at(o).NamespacedName)
		s.pass(o, false)
		return nil
	})
	if err != nil {
		return err
	}
	for name := range missing {
		p := place{s.gvr, name}
		for _, work := range s.interested(p) {
			s.listed(work, p, version)
		}
	}
	s.version, s.latest = version, version
	return nil
}

// turn notices a cluster that was put back to an older state.
func (s *stream) turn(awaited sets.Set[types.NamespacedName], version string) {
	if s.latest == "" || !newer(s.latest, version) {
		return
	}
	for name := range awaited {
		for _, work := range s.interested(place{s.gvr, name}) {
			s.turned(work)
		}
	}
}

func (s *stream) at(o metav1.Object) place {
	return place{s.gvr, types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
}

func (s *stream) pass(o metav1.Object, gone bool) {
	places := []place{s.at(o)}
	if s.gvr == process.CRDs {
		if _, group, ok := strings.Cut(o.GetName(), "."); ok {
			places = append(places, definitions(group))
		}
	}
	for _, p := range places {
		works := s.interested(p)
		if len(works) == 0 {
			continue
		}
		e := occurrence{resourceVersion: o.GetResourceVersion(), metadata: digestMetadata(o), generation: o.GetGeneration(), gone: gone}
		if whole, ok := o.(*unstructured.Unstructured); ok {
			e.end = s.ended(whole)
		}
		for _, work := range works {
			s.seen(work, p, e)
		}
	}
}
