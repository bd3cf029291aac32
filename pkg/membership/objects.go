package membership

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// defaultHeartbeatSeconds is the period of a MemberCluster that names none.
const defaultHeartbeatSeconds = 60

// NetworkingGroup is the API group of fleet networking, whose agents are another project's.
const NetworkingGroup = "networking.fleet.azure.com"

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

// networkingResources are what the agents of fleet networking keep in the member's namespace, in group networking.fleet.azure.com.
var networkingResources = []string{"endpointsliceexports", "endpointsliceimports", "internalserviceexports", "internalserviceimports"}

// NetworkingResources are the resources of fleet networking in member namespaces, in whatever version the hub serves them.
func NetworkingResources() (out []schema.GroupVersionResource) {
	for _, resource := range networkingResources {
		out = append(out, schema.GroupVersionResource{Group: NetworkingGroup, Resource: resource})
	}
	return out
}

// Owns reports whether namespace, of the name that the cluster's has, was made for cluster: the cluster owns it, or a MemberCluster of that
// name does that is gone, as after the hub was restored. An admin lets a cluster have any other namespace by an annotation with the
// cluster's UID, which cannot be known before the MemberCluster exists.
func Owns(cluster *v1beta1.MemberCluster, namespace *corev1.Namespace) bool {
	if uid := namespace.Annotations[contract.AnnotationAdoptFor]; uid != "" && uid == string(cluster.UID) {
		return true
	}
	for _, owner := range namespace.OwnerReferences {
		version, err := schema.ParseGroupVersion(owner.APIVersion)
		if err != nil || version.Group != v1beta1.GroupVersion.Group || owner.Kind != "MemberCluster" || owner.Name != cluster.Name {
			continue
		}
		if owner.UID == cluster.UID || namespace.Labels[contract.LabelFleetResource] == "true" {
			return true
		}
	}
	return false
}

// RoleFor is all that the cluster's identity may do on the hub: it is bound in the cluster's namespace alone. The agent reads its
// InternalMemberCluster and its Works, reports on both, puts its finalizer on Works, and records events; it creates and deletes nothing
// else. RBAC has no verb for finalizers alone: patching a Work includes its spec, so the member could change what it is given itself.
func RoleFor(cluster *v1beta1.MemberCluster, networking bool) *rbacv1.Role {
	read, write := []string{"get", "list", "watch"}, []string{"update", "patch"}
	role := &rbacv1.Role{
		ObjectMeta: objectMeta(cluster, contract.RoleName(cluster.Name)),
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{v1beta1.GroupVersion.Group}, Resources: []string{"internalmemberclusters"}, Verbs: read},
			{APIGroups: []string{v1beta1.GroupVersion.Group}, Resources: []string{"internalmemberclusters/status"}, Verbs: write},
			{APIGroups: []string{placementv1beta1.GroupVersion.Group}, Resources: []string{"works"}, Verbs: slices.Concat(read, write)},
			{APIGroups: []string{placementv1beta1.GroupVersion.Group}, Resources: []string{"works/status"}, Verbs: write},
			{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
		},
	}
	if networking {
		var statuses []string
		for _, resource := range networkingResources {
			statuses = append(statuses, resource+"/status")
		}
		role.Rules = append(role.Rules,
			rbacv1.PolicyRule{APIGroups: []string{NetworkingGroup}, Resources: networkingResources, Verbs: slices.Concat(read, write, []string{"create", "delete"})},
			rbacv1.PolicyRule{APIGroups: []string{NetworkingGroup}, Resources: statuses, Verbs: write},
		)
	}
	return role
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

// mostNetworking is how many objects of each kind of fleet networking a member's namespace holds: there is at least one for each Service that
// the member exports or imports, and 5,000 Services in a namespace are what Kubernetes is tested with.
const mostNetworking = 5000

// QuotaFor bounds the counts of what the cluster's identity may create in its namespace. Today these are the kinds of fleet networking alone;
// the quota does not depend on whether the Role grants them, so that it is counted before it does. Kubernetes never counts events for quotas
// (they are among the resources that its quota admission ignores): the hub chart's policy
// member-events bounds those.
func QuotaFor(cluster *v1beta1.MemberCluster) *corev1.ResourceQuota {
	hard := corev1.ResourceList{}
	for _, r := range NetworkingResources() {
		hard[corev1.ResourceName("count/"+r.GroupResource().String())] = *resource.NewQuantity(mostNetworking, resource.DecimalSI)
	}
	return &corev1.ResourceQuota{
		ObjectMeta: objectMeta(cluster, contract.QuotaName(cluster.Name)),
		Spec:       corev1.ResourceQuotaSpec{Hard: hard},
	}
}

// InternalFor tells the cluster's agents to be in state, and by its annotation which hub they are connected to.
func InternalFor(cluster *v1beta1.MemberCluster, state v1beta1.ClusterState, hub types.UID) *v1beta1.InternalMemberCluster {
	period := cluster.Spec.HeartbeatPeriodSeconds
	if period == 0 {
		period = defaultHeartbeatSeconds
	}
	internal := &v1beta1.InternalMemberCluster{
		ObjectMeta: objectMeta(cluster, cluster.Name),
		Spec:       v1beta1.InternalMemberClusterSpec{State: state, HeartbeatPeriodSeconds: period},
	}
	internal.Labels = nil
	internal.Annotations = map[string]string{contract.AnnotationHubUID: string(hub)}
	return internal
}
