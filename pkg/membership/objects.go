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

// defaultHeartbeatSeconds is the period of a MemberCluster without one.
const defaultHeartbeatSeconds = 60

// NetworkingGroup is the API group of fleet networking, another project with its own agents.
const NetworkingGroup = "networking.fleet.azure.com"

// OwnedBy makes a cluster the controller of its objects on the hub, so that they are deleted with it.
func OwnedBy(cluster *v1beta1.MemberCluster) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: v1beta1.GroupVersion.String(),
		Kind:       "MemberCluster",
		Name:       cluster.Name,
		UID:        cluster.UID,
		Controller: ptr.To(true),
	}
}

// objectMeta is the metadata of a cluster's object on the hub. The label allows the hub agent to watch only these
// objects of their kinds.
func objectMeta(cluster *v1beta1.MemberCluster, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:       contract.MemberNamespace(cluster.Name),
		Name:            name,
		Labels:          map[string]string{contract.LabelFleetResource: "true"},
		OwnerReferences: []metav1.OwnerReference{OwnedBy(cluster)},
	}
}

// NamespaceFor returns the namespace for the objects that the hub and cluster share.
func NamespaceFor(cluster *v1beta1.MemberCluster) *corev1.Namespace {
	namespace := &corev1.Namespace{ObjectMeta: objectMeta(cluster, contract.MemberNamespace(cluster.Name))}
	namespace.Namespace = ""
	return namespace
}

// networkingResources are the resources of fleet networking in a member's namespace, in group
// networking.fleet.azure.com.
var networkingResources = []string{"endpointsliceexports", "endpointsliceimports", "internalserviceexports", "internalserviceimports"}

// NetworkingResources returns the resources of fleet networking in member namespaces, in any version that the hub
// serves.
func NetworkingResources() (out []schema.GroupVersionResource) {
	for _, resource := range networkingResources {
		out = append(out, schema.GroupVersionResource{Group: NetworkingGroup, Resource: resource})
	}
	return out
}

// Owns reports whether namespace, which has the name of the cluster's namespace, was created for cluster: the cluster
// owns it, or an earlier MemberCluster of that name does, as after a restore of the hub. An administrator assigns any
// other namespace to a cluster with an annotation that contains the cluster's UID, which is unknown before the
// MemberCluster exists.
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

// RoleFor returns all permissions of the cluster's identity on the hub; they apply only to the cluster's namespace.
// The agent reads its InternalMemberCluster and its Works, reports the status of both, adds its finalizer to Works,
// and records events; it creates and deletes nothing else. RBAC has no verb for finalizers alone: permission to patch
// a Work includes its spec, so the member could change its own content.
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

// RoleBindingFor returns the binding of the cluster's identity to its role.
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

// mostNetworking is the maximum number of objects of each kind of fleet networking in a member's namespace: there is
// at least one for each Service that the member exports or imports, and Kubernetes is tested with 5,000 Services in a
// namespace.
const mostNetworking = 5000

// QuotaFor limits the number of objects that the cluster's identity may create in its namespace. Currently these are
// only the kinds of fleet networking; the quota does not depend on whether the Role grants them, so that the quota is
// active before the Role. Kubernetes never counts events for quotas (its quota admission ignores them): the hub
// chart's policy member-events limits those.
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

// InternalFor returns the InternalMemberCluster that requests the cluster's agents to be in state, and whose
// annotation contains the UID of the hub.
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
