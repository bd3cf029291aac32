package applier

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// deleteStrategy sets what happens to the objects of a Work when it is deleted.
func (w *world) deleteStrategy(name string, s v1beta1.DeleteStrategy) {
	w.Helper()
	w.eventually("set the delete strategy of "+name, func() error {
		work := w.readWork(name)
		work.Spec.DeleteStrategy = &s
		return w.hub.Update(w.Context(), work)
	})
}

// unowned checks that an object is there, by itself.
func (w *world) unowned(ref string) {
	w.Helper()
	obj := w.mustObject(ref)
	if obj.GetDeletionTimestamp() != nil || len(obj.GetOwnerReferences()) > 0 {
		w.Errorf("%s: %v", ref, obj.Object["metadata"])
	}
	for _, key := range []string{contract.AnnotationPlacedWork, contract.AnnotationSpecHash, contract.AnnotationLastApplied, contract.AnnotationTakenOver} {
		if _, there := obj.GetAnnotations()[key]; there {
			w.Errorf("%s still has the annotation %s", ref, key)
		}
	}
}

// Case abandon-deletes, on the member.
func TestAbandonDeletesNothing(t *testing.T) {
	w := newWorld(t)
	const ns = "abandon"
	w.work("abandon", nil, namespaceText(ns), configMap(ns, "cm", "a"), configMap(ns, "left", "a"))
	w.settled("abandon", yes, yes)
	w.deleteStrategy("abandon", v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon})
	w.edit("abandon", namespaceText(ns), configMap(ns, "cm", "a"))
	w.gone("v1 ConfigMap abandon/left") // what leaves a Work that stays is removed
	w.eventually("the Work to be held", func() error {
		work := w.readWork("abandon")
		work.Finalizers = append(work.Finalizers, "example.test/watched")
		return w.hub.Update(w.Context(), work)
	})
	w.deleteWork("abandon")
	w.eventually("the agent to release the Work, and to report what stays", func() error {
		work := w.readWork("abandon")
		if slices.Contains(work.Finalizers, contract.FinalizerWork) || !meta.IsStatusConditionTrue(work.Status.Conditions, report.ConditionAbandoned) {
			return fmt.Errorf("finalizers %v, conditions %+v", work.Finalizers, work.Status.Conditions)
		}
		work.Finalizers = nil
		return w.hub.Update(w.Context(), work)
	})
	w.workGone("abandon")
	w.gone("placement.kubernetes-fleet.io/v1beta1 AppliedWork abandon")
	for _, ref := range []string{"v1 Namespace abandon", "v1 ConfigMap abandon/cm"} {
		w.unowned(ref)
	}
}

// The agent looks into a namespace after it has deleted what the fleet placed, of all Works that wait.
func TestContentsGoBeforeNamespaces(t *testing.T) {
	w := newWorld(t)
	names := []string{"contents-a", "contents-b", "contents-c"}
	for _, name := range names {
		w.work(name, nil, namespaceText(name), configMap(name, "cm", "a"))
	}
	for _, name := range names {
		w.settled(name, yes, yes)
	}
	w.halt()
	for _, name := range names {
		w.deleteWork(name)
	}
	w.writes.take()
	w.start(func(a *Applier) { a.Workers = 1 })
	w.eventually("all Works to wait for the agent", func() error {
		w.agent.parkedLock.Lock()
		defer w.agent.parkedLock.Unlock()
		if len(w.agent.parked) < len(names) {
			return fmt.Errorf("only %v", w.agent.parked)
		}
		return nil
	})
	w.agent.Join()
	for _, name := range names {
		w.workGone(name)
	}
	deletions := slices.DeleteFunc(w.writes.take(), func(write string) bool { return !strings.Contains(write, "DELETE") })
	if len(deletions) != 2*len(names) {
		t.Fatalf("deletions %q", deletions)
	}
	for i, d := range deletions {
		if strings.Contains(d, "configmaps") != (i < len(names)) {
			t.Errorf("deletion %d is %q; want those of all ConfigMaps first: %q", i, d, deletions)
		}
	}
}

