package applier

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// revise gives a Work new content as the dispatcher does, from another revision.
func (w *world) revise(name, revision string, manifests ...string) {
	w.Helper()
	w.eventually("revise work "+name, func() error {
		work := w.readWork(name)
		work.Labels = map[string]string{contract.LabelPlacement: "web"}
		work.Annotations = map[string]string{contract.AnnotationWorkSnapshot: revision, contract.AnnotationOverrides: "small-0"}
		work.Spec.Workload.Manifests = w.manifests(manifests)
		return w.hub.Update(w.Context(), work)
	})
}

// Applied objects record why they exist, and a revision that does not change them does not write them.
func TestObjectsRecordTheirPlacement(t *testing.T) {
	w := newWorld(t)
	const ns = "why"
	const changed, unchanged = "v1 ConfigMap why/changed", "v1 ConfigMap why/unchanged"
	w.work("why", nil, namespaceText(ns))
	w.settled("why", yes, yes)
	w.revise("why", "web-1-snapshot", namespaceText(ns), configMap(ns, "changed", "a"), configMap(ns, "unchanged", "a"))
	w.settled("why", yes, yes)
	before := w.mustObject(unchanged)
	annotations := before.GetAnnotations()
	for key, want := range map[string]string{
		contract.AnnotationPlacedBy: "web", contract.AnnotationPlacedRevision: "web-1-snapshot", contract.AnnotationPlacedOverrides: "small-0",
		contract.AnnotationPlacedHub: clusters.Get(t)[0].Config.Host,
	} {
		if got := annotations[key]; got != want {
			t.Errorf("annotation %s is %q; want %q", key, got, want)
		}
	}
	w.revise("why", "web-2-snapshot", namespaceText(ns), configMap(ns, "changed", "b"), configMap(ns, "unchanged", "a"))
	w.settled("why", yes, yes)
	w.value(changed, "web-2-snapshot", "metadata", "annotations", contract.AnnotationPlacedRevision)
	if after := w.mustObject(unchanged); after.GetResourceVersion() != before.GetResourceVersion() {
		t.Errorf("the object that did not change was written: %v", after.GetAnnotations())
	}
	// A hand on our annotation is not a hand on the object.
	w.change(unchanged, func(o *unstructured.Unstructured) {
		set := o.GetAnnotations()
		delete(set, contract.AnnotationPlacedRevision)
		o.SetAnnotations(set)
	})
	w.quiet(time.Second)
	w.settled("why", yes, yes)
}

// Promise 1: objects that an older state of the hub does not have are kept, the Work reports it, and the member's
// owner can end it.
func TestWorkOfAnOlderHubHolds(t *testing.T) {
	w := newWorld(t)
	const ns, kept = "older", "v1 ConfigMap older/late"
	w.work("older", nil, namespaceText(ns))
	w.settled("older", yes, yes)
	w.edit("older", namespaceText(ns), configMap(ns, "late", "a"))
	w.settled("older", yes, yes)
	w.present(kept)
	w.halt()

	// The hub comes back from before: a Work of the same name that never was at the state the member saw.
	w.replaceWork("older", namespaceText(ns))
	w.start()
	w.agent.Join()
	work := w.settled("older", yes, yes)
	w.heldIn(work, "ConfigMap older/late", contract.AnnotationHeld+"="+contract.HeldRelease)
	w.value(kept, contract.HeldYes, "metadata", "annotations", contract.AnnotationHeld)

	// However far it goes on from there, what it once lost is not its to remove.
	for range 3 {
		w.edit("older", namespaceText(ns), configMap(ns, "new", time.Now().String()))
		w.settled("older", yes, yes)
	}
	w.edit("older", namespaceText(ns))
	w.gone("v1 ConfigMap older/new")
	w.present(kept)

	w.change(kept, func(o *unstructured.Unstructured) {
		set := o.GetAnnotations()
		set[contract.AnnotationHeld] = contract.HeldRelease
		o.SetAnnotations(set)
	})
	w.gone(kept)
	w.eventually("the Work to hold nothing", func() error {
		if c := meta.FindStatusCondition(w.readWork("older").Status.Conditions, report.ConditionHeld); c != nil {
			return errors.New(c.Message)
		}
		return nil
	})
}

