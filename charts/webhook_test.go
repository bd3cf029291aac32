package charts_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/charts"
	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
)

const certManager = `
enableWebhook: true
enableWorkload: true
useCertManager: true
webhookCertSecretName: fleet-webhook-server-cert
`

// onlyWith are the objects that the hub's chart renders with values and not without them.
func onlyWith(t *testing.T, values string) []string {
	t.Helper()
	without, with := render(t, charts.HubAgent, ""), render(t, charts.HubAgent, values)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(with)), func(key string) bool { return without[key] != nil })
}

func TestHubRendersWebhooksOnDemand(t *testing.T) {
	want := []string{"ClusterRole/hub-agent-webhooks", "ClusterRoleBinding/hub-agent-webhooks", "Role/hub-agent-webhook-certificate", "RoleBinding/hub-agent-webhook-certificate", "Service/fleetwebhook"}
	if diff := cmp.Diff(want, onlyWith(t, "enableWebhook: true")); diff != "" {
		t.Errorf("objects with webhooks (-want +got):\n%s", diff)
	}
	want = []string{"Certificate/fleet-webhook-ca", "Certificate/fleet-webhook-certificate", "ClusterRole/hub-agent-webhooks",
		"ClusterRoleBinding/hub-agent-webhooks", "Issuer/fleet-selfsigned-issuer", "Issuer/fleet-webhook-ca-issuer", "Service/fleetwebhook"}
	if diff := cmp.Diff(want, onlyWith(t, certManager)); diff != "" {
		t.Errorf("objects with cert-manager (-want +got):\n%s", diff)
	}
}

func TestWebhookFlags(t *testing.T) {
	all := []string{"enable-webhook", "enable-guard-rail", "enable-pdbs", "whitelisted-users", "webhook-service-name",
		"webhook-client-connection-type", "webhook-port", "use-cert-manager", "webhook-owner", "deny-workloads", "webhook-cert-dir"}
	for name, c := range map[string]struct {
		values string
		want   map[string]string
	}{
		"defaults": {"", map[string]string{
			"enable-webhook": "false", "enable-guard-rail": "false", "enable-pdbs": "true",
			"whitelisted-users": "system:serviceaccount:fleet-system:hub-agent-sa",
		}},
		"webhooks": {"enableWebhook: true", map[string]string{
			"enable-webhook": "true", "enable-guard-rail": "false", "enable-pdbs": "true",
			"whitelisted-users":    "system:serviceaccount:fleet-system:hub-agent-sa",
			"webhook-service-name": "fleetwebhook", "webhook-client-connection-type": "service", "webhook-port": "9443", "use-cert-manager": "false",
			"webhook-owner": "hub-agent-webhooks", "deny-workloads": "false",
		}},
		"each value": {certManager + `
enableGuardRail: true
enablePDBs: false
denyWorkloads: true
webhookServiceName: hooks
webhookClientConnectionType: URL
webhookPort: 10250
namespace: fleet-hub
fullnameOverride: hub
`, map[string]string{
			"enable-webhook": "true", "enable-guard-rail": "true", "enable-pdbs": "false",
			"whitelisted-users":    "system:serviceaccount:fleet-hub:hub-sa",
			"webhook-service-name": "hooks", "webhook-client-connection-type": "URL", "webhook-port": "10250", "use-cert-manager": "true",
			"webhook-owner": "hub-webhooks", "deny-workloads": "true", "webhook-cert-dir": "/tmp/k8s-webhook-server/serving-certs",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := render(t, charts.HubAgent, c.values)
			deployment := "Deployment/hub-agent"
			if objects[deployment] == nil {
				deployment = "Deployment/hub"
			}
			got := flags(t, get[appsv1.Deployment](t, objects, deployment))
			maps.DeleteFunc(got, func(flag, _ string) bool { return !slices.Contains(all, flag) })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("flags (-want +got):\n%s", diff)
			}
		})
	}
}

