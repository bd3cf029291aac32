package apply

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

func TestWall(t *testing.T) {
	wall := Wall{Agent: types.NamespacedName{Namespace: "agents", Name: "member-agent-sa"},
		Token: types.NamespacedName{Namespace: "default", Name: "hub-token"}, Open: []string{"kube-public"}}
	const rbac, crds = "clusterroles.rbac.authorization.k8s.io", "customresourcedefinitions.apiextensions.k8s.io"
	for name, tc := range map[string]struct {
		resource, namespace, name, tenant string
		want                              string // "" if it may be touched
	}{
		"a tenant's own namespace":              {resource: "configmaps", namespace: "shop", name: "a", tenant: "shop"},
		"another tenant's":                      {resource: "configmaps", namespace: "bank", name: "a", tenant: "shop", want: "it is in namespace bank"},
		"a tenant and what is cluster-wide":     {resource: rbac, name: "a", tenant: "shop", want: "it is cluster-scoped"},
		"a tenant and its own Namespace":        {resource: "namespaces", name: "shop", tenant: "shop", want: "it is cluster-scoped"},
		"a tenant whose namespace is protected": {resource: "configmaps", namespace: "kube-system", name: "a", tenant: "kube-system", want: "protected"},
		"anything elsewhere":                    {resource: "secrets", namespace: "default", name: "a"},
		"anything cluster-wide":                 {resource: rbac, name: "viewer"},
		"kube-system":                           {resource: "configmaps", namespace: "kube-system", name: "a", want: "rbac.openNamespaces"},
		"the Namespace kube-system":             {resource: "namespaces", name: "kube-system", want: "protected"},
		"another kind of that name":             {resource: "nodes", name: "kube-system"},
		"fleet-system":                          {resource: "pods", namespace: "fleet-system", name: "a", want: "protected"},
		"the agent's namespace":                 {resource: "serviceaccounts", namespace: "agents", name: "a", want: "protected"},
		"a namespace that was opened":           {resource: "configmaps", namespace: "kube-public", name: "a"},
		"the agent's role":                      {resource: rbac, name: "member-agent-role", want: "access to its cluster"},
		"its binding":                           {resource: "clusterrolebindings.rbac.authorization.k8s.io", name: "member-agent-cluster-admin-binding", want: "access to its cluster"},
		"its token":                             {resource: "secrets", namespace: "default", name: "hub-token", want: "credentials"},
		"a ConfigMap named like it":             {resource: "configmaps", namespace: "default", name: "hub-token"},
		"the count of removals":                 {resource: "configmaps", namespace: "kube-system", name: "fleet-removals", want: "counts what"},
		"a ledger":                              {resource: "appliedworks.placement.kubernetes-fleet.io", name: "a", want: "ledger"},
		"the definition of ledgers":             {resource: crds, name: "appliedworks.placement.kubernetes-fleet.io", want: "ledger"},
		"another definition":                    {resource: crds, name: "gadgets.example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			at := Spot{schema.ParseGroupResource(tc.resource), types.NamespacedName{Namespace: tc.namespace, Name: tc.name}}
			got := wall.Refuses(at, tc.tenant)
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	open := Wall{Open: []string{"kube-system"}}
	for _, own := range []types.NamespacedName{marker, removals} {
		if open.Refuses(Spot{schema.GroupResource{Resource: "configmaps"}, own}, "") == "" {
			t.Errorf("%s may be written where its namespace is open", own)
		}
	}
}
