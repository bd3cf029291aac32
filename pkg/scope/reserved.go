package scope

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Reserved reports whether key is for a namespaced kind in a namespace that is reserved for the fleet or Kubernetes.
// Members have credentials for their namespaces, so the agents must not carry out placements, bindings, snapshots and
// overrides there: lists and indexes omit them, and reconcilers wrapped by loop.Unreserved do not get their requests.
// Only the warden processes them.
func Reserved(key types.NamespacedName) bool { return contract.ReservedNamespace(key.Namespace) }

// unreserved omits the objects in reserved namespaces.
func unreserved[O client.Object](objects []O) []O {
	return slices.DeleteFunc(objects, func(o O) bool { return contract.ReservedNamespace(o.GetNamespace()) })
}

// outside makes an index function return nothing for objects in reserved namespaces. Do not use it for Works, which
// are in the namespaces of members.
func outside(values client.IndexerFunc) client.IndexerFunc {
	return func(o client.Object) []string {
		if contract.ReservedNamespace(o.GetNamespace()) {
			return nil
		}
		return values(o)
	}
}
