package walls

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// tenant-envelope-leaves-namespace: an envelope whose manifests name the tenant's namespace in a field that only some
// readers take for the namespace. It is tried by the tenant and, past all that refuses a tenant, by the hub's
// administrator.
func TestTenantEnvelopeLeavesNamespace(t *testing.T) {
	t.Parallel()
	text := input(t, "tenant-envelope-leaves-namespace")
	_, err := attempt(t, theTenant.actor, text)
	t.Logf("as the tenant: %v", err)
	_, err = attempt(t, theHub, renamed(text, "rg-env1", "rg-env1-admin", "rg-rp1", "rg-rp1-admin"))
	t.Logf("as the administrator: %v", err)
	// Without the privileged object, so that only the smuggled namespace can be what is refused.
	head, tail, _ := strings.Cut(text, "  b: ")
	_, placement, _ := strings.Cut(tail, "---")
	text = head + "---" + placement
	_, err = attempt(t, theTenant.actor, renamed(text, "rg-env1", "rg-env2", "rg-rp1", "rg-rp-env2"))
	t.Logf("the config map alone, as the tenant: %v", err)

	arrives(t, "rg-after-envelope")
	absent(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "rg-planted"}}, m1.actor, m2.actor)
	absent(t, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "rg-tenant-admin"}}, m1.actor, m2.actor)
}

// tenant-reads-secrets-by-diff: manifests that call themselves a ConfigMap to one reader and a Secret to another,
// compared with what the members have.
func TestTenantReadsSecretsByDiff(t *testing.T) {
	t.Parallel()
	const marker = "rg-marked-content-of-a-secret"
	for _, m := range members {
		create(t, m.actor, testworld.Namespace("rg-victim"))
		for _, at := range []client.ObjectKey{{Namespace: theTenant.namespace, Name: "member-only"}, {Namespace: "rg-victim", Name: "rg-app-secret"}} {
			create(t, m.actor, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: at.Namespace, Name: at.Name}, StringData: map[string]string{"k": marker}})
		}
	}
	text := input(t, "tenant-reads-secrets-by-diff")
	_, err := attempt(t, theTenant.actor, text)
	t.Logf("as the tenant: %v", err)
	_, err = attempt(t, theHub, renamed(text, "rg-spyenv", "rg-spyenv-admin", "rg-spyrp", "rg-spyrp-admin"))
	t.Logf("as the administrator: %v", err)
	arrives(t, "rg-after-diff")
	nowhereOnHub(t, marker)
}

// nowhereOnHub fails the test if a text, plain or as a Secret has it, is in any object of the fleet's kinds or any
// event of the hub.
func nowhereOnHub(t *testing.T, marker string) {
	t.Helper()
	encoded := base64.StdEncoding.EncodeToString([]byte(marker))
	clients, err := kubernetes.NewForConfig(theHub.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, gvr := range append(placementResources(t), corev1.SchemeGroupVersion.WithResource("events")) {
		path := "/apis/" + gvr.GroupVersion().String() + "/" + gvr.Resource
		if gvr.Group == "" {
			path = "/api/" + gvr.Version + "/" + gvr.Resource
		}
		// It is not decoded: other tests store objects that cannot be.
		text, err := clients.RESTClient().Get().AbsPath(path).DoRaw(t.Context())
		if err != nil {
			t.Fatalf("search %s: %v", gvr.Resource, err)
		}
		for _, secret := range []string{marker, encoded} {
			if at := bytes.Index(text, []byte(secret)); at >= 0 {
				t.Errorf("an object of %s shows the content of a Secret of a member: %s", gvr.Resource, text[max(0, at-2000):at])
			}
		}
	}
}

// tenant-override-raises-role: the tenant may see a Role, not write one, and overrides its rules on the way to the
// members.
func TestTenantOverrideRaisesRole(t *testing.T) {
	t.Parallel()
	create(t, theHub, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: theTenant.namespace, Name: "rg-weak"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}}},
	})
	_, err := attempt(t, theTenant.actor, input(t, "tenant-override-raises-role"))
	if err == nil {
		t.Error("the tenant places and overrides a Role without the verb for it")
	}
	arrives(t, "rg-after-override")
	for _, m := range members {
		var role rbacv1.Role
		err := m.Get(t.Context(), client.ObjectKey{Namespace: theTenant.namespace, Name: "rg-weak"}, &role)
		if client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Verbs, "*") }) {
			t.Errorf("on %s the Role has %v", m.name, role.Rules)
		}
	}
}

// tenant-deep-json: values so deep that Go cannot read the list that holds them. They harm the tenant alone: others'
// placements and envelopes go on, also after the hub agent was started again.
func TestTenantDeepJSON(t *testing.T) {
	kube, err := kubernetes.NewForConfig(theTenant.config)
	if err != nil {
		t.Fatal(err)
	}
	deep := func(levels int) string { return strings.Repeat(`{"a":`, levels) + `1` + strings.Repeat("}", levels) }
	group := "/apis/" + v1beta1.GroupVersion.String() + "/namespaces/" + theTenant.namespace
	for path, body := range map[string]string{
		"/resourceoverrides": `{"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":"ResourceOverride","metadata":{"name":"rg-deep"},"spec":{` +
			`"resourceSelectors":[{"group":"","version":"v1","kind":"ConfigMap","name":"cm"}],"policy":{"overrideRules":[{"clusterSelector":` +
			`{"clusterSelectorTerms":[]},"jsonPatchOverrides":[{"op":"add","path":"/data","value":` + deep(9985) + `}]}]}}}`,
		"/resourceenvelopes": `{"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":"ResourceEnvelope","metadata":{"name":"rg-deep"},"data":{"a":{` +
			`"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"rg-tenant"},"data":` + deep(9990) + `}}}`,
	} {
		err := kube.RESTClient().Post().AbsPath(group + path).Body([]byte(body)).Do(t.Context()).Error()
		t.Logf("%s: %v", path, err) // refused or not, others must not notice
		t.Cleanup(func() { forget(t, theHub.config, group+path+"/rg-deep") })
	}
	arrives(t, "rg-after-deep-json")
	envelopeArrives(t, "rg-envelope-after-deep-json")
	restartHubAgent(t)
	arrives(t, "rg-restarted-after-deep-json")
	envelopeArrives(t, "rg-envelope-restarted-after-deep-json")
}

// envelopeArrives is arrives for an envelope of another tenant.
func envelopeArrives(t *testing.T, namespace string) {
	t.Helper()
	other := tenantOf(t, namespace)
	apply(t, other.actor, fmt.Sprintf(`
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourceEnvelope
metadata: {name: good, namespace: %[1]s}
data: {a: {apiVersion: v1, kind: ConfigMap, metadata: {name: enveloped, namespace: %[1]s}, data: {k: v}}}
---
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourcePlacement
metadata: {name: good, namespace: %[1]s}
spec:
  resourceSelectors: [{group: placement.kubernetes-fleet.io, version: v1beta1, kind: ResourceEnvelope, name: good}]
  policy: {placementType: PickFixed, clusterNames: [rg-m1, rg-m2]}
`, namespace))
	for _, m := range members {
		testworld.AwaitPresent(t, m, m.name, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "enveloped"}})
	}
}

// forget deletes an object that no client may be able to read.
func forget(t *testing.T, config *rest.Config, path string) {
	t.Helper()
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	err = kube.RESTClient().Delete().AbsPath(path).Do(context.WithoutCancel(t.Context())).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		t.Logf("delete %s: %v", path, err)
	}
}
