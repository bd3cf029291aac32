package membership

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// defaultHeartbeatSeconds is the period of a MemberCluster that names none.
const defaultHeartbeatSeconds = 60

// OwnedBy makes a cluster the controller of what the hub holds for it, so that nothing outlives it.
func OwnedBy(cluster *v1beta1.MemberCluster) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: v1beta1.GroupVersion.String(),
		Kind:       "MemberCluster",
		Name:       cluster.Name,
		UID:        cluster.UID,
		Controller: ptr.To(true),
	}
}

// objectMeta is the metadata of an object the hub holds for cluster. The label lets the hub watch only these among all of their kind.
func objectMeta(cluster *v1beta1.MemberCluster, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:       contract.MemberNamespace(cluster.Name),
		Name:            name,
		Labels:          map[string]string{contract.LabelFleetResource: "true"},
		OwnerReferences: []metav1.OwnerReference{OwnedBy(cluster)},
	}
}

// NamespaceFor is the namespace that the hub and cluster share.
func NamespaceFor(cluster *v1beta1.MemberCluster) *corev1.Namespace {
	namespace := &corev1.Namespace{ObjectMeta: objectMeta(cluster, contract.MemberNamespace(cluster.Name))}
	namespace.Namespace = ""
	return namespace
}

// RoleFor is all that the cluster's identity may do on the hub: it is bound in the cluster's namespace alone.
func RoleFor(cluster *v1beta1.MemberCluster) *rbacv1.Role {
	return &rbacv1.Role{
		ObjectMeta: objectMeta(cluster, contract.RoleName(cluster.Name)),
		Rules: []rbacv1.PolicyRule{
			{
				APIGroups: []string{"cluster.kubernetes-fleet.io", "placement.kubernetes-fleet.io", "networking.fleet.azure.com"},
				Resources: []string{"*"},
				Verbs:     []string{"*"},
			},
			{
				APIGroups: []string{""},
				Resources: []string{"events"},
				Verbs:     []string{"get", "list", "update", "patch", "watch", "create"},
			},
		},
	}
}

// RoleBindingFor binds the cluster's identity to its role.
func RoleBindingFor(cluster *v1beta1.MemberCluster) *rbacv1.RoleBinding {
	identity := cluster.Spec.Identity
	if identity.APIGroup == "" && (identity.Kind == rbacv1.UserKind || identity.Kind == rbacv1.GroupKind) {
		identity.APIGroup = rbacv1.GroupName
	}
	return &rbacv1.RoleBinding{
		ObjectMeta: objectMeta(cluster, contract.RoleBindingName(cluster.Name)),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: contract.RoleName(cluster.Name)},
		Subjects:   []rbacv1.Subject{identity},
	}
}

// InternalFor tells the cluster's agents to be in state.
func InternalFor(cluster *v1beta1.MemberCluster, state v1beta1.ClusterState) *v1beta1.InternalMemberCluster {
	period := cluster.Spec.HeartbeatPeriodSeconds
	if period == 0 {
		period = defaultHeartbeatSeconds
	}
	internal := &v1beta1.InternalMemberCluster{
		ObjectMeta: objectMeta(cluster, cluster.Name),
		Spec:       v1beta1.InternalMemberClusterSpec{State: state, HeartbeatPeriodSeconds: period},
	}
	internal.Labels = nil
	return internal
}
