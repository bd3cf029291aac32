// Package scope is the only package that knows that most kinds exist twice: cluster-wide, and namespaced with the same
// spec and status. All other packages use one interface for both, and distinguish them by the key: a key without a
// namespace is for the cluster-wide kind.
package scope

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Kinds pairs the cluster-wide and the namespaced kind of one concept.
type Kinds[O client.Object] struct {
	cluster, namespaced         func() O
	clusterList, namespacedList func() client.ObjectList
}

// The pairs of kinds.
var (
	Placements = Kinds[v1beta1.PlacementObject]{
		cluster:        func() v1beta1.PlacementObject { return &v1beta1.ClusterResourcePlacement{} },
		namespaced:     func() v1beta1.PlacementObject { return &v1beta1.ResourcePlacement{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterResourcePlacementList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.ResourcePlacementList{} },
	}
	PolicySnapshots = Kinds[v1beta1.PolicySnapshotObject]{
		cluster:        func() v1beta1.PolicySnapshotObject { return &v1beta1.ClusterSchedulingPolicySnapshot{} },
		namespaced:     func() v1beta1.PolicySnapshotObject { return &v1beta1.SchedulingPolicySnapshot{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterSchedulingPolicySnapshotList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.SchedulingPolicySnapshotList{} },
	}
	ResourceSnapshots = Kinds[v1beta1.ResourceSnapshotObject]{
		cluster:        func() v1beta1.ResourceSnapshotObject { return &v1beta1.ClusterResourceSnapshot{} },
		namespaced:     func() v1beta1.ResourceSnapshotObject { return &v1beta1.ResourceSnapshot{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterResourceSnapshotList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.ResourceSnapshotList{} },
	}
	Bindings = Kinds[v1beta1.BindingObject]{
		cluster:        func() v1beta1.BindingObject { return &v1beta1.ClusterResourceBinding{} },
		namespaced:     func() v1beta1.BindingObject { return &v1beta1.ResourceBinding{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterResourceBindingList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.ResourceBindingList{} },
	}
	UpdateRuns = Kinds[v1beta1.UpdateRunObject]{
		cluster:        func() v1beta1.UpdateRunObject { return &v1beta1.ClusterStagedUpdateRun{} },
		namespaced:     func() v1beta1.UpdateRunObject { return &v1beta1.StagedUpdateRun{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterStagedUpdateRunList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.StagedUpdateRunList{} },
	}
	UpdateStrategies = Kinds[v1beta1.UpdateStrategyObject]{
		cluster:        func() v1beta1.UpdateStrategyObject { return &v1beta1.ClusterStagedUpdateStrategy{} },
		namespaced:     func() v1beta1.UpdateStrategyObject { return &v1beta1.StagedUpdateStrategy{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterStagedUpdateStrategyList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.StagedUpdateStrategyList{} },
	}
	ApprovalRequests = Kinds[v1beta1.ApprovalRequestObject]{
		cluster:        func() v1beta1.ApprovalRequestObject { return &v1beta1.ClusterApprovalRequest{} },
		namespaced:     func() v1beta1.ApprovalRequestObject { return &v1beta1.ApprovalRequest{} },
		clusterList:    func() client.ObjectList { return &v1beta1.ClusterApprovalRequestList{} },
		namespacedList: func() client.ObjectList { return &v1beta1.ApprovalRequestList{} },
	}
)

// New returns an empty object of the kind for key: no namespace means cluster-wide.
func (k Kinds[O]) New(key types.NamespacedName) O {
	if key.Namespace == "" {
		return k.cluster()
	}
	return k.namespaced()
}

// Kind returns the name of the kind for key.
func (k Kinds[O]) Kind(key types.NamespacedName) string { return kindOf(k.New(key)) }

// Both returns an empty object of each of the two kinds, for watches.
func (k Kinds[O]) Both() []O { return []O{k.cluster(), k.namespaced()} }

// Served returns an empty object of each served kind, for watches: namespaced kinds may not be served.
func (k Kinds[O]) Served(namespaced bool) []O {
	if namespaced {
		return k.Both()
	}
	return k.Both()[:1]
}

// Get reads the object with the given key. For a missing object, apierrors.IsNotFound is true for the error.
func (k Kinds[O]) Get(ctx context.Context, r client.Reader, key types.NamespacedName) (O, error) {
	obj := k.New(key)
	if err := r.Get(ctx, key, obj); err != nil {
		return obj, fmt.Errorf("get %s %s: %w", kindOf(obj), strings.TrimPrefix(key.String(), "/"), err)
	}
	return obj, nil
}

// List reads the objects of one scope: those in namespace, or the cluster-wide ones if it is empty. Lists of
// namespaced kinds omit objects in reserved namespaces: see Reserved. Callers that list from a cache with
// client.UnsafeDisableDeepCopy must copy objects before they change them.
func (k Kinds[O]) List(ctx context.Context, r client.Reader, namespace string, opts ...client.ListOption) ([]O, error) {
	list := k.clusterList()
	if namespace != "" {
		list = k.namespacedList()
		opts = append(opts, client.InNamespace(namespace))
	}
	return k.list(ctx, r, list, opts)
}

// ListMetadata reads the metadata of objects of one scope, including those in reserved namespaces. Use it to delete
// objects or to check whether any exist: it works even if the rest of an object cannot be decoded.
func (k Kinds[O]) ListMetadata(ctx context.Context, r client.Reader, namespace string, opts ...client.ListOption) ([]metav1.PartialObjectMetadata, error) {
	kind := kindOf(k.clusterList())
	if namespace != "" {
		kind = kindOf(k.namespacedList())
		opts = append(opts, client.InNamespace(namespace))
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1beta1.GroupVersion.WithKind(kind))
	if err := r.List(ctx, list, opts...); err != nil {
		return nil, fmt.Errorf("list the metadata of %s: %w", kind, err)
	}
	return list.Items, nil
}

// Current reads the objects of one scope from a cache that reads its own writes. Each object is at least as new as its
// last write through r. It does not wait for writes to objects that are not in the list.
func (k Kinds[O]) Current(ctx context.Context, r client.Reader, namespace string, opts ...client.ListOption) ([]O, error) {
	listed, err := k.List(ctx, r, namespace, append(opts, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)...)
	if err != nil {
		return nil, err
	}
	out := make([]O, 0, len(listed))
	for _, o := range listed {
		obj, err := k.Get(ctx, r, client.ObjectKeyFromObject(o))
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, obj)
	}
	return out, nil
}

// All reads the objects of both scopes, in every namespace.
func (k Kinds[O]) All(ctx context.Context, r client.Reader, opts ...client.ListOption) ([]O, error) {
	wide, err := k.list(ctx, r, k.clusterList(), opts)
	if err != nil {
		return nil, err
	}
	narrow, err := k.list(ctx, r, k.namespacedList(), opts)
	if err != nil {
		return nil, err
	}
	return append(wide, narrow...), nil
}

// AllServed reads the objects of every served scope.
func (k Kinds[O]) AllServed(ctx context.Context, r client.Reader, namespaced bool, opts ...client.ListOption) ([]O, error) {
	if namespaced {
		return k.All(ctx, r, opts...)
	}
	return k.List(ctx, r, "", opts...)
}

func (k Kinds[O]) list(ctx context.Context, r client.Reader, list client.ObjectList, opts []client.ListOption) ([]O, error) {
	if err := r.List(ctx, list, opts...); err != nil {
		return nil, fmt.Errorf("list %s: %w", kindOf(list), err)
	}
	return unreserved(list.(interface{ Objects() []O }).Objects()), nil
}

// kindOf returns the kind of an object or a list for messages, which users read too.
func kindOf(obj any) string { return reflect.TypeOf(obj).Elem().Name() }

// Fast makes a list return the current cache: the caller must not change it, and it waits for no writes, not even our
// own. Use it where a stale result at worst causes a conflict.
func Fast(opts ...client.ListOption) []client.ListOption {
	return append(opts, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
}

// PlacementOf returns the key of the placement of a snapshot, binding or Work. ok is false for an object without the
// label: the agents must not touch it.
func PlacementOf(obj client.Object) (key types.NamespacedName, ok bool) {
	name, ok := obj.GetLabels()[contract.LabelPlacement]
	if !ok || name == "" {
		return types.NamespacedName{}, false
	}
	if _, isWork := obj.(*v1beta1.Work); isWork {
		return types.NamespacedName{Namespace: obj.GetLabels()[contract.LabelPlacementNamespace], Name: name}, true
	}
	return types.NamespacedName{Namespace: obj.GetNamespace(), Name: name}, true
}

// IsLatest reports whether a snapshot has the label of the latest one. More than one may have it for a moment.
func IsLatest(snapshot client.Object) bool {
	return snapshot.GetLabels()[contract.LabelLatest] == strconv.FormatBool(true)
}

// BindingOf returns the key of a Work's binding; ok is false for a Work that does not name one.
func BindingOf(work *v1beta1.Work) (key types.NamespacedName, ok bool) {
	name, ok := work.Labels[contract.LabelBinding]
	return types.NamespacedName{Namespace: work.Labels[contract.LabelPlacementNamespace], Name: name}, ok && name != ""
}
