// Package webhook describes the admission webhooks of the hub: which requests the hub's API server sends to which
// path, and what it does when no agent answers.
package webhook

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/pkg/admission/guardrail"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Names of the configurations.
const (
	MutatingName   = "fleet-mutating-webhook-configuration"
	ValidatingName = "fleet-validating-webhook-configuration"
	GuardRailName  = "fleet-guard-rail-webhook-configuration"
)

// AnnotationInject makes cert-manager's injector write the CA into a configuration.
const AnnotationInject = "cert-manager.io/inject-ca-from"

// GuardRailPath is where all webhooks of the guard rail are served.
const GuardRailPath = "/validate-fleetresourcehandler"

// The probe by which the publisher finds out whether the API server reaches the webhooks: a Lease with the label
// ProbeLabel is refused with ProbeAnswer by the webhook at ProbePath.
const (
	ProbePath   = "/validate-fleetprobe"
	ProbeLabel  = "kubernetes-fleet.io/webhook-probe"
	ProbeAnswer = "the API server reaches the webhooks"
)

// Resource is a kind of objects that a webhook is about.
type Resource struct {
	Group, Version, Plural, Singular string
}

// Resources with webhooks of their own.
var (
	Placements        = Resource{"placement.kubernetes-fleet.io", "v1beta1", "clusterresourceplacements", "clusterresourceplacement"}
	MemberClusters    = Resource{"cluster.kubernetes-fleet.io", "v1beta1", "memberclusters", "membercluster"}
	ClusterOverrides  = Resource{"placement.kubernetes-fleet.io", "v1beta1", "clusterresourceoverrides", "clusterresourceoverride"}
	Overrides         = Resource{"placement.kubernetes-fleet.io", "v1beta1", "resourceoverrides", "resourceoverride"}
	Evictions         = Resource{"placement.kubernetes-fleet.io", "v1beta1", "clusterresourceplacementevictions", "clusterresourceplacementeviction"}
	DisruptionBudgets = Resource{"placement.kubernetes-fleet.io", "v1beta1", "clusterresourceplacementdisruptionbudgets", "clusterresourceplacementdisruptionbudget"}
	Pods              = Resource{"", "v1", "pods", "pod"}
	ReplicaSets       = Resource{"apps", "v1", "replicasets", "replicaset"}
	PodBudgets        = Resource{"policy", "v1", "poddisruptionbudgets", "poddisruptionbudget"}
)

// ValidatePath is where the validating webhook of a resource is served.
func (r Resource) ValidatePath() string { return r.path("/validate-") }

// MutatePath is where the mutating webhook of a resource is served.
func (r Resource) MutatePath() string { return r.path("/mutate-") }

func (r Resource) path(verb string) string {
	return verb + r.Group + "-" + r.Version + "-" + r.Singular
}

// Options are what the flags of the hub agent make of the webhooks.
type Options struct {
	// GuardRail is whether there is a guard rail.
	GuardRail bool
	// Workloads is whether pods and replica sets of users may run on the hub, PodDisruptionBudgets whether their
	// budgets may.
	Workloads, PodDisruptionBudgets bool
	// Networking is whether members export services: then the deletion of a MemberCluster is validated.
	Networking bool
	// Client is how the API server reaches the agents.
	Client Client
	// InjectFrom is the Certificate, "namespace/name", from which cert-manager injects the CA; empty if CA is given.
	InjectFrom string
	// CA are the PEM certificates that the API server trusts.
	CA []byte
	// Trial is whether it is unknown yet that the API server reaches the webhooks. Then it ignores every failure, and
	// there is a webhook for the probe.
	Trial bool
}

// Client is the address of the agents' webhook server.
type Client struct {
	// URL is the address without a path, or empty for a Service.
	URL string
	// Namespace, Service and Port are the Service.
	Namespace, Service string
	Port               int32
}

// Configurations are the objects that the leader writes to the hub, in the form in which the API server stores them:
// defaults are filled in.
type Configurations struct {
	Mutating *admissionv1.MutatingWebhookConfiguration
	// Validating has GuardRail beside it if there is one.
	Validating, GuardRail *admissionv1.ValidatingWebhookConfiguration
}

// Validatings are the validating configurations that there are.
func (c Configurations) Validatings() []*admissionv1.ValidatingWebhookConfiguration {
	if c.GuardRail == nil {
		return []*admissionv1.ValidatingWebhookConfiguration{c.Validating}
	}
	return []*admissionv1.ValidatingWebhookConfiguration{c.Validating, c.GuardRail}
}

