package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// contract:224 in so far as a namespace that is held needs no kinds of fleet networking: a config map with a finalizer
// holds it. Not beside other scenarios: all members leave.
func TestMembersLeaveAndComeBack(t *testing.T) {
	s := bare(t)
	s.open()
	p := testworld.ClusterPlacement(s.name, s.app)
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name, c2.name, c3.name))
	s.placed("test", members()...)

	var left []*clusterv1beta1.MemberCluster
	for _, m := range members() {
		holder := testworld.ConfigMap(contract.MemberNamespace(m.name), "")
		holder.Finalizers = []string{testworld.Blocker}
		if err := theHub.Create(t.Context(), holder); err != nil {
			t.Fatal(err)
		}
		mc := &clusterv1beta1.MemberCluster{}
		if err := theHub.Get(t.Context(), client.ObjectKey{Name: m.name}, mc); err != nil {
			t.Fatal(err)
		}
		left = append(left, mc)
		t.Cleanup(func() { rejoin(t, mc) })
		if err := theHub.Delete(t.Context(), mc.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	for _, mc := range left {
		testworld.Await(t, testworld.Long, mc.Name+" to wait for its namespace", func(ctx context.Context) error {
			holder := testworld.ConfigMap(contract.MemberNamespace(mc.Name), "")
			if err := theHub.Get(ctx, client.ObjectKeyFromObject(holder), holder); err != nil {
				return err
			}
			if holder.DeletionTimestamp == nil {
				return errors.New("its namespace is not being deleted")
			}
			return theHub.Get(ctx, client.ObjectKey{Name: mc.Name}, &clusterv1beta1.MemberCluster{})
		})
		holder := testworld.ConfigMap(contract.MemberNamespace(mc.Name), "")
		testworld.Update(s, theHub, holder, func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
	}
	for _, mc := range left {
		testworld.Await(t, testworld.Long, mc.Name+" to leave", func(ctx context.Context) error {
			err := theHub.Get(ctx, client.ObjectKey{Name: mc.Name}, &clusterv1beta1.MemberCluster{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("still there: %w", err)
		})
	}
	s.of(p).expect(testworld.None())
	testworld.Stable(t, calm, "objects on members that left", func(ctx context.Context) error {
		for _, m := range members() {
			if err := m.Get(ctx, client.ObjectKey{Namespace: s.app, Name: "cm"}, &corev1.ConfigMap{}); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
		return nil
	})
	if len(p.Status.SelectedResources) != 2 {
		t.Errorf("the selection is %v, want the namespace and cm kept", p.Status.SelectedResources)
	}
	for _, mc := range left {
		rejoin(t, mc)
	}
	s.of(p).expectWithin(testworld.Long, testworld.Complete(c1.name, c2.name, c3.name))
	s.of(p).deletes()
}

// rejoin makes sure that a member is one, as it was before.
func rejoin(t *testing.T, was *clusterv1beta1.MemberCluster) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	again := &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: was.Name, Labels: was.Labels}, Spec: was.Spec}
	if err := theHub.Create(ctx, again); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Errorf("let %s in again: %v", was.Name, err)
	}
	err := testworld.Until(testworld.Context(t), testworld.Long, was.Name+" to join again", func(ctx context.Context) error {
		var mc clusterv1beta1.MemberCluster
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(was), &mc); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(mc.Status.Conditions, clusterv1beta1.ConditionJoined) {
			return fmt.Errorf("conditions are %+v", mc.Status.Conditions)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
