package lenient

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// arriving is a cache that takes up an object while it is read for the first time.
type arriving struct {
	cache.Cache
	arrive func()
	held   bool
}

func (a *arriving) arrives() (before bool) {
	before = a.held
	if !a.held {
		a.held = true
		a.arrive()
	}
	return before
}

func (a *arriving) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	if !a.arrives() {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "works"}, key.Name)
	}
	obj.SetName(key.Name)
	return nil
}

func (a *arriving) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if a.arrives() {
		list.(*v1beta1.WorkList).Items = []v1beta1.Work{{ObjectMeta: metav1.ObjectMeta{Name: "w"}}}
	}
	return nil
}

// An object that becomes readable while it is read is never taken for one that is not there.
func TestReadWhileItBecomesReadable(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := errors.Join(v1beta1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	gvk := v1beta1.GroupVersion.WithKind("Work")
	newReader := func() *reader {
		w := &metav1.ObjectMeta{Name: "w", ResourceVersion: "2"}
		l := (&Faults{}).ledger(gvk, func(Fault) {})
		l.bad(Fault{Kind: "Work", meta: metav1.ObjectMeta{Name: "w", ResourceVersion: "1"}})
		r := &reader{scheme: scheme, ledgers: map[schema.GroupVersionKind][]*ledger{}, policies: map[schema.GroupVersionKind]policy{gvk: {failList: true}}}
		r.add(gvk, l)
		r.Cache = &arriving{arrive: func() {
			work := &v1beta1.Work{ObjectMeta: *w}
			l.good(work)
			l.stored(work)
		}}
		return r
	}
	if err := newReader().Get(t.Context(), types.NamespacedName{Name: "w"}, &v1beta1.Work{}); err != nil {
		t.Errorf("get: %v", err)
	}
	var list v1beta1.WorkList
	if err := newReader().List(t.Context(), &list); err != nil || len(list.Items) != 1 {
		t.Errorf("list: %v, %v", list.Items, err)
	}
}
