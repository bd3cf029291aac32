package watcher

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

// entry is one object as it is kept: what selecting needs, and nothing else.
type entry struct{ selection.Object }

// same says whether two states of an object are the same for every placement.
func (e *entry) same(other *entry) bool {
	return other != nil && e.UID == other.UID && e.Version == other.Version && e.Deleting == other.Deleting
}

// store holds the metadata of all objects of one kind, and keeps it up to date.
type store struct {
	kind selection.Kind
	// generations says that the kind's generation changes with everything but metadata and status.
	generations bool
	// changed is told of every change, and told when the first list is in or seems not to come. Both are called without locks held.
	changed func(kind schema.GroupKind, old, new *entry)
	told    func(kind schema.GroupKind)
	// gone is called when the server says that it does not know the resource.
	gone func()
	stop context.CancelFunc

	mu       sync.RWMutex
	isListed bool
	// failure is why the objects could not be listed last time, once that has gone on for a while.
	failure     error
	started     time.Time
	byNamespace map[string]map[string]*entry
}

func newStore(kind selection.Kind, custom bool) *store {
	return &store{kind: kind, generations: custom || kind.Group == "apps" || kind.Group == "batch", started: time.Now(), byNamespace: map[string]map[string]*entry{}}
}

// retry is how a store comes back after a failure. The first tries are close together, because a CRD is said to be established
// a moment before its objects can be listed.
var retry = wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.3, Steps: 12, Cap: 30 * time.Second}

// run keeps the store up to date until ctx ends.
func (s *store) run(ctx context.Context, client metadata.Interface) {
	resource := client.Resource(s.kind.GVR())
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := resource.List(ctx, present(options))
			s.failed(err)
			if err != nil {
				return nil, err
			}
			for i := range list.Items {
				list.Items[i].ManagedFields = nil // the bulk of it, while the other pages come
			}
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

// present makes a list one of what is there now. By default the first list may be of any time before, and whatever has been made since
// would seem to be absent.
func present(options metav1.ListOptions) metav1.ListOptions {
	if options.ResourceVersion == "0" {
		options.ResourceVersion = ""
	}
	return options
}

// unstreamed makes the reflector list before it watches. With a streamed list, the server takes a second to say that it is complete,
// and a new placement would wait for it.
type unstreamed struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is how the reflector asks.
func (unstreamed) IsWatchListSemanticsUnSupported() bool { return true }

// forbearance is how long a kind may fail to be listed before those who wait for it go on without, if they can.
const forbearance = 10 * time.Second

// failed notes why the objects could not be listed; nil for that they could.
func (s *store) failed(err error) {
	if err == nil {
		return
	}
	if unserved(err) {
		s.gone()
	}
	s.mu.Lock()
	lasting := s.failure == nil && !s.isListed && time.Since(s.started) > forbearance
	if lasting {
		s.failure = err
	}
	s.mu.Unlock()
	if lasting {
		s.told(s.kind.GroupKind())
	}
}

// unserved says that err is not about an object: the server does not know the resource at all.
func unserved(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// ready says whether the store knows the kind's objects. The error is an UnreadableError if that may stay so.
func (s *store) ready() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.isListed:
		return nil
	case s.failure != nil:
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
	out := make([]*entry, 0, len(s.byNamespace[namespace]))
	for _, e := range s.byNamespace[namespace] {
		out = append(out, e)
	}
	return out
}

func (s *store) count(namespace string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byNamespace[namespace])
}

func (s *store) entry(obj any) (*entry, error) {
	switch o := obj.(type) {
	case *metav1.PartialObjectMetadata:
		return &entry{selection.Object{
			Namespace: o.Namespace, Name: o.Name, UID: o.UID, Labels: o.Labels, Owners: o.OwnerReferences,
			Deleting: o.DeletionTimestamp != nil, Version: s.version(&o.ObjectMeta),
		}}, nil
	case cache.DeletedFinalStateUnknown:
		return s.entry(o.Obj)
	}
	return nil, fmt.Errorf("watch %s: got a %T", s.kind, obj)
}

// version stands for all of an object that is carried. Where generations can be relied on, news that are only in the status, as a
// running workload has them all the time, do not change it.
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
		writeAll(hash, "", owner.APIVersion, owner.Kind, owner.Name)
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
func (s *store) Add(obj any) error { return s.put(obj) }

// Update is for the reflector.
func (s *store) Update(obj any) error { return s.put(obj) }

func (s *store) put(obj any) error {
	e, err := s.entry(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	old := s.byNamespace[e.Namespace][e.Name]
	s.set(e)
	s.mu.Unlock()
	if !e.same(old) {
		s.changed(s.kind.GroupKind(), old, e)
	}
	return nil
}

func (s *store) set(e *entry) {
	names := s.byNamespace[e.Namespace]
	if names == nil {
		names = map[string]*entry{}
		s.byNamespace[e.Namespace] = names
	}
	names[e.Name] = e
}

// Delete is for the reflector.
func (s *store) Delete(obj any) error {
	e, err := s.entry(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	old := s.byNamespace[e.Namespace][e.Name]
	delete(s.byNamespace[e.Namespace], e.Name)
	if len(s.byNamespace[e.Namespace]) == 0 {
		delete(s.byNamespace, e.Namespace)
	}
	s.mu.Unlock()
	if old != nil {
		s.changed(s.kind.GroupKind(), old, nil)
	}
	return nil
}

// Replace is for the reflector: a complete list of what there is.
func (s *store) Replace(list []any, _ string) error {
	entries := make([]*entry, len(list))
	for i, obj := range list {
		e, err := s.entry(obj)
		if err != nil {
			return err
		}
		entries[i] = e
	}
	s.mu.Lock()
	before, first := s.byNamespace, !s.isListed
	s.byNamespace = make(map[string]map[string]*entry, len(before))
	for _, e := range entries {
		s.set(e)
	}
	s.isListed, s.failure = true, nil
	s.mu.Unlock()
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
	if first {
		s.told(s.kind.GroupKind())
	}
	return nil
}

// Resync is for the reflector; there is nothing to do.
func (s *store) Resync() error { return nil }
