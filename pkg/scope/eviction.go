package scope

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// The eviction kinds, and the disruption budget kinds.
var (
	Evictions = Kinds[v1beta1.EvictionObject]{
		cluster:        func() v1beta1.EvictionObject { return &v1beta1.ClusterResourcePlacementEviction{} },
		namespaced:     func() v1beta1.EvictionObject { return &v1beta1.ResourcePlacementEviction{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterResourcePlacementEvictionList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.ResourcePlacementEvictionList{} },
	}
	DisruptionBudgets = Kinds[v1beta1.DisruptionBudgetObject]{
		cluster:        func() v1beta1.DisruptionBudgetObject { return &v1beta1.ClusterResourcePlacementDisruptionBudget{} },
		namespaced:     func() v1beta1.DisruptionBudgetObject { return &v1beta1.ResourcePlacementDisruptionBudget{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterResourcePlacementDisruptionBudgetList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.ResourcePlacementDisruptionBudgetList{} },
	}
)

// EvictedBy returns the key of an eviction's placement.
func EvictedBy(e v1beta1.EvictionObject) types.NamespacedName {
	return types.NamespacedName{Namespace: e.GetNamespace(), Name: e.GetSpec().PlacementName}
}

// IndexEvictions registers the index that finds evictions by placement, for OfPlacement. It is not part of Index,
// because the kinds may not be served.
func IndexEvictions(ctx context.Context, indexer client.FieldIndexer, kinds ...v1beta1.EvictionObject) error {
	for _, kind := range kinds {
		if err := indexer.IndexField(ctx, kind, IndexPlacement, outside(func(o client.Object) []string {
			return []string{Key(EvictedBy(o.(v1beta1.EvictionObject)))}
		})); err != nil {
			return fmt.Errorf("index %T by placement: %w", kind, err)
		}
	}
	return nil
}
