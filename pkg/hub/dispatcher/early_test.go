package dispatcher

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A binding to a cluster without a namespace on the hub, or that the scheduler has not picked, reports that it waits,
// and is carried out later.
func TestMissingNamespaceIsAwaited(t *testing.T) {
	besideOneAgent(t, "early", func(s *scene) {
		s.snapshot(0, 1)
		s.cluster = "new" + s.binding.Namespace
		s.binding.Name += "-new"
		member := &clusterv1beta1.MemberCluster{
			ObjectMeta: metav1.ObjectMeta{Name: s.cluster}, Spec: clusterv1beta1.MemberClusterSpec{Identity: rbacv1.Subject{Kind: "User", Name: s.cluster}},
		}
		s.ensure(member)
		testworld.AwaitKnown(s, s.agent.Knows, member) // a binding to a cluster that is not known waits for its InternalMemberCluster
		s.bind(0)
		s.awaitStatus(v1beta1.ConditionWorkSynchronized, metav1.ConditionFalse) // the scheduler has not reported that it picked the cluster
		s.pick()
		s.awaitStatus(v1beta1.ConditionWorkSynchronized, metav1.ConditionFalse)
		s.ensure(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: contract.MemberNamespace(s.cluster)}})
		s.ensure(&clusterv1beta1.InternalMemberCluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(s.cluster), Name: s.cluster},
			Spec:       clusterv1beta1.InternalMemberClusterSpec{State: clusterv1beta1.ClusterStateJoin},
		})
		s.awaitWorks(1, 0)
		s.report(metav1.ConditionTrue, "Done")
		s.awaitStatus(v1beta1.ConditionAvailable, metav1.ConditionTrue)
	})
}