// A held object stays when its namespace leaves the Work, or is deleted with it, whatever the delete strategy.
func TestHeldObjectsKeepTheirNamespace(t *testing.T) {
	for name, leave := range map[string]func(w *world, name string){
		"edited": func(w *world, name string) {
			w.edit(name, namespaceText("elsewhere-"+name))
			w.heldIn(w.readWork(name), "Namespace "+name, "ConfigMap late")
		},
		"deleted": func(w *world, name string) {
			w.deleteWork(name)
			w.workGone(name)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ns := "holding-" + name
			w.work(ns, nil, namespaceText(ns))
			w.settled(ns, yes, yes)
			w.edit(ns, namespaceText(ns), configMap(ns, "late", "a"))
			w.settled(ns, yes, yes)
			w.quiet(time.Second)
			w.halt()
			w.replaceWork(ns, namespaceText(ns))
			w.start()
			w.agent.Join()
			w.heldIn(w.readWork(ns), "ConfigMap "+ns+"/late")
			w.quiet(time.Second)
			w.deleteStrategy(ns, v1beta1.DeleteStrategy{ForeignContent: v1beta1.ForeignContentPolicyDelete})
			w.settled(ns, yes, yes)
			leave(w, ns)
			for _, ref := range []string{"v1 Namespace " + ns, "v1 ConfigMap " + ns + "/late"} {
				if obj := w.mustObject(ref); obj.GetDeletionTimestamp() != nil {
					t.Errorf("%s is being deleted", ref)
				}
			}
		})
	}
}

// replaceWork puts another Work of the name in place of the one that is there, without a deletion that an agent could
// see.
func (w *world) replaceWork(name string, manifests ...string) {
	w.Helper()
	w.loseWork(name)
	w.work(name, nil, manifests...)
}

func (w *world) loseWork(name string) {
	w.Helper()
	work := w.readWork(name)
	work.Finalizers = nil
	w.must(w.hub.Update(w.Context(), work))
	w.must(w.hub.Delete(w.Context(), work))
	w.workGone(name)
}

// heldIn waits until a Work has the condition Held, with these words.
func (w *world) heldIn(work *v1beta1.Work, words ...string) {
	w.Helper()
	w.eventually("Held of work "+work.Name, func() error {
		return says(w.readWork(work.Name).Status.Conditions, words...)
	})
}

func says(conditions []metav1.Condition, words ...string) error {
	c := meta.FindStatusCondition(conditions, report.ConditionHeld)
	if c == nil || c.Status != metav1.ConditionTrue {
		return fmt.Errorf("Held is %+v", c)
	}
	for _, word := range words {
		if !strings.Contains(c.Message, word) {
			return fmt.Errorf("the message lacks %q: %s", word, c.Message)
		}
	}
	return nil
}