// The Service has the name that the flag has, the port that the configurations name, and leads to the port that the
// agent listens on.
func TestWebhookServiceLeadsToTheAgent(t *testing.T) {
	objects := render(t, charts.HubAgent, "enableWebhook: true\nwebhookServiceName: hooks\nwebhookPort: 10250")
	deployment := get[appsv1.Deployment](t, objects, "Deployment/hub-agent")
	want := corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, Selector: deployment.Spec.Selector.MatchLabels,
		Ports: []corev1.ServicePort{{Name: "webhook", Port: 9443, TargetPort: intstr.FromString("webhook"), Protocol: corev1.ProtocolTCP}},
	}
	if diff := cmp.Diff(want, get[corev1.Service](t, objects, "Service/hooks").Spec); diff != "" {
		t.Errorf("service (-want +got):\n%s", diff)
	}
	port := corev1.ContainerPort{Name: "webhook", ContainerPort: 10250, Protocol: corev1.ProtocolTCP}
	if ports := container(t, deployment).Ports; !slices.Contains(ports, port) {
		t.Errorf("ports %v, want %v among them", ports, port)
	}
}

// Without cert-manager the agent keeps its certificate in one Secret, and reads and writes no other.
func TestWebhookCertificateOfTheAgent(t *testing.T) {
	objects := render(t, charts.HubAgent, "enableWebhook: true\nwebhookServiceName: hooks\nnamespace: fleet-hub")
	want := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"hooks-certificate"}, Verbs: []string{"update"}},
	}
	role := get[rbacv1.Role](t, objects, "Role/hub-agent-webhook-certificate")
	if diff := cmp.Diff(want, role.Rules); diff != "" || role.Namespace != "fleet-hub" {
		t.Errorf("role in %s (-want +got):\n%s", role.Namespace, diff)
	}
	binding := get[rbacv1.RoleBinding](t, objects, "RoleBinding/hub-agent-webhook-certificate")
	subject := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "fleet-hub", Name: "hub-agent-sa"}
	if binding.Namespace != role.Namespace || binding.RoleRef.Name != role.Name || !slices.Contains(binding.Subjects, subject) {
		t.Errorf("binding %+v", binding)
	}
	if volumes := get[appsv1.Deployment](t, objects, "Deployment/hub-agent").Spec.Template.Spec.Volumes; len(volumes) != 0 {
		t.Errorf("volumes %v", volumes)
	}
}

