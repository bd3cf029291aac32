package applier

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// part makes a Work one of n of a revision.
func (w *world) part(strategy *v1beta1.ApplyStrategy, name, revision, n string, manifests ...string) {
	w.Helper()
	w.eventually("write work "+name, func() error {
		work := &v1beta1.Work{}
		err := w.hub.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, work)
		work.Labels = map[string]string{contract.LabelPlacement: "p", contract.LabelBinding: "b"}
		work.Annotations = map[string]string{contract.AnnotationWorkSnapshot: revision, contract.AnnotationWorks: n}
		work.Spec.ApplyStrategy = strategy
		work.Spec.Workload.Manifests = w.manifests(manifests)
		if err != nil {
			work.Namespace, work.Name, work.Finalizers = w.namespace, name, []string{contract.FinalizerWork}
			return w.hub.Create(w.Context(), work)
		}
		return w.hub.Update(w.Context(), work)
	})
}

// What moves from one Work to another, because a large selection is cut elsewhere or an envelope came or went, stays the same object.
func TestObjectsMoveBetweenWorks(t *testing.T) {
	w := newWorld(t)
	const ns = "moves"
	never := strategy(func(s *v1beta1.ApplyStrategy) { s.WhenToTakeOver = v1beta1.WhenToTakeOverNever })
	a, b := configMap(ns, "a", "x"), configMap(ns, "b", "x")
	w.part(never, "moves-0", "r0", "2", namespaceText(ns), a)
	w.part(never, "moves-1", "r0", "2", b)
	w.settled("moves-0", yes, yes)
	w.settled("moves-1", yes, yes)
	uids := [2]types.UID{w.mustObject("v1 ConfigMap moves/a").GetUID(), w.mustObject("v1 ConfigMap moves/b").GetUID()}
	same := func(what string) {
		t.Helper()
		if got := [2]types.UID{w.mustObject("v1 ConfigMap moves/a").GetUID(), w.mustObject("v1 ConfigMap moves/b").GetUID()}; got != uids {
			t.Fatalf("%s: objects were made anew: %v; were %v", what, got, uids)
		}
	}
	// The Work that loses it comes first.
	w.part(never, "moves-0", "r1", "2", namespaceText(ns))
	w.settled("moves-0", yes, yes)
	same("left one Work, not yet in the other")
	w.part(never, "moves-1", "r1", "2", a, b)
	w.settled("moves-1", yes, yes)
	same("moved, loser first")
	// The Work that gains it comes first, and both change places.
	w.part(never, "moves-0", "r2", "2", namespaceText(ns), a, b)
	w.settled("moves-0", no, "")
	w.part(never, "moves-1", "r2", "2")
	w.settled("moves-1", yes, yes)
	w.settled("moves-0", yes, yes)
	same("moved, gainer first")
	// Another Work, of whatever placement, wants it all when the first is deleted.
	w.work("moves-other", nil, namespaceText(ns), a, b)
	w.settled("moves-other", no, "")
	w.deleteWork("moves-0")
	w.workGone("moves-0")
	w.settled("moves-other", yes, yes)
	same("the Work that held them is deleted")
	w.deleteWork("moves-other")
	w.workGone("moves-other")
	w.gone("v1 ConfigMap moves/a")
}
