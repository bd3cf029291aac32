package applier

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// keeping is a manifest with the annotation that forbids to delete the object.
func keeping(manifest string) string {
	return strings.Replace(manifest, "metadata: {", `metadata: {annotations: {kubernetes-fleet.io/keep: "true"}, `, 1)
}

// keep annotates an object of the member.
func (w *world) keep(ref, value string) {
	w.Helper()
	w.change(ref, func(o *unstructured.Unstructured) {
		annotations := o.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[contract.AnnotationKeep] = value
		o.SetAnnotations(annotations)
	})
}

// letGo waits until an object is there by itself, with one event that names the cause.
func (w *world) letGo(ref, why string) {
	w.Helper()
	w.eventually(ref+" to be let go", func() error {
		if refs := w.mustObject(ref).GetOwnerReferences(); len(refs) > 0 {
			return fmt.Errorf("it is owned by %+v", refs)
		}
		return nil
	})
	w.unowned(ref)
	obj := w.mustObject(ref)
	namespace := obj.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	testworld.AwaitEvents(w, w.member, namespace, "an event on "+ref, func(events []corev1.Event) bool {
		events = slices.DeleteFunc(slices.Clone(events), func(e corev1.Event) bool { return e.InvolvedObject.UID != obj.GetUID() || e.Reason != reasonLetGo })
		return len(events) == 1 && events[0].Count <= 1 && strings.Contains(events[0].Message, why)
	})
}

// An object that leaves a Work is released if its annotation requests that, set on the hub or on the member, with
// either strategy; the others are removed.
func TestKeptObjectsThatLeaveTheirWork(t *testing.T) {
	for name, s := range map[string]*v1beta1.ApplyStrategy{
		"client": strategy(),
		"server": strategy(func(s *v1beta1.ApplyStrategy) { s.Type = v1beta1.ApplyStrategyTypeServerSideApply }),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ns := "keeps-" + name
			plain, onHub, onMember := configMap(ns, "plain", "a"), configMap(ns, "hub", "a"), configMap(ns, "member", "a")
			w.work(ns, s, namespaceText(ns), plain, onHub, onMember)
			w.settled(ns, yes, yes)
			w.keep("v1 ConfigMap "+ns+"/member", "yes")
			w.edit(ns, namespaceText(ns), plain, keeping(onHub), onMember)
			w.value("v1 ConfigMap "+ns+"/hub", "true", "metadata", "annotations", contract.AnnotationKeep)
			w.settled(ns, yes, yes)
			w.edit(ns, namespaceText(ns))
			w.gone("v1 ConfigMap " + ns + "/plain")
			w.letGo("v1 ConfigMap "+ns+"/hub", contract.AnnotationKeep)
			w.letGo("v1 ConfigMap "+ns+"/member", contract.AnnotationKeep)
			w.settled(ns, yes, yes)
			w.eventually("the ledger to forget them", func() error {
				if entries := w.ledger(ns).Status.AppliedResources; len(entries) != 1 {
					return fmt.Errorf("%+v", entries)
				}
				return nil
			})
			// The namespace that contains them is released, too, whatever the rest of the delete strategy.
			w.deleteStrategy(ns, v1beta1.DeleteStrategy{ForeignContent: v1beta1.ForeignContentPolicyDelete})
			w.edit(ns)
			w.letGo("v1 Namespace "+ns, "ConfigMap hub, ConfigMap member")
			w.settled(ns, yes, yes)
		})
	}
}

