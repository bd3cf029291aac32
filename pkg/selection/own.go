package selection

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// own is a row of the table of objects that stay on the hub although their kinds are propagated, because each cluster
// has or creates its own.
type own struct {
	// objects is the description of the objects in docs/selection.md; why is the reason there and in messages.
	objects, why string
	// kinds are the kinds with such objects; empty for every kind.
	kinds []schema.GroupKind
	// is recognizes such an object by its metadata; content recognizes it by its content if the metadata is not
	// sufficient.
	is      func(*Object) bool
	content func(*unstructured.Unstructured) bool
	// made is true if controllers create so many of these objects that the watcher does not cache them; byName is true
	// if their name identifies them.
	made, byName bool
	// listed is true if users create such objects, too: the placement lists each of them as left out. It lists others
	// only if a selector names them.
	listed bool
}

// Kinds with objects that controllers or the API server create on every cluster.
var (
	configMaps         = schema.GroupKind{Kind: "ConfigMap"}
	serviceAccounts    = schema.GroupKind{Kind: "ServiceAccount"}
	secrets            = schema.GroupKind{Kind: "Secret"}
	claims             = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	services           = schema.GroupKind{Kind: "Service"}
	endpoints          = schema.GroupKind{Kind: "Endpoints"}
	endpointSlices     = schema.GroupKind{Group: "discovery.k8s.io", Kind: "EndpointSlice"}
	replicaSets        = schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}
	controllerRevision = schema.GroupKind{Group: "apps", Kind: "ControllerRevision"}
	jobs               = schema.GroupKind{Group: "batch", Kind: "Job"}
	cronJobs           = schema.GroupKind{Group: "batch", Kind: "CronJob"}
	priorityClasses    = schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"}
	serviceCIDRs       = schema.GroupKind{Group: "networking.k8s.io", Kind: "ServiceCIDR"}
)

const (
	rbacGroup = "rbac.authorization.k8s.io"
	apfGroup  = "flowcontrol.apiserver.k8s.io"

	labelBootstrapping = "kubernetes.io/bootstrapping"
	labelAutomanaged   = "kube-aggregator.kubernetes.io/automanaged"
	labelPartOf        = "app.kubernetes.io/part-of"
	labelEndpointsOf   = "endpoints.kubernetes.io/managed-by"
	labelSliceOf       = "endpointslice.kubernetes.io/managed-by"

	annotationAutoUpdate = "apf.kubernetes.io/autoupdate-spec"
	annotationLeader     = "control-plane.alpha.kubernetes.io/leader"
)

