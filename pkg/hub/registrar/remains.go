package registrar

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/membership"
)

const (
	// freers is how many objects of one cluster are freed of their finalizers in parallel.
	freers = 10
	// page is the number of objects in a page of a list.
	page = 500
)

// remain is an object with finalizers in a member's namespace.
type remain struct {
	kind       schema.GroupVersionKind
	key        types.NamespacedName
	finalizers []string
}

func (r remain) String() string {
	return fmt.Sprintf("%s %s (%s)", r.kind.Kind, r.key.Name, strings.Join(r.finalizers, ", "))
}

// free removes the finalizers from the objects that the cluster's agents write in its namespace, and from every object
// of the fleet's own kinds if all is true. It returns how many objects it freed, and those of the fleet's kinds that
// still have finalizers. This removes nothing from the member: its agents have left, or no longer have access.
func (r *Registrar) free(ctx context.Context, cluster *v1beta1.MemberCluster, all bool) (freed int, blocked []remain, err error) {
	kinds, err := r.kinds()
	if err != nil {
		return 0, nil, err
	}
	var ours []remain
	for _, kind := range kinds {
		remains, err := r.remains(ctx, contract.MemberNamespace(cluster.Name), kind)
		if err != nil {
			return 0, nil, err
		}
		if all || r.agentsWrite(kind) {
			ours = append(ours, remains...)
		} else {
			blocked = append(blocked, remains...)
		}
	}
	var mu sync.Mutex
	err = loop.Each(ctx, freers, ours, func(ctx context.Context, o remain) error {
		obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: o.key.Namespace, Name: o.key.Name}}
		obj.SetGroupVersionKind(o.kind)
		err := r.Direct.Patch(ctx, obj, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case apierrors.IsForbidden(err):
			blocked = append(blocked, o) // permissions of an older chart: the hub's admin has to remove the finalizer
		case client.IgnoreNotFound(err) != nil:
			return fmt.Errorf("free %s %s of its finalizers: %w", o.kind.Kind, o.key, err)
		default:
			freed++
		}
		return nil
	})
	slices.SortFunc(blocked, func(a, b remain) int { return cmp.Compare(a.String(), b.String()) })
	return freed, blocked, err
}

// freeFormer frees the agents' objects in a terminating namespace of a MemberCluster that is gone, for example because
// its finalizer was removed by hand. It does so before Kubernetes checks the namespace for the first time; otherwise
// Kubernetes checks it again only several seconds later.
func (r *Registrar) freeFormer(ctx context.Context, name string) error {
	former := &v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	namespace, err := r.namespaceOf(ctx, former)
	if err != nil || namespace == nil || namespace.DeletionTimestamp.IsZero() || !membership.Owns(former, namespace) {
		return err
	}
	if err := r.Direct.Get(ctx, types.NamespacedName{Name: name}, &v1beta1.MemberCluster{}); !apierrors.IsNotFound(err) {
		return err // nil: there is another one, and its creation is an event
	}
	_, _, err = r.free(ctx, former, false)
	return err
}

// kinds are the namespaced kinds of the fleet that the hub serves, and events. They are read from the API server, as
// metadata: an object that a cache cannot decode also keeps a namespace from ending.
func (r *Registrar) kinds() (out []schema.GroupVersionKind, err error) {
	mapper := r.Direct.RESTMapper()
	wanted := []schema.GroupVersionKind{corev1.SchemeGroupVersion.WithKind("Event")}
	for _, version := range []schema.GroupVersion{v1beta1.GroupVersion, placementv1beta1.GroupVersion} {
		for kind := range r.Direct.Scheme().KnownTypes(version) {
			if obj, err := r.Direct.Scheme().New(version.WithKind(kind)); err == nil {
				if _, ok := obj.(client.Object); ok {
					wanted = append(wanted, version.WithKind(kind))
				}
			}
		}
	}
	for _, resource := range membership.NetworkingResources() {
		kind, err := mapper.KindFor(resource)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find the kind of %s: %w", resource, err)
		}
		wanted = append(wanted, kind)
	}
	for _, kind := range wanted {
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find the resource of %s: %w", kind, err)
		}
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			out = append(out, kind)
		}
	}
	return out, nil
}

