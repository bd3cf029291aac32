package applier

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// inside determines what would be deleted with a namespace, or with the definition of a kind. A kind that the agent
// may not list counts among the strangers, as such objects may exist.
func (a *Applier) inside(ctx context.Context, live *unstructured.Unstructured) (*apply.Inside, error) {
	if live.GroupVersionKind().GroupKind() == apply.NamespaceKind {
		return a.inNamespace(ctx, live.GetName())
	}
	return a.ofKind(ctx, live)
}

// ofKind determines which objects of a kind must not be deleted with its definition. Objects that the fleet did not
// place are deleted with it.
func (a *Applier) ofKind(ctx context.Context, live *unstructured.Unstructured) (*apply.Inside, error) {
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, definition); err != nil {
		return nil, fmt.Errorf("read CustomResourceDefinition %s: %w", live.GetName(), err)
	}
	at := slices.IndexFunc(definition.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Served })
	if at < 0 {
		return &apply.Inside{}, nil
	}
	gvr := schema.GroupVersionResource{Group: definition.Spec.Group, Version: definition.Spec.Versions[at].Name, Resource: definition.Spec.Names.Plural}
	kind := schema.GroupKind{Group: gvr.Group, Kind: definition.Spec.Names.Kind}
	placed, err := a.placedHere(ctx)
	if err != nil {
		return nil, err
	}
	var contents []apply.Content
	err = a.list(ctx, gvr, kind, "", func(c apply.Content) { contents = append(contents, c) })
	switch {
	case apierrors.IsForbidden(err):
		return &apply.Inside{Strangers: []string{unseen(gvr)}}, nil
	case err != nil && !apierrors.IsNotFound(err): // not served (yet or any more): then there are none
		return nil, fmt.Errorf("list %s: %w", gvr.GroupResource(), err)
	}
	return apply.InsideOfKind(contents, placed), nil
}

func unseen(gvr schema.GroupVersionResource) string {
	return fmt.Sprintf("%s (the agent may not list them)", gvr.GroupResource())
}

// inNamespace determines the contents of a namespace.
func (a *Applier) inNamespace(ctx context.Context, namespace string) (*apply.Inside, error) {
	placed, err := a.placedHere(ctx)
	if err != nil {
		return nil, err
	}
	lists, err := a.Discovery.ServerPreferredNamespacedResources()
	if err != nil {
		return nil, fmt.Errorf("discover the kinds that namespace %s may contain: %w", namespace, err)
	}
	var kinds []schema.GroupVersionResource
	names := map[schema.GroupVersionResource]schema.GroupKind{}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "delete") || r.Kind == "Event" || strings.Contains(r.Name, "/") {
				continue // objects of a kind without delete are not stored
			}
			gvr := gv.WithResource(r.Name)
			kinds, names[gvr] = append(kinds, gvr), schema.GroupKind{Group: gv.Group, Kind: r.Kind}
		}
	}
	var mu sync.Mutex
	var contents []apply.Content
	var hidden []string
	err = loop.Each(ctx, a.Parallel, kinds, func(ctx context.Context, gvr schema.GroupVersionResource) error {
		var found []apply.Content
		err := a.list(ctx, gvr, names[gvr], namespace, func(c apply.Content) {
			c.Namespace = ""
			found = append(found, c)
		})
		mu.Lock()
		defer mu.Unlock()
		switch {
		case apierrors.IsForbidden(err):
			hidden = append(hidden, unseen(gvr))
		case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err):
		case err != nil:
			return fmt.Errorf("list %s in namespace %s: %w", gvr.GroupResource(), namespace, err)
		}
		contents = append(contents, found...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(hidden)
	out := apply.InsideOf(contents, placed)
	out.Strangers = append(out.Strangers, hidden...)
	return out, nil
}

// list calls do for the objects of a kind in a namespace, or in all if that is empty.
func (a *Applier) list(
	ctx context.Context, gvr schema.GroupVersionResource, kind schema.GroupKind, namespace string, do func(apply.Content),
) error {
	const page = 500
	options := metav1.ListOptions{Limit: page}
	for {
		list, err := a.Metadata.Resource(gvr).Namespace(namespace).List(ctx, options)
		if err != nil {
			return err
		}
		for i := range list.Items {
			o := &list.Items[i]
			do(apply.Content{Kind: kind, Namespace: o.Namespace, Name: o.Name, UID: o.UID, Owners: o.OwnerReferences, Annotations: o.Annotations,
				Deleting: o.DeletionTimestamp != nil})
		}
		if list.Continue == "" {
			return nil
		}
		options.Continue = list.Continue
	}
}

// placedHere are the objects in this member's AppliedWorks. Objects of an AppliedWork that is held as a whole do not
// count as placed: they stay.
func (a *Applier) placedHere(ctx context.Context) (apply.Placed, error) {
	placed := apply.Placed{All: sets.New[types.UID](), Held: sets.New[types.UID]()}
	var all v1beta1.AppliedWorkList
	if err := a.MemberClient.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return placed, fmt.Errorf("list AppliedWorks: %w", err)
	}
	who := a.identity("")
	for i := range all.Items {
		w := &all.Items[i]
		if !who.SameMember(w) {
			continue
		}
		held := meta.IsStatusConditionTrue(w.Status.Conditions, report.ConditionHeld)
		if !held {
			placed.All.Insert(w.UID)
		}
		for _, e := range w.Status.AppliedResources {
			switch {
			case e.UID == "":
			case held || e.Held:
				placed.Held.Insert(e.UID)
			default:
				placed.All.Insert(e.UID)
			}
		}
	}
	return placed, nil
}
