package applier

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
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

// Case abandon-deletes, when the member leaves: what was placed stays, as ever, but by itself.
func TestAbandonWhenTheMemberLeaves(t *testing.T) {
	w := newWorld(t)
	w.work("leaves", nil, namespaceText("leaves"), configMap("leaves", "cm", "a"))
	w.work("leaves-owned", nil, namespaceText("leaves-owned"))
	w.settled("leaves", yes, yes)
	w.settled("leaves-owned", yes, yes)
	w.deleteStrategy("leaves", v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon})
	w.settled("leaves", yes, yes)
	w.must(w.agent.Leave(t.Context()))
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
	w.must(w.agent.Leave(t.Context()))
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

// Case namespace-with-foreign-content-deleted: a namespace that was there before goes back to its owners with what they have in it.
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

// A namespace that the fleet made and that others have filled stays with its ledger, which lists what is in it; the rest goes.
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

// What was taken over is let go if it is a volume or a definition, or holds more than was placed.
func TestObjectsTakenOverAreLetGo(t *testing.T) {
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