// Case abandon-deletes, when the member leaves: what was placed stays, as ever, but by itself.
func TestAbandonWhenTheMemberLeaves(t *testing.T) {
	w := newWorld(t)
	w.work("leaves", nil, namespaceText("leaves"), configMap("leaves", "cm", "a"))
	w.work("leaves-owned", nil, namespaceText("leaves-owned"))
	w.settled("leaves", yes, yes)
	w.settled("leaves-owned", yes, yes)
	w.deleteStrategy("leaves", v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon})
	w.settled("leaves", yes, yes)
	w.leave()
	w.gone("placement.kubernetes-fleet.io/v1beta1 AppliedWork leaves")
	for _, ref := range []string{"v1 Namespace leaves", "v1 ConfigMap leaves/cm"} {
		w.unowned(ref)
	}
	work := w.readWork("leaves")
	if len(work.Finalizers) > 0 || !meta.IsStatusConditionTrue(work.Status.Conditions, report.ConditionAbandoned) {
		t.Errorf("finalizers %v, conditions %+v", work.Finalizers, work.Status.Conditions)
	}
	if refs := w.mustObject("v1 Namespace leaves-owned").GetOwnerReferences(); len(refs) != 1 {
		t.Errorf("what is not abandoned is owned by %v", refs)
	}
	w.leave()
	// The cluster comes back, and takes up what it has.
	w.agent.Join()
	w.settled("leaves", yes, yes)
	w.eventually("the objects to be taken over", func() error {
		if refs := w.mustObject("v1 ConfigMap leaves/cm").GetOwnerReferences(); len(refs) != 1 {
			return fmt.Errorf("%+v", refs)
		}
		return nil
	})
}

// Case namespace-with-foreign-content-deleted: a namespace that was there before goes back to its owners with what
// they have in it.
func TestNamespaceWithForeignContent(t *testing.T) {
	w := newWorld(t)
	const ns = "shared"
	w.onMember(namespaceText(ns))
	w.onMember(configMap(ns, "local-team", "mine"))
	w.work("shared", nil, namespaceText(ns), configMap(ns, "placed", "a"))
	w.settled("shared", yes, yes)
	w.eventually("the ledger to show what was taken over", func() error {
		for _, e := range w.ledger("shared").Status.AppliedResources {
			if e.TakenOver != (e.Kind == "Namespace") {
				return fmt.Errorf("%+v", e)
			}
		}
		return nil
	})
	w.deleteWork("shared")
	w.workGone("shared")
	w.gone("v1 ConfigMap shared/placed")
	w.unowned("v1 Namespace shared")
	w.present("v1 ConfigMap shared/local-team")

	// One that was there before and has become empty goes, as the contract has it.
	w.onMember(namespaceText("emptied-before"))
	w.work("empty", nil, namespaceText("emptied-before"), configMap("emptied-before", "placed", "a"))
	w.settled("empty", yes, yes)
	w.deleteWork("empty")
	w.gone("v1 Namespace emptied-before")
}

// A namespace that the fleet made and that others have filled stays with its ledger, which lists what is in it; the
// rest goes.
func TestNamespaceThatOthersFilled(t *testing.T) {
	w := newWorld(t)
	const ns, ref = "filled", "v1 Namespace filled"
	w.work("filled", nil, namespaceText(ns), configMap(ns, "placed", "a"))
	w.settled("filled", yes, yes)
	w.onMember(configMap(ns, "local-team", "mine"))
	w.edit("filled")
	w.gone("v1 ConfigMap filled/placed")
	w.heldIn(w.readWork("filled"), "Namespace filled", "ConfigMap local-team", "foreignContent")
	w.edit("filled", namespaceText(ns), configMap(ns, "placed", "a"))
	w.present("v1 ConfigMap filled/placed")
	w.settled("filled", yes, yes)
	w.deleteWork("filled")
	w.workGone("filled")
	w.gone("v1 ConfigMap filled/placed")
	w.eventually("the ledger to list what is in it", func() error {
		return says(w.ledger("filled").Status.Conditions, "Namespace filled", "ConfigMap local-team", "--cascade=orphan")
	})
	if obj := w.mustObject(ref); obj.GetDeletionTimestamp() != nil {
		t.Error("the namespace is being deleted")
	}
	// A Work of the same name takes it up again; with the option it goes with everything.
	w.work("filled", nil, namespaceText(ns))
	w.settled("filled", yes, yes)
	w.deleteStrategy("filled", v1beta1.DeleteStrategy{ForeignContent: v1beta1.ForeignContentPolicyDelete})
	w.settled("filled", yes, yes)
	w.deleteWork("filled")
	w.gone(ref)
}