// Promise 1: a Work that vanishes removes nothing; its ledger reports that until the Work is back, also after a
// restart and with another name.
func TestVanishedWorkHolds(t *testing.T) {
	w := newWorld(t)
	const ns = "vanished"
	w.work("vanished", nil, namespaceText(ns), configMap(ns, "cm", "a"))
	w.settled("vanished", yes, yes)
	w.present("v1 ConfigMap vanished/cm")
	ledger := func() *v1beta1.AppliedWork {
		out := &v1beta1.AppliedWork{}
		w.must(w.member.Get(w.Context(), types.NamespacedName{Name: "vanished"}, out))
		return out
	}
	held := func(words ...string) {
		w.Helper()
		w.eventually("the ledger to say that it is held", func() error { return says(ledger().Status.Conditions, words...) })
		w.present("v1 ConfigMap vanished/cm")
	}
	w.quiet(time.Second) // a pass would put the finalizer back
	w.loseWork("vanished")
	held("no Work vanished in namespace "+w.namespace, "2 objects", "--cascade=orphan")

	w.writes.take()
	w.restart()
	w.quiet(time.Second)
	if writes := w.writes.take(); len(writes) > 0 {
		t.Errorf("a restart with nothing changed wrote %v", writes)
	}

	before := w.mustObject("v1 ConfigMap vanished/cm").GetUID()
	w.work("vanished", nil, namespaceText(ns), configMap(ns, "cm", "a"))
	w.settled("vanished", yes, yes)
	w.eventually("the ledger to be a Work's again", func() error {
		if c := ledger().Status.Conditions; len(c) > 0 {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	if after := w.mustObject("v1 ConfigMap vanished/cm").GetUID(); after != before {
		t.Error("the object was made anew")
	}
	w.deleteWork("vanished")
	w.gone("v1 ConfigMap vanished/cm")
}

// Promise 1: an agent whose cluster becomes another member keeps the applied objects, reports as which member it
// applied them, and a Work of the same name for the new member takes over nothing before the cluster's owner agrees,
// and then decides nothing about objects that it never placed.
func TestRenamedMemberHolds(t *testing.T) {
	w := newWorld(t)
	const ns = "renamed"
	w.work("renamed", nil, namespaceText(ns), configMap(ns, "common", "a"), configMap(ns, "own", "a"))
	w.settled("renamed", yes, yes)
	w.present("v1 ConfigMap renamed/own")
	w.halt()

	before := w.namespace
	w.namespace += "-new"
	w.must(w.hub.Create(w.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}))
	w.start()
	w.agent.Join()
	w.eventually("the ledger to say that it is held", func() error {
		ledger := &v1beta1.AppliedWork{}
		w.must(w.member.Get(w.Context(), types.NamespacedName{Name: "renamed"}, ledger))
		return says(ledger.Status.Conditions, "namespace "+w.namespace, "namespace "+before)
	})

	work := w.work("renamed", nil, namespaceText(ns), configMap(ns, "common", "b"))
	w.heldIn(work, "belongs to namespace "+before, "this Work is in namespace "+w.namespace)
	w.settled("renamed", no, "")
	w.value("v1 ConfigMap renamed/common", "a", "data", "key")
	w.release("renamed")
	w.value("v1 ConfigMap renamed/common", "b", "data", "key")
	w.heldIn(work, "ConfigMap renamed/own")
	w.present("v1 ConfigMap renamed/own")
}

const gadgets = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gadgets.health.test}, spec: {group: health.test,
  names: {kind: Gadget, plural: gadgets, singular: gadget, listKind: GadgetList}, scope: Namespaced,
  versions: [{name: v1, served: true, storage: true, subresources: {status: {}},
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`

// Availability of custom resources, by the rule that their owner gave them, the moment their status changes; and a bad
// rule stops only the object that has it.
func TestAvailabilityByRule(t *testing.T) {
	w := newWorld(t)
	gadget := func(name, rule string) string {
		return fmt.Sprintf(`{apiVersion: health.test/v1, kind: Gadget, metadata: {namespace: gadgets, name: %s, annotations: {%s: %q}}, spec: {size: 1}}`,
			name, contract.AnnotationAvailableWhen, rule)
	}
	w.work("gadgets", nil, namespaceText("gadgets"), gadgets, gadget("convention", contract.AvailableByConditions),
		gadget("rule", "object.status.phase == 'Running'"), gadget("bad", "object.status."), configMap("gadgets", "cm", "a"))
	w.settled("gadgets", yes, no)
	w.availability("gadgets", "bad", no, contract.AnnotationAvailableWhen+" does not compile")
	w.availability("gadgets", "rule", no, "cannot be evaluated: no such key: status")
	w.availability("gadgets", "convention", no, "neither a condition Available nor a condition Ready")
	w.availability("gadgets", "cm", yes, "")

	w.status("health.test/v1 Gadget gadgets/rule", map[string]any{"phase": "Running"})
	w.status("health.test/v1 Gadget gadgets/convention", map[string]any{"observedGeneration": int64(1),
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Up", "message": ""}}})
	w.availability("gadgets", "rule", yes, "")
	w.availability("gadgets", "convention", yes, "")
	w.availability("gadgets", "bad", no, "does not compile")

	w.status("health.test/v1 Gadget gadgets/rule", map[string]any{"phase": "Broken"})
	w.availability("gadgets", "rule", no, "is not fulfilled")
}

func (w *world) availability(work, object string, want metav1.ConditionStatus, message string) {
	w.Helper()
	w.eventually(fmt.Sprintf("%s to be available: %s", object, want), func() error {
		for _, m := range w.readWork(work).Status.ManifestConditions {
			c := meta.FindStatusCondition(m.Conditions, v1beta1.ConditionAvailable)
			if m.Identifier.Name == object && c != nil && c.Status == want && strings.Contains(c.Message, message) {
				return nil
			}
			if m.Identifier.Name == object && c != nil {
				return fmt.Errorf("it is %s: %s", c.Status, c.Message)
			}
		}
		return errors.New("nothing is said about it")
	})
}

// status is written as the object's controller would.
func (w *world) status(ref string, status map[string]any) {
	w.Helper()
	w.eventually("status of "+ref, func() error {
		obj, err := w.object(ref)
		if err != nil {
			return err
		}
		obj.Object["status"] = status
		return w.member.Status().Update(w.Context(), obj, client.FieldOwner("gadget-controller"))
	})
}
