// Package walls attacks a fleet with the credentials that its parts really have: the token of a member, and that of a
// tenant of one namespace of the hub. The fleet is the charts' own, on real API servers, with the agents of this tree.
//
// A test plays one attack and asserts what must not happen; where that is an absence, it first waits until the agents
// have seen the attack, or until a harmless object that was made after it has arrived. The input of an attack is a
// file of testdata, and the test bears its name.
package walls

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// actor is one who comes to a cluster with credentials of its own.
type actor struct {
	// name is who it is in messages of tests.
	name   string
	config *rest.Config
	client.WithWatch
}

// member is a member cluster, and all who speak for it.
type member struct {
	// actor is the member's administrator, on the member.
	actor
	// onHub has the very token with which the member's agent comes to the hub.
	onHub actor
	// agent has what the member's chart grants to its agent, on the member.
	agent actor
	// cluster is the name of the member's MemberCluster, and namespace its namespace on the hub.
	cluster, namespace string
}

// tenant is a ServiceAccount of the hub that may do all with placements, envelopes and overrides of its own namespace,
// and may see roles.
type tenant struct {
	actor
	namespace string
	// account is its ServiceAccount.
	account string
}

var (
	// theHub is the hub's administrator.
	theHub actor
	// hubAgent has what the hub's chart grants.
	hubAgent actor
	// m1 is the attacker where one member attacks another, m2 its victim.
	m1, m2  member
	members [2]member
	// theTenant is of namespace rg-tenant, which all members have.
	theTenant tenant
)

const tenantAccount = "mallory"

func newActor(name string, config *rest.Config) (actor, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	scheme := apis.Scheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return actor{}, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return actor{}, fmt.Errorf("connect as %s: %w", name, err)
	}
	return actor{name: name, config: config, WithWatch: c}, nil
}

func administrator(cluster string) (actor, error) {
	config, err := local.RestConfig(cluster)
	if err != nil {
		return actor{}, err
	}
	return newActor("administrator of "+cluster, config)
}

func agentOf(cluster string) (actor, error) {
	config, err := clientcmd.BuildConfigFromFlags("", local.AgentKubeconfig(cluster))
	if err != nil {
		return actor{}, fmt.Errorf("read the kubeconfig of the agent of %s: %w", cluster, err)
	}
	return newActor("agent of "+cluster, config)
}

// withToken comes to the hub with a bearer token and nothing else.
func withToken(name, token string) (actor, error) {
	config := rest.AnonymousClientConfig(theHub.config)
	config.BearerToken = token
	return newActor(name, config)
}

func newMember(ctx context.Context, name string) (member, error) {
	m := member{cluster: name, namespace: contract.MemberNamespace(name)}
	var err error
	if m.actor, err = administrator(name); err != nil {
		return m, err
	}
	if m.agent, err = agentOf(name); err != nil {
		return m, err
	}
	var secret corev1.Secret
	if err := m.Get(ctx, client.ObjectKey{Namespace: "default", Name: "hub-kubeconfig-secret"}, &secret); err != nil {
		return m, fmt.Errorf("take the token of member %s for the hub: %w", name, err)
	}
	m.onHub, err = withToken("member "+name, string(secret.Data["token"]))
	return m, err
}

// newTenant makes a namespace on the hub and on all members, and one who owns it on the hub.
func newTenant(ctx context.Context, namespace string) (tenant, error) {
	who := tenant{namespace: namespace, account: tenantAccount}
	for _, cluster := range []actor{theHub, m1.actor, m2.actor} {
		if err := cluster.Create(ctx, testworld.Namespace(namespace)); err != nil {
			return who, fmt.Errorf("make a namespace for the tenant on %s: %w", cluster.name, err)
		}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: tenantAccount}}
	for _, obj := range []client.Object{
		account,
		&rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: tenantAccount},
			Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{v1beta1.GroupVersion.Group}, Resources: tenantResources, Verbs: []string{"*"}},
				{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}, Verbs: []string{"get"}},
			},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: tenantAccount},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: tenantAccount},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: tenantAccount}},
		},
	} {
		if err := theHub.Create(ctx, obj); err != nil {
			return who, fmt.Errorf("make the tenant: %w", err)
		}
	}
	token, err := tokenOf(ctx, account)
	if err != nil {
		return who, err
	}
	if who.actor, err = withToken("tenant of "+namespace, token); err != nil {
		return who, err
	}
	// The API server's authorizer follows what is stored a moment later.
	return who, testworld.Until(ctx, testworld.Soon, "the rights of "+who.name, func(ctx context.Context) error {
		return who.List(ctx, &v1beta1.ResourceEnvelopeList{}, client.InNamespace(namespace))
	})
}

// tenantResources are what the tenant may do everything with, in its namespace.
var tenantResources = []string{"resourceplacements", "resourceenvelopes", "resourceoverrides"}

