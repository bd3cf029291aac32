package objects

import (
	"context"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

const (
	// discoverGap is the least time between two requests to the discovery API.
	discoverGap = time.Second
	// discoverAgain is after how long groups that did not answer are read again, unless an event comes first.
	discoverAgain = time.Minute
)

// rediscover requests another read of the discovery API.
func (w *Source) rediscover() {
	select {
	case w.wake <- struct{}{}:
	default: // already requested
	}
}

// discover reads the discovery API once, and again on request, until ctx ends. Changes of CRDs need no read: they are
// watched.
func (w *Source) discover(ctx context.Context) {
	for {
		groups, lists, err := w.discovery.ServerGroupsAndResourcesWithContext(ctx)
		failed, partial := discovery.GroupDiscoveryFailedErrorGroups(err)
		again := time.Duration(0)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !partial:
			log.FromContext(ctx).Error(err, "API discovery failed")
			again = 5 * discoverGap
		default:
			if w.take(ctx, newDiscovered(groups, lists, failed)) {
				again = discoverAgain
			}
		}
		if !w.sleep(ctx, again) {
			return
		}
	}
}

// take makes a response of the discovery API current, and returns whether selectable groups are missing from it.
func (w *Source) take(ctx context.Context, d discovered) (missing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.keepFailed(w.discovered)
	w.discovered = d
	w.update(ctx)
	for group, err := range d.failed {
		if w.rules.SelectableGroup(group) {
			missing = true
			log.FromContext(ctx).Info("Failed to discover API group; placements with objects of it are not changed", "group", group, "reason", err.Error())
		}
	}
	return missing
}

// sleep waits for a request to read again, or until after has passed if that is not zero. It returns false if ctx
// ends.
func (w *Source) sleep(ctx context.Context, after time.Duration) bool {
	var timer <-chan time.Time
	if after > 0 {
		timer = time.After(after)
	}
	select {
	case <-w.wake:
	case <-timer:
	case <-ctx.Done():
		return false
	}
	select {
	case <-time.After(discoverGap):
		return true
	case <-ctx.Done():
		return false
	}
}

var apiServiceResource = selection.Kind{
	GroupVersionKind: schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"}, Resource: "apiservices",
}

// automanaged is the label of the APIServices that the API server itself manages: those of built-in kinds and of CRDs.
const automanaged = "kube-aggregator.kubernetes.io/automanaged"

// watchServices requests another read of the discovery API when an aggregated API server is added or removed.
func (w *Source) watchServices(ctx context.Context) {
	s := newStore(apiServiceResource, "", func(schema.GroupKind, *selection.Object) bool { return false }, w.now)
	s.changed = func(_ schema.GroupKind, old, new *entry) {
		for _, state := range []*entry{old, new} {
			if state != nil && !state.Labels.Has(automanaged) {
				w.rediscover()
			}
		}
	}
	s.settled, s.gone, s.client = func(schema.GroupKind) {}, func() {}, w.metadata
	s.run(ctx)
}

// watchDefinitions watches CRDs and updates the kinds that they define.
func (w *Source) watchDefinitions(ctx context.Context) {
	resource := w.dynamic.Resource(process.CRDs)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := resource.List(ctx, present(options))
			if err != nil {
				return nil, err
			}
			for i := range list.Items {
				dropSchemas(&list.Items[i])
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, options)
		},
	}
	backoff := retry
	cache.NewReflectorWithOptions(unstreamed{lw}, &unstructured.Unstructured{}, &definitionStore{ctx: ctx, source: w}, cache.ReflectorOptions{
		Name: "definitions", TypeDescription: "CustomResourceDefinition", Backoff: &backoff,
	}).RunWithContext(ctx)
}

// dropSchemas drops the largest part of a CRD, before the next page of a list is read.
func dropSchemas(crd *unstructured.Unstructured) {
	versions, _, _ := unstructured.NestedFieldNoCopy(crd.Object, "spec", "versions")
	list, _ := versions.([]any)
	for _, v := range list {
		if v, ok := v.(map[string]any); ok {
			delete(v, "schema")
		}
	}
}

// definitionStore is the store of the reflector of CRDs.
type definitionStore struct {
	ctx    context.Context
	source *Source
}

func define(obj any) *definition {
	switch o := obj.(type) {
	case *unstructured.Unstructured:
		return newDefinition(o)
	case cache.DeletedFinalStateUnknown:
		return define(o.Obj)
	}
	return &definition{}
}

func (d *definitionStore) Add(obj any) error { return d.Update(obj) }
func (d *definitionStore) Resync() error     { return nil }

func (d *definitionStore) Update(obj any) error {
	d.set(func(all map[string]*definition) { put(all, define(obj)) })
	return nil
}

func (d *definitionStore) Delete(obj any) error {
	d.set(func(all map[string]*definition) { delete(all, define(obj).name) })
	return nil
}

func (d *definitionStore) Replace(list []any, _ string) error {
	d.set(func(all map[string]*definition) {
		before := maps.Clone(all)
		clear(all)
		for _, obj := range list {
			def := define(obj)
			if was := before[def.name]; was != nil {
				put(all, was)
			}
			put(all, def)
		}
	})
	return nil
}

// put stores a definition. It stays established until the CRD is deleted; a CRD that is created again with the same
// name is another CRD.
func put(all map[string]*definition, def *definition) {
	if was := all[def.name]; was != nil && was.uid == def.uid {
		def.established = def.established || was.established
	}
	all[def.name] = def // parsed from an event, and not shared
}

// set changes the definitions and, if kinds change, the catalogue.
func (d *definitionStore) set(change func(map[string]*definition)) {
	w := d.source
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.definitions
	w.definitions = make(map[string]*definition, len(before))
	maps.Copy(w.definitions, before)
	change(w.definitions)
	if before == nil || !maps.EqualFunc(before, w.definitions, (*definition).equal) {
		w.update(d.ctx)
	}
}
