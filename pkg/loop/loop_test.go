package loop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestSettle(t *testing.T) {
	work := schema.GroupResource{Resource: "works"}
	conflict := fmt.Errorf("bind: %w", apierrors.NewConflict(work, "w", errors.New("changed")))
	exists := apierrors.NewAlreadyExists(work, "w")
	other := errors.New("no route to host")

	for name, tc := range map[string]struct {
		err     error
		settled bool
	}{
		"no error passes through":               {err: nil},
		"a wrapped conflict is looked at again": {err: conflict, settled: true},
		"an existing object likewise":           {err: exists, settled: true},
		"several lost races are still a race":   {err: errors.Join(conflict, exists), settled: true},
		"another error among races is reported": {err: errors.Join(conflict, other)},
		"another error is reported":             {err: fmt.Errorf("list: %w", other)},
	} {
		t.Run(name, func(t *testing.T) {
			r := Settle(reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
				return reconcile.Result{}, tc.err
			}))
			result, err := r.Reconcile(t.Context(), reconcile.Request{})
			if settled := err == nil && result.RequeueAfter > 0; settled != tc.settled {
				t.Fatalf("result %+v, error %v; want settled %v", result, err, tc.settled)
			}
			if !tc.settled && !errors.Is(err, tc.err) {
				t.Fatalf("error %v; want %v", err, tc.err)
			}
		})
	}
}

func TestEachGoesOnAfterAFailure(t *testing.T) {
	bad := errors.New("bad")
	seen := make([]bool, 10)
	items := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	err := Each(t.Context(), 3, items, func(_ context.Context, i int) error {
		seen[i] = true
		switch i {
		case 0:
			return bad
		case 1:
			_ = seen[len(items)]
		case 2:
			panic("a value that must not be shown")
		}
		return nil
	})
	if !errors.Is(err, bad) || strings.Count(err.Error(), "panic") != 2 || strings.Contains(err.Error(), "value") {
		t.Errorf("error %v; want %v, and two panics", err, bad)
	}
	for i, ok := range seen {
		if !ok {
			t.Errorf("item %d was skipped", i)
		}
	}
}

func TestRefused(t *testing.T) {
	works := schema.GroupResource{Resource: "works"}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"forbidden":         {apierrors.NewForbidden(works, "w", errors.New("no")), true},
		"invalid, wrapped":  {fmt.Errorf("write: %w", apierrors.NewInvalid(schema.GroupKind{Kind: "Work"}, "w", nil)), true},
		"a bad request":     {apierrors.NewBadRequest("no"), true},
		"too large":         {apierrors.NewRequestEntityTooLargeError("no"), true},
		"a conflict":        {apierrors.NewConflict(works, "w", errors.New("changed")), false},
		"a busy API server": {apierrors.NewTooManyRequests("later", 1), false},
		"no API server":     {errors.New("no route to host"), false},
		"no error":          {nil, false},
	} {
		if got := Refused(tc.err); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