// Labels mark the configurations. They keep admission enforcers of providers from changing them.
func Labels() map[string]string { return map[string]string{"admissions.enforcer/disabled": "true"} }

// How long the API server waits for an answer: the guard rail is asked about every write in reserved namespaces, and
// must not hold up a cluster whose agent is down.
const patience, guardPatience = 5 * time.Second, time.Second

// changesSpec lets through what changes a spec: labels, annotations and finalizers do not need an agent.
var changesSpec = admissionv1.MatchCondition{
	Name:       "changes-spec",
	Expression: "request.operation != 'UPDATE' || !has(object.spec) || !has(oldObject.spec) || object.spec != oldObject.spec",
}

// ofUsers lets through what is not in a reserved namespace, nor in the agent's own, whatever its name: pods of the
// cluster's own components, and the agent's, do not need an agent.
func (o Options) ofUsers() admissionv1.MatchCondition {
	return admissionv1.MatchCondition{
		Name: "namespace-of-users",
		Expression: fmt.Sprintf("!request.namespace.startsWith('fleet-') && !request.namespace.startsWith('kube-') && request.namespace != '%s'",
			o.Client.Namespace),
	}
}

// Make returns the configurations for options.
func Make(o Options) Configurations {
	out := Configurations{
		Mutating: &admissionv1.MutatingWebhookConfiguration{ObjectMeta: o.meta(MutatingName), Webhooks: []admissionv1.MutatingWebhook{{
			Name: "fleet.clusterresourceplacementv1beta1.mutating", ClientConfig: o.client(Placements.MutatePath()),
			Rules:         []admissionv1.RuleWithOperations{Placements.rule(admissionv1.ClusterScope, admissionv1.Create, admissionv1.Update)},
			FailurePolicy: ptr.To(admissionv1.Ignore), MatchPolicy: ptr.To(admissionv1.Equivalent), SideEffects: ptr.To(admissionv1.SideEffectClassNone),
			TimeoutSeconds: seconds(patience), AdmissionReviewVersions: reviews, ReinvocationPolicy: ptr.To(admissionv1.NeverReinvocationPolicy),
			NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{}, MatchConditions: []admissionv1.MatchCondition{changesSpec},
		}}},
		Validating: &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: o.meta(ValidatingName), Webhooks: o.validating()},
	}
	if o.GuardRail {
		out.GuardRail = &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: o.meta(GuardRailName), Webhooks: o.guardRail()}
	}
	return out
}

var reviews = []string{"v1", "v1beta1"}

func seconds(d time.Duration) *int32 { return ptr.To(int32(d / time.Second)) }

func (o Options) meta(name string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Name: name, Labels: Labels()}
	if o.InjectFrom != "" {
		meta.Annotations = map[string]string{AnnotationInject: o.InjectFrom}
	}
	return meta
}

func (o Options) client(path string) admissionv1.WebhookClientConfig {
	if o.Client.URL != "" {
		return admissionv1.WebhookClientConfig{URL: ptr.To(o.Client.URL + path), CABundle: o.CA}
	}
	return admissionv1.WebhookClientConfig{CABundle: o.CA, Service: &admissionv1.ServiceReference{
		Namespace: o.Client.Namespace, Name: o.Client.Service, Port: &o.Client.Port, Path: &path,
	}}
}

