package objects

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

const (
	// readers is how many objects of one placement are read concurrently.
	readers = 16
	// A list replaces single reads of objects of one kind and namespace if they are more than listFrom, and at least
	// one of listShare objects there: a list returns the others too.
	listFrom  = 10
	listShare = 4
	// page is the most objects in one response to a list.
	page = 200
)

// Read reads the contents of refs from the hub, in their order. It fails if any of them cannot be read.
func (w *Source) Read(ctx context.Context, refs []selection.Ref) ([]selection.Content, error) {
	type place struct {
		resource  schema.GroupVersionResource
		namespace string
	}
	places := map[place][]int{}
	for i, ref := range refs {
		at := place{ref.Kind.GVR(), ref.Namespace}
		places[at] = append(places[at], i)
	}
	out := make([]selection.Content, len(refs))
	var jobs []func(context.Context) error
	for at, indices := range places {
		kind := refs[indices[0]].Kind
		s, err := w.store(kind)
		if err != nil {
			return nil, err
		}
		resource := w.dynamic.Resource(at.resource).Namespace(at.namespace)
		if n := len(indices); n > listFrom && n*listShare >= s.count(at.namespace) {
			jobs = append(jobs, func(ctx context.Context) error { return s.readList(ctx, resource, refs, indices, out) })
			continue
		}
		for _, i := range indices {
			jobs = append(jobs, func(ctx context.Context) error { return s.readOne(ctx, resource, refs[i], &out[i]) })
		}
	}
	err := loop.All(ctx, readers, jobs...)
	return out, err
}

func (s *store) readOne(ctx context.Context, resource dynamic.ResourceInterface, ref selection.Ref, out *selection.Content) error {
	content, err := resource.Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && !unserved(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s %s/%s: %w", ref.Kind.Kind, ref.Namespace, ref.Name, err)
	}
	return s.digest(content, out)
}

// readList reads the objects that indices point to with one list. Objects that are not in the list no longer exist.
func (s *store) readList(ctx context.Context, resource dynamic.ResourceInterface, refs []selection.Ref, indices []int, out []selection.Content) error {
	wanted := make(map[string]int, len(indices))
	for _, i := range indices {
		wanted[refs[i].Name] = i
	}
	options := metav1.ListOptions{Limit: page}
	for {
		list, err := resource.List(ctx, options)
		if apierrors.IsResourceExpired(err) && options.Continue != "" {
			options = metav1.ListOptions{} // the pages have expired: list all in one response
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s in namespace %q: %w", s.kind.Kind, refs[indices[0]].Namespace, err)
		}
		for i := range list.Items {
			if at, ok := wanted[list.Items[i].GetName()]; ok {
				if err := s.digest(&list.Items[i], &out[at]); err != nil {
					return err
				}
			}
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// digest extracts from an object what a selection needs.
func (s *store) digest(content *unstructured.Unstructured, out *selection.Content) error {
	out.UID = content.GetUID()
	out.Version = s.version(&metav1.ObjectMeta{
		ResourceVersion: content.GetResourceVersion(), Generation: content.GetGeneration(), Labels: content.GetLabels(),
		Annotations: content.GetAnnotations(), Finalizers: content.GetFinalizers(), OwnerReferences: content.GetOwnerReferences(),
	})
	if content.GetDeletionTimestamp() != nil {
		return nil
	}
	if out.LeftOut, out.Listed = selection.WhyLeftOut(content); out.LeftOut != "" {
		return nil
	}
	raw, err := selection.Manifest(content)
	out.Raw = raw
	return err
}
