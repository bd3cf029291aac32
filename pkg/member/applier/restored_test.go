package applier

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// A tool that recreates objects restores a member: AppliedWorks have other UIDs than before, or do not exist, and the
// owner references of objects are to the old ones. Kubernetes' garbage collector deletes those objects before any
// agent runs; those that are restored without the references stay, as docs/deletion.md describes, and the agent takes
// them over and creates the others again.
func TestRestoredWithDeadOwners(t *testing.T) {
	for name, restoreLedger := range map[string]bool{"anew": true, "never": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ns := "dead-" + name
			stale := []string{"v1 ConfigMap " + ns + "/stale", "v1 PersistentVolumeClaim " + ns + "/data"}
			free := []string{"v1 ConfigMap " + ns + "/free", "v1 ServiceAccount " + ns + "/free"}
			w.work(ns, nil, namespaceText(ns), configMap(ns, "stale", "a"), claimText(ns), configMap(ns, "free", "a"),
				"{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: "+ns+", name: free}}")
			w.settled(ns, yes, yes)
			w.halt()
			ledger, objects := w.ledger(ns), map[string]*unstructured.Unstructured{}
			for _, ref := range slices.Concat(stale, free) {
				objects[ref] = w.mustObject(ref)
			}
			w.lose(ledger, objects)

			if restoreLedger {
				w.restoreLedger(ledger)
			}
			restored := map[string]types.UID{}
			for _, ref := range free {
				obj := anew(objects[ref])
				obj.SetOwnerReferences(nil)
				w.must(w.member.Create(t.Context(), obj))
				restored[ref] = obj.GetUID()
			}
			for _, ref := range stale {
				obj := anew(objects[ref])
				if owners := obj.GetOwnerReferences(); len(owners) != 1 || owners[0].UID != ledger.UID {
					t.Fatalf("%s has owners %v", ref, owners)
				}
				w.must(w.member.Create(t.Context(), obj))
				restored[ref] = obj.GetUID()
			}
			for _, ref := range stale {
				w.gone(ref)
			}

			w.start()
			w.agent.Join()
			for ref, was := range restored {
				w.eventually(ref+" to be owned by the present AppliedWork", func() error {
					present := &v1beta1.AppliedWork{}
					obj, err := w.object(ref)
					if err := errors.Join(err, w.member.Get(t.Context(), client.ObjectKeyFromObject(ledger), present)); err != nil {
						return err
					}
					owners := obj.GetOwnerReferences()
					if len(owners) != 1 || owners[0].UID != present.UID || present.UID == ledger.UID {
						return fmt.Errorf("owners are %v, the AppliedWork is %s", owners, present.UID)
					}
					if stayed := slices.Contains(free, ref); stayed != (obj.GetUID() == was) {
						return fmt.Errorf("its UID is %s, was %s", obj.GetUID(), was)
					}
					return nil
				})
			}
			w.settled(ns, yes, yes)
		})
	}
}

// lose takes the AppliedWork and the objects off the member, as a disaster does.
func (w *world) lose(ledger *v1beta1.AppliedWork, objects map[string]*unstructured.Unstructured) {
	w.Helper()
	w.must(w.member.Delete(w.Context(), ledger.DeepCopy(), client.PropagationPolicy(metav1.DeletePropagationOrphan)))
	w.eventually("the AppliedWork gone", func() error {
		err := w.member.Get(w.Context(), client.ObjectKeyFromObject(ledger), &v1beta1.AppliedWork{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
	for ref, obj := range objects {
		w.must(client.IgnoreNotFound(w.member.Delete(w.Context(), obj.DeepCopy())))
		w.gone(ref)
	}
}

// restoreLedger creates the AppliedWork with all that it recorded.
func (w *world) restoreLedger(was *v1beta1.AppliedWork) {
	w.Helper()
	is := was.DeepCopy()
	is.UID, is.ResourceVersion, is.CreationTimestamp, is.ManagedFields = "", "", metav1.Time{}, nil
	w.must(w.member.Create(w.Context(), is))
	is.Status = was.Status
	w.must(w.member.Status().Update(w.Context(), is))
}

// anew is an object as a restore from a backup creates it.
func anew(was *unstructured.Unstructured) *unstructured.Unstructured {
	is := was.DeepCopy()
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"} {
		unstructured.RemoveNestedField(is.Object, "metadata", field)
	}
	return is
}
