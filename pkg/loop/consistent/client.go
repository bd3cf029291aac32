// Package consistent makes clients that read from a cache and always see their own writes there.
package consistent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// NewClient makes a client that reads from the cache of options and sees its own writes there. It is a
// client.NewClientFunc.
//
// controller-runtime's client waits for an event that is not older than the write. There is no such event if, while
// the watch was interrupted, the object was written and then deleted by another client: the client then waits until
// another object of the kind changes, which may be never. So after some seconds, a read goes to the API server.
func NewClient(config *rest.Config, options client.Options) (client.Client, error) {
	yes := true
	settings := client.CacheOptions{}
	if options.Cache != nil {
		settings = *options.Cache
	}
	settings.EnableReadYourWritesConsistency = &yes
	options.Cache = &settings
	cached, err := client.New(config, options)
	if err != nil {
		return nil, err
	}
	options.Cache = nil
	direct, err := client.New(config, options)
	if err != nil {
		return nil, err
	}
	return &reader{Client: cached, direct: direct, patience: 3 * time.Second}, nil
}

type reader struct {
	client.Client
	direct client.Client
	// patience is how long a read waits for the cache.
	patience time.Duration
}

func (c *reader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	late, err := c.within(ctx, func(ctx context.Context) error { return c.Client.Get(ctx, key, obj, opts...) })
	if late {
		ctrl.LoggerFrom(ctx).Info("Read from the API server: the cache lacks an event of a write", "type", fmt.Sprintf("%T", obj), "object", key)
		return c.direct.Get(ctx, key, obj)
	}
	return err
}

func (c *reader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	late, err := c.within(ctx, func(ctx context.Context) error { return c.Client.List(ctx, list, opts...) })
	if !late {
		return err
	}
	// The API server does not have the indexes of the cache, so its objects only show whether the cache is up to date.
	if err := c.compare(ctx, list, opts); err != nil {
		return fmt.Errorf("wait until the cache has seen a write: %w", err)
	}
	return c.Client.List(ctx, list, append(opts, client.DisableReadYourWritesConsistency)...)
}

// within reads with a limited wait for the cache. late reports that the limit was reached.
func (c *reader) within(ctx context.Context, read func(context.Context) error) (late bool, err error) {
	limited, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	err = read(limited)
	switch {
	case err == nil || limited.Err() == nil || ctx.Err() != nil:
		return false, err
	case errors.Is(err, context.DeadlineExceeded):
		return true, err
	}
	return false, read(ctx) // the cache was not synced yet
}

// compare returns an error unless the cache has exactly the objects of the API server, in the namespace of opts.
func (c *reader) compare(ctx context.Context, list client.ObjectList, opts []client.ListOption) error {
	where := client.InNamespace((&client.ListOptions{}).ApplyOptions(opts).Namespace)
	gvk, err := apiutil.GVKForObject(list, c.Scheme())
	if err != nil {
		return err
	}
	live := &metav1.PartialObjectMetadataList{}
	live.SetGroupVersionKind(gvk)
	if err := c.direct.List(ctx, live, where); err != nil {
		return err
	}
	cached, ok := list.DeepCopyObject().(client.ObjectList)
	if !ok {
		return fmt.Errorf("copy %T: the copy is not a list", list)
	}
	if err := c.Client.List(ctx, cached, where, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return err
	}
	versions := map[types.UID]string{}
	for i := range live.Items {
		versions[live.Items[i].UID] = live.Items[i].ResourceVersion
	}
	if err := meta.EachListItem(cached, func(item runtime.Object) error {
		o, err := meta.Accessor(item)
		if err == nil && versions[o.GetUID()] != o.GetResourceVersion() {
			err = fmt.Errorf("the cache has %s at resource version %s; the API server at %q", o.GetName(), o.GetResourceVersion(), versions[o.GetUID()])
		}
		return err
	}); err != nil {
		return err
	}
	if n := meta.LenList(cached); n != len(versions) {
		return fmt.Errorf("the cache has %d objects; the API server %d", n, len(versions))
	}
	return nil
}
