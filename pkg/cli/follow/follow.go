// Package follow waits for what comes of one object on the hub.
package follow

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Object calls seen with an object as it is, and again whenever it has changed, until seen says that this is enough.
// It outlives watches that break off, a hub that is away for a while, and versions that are too old to go on from.
// heard is told how each request to the hub went. What waiting does not mend ends it: the object is deleted, or the
// user may not read it.
func Object[O client.Object](ctx context.Context, c client.WithWatch, obj O, heard func(error), seen func(O) (enough bool, err error)) error {
	list, err := listFor(c, obj)
	if err != nil {
		return err
	}
	// The library would log each failure; here the user is told by who hears of it.
	ctx, end := context.WithCancelCause(klog.NewContext(ctx, logr.Discard()))
	defer end(nil)
	deleted := fmt.Errorf("%s was deleted", obj.GetName())
	check := func(ctx context.Context, err error) error {
		if final(err) {
			end(err)
		}
		if ctx.Err() == nil { // else it is this end that went
			heard(err)
		}
		return err
	}
	source := listThenWatch{&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			// As it is now: what a cache of the hub has may be from before the object was created.
			options.ResourceVersion, options.ResourceVersionMatch = "", ""
			found := list.DeepCopyObject().(client.ObjectList)
			if err := check(ctx, c.List(ctx, found, only(obj, options))); err != nil {
				return nil, err
			}
			if meta.LenList(found) == 0 {
				end(deleted)
			}
			return found, nil
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			w, err := c.Watch(ctx, list.DeepCopyObject().(client.ObjectList), only(obj, options))
			return w, check(ctx, err)
		},
	}}
	_, err = watchtools.UntilWithSync(ctx, source, obj, nil, func(e watch.Event) (bool, error) {
		now, ok := e.Object.(O)
		if !ok || e.Type == watch.Deleted {
			return false, deleted
		}
		return seen(now)
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// listFor is an empty list of an object's kind.
func listFor(c client.Client, obj client.Object) (client.ObjectList, error) {
	kind, err := apiutil.GVKForObject(obj, c.Scheme())
	if err != nil {
		return nil, err
	}
	kind.Kind += "List"
	list, err := c.Scheme().New(kind)
	if err != nil {
		return nil, err
	}
	return list.(client.ObjectList), nil
}

// only selects one object.
func only(obj client.Object, options metav1.ListOptions) *client.ListOptions {
	return &client.ListOptions{
		Namespace: obj.GetNamespace(), FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, obj.GetName()), Raw: &options,
	}
}

// final says whether a failed request will fail again.
func final(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) ||
		meta.IsNoMatchError(err)
}

// listThenWatch is read by a list and a watch from there on: for one object a stream that begins with a list saves
// nothing.
type listThenWatch struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is what the library asks.
func (listThenWatch) IsWatchListSemanticsUnSupported() bool { return true }
