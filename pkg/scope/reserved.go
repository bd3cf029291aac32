package scope

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Reserved says whether key names one of the namespaced twins in a namespace that is the fleet's own or Kubernetes' own. Members have
// credentials for theirs, and what placements, bindings, snapshots and overrides there ask for is not carried out: lists and indexes leave
// them out, and reconcilers that are wrapped by loop.Unreserved do not hear of them. Only the warden looks at them.
func Reserved(key types.NamespacedName) bool { return contract.ReservedNamespace(key.Namespace) }

// unreserved leaves out the objects in reserved namespaces.
func unreserved[O client.Object](objects []O) []O {
	return slices.DeleteFunc(objects, func(o O) bool { return contract.ReservedNamespace(o.GetNamespace()) })
}

// outside makes an index function find nothing in reserved namespaces. It must not be used for Works, which lie in those of members.
func outside(values client.IndexerFunc) client.IndexerFunc {
	return func(o client.Object) []string {
		if contract.ReservedNamespace(o.GetNamespace()) {
			return nil
		}
		return values(o)
	}
}
