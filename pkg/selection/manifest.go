package selection

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Manifest returns the propagated form of an object, as JSON: the object without fields that belong only to this
// cluster. It modifies content. The same object always gives the same bytes.
func Manifest(content *unstructured.Unstructured) ([]byte, error) {
	strip(content)
	raw, err := json.Marshal(content.Object)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s/%s: %w", content.GetKind(), content.GetNamespace(), content.GetName(), err)
	}
	return raw, nil
}
