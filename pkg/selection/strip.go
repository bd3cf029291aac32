package selection

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// stripping is a row of the table of fields that describe an object on the hub, and not the user's intent.
type stripping struct {
	// kinds are the kinds with the fields; empty for every kind.
	kinds []schema.GroupKind
	// fields and writer are the texts in docs/selection.md.
	fields, writer string
	strip          func(*unstructured.Unstructured)
}

// Kinds with fields that a controller or the API server fills in.
var (
	volumes           = schema.GroupKind{Kind: "PersistentVolume"}
	deployments       = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	daemonSets        = schema.GroupKind{Group: "apps", Kind: "DaemonSet"}
	autoscalers       = schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}
	clusterRoles      = schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}
	mutatingWebhooks  = schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}
	validatingWebhook = schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}
	apiServices       = schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}
	definitions       = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
)

// stripped is the table. For a field that users may write as well, a row must determine who wrote it: values that the
// user wrote are propagated.
var stripped = []stripping{
	{fields: "`status`; of `metadata`: `uid`, `resourceVersion`, `generation`, times, `managedFields`, `ownerReferences`, `selfLink`",
		writer: "the API server", strip: stripServerFields},
	{fields: "`metadata.finalizers`", writer: "controllers of the hub, which never see the copy", strip: stripFinalizers},
	{fields: "annotation `kubectl.kubernetes.io/last-applied-configuration`", writer: "kubectl",
		strip: annotations(contract.AnnotationKubectlLastApplied)},
	{fields: "annotation `deployment.kubernetes.io/revision`", writer: "the Deployment controller",
		strip: annotations(contract.AnnotationDeploymentRevision)},
	{kinds: []schema.GroupKind{deployments, replicaSets}, fields: "annotations `deployment.kubernetes.io/desired-replicas`, " +
		"`deployment.kubernetes.io/max-replicas`, `deployment.kubernetes.io/revision-history`", writer: "the Deployment controller",
		strip: annotations("deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas",
			"deployment.kubernetes.io/revision-history")},
	{kinds: []schema.GroupKind{daemonSets}, fields: "annotation `deprecated.daemonset.template.generation`", writer: "the API server",
		strip: annotations("deprecated.daemonset.template.generation")},
	{kinds: []schema.GroupKind{autoscalers}, fields: "annotations `autoscaling.alpha.kubernetes.io/conditions`, " +
		"`autoscaling.alpha.kubernetes.io/current-metrics`", writer: "the API server, for the status in `autoscaling/v1`",
		strip: annotations("autoscaling.alpha.kubernetes.io/conditions", "autoscaling.alpha.kubernetes.io/current-metrics")},
	{kinds: []schema.GroupKind{endpoints, endpointSlices}, fields: "annotation `endpoints.kubernetes.io/last-change-trigger-time`",
		writer: "the endpoints controllers", strip: annotations("endpoints.kubernetes.io/last-change-trigger-time")},
	{kinds: []schema.GroupKind{namespaceKind}, fields: "`spec.finalizers`, except `kubernetes`", writer: "controllers of the hub",
		strip: stripNamespace},
	{kinds: []schema.GroupKind{services}, fields: "`spec.clusterIP` and `clusterIPs`, unless headless; `spec.healthCheckNodePort`; " +
		"`spec.ports[].nodePort`", writer: "the API server", strip: stripService},
	{kinds: []schema.GroupKind{services}, fields: "`spec.ipFamilies`, `spec.ipFamilyPolicy`, unless a field manager owns them",
		writer: "the API server", strip: stripFamilies},
	{kinds: []schema.GroupKind{jobs}, fields: "labels `controller-uid` and `batch.kubernetes.io/controller-uid`, on the Job, in its " +
		"selector and on its pods, unless `manualSelector`", writer: "the API server", strip: stripJob},
	{kinds: []schema.GroupKind{claims}, fields: "annotations `pv.kubernetes.io/*`, `volume.kubernetes.io/*` and " +
		"`volume.beta.kubernetes.io/storage-provisioner`; `spec.volumeName`, if `pv.kubernetes.io/bound-by-controller`",
		writer: "the volume binder, the scheduler and provisioners", strip: stripClaim},
	{kinds: []schema.GroupKind{volumes}, fields: "annotations `pv.kubernetes.io/bound-by-controller` and `pv.kubernetes.io/migrated-to`; " +
		"`spec.claimRef`, if `pv.kubernetes.io/bound-by-controller`, else its `uid` and `resourceVersion`",
		writer: "the volume binder", strip: stripVolume},
	{kinds: []schema.GroupKind{serviceAccounts}, fields: "`secrets` named `<name>-token-*`", writer: "the token controller of older hubs",
		strip: stripTokens},
	{kinds: []schema.GroupKind{clusterRoles}, fields: "`rules`, if there is an `aggregationRule`", writer: "the aggregation controller",
		strip: stripAggregated},
	{kinds: []schema.GroupKind{mutatingWebhooks, validatingWebhook, apiServices, definitions},
		fields: "`caBundle`, if an annotation orders one: `cert-manager.io/inject-*`, `service.beta.openshift.io/inject-cabundle`",
		writer: "the injector", strip: stripBundles},
}

