package applier

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// After a restart all Works come at once: those without a report, and those to be removed, go first.
func TestWorksAreRanked(t *testing.T) {
	q := priorityqueue.New[reconcile.Request]("ranked")
	defer q.ShutDown()
	reported := []metav1.Condition{{Type: v1beta1.ConditionApplied, Status: metav1.ConditionTrue, ObservedGeneration: 2}}
	now := metav1.Now()
	for name, change := range map[string]func(*v1beta1.Work){
		"a-reported": func(w *v1beta1.Work) { w.Status.Conditions = reported },
		"b-compared": func(w *v1beta1.Work) {
			w.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionDiffReported, Status: metav1.ConditionTrue, ObservedGeneration: 2}}
		},
		"c-new":     func(*v1beta1.Work) {},
		"d-changed": func(w *v1beta1.Work) { w.Status.Conditions, w.Generation = reported, 3 },
		"e-deleted": func(w *v1beta1.Work) { w.Status.Conditions, w.DeletionTimestamp = reported, &now },
	} {
		work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, Generation: 2}}
		change(work)
		workEvents{}.Create(t.Context(), event.CreateEvent{Object: work, IsInInitialList: true}, q)
	}
	var first, last []string
	for range 5 {
		item, priority, _ := q.GetWithPriority()
		if priority == priorityIntent {
			first = append(first, item.Name)
		} else {
			last = append(last, item.Name)
		}
		q.Done(item)
		if len(last) > 0 && priority == priorityIntent {
			t.Errorf("%s comes after %v", item.Name, last)
		}
	}
	slices.Sort(first)
	slices.Sort(last)
	if !slices.Equal(first, []string{"c-new", "d-changed", "e-deleted"}) || !slices.Equal(last, []string{"a-reported", "b-compared"}) {
		t.Errorf("first %v, then %v", first, last)
	}
}

// Other content queues a Work whatever its generation, and so does another Work of the same name, or the first divided
// workload; a status does not.
func TestReplacedWorksAreQueued(t *testing.T) {
	before := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "w", UID: "1", Generation: 2, Annotations: map[string]string{}}}
	for name, tc := range map[string]struct {
		change func(*v1beta1.Work)
		news   int
	}{
		"a status":           {func(w *v1beta1.Work) { w.Status.Conditions = []metav1.Condition{{Type: "T"}} }, 0},
		"another generation": {func(w *v1beta1.Work) { w.Generation = 1 }, 1},
		"divided workloads":  {func(w *v1beta1.Work) { w.Annotations[contract.AnnotationShares] = "a" }, 1},
		"another annotation": {func(w *v1beta1.Work) { w.Annotations["example.com/a"] = "a" }, 0},
		"another Work":       {func(w *v1beta1.Work) { w.UID = "2" }, 1},
		"other content": {func(w *v1beta1.Work) {
			w.Spec.Workload.Manifests = []v1beta1.Manifest{{RawExtension: runtime.RawExtension{Raw: []byte("{}")}}}
		}, 1},
	} {
		q := priorityqueue.New[reconcile.Request]("news")
		after := before.DeepCopy()
		tc.change(after)
		workEvents{}.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
		if got := q.Len(); got != tc.news {
			t.Errorf("%s: %d Works queued; want %d", name, got, tc.news)
		}
		q.ShutDown()
	}
}
