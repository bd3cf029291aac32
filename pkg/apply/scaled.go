package apply

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Autoscalers is the kind whose objects control the replicas of others.
var Autoscalers = schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}

// Scaled reports whether the replicas in the manifest were changed on the member through the subresource scale. The
// caller then has to find out whether an autoscaler did that: the field manager does not show it, as it is named after
// the binary of the controllers.
func Scaled(manifest, live *unstructured.Unstructured) bool {
	wanted, set, err := unstructured.NestedFieldNoCopy(manifest.Object, "spec", "replicas")
	if err != nil || !set {
		return false
	}
	replicas, found, err := unstructured.NestedFieldNoCopy(live.Object, "spec", "replicas")
	return err == nil && found && !sameText(wanted, replicas) && scaled(live)
}

// scaled reports whether the replicas were set last through the subresource scale.
func scaled(live *unstructured.Unstructured) bool {
	spec, _ := ownedBy(live, func(e metav1.ManagedFieldsEntry) bool { return e.Subresource == "scale" })["f:spec"].(map[string]any)
	_, owns := spec["f:replicas"]
	return owns
}

// Scales reports whether an autoscaler, in any version of its kind, controls the replicas of live.
func Scales(autoscaler, live *unstructured.Unstructured) bool {
	target, _, err := unstructured.NestedMap(autoscaler.Object, "spec", "scaleTargetRef")
	if err != nil || autoscaler.GetNamespace() != live.GetNamespace() || autoscaler.GetDeletionTimestamp() != nil {
		return false
	}
	apiVersion, _ := target["apiVersion"].(string)
	kind := schema.FromAPIVersionAndKind(apiVersion, "").GroupKind()
	kind.Kind, _ = target["kind"].(string)
	return kind == live.GroupVersionKind().GroupKind() && target["name"] == live.GetName()
}