// strip removes the fields that the API server or a controller of this cluster has set.
func strip(content *unstructured.Unstructured) {
	kind := content.GroupVersionKind().GroupKind()
	// The row for the API server is first in the table and runs last: other rows read fields that it removes.
	for _, row := range slices.Backward(stripped) {
		if len(row.kinds) == 0 || slices.Contains(row.kinds, kind) {
			row.strip(content)
		}
	}
	metadata, _ := content.Object["metadata"].(map[string]any)
	if annotations, ok := metadata["annotations"].(map[string]any); ok && len(annotations) == 0 {
		delete(metadata, "annotations")
	}
}

func annotations(names ...string) func(*unstructured.Unstructured) {
	return func(content *unstructured.Unstructured) {
		for _, name := range names {
			unstructured.RemoveNestedField(content.Object, "metadata", "annotations", name)
		}
	}
}

func stripServerFields(content *unstructured.Unstructured) {
	delete(content.Object, "status")
	metadata, _ := content.Object["metadata"].(map[string]any)
	for _, field := range []string{"resourceVersion", "generation", "uid", "selfLink", "creationTimestamp", "deletionTimestamp",
		"managedFields", "ownerReferences"} {
		delete(metadata, field)
	}
}

// stripFinalizers removes all finalizers. The controllers that would remove them run on the hub, so on the member the
// object could never be deleted. To propagate a finalizer, put the object into an envelope.
func stripFinalizers(content *unstructured.Unstructured) {
	unstructured.RemoveNestedField(content.Object, "metadata", "finalizers")
}

// stripNamespace keeps only the finalizer that every namespace has on every cluster.
func stripNamespace(content *unstructured.Unstructured) {
	spec := specOf(content)
	list, _ := spec["finalizers"].([]any)
	list = slices.DeleteFunc(list, func(f any) bool { return f != "kubernetes" })
	if len(list) == 0 {
		delete(spec, "finalizers")
	} else {
		spec["finalizers"] = list
	}
}

// stripService removes addresses and ports that this cluster has assigned.
func stripService(content *unstructured.Unstructured) {
	spec := specOf(content)
	if spec["clusterIP"] != "None" {
		delete(spec, "clusterIP")
		delete(spec, "clusterIPs")
	}
	delete(spec, "healthCheckNodePort")
	ports, _ := spec["ports"].([]any)
	for _, port := range ports {
		if port, ok := port.(map[string]any); ok {
			delete(port, "nodePort")
		}
	}
}

// stripFamilies removes the IP families of this cluster. The API server sets them after it has recorded the field
// managers, so only families that a user chose have an owner. If no field has an owner, the object does not show who
// set them.
func stripFamilies(content *unstructured.Unstructured) {
	if len(content.GetManagedFields()) == 0 {
		return
	}
	for _, field := range []string{"ipFamilies", "ipFamilyPolicy"} {
		if !owned(content, field) {
			delete(specOf(content), field)
		}
	}
}

