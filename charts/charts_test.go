package charts_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	release "helm.sh/helm/v4/pkg/release/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/charts"
	"github.com/flagship-fleet/flagship/pkg/admission/policy"
	"github.com/flagship-fleet/flagship/pkg/selection"
)

// rendered is what a chart renders, by "Kind/name".
type rendered map[string]*unstructured.Unstructured

func render(t *testing.T, chart, values string) rendered {
	t.Helper()
	objects, err := tryRender(chart, values)
	if err != nil {
		t.Fatalf("render %s: %v", chart, err)
	}
	return objects
}

func tryRender(name, values string) (rendered, error) { return renderFor("v1.33.0", name, values) }

// renderFor renders for a version of Kubernetes.
func renderFor(version, name, values string) (rendered, error) {
	chart, err := charts.Load(name)
	if err != nil {
		return nil, err
	}
	vals := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &vals); err != nil {
		return nil, err
	}
	install := action.NewInstall(action.NewConfiguration())
	install.ReleaseName = name
	install.Namespace = "fleet-system"
	install.DryRunStrategy = action.DryRunClient
	kubernetes, err := common.ParseKubeVersion(version)
	if err != nil {
		return nil, err
	}
	install.KubeVersion = kubernetes
	released, err := install.Run(chart, vals)
	if err != nil {
		return nil, err
	}
	objects := rendered{}
	for _, document := range strings.Split("\n"+released.(*release.Release).Manifest, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), object); err != nil {
			return nil, fmt.Errorf("%w in:\n%s", err, document)
		}
		if len(object.Object) == 0 {
			continue
		}
		key := object.GetKind() + "/" + object.GetName()
		if objects[key] != nil {
			return nil, fmt.Errorf("%s is rendered twice", key)
		}
		objects[key] = object
	}
	return objects, nil
}

// get decodes one rendered object, strictly: a field that its type does not know fails the test.
func get[T any](t *testing.T, objects rendered, key string) T {
	t.Helper()
	var typed T
	object := objects[key]
	if object == nil {
		t.Fatalf("%s is not rendered; these are: %v", key, slices.Sorted(maps.Keys(objects)))
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &typed, true); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return typed
}

func container(t *testing.T, deployment appsv1.Deployment) corev1.Container {
	t.Helper()
	if n := len(deployment.Spec.Template.Spec.Containers); n != 1 {
		t.Fatalf("%d containers, want the agent alone", n)
	}
	return deployment.Spec.Template.Spec.Containers[0]
}

// flags returns the agent's flags by name. No flag may be empty or given twice.
func flags(t *testing.T, deployment appsv1.Deployment) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, arg := range container(t, deployment).Args {
		name, value, ok := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if _, twice := found[name]; !ok || value == "" || twice {
			t.Errorf("argument %q is empty or repeated", arg)
		}
		found[name] = value
	}
	return found
}

func env(t *testing.T, deployment appsv1.Deployment) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, e := range container(t, deployment).Env {
		if _, twice := found[e.Name]; twice {
			t.Errorf("environment variable %s is repeated", e.Name)
		}
		found[e.Name] = e.Value
	}
	return found
}

func expect(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s %s is %q, want %q", what, name, got[name], value)
		}
	}
}

func allows(rules []rbacv1.PolicyRule, group, resource, verb string) bool {
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb)
	})
}