// owns is the table. The first matching row decides. The row for claims of a hub with workloads is in Rules.own.
var owns = []own{
	{objects: "ConfigMap `kube-root-ca.crt`", why: "every cluster has its own", kinds: []schema.GroupKind{configMaps}, made: true,
		byName: true, is: func(o *Object) bool { return o.Name == "kube-root-ca.crt" }},
	{objects: "ServiceAccount `default`", why: "every namespace has its own on every cluster", kinds: []schema.GroupKind{serviceAccounts},
		made: true, byName: true, is: func(o *Object) bool { return o.Name == "default" }},
	{objects: "ReplicaSets and ControllerRevisions with an owner", why: "its owner's controller creates it on every cluster",
		kinds: []schema.GroupKind{replicaSets, controllerRevision}, made: true, is: func(o *Object) bool { return len(o.Owners) > 0 }},
	{objects: "Jobs of a CronJob", why: "its CronJob creates it on every cluster", kinds: []schema.GroupKind{jobs}, made: true,
		is: func(o *Object) bool { return ownedBy(o, cronJobs) }},
	{objects: "what a Pod or a Node controls", why: "it belongs to a pod or a node of the hub", is: ofPodOrNode},
	{objects: "EndpointSlices managed by `endpointslice-controller.k8s.io` or `endpointslicemirroring-controller.k8s.io`",
		why: "a controller creates it on every cluster", kinds: []schema.GroupKind{endpointSlices}, made: true,
		is: func(o *Object) bool {
			by := o.Labels[labelSliceOf]
			return by == "endpointslice-controller.k8s.io" || by == "endpointslicemirroring-controller.k8s.io"
		}},
	{objects: "Endpoints of a Service with a selector", why: "a controller creates it on every cluster", kinds: []schema.GroupKind{endpoints},
		made: true, is: func(o *Object) bool { return o.Labels[labelEndpointsOf] == "endpoint-controller" }},
	{objects: "Endpoints without an address, or with one of a pod", why: "a controller creates it on every cluster",
		kinds: []schema.GroupKind{endpoints}, content: madeEndpoints},
	{objects: "ConfigMaps and Endpoints that are locks of leader election", why: "it is a leader election lock of the hub",
		kinds: []schema.GroupKind{configMaps, endpoints}, content: annotated(annotationLeader, "")},
	{objects: "Secrets of type `kubernetes.io/service-account-token`", why: "the token is valid only on the hub",
		kinds: []schema.GroupKind{secrets}, listed: true, content: isToken},
	{objects: "PersistentVolumes that were provisioned for a claim of the hub",
		why: "it was provisioned for a claim of the hub, and members provision their own", kinds: []schema.GroupKind{volumes}, listed: true,
		content: isProvisioned},
	{objects: "RBAC objects labelled `kubernetes.io/bootstrapping`, ClusterRoles and ClusterRoleBindings `system:*`",
		why: "every API server creates its own", is: isBootstrapRBAC, kinds: rbac("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")},
	{objects: "PriorityClasses `system-*`", why: "every API server creates its own", kinds: []schema.GroupKind{priorityClasses},
		is: func(o *Object) bool { return strings.HasPrefix(o.Name, "system-") }},
	{objects: "FlowSchemas and PriorityLevelConfigurations that the API server keeps up to date", why: "every API server creates its own",
		kinds:   []schema.GroupKind{{Group: apfGroup, Kind: "FlowSchema"}, {Group: apfGroup, Kind: "PriorityLevelConfiguration"}},
		content: annotated(annotationAutoUpdate, "true")},
	{objects: "APIServices labelled `kube-aggregator.kubernetes.io/automanaged`", why: "every API server creates its own",
		kinds: []schema.GroupKind{apiServices}, is: func(o *Object) bool { return o.Labels.Has(labelAutomanaged) }},
	{objects: "ServiceCIDR `kubernetes`", why: "every API server creates its own", kinds: []schema.GroupKind{serviceCIDRs},
		is: func(o *Object) bool { return o.Name == "kubernetes" }},
	{objects: "the fleet's own CustomResourceDefinitions", why: "the fleet's charts install them where they are needed",
		kinds: []schema.GroupKind{definitions}, is: isFleetDefinition},
	{objects: "cluster-scoped objects labelled `app.kubernetes.io/part-of: flagship`", why: "the fleet's charts install them where they are needed",
		is: func(o *Object) bool { return o.Namespace == "" && o.Labels[labelPartOf] == "flagship" }},
}

// ownClaims is the row for the claims of a hub that runs workloads.
var ownClaims = own{
	objects: "PersistentVolumeClaims, with `--enable-workload`", why: "the hub runs workloads that use its claims (--enable-workload)",
	kinds: []schema.GroupKind{claims}, listed: true, is: func(*Object) bool { return true },
}

func (row *own) about(kind schema.GroupKind) bool {
	return len(row.kinds) == 0 || slices.Contains(row.kinds, kind)
}

// own returns the row that keeps an object on the hub according to its metadata; nil if it may be propagated.
func (r Rules) own(kind schema.GroupKind, o *Object) *own {
	if r.workloads && kind == claims {
		return &ownClaims
	}
	for i := range owns {
		if row := &owns[i]; row.is != nil && row.about(kind) && row.is(o) {
			return row
		}
	}
	return nil
}

// Never reports whether an object is one of those that controllers create in large numbers and that are never
// selected.
func (r Rules) Never(kind schema.GroupKind, o *Object) bool {
	row := r.own(kind, o)
	return row != nil && row.made
}

