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

// entry is one object as it is kept: what selecting needs, and nothing else.
type entry struct{ selection.Object }

// same is whether two states of an object are the same for every placement.
func (e *entry) same(other *entry) bool {
	return other != nil && e.UID == other.UID && e.Version == other.Version && e.Deleting == other.Deleting
}

const (
	// few is up to how many objects of a kind are all kept. They cost little, and need not be listed when a placement selects them.
	few = 1000
	// crowd is from how many namespaces on one list of all objects costs less than a list of each namespace.
	crowd = 20
)

// store holds the metadata of the objects of one kind that can be selected, and keeps it up to date: of all of them if they are few, and
// otherwise of those in the namespaces that placements have asked for. One watch serves it in either case.
type store struct {
	kind       selection.Kind
	definition types.UID
	// never is whether no placement can select an object.
	never      func(schema.GroupKind, *selection.Object) bool
	now        func() time.Time
	few, crowd int
	// generations is whether the kind's generation changes with everything but metadata and status.
	generations bool
	// changed is called for every change; told when a list is complete that a placement waits for, or when it seems not to come. Both are
	// called without locks held.
	changed func(kind schema.GroupKind, old, new *entry)
	told    func(kind schema.GroupKind)
	// gone is called when the server does not know the resource.
	gone   func()
	stop   context.CancelFunc
	client metadata.Interface

	mu       sync.RWMutex
	isListed bool
	// failure is why the objects could not be listed last time, once that has gone on for a while.
	failure error
	// listing is the list of all that is being made; nil while the watch goes on.
	listing *listing
	// part is whether only asked namespaces are kept, and asked which they are. A cluster-scoped kind's only "namespace" is empty, and asked.
	part        bool
	asked       map[string]*place
	size        int
	byNamespace map[string]map[string]*entry
}

// listing is a list of all objects, on its way page by page.
type listing struct {
	since time.Time
	// seen is how many objects have come, and dropping whether those of namespaces that no placement has asked for are left out.
	seen     int
	dropping bool
	// refused is whether a namespace was asked for too late for this list.
	refused bool
}

// newStore makes a store of a kind; definition is the uid of the CRD that defines it, empty if none does.
func newStore(
	kind selection.Kind, definition types.UID, never func(schema.GroupKind, *selection.Object) bool, now func() time.Time,
) *store {
	s := &store{
		kind: kind, definition: definition, never: never, now: now, few: few, crowd: crowd,
		generations: definition != "" || kind.Group == "apps" || kind.Group == "batch",
		asked:       map[string]*place{}, byNamespace: map[string]map[string]*entry{},
	}
	if !kind.Namespaced {
		s.asked[""] = listed
	}
	return s
}

// retry is the back-off of a store after a failure. The first tries are close together, because a CRD is established a moment before
// its objects can be listed.
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

// begin notes that a list of all objects begins, if options are for its first page.
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

// thin leaves out of a page what is not kept, while the other pages come.
func (s *store) thin(page *metav1.PartialObjectMetadataList) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listing.seen += len(page.Items)
	s.listing.dropping = s.listing.dropping || s.listing.seen > s.few
	if s.listing.dropping {
		page.Items = slices.DeleteFunc(page.Items, func(o metav1.PartialObjectMetadata) bool { return s.asked[o.Namespace] == nil })
	}
	for i := range page.Items {
		page.Items[i].ManagedFields = nil // the bulk of it
	}
}

// present makes a list one of what is there now. By default the first list may be of any time before, and objects created since would
// seem to be absent.
func present(options metav1.ListOptions) metav1.ListOptions {
	if options.ResourceVersion == "0" {
		options.ResourceVersion = ""
	}
	return options
}

// unstreamed makes the reflector list before it watches. With a streamed list, the server takes a second to mark it as complete, and a
// new placement would wait for it.
type unstreamed struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is for the reflector.
func (unstreamed) IsWatchListSemanticsUnSupported() bool { return true }

// forbearance is how long a kind may fail to be listed before placements that wait for it go on without it, if they can.
const forbearance = 10 * time.Second

// failed notes why the objects could not be listed; nil if they could.
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
		s.told(s.kind.GroupKind())
	}
}

// unserved is whether err is not about an object: the server does not know the resource at all.
func unserved(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// unready is why objects are not known: an UnreadableError if that may stay so.
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

// entry is what is kept of an object, and the resource version at which it was so.
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

// version stands for all of an object that is carried. Where generations can be relied on, changes of the status alone, as a running
// workload has them all the time, do not change it.
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

// Add is for the reflector.
func (s *store) Add(obj any) error { return s.Update(obj) }

// Update is for the reflector.
func (s *store) Update(obj any) error {
	e, version, err := s.entry(obj)
	if err == nil {
		s.note(e.Namespace, e.Name, event{version, e})
	}
	return err
}

// Delete is for the reflector.
func (s *store) Delete(obj any) error {
	e, version, err := s.entry(obj)
	if err == nil {
		s.note(e.Namespace, e.Name, event{version, nil})
	}
	return err
}

// event is an event of the watch about one object.
type event struct {
	// version is the resource version at which it was so.
	version string
	// state is nil if the object is gone.
	state *entry
}

// note applies an event.
func (s *store) note(namespace, name string, e event) {
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
	if s.size > s.few && !s.part {
		s.dropUnasked()
	}
	s.mu.Unlock()
	if e.state == nil && old != nil || e.state != nil && !e.state.same(old) {
		s.changed(s.kind.GroupKind(), old, e.state)
	}
}

// set files the state of an object; nil if it is gone.
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

// dropUnasked goes over to keeping asked namespaces only.
func (s *store) dropUnasked() {
	s.part = true
	for namespace, names := range s.byNamespace {
		if s.asked[namespace] == nil {
			s.size -= len(names)
			delete(s.byNamespace, namespace)
		}
	}
}

// Replace is for the reflector: a complete list of what there is.
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
		s.told(s.kind.GroupKind())
	}
	return nil
}

// replace files a complete list. It returns what was there before, and whether a placement waits for the list.
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
	if s.part || s.size > s.few {
		s.dropUnasked()
	}
	s.isListed, s.failure, s.listing = true, nil, nil
	return before, waited
}

// Resync is for the reflector; there is nothing to do.
func (s *store) Resync() error { return nil }
