package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/discovery"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Kinds knows the kinds that the hub serves, so that no admission request waits for a read of the discovery API. It
// knows the kinds of CustomResourceDefinitions from a watch, and the others from discovery.
type Kinds struct {
	// Discovery is read at the start, when an API service changes, and every rediscovery.
	Discovery discovery.ServerResourcesInterfaceWithContext

	mu sync.RWMutex
	// defined are the kinds of each CRD, by its name, with whether they are namespaced; discovered are all others;
	// served are both.
	defined            map[string]served
	discovered, served served
	// changed is closed with the next change.
	changed chan struct{}
}

// served are kinds that the hub serves, with whether they are namespaced.
type served map[schema.GroupVersionKind]bool

const (
	// rediscovery is after how long discovery is read again: the built-in kinds change when the API server is upgraded.
	rediscovery = 10 * time.Minute
	// discoverAgain is the same after a read that failed, and the least time between two reads.
	discoverAgain = time.Second
	// leastPartial is the same after a read that lacks groups whose API server does not answer; it doubles up to
	// mostPartial while that lasts.
	leastPartial, mostPartial = 10 * time.Second, time.Minute
)

// Namespaced returns whether the hub serves a kind in namespaces, or an error if it does not serve it. It reads memory
// alone.
func (k *Kinds) Namespaced(kind schema.GroupVersionKind) (bool, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	namespaced, ok := k.served[kind]
	if !ok {
		return false, &meta.NoKindMatchError{GroupKind: kind.GroupKind(), SearchedVersions: []string{kind.Version}}
	}
	return namespaced, nil
}

// serves reports whether the hub serves a kind.
func (k *Kinds) serves(kind schema.GroupVersionKind) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	_, ok := k.served[kind]
	return ok
}