func TestWebhookCertificateOfCertManager(t *testing.T) {
	objects := render(t, charts.HubAgent, certManager)
	spec := get[appsv1.Deployment](t, objects, "Deployment/hub-agent").Spec.Template.Spec
	volumes := []corev1.Volume{{Name: "webhook-certificate", VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: "fleet-webhook-server-cert", DefaultMode: ptr.To[int32](0o444)},
	}}}
	if diff := cmp.Diff(volumes, spec.Volumes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	mounts := []corev1.VolumeMount{{Name: "webhook-certificate", MountPath: "/tmp/k8s-webhook-server/serving-certs", ReadOnly: true}}
	if diff := cmp.Diff(mounts, spec.Containers[0].VolumeMounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	certificate := map[string]any{
		"secretName": "fleet-webhook-server-cert", "duration": "2160h", "renewBefore": "720h",
		"privateKey": map[string]any{"algorithm": "ECDSA", "size": int64(256), "rotationPolicy": "Always"},
		"dnsNames": []any{"fleetwebhook", "fleetwebhook.fleet-system", "fleetwebhook.fleet-system.svc",
			"fleetwebhook.fleet-system.svc.cluster.local"},
		"issuerRef": map[string]any{"kind": "Issuer", "name": "fleet-webhook-ca-issuer"},
	}
	ca := map[string]any{
		"secretName": "fleet-webhook-server-cert-ca", "commonName": "fleet-webhook-ca", "isCA": true, "duration": "87600h", "renewBefore": "8760h",
		"privateKey": map[string]any{"algorithm": "ECDSA", "size": int64(256), "rotationPolicy": "Never"},
		"issuerRef":  map[string]any{"kind": "Issuer", "name": "fleet-selfsigned-issuer"},
	}
	for key, want := range map[string]map[string]any{
		"Certificate/fleet-webhook-certificate": certificate,
		"Certificate/fleet-webhook-ca":          ca,
		"Issuer/fleet-selfsigned-issuer":        {"selfSigned": map[string]any{}},
		"Issuer/fleet-webhook-ca-issuer":        {"ca": map[string]any{"secretName": "fleet-webhook-server-cert-ca"}},
	} {
		if diff := cmp.Diff(want, objects[key].Object["spec"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}

// The agent changes and deletes only its own configurations, and deletes them also when webhooks are turned off.
func TestHubWritesItsWebhookConfigurations(t *testing.T) {
	const mutating, validating = "mutatingwebhookconfigurations", "validatingwebhookconfigurations"
	validatings := []string{webhook.ValidatingName, webhook.GuardRailName}
	for values, want := range map[string]map[string][]string{
		"": {"delete " + mutating: {webhook.MutatingName}, "delete " + validating: validatings},
		"enableWebhook: true": {
			"create " + mutating: nil, "update " + mutating: {webhook.MutatingName}, "delete " + mutating: {webhook.MutatingName},
			"create " + validating: nil, "update " + validating: validatings, "delete " + validating: validatings,
		},
	} {
		got := map[string][]string{}
		objects := render(t, charts.HubAgent, values)
		rules := get[rbacv1.ClusterRole](t, objects, "ClusterRole/hub-agent-role").Rules
		if objects["ClusterRole/hub-agent-webhooks"] != nil {
			rules = append(rules, get[rbacv1.ClusterRole](t, objects, "ClusterRole/hub-agent-webhooks").Rules...)
		}
		for _, rule := range rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					if resource == mutating || resource == validating {
						got[verb+" "+resource] = rule.ResourceNames
					}
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rights with %q (-want +got):\n%s", values, diff)
		}
	}
}

// A network policy lets the API server in, which comes from an address that no selector knows.
func TestNetworkPolicyLetsTheAPIServerIn(t *testing.T) {
	objects := render(t, charts.HubAgent, "enableWebhook: true\nnetworkPolicy: {enabled: true}")
	ingress := get[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy/hub-agent").Spec.Ingress
	want := networkingv1.NetworkPolicyIngressRule{Ports: []networkingv1.NetworkPolicyPort{{Port: ptr.To(intstr.FromString("webhook"))}}}
	if len(ingress) == 0 {
		t.Fatal("nothing is let in")
	}
	if diff := cmp.Diff(want, ingress[len(ingress)-1]); diff != "" {
		t.Errorf("ingress (-want +got):\n%s", diff)
	}
}

func TestGuardRailAdmins(t *testing.T) {
	args := get[appsv1.Deployment](t, render(t, charts.HubAgent, `
enableWebhook: true
enableGuardRail: true
guardRailAdmins: [ada@example.org, "system:serviceaccount:flux-system:flux"]
`), "Deployment/"+charts.HubAgent).Spec.Template.Spec.Containers[0].Args
	want := "--whitelisted-users=system:serviceaccount:fleet-system:hub-agent-sa,ada@example.org,system:serviceaccount:flux-system:flux"
	if !slices.Contains(args, want) {
		t.Errorf("the arguments are %q, want one %q", args, want)
	}
}

// Several replicas run on different nodes if possible, and are not drained at once.
func TestHubRunsSeveralReplicas(t *testing.T) {
	const budget, deployment = "PodDisruptionBudget/hub-agent", "Deployment/hub-agent"
	objects := render(t, charts.HubAgent, "replicaCount: 2")
	pod := get[appsv1.Deployment](t, objects, deployment).Spec
	labels := pod.Selector
	want := []corev1.TopologySpreadConstraint{{
		TopologyKey: corev1.LabelHostname, MaxSkew: 1, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: labels,
	}}
	if diff := cmp.Diff(want, pod.Template.Spec.TopologySpreadConstraints); diff != "" {
		t.Errorf("constraints (-want +got):\n%s", diff)
	}
	limits := policyv1.PodDisruptionBudgetSpec{
		MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: labels, UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow),
	}
	if diff := cmp.Diff(limits, get[policyv1.PodDisruptionBudget](t, objects, budget).Spec); diff != "" {
		t.Errorf("budget (-want +got):\n%s", diff)
	}
	for values, constraints := range map[string]int{"replicaCount: 1": 0, "replicaCount: 2\npodDisruptionBudget: false\ntopologySpreadConstraints: [{topologyKey: zone}]": 1} {
		objects := render(t, charts.HubAgent, values)
		if objects[budget] != nil {
			t.Errorf("%q has a budget", values)
		}
		if got := get[appsv1.Deployment](t, objects, deployment).Spec.Template.Spec.TopologySpreadConstraints; len(got) != constraints {
			t.Errorf("%q has constraints %v", values, got)
		}
	}
}
