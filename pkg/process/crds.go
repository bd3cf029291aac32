package process

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
)

// CRDs is the resource of CustomResourceDefinitions.
var CRDs = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// AwaitCRDs returns when every named CustomResourceDefinition ("works.placement.kubernetes-fleet.io") is established
// on the cluster of cfg, and discovery has it. It watches CRDs, so that it returns as soon as the last one is
// established, and keeps the gate "crds" closed with the names of the missing ones. If the cluster cannot be reached,
// it retries. It fails only when ctx ends.
func AwaitCRDs(ctx context.Context, cfg *rest.Config, gates *Gates, names ...string) error {
	missing := sets.New(names...)
	const gate = "crds"
	waiting := func() {
		gates.Close(gate, "not established on "+cfg.Host+": "+strings.Join(sets.List(missing), ", "))
	}
	waiting()
	defer gates.Open(gate)

	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("make a client for CRDs: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan watch.Event)
	informer := dynamicinformer.NewFilteredDynamicInformer(client, CRDs, "", 0, cache.Indexers{}, nil).Informer()
	if err := informer.SetTransform(onlyEstablished); err != nil {
		return fmt.Errorf("watch CRDs: %w", err)
	}
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		if ctx.Err() == nil {
			gates.Close(gate, "cannot be read on "+cfg.Host+": "+err.Error())
		}
		cache.DefaultWatchErrorHandler(ctx, r, err)
	}); err != nil {
		return fmt.Errorf("watch CRDs: %w", err)
	}
	send := func(kind watch.EventType) func(any) {
		return func(obj any) {
			if u, ok := obj.(*unstructured.Unstructured); ok {
				select {
				case events <- watch.Event{Type: kind, Object: u}:
				case <-ctx.Done():
				}
			}
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    send(watch.Added),
		UpdateFunc: func(_, obj any) { send(watch.Modified)(obj) },
	}); err != nil {
		return fmt.Errorf("watch CRDs: %w", err)
	}
	go informer.RunWithContext(ctx)

	log := ctrl.LoggerFrom(ctx)
	var served []schema.GroupVersionResource
	for missing.Len() > 0 {
		select {
		case event := <-events:
			crd := event.Object.(*unstructured.Unstructured)
			if established, _, _ := unstructured.NestedBool(crd.Object, "established"); established && missing.Has(crd.GetName()) {
				missing.Delete(crd.GetName())
				served = append(served, servedBy(crd)...)
				log.V(1).Info("Found established CRD", "object", crd.GetName(), "missing", missing.Len())
			}
			waiting()
		case <-ctx.Done():
			return fmt.Errorf("wait for CRDs %s: %w", strings.Join(slices.Sorted(maps.Keys(missing)), ", "), ctx.Err())
		}
	}
	return awaitDiscovery(ctx, cfg, served)
}

// awaitDiscovery returns when discovery has the resources. That is a moment after their CRDs are established, and
// there is no event for it.
func awaitDiscovery(ctx context.Context, cfg *rest.Config, resources []schema.GroupVersionResource) error {
	client, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return fmt.Errorf("make a discovery client: %w", err)
	}
	again := wait.Backoff{Duration: 10 * time.Millisecond, Factor: 2, Steps: 10, Cap: time.Second}
	return again.DelayFunc().Until(ctx, true, true, func(context.Context) (bool, error) {
		known := map[schema.GroupVersion]sets.Set[string]{}
		for _, r := range resources {
			gv := r.GroupVersion()
			if known[gv] == nil {
				list, err := client.ServerResourcesForGroupVersion(gv.String())
				if err != nil {
					return false, nil //nolint:nilerr // the group is not served yet
				}
				known[gv] = sets.New[string]()
				for _, served := range list.APIResources {
					known[gv].Insert(served.Name)
				}
			}
			if !known[gv].Has(r.Resource) {
				return false, nil
			}
		}
		return true, nil
	})
}

// servedBy returns the resources that an established CRD defines. crd is a result of onlyEstablished.
func servedBy(crd *unstructured.Unstructured) []schema.GroupVersionResource {
	resource, group, _ := strings.Cut(crd.GetName(), ".")
	versions, _, _ := unstructured.NestedStringSlice(crd.Object, "versions")
	out := make([]schema.GroupVersionResource, len(versions))
	for i, version := range versions {
		out[i] = schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
	}
	return out
}

// onlyEstablished shrinks a CRD to its name, whether it is established, and its served versions: schemas are large and
// not needed.
func onlyEstablished(obj any) (any, error) {
	crd, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	if _, done := crd.Object["established"]; done {
		return obj, nil // informers may transform the same object twice
	}
	established := false
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		if condition, ok := c.(map[string]any); ok && condition["type"] == "Established" {
			established = condition["status"] == "True"
		}
	}
	versions := []any{}
	all, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range all {
		if version, ok := v.(map[string]any); ok && version["served"] == true {
			versions = append(versions, version["name"])
		}
	}
	small := &unstructured.Unstructured{Object: map[string]any{"established": established, "versions": versions}}
	small.SetGroupVersionKind(crd.GroupVersionKind())
	small.SetName(crd.GetName())
	small.SetUID(crd.GetUID())
	small.SetResourceVersion(crd.GetResourceVersion())
	return small, nil
}
