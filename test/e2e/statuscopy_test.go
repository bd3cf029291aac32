package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var accessible = testworld.Reporting(v1beta1.StatusReportingScopeNamespaceAccessible)

// statusCopy is the object that the status of the scenario's placement is copied into.
func (s contents) statusCopy() *v1beta1.ClusterResourcePlacementStatus {
	return &v1beta1.ClusterResourcePlacementStatus{ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: s.name}}
}

// awaitCopy waits until there is a copy of p's status, which goes with p.
func (s ofPlacement) awaitCopy() types.UID {
	s.Helper()
	copied := s.statusCopy()
	testworld.Await(s.T, testworld.Soon, "the copy of the status of "+s.p.GetName(), func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(copied), copied); err != nil {
			return err
		}
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(s.p), s.p); err != nil {
			return err
		}
		want := s.p.GetStatus().DeepCopy()
		meta.RemoveStatusCondition(&want.Conditions, s.p.ConditionType(v1beta1.ConditionStatusSynced))
		if d := cmp.Diff(*want, copied.SourceStatus); d != "" {
			return fmt.Errorf("it differs (-placement +copy):\n%s", d)
		}
		owner := metav1.GetControllerOf(copied)
		if owner == nil || owner.UID != s.p.GetUID() || owner.BlockOwnerDeletion == nil || !*owner.BlockOwnerDeletion {
			return fmt.Errorf("its owners are %+v", copied.OwnerReferences)
		}
		return nil
	})
	return copied.UID
}

// contract:219
func TestStatusIsCopied(t *testing.T) {
	s := begin(t)
	p := s.place(testworld.PickN(2), accessible)
	s.of(p).expectWithin(2*testworld.Soon, testworld.Complete(c2.name, c3.name).Selecting(s.all()...).Copied(true))
	s.of(p).awaitCopy()
	s.of(p).edit(testworld.PickN(3))
	all := onAll().Selecting(s.all()...).Copied(true)
	s.of(p).expect(all)
	first := s.of(p).awaitCopy()

	if err := theHub.Delete(t.Context(), s.statusCopy()); err != nil {
		t.Fatal(err)
	}
	testworld.Await(t, testworld.Soon, "another copy", func(ctx context.Context) error {
		copied := s.statusCopy()
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(copied), copied); err != nil {
			return err
		}
		if copied.UID == first {
			return errors.New("it is the first")
		}
		return nil
	})
	s.of(p).awaitCopy()
	s.of(p).stays(all)

	remove(t, theHub, p)
	s.on(theHub).gone(s.statusCopy())
	testworld.Stable(t, calm, "the absence of a copy", func(ctx context.Context) error {
		err := theHub.Get(ctx, client.ObjectKeyFromObject(s.statusCopy()), s.statusCopy())
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("there is one: %w", err)
	})
}

// contract:220
func TestStatusCopyOutlivesItsNamespace(t *testing.T) {
	s := begin(t)
	p := s.place(accessible)
	s.of(p).expect(onAll().AtOrNext("0").Selecting(s.all()...).Copied(true))
	s.of(p).awaitCopy()

	if err := theHub.Delete(t.Context(), testworld.Namespace(s.app)); err != nil {
		t.Fatal(err)
	}
	s.on(theHub).gone(testworld.Namespace(s.app))
	s.of(p).settles(onAll().AtOrNext("1").Selecting().Copied(false))
	if err := theHub.Get(t.Context(), client.ObjectKey{Name: s.app}, &corev1.Namespace{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace is there again: %v", err)
	}

	s.create(testworld.Namespace(s.app))
	s.of(p).expect(onAll().AtOrNext("2").Selecting(s.selectedNamespace()).Copied(true))
	s.of(p).awaitCopy()
}

// contract:221
func TestStatusCopyOfAnotherNamespaceIsRefused(t *testing.T) {
	s := begin(t)
	p := s.place(accessible)
	before := onAll().AtOrNext("0").Selecting(s.all()...).Copied(true)
	s.of(p).expect(before)
	s.of(p).awaitCopy()
	generation := p.GetGeneration()
	s.of(p).edit(testworld.Selecting(testworld.Named("", "v1", "Namespace", "missing-"+s.app)))
	s.of(p).settles(before.RefusedSince(generation))
	s.placed("test", members()...)
}
