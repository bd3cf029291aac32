package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// contract:37
func TestPickFixedOnNothingUsable(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickFixed(s.unhealthy(), s.left(), "ghost"))
	s.create(p)
	s.expect(p, testworld.Unfulfilled(3))
	s.stays(p, testworld.Unfulfilled(3))
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
	s.expect(p, testworld.Complete(c1.name))
	s.placed("test", c1)
	s.hold(c1)
	update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) { testworld.PickFixed(c2.name)(&p.Spec) })
	s.expect(p, testworld.Complete(c2.name))
	s.stuck(c1, s.name+"-work")
	s.release(c1)
	s.placed("test", c2)
	s.expect(p, testworld.Complete(c2.name))
}

// contract:39
func TestPickFixedWithoutNamesWaits(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickFixed())
	s.create(p)
	s.expect(p, testworld.Pending())
	s.stays(p, testworld.Pending())
	s.placed("")
	update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) { testworld.PickFixed(c1.name)(&p.Spec) })
	s.expect(p, testworld.Complete(c1.name))
	s.placed("test", c1)
}

// contract:40
func TestNamespacedPickFixed(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickFixed(c1.name))
	s.create(p)
	s.expect(p, testworld.Complete(c1.name))
	s.placed("test", c1)
}

// contract:41
func TestNamespacedPickFixedMoves(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickFixed(c1.name))
	s.create(p)
	s.expect(p, testworld.Complete(c1.name))
	update(s, theHub, p, func(p *v1beta1.ResourcePlacement) { testworld.PickFixed(c2.name)(&p.Spec) })
	s.expect(p, testworld.Complete(c2.name))
	s.placed("test", c2)
}

// contract:42
func TestNamespacedPickFixedOnNothingUsable(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickFixed(s.unhealthy(), s.left(), "ghost"))
	s.create(p)
	s.expect(p, testworld.Unfulfilled(3))
	s.stays(p, testworld.Unfulfilled(3))
}

// contract:43
func TestNamespacedPickFixedMovesOnWhileAMemberIsStuck(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickFixed(c1.name))
	s.create(p)
	s.expect(p, testworld.Complete(c1.name))
	s.placed("test", c1)
	s.hold(c1)
	update(s, theHub, p, func(p *v1beta1.ResourcePlacement) { testworld.PickFixed(c2.name)(&p.Spec) })
	s.expect(p, testworld.Complete(c2.name))
	s.stuck(c1, s.app+"."+s.name+"-work")
	s.release(c1)
	s.placed("test", c2)
	s.expect(p, testworld.Complete(c2.name))
}

// hold puts the scenario's blocker on cm of a member.
func (s *scene) hold(m cluster) {
	s.Helper()
	cm := testworld.ConfigMap(s.app, "")
	update(s, m, cm, func(cm *corev1.ConfigMap) { cm.Finalizers = append(cm.Finalizers, testworld.Blocker) })
}

// release takes it off again.
func (s *scene) release(m cluster) {
	s.Helper()
	cm := testworld.ConfigMap(s.app, "")
	update(s, m, cm, func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
}

// stuck waits until the Work, the ledger and cm of a member are all being deleted, and still there.
func (s *scene) stuck(m cluster, work string) {
	s.Helper()
	for _, at := range []struct {
		cluster cluster
		obj     client.Object
	}{
		{theHub, &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(m.name), Name: work}}},
		{m, &v1beta1.AppliedWork{ObjectMeta: metav1.ObjectMeta{Name: work}}},
		{m, testworld.ConfigMap(s.app, "")},
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

// unhealthy is the name of a MemberCluster that joined and has not been heard of for twenty minutes.
func (s *scene) unhealthy() string {
	s.Helper()
	name := "unhealthy-" + s.name
	s.create(phantom(name))
	s.Cleanup(func() { leave(s.T, name) })
	s.report(name, time.Now().Add(-20*time.Minute))
	return name
}

// left is the name of a MemberCluster that is being deleted and held.
func (s *scene) left() string {
	s.Helper()
	mc := phantom("left-" + s.name)
	mc.Finalizers = []string{testworld.Blocker}
	s.create(mc)
	s.Cleanup(func() { leave(s.T, mc.Name) })
	if err := theHub.Delete(s.Context(), mc); err != nil {
		s.Fatalf("delete MemberCluster %s: %v", mc.Name, err)
	}
	return mc.Name
}

// leave deletes a phantom and answers for its agent that it has left, which spares waiting until it is forced out.
func leave(t *testing.T, name string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := client.IgnoreNotFound(theHub.Delete(ctx, phantom(name))); err != nil {
		t.Errorf("delete MemberCluster %s: %v", name, err)
	}
	imc := &clusterv1beta1.InternalMemberCluster{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(name), Name: name}}
	testworld.AwaitGone(t, theHub, imc, func(client.Object) error {
		if imc.Spec.State != clusterv1beta1.ClusterStateLeave {
			return nil
		}
		imc.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
			Type:                  clusterv1beta1.AgentTypeMemberAgent,
			LastReceivedHeartbeat: metav1.Now(),
			Conditions: []metav1.Condition{{
				Type: clusterv1beta1.ConditionJoined, Status: metav1.ConditionFalse, Reason: clusterv1beta1.ReasonInternalMemberClusterLeft,
				ObservedGeneration: imc.Generation, LastTransitionTime: metav1.Now(),
			}},
		}}
		return theHub.Status().Update(ctx, imc)
	})
}

// phantom is a MemberCluster without a cluster or an agent.
func phantom(name string) *clusterv1beta1.MemberCluster {
	return &clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "nobody"}},
	}
}

// report writes what a phantom's agent would: joined and healthy, with this heartbeat.
func (s *scene) report(name string, heartbeat time.Time) {
	s.Helper()
	key := client.ObjectKey{Namespace: contract.MemberNamespace(name), Name: name}
	testworld.Await(s.T, testworld.Soon, "report of "+name, func(ctx context.Context) error {
		var imc clusterv1beta1.InternalMemberCluster
		if err := theHub.Get(ctx, key, &imc); err != nil {
			return err
		}
		at := metav1.NewTime(heartbeat)
		imc.Status.AgentStatus = []clusterv1beta1.AgentStatus{{
			Type:                  clusterv1beta1.AgentTypeMemberAgent,
			LastReceivedHeartbeat: at,
			Conditions: []metav1.Condition{
				{Type: clusterv1beta1.ConditionJoined, Status: metav1.ConditionTrue, Reason: clusterv1beta1.ReasonInternalMemberClusterJoined, LastTransitionTime: at},
				{Type: clusterv1beta1.ConditionHealthy, Status: metav1.ConditionTrue, Reason: clusterv1beta1.ReasonInternalMemberClusterHealthy, LastTransitionTime: at},
			},
		}}
		return theHub.Status().Update(ctx, &imc)
	})
	testworld.Await(s.T, testworld.Soon, "status of MemberCluster "+name, func(ctx context.Context) error {
		var mc clusterv1beta1.MemberCluster
		if err := theHub.Get(ctx, client.ObjectKey{Name: name}, &mc); err != nil {
			return err
		}
		if len(mc.Status.AgentStatus) == 0 || mc.Status.AgentStatus[0].LastReceivedHeartbeat.Unix() != heartbeat.Unix() {
			return errors.New("not copied from the agent's report")
		}
		return nil
	})
}
