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
	w.partOf(strategy, name, revision, n, nil, manifests...)
}

// partOf is part with the UIDs of the hub's objects.
func (w *world) partOf(strategy *v1beta1.ApplyStrategy, name, revision, n string, uids []string, manifests ...string) {
	w.Helper()
	w.eventually("write work "+name, func() error {
		work := &v1beta1.Work{}
		err := w.hub.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, work)
		work.Labels = map[string]string{contract.LabelPlacement: "p", contract.LabelBinding: "b"}
		work.Annotations = map[string]string{contract.AnnotationWorkSnapshot: revision, contract.AnnotationWorks: n}
		if uids != nil {
			work.Annotations[contract.AnnotationOrigins] = origins(uids)
		}
		work.Spec.ApplyStrategy = strategy.DeepCopy()
		work.Spec.Workload.Manifests = w.manifests(manifests)
		if err != nil {
			work.Namespace, work.Name, work.Finalizers = w.namespace, name, []string{contract.FinalizerWork}
			return w.hub.Create(w.Context(), work)
		}
		return w.hub.Update(w.Context(), work)
	})
}

// What moves from one Work to another, because a large selection is cut elsewhere or an envelope came or went, stays
// the same object.
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

// An object that moves between Works and cannot be changed to the hub's object is replaced if the hub's object was
// recreated. If it was not, the object stays, but the Work that has it now removes it when it is deleted.
func TestMovedObjectThatCannotBeChanged(t *testing.T) {
	for name, s := range map[string]*v1beta1.ApplyStrategy{
		"client": strategy(), "server": strategy(serverSide), "careful": strategy(ifNotDrifted),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ns := "moves-" + name
			from, to, job := ns+"-0", ns+"-1", "batch/v1 Job "+ns+"/migrate"
			w.onMember(namespaceText(ns))
			w.partOf(s, from, "r0", "2", []string{"a"}, fixedJob(ns, "m:1"))
			w.part(s, to, "r0", "2")
			w.applied(from)
			first := w.mustObject(job).GetUID()
			w.part(s, from, "r1", "2")
			w.partOf(s, to, "r1", "2", []string{"b"}, fixedJob(ns, "m:2"))
			w.applied(to)
			now := w.mustObject(job)
			if now.GetUID() == first || w.readImage(now) != "example.invalid/m:2" {
				t.Errorf("the Job is %s, with %s; it was %s", now.GetUID(), w.readImage(now), first)
			}
			w.part(s, to, "r2", "2")
			w.partOf(s, from, "r2", "2", []string{"b"}, fixedJob(ns, "m:3"))
			w.message(from, "migrate", v1beta1.ConditionApplied, "field is immutable")
			if again := w.mustObject(job); again.GetUID() != now.GetUID() {
				t.Error("the Job of the same object of the hub was replaced")
			}
			w.deleteWork(from)
			w.workGone(from)
			w.gone(job)
		})
	}
}
