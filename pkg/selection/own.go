package selection

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// own is a row of the table of objects that stay on the hub although their kinds travel: each cluster has, or makes, its own.
type own struct {
	// objects are named so in docs/selection.md, and why in messages, too.
	objects, why string
	// kinds are those with such objects; none for every kind.
	kinds []schema.GroupKind
	// is recognises such an object by its metadata, or, if that does not suffice, by its content.
	is      func(*Object) bool
	content func(*unstructured.Unstructured) bool
	// made says that controllers make many, so that the watcher does not even keep them; byName that their name shows it.
	made, byName bool
	// told says that users make such objects, too: they are told of each. Of the others they are told of those that they name.
	told bool
}

// Kinds some of whose objects are made by controllers or by the API server, on every cluster anew.
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

// owns is the table. The first row that knows an object decides. claims of a hub with workloads are in Rules.own.
var owns = []own{
	{objects: "ConfigMap `kube-root-ca.crt`", why: "every cluster has its own", kinds: []schema.GroupKind{configMaps}, made: true,
		byName: true, is: func(o *Object) bool { return o.Name == "kube-root-ca.crt" }},
	{objects: "ServiceAccount `default`", why: "every namespace has its own on every cluster", kinds: []schema.GroupKind{serviceAccounts},
		made: true, byName: true, is: func(o *Object) bool { return o.Name == "default" }},
	{objects: "ReplicaSets and ControllerRevisions with an owner", why: "its owner's controller makes it on every cluster",
		kinds: []schema.GroupKind{replicaSets, controllerRevision}, made: true, is: func(o *Object) bool { return len(o.Owners) > 0 }},
	{objects: "Jobs of a CronJob", why: "its CronJob makes it on every cluster", kinds: []schema.GroupKind{jobs}, made: true,
		is: func(o *Object) bool { return ownedBy(o, cronJobs) }},
	{objects: "what a Pod or a Node controls", why: "it belongs to a pod or a node of the hub", is: ofPodOrNode},
	{objects: "EndpointSlices managed by `endpointslice-controller.k8s.io` or `endpointslicemirroring-controller.k8s.io`",
		why: "a controller makes it on every cluster", kinds: []schema.GroupKind{endpointSlices}, made: true,
		is: func(o *Object) bool {
			by := o.Labels[labelSliceOf]
			return by == "endpointslice-controller.k8s.io" || by == "endpointslicemirroring-controller.k8s.io"
		}},
	{objects: "Endpoints of a Service with a selector", why: "a controller makes it on every cluster", kinds: []schema.GroupKind{endpoints},
		made: true, is: func(o *Object) bool { return o.Labels[labelEndpointsOf] == "endpoint-controller" }},
	{objects: "Endpoints without an address, or with one of a pod", why: "a controller makes it on every cluster",
		kinds: []schema.GroupKind{endpoints}, content: madeEndpoints},
	{objects: "ConfigMaps and Endpoints that are locks of leader election", why: "it is a lock of controllers of the hub",
		kinds: []schema.GroupKind{configMaps, endpoints}, content: annotated(annotationLeader, "")},
	{objects: "Secrets of type `kubernetes.io/service-account-token`", why: "the token is good for the hub alone",
		kinds: []schema.GroupKind{secrets}, told: true, content: isToken},
	{objects: "PersistentVolumes that were provisioned for a claim of the hub",
		why: "it was provisioned for a claim of the hub, and members provision their own", kinds: []schema.GroupKind{volumes}, told: true,
		content: isProvisioned},
	{objects: "RBAC objects labelled `kubernetes.io/bootstrapping`, ClusterRoles and ClusterRoleBindings `system:*`",
		why: "every API server makes its own", is: isBootstrapRBAC, kinds: rbac("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")},
	{objects: "PriorityClasses `system-*`", why: "every API server makes its own", kinds: []schema.GroupKind{priorityClasses},
		is: func(o *Object) bool { return strings.HasPrefix(o.Name, "system-") }},
	{objects: "FlowSchemas and PriorityLevelConfigurations that the API server keeps up to date", why: "every API server makes its own",
		kinds:   []schema.GroupKind{{Group: apfGroup, Kind: "FlowSchema"}, {Group: apfGroup, Kind: "PriorityLevelConfiguration"}},
		content: annotated(annotationAutoUpdate, "true")},
	{objects: "APIServices labelled `kube-aggregator.kubernetes.io/automanaged`", why: "every API server makes its own",
		kinds: []schema.GroupKind{apiServices}, is: func(o *Object) bool { return o.Labels.Has(labelAutomanaged) }},
	{objects: "ServiceCIDR `kubernetes`", why: "every API server makes its own", kinds: []schema.GroupKind{serviceCIDRs},
		is: func(o *Object) bool { return o.Name == "kubernetes" }},
	{objects: "the fleet's own CustomResourceDefinitions", why: "the fleet's charts install them where they are needed",
		kinds: []schema.GroupKind{definitions}, is: isFleetDefinition},
	{objects: "cluster-scoped objects labelled `app.kubernetes.io/part-of: flagship`", why: "the fleet's charts install them where they are needed",
		is: func(o *Object) bool { return o.Namespace == "" && o.Labels[labelPartOf] == "flagship" }},
}

