package scope

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// RequestPlacement is a handler.MapFunc: it maps a snapshot, binding or Work to a request for its placement.
func RequestPlacement(_ context.Context, obj client.Object) []reconcile.Request {
	key, ok := PlacementOf(obj)
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: key}}
}