func TestHubRendersWithDefaults(t *testing.T) {
	objects := render(t, charts.HubAgent, "")
	deployment := get[appsv1.Deployment](t, objects, "Deployment/hub-agent")
	if *deployment.Spec.Replicas != 1 || deployment.Namespace != "fleet-system" {
		t.Errorf("%d replicas in %s", *deployment.Spec.Replicas, deployment.Namespace)
	}
	expect(t, "flag", flags(t, deployment), map[string]string{
		"leader-elect":                                "true",
		"leader-election-namespace":                   "fleet-system",
		"health-probe-bind-address":                   ":8081",
		"metrics-bind-address":                        ":8080",
		"enable-webhook":                              "false",
		"enable-guard-rail":                           "false",
		"enable-pprof":                                "false",
		"enable-workload":                             "false",
		"enable-cluster-inventory-apis":               "true",
		"enable-staged-update-run-apis":               "true",
		"enable-eviction-apis":                        "true",
		"force-delete-wait-time":                      "15m0s",
		"cluster-unhealthy-threshold":                 "3m0s",
		"failover-domain-label":                       "topology.kubernetes.io/region",
		"resource-snapshot-creation-minimum-interval": "30s",
		"resource-changes-collection-duration":        "15s",
		"hub-api-qps":                                 "250",
		"hub-api-burst":                               "1000",
		"max-concurrent-cluster-placement":            "100",
		"concurrent-resource-change-syncs":            "20",
		"max-fleet-size":                              "100",
		"log_file_max_size":                           "",
	})
	c := container(t, deployment)
	if c.Env[0].Name != "POD_NAMESPACE" || c.Env[0].ValueFrom.FieldRef.FieldPath != "metadata.namespace" {
		t.Errorf("environment %v", c.Env)
	}
	if c.Image != "ghcr.io/flagship-fleet/flagship/hub-agent:v0.1.0" {
		t.Errorf("image %s", c.Image)
	}
	if c.LivenessProbe == nil || c.ReadinessProbe == nil {
		t.Error("a probe is missing")
	}
	if deployment.Spec.Template.Spec.ServiceAccountName != "hub-agent-sa" {
		t.Errorf("service account %s", deployment.Spec.Template.Spec.ServiceAccountName)
	}
	for _, key := range []string{"ServiceAccount/hub-agent-sa", "ClusterRoleBinding/hub-agent-role-binding", "RoleBinding/hub-agent-leader-election"} {
		if objects[key] == nil {
			t.Errorf("%s is missing", key)
		}
	}
}

// An empty label means no domains: it must not become the default of the agent.
func TestHubRendersNoFailoverDomain(t *testing.T) {
	const flag = "--failover-domain-label="
	for values, want := range map[string]bool{`failoverDomainLabel: ""`: true, `failoverDomainLabel: null`: false, `extraArgs: {failover-domain-label: a}`: false} {
		deployment := get[appsv1.Deployment](t, render(t, charts.HubAgent, values), "Deployment/hub-agent")
		if got := slices.Contains(container(t, deployment).Args, flag); got != want {
			t.Errorf("%s: argument %s: %t", values, flag, got)
		}
	}
}

