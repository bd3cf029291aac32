package scope

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// The override kinds. They differ in what they select: cluster-scoped objects, or objects of their own namespace.
var (
	Overrides = Kinds[v1beta1.OverrideObject]{
		cluster:        func() v1beta1.OverrideObject { return &v1beta1.ClusterResourceOverride{} },
		namespaced:     func() v1beta1.OverrideObject { return &v1beta1.ResourceOverride{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterResourceOverrideList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.ResourceOverrideList{} },
	}
	OverrideSnapshots = Kinds[v1beta1.OverrideSnapshotObject]{
		cluster:        func() v1beta1.OverrideSnapshotObject { return &v1beta1.ClusterResourceOverrideSnapshot{} },
		namespaced:     func() v1beta1.OverrideSnapshotObject { return &v1beta1.ResourceOverrideSnapshot{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterResourceOverrideSnapshotList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.ResourceOverrideSnapshotList{} },
	}
)

const (
	// IndexOverride finds the snapshots of an override, and the bindings that name one of them.
	IndexOverride = "flagship.override"
	// indexFor finds override snapshots by the placement that they are limited to. Snapshots without a limit have the
	// key anyPlacement, and namespaced ones also anyPlacement with their namespace.
	indexFor = "flagship.for"
)

// anyPlacement stands for all placements in indexFor. It is not a valid key.
const anyPlacement = "*"

// OfOverride selects the snapshots of the override key, or the bindings that name one of them.
func OfOverride(key types.NamespacedName) client.MatchingFields {
	return client.MatchingFields{IndexOverride: Key(key)}
}

// OverrideOf returns the key of a snapshot's override; ok is false if the snapshot does not name one.
func OverrideOf(s v1beta1.OverrideSnapshotObject) (key types.NamespacedName, ok bool) {
	name := s.GetLabels()[contract.LabelOverride]
	return types.NamespacedName{Namespace: s.GetNamespace(), Name: name}, name != ""
}

// LimitOf returns the placement that an override, or a snapshot of one, is limited to; limited is false if it applies
// to any placement.
func LimitOf(o interface {
	GetNamespace() string
	GetPlacement() *v1beta1.PlacementRef
}) (placement types.NamespacedName, limited bool) {
	ref := o.GetPlacement()
	switch {
	case ref == nil:
		return types.NamespacedName{}, false
	case ref.Scope != v1beta1.PlacementScopeNamespaced:
		return types.NamespacedName{Name: ref.Name}, true
	case o.GetNamespace() == "":
		// The API refuses this combination, because a cluster-wide override has no namespace. No placement has this
		// key either.
		return types.NamespacedName{Namespace: anyPlacement, Name: ref.Name}, true
	}
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: ref.Name}, true
}

// OverridesFor reads the snapshots of the overrides that may change the content of a placement: cluster-wide ones that
// are limited to it or to no placement, and namespaced ones in the namespaces of its content. It calls namespaces only
// if necessary. An undecodable snapshot in another namespace does not matter.
func OverridesFor(ctx context.Context, r client.Reader, placement types.NamespacedName, namespaces func() []string,
	opts ...client.ListOption) ([]v1beta1.OverrideSnapshotObject, error) {
	k := OverrideSnapshots
	var out []v1beta1.OverrideSnapshotObject
	add := func(list client.ObjectList, serving string, more ...client.ListOption) error {
		found, err := k.list(ctx, r, list, append(servingBy(serving, opts), more...))
		out = append(out, found...)
		return err
	}
	for _, serving := range []string{Key(placement), anyPlacement} {
		if err := add(k.clusterList(), serving); err != nil {
			return nil, err
		}
	}
	if none(ctx, r, Key(placement), opts) && none(ctx, r, anyPlacement, opts) {
		return out, nil
	}
	for _, namespace := range namespaces() {
		if placement.Namespace == "" || placement.Namespace == namespace {
			if err := add(k.namespacedList(), Key(placement), client.InNamespace(namespace)); err != nil {
				return nil, err
			}
		}
		if err := add(k.namespacedList(), anyPlacementFrom(namespace), client.InNamespace(namespace)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// none reports whether no namespaced override snapshot with this key exists for certain.
func none(ctx context.Context, r client.Reader, serving string, opts []client.ListOption) bool {
	some, err := OverrideSnapshots.list(ctx, r, OverrideSnapshots.namespacedList(), append(servingBy(serving, opts), client.Limit(1)))
	return err == nil && len(some) == 0
}

// FreshOverrides reads the overrides that were created after since and have no snapshot yet.
func FreshOverrides(ctx context.Context, r client.Reader, since time.Time, opts ...client.ListOption) ([]v1beta1.OverrideObject, error) {
	all, err := Overrides.All(ctx, r, opts...)
	if err != nil {
		return nil, err
	}
	var out []v1beta1.OverrideObject
	for _, o := range all {
		if !o.GetCreationTimestamp().After(since) {
			continue
		}
		of := []client.ListOption{OfOverride(client.ObjectKeyFromObject(o)), client.Limit(1)}
		snapshots, err := OverrideSnapshots.List(ctx, r, o.GetNamespace(), append(of, opts...)...)
		if err != nil {
			return nil, err
		}
		if len(snapshots) == 0 {
			out = append(out, o)
		}
	}
	return out, nil
}

// OverridesLimitedTo reads the snapshots of the overrides that are limited to one placement.
func OverridesLimitedTo(ctx context.Context, r client.Reader, placement types.NamespacedName,
	opts ...client.ListOption) ([]v1beta1.OverrideSnapshotObject, error) {
	return OverrideSnapshots.All(ctx, r, servingBy(Key(placement), opts)...)
}

func servingBy(value string, opts []client.ListOption) []client.ListOption {
	return append([]client.ListOption{client.MatchingFields{indexFor: value}}, opts...)
}

// anyPlacementFrom is the key in indexFor for all placements that select objects in a namespace.
func anyPlacementFrom(namespace string) string { return anyPlacement + "/" + namespace }

// indexOverrides registers the indexes for overrides.
func indexOverrides(ctx context.Context, indexer client.FieldIndexer) error {
	add := func(obj client.Object, field string, values client.IndexerFunc) error {
		if err := indexer.IndexField(ctx, obj, field, outside(values)); err != nil {
			return fmt.Errorf("index %T by %s: %w", obj, field, err)
		}
		return nil
	}
	for _, obj := range OverrideSnapshots.Both() {
		if err := add(obj, IndexOverride, func(o client.Object) []string {
			return keys(OverrideOf(o.(v1beta1.OverrideSnapshotObject)))
		}); err != nil {
			return err
		}
		if err := add(obj, indexFor, func(o client.Object) []string { return forWhom(o.(v1beta1.OverrideSnapshotObject)) }); err != nil {
			return err
		}
	}
	for _, obj := range Bindings.Both() {
		if err := add(obj, IndexOverride, func(o client.Object) []string { return overridesOf(o.(v1beta1.BindingObject)) }); err != nil {
			return err
		}
	}
	return nil
}

func forWhom(s v1beta1.OverrideSnapshotObject) []string {
	if limit, limited := LimitOf(s); limited {
		return []string{Key(limit)}
	}
	if s.GetNamespace() == "" {
		return []string{anyPlacement}
	}
	return []string{anyPlacement, anyPlacementFrom(s.GetNamespace())}
}

// overridesOf returns the keys of the overrides whose snapshots a binding may need.
func overridesOf(b v1beta1.BindingObject) []string {
	var out []string
	for _, r := range delivery.NeededBy(b) {
		for _, s := range delivery.OverridesIn(r).Keys() {
			if override, ok := contract.OverrideOf(s.Name); ok {
				out = append(out, Key(types.NamespacedName{Namespace: s.Namespace, Name: override}))
			}
		}
	}
	return out
}