func (o Options) validating() []admissionv1.ValidatingWebhook {
	deletion := []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}
	if o.Networking {
		deletion = append(deletion, admissionv1.Delete)
	}
	var out []admissionv1.ValidatingWebhook
	failure := admissionv1.Fail
	if o.Trial {
		failure = admissionv1.Ignore
	}
	add := func(name string, r Resource, scope admissionv1.ScopeType, when admissionv1.MatchCondition, operations ...admissionv1.OperationType) {
		out = append(out, o.webhook("fleet."+name+".validating", r.ValidatePath(), failure, patience,
			[]admissionv1.RuleWithOperations{r.rule(scope, operations...)}, when))
	}
	const create, update = admissionv1.Create, admissionv1.Update
	if !o.Workloads {
		add("pod", Pods, admissionv1.NamespacedScope, o.ofUsers(), create)
		add("replicaset", ReplicaSets, admissionv1.NamespacedScope, o.ofUsers(), create)
	}
	if !o.PodDisruptionBudgets {
		add("poddisruptionbudget", PodBudgets, admissionv1.NamespacedScope, o.ofUsers(), create)
	}
	add("clusterresourceplacementv1beta1", Placements, admissionv1.ClusterScope, changesSpec, create, update)
	add("membercluster", MemberClusters, admissionv1.ClusterScope, changesSpec, deletion...)
	add("clusterresourceoverride", ClusterOverrides, admissionv1.ClusterScope, changesSpec, create, update)
	add("resourceoverride", Overrides, admissionv1.NamespacedScope, changesSpec, create, update)
	add("clusterresourceplacementeviction", Evictions, admissionv1.ClusterScope, changesSpec, create)
	add("clusterresourceplacementdisruptionbudget", DisruptionBudgets, admissionv1.ClusterScope, changesSpec, create, update)
	if o.Trial {
		probe := o.webhook("fleet.probe.validating", ProbePath, admissionv1.Ignore, patience,
			[]admissionv1.RuleWithOperations{rule(admissionv1.NamespacedScope, "coordination.k8s.io", "v1", []string{"leases"}, create)})
		probe.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{ProbeLabel: "true"}}
		out = append(out, probe)
	}
	return out
}

func (o Options) webhook(
	name, path string, failure admissionv1.FailurePolicyType, patience time.Duration, rules []admissionv1.RuleWithOperations, when ...admissionv1.MatchCondition,
) admissionv1.ValidatingWebhook {
	return admissionv1.ValidatingWebhook{
		Name: name, ClientConfig: o.client(path), Rules: rules, FailurePolicy: &failure, MatchPolicy: ptr.To(admissionv1.Equivalent),
		SideEffects: ptr.To(admissionv1.SideEffectClassNone), TimeoutSeconds: seconds(patience), AdmissionReviewVersions: reviews,
		NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{}, MatchConditions: when,
	}
}

func (r Resource) rule(scope admissionv1.ScopeType, operations ...admissionv1.OperationType) admissionv1.RuleWithOperations {
	return rule(scope, r.Group, r.Version, []string{r.Plural}, operations...)
}

func rule(scope admissionv1.ScopeType, group, version string, resources []string, operations ...admissionv1.OperationType) admissionv1.RuleWithOperations {
	return admissionv1.RuleWithOperations{Operations: operations, Rule: admissionv1.Rule{
		APIGroups: []string{group}, APIVersions: []string{version}, Resources: resources, Scope: &scope,
	}}
}

// Conditions of the guard rail: the API server calls it only for what it may refuse, so that the rest of the hub does
// not wait for an agent that is down. An expression that fails lets the request pass, and a field of the request that
// is empty is missing: each is looked for first.
var (
	fleetDefinition = admissionv1.MatchCondition{
		Name:       "fleet-definitions",
		Expression: list(guardrail.FleetGroups) + ".exists(group, (" + nameOf + ").endsWith('.' + group))",
	}
	reservedNamespace = admissionv1.MatchCondition{
		Name:       "reserved-namespaces",
		Expression: "[" + nameOf + "].exists(name, name.startsWith('fleet-') || name.startsWith('kube-'))",
	}
	byUsers = admissionv1.MatchCondition{Name: "by-users", Expression: users}
	// The hub agent writes statuses of MemberClusters all the time. Some changes of metadata are refused to everyone.
	statusByUsers = admissionv1.MatchCondition{Name: "status-by-users", Expression: "!has(request.subResource) || request.subResource != 'status' || " + users}
)

// nameOf is an expression: the name of the object. A request to create with generateName, and each request of a
// deletion of a collection, has none.
const nameOf = "has(request.name) && request.name != '' ? request.name : request.operation == 'DELETE' ? oldObject.metadata.name : " +
	"has(object.metadata.name) ? object.metadata.name : object.metadata.generateName"

// users is an expression: the request is not by a component of the cluster or an administrator, whom the guard rail
// lets pass.
var users = fmt.Sprintf("!(has(request.userInfo.groups) && request.userInfo.groups.exists(group, group in %s) || request.userInfo.username in %s)",
	list(guardrail.TrustedGroups), list(guardrail.TrustedUsers))

// list is a list of strings in CEL; none of them needs escapes.
func list(items []string) string { return "['" + strings.Join(items, "', '") + "']" }

