package objects

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

// entry is the part of an object that a selection needs.
type entry struct{ selection.Object }

// same reports whether two states of an object are the same for every placement.
func (e *entry) same(other *entry) bool {
	return other != nil && e.UID == other.UID && e.Version == other.Version && e.Deleting == other.Deleting
}

const (
	// keepAll is the most objects of a kind that are all kept. They cost little memory, and a placement that selects
	// them need not wait for a list.
	keepAll = 1000
	// listEach is the most namespaces that are listed one by one. For more, one list of all objects is cheaper.
	listEach = 20
)

// store watches the objects of one kind and keeps the metadata of those that can be selected: of all of them if they
// are few, and otherwise of those in requested namespaces. In both cases there is one watch.
type store struct {
	kind       selection.Kind
	definition types.UID
	// never reports whether no placement can select an object.
	never             func(schema.GroupKind, *selection.Object) bool
	now               func() time.Time
	keepAll, listEach int
	// generations is whether every change outside metadata and status changes the generation of an object.
	generations bool
	// changed is called for every change; settled when a list that a placement waits for is complete, or has failed
	// for long. Both are called without locks held.
	changed func(kind schema.GroupKind, old, new *entry)
	settled func(kind schema.GroupKind)
	// gone is called when the API server does not serve the resource.
	gone   func()
	stop   context.CancelFunc
	client metadata.Interface

	mu       sync.RWMutex
	isListed bool
	// failure is why the objects cannot be listed, once lists have failed for a while.
	failure error
	// listing is the running list of all objects; nil while the watch is running.
	listing *listing
	// part is whether only objects of requested namespaces are kept; asked has those namespaces. A cluster-scoped kind
	// has one "namespace", which is empty and always requested.
	part        bool
	asked       map[string]*place
	size        int
	byNamespace map[string]map[string]*entry
}

// listing is a running list of all objects, page by page.
type listing struct {
	since time.Time
	// seen is how many objects have been received, and dropping whether objects outside requested namespaces are
	// dropped.
	seen     int
	dropping bool
	// refused is whether a namespace was requested too late for this list.
	refused bool
}

// newStore makes a store of a kind. definition is the UID of the CRD that defines the kind, empty for other kinds.
func newStore(
	kind selection.Kind, definition types.UID, never func(schema.GroupKind, *selection.Object) bool, now func() time.Time,
) *store {
	s := &store{
		kind: kind, definition: definition, never: never, now: now, keepAll: keepAll, listEach: listEach,
		generations: definition != "" || kind.Group == "apps" || kind.Group == "batch",
		asked:       map[string]*place{}, byNamespace: map[string]map[string]*entry{},
	}
	if !kind.Namespaced {
		s.asked[""] = listed
	}
	return s
}

// retry is the back-off of a store after a failure. The first retries follow quickly, because a CRD is established a
// moment before its objects can be listed.
var retry = wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.3, Steps: 12, Cap: 30 * time.Second}

// run keeps the store up to date until ctx ends.
func (s *store) run(ctx context.Context) {
	resource := s.client.Resource(s.kind.GVR())
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			s.begin(options)
			list, err := resource.List(ctx, present(options))
			s.failed(err)
			if err != nil {
				return nil, err
			}
			s.thin(list)
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			w, err := resource.Watch(ctx, options)
			if unserved(err) {
				s.gone()
			}
			return w, err
		},
	}
	backoff := retry
	cache.NewReflectorWithOptions(unstreamed{lw}, &metav1.PartialObjectMetadata{}, s, cache.ReflectorOptions{
		Name: "selectable", TypeDescription: s.kind.String(), Backoff: &backoff,
	}).RunWithContext(ctx)
}

// begin starts a new listing if options request its first page.
func (s *store) begin(options metav1.ListOptions) {
	if options.Continue != "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := &listing{since: s.now(), dropping: s.part}
	if last := s.listing; last != nil {
		next.since, next.refused = last.since, last.refused
	}
	s.listing = next
}

