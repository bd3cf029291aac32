// Package follow waits until one object on the hub reaches a state.
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

// Object calls changed with an object as it is, and again after every change, until changed returns true or an error.
// It survives interrupted watches, an unreachable hub and expired resource versions. It calls requested with the
// outcome of each request to the hub. It returns an error if retrying cannot help: the object is deleted, or the user
// must not read it.
func Object[O client.Object](
	ctx context.Context, c client.WithWatch, obj O, requested func(error), changed func(O) (enough bool, err error),
) error {
	list, err := listFor(c, obj)
	if err != nil {
		return err
	}
	// The library would log each failure; here the caller shows it to the user.
	ctx, end := context.WithCancelCause(klog.NewContext(ctx, logr.Discard()))
	defer end(nil)
	deleted := fmt.Errorf("%s was deleted", obj.GetName())
	check := func(ctx context.Context, err error) error {
		if final(err) {
			end(err)
		}
		if ctx.Err() == nil { // else this side ended the request
			requested(err)
		}
		return err
	}
	source := listThenWatch{&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			// The latest state: the hub's watch cache may be older than the object.
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
		return changed(now)
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// listFor returns an empty list of an object's kind.
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

// final reports whether a failed request will fail again.
func final(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) ||
		meta.IsNoMatchError(err)
}

// listThenWatch is read by a list and a watch that starts there: for one object a watch that streams the initial list
// saves nothing.
type listThenWatch struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported makes client-go list before it watches.
func (listThenWatch) IsWatchListSemanticsUnSupported() bool { return true }