func (o Options) guardRail() []admissionv1.ValidatingWebhook {
	all := []admissionv1.OperationType{admissionv1.Create, admissionv1.Update, admissionv1.Delete}
	cluster := func(name string, r admissionv1.RuleWithOperations, when ...admissionv1.MatchCondition) admissionv1.ValidatingWebhook {
		return o.webhook(fmt.Sprintf("fleet.%s.guardrail.validating", name), GuardRailPath, admissionv1.Ignore, guardPatience,
			[]admissionv1.RuleWithOperations{r}, when...)
	}
	namespaced := func(name string, selector metav1.LabelSelector) admissionv1.ValidatingWebhook {
		w := o.webhook(fmt.Sprintf("fleet.%s.guardrail.validating", name), GuardRailPath, admissionv1.Ignore, guardPatience, namespacedRules(), byUsers)
		w.NamespaceSelector = &selector
		return w
	}
	return []admissionv1.ValidatingWebhook{
		cluster("customresourcedefinition", rule(admissionv1.ClusterScope, "apiextensions.k8s.io", "v1", []string{"customresourcedefinitions", "customresourcedefinitions/status"}, all...), fleetDefinition),
		cluster("membercluster", rule(admissionv1.ClusterScope, MemberClusters.Group, MemberClusters.Version,
			[]string{MemberClusters.Plural, MemberClusters.Plural + "/status"}, all...), statusByUsers),
		cluster("namespace", rule(admissionv1.ClusterScope, "", "v1", []string{"namespaces", "namespaces/status", "namespaces/finalize"}, all...), reservedNamespace, byUsers),
		namespaced("fleetmembernamespacedresources", metav1.LabelSelector{MatchLabels: map[string]string{contract.LabelFleetResource: "true"}}),
		namespaced("fleetsystemnamespacedresources", named(slices.Compact([]string{contract.NamespaceSystem, cmp.Or(o.Client.Namespace, contract.NamespaceSystem)})...)),
		namespaced("kubenamespacedresources", named("kube-system", "kube-public", "kube-node-lease")),
	}
}

func named(namespaces ...string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpIn, Values: namespaces,
	}}}
}

// namespacedRules are the requests in reserved namespaces that the guard rail is asked about. Leases and events are
// left out: components write them all the time.
func namespacedRules() []admissionv1.RuleWithOperations {
	write := func(group, version string, resources ...string) admissionv1.RuleWithOperations {
		return rule(admissionv1.NamespacedScope, group, version, resources, admissionv1.Create, admissionv1.Update)
	}
	return []admissionv1.RuleWithOperations{
		rule(admissionv1.NamespacedScope, "*", "*", []string{"*/*"}, admissionv1.Delete),
		write("", "v1", "bindings", "configmaps", "endpoints", "limitranges", "persistentvolumeclaims", "persistentvolumeclaims/status", "podtemplates",
			"pods", "pods/status", "pods/ephemeralcontainers", "replicationcontrollers", "replicationcontrollers/status", "replicationcontrollers/scale", "resourcequotas", "resourcequotas/status", "secrets",
			"serviceaccounts", "serviceaccounts/token", "services", "services/status"),
		write("apps", "v1", "controllerrevisions", "daemonsets", "daemonsets/status", "replicasets", "replicasets/status", "replicasets/scale", "deployments",
			"deployments/status", "deployments/scale", "statefulsets", "statefulsets/status", "statefulsets/scale"),
		write("authorization.k8s.io", "v1", "localsubjectaccessreviews"),
		write("autoscaling", "v1", "horizontalpodautoscalers", "horizontalpodautoscalers/status"),
		write("batch", "v1", "cronjobs", "cronjobs/status", "jobs", "jobs/status"),
		write("discovery.k8s.io", "v1", "endpointslices"),
		write("networking.k8s.io", "v1", "ingresses", "ingresses/status", "networkpolicies"),
		write("policy", "v1", "poddisruptionbudgets", "poddisruptionbudgets/status"),
		write("rbac.authorization.k8s.io", "v1", "roles", "rolebindings"),
		write("storage.k8s.io", "v1", "csistoragecapacities"),
		write("cluster.kubernetes-fleet.io", "v1beta1", "internalmemberclusters", "internalmemberclusters/status"),
		write("placement.kubernetes-fleet.io", "v1beta1", "works", "works/status"),
		write("networking.fleet.azure.com", "*", "endpointsliceexports", "endpointsliceimports", "internalserviceexports",
			"internalserviceexports/status", "internalserviceimports", "internalserviceimports/status"),
	}
}
