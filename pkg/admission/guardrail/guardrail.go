// Package guardrail decides who may write what belongs to the fleet on the hub: its CustomResourceDefinitions,
// MemberClusters, reserved namespaces and what is in them. It is the decision of the guard rail webhook.
package guardrail

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Policy is what the flags of the hub agent make of the guard rail.
type Policy struct {
	// Admins are users with the rights of administrators, beside the groups that have them.
	Admins sets.Set[string]
	// ProtectLabels lets only members of system:masters change labels of MemberClusters of managed fleets, but for
	// those whose keys begin with kubernetes-fleet.io/.
	ProtectLabels bool
	// Own is the agent's own namespace, which is guarded whatever its name.
	Own string
}

// Identities returns the identity that a MemberCluster names; known is false if the MemberCluster cannot be read.
type Identities func(member string) (identity rbacv1.Subject, known bool)

// Groups of users that Kubernetes knows.
const (
	masters         = "system:masters"
	clusterAdmins   = "kubeadm:cluster-admins"
	serviceAccounts = "system:serviceaccounts"
	nodes           = "system:nodes"
)

// Those who may write in reserved namespaces: administrators and components of the cluster.
var (
	// TrustedGroups are groups of theirs.
	TrustedGroups = []string{masters, clusterAdmins, serviceAccounts, nodes}
	// TrustedUsers are in no group of their own. The last one is of Azure's support.
	TrustedUsers = []string{"system:kube-scheduler", "system:kube-controller-manager", "aks-support"}
)

// FleetGroups are the API groups whose definitions only administrators change.
var FleetGroups = []string{"networking.fleet.azure.com", "cluster.kubernetes-fleet.io", "placement.kubernetes-fleet.io", "multicluster.x-k8s.io"}

// CustomResourceDefinition decides about a write of a definition. Its name is the plural and the group; one that is not
// known is guarded.
func (p Policy) CustomResourceDefinition(req *admissionv1.AdmissionRequest) error {
	_, group, _ := strings.Cut(req.Name, ".")
	if req.Name != "" && !slices.Contains(FleetGroups, group) || p.admin(req.UserInfo) {
		return nil
	}
	return denied(req)
}

// Namespace decides about a write of a namespace; one whose name is not known is guarded.
func (p Policy) Namespace(req *admissionv1.AdmissionRequest) error {
	if req.Name != "" && !contract.ReservedNamespace(req.Name) || p.system(req.UserInfo) {
		return nil
	}
	return denied(req)
}

// Namespaced decides about a write in a reserved namespace.
func (p Policy) Namespaced(req *admissionv1.AdmissionRequest, identities Identities) error {
	kind := schema.GroupKind{Group: req.Kind.Group, Kind: req.Kind.Kind}
	guarded := contract.ReservedNamespace(req.Namespace) || p.Own != "" && req.Namespace == p.Own
	if !guarded || isEvent(kind) || p.system(req.UserInfo) {
		return nil
	}
	member, ok := contract.MemberOf(req.Namespace)
	if !ok || !ofMember.Has(schema.GroupResource{Group: req.Resource.Group, Resource: req.Resource.Resource}) {
		return denied(req)
	}
	identity, known := identities(member)
	if !known || is(req.UserInfo, identity) {
		return nil
	}
	return denied(req)
}

// Undecodable decides about a write of an object that the agent cannot decode.
func (p Policy) Undecodable(req *admissionv1.AdmissionRequest) error {
	if p.system(req.UserInfo) {
		return nil
	}
	return denied(req)
}

// ofMember are the resources that a member's own agents write in its namespace.
var ofMember = sets.New(
	schema.GroupResource{Group: "cluster.kubernetes-fleet.io", Resource: "internalmemberclusters"},
	schema.GroupResource{Group: "placement.kubernetes-fleet.io", Resource: "works"},
	schema.GroupResource{Group: "networking.fleet.azure.com", Resource: "endpointsliceexports"},
	schema.GroupResource{Group: "networking.fleet.azure.com", Resource: "endpointsliceimports"},
	schema.GroupResource{Group: "networking.fleet.azure.com", Resource: "internalserviceexports"},
	schema.GroupResource{Group: "networking.fleet.azure.com", Resource: "internalserviceimports"},
)

func isEvent(kind schema.GroupKind) bool {
	return kind.Kind == "Event" && (kind.Group == "" || kind.Group == "events.k8s.io")
}

