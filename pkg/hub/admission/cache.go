package admission

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// ByObject are the options of a Server's Reader for kinds that it reads in part: they bound the memory that users
// can fill with large objects.
func ByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		definitions():                      {Transform: slim},
		&v1beta1.ClusterResourceOverride{}: {Transform: slim},
		&v1beta1.ResourceOverride{}:        {Transform: slim},
	}
}

// definitions is the kind of CustomResourceDefinitions.
func definitions() client.Object {
	definitions := &unstructured.Unstructured{}
	definitions.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	return definitions
}

// slim drops the schemas of a CustomResourceDefinition, the policy of an override, and the managed fields and
// annotations of both, which hold the same again. No rule reads them from the cache: a request has its own object.
func slim(obj any) (any, error) {
	switch o := obj.(type) {
	case *unstructured.Unstructured:
		for _, version := range listOf(o, "spec", "versions") {
			delete(version, "schema")
		}
	case *v1beta1.ClusterResourceOverride:
		o.Spec.Policy = nil
	case *v1beta1.ResourceOverride:
		o.Spec.Policy = nil
	}
	if o, ok := obj.(client.Object); ok {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
	}
	return obj, nil
}