// A file that sets every value of the contract renders, and each value arrives.
func TestHubRendersAUsersValues(t *testing.T) {
	objects := render(t, charts.HubAgent, `
replicaCount: 3
image: {repository: registry.example/hub-agent, tag: e2e, pullPolicy: Never}
logVerbosity: 5
enableWebhook: true
webhookServiceName: fleetwebhook
enableGuardRail: true
webhookClientConnectionType: service
enableWorkload: true
useCertManager: true
webhookCertSecretName: fleet-webhook-server-cert
forceDeleteWaitTime: 1m
failoverDomainLabel: example.org/site
removal: {max: 20%, protect: [Namespace, CustomResourceDefinition.apiextensions.k8s.io]}
clusterUnhealthyThreshold: 3m
resourceSnapshotCreationMinimumInterval: 0m
resourceChangesCollectionDuration: 0m
namespace: fleet-hub
resources: {limits: {cpu: 2, memory: 2Gi}}
tolerations: [{key: dedicated, operator: Exists}]
affinity: {nodeAffinity: {}}
enableClusterInventoryAPI: false
enableStagedUpdateRunAPIs: true
enableEvictionAPIs: true
enablePprof: true
pprofPort: 6070
hubAPIQPS: 9999
hubAPIBurst: 20000
MaxConcurrentClusterPlacement: 200
ConcurrentResourceChangeSyncs: 20
MaxFleetSizeSupported: 100
logFileMaxSize: 100000
additionalConfigData: {policy.yaml: "a: b"}
additionalConfigDataMountPath: /etc/somewhere
enableAdmissionPolicyManager: false
admissionPolicyManagerConfigName: policy.yaml
fullnameOverride: hub
extraArgs: {enable-eviction-apis: false, skipped-propagating-namespaces: "a;b", hub-api-qps: 1000000}
`)
	deployment := get[appsv1.Deployment](t, objects, "Deployment/hub")
	if *deployment.Spec.Replicas != 3 || deployment.Namespace != "fleet-hub" {
		t.Errorf("%d replicas in %s", *deployment.Spec.Replicas, deployment.Namespace)
	}
	expect(t, "flag", flags(t, deployment), map[string]string{
		"v":                         "5",
		"leader-election-namespace": "fleet-hub",
		"force-delete-wait-time":    "1m",
		"failover-domain-label":     "example.org/site",
		"removal-max":               "20%",
		"removal-protect":           "Namespace,CustomResourceDefinition.apiextensions.k8s.io",
		"resource-snapshot-creation-minimum-interval": "0m",
		"enable-cluster-inventory-apis":               "false",
		"enable-pprof":                                "true",
		"pprof-port":                                  "6070",
		"hub-api-burst":                               "20000",
		"max-concurrent-cluster-placement":            "200",
		"log_file_max_size":                           "100000",
		"enable-webhook":                              "true",
		"enable-guard-rail":                           "true",
		"use-cert-manager":                            "true",
		"enable-workload":                             "true",
		"enable-eviction-apis":                        "false",
		"skipped-propagating-namespaces":              "a;b",
		"hub-api-qps":                                 "1000000",
	})
	c := container(t, deployment)
	if c.Image != "registry.example/hub-agent:e2e" || c.ImagePullPolicy != corev1.PullNever {
		t.Errorf("image %s %s", c.Image, c.ImagePullPolicy)
	}
	if len(c.VolumeMounts) != 2 || c.VolumeMounts[0].MountPath != "/etc/somewhere" {
		t.Errorf("mounts %v", c.VolumeMounts)
	}
	get[corev1.ConfigMap](t, objects, "ConfigMap/hub-config")
	if len(deployment.Spec.Template.Spec.Tolerations) != 1 {
		t.Error("tolerations are lost")
	}
}

// An image that is named by its digest is that image, whatever the tag is moved to.
func TestImageByDigest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for chart, values := range map[string]string{charts.HubAgent: "", charts.MemberAgent: member} {
		objects := render(t, chart, values+"\nimage: {repository: registry.example/agent, tag: e2e, digest: '"+digest+"'}")
		if c := container(t, get[appsv1.Deployment](t, objects, "Deployment/"+chart)); c.Image != "registry.example/agent@"+digest {
			t.Errorf("%s: image %s", chart, c.Image)
		}
		if _, err := tryRender(chart, values+"\nimage: {digest: latest}"); err == nil || !strings.Contains(err.Error(), `image.digest "latest"`) {
			t.Errorf("%s with a wrong digest: error %v", chart, err)
		}
	}
}

