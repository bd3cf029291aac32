package scope

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Field indexes of the hub's cache, to be used with client.MatchingFields. Values are keys as Key writes them.
const (
	// IndexPlacement finds snapshots, bindings, Works and update runs by their placement.
	IndexPlacement = "flagship.placement"
	// IndexCluster finds bindings by their target cluster (only its name).
	IndexCluster = "flagship.cluster"
	// IndexReplaced finds bindings that another cluster replaces by their placement.
	IndexReplaced = "flagship.replaced"
	// IndexBinding finds Works by their binding.
	IndexBinding = "flagship.binding"
)

// Key formats a key for the indexes: namespace/name, and /name for a cluster-wide object.
func Key(key types.NamespacedName) string { return key.Namespace + "/" + key.Name }

// Name formats a key for messages and logs: namespace/name, or the name alone for a cluster-wide object.
func Name(key types.NamespacedName) string { return strings.TrimPrefix(key.String(), "/") }

// OfPlacement selects the objects of the placement key.
func OfPlacement(key types.NamespacedName) client.MatchingFields {
	return client.MatchingFields{IndexPlacement: Key(key)}
}

// OfBinding selects the Works of the binding key.
func OfBinding(key types.NamespacedName) client.MatchingFields {
	return client.MatchingFields{IndexBinding: Key(key)}
}

// OnCluster selects the bindings that target cluster.
func OnCluster(cluster string) client.MatchingFields {
	return client.MatchingFields{IndexCluster: cluster}
}

// Replaced selects the bindings of the placement key that another cluster replaces, or did when they were given up.
func Replaced(key types.NamespacedName) client.MatchingFields {
	return client.MatchingFields{IndexReplaced: Key(key)}
}

// Index registers the field indexes. Call it once, before the cache starts.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	add := func(obj client.Object, field string, values client.IndexerFunc) error {
		if _, isWork := obj.(*v1beta1.Work); !isWork {
			values = outside(values)
		}
		if err := indexer.IndexField(ctx, obj, field, values); err != nil {
			return fmt.Errorf("index %T by %s: %w", obj, field, err)
		}
		return nil
	}
	var owned []client.Object
	owned = append(owned, &v1beta1.Work{})
	for _, obj := range PolicySnapshots.Both() {
		owned = append(owned, obj)
	}
	for _, obj := range ResourceSnapshots.Both() {
		owned = append(owned, obj)
	}
	for _, obj := range Bindings.Both() {
		owned = append(owned, obj)
		if err := add(obj, IndexCluster, func(o client.Object) []string {
			return []string{o.(v1beta1.BindingObject).GetSpec().TargetCluster}
		}); err != nil {
			return err
		}
		if err := add(obj, IndexReplaced, func(o client.Object) []string {
			if o.GetAnnotations()[contract.AnnotationReplacedBy] == "" {
				return nil
			}
			return keys(PlacementOf(o))
		}); err != nil {
			return err
		}
	}
	for _, obj := range owned {
		if err := add(obj, IndexPlacement, func(o client.Object) []string { return keys(PlacementOf(o)) }); err != nil {
			return err
		}
	}
	for _, run := range UpdateRuns.Both() {
		if err := add(run, IndexPlacement, func(o client.Object) []string {
			return []string{Key(types.NamespacedName{Namespace: o.GetNamespace(), Name: o.(v1beta1.UpdateRunObject).GetSpec().PlacementName})}
		}); err != nil {
			return err
		}
	}
	if err := add(&v1beta1.Work{}, IndexBinding, func(o client.Object) []string { return keys(BindingOf(o.(*v1beta1.Work))) }); err != nil {
		return err
	}
	return indexOverrides(ctx, indexer)
}

func keys(key types.NamespacedName, ok bool) []string {
	if !ok {
		return nil
	}
	return []string{Key(key)}
}
