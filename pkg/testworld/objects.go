package testworld

import (
	"context"
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Create creates an object. where is the cluster and, if it matters, the user, for messages. An API server that has
// just started, or serves new kinds, answers ServiceUnavailable for some seconds where a mutating policy applies.
func Create(t testing.TB, c client.Client, where string, obj client.Object) {
	t.Helper()
	Await(t, Soon, fmt.Sprintf("the creation of %T %s on %s", obj, obj.GetName(), where), func(ctx context.Context) error {
		err := c.Create(ctx, obj)
		if err != nil && !apierrors.IsServiceUnavailable(err) {
			t.Fatalf("create %T %s on %s: %v", obj, obj.GetName(), where, err)
		}
		return err
	})
}

// Update changes an object, again on every conflict.
func Update[O client.Object](t testing.TB, c client.Client, obj O, change func(O)) {
	t.Helper()
	Await(t, Soon, fmt.Sprintf("the update of %T %s", obj, obj.GetName()), func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		change(obj)
		return c.Update(ctx, obj)
	})
}

// AwaitPresent waits until obj exists on a cluster, and reads it. where is the cluster, for messages.
func AwaitPresent(t testing.TB, c client.Reader, where string, obj client.Object) {
	t.Helper()
	Await(t, Soon, fmt.Sprintf("%T %s on %s", obj, client.ObjectKeyFromObject(obj), where), func(ctx context.Context) error {
		return c.Get(ctx, client.ObjectKeyFromObject(obj), obj)
	})
}

// AwaitGone waits until obj does not exist. While it exists, nudge, unless nil, may remove the finalizers of the test
// itself. It does not end the test, so that clean-up functions can call it for several objects.
func AwaitGone(t testing.TB, c client.Client, obj client.Object, nudge func(client.Object) error) {
	t.Helper()
	ctx, cancel := untilDeadline(t)
	defer cancel()
	err := Until(ctx, Workload, fmt.Sprintf("%T %s to go", obj, obj.GetName()), func(ctx context.Context) error {
		err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil && nudge != nil {
			err = nudge(obj)
		}
		return errors.Join(fmt.Errorf("finalizers %v", obj.GetFinalizers()), err)
	})
	if err != nil {
		t.Error(err)
	}
}