func TestNetworkPolicyIsMadeOnDemand(t *testing.T) {
	for chart, values := range map[string]string{charts.HubAgent: "", charts.MemberAgent: member} {
		if objects := render(t, chart, values); objects["NetworkPolicy/"+chart] != nil {
			t.Errorf("%s makes a NetworkPolicy without being asked", chart)
		}
		objects := render(t, chart, values+`
networkPolicy:
  enabled: true
  metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
  apiServerPorts: [8443]
  apiServerTo: [{ipBlock: {cidr: 10.0.0.1/32}}]
`)
		policy := get[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy/"+chart).Spec
		deployment := get[appsv1.Deployment](t, objects, "Deployment/"+chart)
		if !maps.Equal(policy.PodSelector.MatchLabels, deployment.Spec.Selector.MatchLabels) {
			t.Errorf("%s: the policy is for pods %v", chart, policy.PodSelector)
		}
		if len(policy.Ingress) != 1 || policy.Ingress[0].From[0].NamespaceSelector == nil {
			t.Errorf("%s: lets in %v", chart, policy.Ingress)
		}
		to := policy.Egress[len(policy.Egress)-1]
		if to.Ports[0].Port.IntValue() != 8443 || to.To[0].IPBlock.CIDR != "10.0.0.1/32" {
			t.Errorf("%s: lets out to %v", chart, to)
		}
	}
}

// Metrics are for those who may read them, unless the chart's user wants it otherwise.
func TestMetricsAreSecureByDefault(t *testing.T) {
	for chart, values := range map[string]string{charts.HubAgent: "", charts.MemberAgent: member} {
		objects := render(t, chart, values)
		expect(t, "flag", flags(t, get[appsv1.Deployment](t, objects, "Deployment/"+chart)), map[string]string{"metrics-secure": "true"})
		auth := get[rbacv1.ClusterRole](t, objects, "ClusterRole/"+chart+"-metrics-auth").Rules
		if !allows(auth, "authentication.k8s.io", "tokenreviews", "create") || !allows(auth, "authorization.k8s.io", "subjectaccessreviews", "create") {
			t.Errorf("%s: the agent may not ask who reads its metrics: %v", chart, auth)
		}
		if objects["ClusterRole/"+chart+"-metrics-reader"] == nil {
			t.Errorf("%s has no role for scrapers", chart)
		}
		objects = render(t, chart, values+"\nmetricsSecure: false")
		expect(t, "flag", flags(t, get[appsv1.Deployment](t, objects, "Deployment/"+chart)), map[string]string{"metrics-secure": "false"})
		if objects["ClusterRole/"+chart+"-metrics-auth"] != nil {
			t.Errorf("%s: the agent may ask what it need not", chart)
		}
	}
}

func TestReplicaCountMayBeZero(t *testing.T) {
	for chart, values := range map[string]string{charts.HubAgent: "", charts.MemberAgent: member} {
		deployment := get[appsv1.Deployment](t, render(t, chart, values+"\nreplicaCount: 0"), "Deployment/"+chart)
		if *deployment.Spec.Replicas != 0 {
			t.Errorf("%s: %d replicas", chart, *deployment.Spec.Replicas)
		}
	}
}

func TestAdmissionPolicyManager(t *testing.T) {
	objects := render(t, charts.HubAgent, `
enableAdmissionPolicyManager: true
additionalConfigData: {policy.yaml: "denyPodsAndReplicaSetsOutsideReservedNamespaces: {}"}
admissionPolicyManagerConfigName: policy.yaml
`)
	args := get[appsv1.Deployment](t, objects, "Deployment/"+charts.HubAgent).Spec.Template.Spec.Containers[0].Args
	for _, want := range []string{
		"--enable-admission-policy-manager=true", "--admission-policy-manager-config=/etc/flagship/additional-config/policy.yaml",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("the arguments %q lack %q", args, want)
		}
	}
	may := map[string][]string{}
	for _, rule := range get[rbacv1.ClusterRole](t, objects, "ClusterRole/"+charts.HubAgent+"-role").Rules {
		if slices.Contains(rule.Resources, "validatingadmissionpolicies") || slices.Contains(rule.Resources, "validatingadmissionpolicybindings") {
			for _, verb := range rule.Verbs {
				may[verb] = append(may[verb], rule.ResourceNames...)
			}
		}
	}
	var names []string
	for _, p := range policy.Generate(policy.Default()) {
		names = append(names, p.Policy.Name)
	}
	for _, p := range policy.Generate(policy.Default()) {
		names = append(names, p.Binding.Name)
	}
	for verb, want := range map[string][]string{"create": nil, "update": names, "delete": names} {
		got := slices.Sorted(slices.Values(may[verb]))
		if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
			t.Errorf("the agent may %s %v, want %v", verb, got, want)
		}
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	for _, c := range []struct{ chart, values, says string }{
		{charts.HubAgent, "enableGuardRail: true", "enableGuardRail: the guard rail is an admission webhook; set enableWebhook: true"},
		{charts.HubAgent, "enableWorkload: true\nuseCertManager: true\nwebhookCertSecretName: cert", "useCertManager: only the admission webhooks"},
		{charts.HubAgent, "enableWebhook: true\nuseCertManager: true\nwebhookCertSecretName: cert", "set enableWorkload: true"},
		{charts.HubAgent, "enableWebhook: true\nenableWorkload: true\nuseCertManager: true", "webhookCertSecretName: with useCertManager"},
		{charts.HubAgent, "enableWebhook: true\nwebhookClientConnectionType: dns", `webhookClientConnectionType "dns": must be service or url`},
		{charts.HubAgent, "enableAdmissionPolicyManager: true\nadmissionPolicyManagerConfigName: policy.yaml",
			`admissionPolicyManagerConfigName "policy.yaml": not a key of additionalConfigData`},
		{charts.HubAgent, "enableAdmissionPolicyManager: true\nnamespace: ops", `refuse pods in namespace "ops"`},
		{charts.MemberAgent, "", "config.hubURL"},
		{charts.MemberAgent, "config: {hubURL: https://hub}", "config.memberClusterName"},
		{charts.MemberAgent, "config: {hubURL: 'http://hub:6443', memberClusterName: spoke}", `config.hubURL "http://hub:6443": must begin with https://`},
		{charts.MemberAgent, member + "\n  provider: azure", `config.provider "azure"`},
		{charts.MemberAgent, member + "\nuseCAAuth: true", "config.identityKey"},
		{charts.MemberAgent, member + "\n  provider: file\n  tokenPath: ''", "config.tokenPath"},
	} {
		_, err := tryRender(c.chart, c.values)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s with %q: error %v, want one that says %q", c.chart, c.values, err, c.says)
		}
	}
}

