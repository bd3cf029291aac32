package webhook_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
)

// line is what one webhook is about: name, failure policy and timeout, path, and for each rule operations,
// group/version and resources.
func line(
	name string, failure *admissionv1.FailurePolicyType, timeout *int32, client admissionv1.WebhookClientConfig, rules []admissionv1.RuleWithOperations,
) string {
	path, _ := strings.CutPrefix(*client.URL, "https://agent")
	out := fmt.Sprintf("%s %s %ds %s", name, *failure, *timeout, path)
	for _, rule := range rules {
		var operations string
		for _, o := range rule.Operations {
			operations += string(o[0])
		}
		out += fmt.Sprintf(" %s %s/%s %s %s", operations, strings.Join(rule.APIGroups, ","), strings.Join(rule.APIVersions, ","),
			strings.Join(rule.Resources, ","), *rule.Scope)
	}
	return out
}

func lines(c *admissionv1.ValidatingWebhookConfiguration) []string {
	if c == nil {
		return nil
	}
	var out []string
	for _, w := range c.Webhooks {
		out = append(out, line(w.Name, w.FailurePolicy, w.TimeoutSeconds, w.ClientConfig, w.Rules))
	}
	return out
}

const (
	placement = "placement.kubernetes-fleet.io"
	pod       = "fleet.pod.validating Fail 5s /validate--v1-pod C /v1 pods Namespaced"
	replicas  = "fleet.replicaset.validating Fail 5s /validate-apps-v1-replicaset C apps/v1 replicasets Namespaced"
	budget    = "fleet.poddisruptionbudget.validating Fail 5s /validate-policy-v1-poddisruptionbudget C policy/v1 poddisruptionbudgets Namespaced"
	crp       = "fleet.clusterresourceplacementv1beta1.validating Fail 5s /validate-" + placement + "-v1beta1-clusterresourceplacement CU " + placement +
		"/v1beta1 clusterresourceplacements Cluster"
	member  = "fleet.membercluster.validating Fail 5s /validate-cluster.kubernetes-fleet.io-v1beta1-membercluster %s cluster.kubernetes-fleet.io/v1beta1 memberclusters Cluster"
	co      = "fleet.clusterresourceoverride.validating Fail 5s /validate-" + placement + "-v1beta1-clusterresourceoverride CU " + placement + "/v1beta1 clusterresourceoverrides Cluster"
	ro      = "fleet.resourceoverride.validating Fail 5s /validate-" + placement + "-v1beta1-resourceoverride CU " + placement + "/v1beta1 resourceoverrides Namespaced"
	evict   = "fleet.clusterresourceplacementeviction.validating Fail 5s /validate-" + placement + "-v1beta1-clusterresourceplacementeviction C " + placement + "/v1beta1 clusterresourceplacementevictions Cluster"
	disrupt = "fleet.clusterresourceplacementdisruptionbudget.validating Fail 5s /validate-" + placement +
		"-v1beta1-clusterresourceplacementdisruptionbudget CU " + placement + "/v1beta1 clusterresourceplacementdisruptionbudgets Cluster"
)

func TestValidatingWebhooks(t *testing.T) {
	for name, c := range map[string]struct {
		options webhook.Options
		want    []string
	}{
		"no workloads": {webhook.Options{PodDisruptionBudgets: true}, []string{pod, replicas, crp, fmt.Sprintf(member, "CU"), co, ro, evict, disrupt}},
		"no workloads and no budgets of pods": {webhook.Options{}, []string{
			pod, replicas, budget, crp, fmt.Sprintf(member, "CU"), co, ro, evict, disrupt,
		}},
		"workloads without budgets": {webhook.Options{Workloads: true}, []string{budget, crp, fmt.Sprintf(member, "CU"), co, ro, evict, disrupt}},
		"workloads and networking agents": {webhook.Options{Workloads: true, PodDisruptionBudgets: true, Networking: true}, []string{
			crp, fmt.Sprintf(member, "CUD"), co, ro, evict, disrupt,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c.options.Client.URL = "https://agent"
			made := webhook.Make(c.options)
			if diff := cmp.Diff(c.want, lines(made.Validating)); diff != "" {
				t.Errorf("validating webhooks (-want +got):\n%s", diff)
			}
			if made.GuardRail != nil {
				t.Error("there is a guard rail")
			}
		})
	}
}