// thin drops from a page what is not kept, before the next page is read.
func (s *store) thin(page *metav1.PartialObjectMetadataList) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listing.seen += len(page.Items)
	s.listing.dropping = s.listing.dropping || s.listing.seen > s.keepAll
	if s.listing.dropping {
		page.Items = slices.DeleteFunc(page.Items, func(o metav1.PartialObjectMetadata) bool { return s.asked[o.Namespace] == nil })
	}
	for i := range page.Items {
		page.Items[i].ManagedFields = nil // the bulk of it
	}
}

// present makes a list return the current objects. By default the first list may return an older state, in which
// objects created since seem to be absent.
func present(options metav1.ListOptions) metav1.ListOptions {
	if options.ResourceVersion == "0" {
		options.ResourceVersion = ""
	}
	return options
}

// unstreamed makes the reflector list before it watches. With a streamed list, the API server takes a second to mark
// it as complete, and a new placement would have to wait.
type unstreamed struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported implements an interface of the reflector.
func (unstreamed) IsWatchListSemanticsUnSupported() bool { return true }

// forbearance is how long lists of a kind may fail before placements that wait for it continue without it, if
// possible.
const forbearance = 10 * time.Second

// failed records the outcome of a list; err is nil if it succeeded.
func (s *store) failed(err error) {
	if err == nil {
		return
	}
	if unserved(err) {
		s.gone()
	}
	s.mu.Lock()
	lasting := s.failure == nil && s.now().Sub(s.listing.since) > forbearance
	if lasting {
		s.failure = err
	}
	s.mu.Unlock()
	if lasting {
		s.settled(s.kind.GroupKind())
	}
}

// unserved reports whether err means that the API server does not serve the resource, rather than that an object is
// missing.
func unserved(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// unready returns why objects are not known: an UnreadableError if the failure may be permanent.
func (s *store) unready() error {
	if s.failure != nil {
		return &selection.UnreadableError{Kind: s.kind.GroupKind(), Cause: s.failure}
	}
	return fmt.Errorf("%w: %s", selection.ErrNotListed, s.kind)
}

func (s *store) get(namespace, name string) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byNamespace[namespace][name]
}

func (s *store) list(namespace string) []*entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.byNamespace[namespace]))
}

func (s *store) count(namespace string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byNamespace[namespace])
}

// entry returns what is kept of an object, and the object's resource version.
func (s *store) entry(obj any) (*entry, string, error) {
	switch o := obj.(type) {
	case *metav1.PartialObjectMetadata:
		return &entry{selection.Object{
			Namespace: o.Namespace, Name: o.Name, UID: o.UID, Labels: o.Labels, Owners: o.OwnerReferences,
			Deleting: o.DeletionTimestamp != nil, Version: s.version(&o.ObjectMeta),
		}}, o.ResourceVersion, nil
	case cache.DeletedFinalStateUnknown:
		return s.entry(o.Obj)
	}
	return nil, "", fmt.Errorf("watch %s: got a %T", s.kind, obj)
}

// version identifies the placed content of an object. Where generations are reliable, it does not depend on the
// status, which changes all the time while a workload runs.
func (s *store) version(m *metav1.ObjectMeta) string {
	if !s.generations || m.Generation == 0 {
		return m.ResourceVersion
	}
	hash := xxhash.New()
	for _, fields := range []map[string]string{m.Labels, m.Annotations} {
		for _, key := range sortedKeys(fields) {
			if key != contract.AnnotationKubectlLastApplied && key != contract.AnnotationDeploymentRevision {
				writeAll(hash, key, fields[key])
			}
		}
		writeAll(hash, "")
	}
	writeAll(hash, m.Finalizers...)
	for _, owner := range m.OwnerReferences {
		writeAll(hash, "", owner.APIVersion, owner.Kind, owner.Name, string(owner.UID))
	}
	return strconv.FormatInt(m.Generation, 10) + "-" + strconv.FormatUint(hash.Sum64(), 36)
}