// owned reports whether a manager owns a field of spec.
func owned(content *unstructured.Unstructured, field string) bool {
	for _, entry := range content.GetManagedFields() {
		// The field name is a key of its own, or precedes a value: its quoted form is sufficient to find it.
		if entry.Subresource == "" && entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:`+field+`"`) {
			return true
		}
	}
	return false
}

// stripJob removes the selector that the API server derives from the Job's UID, and the labels that it adds to the
// pods for it. A Job without its own labels has those of its pods.
func stripJob(content *unstructured.Unstructured) {
	spec := specOf(content)
	if spec["manualSelector"] == true {
		return
	}
	stripUID(spec, "selector", "matchLabels")
	stripUID(spec, "template", "metadata", "labels")
	stripUID(content.Object, "metadata", "labels")
	unstructured.RemoveNestedField(spec, "template", "metadata", "creationTimestamp")
}

func stripUID(in map[string]any, path ...string) {
	for _, label := range []string{"controller-uid", "batch.kubernetes.io/controller-uid"} {
		unstructured.RemoveNestedField(in, append(slices.Clone(path), label)...)
	}
}

const (
	annotationBoundByController = "pv.kubernetes.io/bound-by-controller"
	annotationProvisionedBy     = "pv.kubernetes.io/provisioned-by"
)

// stripClaim keeps a volume that the user chose. Kubernetes sets all annotations with the two prefixes; the user's,
// like volume.beta.kubernetes.io/storage-class, have others.
func stripClaim(content *unstructured.Unstructured) {
	all := content.GetAnnotations()
	if all[annotationBoundByController] != "" {
		delete(specOf(content), "volumeName")
	}
	for name := range all {
		if strings.HasPrefix(name, "pv.kubernetes.io/") || strings.HasPrefix(name, "volume.kubernetes.io/") ||
			name == "volume.beta.kubernetes.io/storage-provisioner" {
			annotations(name)(content)
		}
	}
}

// stripVolume keeps the claim for which the user reserved the volume, without the identity of the hub's claim with
// that name.
func stripVolume(content *unstructured.Unstructured) {
	spec := specOf(content)
	if content.GetAnnotations()[annotationBoundByController] != "" {
		delete(spec, "claimRef")
	}
	for _, field := range []string{"uid", "resourceVersion"} {
		unstructured.RemoveNestedField(spec, "claimRef", field)
	}
	annotations(annotationBoundByController, "pv.kubernetes.io/migrated-to")(content)
}

// stripTokens removes references to Secrets that are not propagated.
func stripTokens(content *unstructured.Unstructured) {
	list, ok := content.Object["secrets"].([]any)
	if !ok {
		return
	}
	list = slices.DeleteFunc(list, func(item any) bool {
		reference, _ := item.(map[string]any)
		name, _ := reference["name"].(string)
		return strings.HasPrefix(name, content.GetName()+"-token-")
	})
	if len(list) == 0 {
		delete(content.Object, "secrets")
	} else {
		content.Object["secrets"] = list
	}
}

func stripAggregated(content *unstructured.Unstructured) {
	if content.Object["aggregationRule"] != nil {
		delete(content.Object, "rules")
	}
}

// stripBundles removes the certificates of this cluster's authority. On the member, the same annotation inserts the
// member's.
func stripBundles(content *unstructured.Unstructured) {
	ordered := false
	for name := range content.GetAnnotations() {
		ordered = ordered || strings.HasPrefix(name, "cert-manager.io/inject-") || name == "service.beta.openshift.io/inject-cabundle"
	}
	if !ordered {
		return
	}
	delete(specOf(content), "caBundle")
	unstructured.RemoveNestedField(content.Object, "spec", "conversion", "webhook", "clientConfig", "caBundle")
	webhooks, _ := content.Object["webhooks"].([]any)
	for _, webhook := range webhooks {
		if webhook, ok := webhook.(map[string]any); ok {
			unstructured.RemoveNestedField(webhook, "clientConfig", "caBundle")
		}
	}
}

// specOf returns an object's spec; an empty one if there is none.
func specOf(content *unstructured.Unstructured) map[string]any {
	spec, _ := content.Object["spec"].(map[string]any)
	return spec
}