const member = `
config:
  hubURL: https://hub.example:6443
  memberClusterName: spoke
  hubCA: Q0E=`

func TestMemberRendersWithASecret(t *testing.T) {
	objects := render(t, charts.MemberAgent, member)
	deployment := get[appsv1.Deployment](t, objects, "Deployment/member-agent")
	expect(t, "flag", flags(t, deployment), map[string]string{
		"leader-elect":                       "true",
		"leader-election-namespace":          "kube-system",
		"hub-health-probe-bind-address":      ":8081",
		"hub-metrics-bind-address":           ":8080",
		"health-probe-bind-address":          ":8091",
		"metrics-bind-address":               ":8090",
		"enable-pprof":                       "false",
		"use-ca-auth":                        "false",
		"tls-insecure":                       "false",
		"enable-work-applier-priority-queue": "",
	})
	want := map[string]string{
		"HUB_SERVER_URL":            "https://hub.example:6443",
		"MEMBER_CLUSTER_NAME":       "spoke",
		"HUB_TOKEN_SECRET":          "default/hub-kubeconfig-secret",
		"HUB_CERTIFICATE_AUTHORITY": "Q0E=",
	}
	if got := env(t, deployment); !maps.Equal(got, want) {
		t.Errorf("environment %v, want %v", got, want)
	}
	role := get[rbacv1.Role](t, objects, "Role/member-agent-hub-token")
	if role.Namespace != "default" || !slices.Equal(role.Rules[0].ResourceNames, []string{"hub-kubeconfig-secret"}) {
		t.Errorf("role %+v", role)
	}
}