// An object that was taken over is released if it is a volume or a definition, or has further content.
func TestObjectsTakenOverAreReleased(t *testing.T) {
	w := newWorld(t)
	const ns = "taken"
	w.onMember(namespaceText(ns))
	w.onMember(claimText(ns))
	w.onMember(configMap(ns, "same", "a"))
	more := w.onMember(configMap(ns, "more", "a"))
	w.must(unstructured.SetNestedField(more.Object, "1", "data", "precious"))
	w.must(w.member.Update(t.Context(), more))
	w.work("taken", nil, namespaceText(ns), claimText(ns), configMap(ns, "same", "a"), configMap(ns, "more", "a"))
	w.settled("taken", yes, yes)
	w.edit("taken", namespaceText(ns), configMap(ns, "same", "a"), configMap(ns, "more", "a"))
	w.eventually("the claim to be let go", func() error {
		if refs := w.mustObject("v1 PersistentVolumeClaim taken/data").GetOwnerReferences(); len(refs) > 0 {
			return fmt.Errorf("%+v", refs)
		}
		return nil
	})
	w.deleteWork("taken")
	w.workGone("taken")
	w.gone("v1 ConfigMap taken/same")
	for _, ref := range []string{"v1 Namespace taken", "v1 ConfigMap taken/more", "v1 PersistentVolumeClaim taken/data"} {
		w.unowned(ref)
	}
	w.value("v1 ConfigMap taken/more", "1", "data", "precious")
}

// They are also released when their namespace leaves with them.
func TestReleasedObjectsKeepTheirNamespace(t *testing.T) {
	for name, leave := range map[string]func(w *world, name string){
		"edited": func(w *world, name string) { w.edit(name) },
		"deleted": func(w *world, name string) {
			w.deleteWork(name)
			w.workGone(name)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ns := "together-" + name
			w.onMember(namespaceText(ns))
			w.onMember(claimText(ns))
			more := w.onMember(configMap(ns, "more", "a"))
			w.must(unstructured.SetNestedField(more.Object, "1", "data", "precious"))
			w.must(w.member.Update(t.Context(), more))
			shared := w.onMember(configMap(ns, "holder", "a"))
			w.work(ns, strategy(func(s *v1beta1.ApplyStrategy) { s.AllowCoOwnership = true }), namespaceText(ns), claimText(ns), configMap(ns, "more", "a"),
				configMap(ns, "shared", "a"), configMap(ns, "goes", "a"))
			w.settled(ns, yes, yes)
			w.change("v1 ConfigMap "+ns+"/shared", func(o *unstructured.Unstructured) {
				o.SetOwnerReferences(append(o.GetOwnerReferences(), metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "holder", UID: shared.GetUID()}))
			})
			w.settled(ns, yes, yes)
			leave(w, ns)
			w.gone("v1 ConfigMap " + ns + "/goes")
			w.eventually("the namespace to be let go", func() error {
				if refs := w.mustObject("v1 Namespace " + ns).GetOwnerReferences(); len(refs) > 0 {
					return fmt.Errorf("%+v", refs)
				}
				return nil
			})
			for _, ref := range []string{"v1 Namespace " + ns, "v1 ConfigMap " + ns + "/more", "v1 PersistentVolumeClaim " + ns + "/data"} {
				w.unowned(ref)
			}
			w.value("v1 ConfigMap "+ns+"/more", "1", "data", "precious")
			w.present("v1 ConfigMap " + ns + "/shared")
		})
	}
}

// A passing error is no answer to the question what the API server fills in: the object goes, a moment later.
func TestAPassingErrorLetsNothingGo(t *testing.T) {
	w := newWorld(t)
	const ns = "filled-in"
	service := "{apiVersion: v1, kind: Service, metadata: {namespace: filled-in, name: s}, spec: {ports: [{port: 80}]}}"
	w.onMember(namespaceText(ns))
	w.onMember(service)
	w.work(ns, nil, service)
	w.settled(ns, yes, yes)
	var asked atomic.Int32
	w.faultyMember.set(func(r *http.Request) *http.Response {
		if r.Method == http.MethodPost && r.URL.Query().Get("dryRun") != "" && asked.Add(1) <= 2 {
			return failWith(503, metav1.StatusReasonServiceUnavailable)
		}
		return nil
	})
	w.deleteWork(ns)
	w.workGone(ns)
	w.gone("v1 Service filled-in/s")
	if asked.Load() < 3 {
		t.Errorf("the API server was asked %d times", asked.Load())
	}
}

