package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// contract:37
func TestPickFixedOnNothingUsable(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickFixed(s.unhealthy(), s.left(), "ghost"))
	s.create(p)
	s.of(p).expect(testworld.Unfulfilled(3))
	s.of(p).stays(testworld.Unfulfilled(3))
	if len(p.Status.SelectedResources) != 2 {
		t.Errorf("selected %v, want the namespace and cm", p.Status.SelectedResources)
	}
	s.placed("")
}

// contract:38
func TestPickFixedMovesOnWhileAMemberIsStuck(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickFixed(c1.name))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name))
	s.placed("test", c1)
	s.on(c1).hold()
	testworld.Update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) { testworld.PickFixed(c2.name)(&p.Spec) })
	s.of(p).expect(testworld.Complete(c2.name))
	s.on(c1).stuck(s.name + "-work")
	s.on(c1).release()
	s.placed("test", c2)
	s.of(p).expect(testworld.Complete(c2.name))
}

// contract:39
func TestPickFixedWithoutNamesWaits(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickFixed())
	s.create(p)
	s.of(p).expect(testworld.Pending())
	s.of(p).stays(testworld.Pending())
	s.placed("")
	testworld.Update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) { testworld.PickFixed(c1.name)(&p.Spec) })
	s.of(p).expect(testworld.Complete(c1.name))
	s.placed("test", c1)
}

// contract:40
func TestNamespacedPickFixed(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickFixed(c1.name))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name))
	s.placed("test", c1)
}

// contract:41
func TestNamespacedPickFixedMoves(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickFixed(c1.name))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name))
	testworld.Update(s, theHub, p, func(p *v1beta1.ResourcePlacement) { testworld.PickFixed(c2.name)(&p.Spec) })
	s.of(p).expect(testworld.Complete(c2.name))
	s.placed("test", c2)
}

// contract:42
func TestNamespacedPickFixedOnNothingUsable(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickFixed(s.unhealthy(), s.left(), "ghost"))
	s.create(p)
	s.of(p).expect(testworld.Unfulfilled(3))
	s.of(p).stays(testworld.Unfulfilled(3))
}

// contract:43
func TestNamespacedPickFixedMovesOnWhileAMemberIsStuck(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickFixed(c1.name))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name))
	s.placed("test", c1)
	s.on(c1).hold()
	testworld.Update(s, theHub, p, func(p *v1beta1.ResourcePlacement) { testworld.PickFixed(c2.name)(&p.Spec) })
	s.of(p).expect(testworld.Complete(c2.name))
	s.on(c1).stuck(s.app + "." + s.name + "-work")
	s.on(c1).release()
	s.placed("test", c2)
	s.of(p).expect(testworld.Complete(c2.name))
}

// hold puts the scenario's blocker on cm of a member.
func (s onCluster) hold() {
	s.Helper()
	cm := testworld.ConfigMap(s.app, "")
	testworld.Update(s, s.cluster, cm, func(cm *corev1.ConfigMap) { cm.Finalizers = append(cm.Finalizers, testworld.Blocker) })
}

// release takes it off again.
func (s onCluster) release() {
	s.Helper()
	cm := testworld.ConfigMap(s.app, "")
	testworld.Update(s, s.cluster, cm, func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
}

// stuck waits until the Work, the ledger and cm of a member are all being deleted, and still there.
func (s onCluster) stuck(work string) {
	s.Helper()
	for _, at := range []struct {
		cluster cluster
		obj     client.Object
	}{
		{theHub, &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(s.cluster.name), Name: work}}},
		{s.cluster, &v1beta1.AppliedWork{ObjectMeta: metav1.ObjectMeta{Name: work}}},
		{s.cluster, testworld.ConfigMap(s.app, "")},
	} {
		testworld.Await(s.T, testworld.Soon, fmt.Sprintf("%T on %s to be terminating", at.obj, at.cluster.name), func(ctx context.Context) error {
			if err := at.cluster.Get(ctx, client.ObjectKeyFromObject(at.obj), at.obj); err != nil {
				return err
			}
			if at.obj.GetDeletionTimestamp() == nil {
				return errors.New("no deletion time")
			}
			return nil
		})
	}
}