func TestMemberRendersAUsersValues(t *testing.T) {
	objects := render(t, charts.MemberAgent, `
replicaCount: 2
image: {repository: registry.example/member-agent, tag: e2e, pullPolicy: Never}
refreshtoken: {repository: registry.example/refresh-token, tag: e2e}
logVerbosity: 5
namespace: fleet-system
config:
  provider: secret
  hubURL: https://172.19.0.2:6443
  hubCA: Q0E=
  memberClusterName: kind-cluster-1
  identityKey: identity-key-path
  identityCert: identity-cert-path
  CABundle: ca-bundle-path
  azureCloudConfig: {cloud: ""}
secret: {name: my-secret, namespace: my-namespace}
azure: {clientid: none}
tlsClientInsecure: false
useCAAuth: false
enablePprof: true
priorityQueue: {enabled: true, priorityLinearEquationCoeffA: -5}
enableNamespaceCollectionInPropertyProvider: true
propertyProvider: azure
region: eastasia
workApplierRequeueRateLimiterMaxSlowBackoffDelaySeconds: 5
workApplierRequeueRateLimiterExponentialBaseForSlowBackoff: 1.3
workApplierRequeueRateLimiterSkipToFastBackoffForAvailableOrDiffReportedWorkObjs: false
`)
	deployment := get[appsv1.Deployment](t, objects, "Deployment/member-agent")
	if *deployment.Spec.Replicas != 2 {
		t.Errorf("%d replicas", *deployment.Spec.Replicas)
	}
	expect(t, "flag", flags(t, deployment), map[string]string{
		"enable-pprof":                                     "true",
		"hub-pprof-port":                                   "6066",
		"enable-work-applier-priority-queue":               "true",
		"work-applier-priority-linear-equation-coeff-a":    "-5",
		"work-applier-priority-linear-equation-coeff-b":    "100",
		"enable-namespace-collection-in-property-provider": "true",
		"property-provider":                                "azure",
		"region":                                           "eastasia",
		"work-applier-requeue-rate-limiter-max-slow-backoff-delay-seconds":                                "5",
		"work-applier-requeue-rate-limiter-exponential-base-for-slow-backoff":                             "1.3",
		"work-applier-requeue-rate-limiter-skip-to-fast-backoff-for-available-or-diff-reported-work-objs": "false",
	})
	expect(t, "variable", env(t, deployment), map[string]string{"HUB_TOKEN_SECRET": "my-namespace/my-secret", "CA_BUNDLE": "", "IDENTITY_KEY": ""})
}

func TestMemberNamesExactlyOneSourceOfTrustAndIdentity(t *testing.T) {
	for name, c := range map[string]struct {
		values string
		want   []string
	}{
		"token from a file": {member + "\n  provider: file", []string{"CONFIG_PATH", "HUB_CERTIFICATE_AUTHORITY"}},
		"certificate, authority inline": {
			member + "\n  identityKey: /k\n  identityCert: /c\nuseCAAuth: true",
			[]string{"HUB_CERTIFICATE_AUTHORITY", "IDENTITY_CERT", "IDENTITY_KEY"},
		},
		"certificate, authority in a file": {
			member + "\n  identityKey: /k\n  identityCert: /c\n  CABundle: /ca\nuseCAAuth: true",
			[]string{"CA_BUNDLE", "IDENTITY_CERT", "IDENTITY_KEY"},
		},
		"authority of the image": {"config: {hubURL: https://hub, memberClusterName: spoke}", []string{"HUB_TOKEN_SECRET"}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := render(t, charts.MemberAgent, c.values)
			got := env(t, get[appsv1.Deployment](t, objects, "Deployment/member-agent"))
			delete(got, "HUB_SERVER_URL")
			delete(got, "MEMBER_CLUSTER_NAME")
			if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, c.want) {
				t.Errorf("environment %v, want %v", names, c.want)
			}
			if reads := objects["Role/member-agent-hub-token"] != nil; reads != slices.Contains(c.want, "HUB_TOKEN_SECRET") {
				t.Errorf("role for the Secret rendered: %v", reads)
			}
		})
	}
}

