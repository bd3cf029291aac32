package selection

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Manifest is what of an object is carried, as JSON: the object without what belongs to this cluster alone. It strips content in
// place. The same object always gives the same bytes.
func Manifest(content *unstructured.Unstructured) ([]byte, error) {
	strip(content)
	raw, err := json.Marshal(content.Object)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s/%s: %w", content.GetKind(), content.GetNamespace(), content.GetName(), err)
	}
	return raw, nil
}

// strip removes what the API server or a controller of this cluster has put in.
func strip(content *unstructured.Unstructured) {
	delete(content.Object, "status")
	metadata, _ := content.Object["metadata"].(map[string]any)
	for _, field := range []string{"resourceVersion", "generation", "uid", "selfLink", "creationTimestamp", "deletionTimestamp",
		"managedFields", "ownerReferences"} {
		delete(metadata, field)
	}
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		delete(annotations, contract.AnnotationKubectlLastApplied)
		delete(annotations, contract.AnnotationDeploymentRevision)
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
	}
	spec, ok := content.Object["spec"].(map[string]any)
	if !ok {
		return
	}
	switch content.GroupVersionKind() {
	case schema.GroupVersionKind{Version: "v1", Kind: "Service"}:
		stripService(spec)
	case schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}:
		stripJob(spec)
	}
}

// stripService removes addresses and ports that this cluster has handed out.
func stripService(spec map[string]any) {
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

// stripJob removes the selector that the API server makes from the Job's uid, and the labels it puts on the pods for it.
func stripJob(spec map[string]any) {
	if spec["manualSelector"] == true {
		return
	}
	stripUID(spec, "selector", "matchLabels")
	stripUID(spec, "template", "metadata", "labels")
	unstructured.RemoveNestedField(spec, "template", "metadata", "creationTimestamp")
}

func stripUID(spec map[string]any, path ...string) {
	for _, label := range []string{"controller-uid", "batch.kubernetes.io/controller-uid"} {
		unstructured.RemoveNestedField(spec, append(path, label)...)
	}
}
