package lenient

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// reader is a cache that knows which objects it lacks because they are unreadable.
type reader struct {
	cache.Cache
	scheme   *runtime.Scheme
	policies map[schema.GroupVersionKind]policy

	mu       sync.RWMutex
	indexers map[index]client.IndexerFunc
	ledgers  map[schema.GroupVersionKind][]*ledger
}

type (
	modeKey    struct{}
	policyMode int
)

const (
	standIns policyMode = iota
	skip
)

// StandIns makes lists of every kind contain unreadable objects with their metadata: for callers that need no more,
// for example to remove finalizers.
func StandIns(ctx context.Context) context.Context {
	return context.WithValue(ctx, modeKey{}, standIns)
}

// Skip makes lists of every kind omit unreadable objects: for callers that conclude nothing from a missing object.
func Skip(ctx context.Context) context.Context { return context.WithValue(ctx, modeKey{}, skip) }

type index struct {
	gvk   schema.GroupVersionKind
	field string
}

func (r *reader) add(gvk schema.GroupVersionKind, l *ledger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledgers[gvk] = append(r.ledgers[gvk], l)
}

func (r *reader) of(gvk schema.GroupVersionKind) []*ledger {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.ledgers[gvk]
}

// IndexField registers an index. It also finds the unreadable objects that might belong to a list by the index.
func (r *reader) IndexField(ctx context.Context, obj client.Object, field string, values client.IndexerFunc) error {
	if gvk, err := apiutil.GVKForObject(obj, r.scheme); err == nil {
		r.mu.Lock()
		r.indexers[index{gvk, field}] = values
		r.mu.Unlock()
	}
	return r.Cache.IndexField(ctx, obj, field, values)
}

// Get reads an object. For an unreadable object it returns an *Unreadable error.
func (r *reader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	gvk, err := apiutil.GVKForObject(obj, r.scheme)
	if err != nil || !ours(obj, gvk) {
		return r.Cache.Get(ctx, key, obj, opts...)
	}
	for {
		// During the read the object may become unreadable and so leave the cache, or it may become readable but have
		// been absent from the cache when that was read. In the latter case, read again.
		before := r.fault(gvk, key)
		err = r.Cache.Get(ctx, key, obj, opts...)
		if fault := r.fault(gvk, key); fault != nil {
			return &Unreadable{*fault}
		}
		if before == nil {
			return err
		}
	}
}

// fault is why an object cannot be read; nil if it can, or does not exist.
func (r *reader) fault(gvk schema.GroupVersionKind, key client.ObjectKey) *Fault {
	for _, l := range r.of(gvk) {
		if fault := l.of(key); fault != nil {
			return fault
		}
	}
	return nil
}

// List reads a list. Unreadable objects make it fail, are in it as stand-ins, or are omitted, by the policy of the
// kind.
func (r *reader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	gvk, err := apiutil.GVKForObject(list, r.scheme)
	if err != nil || !ours(list, gvk) {
		return r.Cache.List(ctx, list, opts...)
	}
	gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	o := (&client.ListOptions{}).ApplyOptions(opts)
	missing, err := r.missing(gvk, o)
	for again := err == nil; again; {
		before := missing
		if err := r.Cache.List(ctx, list, opts...); err != nil {
			return err
		}
		missing, err = r.missing(gvk, o)
		// An object that has become readable meanwhile may be neither in the list nor missing any more.
		again = err == nil && slices.ContainsFunc(before, func(f *Fault) bool { return !slices.ContainsFunc(missing, f.about) })
	}
	if err != nil {
		return err
	}
	policy := r.policies[gvk]
	if mode, ok := ctx.Value(modeKey{}).(policyMode); ok {
		policy.failList, policy.standIn = false, mode == standIns
	}
	switch {
	case len(missing) == 0:
		return nil
	case policy.failList:
		return &Unreadable{*missing[0]}
	}
	return r.fill(gvk, list, missing, policy.standIn)
}

// missing returns the faults of objects that might belong to a list with these options.
func (r *reader) missing(gvk schema.GroupVersionKind, o *client.ListOptions) ([]*Fault, error) {
	var out []*Fault
	for _, l := range r.of(gvk) {
		for _, fault := range l.all() {
			if fault.StatusOnly || o.Namespace != "" && o.Namespace != fault.meta.Namespace ||
				o.LabelSelector != nil && !o.LabelSelector.Matches(labels.Set(fault.meta.Labels)) {
				continue
			}
			if matches, err := r.indexed(gvk, o, fault); err != nil {
				return nil, err
			} else if matches {
				out = append(out, fault)
			}
		}
	}
	return out, nil
}

// indexed reports whether an index might find an unreadable object. The index is evaluated on the metadata alone:
// other values than the requested one exclude the object; no value at all does not.
func (r *reader) indexed(gvk schema.GroupVersionKind, o *client.ListOptions, fault *Fault) (bool, error) {
	if o.FieldSelector == nil {
		return true, nil
	}
	obj, err := kind{scheme: r.scheme, gvk: gvk}.standIn(fault.meta)
	if err != nil {
		return false, err
	}
	for _, want := range o.FieldSelector.Requirements() {
		r.mu.RLock()
		values := r.indexers[index{gvk, want.Field}]
		r.mu.RUnlock()
		if values == nil {
			continue
		}
		known := slices.DeleteFunc(values(obj), func(value string) bool { return value == "" })
		if len(known) > 0 && !slices.Contains(known, want.Value) {
			return false, nil
		}
	}
	return true, nil
}

// fill removes the last readable versions of unreadable objects from a list, and adds stand-ins if requested.
func (r *reader) fill(gvk schema.GroupVersionKind, list client.ObjectList, missing []*Fault, standIns bool) error {
	items, err := meta.ExtractList(list)
	if err != nil {
		return fmt.Errorf("read a list of %s: %w", gvk.Kind, err)
	}
	for _, fault := range missing {
		items = slices.DeleteFunc(items, func(o runtime.Object) bool {
			m, err := meta.Accessor(o)
			return err == nil && m.GetName() == fault.meta.Name && m.GetNamespace() == fault.meta.Namespace
		})
		if !standIns {
			continue
		}
		obj, err := kind{scheme: r.scheme, gvk: gvk}.standIn(*fault.meta.DeepCopy())
		if err != nil {
			return err
		}
		items = append(items, obj)
	}
	return meta.SetList(list, items)
}