// What goes with its Work likewise, and neither it nor its namespace holds the Work up. An object that the fleet never
// placed counts, too.
func TestKeptObjectsOutliveTheWork(t *testing.T) {
	w := newWorld(t)
	const ns, bare = "kept", "kept-bare"
	w.work("kept", nil, namespaceText(ns), namespaceText(bare), keeping(configMap(ns, "hub", "a")), configMap(ns, "member", "a"), configMap(ns, "plain", "a"))
	w.settled("kept", yes, yes)
	w.keep("v1 ConfigMap kept/member", "true")
	w.onMember(keeping(configMap(bare, "local", "a")))
	w.deleteWork("kept")
	w.workGone("kept")
	w.gone("v1 ConfigMap kept/plain")
	w.gone("placement.kubernetes-fleet.io/v1beta1 AppliedWork kept")
	w.letGo("v1 ConfigMap kept/hub", contract.AnnotationKeep)
	w.letGo("v1 ConfigMap kept/member", contract.AnnotationKeep)
	w.letGo("v1 Namespace kept", "ConfigMap hub, ConfigMap member")
	w.letGo("v1 Namespace kept-bare", "ConfigMap local")
	w.present("v1 ConfigMap kept-bare/local")

	// They are taken up again, and go once the annotation is off.
	w.work("kept", nil, namespaceText(ns), configMap(ns, "hub", "a"), configMap(ns, "member", "a"))
	w.settled("kept", yes, yes)
	w.keep("v1 ConfigMap kept/member", "false")
	w.keep("v1 ConfigMap kept/hub", "false")
	w.deleteWork("kept")
	w.workGone("kept")
	w.gone("v1 ConfigMap kept/member")
	w.gone("v1 ConfigMap kept/hub")
}

// A kept object does not hold the rest of its ledger, though something in it stays for another reason.
func TestKeptBesideHeldObjects(t *testing.T) {
	w := newWorld(t)
	w.work("beside", nil, namespaceText("beside"), namespaceText("beside-kept"), keeping(configMap("beside-kept", "cm", "a")), configMap("beside", "plain", "a"))
	w.settled("beside", yes, yes)
	w.onMember(configMap("beside", "local", "a"))
	w.deleteWork("beside")
	w.workGone("beside")
	w.gone("v1 ConfigMap beside/plain")
	w.letGo("v1 ConfigMap beside-kept/cm", contract.AnnotationKeep)
	w.letGo("v1 Namespace beside-kept", "ConfigMap cm")
	w.eventually("the ledger to list the namespace alone", func() error {
		if entries := w.ledger("beside").Status.AppliedResources; len(entries) != 1 || entries[0].Name != "beside" {
			return fmt.Errorf("%+v", entries)
		}
		return nil
	})
}

// With the definition of a kind go all objects of it, so one that is kept keeps the definition.
func TestKeptObjectKeepsItsDefinition(t *testing.T) {
	w := newWorld(t)
	const ns = "kept-kind"
	definition := `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: keepers.keep.example.test}, spec: {
	  group: keep.example.test, scope: Namespaced, names: {plural: keepers, singular: keeper, kind: Keeper, listKind: KeeperList},
	  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`
	keeper := "{apiVersion: keep.example.test/v1, kind: Keeper, metadata: {namespace: kept-kind, name: one}}"
	w.onMember(namespaceText(ns))
	w.work(ns, nil, definition, keeping(keeper))
	w.applied(ns)
	w.deleteWork(ns)
	w.workGone(ns)
	w.letGo("keep.example.test/v1 Keeper kept-kind/one", contract.AnnotationKeep)
	w.letGo("apiextensions.k8s.io/v1 CustomResourceDefinition keepers.keep.example.test", "Keeper kept-kind/one")
}

// An annotation that never reached the object still keeps it, and with it the definition of its kind and its
// namespace.
func TestKeptByAManifestThatWasNotApplied(t *testing.T) {
	w := newWorld(t)
	const ns = "kept-late"
	definition := `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: latecomers.keep.example.test}, spec: {
	  group: keep.example.test, scope: Namespaced, names: {plural: latecomers, singular: latecomer, kind: Latecomer, listKind: LatecomerList},
	  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`
	latecomer := "{apiVersion: keep.example.test/v1, kind: Latecomer, metadata: {namespace: kept-late, name: one}}"
	w.work(ns, nil, namespaceText(ns), definition, latecomer)
	w.applied(ns)
	w.halt()
	w.edit(ns, namespaceText(ns), definition, keeping(latecomer))
	w.deleteWork(ns)
	w.start()
	w.agent.Join()
	w.workGone(ns)
	w.letGo("keep.example.test/v1 Latecomer kept-late/one", contract.AnnotationKeep)
	w.letGo("apiextensions.k8s.io/v1 CustomResourceDefinition latecomers.keep.example.test", "Latecomer kept-late/one")
	w.letGo("v1 Namespace kept-late", "Latecomer one")
	w.value("keep.example.test/v1 Latecomer kept-late/one", "true", "metadata", "annotations", contract.AnnotationKeep)
}
