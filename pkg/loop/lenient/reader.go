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

// reader is a cache that knows what it cannot show.
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

// StandIns makes lists show unreadable objects by their metadata, whatever their kind: for callers that need no more,
// such as those that take finalizers off.
func StandIns(ctx context.Context) context.Context {
	return context.WithValue(ctx, modeKey{}, standIns)
}

// Skip makes lists leave unreadable objects out, whatever their kind: for callers that conclude nothing from what is
// missing.
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

// IndexField registers an index, which also finds the unreadable objects that a list by it might have to show.
func (r *reader) IndexField(ctx context.Context, obj client.Object, field string, values client.IndexerFunc) error {
	if gvk, err := apiutil.GVKForObject(obj, r.scheme); err == nil {
		r.mu.Lock()
		r.indexers[index{gvk, field}] = values
		r.mu.Unlock()
	}
	return r.Cache.IndexField(ctx, obj, field, values)
}

// Get reads an object. What cannot be read is an *Unreadable error.
func (r *reader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	gvk, err := apiutil.GVKForObject(obj, r.scheme)
	if err != nil || !ours(obj, gvk) {
		return r.Cache.Get(ctx, key, obj, opts...)
	}
	for {
		// It may become unreadable, or leave the cache because it has, while it is read; and what becomes readable
		// meanwhile may not have been in the cache when that was asked.
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

// fault is why an object cannot be read; nil if it can, or is not there.
func (r *reader) fault(gvk schema.GroupVersionKind, key client.ObjectKey) *Fault {
	for _, l := range r.of(gvk) {
		if fault := l.of(key); fault != nil {
			return fault
		}
	}
	return nil
}

// List reads a list. What it cannot show makes it fail, or stands in it, if the kind is one of those.
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
		// What has become readable meanwhile may be neither in the list nor missing any more.
		again = err == nil && slices.ContainsFunc(before, func(f *Fault) bool { return !slices.ContainsFunc(missing, f.about) })
	}
	if err != nil {
		return err
	}
	policy := r.policies[gvk]
	if mode, ok := ctx.Value(modeKey{}).(policyMode); ok {
		policy.hold, policy.standIn = false, mode == standIns
	}
	switch {
	case len(missing) == 0:
		return nil
	case policy.hold:
		return &Unreadable{*missing[0]}
	}
	return r.fill(gvk, list, missing, policy.standIn)
}

// missing are the faults that a list with these options might have to show.
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

// indexed tells whether an index could find an unreadable object. It can be excluded by what the index makes of its
// metadata; an index that makes nothing of metadata alone may find it.
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

// fill takes versions that were read before an object became unreadable out of a list, and puts stand-ins in if they
// are wanted.
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
