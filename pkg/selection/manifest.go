package selection

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
