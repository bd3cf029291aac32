package applier

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/flagship-fleet/flagship/pkg/member/brake"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// braking starts an agent that may remove so much, on a cluster from which nothing was removed.
func braking(t *testing.T, most string) (w *world, configure func(*Applier)) {
	t.Helper()
	w = prepare(t)
	record := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: brake.Record.Namespace, Name: brake.Record.Name}}
	w.must(client.IgnoreNotFound(w.member.Delete(t.Context(), record)))
	policy, err := removal.Parse(most, "")
	w.must(err)
	configure = func(a *Applier) {
		a.Brake = &brake.Brake{Limit: brake.Limit{Policy: policy, Window: time.Hour}, Client: w.member, Now: time.Now}
	}
	w.start(configure)
	w.agent.Join()
	return w, configure
}

// braked waits until the removal of a Work is held, with the condition that says so, and returns its digest.
func (w *world) braked(name, condition string) string {
	w.Helper()
	var digest string
	w.eventually("the removal of "+name+" to be held", func() error {
		work := w.readWork(name)
		c := meta.FindStatusCondition(work.Status.Conditions, condition)
		if c == nil || c.Reason != report.ReasonBeyondRemovalLimit {
			return fmt.Errorf("conditions %+v", work.Status.Conditions)
		}
		ledger := &v1beta1.AppliedWork{}
		if err := w.member.Get(w.Context(), types.NamespacedName{Name: name}, ledger); err != nil {
			return err
		}
		if ledger.Status.HeldRemoval == nil {
			return errors.New("the ledger does not say so")
		}
		digest = ledger.Status.HeldRemoval.Digest
		return nil
	})
	return digest
}

// letThrough releases a removal.
func (w *world) letThrough(name, digest string) {
	w.Helper()
	w.change("placement.kubernetes-fleet.io/v1beta1 AppliedWork "+name, func(o *unstructured.Unstructured) {
		w.must(unstructured.SetNestedField(o.Object, digest, "metadata", "annotations", contract.AnnotationReleaseRemoval))
	})
}

// A hub that is emptied, or taken over, empties no member: every removal is held, also that of the first Works, and
// after a restart; each is released by itself.
func TestAnEmptiedHubEmptiesNoMember(t *testing.T) {
	w, configure := braking(t, "60%")
	names := []string{"emptied-a", "emptied-b", "emptied-c", "emptied-d"}
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
	restart := func() {
		w.start(configure)
		w.agent.Join()
	}
	restart()
	digests := map[string]string{}
	for _, name := range names {
		digests[name] = w.braked(name, report.ConditionRemoved)
	}
	w.halt()
	w.writes.take()
	restart()
	testworld.AwaitStill(t, time.Second, "writes", func(context.Context) (int, error) { return w.writes.count(), nil })
	if writes := w.writes.take(); len(writes) > 0 {
		t.Errorf("after a restart while removals are held the agent wrote %q", writes)
	}
	for _, name := range names {
		if digest := w.braked(name, report.ConditionRemoved); digest != digests[name] {
			t.Errorf("after a restart, %s is held as %s; before, as %s", name, digest, digests[name])
		}
	}
	w.letThrough("emptied-b", digests["emptied-a"])
	w.letThrough("emptied-a", digests["emptied-a"])
	w.workGone("emptied-a")
	w.gone("v1 ConfigMap emptied-a/cm")
	w.eventually("the last to be left to a later Work", func() error {
		return w.member.Delete(w.Context(), &v1beta1.AppliedWork{ObjectMeta: metav1.ObjectMeta{Name: "emptied-d"}}, client.PropagationPolicy(metav1.DeletePropagationOrphan))
	})
	w.workGone("emptied-d")
	if ns := w.mustObject("v1 Namespace emptied-d"); ns.GetDeletionTimestamp() != nil || len(ns.GetOwnerReferences()) > 0 {
		t.Errorf("left to a later Work: %v", ns.Object["metadata"])
	}
	for _, name := range names[1:3] {
		if obj := w.mustObject("v1 ConfigMap " + name + "/cm"); obj.GetDeletionTimestamp() != nil {
			t.Errorf("%s is deleted, and was not released", name)
		}
		if digest := w.braked(name, report.ConditionRemoved); digest != digests[name] {
			t.Errorf("after the release of another, %s is held as %s; before, as %s", name, digest, digests[name])
		}
		w.letThrough(name, digests[name])
		w.workGone(name)
	}
}

// Content that leaves a Work is held in the same way, while what is new in it is applied. The hold ends when the change
// is reverted; the same change is held again, and an earlier release does not let it through.
func TestTooMuchContentThatLeavesIsHeld(t *testing.T) {
	w, _ := braking(t, "40%")
	const name = "toomuch"
	full := []string{namespaceText(name), configMap(name, "a", "x"), configMap(name, "b", "x"), configMap(name, "c", "x")}
	w.work(name, nil, full...)
	w.settled(name, yes, yes)
	w.edit(name, namespaceText(name), configMap(name, "new", "x"))
	first := w.braked(name, report.ConditionHeld)
	w.settled(name, yes, yes)
	w.present("v1 ConfigMap toomuch/new")
	for _, left := range []string{"a", "b", "c"} {
		w.mustObject("v1 ConfigMap toomuch/" + left)
	}
	w.edit(name, append(full, configMap(name, "new", "x"))...)
	w.eventually("the hold to end", func() error {
		ledger := &v1beta1.AppliedWork{}
		if err := w.member.Get(w.Context(), types.NamespacedName{Name: name}, ledger); err != nil {
			return err
		}
		conditions := w.readWork(name).Status.Conditions
		if ledger.Status.HeldRemoval != nil || meta.FindStatusCondition(conditions, report.ConditionHeld) != nil {
			return fmt.Errorf("held: %+v, conditions %+v", ledger.Status.HeldRemoval, conditions)
		}
		return nil
	})
	w.letThrough(name, first)
	testworld.Await(w, testworld.Workload, "another second to begin", func(context.Context) error { // times are stored in seconds
		work := w.readWork(name)
		if applied := meta.FindStatusCondition(work.Status.Conditions, v1beta1.ConditionApplied); applied == nil || time.Since(applied.LastTransitionTime.Time) < time.Second {
			return errors.New("not yet")
		}
		return nil
	})
	w.edit(name, namespaceText(name))
	second := w.braked(name, report.ConditionHeld)
	if second == first {
		t.Errorf("the same change, made again, has the digest of the first time")
	}
	w.mustObject("v1 ConfigMap toomuch/a")
	w.letThrough(name, second)
	for _, left := range []string{"a", "b", "c", "new"} {
		w.gone("v1 ConfigMap toomuch/" + left)
	}
	w.mustObject("v1 Namespace toomuch")
}
