package placer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

const statusSynced = "ClusterResourcePlacementStatusSynced"

// copying is a placement of the test's namespace that asks for a copy of its status there.
func (w *world) copying() *v1beta1.ClusterResourcePlacement {
	p := w.crp()
	p.Spec.StatusReportingScope = v1beta1.StatusReportingScopeNamespaceAccessible
	return p
}

func (w *world) statusCopy() (*v1beta1.ClusterResourcePlacementStatus, error) {
	var copied v1beta1.ClusterResourcePlacementStatus
	err := w.Get(w.Context(), types.NamespacedName{Namespace: w.name, Name: w.name}, &copied)
	return &copied, err
}

// awaitCopied waits until the placement reports that its status, which is about index and available everywhere, is
// copied, and returns the copy.
func (w *world) awaitCopied(index string) *v1beta1.ClusterResourcePlacementStatus {
	w.Helper()
	var copied *v1beta1.ClusterResourcePlacementStatus
	w.await("copied", func() (err error) {
		p := w.placement(w.key())
		if copied, err = w.statusCopy(); err != nil {
			return err
		}
		status := p.GetStatus()
		synced := meta.FindStatusCondition(status.Conditions, statusSynced)
		available := meta.FindStatusCondition(status.Conditions, p.ConditionType(v1beta1.ConditionAvailable))
		if synced == nil || synced.Status != metav1.ConditionTrue || synced.ObservedGeneration != p.GetGeneration() ||
			available == nil || available.Status != metav1.ConditionTrue || status.ObservedResourceIndex != index {
			return fmt.Errorf("status %+v", status)
		}
		if want := report.CopiedStatus(p, status); !equality.Semantic.DeepEqual(copied.SourceStatus, want) {
			return fmt.Errorf("the copy is\n%+v\nwant\n%+v", copied.SourceStatus, want)
		}
		if !metav1.IsControlledBy(copied, p) || len(copied.OwnerReferences) != 1 || !*copied.OwnerReferences[0].BlockOwnerDeletion {
			return fmt.Errorf("owners %+v", copied.OwnerReferences)
		}
		return nil
	})
	return copied
}

func TestStatusCopy(t *testing.T) {
	w := newWorld(t)
	agent := start(t, snapshot.Windows{})
	p := w.copying()
	w.make(w.namespace(), p)
	w.schedule(w.key(), "a", "b")
	w.awaitSelected(w.key(), 0, "Namespace "+w.name)
	w.roll(w.key())
	first := w.awaitCopied("0")
	if first.LastUpdatedTime.IsZero() {
		t.Error("the copy has no time")
	}

	// It is made again when somebody deletes it, and the placement is not written for that.
	version := w.placement(w.key()).GetResourceVersion()
	if err := w.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	w.await("another copy", func() error {
		copied, err := w.statusCopy()
		if err == nil && copied.UID == first.UID {
			return fmt.Errorf("still the deleted one")
		}
		return err
	})
	w.awaitCopied("0")
	if after := w.placement(w.key()).GetResourceVersion(); after != version {
		t.Errorf("the placement was written: %s, before %s", after, version)
	}

	// It is put right when somebody edits it.
	copied, err := w.statusCopy()
	if err != nil {
		t.Fatal(err)
	}
	copied.SourceStatus.ObservedResourceIndex = "99"
	copied.OwnerReferences = nil
	if err := w.Update(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	w.awaitCopied("0")

	// A restart writes nothing.
	before := w.awaitCopied("0")
	agent.Stop()
	start(t, snapshot.Windows{})
	// Something that goes the same way, and is done, shows that everything before has been looked at.
	other := w.crp()
	other.Name += "-other"
	w.make(other)
	w.awaitSelected(client.ObjectKeyFromObject(other), 0, "Namespace "+w.name)
	testworld.Stable(t, time.Second, "silence", func(context.Context) error {
		if after := w.awaitCopied("0"); after.ResourceVersion != before.ResourceVersion {
			return fmt.Errorf("the copy was written:\n%+v\nbefore\n%+v", after, before)
		}
		return nil
	})

	// It follows.
	w.make(w.configMap("cm", "one"))
	w.awaitSelected(w.key(), 1, "Namespace "+w.name, "ConfigMap cm")
	w.roll(w.key())
	w.awaitCopied("1")

	// It goes with the placement, for good.
	if err := w.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.await("finalizers", func() error {
		if got := w.placement(w.key()).GetFinalizers(); len(got) != 1 {
			return fmt.Errorf("finalizers %v", got)
		}
		return nil
	})
	w.release(p)
	gone := func() error {
		if _, err := w.statusCopy(); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("the copy is still there"), err)
		}
		return nil
	}
	w.await("gone", gone)
	testworld.Stable(t, time.Second, "absence", func(context.Context) error { return gone() })
}

