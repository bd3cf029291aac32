package follow

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func newRun() *v1beta1.ClusterStagedUpdateRun {
	return &v1beta1.ClusterStagedUpdateRun{ObjectMeta: metav1.ObjectMeta{Name: "web-1"}}
}

// faulty is a hub whose lists and watches go wrong as a test says; n counts them from 1. A watch after a list tells
// what changed since the list, as an API server's does: the fake alone would tell what changes after the watch has
// begun.
type faulty struct {
	list  func(n int32) error
	watch func(n int32, w watch.Interface) (watch.Interface, error)
}

func (f faulty) hub(objects ...client.Object) client.WithWatch {
	var lists, watches atomic.Int32
	var since atomic.Pointer[watch.Interface] // begun just before the last list
	named := func(o client.Object) []string { return []string{o.GetName()} }
	return fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(objects...).
		WithIndex(&v1beta1.ClusterStagedUpdateRun{}, metav1.ObjectNameField, named).
		WithInterceptorFuncs(interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if n := lists.Add(1); f.list != nil {
					if err := f.list(n); err != nil {
						return err
					}
				}
				w, err := c.Watch(ctx, list.DeepCopyObject().(client.ObjectList), opts...)
				if err != nil {
					return err
				}
				if before := since.Swap(&w); before != nil {
					(*before).Stop()
				}
				return c.List(ctx, list, opts...)
			},
			Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
				var w watch.Interface
				if begun := since.Swap(nil); begun != nil {
					w = *begun
				} else {
					var err error
					if w, err = c.Watch(ctx, list, opts...); err != nil {
						return nil, err
					}
				}
				if n := watches.Add(1); f.watch != nil {
					return f.watch(n, w)
				}
				return w, nil
			},
		}).Build()
}

// renew writes a run's status with another message each time, until the context ends: whatever watch there is has
// something to tell.
func renew(ctx context.Context, c client.Client, run *v1beta1.ClusterStagedUpdateRun) error {
	run = run.DeepCopy()
	for n := 0; ctx.Err() == nil; n++ {
		run.Labels = map[string]string{"n": strings.Repeat("x", n%50)}
		if err := c.Update(ctx, run); err != nil && ctx.Err() == nil {
			return err
		}
		testworld.Pause()
	}
	return nil
}

func TestFollowGoesOn(t *testing.T) {
	away := apierrors.NewServiceUnavailable("away")
	expired := &metav1.Status{Status: metav1.StatusFailure, Code: 410, Reason: metav1.StatusReasonExpired, Message: "too old resource version"}
	for name, c := range map[string]struct {
		faulty
		// tells is whether the user has to hear of it.
		tells bool
	}{
		"when nothing is wrong": {},
		"when a watch breaks off": {faulty: faulty{watch: func(n int32, w watch.Interface) (watch.Interface, error) {
			if n == 1 {
				w.Stop()
			}
			return w, nil
		}}},
		"when its version is too old": {faulty: faulty{watch: func(n int32, w watch.Interface) (watch.Interface, error) {
			if n > 1 {
				return w, nil
			}
			w.Stop()
			broken := watch.NewFakeWithChanSize(1, false)
			broken.Error(expired)
			return broken, nil
		}}},
		"when the hub is away": {faulty{list: func(n int32) error {
			if n == 1 {
				return away
			}
			return nil
		}}, true},
		"when the hub is away for a watch": {faulty{watch: func(n int32, w watch.Interface) (watch.Interface, error) {
			if n == 1 {
				w.Stop()
				return nil, away
			}
			return w, nil
		}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := newRun()
			hub := c.hub(run)
			ctx := testworld.Context(t)
			told, seen := atomic.Bool{}, 0
			err := Object(ctx, hub, run, func(err error) {
				if err != nil {
					told.Store(true)
				}
			}, func(*v1beta1.ClusterStagedUpdateRun) (bool, error) {
				if seen++; seen == 1 {
					testworld.Go(t, "the writer", func(ctx context.Context) error { return renew(ctx, hub, run) })
				}
				return seen == 3, nil
			})
			if err != nil || told.Load() != c.tells {
				t.Errorf("error %v; the user was told %t, want %t", err, told.Load(), c.tells)
			}
		})
	}
}

func TestFollowEnds(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "clusterstagedupdateruns"}, "", errors.New("no"))
	for want, c := range map[string]struct {
		faulty
		objects []client.Object
		seen    func(context.Context, client.Client) error
	}{
		"web-1 was deleted":  {objects: []client.Object{newRun()}, seen: func(ctx context.Context, c client.Client) error { return c.Delete(ctx, newRun()) }},
		"is forbidden":       {faulty: faulty{list: func(int32) error { return forbidden }}, objects: []client.Object{newRun()}},
		"web-1 was deleted ": {},
		"seen enough":        {objects: []client.Object{newRun()}, seen: func(context.Context, client.Client) error { return errors.New("seen enough") }},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			hub := c.hub(c.objects...)
			ctx := testworld.Context(t)
			err := Object(ctx, hub, newRun(), func(error) {}, func(*v1beta1.ClusterStagedUpdateRun) (bool, error) {
				if c.seen == nil {
					return false, nil
				}
				return false, c.seen(ctx, hub)
			})
			if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
				t.Errorf("error %v", err)
			}
		})
	}
}