// is reports whether a user has an identity: its plain name, that of a service account in fleet-system, or a group.
func is(user authenticationv1.UserInfo, identity rbacv1.Subject) bool {
	if identity.Name == "" {
		return false
	}
	if identity.Kind == rbacv1.GroupKind {
		return slices.Contains(user.Groups, identity.Name)
	}
	return user.Username == identity.Name || user.Username == "system:serviceaccount:"+contract.NamespaceSystem+":"+identity.Name
}

// annotationPrefix begins the keys of the annotations that make a MemberCluster one of a managed fleet.
const annotationPrefix = "fleet.azure.com"

// MemberCluster decides about a write of a MemberCluster or of its status. old is nil for a creation, cluster for a
// deletion.
func (p Policy) MemberCluster(req *admissionv1.AdmissionRequest, old, cluster *clusterv1beta1.MemberCluster) error {
	if req.Operation != admissionv1.Update {
		of := cluster
		if of == nil {
			of = old
		}
		if len(fleetAnnotations(of)) == 0 || p.system(req.UserInfo) {
			return nil
		}
		return denied(req)
	}
	was, now := fleetAnnotations(old), fleetAnnotations(cluster)
	switch {
	case len(was) > 0 && len(now) == 0:
		return errors.New("no user is allowed to remove all fleet pre-fixed annotations from a fleet member cluster")
	case len(was) == 0 && len(now) > 0:
		return errors.New("no user is allowed to add a fleet pre-fixed annotation to an upstream member cluster")
	case p.ProtectLabels && len(was) > 0 && !maps.Equal(foreignLabels(old), foreignLabels(cluster)) && !slices.Contains(req.UserInfo.Groups, masters):
		return denied(req)
	case p.system(req.UserInfo):
		return nil
	case req.SubResource == "status":
		return denied(req)
	case len(was) > 0 && (changed(was, now) || !sameSpec(old, cluster) || !slices.Equal(old.Finalizers, cluster.Finalizers)):
		return denied(req)
	}
	return nil
}

func fleetAnnotations(c *clusterv1beta1.MemberCluster) map[string]string {
	out := map[string]string{}
	if c == nil {
		return out
	}
	for key, value := range c.Annotations {
		if strings.HasPrefix(key, annotationPrefix) {
			out[key] = value
		}
	}
	return out
}

// changed reports whether any annotation of was has another value, or is gone.
func changed(was, now map[string]string) bool {
	for key, value := range was {
		if is, ok := now[key]; !ok || is != value {
			return true
		}
	}
	return false
}

// foreignLabels are the labels whose keys are not the fleet's own.
func foreignLabels(c *clusterv1beta1.MemberCluster) map[string]string {
	out := maps.Clone(c.Labels)
	maps.DeleteFunc(out, func(key, _ string) bool { return strings.HasPrefix(key, "kubernetes-fleet.io/") })
	return out
}

// sameSpec compares all of the spec but taints, which are left to users.
func sameSpec(a, b *clusterv1beta1.MemberCluster) bool {
	x, y := a.Spec.DeepCopy(), b.Spec.DeepCopy()
	x.Taints, y.Taints = nil, nil
	return reflect.DeepEqual(x, y)
}

func (p Policy) admin(user authenticationv1.UserInfo) bool {
	return p.Admins.Has(user.Username) || slices.Contains(user.Groups, masters) || slices.Contains(user.Groups, clusterAdmins)
}

func (p Policy) system(user authenticationv1.UserInfo) bool {
	trusted := func(group string) bool { return slices.Contains(TrustedGroups, group) }
	return p.admin(user) || slices.Contains(TrustedUsers, user.Username) || slices.ContainsFunc(user.Groups, trusted)
}

// mostGroups is how many groups of a user a denial lists; of more it lists the first fewGroups.
const mostGroups, fewGroups = 10, 3

// denied is the denial whose form the contract fixes (operations.md 8.5).
func denied(req *admissionv1.AdmissionRequest) error {
	groups := fmt.Sprintf("groups: %v", req.UserInfo.Groups)
	if len(req.UserInfo.Groups) > mostGroups {
		groups = fmt.Sprintf("groups: [%s ...]", strings.Join(req.UserInfo.Groups[:fewGroups], " "))
	}
	return fmt.Errorf("user: '%s' in '%s' is not allowed to %s resource %s/%s: %s", req.UserInfo.Username, groups, req.Operation,
		schema.GroupVersionKind(req.Kind).String(), req.SubResource, types.NamespacedName{Namespace: req.Namespace, Name: req.Name})
}