// Until the API server has reached the agent, no failure counts, and there is a probe.
func TestTrial(t *testing.T) {
	options := webhook.Options{PodDisruptionBudgets: true, GuardRail: true, Client: webhook.Client{URL: "https://agent"}}
	final := lines(webhook.Make(options).Validating)
	options.Trial = true
	made := webhook.Make(options)
	var want []string
	for _, line := range final {
		want = append(want, strings.Replace(line, " Fail ", " Ignore ", 1))
	}
	want = append(want, "fleet.probe.validating Ignore 5s /validate-fleetprobe C coordination.k8s.io/v1 leases Namespaced")
	if diff := cmp.Diff(want, lines(made.Validating)); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	probe := made.Validating.Webhooks[len(want)-1]
	if diff := cmp.Diff(map[string]string{webhook.ProbeLabel: "true"}, probe.ObjectSelector.MatchLabels); diff != "" {
		t.Errorf("objects of the probe (-want +got):\n%s", diff)
	}
}

func TestMutatingWebhook(t *testing.T) {
	w := webhook.Make(webhook.Options{Client: webhook.Client{URL: "https://agent"}}).Mutating.Webhooks
	if len(w) != 1 {
		t.Fatalf("%d webhooks", len(w))
	}
	want := "fleet.clusterresourceplacementv1beta1.mutating Ignore 5s /mutate-" + placement + "-v1beta1-clusterresourceplacement CU " + placement +
		"/v1beta1 clusterresourceplacements Cluster"
	if diff := cmp.Diff(want, line(w[0].Name, w[0].FailurePolicy, w[0].TimeoutSeconds, w[0].ClientConfig, w[0].Rules)); diff != "" {
		t.Errorf("mutating webhook (-want +got):\n%s", diff)
	}
}

// namespaced are the rules of the webhooks for reserved namespaces.
var namespaced = strings.Join([]string{
	"D */* */* Namespaced",
	"CU /v1 bindings,configmaps,endpoints,limitranges,persistentvolumeclaims,persistentvolumeclaims/status,podtemplates,pods,pods/status,pods/ephemeralcontainers," +
		"replicationcontrollers,replicationcontrollers/status,replicationcontrollers/scale,resourcequotas,resourcequotas/status,secrets,serviceaccounts,serviceaccounts/token," +
		"services,services/status Namespaced",
	"CU apps/v1 controllerrevisions,daemonsets,daemonsets/status,replicasets,replicasets/status,replicasets/scale,deployments,deployments/status,deployments/scale,statefulsets," +
		"statefulsets/status,statefulsets/scale Namespaced",
	"CU authorization.k8s.io/v1 localsubjectaccessreviews Namespaced",
	"CU autoscaling/v1 horizontalpodautoscalers,horizontalpodautoscalers/status Namespaced",
	"CU batch/v1 cronjobs,cronjobs/status,jobs,jobs/status Namespaced",
	"CU discovery.k8s.io/v1 endpointslices Namespaced",
	"CU networking.k8s.io/v1 ingresses,ingresses/status,networkpolicies Namespaced",
	"CU policy/v1 poddisruptionbudgets,poddisruptionbudgets/status Namespaced",
	"CU rbac.authorization.k8s.io/v1 roles,rolebindings Namespaced",
	"CU storage.k8s.io/v1 csistoragecapacities Namespaced",
	"CU cluster.kubernetes-fleet.io/v1beta1 internalmemberclusters,internalmemberclusters/status Namespaced",
	"CU placement.kubernetes-fleet.io/v1beta1 works,works/status Namespaced",
	"CU networking.fleet.azure.com/* endpointsliceexports,endpointsliceimports,internalserviceexports,internalserviceexports/status," +
		"internalserviceimports,internalserviceimports/status Namespaced",
}, " ")