// What was taken over is so for good, also if its annotation is removed.
func TestTakenOverWithoutItsAnnotation(t *testing.T) {
	w := newWorld(t)
	const ns, claim = "unmarked", "v1 PersistentVolumeClaim unmarked/data"
	w.onMember(namespaceText(ns))
	w.onMember(claimText(ns))
	w.work(ns, nil, claimText(ns), configMap(ns, "cm", "a"))
	w.settled(ns, yes, yes)
	w.quiet(time.Second)
	w.change(claim, func(o *unstructured.Unstructured) {
		annotations := o.GetAnnotations()
		delete(annotations, contract.AnnotationTakenOver)
		o.SetAnnotations(annotations)
	})
	w.edit(ns, claimText(ns), configMap(ns, "cm", "b"))
	w.value("v1 ConfigMap unmarked/cm", "b", "data", "key")
	w.settled(ns, yes, yes)
	w.quiet(time.Second)
	w.deleteWork(ns)
	w.workGone(ns)
	w.gone("v1 ConfigMap unmarked/cm")
	w.unowned(claim)
}

// An object that the agent may not read holds up no other. One that was never applied holds up nothing at all.
func TestForbiddenObjectsHoldUpNothingElse(t *testing.T) {
	w := newWorld(t, func(a *Applier) { a.reportAfter, a.DeletionWait = time.Second, 3*time.Second })
	forbid := func(r *http.Request) *http.Response {
		if strings.Contains(r.URL.Path, "/secrets") && r.URL.Query().Get("watch") == "" {
			return failWith(403, metav1.StatusReasonForbidden)
		}
		return nil
	}
	secret := func(ns string) string {
		return "{apiVersion: v1, kind: Secret, metadata: {namespace: " + ns + ", name: s}}"
	}
	w.faultyMember.set(forbid)
	w.onMember(namespaceText("never"))
	for _, work := range []string{"never-edited", "never-deleted"} {
		w.work(work, nil, secret("never"), configMap("never", work, "a"))
		w.settled(work, no, "")
	}
	w.edit("never-edited", configMap("never", "never-edited", "a"))
	w.settled("never-edited", yes, yes)
	w.deleteWork("never-deleted")
	w.workGone("never-deleted")
	w.gone("v1 ConfigMap never/never-deleted")
	w.gone("placement.kubernetes-fleet.io/v1beta1 AppliedWork never-deleted")

	w.faultyMember.set(nil)
	const ns = "was-allowed"
	w.work(ns, nil, namespaceText(ns), secret(ns), configMap(ns, "goes", "a"))
	w.settled(ns, yes, yes)
	w.quiet(time.Second)
	w.faultyMember.set(forbid)
	w.deleteWork(ns)
	w.gone("v1 ConfigMap was-allowed/goes")
	w.workGone(ns)
	w.eventually("the ledger to list what stays, and why", func() error {
		return says(w.ledger(ns).Status.Conditions, "Secret was-allowed/s", "Namespace was-allowed")
	})
	w.present("v1 Secret was-allowed/s")
}

// What a later Work of the name holds stays when that is deleted.
func TestHeldObjectsOutliveTheWork(t *testing.T) {
	w := newWorld(t)
	const ns = "outlive"
	w.work("outlive", nil, namespaceText(ns), configMap(ns, "held", "a"))
	w.settled("outlive", yes, yes)
	w.halt()
	w.replaceWork("outlive", configMap(ns, "new", "a"))
	w.start()
	w.agent.Join()
	w.settled("outlive", yes, yes)
	w.heldIn(w.readWork("outlive"), "ConfigMap outlive/held")
	w.deleteWork("outlive")
	w.workGone("outlive")
	w.gone("v1 ConfigMap outlive/new")
	w.eventually("the ledger to say what is kept", func() error {
		return says(w.ledger("outlive").Status.Conditions, "ConfigMap outlive/held", "Namespace outlive", "an earlier Work placed it")
	})
	for _, ref := range []string{"v1 Namespace outlive", "v1 ConfigMap outlive/held"} {
		if obj := w.mustObject(ref); obj.GetDeletionTimestamp() != nil {
			t.Errorf("%s is being deleted", ref)
		}
	}
}