// The namespace of the copy goes and comes back with what is placed (contract:220).
func TestStatusCopyWithoutItsNamespace(t *testing.T) {
	w := newWorld(t)
	start(t, snapshot.Windows{})
	w.make(w.copying())
	failed := func(index string) {
		t.Helper()
		w.await("not copied", func() error {
			status := w.placement(w.key()).GetStatus()
			c := meta.FindStatusCondition(status.Conditions, statusSynced)
			if c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1beta1.ReasonStatusSyncFailed ||
				status.ObservedResourceIndex != index || len(status.SelectedResources) > 0 {
				return fmt.Errorf("status %+v", status)
			}
			return nil
		})
	}
	w.schedule(w.key(), "a")
	w.awaitSelected(w.key(), 0)
	w.roll(w.key())
	failed("0")

	namespace := w.namespace()
	w.make(namespace)
	w.awaitSelected(w.key(), 1, "Namespace "+w.name)
	w.roll(w.key())
	w.awaitCopied("1")

	if err := w.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w.awaitSelected(w.key(), 2)
	w.roll(w.key())
	w.awaitAvailable(w.key(), "2")
	failed("2")
	absent := func() error {
		var found corev1.Namespace
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(namespace), &found); !apierrors.IsNotFound(err) {
			return errors.Join(fmt.Errorf("the namespace is %s", found.Status.Phase), err)
		}
		return nil
	}
	w.await("absence", absent)
	testworld.Stable(t, time.Second, "absence", func(context.Context) error { return absent() })

	w.make(w.namespace())
	w.awaitSelected(w.key(), 3, "Namespace "+w.name)
	w.roll(w.key())
	w.awaitCopied("3")
}

// A placement whose status people in a namespace read stays with that namespace (contract:221).
func TestStatusCopyStaysInItsNamespace(t *testing.T) {
	w := newWorld(t)
	start(t, snapshot.Windows{})
	w.make(w.namespace(), w.copying())
	w.schedule(w.key(), "a")
	w.awaitSelected(w.key(), 0, "Namespace "+w.name)
	w.roll(w.key())
	w.awaitCopied("0")
	before := w.placement(w.key())

	choose := func(namespace string) {
		t.Helper()
		w.await("selector", func() error {
			p := w.placement(w.key())
			p.GetSpec().ResourceSelectors[0].Name = namespace
			return w.Update(t.Context(), p)
		})
	}
	choose(w.name + "-missing")
	var refused v1beta1.PlacementObject
	w.await("refused", func() error {
		refused = w.placement(w.key())
		c := refused.GetStatus().Conditions[0]
		if c.Reason != v1beta1.ReasonInvalidResourceSelectors || c.ObservedGeneration != refused.GetGeneration() {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
	want := before.GetStatus().DeepCopy()
	want.Conditions[0] = refused.GetStatus().Conditions[0]
	if !equality.Semantic.DeepEqual(refused.GetStatus(), want) {
		t.Errorf("status\n%+v\nwant\n%+v", refused.GetStatus(), want)
	}
	w.await("told in the namespace", func() error {
		copied, err := w.statusCopy()
		if err == nil && !slices.Contains(copied.SourceStatus.Conditions, want.Conditions[0]) {
			err = fmt.Errorf("the copy is %+v", copied.SourceStatus.Conditions)
		}
		return err
	})

	choose(w.name)
	w.schedule(w.key(), "a")
	w.awaitCopied("0")
}

func TestStatusCopyNeedsANamedNamespace(t *testing.T) {
	w := newWorld(t)
	start(t, snapshot.Windows{})
	p := w.copying()
	p.Spec.ResourceSelectors[0].Name = ""
	p.Spec.ResourceSelectors[0].LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": w.name}}
	w.make(w.namespace(), p)
	w.await("refused", func() error {
		conditions := w.placement(w.key()).GetStatus().Conditions
		if len(conditions) != 1 || conditions[0].Reason != v1beta1.ReasonInvalidResourceSelectors {
			return fmt.Errorf("conditions %+v", conditions)
		}
		return nil
	})
}
