package registrar

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/membership"
)

// SetupWithManager adds the registrar to mgr.
func (r *Registrar) SetupWithManager(mgr ctrl.Manager) error {
	if r.Awake.IsZero() {
		r.Awake = r.Now()
	}
	members, err := r.memberCache(mgr)
	if err != nil {
		return err
	}
	r.members = members
	forOwner := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		cluster, ok := owner(o)
		if !ok {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: cluster}}}
	})
	b := ctrl.NewControllerManagedBy(mgr).Named("registrar").WithOptions(loop.Options(r.Workers)).
		Watches(&v1beta1.MemberCluster{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(clusters())).
		Watches(&v1beta1.MemberCluster{}, r.evidence()).
		Watches(&v1beta1.InternalMemberCluster{}, forOwner, builder.WithPredicates(internals()))
	for _, kind := range []client.Object{&corev1.Namespace{}, &rbacv1.Role{}, &rbacv1.RoleBinding{}} {
		b = b.WatchesRawSource(source.Kind(members, kind, forOwner))
	}
	b = b.WatchesRawSource(source.Kind[client.Object](members, &corev1.ResourceQuota{}, forOwner, quotas()))
	b = b.WatchesRawSource(source.Kind[client.Object](members, definition(), handler.EnqueueRequestsFromMapFunc(r.all), crds()))
	if err := b.Complete(loop.Settle(r)); err != nil {
		return fmt.Errorf("set up the registrar: %w", err)
	}
	return nil
}

// gathering is for how long evidence for a cluster is gathered before it is judged again. When a whole fleet is heard
// again, each of its clusters would otherwise be judged for each other one.
const gathering = time.Second

// evidence requeues the clusters for which a change of another one is evidence.
func (r *Registrar) evidence() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		before, ok1 := e.ObjectOld.(*v1beta1.MemberCluster)
		after, ok2 := e.ObjectNew.(*v1beta1.MemberCluster)
		if !ok1 || !ok2 {
			return
		}
		for _, request := range r.forWaiting(before, after) {
			q.AddAfter(request, gathering)
		}
	}}
}

// all are requests for every cluster.
func (r *Registrar) all(ctx context.Context, _ client.Object) (out []reconcile.Request) {
	var clusters v1beta1.MemberClusterList
	if err := r.Client.List(ctx, &clusters); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Cannot list MemberClusters; their quotas are counted again later")
		return nil
	}
	for i := range clusters.Items {
		out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Name: clusters.Items[i].Name}})
	}
	return out
}

// memberCache is a cache of the namespaces, ResourceQuotas, Roles and RoleBindings for members, and of no others, and
// of the names of CRDs. It is separate from the manager's, which must include other namespaces too.
func (r *Registrar) memberCache(mgr ctrl.Manager) (cache.Cache, error) {
	newCache := r.NewCache
	if newCache == nil {
		newCache = cache.New
	}
	members, err := newCache(mgr.GetConfig(), cache.Options{
		HTTPClient:           mgr.GetHTTPClient(),
		Scheme:               mgr.GetScheme(),
		Mapper:               mgr.GetRESTMapper(),
		DefaultLabelSelector: labels.SelectorFromSet(labels.Set{contract.LabelFleetResource: "true"}),
		DefaultTransform:     cache.TransformStripManagedFields(),
		ByObject:             map[client.Object]cache.ByObject{definition(): {Label: labels.Everything(), Transform: nameOnly}},
	})
	if err != nil {
		return nil, fmt.Errorf("make the registrar's cache: %w", err)
	}
	if err := mgr.Add(members); err != nil {
		return nil, fmt.Errorf("add the registrar's cache: %w", err)
	}
	return members, nil
}

// nameOnly drops all of an object's metadata but its name.
func nameOnly(obj any) (any, error) {
	if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
		o.ObjectMeta = metav1.ObjectMeta{Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion}
	}
	return obj, nil
}

// crds passes CustomResourceDefinitions of fleet networking that are created or change.
func crds() predicate.Predicate {
	ofNetworking := func(o client.Object) bool { return strings.HasSuffix(o.GetName(), "."+membership.NetworkingGroup) }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return ofNetworking(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return ofNetworking(e.ObjectNew) && e.ObjectNew.GetResourceVersion() != e.ObjectOld.GetResourceVersion()
		},
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// clusters passes changes of a MemberCluster by users and other clients; this agent writes its status.
func clusters() predicate.Predicate {
	return predicate.Funcs{
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectNew.GetGeneration() != e.ObjectOld.GetGeneration() ||
				e.ObjectNew.GetDeletionTimestamp().IsZero() != e.ObjectOld.GetDeletionTimestamp().IsZero() ||
				!slices.Equal(e.ObjectNew.GetFinalizers(), e.ObjectOld.GetFinalizers()) ||
				!maps.Equal(e.ObjectNew.GetLabels(), e.ObjectOld.GetLabels()) ||
				!maps.Equal(e.ObjectNew.GetAnnotations(), e.ObjectOld.GetAnnotations())
		},
	}
}

// quotas skips changes of the usage that Kubernetes counts for a quota.
func quotas() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*corev1.ResourceQuota)
			after, ok2 := e.ObjectNew.(*corev1.ResourceQuota)
			return ok1 && ok2 && (!equality.Semantic.DeepEqual(before.Spec, after.Spec) || !maps.Equal(before.Labels, after.Labels) ||
				!slices.Equal(ownerIDs(before), ownerIDs(after)))
		},
	}
}

// internals passes reports of agents, and changes of our fields by other clients.
func internals() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*v1beta1.InternalMemberCluster)
			after, ok2 := e.ObjectNew.(*v1beta1.InternalMemberCluster)
			return ok1 && ok2 && (before.Generation != after.Generation || !slices.Equal(ownerIDs(before), ownerIDs(after)) ||
				before.Annotations[contract.AnnotationHubUID] != after.Annotations[contract.AnnotationHubUID] ||
				!equality.Semantic.DeepEqual(before.Status, after.Status))
		},
	}
}

func ownerIDs(o client.Object) []types.UID {
	var ids []types.UID
	for _, owner := range o.GetOwnerReferences() {
		ids = append(ids, owner.UID)
	}
	return ids
}
