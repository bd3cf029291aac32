// Package consistent makes the clients of agents, which read from a cache and see their own writes there.
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
// controller-runtime's client waits for an event that is not older than the write. There is none if the object was
// written, and deleted by another client, while the watch was interrupted: then it waits until another object of the
// kind changes, which may be never. So a read that has waited for some seconds is answered by the API server.
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
		ctrl.LoggerFrom(ctx).Info("Reading from the API server: the cache lacks an event of a write", "type", fmt.Sprintf("%T", obj), "object", key)
		return c.direct.Get(ctx, key, obj)
	}
	return err
}

func (c *reader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	late, err := c.within(ctx, func(ctx context.Context) error { return c.Client.List(ctx, list, opts...) })
	if !late {
		return err
	}
	// The API server does not know the indexes of the cache, so what it holds only shows whether the cache can be
	// believed.
	if err := c.compare(ctx, list, opts); err != nil {
		return fmt.Errorf("wait until the cache has seen a write: %w", err)
	}
	return c.Client.List(ctx, list, append(opts, client.DisableReadYourWritesConsistency)...)
}

// within reads with a limited wait for the cache. late says that it was reached.
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
	return false, read(ctx) // the cache was not there yet
}

// compare returns an error unless the cache has exactly the objects that the API server has, where opts look for them.
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
		return fmt.Errorf("copy %T: it is no list any more", list)
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
			err = fmt.Errorf("it has %s at resource version %s; the API server at %q", o.GetName(), o.GetResourceVersion(), versions[o.GetUID()])
		}
		return err
	}); err != nil {
		return err
	}
	if n := meta.LenList(cached); n != len(versions) {
		return fmt.Errorf("it has %d objects; the API server %d", n, len(versions))
	}
	return nil
}
