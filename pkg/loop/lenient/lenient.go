// Package lenient makes caches that one bad object cannot stop. An object that the API server holds and our Go types
// cannot decode (a time such as 2026-01-01t00:00:00z, JSON nested too deep) fails the whole list or watch of a usual
// informer. Here each object is decoded by itself: what cannot be decoded is skipped and named in the log, an event, a
// metric and the readiness probe, and the rest goes on.
//
// What is skipped must not look deleted. A Get of it is an *Unreadable error and never NotFound; lists that decisions
// about deletion are made from fail, or hold a stand-in, as Settings say. Agents return such an error like any other,
// so that only what depends on the bad object waits. Both agents use this one mechanism; nothing here knows what the
// objects mean.
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

// Settings say how a cache deals with what it cannot decode. Kinds that none of the lists names are left out of lists.
type Settings struct {
	// Hold are kinds whose lists fail if they could hold an unreadable object: an answer without it would be acted on.
	Hold []client.Object
	// StandIn are kinds whose lists show an unreadable object by its metadata alone.
	StandIn []client.Object
	// Reports are kinds whose status is a report that its writer writes again. If only the status cannot be decoded,
	// the object is served without it.
	Reports []client.Object
	// Namespace is the one that namespaced kinds are read in; all if it is empty.
	Namespace string
	// Component is named as the source of events. Without it there are none.
	Component string
	// EventAs changes an event before it is recorded; nil leaves it as it is.
	EventAs func(*corev1.Event) *corev1.Event
	// Faults and Watches are filled for the readiness probe; several caches may share them.
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
	tell, err := s.teller(cfg, o.HTTPClient)
	if err != nil {
		return nil, err
	}
	r := &reader{scheme: o.Scheme, policies: policies, indexers: map[index]client.IndexerFunc{}, ledgers: map[schema.GroupVersionKind][]*ledger{}}
	o.NewInformer = func(lw toolscache.ListerWatcher, obj runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
		gvk, err := apiutil.GVKForObject(obj, o.Scheme)
		if err != nil || !ours(obj, gvk) {
			return toolscache.NewSharedIndexInformer(s.Watches.observed(gvk, lw), obj, resync, indexers)
		}
		ledger := s.Faults.ledger(gvk, tell)
		r.add(gvk, ledger)
		objects := &source{
			kind: kind{scheme: o.Scheme, gvk: gvk, report: policies[gvk].report}, ledger: ledger, namespace: s.Namespace,
			connect: func() (*resource, error) { return connect(cfg, o, gvk) },
		}
		informer := toolscache.NewSharedIndexInformer(s.Watches.observed(gvk, objects), obj, resync, indexers)
		// It fails only for an informer that has ended.
		_, _ = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: ledger.stored, UpdateFunc: func(_, obj any) { ledger.stored(obj) }})
		return informer
	}
	if r.Cache, err = cache.New(cfg, o); err != nil {
		return nil, err
	}
	return r, nil
}

// ours tells whether objects of a kind are decoded one by one: typed ones of CRDs. An API server validates its own
// kinds with the very types that we decode them into, and metadata and unstructured objects decode whatever they hold.
func ours(obj runtime.Object, gvk schema.GroupVersionKind) bool {
	switch obj.(type) {
	case runtime.Unstructured, *metav1.PartialObjectMetadata:
		return false
	}
	return !clientgoscheme.Scheme.IsGroupRegistered(gvk.Group)
}

// policy is what Settings say of one kind.
type policy struct{ hold, standIn, report bool }

func (s Settings) policies(scheme *runtime.Scheme) (map[schema.GroupVersionKind]policy, error) {
	out := map[schema.GroupVersionKind]policy{}
	for _, group := range []struct {
		kinds []client.Object
		set   func(*policy)
	}{
		{s.Hold, func(p *policy) { p.hold = true }},
		{s.StandIn, func(p *policy) { p.standIn = true }},
		{s.Reports, func(p *policy) { p.report = true }},
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

// resource is where objects of a kind are read.
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
