package policies

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/admission/policy"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

const (
	denyWorkloads       = "creating pods and replicas is disallowed in the fleet hub cluster"
	denyServiceAccounts = "writing service accounts in reserved namespaces or requesting tokens from such service accounts is disallowed"
)

func TestPolicies(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	hub := testworld.StartCluster(t, testworld.ClusterOptions{Name: "hub"})
	var writes testworld.Writes
	direct := clientFor(t, writes.Of(hub.Config))
	write := func(c policy.Config) []string {
		t.Helper()
		if err := Write(t.Context(), direct, c); err != nil {
			t.Fatal(err)
		}
		return writes.Take()
	}
	foreign := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "foreign", Labels: policy.Labels()},
		Spec: policy.Generate(policy.Default())[0].Policy.Spec}
	delete(foreign.Labels, "app.kubernetes.io/part-of")
	if err := hub.Client.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}

	if got := write(policy.Default()); len(got) != 4 || !strings.HasPrefix(got[0], "POST") {
		t.Errorf("the first start wrote %v; want two policies and two bindings", got)
	}
	if got := write(policy.Default()); len(got) != 0 {
		t.Errorf("a start with nothing changed wrote %v", got)
	}
	t.Run("both in force", func(t *testing.T) { tryAll(t, hub, true, true) })

	custom := policy.Default()
	custom.ServiceAccounts.WhitelistedUsernames = []string{"test-user"}
	custom.Workloads = nil
	if got := write(custom); len(got) != 3 {
		t.Errorf("the changed configuration led to %v; want one update, and the deletion of a policy and its binding", got)
	}
	t.Run("with an exception and without workloads", func(t *testing.T) { tryAll(t, hub, false, false) })
	if got := write(policy.Config{}); len(got) != 2 {
		t.Errorf("the configuration without policies led to %v; want the deletion of a policy and its binding", got)
	}
	if err := hub.Client.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign); err != nil {
		t.Errorf("a policy that lacks one of the labels: %v; want it left alone", err)
	}
}

// tryAll awaits that the policies hold or do not hold for a user who may do everything that they are about.
func tryAll(t *testing.T, hub *testworld.Cluster, workloads, serviceAccounts bool) {
	user := rest.ImpersonationConfig{UserName: "test-user", Groups: []string{"system:authenticated"}}
	allow(t, hub, user.UserName, "system:serviceaccount:fleet-system:x")
	as := func(who rest.ImpersonationConfig) client.Client {
		config := rest.CopyConfig(hub.Config)
		config.Impersonate = who
		return clientFor(t, config)
	}
	master := rest.ImpersonationConfig{UserName: "admin", Groups: []string{"system:masters"}}
	agent := rest.ImpersonationConfig{UserName: "system:serviceaccount:fleet-system:x", Groups: []string{"system:serviceaccounts"}}
	pod := func(namespace string) func(context.Context, client.Client) error {
		return func(ctx context.Context, c client.Client) error {
			return c.Create(ctx, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "p-"},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
			}, client.DryRunAll)
		}
	}
	replicas := func(ctx context.Context, c client.Client) error {
		labels := map[string]string{"a": "b"}
		return c.Create(ctx, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "r-"},
			Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
			}}}, client.DryRunAll)
	}
	account := func(namespace string) func(context.Context, client.Client) error {
		return func(ctx context.Context, c client.Client) error {
			return c.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "s-"}}, client.DryRunAll)
		}
	}
	token := func(namespace string) func(context.Context, client.Client) error {
		return func(ctx context.Context, c client.Client) error {
			of := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
			return c.SubResource("token").Create(ctx, of, &authenticationv1.TokenRequest{}, client.DryRunAll)
		}
	}
	for name, c := range map[string]struct {
		who    rest.ImpersonationConfig
		try    func(context.Context, client.Client) error
		denied bool
		why    string
	}{
		"contract:295 a pod in default":                         {user, pod("default"), workloads, denyWorkloads},
		"contract:296 a replica set in default":                 {user, replicas, workloads, denyWorkloads},
		"a pod of an administrator in default":                  {master, pod("default"), workloads, denyWorkloads},
		"a pod in kube-public":                                  {master, pod("kube-public"), false, ""},
		"contract:294 a service account in kube-system":         {user, account("kube-system"), serviceAccounts, denyServiceAccounts},
		"a token in kube-system":                                {user, token("kube-system"), serviceAccounts, denyServiceAccounts},
		"a service account in default":                          {user, account("default"), false, ""},
		"a token in default":                                    {user, token("default"), false, ""},
		"a service account of an administrator in kube-system":  {master, account("kube-system"), false, ""},
		"a service account of a service account in kube-system": {agent, account("kube-system"), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c1 := as(c.who)
			// The API server takes up a policy, and its end, some time after it was written.
			testworld.Await(t, testworld.Soon, "the policies to be in force", func(ctx context.Context) error {
				err := c.try(ctx, c1)
				switch {
				case c.denied && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), c.why)):
					return fmt.Errorf("the answer is %w; want it forbidden with %q", orOK(err), c.why)
				case !c.denied && err != nil:
					return err
				}
				return nil
			})
		})
	}
}

// orOK is an error also for success, to wrap.
func orOK(err error) error {
	if err == nil {
		return fmt.Errorf("success")
	}
	return err
}

func allow(t *testing.T, hub *testworld.Cluster, users ...string) {
	t.Helper()
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "users"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"}}
	for _, user := range users {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user})
	}
	if err := hub.Client.Create(t.Context(), binding); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func clientFor(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: apis.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