// WhyLeftOut returns why an object that was selected by its metadata is not propagated because of its content, and
// whether the placement lists it even if no selector names it. why is empty if it is propagated.
func WhyLeftOut(content *unstructured.Unstructured) (why string, listed bool) {
	kind := content.GroupVersionKind().GroupKind()
	for i := range owns {
		if row := &owns[i]; row.content != nil && row.about(kind) && row.content(content) {
			return row.why, row.listed
		}
	}
	return "", false
}

// LeftOut is an object that stays on the hub although a selector matches it, or a selector that can select nothing.
type LeftOut struct{ What, Why string }

// named returns the name of an object for messages.
func named(kind, namespace, name string) string {
	return kind + " " + strings.TrimPrefix(namespace+"/"+name, "/")
}

// LeftOut returns the entry for an object that was selected by its metadata and stays on the hub because of its
// content.
func (r Ref) LeftOut(why string) LeftOut {
	return LeftOut{named(r.Kind.Kind, r.Namespace, r.Name), why}
}

func ownedBy(o *Object, owner schema.GroupKind) bool {
	for _, ref := range o.Owners {
		if ref.Kind == owner.Kind && strings.HasPrefix(ref.APIVersion, owner.Group+"/") {
			return true
		}
	}
	return false
}

// ofPodOrNode reports whether the object belongs to an object that is never placed, like the claims of a pod's
// ephemeral volumes.
func ofPodOrNode(o *Object) bool {
	return slices.ContainsFunc(o.Owners, func(ref metav1.OwnerReference) bool {
		return ref.Controller != nil && *ref.Controller && ref.APIVersion == "v1" && (ref.Kind == "Pod" || ref.Kind == "Node")
	})
}

func rbac(kinds ...string) []schema.GroupKind {
	var out []schema.GroupKind
	for _, kind := range kinds {
		out = append(out, schema.GroupKind{Group: rbacGroup, Kind: kind})
	}
	return out
}

func isBootstrapRBAC(o *Object) bool {
	return o.Labels.Has(labelBootstrapping) || o.Namespace == "" && strings.HasPrefix(o.Name, "system:")
}

// isFleetDefinition matches only the two groups of the fleet's API: other groups of that domain belong to other
// projects.
func isFleetDefinition(o *Object) bool {
	_, group, _ := strings.Cut(o.Name, ".")
	return group == v1beta1.GroupVersion.Group || group == "cluster.kubernetes-fleet.io"
}

func annotated(name, value string) func(*unstructured.Unstructured) bool {
	return func(content *unstructured.Unstructured) bool {
		has, ok := content.GetAnnotations()[name]
		return ok && (value == "" || has == value)
	}
}

// madeEndpoints recognizes objects that the endpoints controller writes, also before Kubernetes 1.33, which labels
// them: they have no address, or addresses that refer to pods.
func madeEndpoints(content *unstructured.Unstructured) bool {
	subsets, _, _ := unstructured.NestedSlice(content.Object, "subsets")
	some := false
	for _, subset := range subsets {
		subset, _ := subset.(map[string]any)
		for _, field := range []string{"addresses", "notReadyAddresses"} {
			addresses, _ := subset[field].([]any)
			for _, address := range addresses {
				address, _ := address.(map[string]any)
				if kind, _, _ := unstructured.NestedString(address, "targetRef", "kind"); kind == "Pod" {
					return true
				}
				some = true
			}
		}
	}
	return !some
}

func isToken(content *unstructured.Unstructured) bool {
	kind, _, _ := unstructured.NestedString(content.Object, "type")
	return kind == "kubernetes.io/service-account-token"
}

// isProvisioned recognizes a volume that a provisioner created: its name contains the UID of its claim. The annotation
// alone is not sufficient, because users set it to have a driver delete their volumes.
func isProvisioned(content *unstructured.Unstructured) bool {
	uid, _, _ := unstructured.NestedString(content.Object, "spec", "claimRef", "uid")
	return uid != "" && content.GetAnnotations()[annotationProvisionedBy] != "" && strings.HasSuffix(content.GetName(), uid)
}
