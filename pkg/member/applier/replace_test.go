package applier

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// origins is the annotation of that name for hub objects with these UIDs.
func origins(uids []string) string {
	var out []string
	for _, uid := range uids {
		out = append(out, contract.Origin(uid))
	}
	return contract.JoinOrigins(out)
}

// remade gives a Work new content of hub objects with these UIDs, as the dispatcher does.
func (w *world) remade(name string, uids []string, manifests ...string) {
	w.Helper()
	w.eventually("remake work "+name, func() error {
		work := w.readWork(name)
		work.Annotations = map[string]string{contract.AnnotationOrigins: origins(uids)}
		work.Spec.Workload.Manifests = w.manifests(manifests)
		return w.hub.Update(w.Context(), work)
	})
}

func fixedJob(namespace, image string) string {
	return `{apiVersion: batch/v1, kind: Job, metadata: {namespace: ` + namespace + `, name: migrate}, spec: {template: {metadata: {labels: {app: migrate}},
spec: {restartPolicy: Never, containers: [{name: c, image: "example.invalid/` + image + `"}]}}}}`
}

// From the case recreated-job-stuck-and-reason-cut-off: what cannot be changed is replaced when the hub's object is
// another one, also when other objects change in the same revision; never when it is the same one.
func TestRecreatedJobStuckAndReasonCutOff(t *testing.T) {
	for name, strategy := range map[string]*v1beta1.ApplyStrategy{
		"client-side": nil, "server-side": {Type: v1beta1.ApplyStrategyTypeServerSideApply},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ns := "recreated-" + name
			job, other := "batch/v1 Job "+ns+"/migrate", "v1 ConfigMap "+ns+"/other"
			content := func(image, value string) []string {
				return []string{namespaceText(ns), configMap(ns, "other", value), fixedJob(ns, image)}
			}
			w.work(name, strategy, namespaceText(ns))
			w.settled(name, yes, yes)
			w.remade(name, []string{"n", "o", "a"}, content("m:1", "v1")...)
			w.applied(name)
			first := w.mustObject(job)

			w.remade(name, []string{"n", "o", "a"}, content("m:2", "v2")...)
			w.reads(name, 2, v1beta1.ConditionApplied, v1beta1.ReasonManifestApplyFailed)
			w.message(name, "migrate", v1beta1.ConditionApplied, "field is immutable")
			w.value(other, "v2", "data", "key")
			if now := w.mustObject(job); now.GetUID() != first.GetUID() || now.GetDeletionTimestamp() != nil {
				t.Errorf("the Job of the same object of the hub was replaced: %v", now.Object["metadata"])
			}

			w.remade(name, []string{"n", "o", "b"}, content("m:2", "v3")...)
			w.applied(name)
			w.value(other, "v3", "data", "key")
			now := w.mustObject(job)
			if now.GetUID() == first.GetUID() || !strings.Contains(w.readImage(now), "m:2") {
				t.Errorf("the Job is %s, with %s; it was %s", now.GetUID(), w.readImage(now), first.GetUID())
			}
			testworld.AwaitEvents(t, w.member, ns, "an event on the Job that was replaced", func(events []corev1.Event) bool {
				return slices.ContainsFunc(events, func(e corev1.Event) bool {
					return e.Reason == reasonReplaced && e.InvolvedObject.UID == first.GetUID() && strings.Contains(e.Message, "field is immutable")
				})
			})
			w.quiet(time.Second)

			// The same content of another object is no change.
			w.remade(name, []string{"n", "o", "c"}, content("m:2", "v4")...)
			w.value(other, "v4", "data", "key")
			w.applied(name)
			again := w.mustObject(job) // its status is its controller's
			for _, stamp := range []string{contract.AnnotationPlacedWork, contract.AnnotationPlacedOrigin} {
				if again.GetUID() != now.GetUID() || again.GetAnnotations()[stamp] != now.GetAnnotations()[stamp] {
					t.Errorf("the Job was written: %v", again.Object["metadata"])
				}
			}
		})
	}
}

func (w *world) readImage(job *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(job.Object, "spec", "template", "spec", "containers")
	if len(containers) != 1 {
		return ""
	}
	image, _, _ := unstructured.NestedString(containers[0].(map[string]any), "image")
	return image
}

// What holds an object on the member holds up its replacement, and its end is an event. What could not be created
// stays, and so does what holds data.
func TestReplacedOnlyByCreatableObjects(t *testing.T) {
	w := newWorld(t)
	const ns = "replaced-only"
	const held, role = "v1 ConfigMap replaced-only/held", "rbac.authorization.k8s.io/v1 RoleBinding replaced-only/binding"
	fixed := func(value string) string {
		return "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: " + ns + ", name: held}, immutable: true, data: {data: '" + value + "'}}"
	}
	binding := func(role string) string {
		return "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {namespace: " + ns + ", name: binding}, " +
			"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: '" + role + "'}}"
	}
	claim := func(size string) string {
		return "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: " + ns + ", name: claim}, spec: {accessModes: [" + size + "], " +
			"storageClassName: none, resources: {requests: {storage: 1Gi}}}}"
	}
	w.work(ns, nil, namespaceText(ns))
	w.settled(ns, yes, yes)
	w.remade(ns, []string{"n", "a", "b", "c"}, namespaceText(ns), fixed("1"), binding("view"), claim("ReadWriteOnce"))
	for _, ref := range []string{held, role, "v1 PersistentVolumeClaim replaced-only/claim"} {
		w.present(ref)
	}
	w.applied(ns)
	w.change(held, func(o *unstructured.Unstructured) { o.SetFinalizers([]string{"example.test/hold"}) })
	first, firstBinding := w.mustObject(held), w.mustObject(role)

	w.remade(ns, []string{"n", "x", "y", "z"}, namespaceText(ns), fixed("2"), binding(""), claim("ReadWriteMany"))
	w.eventually("the config map to be on its way out", func() error {
		if w.mustObject(held).GetDeletionTimestamp() == nil {
			return errors.New("it is not being deleted")
		}
		return nil
	})
	w.reads(ns, 2, v1beta1.ConditionApplied, v1beta1.ReasonManifestApplyFailed)
	w.message(ns, "binding", v1beta1.ConditionApplied, "could not be created again")
	w.reads(ns, 3, v1beta1.ConditionApplied, v1beta1.ReasonManifestApplyFailed)
	w.message(ns, "claim", v1beta1.ConditionApplied, "deleting a PersistentVolumeClaim loses data. To create it from the manifest, delete it on the member cluster")
	if now := w.mustObject(role); now.GetUID() != firstBinding.GetUID() {
		t.Error("a binding that cannot be created again was replaced")
	}
	w.change(held, func(o *unstructured.Unstructured) { o.SetFinalizers(nil) })
	w.eventually("another config map", func() error {
		now, err := w.object(held)
		if apierrors.IsNotFound(err) || err == nil && now.GetUID() == first.GetUID() {
			return errors.New("it is not there yet")
		}
		return err
	})
	w.value(held, "2", "data", "data")
}