// ownClaims is the row for the claims of a hub that runs workloads.
var ownClaims = own{
	objects: "PersistentVolumeClaims, with `--enable-workload`", why: "the hub runs workloads, and claims are theirs (--enable-workload)",
	kinds: []schema.GroupKind{claims}, told: true, is: func(*Object) bool { return true },
}

func (row *own) about(kind schema.GroupKind) bool {
	return len(row.kinds) == 0 || slices.Contains(row.kinds, kind)
}

// own is the row that keeps an object on the hub, as far as its metadata shows; nil if it may travel.
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

// Never says whether an object is one of those that controllers make in numbers and that are never selected.
func (r Rules) Never(kind schema.GroupKind, o *Object) bool {
	row := r.own(kind, o)
	return row != nil && row.made
}

// LeftOut says why an object that was selected by its metadata is not carried, now that its content is known, and whether the user is
// told of that although no selector names it. why is empty if it is carried.
func LeftOut(content *unstructured.Unstructured) (why string, told bool) {
	kind := content.GroupVersionKind().GroupKind()
	for i := range owns {
		if row := &owns[i]; row.content != nil && row.about(kind) && row.content(content) {
			return row.why, row.told
		}
	}
	return "", false
}

// Kept is an object that stays on the hub although a selector leads to it, or a selector that leads to nothing.
type Kept struct{ What, Why string }

// named is what a message calls an object.
func named(kind, namespace, name string) string {
	return kind + " " + strings.TrimPrefix(namespace+"/"+name, "/")
}

// Kept says that the object, which was selected by its metadata, stays on the hub because of its content.
func (r Ref) Kept(why string) Kept { return Kept{named(r.Kind.Kind, r.Namespace, r.Name), why} }

func ownedBy(o *Object, owner schema.GroupKind) bool {
	for _, ref := range o.Owners {
		if ref.Kind == owner.Kind && strings.HasPrefix(ref.APIVersion, owner.Group+"/") {
			return true
		}
	}
	return false
}

// ofPodOrNode says whether the object is there for an object that no placement takes along, like the claims of a pod's ephemeral volumes.
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

// isFleetDefinition knows the two groups of the fleet's API exactly: other groups of that domain are their owners'.
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

// madeEndpoints recognises what the endpoints controller writes, also before Kubernetes 1.33, which labels it: no address at all, or
// addresses that refer to pods.
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

// isProvisioned recognises a volume that a provisioner made: it bears the uid of its claim in its name. The annotation alone does not
// tell, because users write it to have their volumes deleted by a driver.
func isProvisioned(content *unstructured.Unstructured) bool {
	uid, _, _ := unstructured.NestedString(content.Object, "spec", "claimRef", "uid")
	return uid != "" && content.GetAnnotations()[annotationProvisionedBy] != "" && strings.HasSuffix(content.GetName(), uid)
}
