// Package lenient makes caches that one bad object cannot stop. If an API server stores an object that our Go types
// cannot decode (a time such as 2026-01-01t00:00:00z, JSON nested too deep), the whole list or watch of an ordinary
// informer fails. Here each object is decoded by itself: an object that cannot be decoded is skipped and reported in
// the log, an event, a metric and the readiness probe, and all others are served.
//
// A skipped object must not look deleted. A Get of it returns an *Unreadable error and never NotFound. A list that
// decisions about deletion are made from fails, or contains a stand-in, according to Settings. Agents return such an
// error like any other, so that only the objects that depend on the bad one wait. Both agents use this package; it
// knows nothing about the meaning of the objects.
package lenient

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Settings configure what a cache does with objects that it cannot decode. If a kind is in neither FailList nor
// StandIn, lists of it omit such objects.
type Settings struct {
	// FailList are kinds whose lists fail if an unreadable object might belong to them: agents would act on a list
	// without it.
	FailList []client.Object
	// StandIn are kinds whose lists contain an unreadable object with its metadata only.
	StandIn []client.Object
	// Reports are kinds whose status is a report that its writer writes again. If only the status cannot be decoded,
	// the object is served without it.
	Reports []client.Object
	// Namespace is where namespaced kinds are read; empty for all namespaces.
	Namespace string
	// Component is the source of events. If it is empty, no events are recorded.
	Component string
	// EventAs changes an event before it is recorded; nil records it unchanged.
	EventAs func(*corev1.Event) *corev1.Event
	// Faults and Watches are filled for the readiness probe. Several caches may share them.
	Faults  *Faults
	Watches *Watches
}

// NewCache is a cache.NewCacheFunc.
func (s Settings) NewCache(cfg *rest.Config, o cache.Options) (cache.Cache, error) {
	policies, err := s.policies(o.Scheme)
	if err != nil {
		return nil, err
	}
	if o.HTTPClient == nil {
		if o.HTTPClient, err = rest.HTTPClientFor(cfg); err != nil {
			return nil, fmt.Errorf("make a client for the cache: %w", err)
		}
	}
	notify, err := s.notifier(cfg, o.HTTPClient)
	if err != nil {
		return nil, err
	}
	r := &reader{scheme: o.Scheme, policies: policies, indexers: map[index]client.IndexerFunc{}, ledgers: map[schema.GroupVersionKind][]*ledger{}}
	o.NewInformer = func(lw toolscache.ListerWatcher, obj runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
		gvk, err := apiutil.GVKForObject(obj, o.Scheme)
		if err != nil || !ours(obj, gvk) {
			return toolscache.NewSharedIndexInformer(s.Watches.observed(gvk, lw), obj, resync, indexers)
		}
		ledger := s.Faults.ledger(gvk, notify)
		r.add(gvk, ledger)
		objects := &source{
			kind: kind{scheme: o.Scheme, gvk: gvk, statusOptional: policies[gvk].statusOptional}, ledger: ledger, namespace: s.Namespace,
			connect: func() (*resource, error) { return connect(cfg, o, gvk) },
		}
		informer := toolscache.NewSharedIndexInformer(s.Watches.observed(gvk, objects), obj, resync, indexers)
		// It fails only for an informer that has stopped.
		_, _ = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: ledger.stored, UpdateFunc: func(_, obj any) { ledger.stored(obj) }})
		return informer
	}
	if r.Cache, err = cache.New(cfg, o); err != nil {
		return nil, err
	}
	return r, nil
}

// ours reports whether objects of a kind are decoded one by one: typed objects of CRDs. API servers validate their own
// kinds with the same Go types, and metadata and unstructured objects can always be decoded.
func ours(obj runtime.Object, gvk schema.GroupVersionKind) bool {
	switch obj.(type) {
	case runtime.Unstructured, *metav1.PartialObjectMetadata:
		return false
	}
	return !clientgoscheme.Scheme.IsGroupRegistered(gvk.Group)
}

// policy is the part of Settings about one kind.
type policy struct{ failList, standIn, statusOptional bool }

func (s Settings) policies(scheme *runtime.Scheme) (map[schema.GroupVersionKind]policy, error) {
	out := map[schema.GroupVersionKind]policy{}
	for _, group := range []struct {
		kinds []client.Object
		set   func(*policy)
	}{
		{s.FailList, func(p *policy) { p.failList = true }},
		{s.StandIn, func(p *policy) { p.standIn = true }},
		{s.Reports, func(p *policy) { p.statusOptional = true }},
	} {
		for _, obj := range group.kinds {
			gvk, err := apiutil.GVKForObject(obj, scheme)
			if err != nil {
				return nil, fmt.Errorf("set up the cache of %T: %w", obj, err)
			}
			p := out[gvk]
			group.set(&p)
			out[gvk] = p
		}
	}
	return out, nil
}

// resource is the API endpoint of a kind.
type resource struct {
	client     rest.Interface
	name       string
	namespaced bool
}

func connect(cfg *rest.Config, o cache.Options, gvk schema.GroupVersionKind) (*resource, error) {
	mapping, err := o.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	c, err := apiutil.RESTClientForGVK(gvk, true, false, cfg, serializer.NewCodecFactory(o.Scheme), o.HTTPClient)
	if err != nil {
		return nil, err
	}
	return &resource{client: c, name: mapping.Resource.Resource, namespaced: mapping.Scope.Name() == meta.RESTScopeNameNamespace}, nil
}
