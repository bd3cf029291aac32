package state

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Set returns an object, given as JSON, with its annotations. An annotation replaces one with the same key. It returns
// the object itself if none is for it, or if it cannot be decoded. The input is not modified.
func Set(object []byte, values []v1beta1.ObjectAnnotation) ([]byte, error) {
	mine := of(object, values)
	if len(mine) == 0 {
		return object, nil
	}
	o, err := decode.Object(object)
	if err != nil {
		return object, nil //nolint:nilerr // the member reports it
	}
	for _, v := range mine {
		if err := unstructured.SetNestedField(o.Object, v.Value, "metadata", "annotations", v.Annotation); err != nil {
			return object, nil //nolint:nilerr // its annotations are none; the member reports it
		}
	}
	out, err := json.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("annotate with the state of a failover: %w", err)
	}
	return out, nil
}

// Within returns the annotations of those that are for any of the objects.
func Within(objects [][]byte, values []v1beta1.ObjectAnnotation) (out []v1beta1.ObjectAnnotation) {
	for _, object := range objects {
		out = append(out, of(object, values)...)
	}
	return out
}

// of returns the annotations for an object.
func of(object []byte, values []v1beta1.ObjectAnnotation) (out []v1beta1.ObjectAnnotation) {
	if len(values) == 0 {
		return nil
	}
	h, err := decode.HeaderOf(object)
	if err != nil || h.Metadata.Name == "" {
		return nil
	}
	group := schema.FromAPIVersionAndKind(h.APIVersion, h.Kind).Group
	for _, v := range values {
		if v.Group == group && v.Kind == h.Kind && v.Namespace == h.Metadata.Namespace && v.Name == h.Metadata.Name {
			out = append(out, v)
		}
	}
	return out
}

// ReportBack returns what the Works of a placement report back: what its strategy says, and, if the placement takes
// values along, the statuses of its objects anyway. The objects on the hub get them only if the strategy says so.
func ReportBack(spec *v1beta1.PlacementSpec) *v1beta1.ReportBackStrategy {
	asked := spec.Strategy.ReportBackStrategy
	takes := spec.Policy != nil && spec.Policy.Failover != nil && len(spec.Policy.Failover.State) > 0
	if !takes || asked != nil && asked.Type == v1beta1.ReportBackTypeMirror {
		return asked
	}
	return &v1beta1.ReportBackStrategy{Type: v1beta1.ReportBackTypeMirror, Destination: ptr.To(v1beta1.ReportBackDestinationWorkAPI)}
}
