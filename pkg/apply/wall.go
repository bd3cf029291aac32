package apply

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Wall defines the objects that Works must not change on their member, whatever the hub permits.
type Wall struct {
	// Agent is the agent's ServiceAccount; empty if it runs as another kind of user.
	Agent types.NamespacedName
	// Token is the Secret that holds the agent's token for the hub, if there is one.
	Token types.NamespacedName
	// Open are protected namespaces that the member's owner opens to Works.
	Open []string
}

// Spot is the location of an object on the member: the resource that serves its kind, and the namespace that is
// actually written.
type Spot struct {
	schema.GroupResource
	types.NamespacedName
}

// marker is the ConfigMap on a member that identifies its hub, and removals the one that counts what was removed.
var (
	marker   = types.NamespacedName{Namespace: "kube-system", Name: "fleet-membership"}
	removals = types.NamespacedName{Namespace: "kube-system", Name: "fleet-removals"}
)

// Resources with rules in the wall.
var (
	namespacesOf = schema.GroupResource{Resource: "namespaces"}
	secretsOf    = schema.GroupResource{Resource: "secrets"}
	configMapsOf = schema.GroupResource{Resource: "configmaps"}
	definitions  = schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}
	ledgersOf    = schema.GroupResource{Group: v1beta1.GroupVersion.Group, Resource: "appliedworks"}
)

// Refuses returns why a Work must not change an object; "" if it may. tenant is the namespace of the Work's placement;
// empty for a cluster-wide one.
func (w Wall) Refuses(at Spot, tenant string) string {
	switch {
	case tenant != "" && at.Namespace == "":
		return fmt.Sprintf("it is cluster-scoped, and the placement is a ResourcePlacement of namespace %s, which places objects of that namespace "+
			"only; use a ClusterResourcePlacement", tenant)
	case tenant != "" && at.Namespace != tenant:
		return fmt.Sprintf("it is in namespace %s, and the placement is a ResourcePlacement of namespace %s, which places objects of that "+
			"namespace only", at.Namespace, tenant)
	case at.GroupResource == ledgersOf || at.GroupResource == definitions && at.Name == ledgersOf.String():
		return "it belongs to the ledger of the member agent"
	case at.GroupResource == secretsOf && w.Token.Name != "" && at.NamespacedName == w.Token:
		return "it holds the credentials of the member agent"
	case at.GroupResource == configMapsOf && at.NamespacedName == marker:
		return "it identifies the hub of the member cluster"
	case at.GroupResource == configMapsOf && at.NamespacedName == removals:
		return "it counts what the member agent removes"
	case at.Namespace == "" && at.Group == "rbac.authorization.k8s.io" && w.own(at.Name):
		return "it grants the member agent access to its cluster"
	}
	namespace := at.Namespace
	if at.GroupResource == namespacesOf {
		namespace = at.Name
	}
	if w.protects(namespace) {
		return fmt.Sprintf("namespace %s is protected on the member cluster; the member's owner can open it with rbac.openNamespaces in the "+
			"member agent's chart", namespace)
	}
	return ""
}

func (w Wall) protects(namespace string) bool {
	reserved := namespace == contract.NamespaceSystem || strings.HasPrefix(namespace, "kube-") ||
		namespace != "" && namespace == w.Agent.Namespace
	return reserved && !slices.Contains(w.Open, namespace)
}

// own reports whether a ClusterRole or ClusterRoleBinding of this name is the agent's: in its chart, the names of all
// of its objects have the same prefix.
func (w Wall) own(name string) bool {
	if w.Agent.Name == "" {
		return false
	}
	return strings.HasPrefix(name, strings.TrimSuffix(w.Agent.Name, "-sa")+"-")
}