func TestMemberMayRunWithLess(t *testing.T) {
	all := render(t, charts.MemberAgent, member)
	rules := get[rbacv1.ClusterRole](t, all, "ClusterRole/member-agent-role").Rules
	if !allows(rules, "*", "*", "create") || allows(rules, "rbac.authorization.k8s.io", "clusterroles", "escalate") {
		t.Error("by default everything may be placed that grants no more than the agent has")
	}
	open := get[rbacv1.ClusterRole](t, render(t, charts.MemberAgent, member+"\nrbac: {escalate: true}"), "ClusterRole/member-agent-role").Rules
	if !allows(open, "rbac.authorization.k8s.io", "clusterroles", "escalate") {
		t.Error("rbac.escalate does nothing")
	}
	if allows(rules, "*", "*", "impersonate") || allows(rules, "*", "*", "*") {
		t.Error("the default is as much as cluster-admin")
	}

	less := render(t, charts.MemberAgent, member+`
rbac:
  escalate: false
  placeable:
  - {apiGroups: [""], resources: [namespaces, configmaps]}
`)
	rules = get[rbacv1.ClusterRole](t, less, "ClusterRole/member-agent-role").Rules
	if allows(rules, "*", "*", "get") || allows(rules, "", "secrets", "get") || allows(rules, "rbac.authorization.k8s.io", "roles", "bind") {
		t.Errorf("more than what was given: %v", rules)
	}
	if !allows(rules, "", "configmaps", "delete") || !allows(rules, "placement.kubernetes-fleet.io", "appliedworks", "create") {
		t.Errorf("less than what was given: %v", rules)
	}

	admin := render(t, charts.MemberAgent, member+"\nrbac: {clusterAdmin: true}")
	if b := get[rbacv1.ClusterRoleBinding](t, admin, "ClusterRoleBinding/member-agent-cluster-admin-binding"); b.RoleRef.Name != "cluster-admin" {
		t.Errorf("bound to %s", b.RoleRef.Name)
	}
}

// The hub agent reads all and writes little: nothing of users', and no Secret.
func TestHubWritesOnlyItsOwn(t *testing.T) {
	rules := get[rbacv1.ClusterRole](t, render(t, charts.HubAgent, ""), "ClusterRole/hub-agent-role").Rules
	for _, rule := range rules {
		wide := slices.Contains(rule.APIGroups, "*") || slices.Contains(rule.Resources, "*") || slices.Contains(rule.Verbs, "*")
		reads := !slices.ContainsFunc(rule.Verbs, func(verb string) bool { return !slices.Contains([]string{"get", "list", "watch"}, verb) })
		if wide && !reads {
			t.Errorf("rule %v writes by wildcard", rule)
		}
		if slices.Contains(rule.Resources, "secrets") {
			t.Errorf("rule %v", rule)
		}
	}
	for _, can := range []struct{ group, resource, verb string }{
		{"*", "*", "watch"},
		{"placement.kubernetes-fleet.io", "works", "create"},
		{"placement.kubernetes-fleet.io", "clusterresourceplacements/status", "update"},
		{"cluster.kubernetes-fleet.io", "internalmemberclusters", "create"},
		{"rbac.authorization.k8s.io", "roles", "escalate"},
		{"", "namespaces", "delete"},
		{"", "resourcequotas", "create"},
	} {
		if !allows(rules, can.group, can.resource, can.verb) {
			t.Errorf("may not %s %s.%s", can.verb, can.resource, can.group)
		}
	}
}