// await returns when the hub serves a kind, or ctx has ended.
func (k *Kinds) await(ctx context.Context, kind schema.GroupVersionKind) error {
	for {
		k.mu.Lock()
		_, ok := k.served[kind]
		if k.changed == nil {
			k.changed = make(chan struct{})
		}
		changed := k.changed
		k.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// change changes defined and discovered.
func (k *Kinds) change(do func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	do()
	k.served = maps.Clone(k.discovered)
	if k.served == nil {
		k.served = served{}
	}
	for _, kinds := range k.defined {
		maps.Copy(k.served, kinds)
	}
	if k.changed != nil {
		close(k.changed)
		k.changed = nil
	}
}

// define learns the kinds of a CRD. The API server serves it until it is deleted, once it is established.
func (k *Kinds) define(obj any) {
	crd, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	kinds := kindsOf(crd)
	k.mu.RLock()
	same := k.defined != nil && maps.Equal(k.defined[crd.GetName()], kinds)
	k.mu.RUnlock()
	if same {
		return
	}
	k.change(func() {
		if k.defined == nil {
			k.defined = map[string]served{}
		}
		k.leave(kinds)
		k.defined[crd.GetName()] = kinds
	})
}

// undefine forgets the kinds of a CRD that is deleted.
func (k *Kinds) undefine(obj any) {
	if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	crd, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	k.change(func() {
		k.leave(kindsOf(crd))
		delete(k.defined, crd.GetName())
	})
}

// leave leaves kinds to the watch of their CRD: what was discovered may be older. k.mu is held.
func (k *Kinds) leave(kinds served) {
	groupKinds := sets.New[schema.GroupKind]()
	for kind := range kinds {
		groupKinds.Insert(kind.GroupKind())
	}
	maps.DeleteFunc(k.discovered, func(kind schema.GroupVersionKind, _ bool) bool { return groupKinds.Has(kind.GroupKind()) })
}

// kindsOf are the kinds that the API server serves for a CRD; none before it is established.
func kindsOf(crd *unstructured.Unstructured) served {
	kinds := served{}
	if !established(crd) {
		return kinds
	}
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	scope, _, _ := unstructured.NestedString(crd.Object, "spec", "scope")
	for _, version := range listOf(crd, "spec", "versions") {
		if name, ok := version["name"].(string); ok && version["served"] == true {
			kinds[schema.GroupVersionKind{Group: group, Version: name, Kind: kind}] = scope == "Namespaced"
		}
	}
	return kinds
}

func established(crd *unstructured.Unstructured) bool {
	return slices.ContainsFunc(listOf(crd, "status", "conditions"), func(c map[string]any) bool {
		return c["type"] == "Established" && c["status"] == "True"
	})
}

// listOf is a list of objects in obj, without those that are none.
func listOf(obj *unstructured.Unstructured, path ...string) []map[string]any {
	field, _, _ := unstructured.NestedFieldNoCopy(obj.Object, path...)
	list, _ := field.([]any)
	var out []map[string]any
	for _, item := range list {
		if item, ok := item.(map[string]any); ok {
			out = append(out, item)
		}
	}
	return out
}

// follow learns the kinds from hub and keeps them up to date until ctx ends. It returns when it knows them.
func (k *Kinds) follow(ctx context.Context, hub cache.Cache) error {
	crds, err := hub.GetInformer(ctx, definitions())
	if err != nil {
		return fmt.Errorf("watch CustomResourceDefinitions: %w", err)
	}
	known, err := crds.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: k.define, UpdateFunc: func(_, obj any) { k.define(obj) }, DeleteFunc: k.undefine,
	})
	if err != nil {
		return fmt.Errorf("watch CustomResourceDefinitions: %w", err)
	}
	service := &metav1.PartialObjectMetadata{}
	service.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"})
	services, err := hub.GetInformer(ctx, service)
	if err != nil {
		return fmt.Errorf("watch APIServices: %w", err)
	}
	again := make(chan struct{}, 1)
	wake := func(obj any) {
		if aggregated(obj) {
			select {
			case again <- struct{}{}:
			default:
			}
		}
	}
	_, err = services.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: wake, UpdateFunc: func(_, obj any) { wake(obj) }, DeleteFunc: wake,
	})
	if err != nil {
		return fmt.Errorf("watch APIServices: %w", err)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), known.HasSynced) {
		return ctx.Err()
	}
	first := make(chan struct{})
	go k.discover(ctx, again, first)
	select {
	case <-first:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// aggregated reports whether an APIService is that of another API server: the hub's own have this label.
func aggregated(obj any) bool {
	if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	o, ok := obj.(client.Object)
	if !ok {
		return true
	}
	_, automanaged := o.GetLabels()["kube-aggregator.kubernetes.io/automanaged"]
	return !automanaged
}

// discover reads discovery, and again with each event and each rediscovery, until ctx ends. It closes first after the
// first read that does not fail.
func (k *Kinds) discover(ctx context.Context, again <-chan struct{}, first chan<- struct{}) {
	partial := leastPartial
	for {
		next := rediscovery
		absent, err := k.read(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil:
			ctrl.LoggerFrom(ctx).Error(err, "Cannot discover the kinds of the hub; trying again")
			next = discoverAgain
		case len(absent) > 0:
			ctrl.LoggerFrom(ctx).Info("Cannot discover some kinds of the hub; trying again", "groups", absent)
			next, partial = partial, min(2*partial, mostPartial)
		default:
			partial = leastPartial
		}
		if err == nil && first != nil {
			close(first)
			first = nil
		}
		select {
		case <-again:
			next = discoverAgain
		case <-time.After(next):
			continue
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return
		}
	}
}

// read reads discovery once. It returns the groups whose API server does not answer; they keep the kinds that they had.
func (k *Kinds) read(ctx context.Context) ([]schema.GroupVersion, error) {
	_, lists, err := k.Discovery.ServerGroupsAndResourcesWithContext(ctx)
	failed, partial := discovery.GroupDiscoveryFailedErrorGroups(err)
	if err != nil && !partial {
		return nil, fmt.Errorf("discover the kinds of the hub: %w", err)
	}
	found := served{}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue // no client can use it
		}
		for _, resource := range list.APIResources {
			if !strings.Contains(resource.Name, "/") {
				found[version.WithKind(resource.Kind)] = resource.Namespaced
			}
		}
	}
	k.change(func() {
		for kind, namespaced := range k.discovered {
			if _, down := failed[kind.GroupVersion()]; down {
				found[kind] = namespaced
			}
		}
		k.discovered = found
		custom := served{}
		for _, kinds := range k.defined {
			maps.Copy(custom, kinds)
		}
		k.leave(custom)
	})
	return slices.Collect(maps.Keys(failed)), nil
}