// agentsWrite reports whether the Role of members permits their agents to write objects of kind.
func (r *Registrar) agentsWrite(kind schema.GroupVersionKind) bool {
	switch kind.GroupKind() {
	case schema.GroupKind{Group: placementv1beta1.GroupVersion.Group, Kind: "Work"},
		schema.GroupKind{Group: v1beta1.GroupVersion.Group, Kind: "InternalMemberCluster"},
		schema.GroupKind{Kind: "Event"}:
		return true
	}
	return kind.Group == membership.NetworkingGroup
}

// remains lists the objects of kind in namespace that have finalizers.
func (r *Registrar) remains(ctx context.Context, namespace string, kind schema.GroupVersionKind) (out []remain, err error) {
	list := &metav1.PartialObjectMetadataList{}
	for {
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := r.Direct.List(ctx, list, client.InNamespace(namespace), client.Limit(page), client.Continue(list.Continue)); err != nil {
			return nil, fmt.Errorf("list %s in namespace %s: %w", kind.Kind, namespace, err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; len(o.Finalizers) > 0 {
				out = append(out, remain{kind: kind, key: client.ObjectKeyFromObject(o), finalizers: o.Finalizers})
			}
		}
		if list.Continue == "" {
			return out, nil
		}
	}
}

// awaitNamespace frees the remaining objects of a terminating namespace, and reports what it waits for. If a hub admin
// forces the leave, it frees all objects that the hub agent can free; then the MemberCluster does not wait for the
// rest.
func (r *Registrar) awaitNamespace(ctx context.Context, seen *observed) error {
	forced := membership.LeaveForced(seen.Cluster)
	freed, blocked, err := r.free(ctx, seen.Cluster, forced)
	if err != nil {
		return err
	}
	if forced && freed == 0 && stuck(seen.namespace) {
		gone, err := r.accessGone(ctx, seen.Cluster)
		if err != nil {
			return err
		}
		if gone {
			return r.release(ctx, seen)
		}
	}
	return r.report(ctx, seen, waitingFor(seen.Cluster, seen.namespace, blocked))
}

// accessGone reports whether the cluster's identity has lost its access to the namespace. A cluster is not released
// before that: its agents could still act in a namespace that belongs to no MemberCluster.
func (r *Registrar) accessGone(ctx context.Context, cluster *v1beta1.MemberCluster) (bool, error) {
	key := types.NamespacedName{Namespace: contract.MemberNamespace(cluster.Name), Name: contract.RoleBindingName(cluster.Name)}
	err := r.Direct.Get(ctx, key, &rbacv1.RoleBinding{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("get role binding %s: %w", key, err)
	}
	return false, nil
}

// troubles are the conditions in which the namespace controller reports why a namespace cannot end.
var troubles = []corev1.NamespaceConditionType{
	corev1.NamespaceDeletionDiscoveryFailure, corev1.NamespaceDeletionContentFailure, corev1.NamespaceContentRemaining, corev1.NamespaceFinalizersRemaining,
}

// troublesOf are the messages of those conditions of namespace that are True.
func troublesOf(namespace *corev1.Namespace) (out []string) {
	for _, kind := range troubles {
		for _, c := range namespace.Status.Conditions {
			if c.Type == kind && c.Status == corev1.ConditionTrue {
				out = append(out, c.Message)
			}
		}
	}
	return out
}

// stuck reports whether the namespace controller found that namespace cannot end by itself.
func stuck(namespace *corev1.Namespace) bool { return len(troublesOf(namespace)) > 0 }

// mostNamed is how many objects a message names.
const mostNamed = 5

// waitingFor describes what a terminating namespace waits for, and how to end that.
func waitingFor(cluster *v1beta1.MemberCluster, namespace *corev1.Namespace, blocked []remain) string {
	parts := []string{"Waiting until namespace " + namespace.Name + " is deleted"}
	if len(blocked) > 0 {
		var names []string
		for _, o := range blocked[:min(len(blocked), mostNamed)] {
			names = append(names, o.String())
		}
		text := "these objects have finalizers: " + strings.Join(names, ", ")
		if more := len(blocked) - mostNamed; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		parts = append(parts, text)
	}
	parts = append(parts, troublesOf(namespace)...)
	text := strings.Join(parts, "; ") + ". The controllers that set the remaining finalizers have to remove them"
	if cluster.DeletionTimestamp.IsZero() || membership.LeaveForced(cluster) {
		return text
	}
	return fmt.Sprintf("%s; to release the cluster without waiting, run: kubectl annotate membercluster %s %s=true", text, cluster.Name, contract.AnnotationForceLeave)
}
