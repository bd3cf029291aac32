package applier

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

func claimText(namespace string) string {
	return "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: " + namespace + ", name: data}, spec: {accessModes: [ReadWriteOnce], " +
		"storageClassName: none, resources: {requests: {storage: 1Gi}}}}"
}

// beside starts an agent of another member on the same cluster.
func (w *world) beside(configure ...func(*Applier)) *world {
	w.Helper()
	other := *w
	other.namespace += "-beside"
	other.writes, other.faultyHub, other.faultyMember = &writes{}, &faults{}, &faults{}
	w.must(other.hub.Create(w.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other.namespace}}))
	other.start(configure...)
	other.agent.Join()
	return &other
}

// Case two-agents-one-cluster, where nothing but the ledger stands between the two: neither takes the other's objects
// over, under the same Work name or another, nor removes them.
func TestTwoAgentsOneCluster(t *testing.T) {
	w := newWorld(t)
	const ns = "two-agents"
	const namespace, claim = "v1 Namespace two-agents", "v1 PersistentVolumeClaim two-agents/data"
	w.work("two", nil, namespaceText(ns), claimText(ns))
	w.settled("two", yes, yes)
	uids := func() [2]types.UID {
		return [2]types.UID{w.mustObject(namespace).GetUID(), w.mustObject(claim).GetUID()}
	}
	before, owner := uids(), w.ledger("two").UID

	other := w.beside()
	for _, name := range []string{"two", "third"} {
		other.work(name, nil, namespaceText(ns), claimText(ns))
		other.settled(name, no, "")
	}
	other.heldIn(other.readWork("two"), "AppliedWork two", "belongs to namespace "+w.namespace, "this Work is in namespace "+other.namespace,
		contract.AnnotationHeld+"="+contract.HeldRelease)
	w.eventually("the ledger to show the conflict", func() error { return says(w.ledger("two").Status.Conditions, "belongs to namespace "+w.namespace) })
	other.edit("two")
	other.quiet(time.Second)
	for _, name := range []string{"two", "third"} {
		other.deleteWork(name)
		other.workGone(name)
	}
	w.quiet(time.Second)
	if after := uids(); after != before {
		t.Errorf("objects were made anew: %v; were %v", after, before)
	}
	for _, ref := range []string{namespace, claim} {
		if obj := w.mustObject(ref); obj.GetDeletionTimestamp() != nil || len(obj.GetOwnerReferences()) != 1 || obj.GetOwnerReferences()[0].UID != owner {
			t.Errorf("%s: %v", ref, obj.Object["metadata"])
		}
	}
	w.edit("two", namespaceText(ns))
	w.gone(claim)
	w.deleteWork("two")
	w.gone(namespace)
}

// The same between two hubs that use the same name for a member.
func TestTwoHubsOneCluster(t *testing.T) {
	w := newWorld(t, func(a *Applier) { a.Identify("hub-1") })
	const ns, cm = "two-hubs", "v1 ConfigMap two-hubs/cm"
	w.work("hubs", nil, namespaceText(ns), configMap(ns, "cm", "a"))
	w.settled("hubs", yes, yes)
	if spec := w.ledger("hubs").Spec; spec.HubUID != "hub-1" || spec.WorkUID != w.readWork("hubs").UID {
		t.Errorf("the ledger records %+v", spec)
	}
	w.halt()
	w.replaceWork("hubs", namespaceText(ns), configMap(ns, "cm", "b"))
	w.start(func(a *Applier) { a.Identify("hub-2") })
	w.agent.Join()
	w.settled("hubs", no, "")
	w.heldIn(w.readWork("hubs"), "hub hub-1", "hub hub-2")
	w.value(cm, "a", "data", "key")
	w.release("hubs")
	w.settled("hubs", yes, yes)
	w.value(cm, "b", "data", "key")
	if ledger := w.ledger("hubs"); ledger.Spec.HubUID != "hub-2" || len(ledger.Status.Conditions) > 0 || ledger.Annotations[contract.AnnotationHeld] != "" {
		t.Errorf("after its release the ledger is %+v", ledger)
	}
	w.deleteWork("hubs")
	w.gone(cm)
}

// Promise 1: a Work of another UID than the one that placed the objects removes nothing when it is deleted.
func TestDeletedWorkOfAnotherUIDRemovesNothing(t *testing.T) {
	w := newWorld(t)
	const ns, cm = "another-uid", "v1 ConfigMap another-uid/cm"
	w.work("uid", nil, namespaceText(ns), configMap(ns, "cm", "a"))
	w.settled("uid", yes, yes)
	w.halt()
	w.replaceWork("uid", namespaceText(ns), configMap(ns, "cm", "a"))
	w.deleteWork("uid")
	w.start()
	w.agent.Join()
	w.workGone("uid")
	w.eventually("the ledger to say that it is held", func() error { return says(w.ledger("uid").Status.Conditions, "no Work uid in namespace") })
	if obj := w.mustObject(cm); obj.GetDeletionTimestamp() != nil {
		t.Errorf("%s is being deleted", cm)
	}

	// One of the same placement takes it all up; it is then its own to remove.
	w.work("uid", nil, namespaceText(ns), configMap(ns, "cm", "b"))
	w.settled("uid", yes, yes)
	w.eventually("the ledger to be the Work's", func() error {
		ledger := w.ledger("uid")
		if ledger.Spec.WorkUID != w.readWork("uid").UID || len(ledger.Status.Conditions) > 0 {
			return errors.New("it is not")
		}
		for _, e := range ledger.Status.AppliedResources {
			if e.Held {
				return errors.New("it holds " + e.Name)
			}
		}
		return nil
	})
	w.deleteWork("uid")
	w.gone(cm)
}

// A ledger of an agent that recorded no identities is taken for the Work's own, and records them with the next write.
func TestLedgerWithoutIdentities(t *testing.T) {
	w := newWorld(t)
	const ns = "no-identities"
	w.work("bare", nil, namespaceText(ns), configMap(ns, "cm", "a"), configMap(ns, "goes", "a"))
	w.settled("bare", yes, yes)
	w.eventually("an older agent's ledger", func() error {
		ledger := w.ledger("bare")
		ledger.Spec = v1beta1.AppliedWorkSpec{WorkName: ledger.Spec.WorkName, WorkNamespace: ledger.Spec.WorkNamespace}
		return w.member.Update(w.Context(), ledger)
	})
	w.quiet(time.Second) // ledgers are written after reports
	w.halt()
	w.writes.take()
	w.start(func(a *Applier) { a.Identify("hub-1") })
	w.agent.Join()
	w.quiet(time.Second)
	if writes := w.writes.take(); len(writes) > 0 {
		t.Errorf("a restart wrote %v", writes)
	}
	w.edit("bare", namespaceText(ns), configMap(ns, "cm", "b"))
	w.gone("v1 ConfigMap no-identities/goes")
	w.eventually("the ledger to record identities", func() error {
		if spec := w.ledger("bare").Spec; spec.HubUID != "hub-1" || spec.WorkUID != w.readWork("bare").UID {
			return errors.New(string(spec.HubUID) + " " + string(spec.WorkUID))
		}
		return nil
	})
}