// tokenOf is a token of a ServiceAccount of the hub, as a pod would have.
func tokenOf(ctx context.Context, account *corev1.ServiceAccount) (string, error) {
	request := &authenticationv1.TokenRequest{}
	if err := theHub.SubResource("token").Create(ctx, account, request); err != nil {
		return "", fmt.Errorf("request a token of service account %s/%s: %w", account.Namespace, account.Name, err)
	}
	return request.Status.Token, nil
}

// tenantOf makes a tenant for one test alone.
func tenantOf(t *testing.T, namespace string) tenant {
	t.Helper()
	who, err := newTenant(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// letIn lets a member in that has no cluster and no agent: there is only its token, with which the test plays whatever
// it likes. It returns when the member has its namespace, and reaches it.
func letIn(t *testing.T, name string) (actor, *clusterv1beta1.MemberCluster) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: contract.NamespaceSystem, Name: name}}
	create(t, theHub, account)
	token, err := tokenOf(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	who, err := withToken("member "+name, token)
	if err != nil {
		t.Fatal(err)
	}
	cluster := &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: clusterv1beta1.MemberClusterSpec{
		Identity: rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name},
	}}
	create(t, theHub, cluster)
	testworld.Await(t, testworld.Long, "the hub to let in "+name, func(ctx context.Context) error {
		return who.Get(ctx, client.ObjectKey{Namespace: contract.MemberNamespace(name), Name: name}, &clusterv1beta1.InternalMemberCluster{})
	})
	return who, cluster
}

// input is a file of testdata, without its ending.
func input(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// objects are those of a YAML text. Nothing is read into types: what an attack smuggles in stays in.
func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, document := range strings.Split(text, "\n---\n") {
		asJSON, err := yaml.YAMLToJSONStrict([]byte(document))
		if err != nil {
			t.Fatalf("read %q: %v", document, err)
		}
		obj := &unstructured.Unstructured{}
		if err := obj.UnmarshalJSON(asJSON); err != nil {
			t.Fatalf("read %q: %v", document, err)
		}
		all = append(all, obj)
	}
	return all
}

// attempt creates the objects of a YAML text as who, one after the other, and goes on where one is refused. It returns
// the objects, and a joined error of the refusals. An attack that is refused has failed; one that is let in must be
// stopped by the walls behind.
func attempt(t *testing.T, who actor, text string) ([]*unstructured.Unstructured, error) {
	t.Helper()
	var errs []error
	all := objects(t, text)
	for _, obj := range all {
		what := fmt.Sprintf("%s %s/%s", obj.GetKind(), obj.GetNamespace(), obj.GetName())
		if err := who.Create(t.Context(), obj); err != nil {
			errs = append(errs, fmt.Errorf("create %s as %s: %w", what, who.name, err))
			continue
		}
		t.Cleanup(func() { remove(t, obj) })
	}
	return all, errors.Join(errs...)
}

// apply is attempt of what must be let in.
func apply(t *testing.T, who actor, text string) []*unstructured.Unstructured {
	t.Helper()
	all, err := attempt(t, who, text)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// create makes an object as who and deletes it at the end of the test, if who acts on the hub.
func create(t *testing.T, who actor, obj client.Object) {
	t.Helper()
	testworld.Create(t, who, who.name, obj)
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(who.Delete(context.WithoutCancel(t.Context()), obj)); err != nil {
			t.Errorf("delete %T %s as %s: %v", obj, obj.GetName(), who.name, err)
		}
	})
}

// remove deletes an object of the hub as its administrator.
func remove(t *testing.T, obj client.Object) {
	t.Helper()
	if err := client.IgnoreNotFound(theHub.Delete(context.WithoutCancel(t.Context()), obj)); err != nil {
		t.Errorf("delete %T %s: %v", obj, obj.GetName(), err)
	}
}

// absent fails the test if obj is on one of these clusters.
func absent(t *testing.T, obj client.Object, from ...actor) {
	t.Helper()
	for _, cluster := range from {
		err := cluster.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
		switch {
		case err == nil:
			t.Errorf("%T %s is there, seen by %s", obj, client.ObjectKeyFromObject(obj), cluster.name)
		case !apierrors.IsNotFound(err):
			t.Errorf("look for %T %s as %s: %v", obj, client.ObjectKeyFromObject(obj), cluster.name, err)
		}
	}
}

// arrives makes a harmless placement after an attack and waits until it is on all members: whatever the attack set in
// motion before it has had its time, also on a slow machine. name must be the test's own.
func arrives(t *testing.T, name string) {
	t.Helper()
	create(t, theHub, testworld.Namespace(name))
	create(t, theHub, testworld.ConfigMap(name, "harmless"))
	placement := testworld.ClusterPlacement(name, name, testworld.PickFixed(m1.cluster, m2.cluster))
	placement.Finalizers = nil
	create(t, theHub, placement)
	for _, m := range members {
		testworld.AwaitPresent(t, m, m.name, testworld.ConfigMap(name, ""))
	}
}