func writeAll(hash *xxhash.Digest, texts ...string) {
	for _, text := range texts {
		_, _ = hash.WriteString(text) // never fails
		_, _ = hash.Write([]byte{0})
	}
}

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for key := range m {
		out = append(out, key)
	}
	slices.SortFunc(out, cmp.Compare)
	return out
}

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error {
	e, version, err := s.entry(obj)
	if err == nil {
		s.apply(e.Namespace, e.Name, event{version, e})
	}
	return err
}

// Delete implements cache.ReflectorStore.
func (s *store) Delete(obj any) error {
	e, version, err := s.entry(obj)
	if err == nil {
		s.apply(e.Namespace, e.Name, event{version, nil})
	}
	return err
}

// event is an event of the watch about one object.
type event struct {
	// version is the resource version of the state.
	version string
	// state is nil if the object was deleted.
	state *entry
}

// apply applies an event.
func (s *store) apply(namespace, name string, e event) {
	if e.state != nil && s.never(s.kind.GroupKind(), &e.state.Object) {
		e.state = nil
	}
	s.mu.Lock()
	if s.part && !s.asked[namespace].takes(types.NamespacedName{Namespace: namespace, Name: name}, e) {
		s.mu.Unlock()
		return
	}
	old := s.byNamespace[namespace][name]
	s.set(namespace, name, e.state)
	if s.size > s.keepAll && !s.part {
		s.dropUnasked()
	}
	s.mu.Unlock()
	if e.state == nil && old != nil || e.state != nil && !e.state.same(old) {
		s.changed(s.kind.GroupKind(), old, e.state)
	}
}

// set stores the state of an object; nil if it was deleted.
func (s *store) set(namespace, name string, state *entry) {
	names := s.byNamespace[namespace]
	before := len(names)
	switch {
	case state == nil:
		delete(names, name)
	case names == nil:
		names = map[string]*entry{name: state}
		s.byNamespace[namespace] = names
	default:
		names[name] = state
	}
	s.size += len(names) - before
	if len(names) == 0 {
		delete(s.byNamespace, namespace)
	}
}

// dropUnasked drops all objects outside requested namespaces, from now on.
func (s *store) dropUnasked() {
	s.part = true
	for namespace, names := range s.byNamespace {
		if s.asked[namespace] == nil {
			s.size -= len(names)
			delete(s.byNamespace, namespace)
		}
	}
}

// Replace implements cache.ReflectorStore: it takes a complete list of the objects.
func (s *store) Replace(list []any, _ string) error {
	entries := make([]*entry, 0, len(list))
	for _, obj := range list {
		e, _, err := s.entry(obj)
		if err != nil {
			return err
		}
		if !s.never(s.kind.GroupKind(), &e.Object) {
			entries = append(entries, e)
		}
	}
	before, waited := s.replace(entries)
	for _, e := range entries {
		old := before[e.Namespace][e.Name]
		delete(before[e.Namespace], e.Name)
		if !e.same(old) {
			s.changed(s.kind.GroupKind(), old, e)
		}
	}
	for _, names := range before {
		for _, old := range names {
			s.changed(s.kind.GroupKind(), old, nil)
		}
	}
	if waited {
		s.settled(s.kind.GroupKind())
	}
	return nil
}

// replace stores a complete list. It returns the objects before, and whether a placement waits for the list.
func (s *store) replace(entries []*entry) (before map[string]map[string]*entry, waited bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, waited = s.byNamespace, !s.isListed
	if s.listing != nil {
		waited = waited || s.listing.refused
		s.part = s.listing.dropping
	}
	s.byNamespace, s.size = make(map[string]map[string]*entry, len(before)), 0
	for namespace := range s.asked {
		s.asked[namespace] = listed
	}
	for _, e := range entries {
		s.set(e.Namespace, e.Name, e)
	}
	if s.part || s.size > s.keepAll {
		s.dropUnasked()
	}
	s.isListed, s.failure, s.listing = true, nil, nil
	return before, waited
}

// Resync implements cache.ReflectorStore. It does nothing.
func (s *store) Resync() error { return nil }