// Each version of Kubernetes gets the policies that it can carry out.
func TestHubRendersThePoliciesOfAVersion(t *testing.T) {
	policies := func(objects rendered) (kinds string) {
		for _, key := range slices.Sorted(maps.Keys(objects)) {
			if strings.Contains(key, "AdmissionPolicy/") {
				kinds += strings.TrimPrefix(key, "ValidatingAdmissionPolicy/hub-agent-") + " "
			}
		}
		return kinds
	}
	const validating = "internals managed-fields member-events privileged-envelopes privileged-overrides privileged-placements removals "
	for _, c := range []struct{ version, values, want string }{
		{"v1.30.0", "", validating},
		{"v1.35.4-gke.100", "", validating},
		{"v1.36.0", "", "MutatingAdmissionPolicy/hub-agent-mark-authors " + validating},
		{"v1.36.0", "admissionPolicies: {privileged: false}", "internals managed-fields member-events removals "},
		{"v1.36.0", "admissionPolicies: {internals: false, managedFields: false, memberEvents: false, privileged: false, removals: false}", ""},
	} {
		objects, err := renderFor(c.version, charts.HubAgent, c.values)
		if got := policies(objects); err != nil || got != c.want {
			t.Errorf("%s with %q: policies %q, error %v, want %q", c.version, c.values, got, err, c.want)
		}
	}
}

// What the policies call privileged, the agent leaves out of selections of authors who may not place it.
func TestHubsPoliciesNameThePrivilegedGroupsOfTheAgent(t *testing.T) {
	for _, policy := range []string{"placements", "overrides", "envelopes"} {
		object := render(t, charts.HubAgent, "")["ValidatingAdmissionPolicy/hub-agent-privileged-"+policy]
		variables, _, _ := unstructured.NestedSlice(object.Object, "spec", "variables")
		var named []string
		for _, variable := range variables {
			if v := variable.(map[string]any); v["name"] == "takesPrivileged" {
				list, _, _ := strings.Cut(strings.SplitN(v["expression"].(string), "in [", 2)[1], "]")
				named = strings.Split(strings.ReplaceAll(list, "'", ""), ", ")
			}
		}
		if len(named) != 4 {
			t.Errorf("%s: groups %v", policy, named)
		}
		for _, group := range named {
			if !selection.Privileged(schema.GroupKind{Group: group, Kind: "Any"}) {
				t.Errorf("%s: group %s is not privileged to the agent", policy, group)
			}
		}
	}
}

// Writing and placing are for people who are given a role; reading how placements fare is for all who may read a
// namespace.
func TestHubAggregatesOnlyWhatIsAskedFor(t *testing.T) {
	labels := func(values, role string) string {
		var found []string
		for label := range render(t, charts.HubAgent, values)["ClusterRole/hub-agent-"+role].GetLabels() {
			if to, ok := strings.CutPrefix(label, "rbac.authorization.k8s.io/aggregate-to-"); ok {
				found = append(found, to)
			}
		}
		slices.Sort(found)
		return strings.Join(found, " ")
	}
	if got := labels("", "viewer") + "|" + labels("", "tenant") + "|" + labels("", "operator"); got != "view||" {
		t.Errorf("by default: %s", got)
	}
	if got := labels("roles: {aggregateToEdit: true, aggregateToAdmin: true}", "tenant"); got != "admin edit" {
		t.Errorf("the tenant's role: %s", got)
	}
}

// Uninstalling a chart must not delete the definitions: with them would go every placement, and on members everything
// placed.
func TestDefinitionsOutliveTheChart(t *testing.T) {
	for chart, values := range map[string]string{charts.HubAgent: "", charts.MemberAgent: member} {
		names, err := charts.CRDs(chart)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: definitions %v, error %v", chart, names, err)
		}
		objects := render(t, chart, values)
		for _, name := range names {
			crd := objects["CustomResourceDefinition/"+name]
			if crd == nil {
				t.Errorf("%s does not render %s", chart, name)
				continue
			}
			if crd.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
				t.Errorf("%s would be deleted with the release", name)
			}
		}
		without := render(t, chart, values+"\ninstallCRDs: false")
		if len(without) != len(objects)-len(names) {
			t.Errorf("%s renders definitions with installCRDs: false", chart)
		}
	}
}