func TestGuardRailWebhooks(t *testing.T) {
	made := webhook.Make(webhook.Options{GuardRail: true, Client: webhook.Client{URL: "https://agent"}})
	const path = " Ignore 1s /validate-fleetresourcehandler "
	want := []string{
		"fleet.customresourcedefinition.guardrail.validating" + path + "CUD apiextensions.k8s.io/v1 customresourcedefinitions,customresourcedefinitions/status Cluster",
		"fleet.membercluster.guardrail.validating" + path + "CUD cluster.kubernetes-fleet.io/v1beta1 memberclusters,memberclusters/status Cluster",
		"fleet.namespace.guardrail.validating" + path + "CUD /v1 namespaces,namespaces/status,namespaces/finalize Cluster",
		"fleet.fleetmembernamespacedresources.guardrail.validating" + path + namespaced,
		"fleet.fleetsystemnamespacedresources.guardrail.validating" + path + namespaced,
		"fleet.kubenamespacedresources.guardrail.validating" + path + namespaced,
	}
	if diff := cmp.Diff(want, lines(made.GuardRail)); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	in := func(names ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpIn, Values: names},
		}}
	}
	selectors := []*metav1.LabelSelector{
		{}, {}, {}, {MatchLabels: map[string]string{"kubernetes-fleet.io/is-fleet-resource": "true"}}, in("fleet-system"),
		in("kube-system", "kube-public", "kube-node-lease"),
	}
	var got []*metav1.LabelSelector
	for _, w := range made.GuardRail.Webhooks {
		got = append(got, w.NamespaceSelector)
	}
	if diff := cmp.Diff(selectors, got); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
	if n := len(made.Validatings()); n != 2 {
		t.Errorf("%d validating configurations", n)
	}
}

// Every configuration has the address, the CA or the annotation of cert-manager, and the label that keeps other
// enforcers away.
func TestClients(t *testing.T) {
	for name, c := range map[string]struct {
		options webhook.Options
		want    admissionv1.WebhookClientConfig
		notes   map[string]string
	}{
		"service": {
			webhook.Options{Client: webhook.Client{Namespace: "fleet-system", Service: "fleetwebhook", Port: 9443}, CA: []byte("ca")},
			admissionv1.WebhookClientConfig{CABundle: []byte("ca"), Service: &admissionv1.ServiceReference{
				Namespace: "fleet-system", Name: "fleetwebhook", Port: ptr.To[int32](9443),
				Path: ptr.To("/mutate-placement.kubernetes-fleet.io-v1beta1-clusterresourceplacement"),
			}}, nil,
		},
		"address, with cert-manager": {
			webhook.Options{Client: webhook.Client{URL: "https://agent:9443"}, InjectFrom: "fleet-system/certificate"},
			admissionv1.WebhookClientConfig{URL: ptr.To("https://agent:9443/mutate-placement.kubernetes-fleet.io-v1beta1-clusterresourceplacement")},
			map[string]string{"cert-manager.io/inject-ca-from": "fleet-system/certificate"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.options.GuardRail = true
			made := webhook.Make(c.options)
			if diff := cmp.Diff(c.want, made.Mutating.Webhooks[0].ClientConfig); diff != "" {
				t.Errorf("client (-want +got):\n%s", diff)
			}
			metas := []metav1.ObjectMeta{made.Mutating.ObjectMeta, made.Validating.ObjectMeta, made.GuardRail.ObjectMeta}
			var want []metav1.ObjectMeta
			for _, name := range []string{
				"fleet-mutating-webhook-configuration", "fleet-validating-webhook-configuration", "fleet-guard-rail-webhook-configuration",
			} {
				want = append(want, metav1.ObjectMeta{Name: name, Labels: map[string]string{"admissions.enforcer/disabled": "true"}, Annotations: c.notes})
			}
			if diff := cmp.Diff(want, metas); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
		})
	}
}
