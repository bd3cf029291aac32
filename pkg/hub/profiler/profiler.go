// Package profiler keeps a ClusterProfile of the cluster inventory API for every member that has joined, so that other tools find the
// fleet's clusters. MemberClusters come in; what their agents report goes out to the profiles in fleet-system. A hub on which the
// inventory's CRD is not installed has no profiles until it is.
package profiler

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	inventoryv1alpha1 "sigs.k8s.io/cluster-inventory-api/apis/v1alpha1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/loop/consistent"
	"github.com/flagship-fleet/flagship/pkg/process"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// definition is the CRD without which there are no profiles.
const definition = "clusterprofiles.multicluster.x-k8s.io"

// Profiler reconciles MemberClusters with ClusterProfiles of their names.
type Profiler struct {
	// Client reads MemberClusters from the cache and sees its own writes.
	Client client.Client
	// Workers is how many clusters are looked at at once.
	Workers int
	// Silence is how long an agent may be silent before its cluster counts as lost.
	Silence time.Duration
	// NewCache makes the cache of ClusterProfiles; nil is the usual one.
	NewCache cache.NewCacheFunc
	// Now is the clock.
	Now func() time.Time

	// profiles reads them from a cache of fleet-system, direct from the API server; served is whether the hub has the kind.
	profiles client.Client
	direct   client.Reader
	served   atomic.Bool
}

// SetupWithManager starts the profiler with mgr.
func (p *Profiler) SetupWithManager(mgr ctrl.Manager) error {
	scheme := runtime.NewScheme()
	if err := inventoryv1alpha1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("set up the profiler: %w", err)
	}
	inventory, err := cluster.New(mgr.GetConfig(), func(o *cluster.Options) {
		o.Scheme, o.HTTPClient = scheme, mgr.GetHTTPClient()
		o.NewCache = p.NewCache
		o.Cache.DefaultNamespaces = map[string]cache.Config{contract.NamespaceSystem: {}}
		o.Cache.DefaultTransform = cache.TransformStripManagedFields()
		o.NewClient = consistent.NewClient
	})
	if err != nil {
		return fmt.Errorf("set up the profiler: %w", err)
	}
	if err := mgr.Add(inventory); err != nil {
		return fmt.Errorf("set up the profiler: %w", err)
	}
	p.profiles, p.direct = inventory.GetClient(), inventory.GetAPIReader()
	err = ctrl.NewControllerManagedBy(mgr).Named("profiler").WithOptions(loop.Options(p.Workers)).
		Watches(&v1beta1.MemberCluster{}, &handler.EnqueueRequestForObject{}).
		WatchesRawSource(source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			go p.follow(ctx, inventory, queue)
			return nil
		})).
		Complete(loop.Settle(p))
	if err != nil {
		return fmt.Errorf("set up the profiler: %w", err)
	}
	return nil
}

// follow waits until the hub has the kind, which it need not have ever, and then watches the profiles and looks at every cluster.
func (p *Profiler) follow(ctx context.Context, inventory cluster.Cluster, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	log := ctrl.LoggerFrom(ctx)
	var unseen process.Gates // the hub agent is ready without profiles
	if err := process.AwaitCRDs(ctx, inventory.GetConfig(), &unseen, definition); err != nil {
		return // the context has ended
	}
	again := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 10, Cap: 30 * time.Second}
	if again.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		informer, err := inventory.GetCache().GetInformer(ctx, &inventoryv1alpha1.ClusterProfile{})
		if err == nil {
			_, err = informer.AddEventHandler(ofProfile(queue))
		}
		if err != nil && ctx.Err() == nil {
			log.Error(err, "ClusterProfiles cannot be watched yet; none are written")
		}
		return err == nil, nil
	}) != nil {
		return // the context has ended
	}
	p.served.Store(true)
	var clusters v1beta1.MemberClusterList
	if err := p.Client.List(ctx, &clusters); err != nil {
		log.Error(err, "MemberClusters cannot be listed; their ClusterProfiles follow with their next reports")
	}
	for i := range clusters.Items {
		queue.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&clusters.Items[i])})
	}
}

// ofProfile looks at the cluster of a profile that somebody changed or deleted.
func ofProfile(queue workqueue.TypedRateLimitingInterface[reconcile.Request]) toolscache.ResourceEventHandler {
	wake := func(obj any) {
		if missed, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
			obj = missed.Obj
		}
		if o, ok := obj.(client.Object); ok {
			queue.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: o.GetName()}})
		}
	}
	return toolscache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, obj any) { wake(obj) }, DeleteFunc: wake}
}

// Reconcile looks at the profile of one cluster.
func (p *Profiler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var member v1beta1.MemberCluster
	err := p.Client.Get(ctx, req.NamespacedName, &member)
	switch {
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, p.drop(ctx, req.Name)
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("get member cluster %s: %w", req.Name, err)
	case !member.DeletionTimestamp.IsZero():
		return ctrl.Result{}, p.release(ctx, &member)
	case !p.served.Load() || !delivery.IsTrue(member.Status.Conditions, v1beta1.ConditionJoined, member.Generation):
		return ctrl.Result{}, nil
	}
	if err := p.hold(ctx, &member); err != nil {
		return ctrl.Result{}, err
	}
	again, err := p.keep(ctx, &member)
	return ctrl.Result{RequeueAfter: again}, err
}

// hold puts our finalizer on a cluster, so that its profile goes with it.
func (p *Profiler) hold(ctx context.Context, member *v1beta1.MemberCluster) error {
	before := member.DeepCopy()
	if !controllerutil.AddFinalizer(member, contract.FinalizerClusterProfile) {
		return nil
	}
	if err := p.Client.Patch(ctx, member, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("hold member cluster %s for its profile: %w", member.Name, err)
	}
	return nil
}

// release deletes the profile of a cluster and lets that go.
func (p *Profiler) release(ctx context.Context, member *v1beta1.MemberCluster) error {
	if !controllerutil.ContainsFinalizer(member, contract.FinalizerClusterProfile) {
		return nil
	}
	if err := p.drop(ctx, member.Name); err != nil {
		return err
	}
	before := member.DeepCopy()
	controllerutil.RemoveFinalizer(member, contract.FinalizerClusterProfile)
	err := p.Client.Patch(ctx, member, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("let member cluster %s go: %w", member.Name, err)
	}
	return nil
}

// keep makes or repairs the profile of a cluster.
func (p *Profiler) keep(ctx context.Context, member *v1beta1.MemberCluster) (again time.Duration, err error) {
	profile := &inventoryv1alpha1.ClusterProfile{}
	key := profileOf(member.Name)
	err = p.profiles.Get(ctx, key, profile)
	if client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("get cluster profile %s: %w", key, err)
	}
	before := profile.DeepCopy()
	shape(profile, member.Name)
	switch {
	case err != nil:
		if err := p.profiles.Create(ctx, profile); err != nil {
			return 0, fmt.Errorf("create cluster profile %s: %w", key, err)
		}
	case !equality.Semantic.DeepEqual(before, profile):
		if err := p.profiles.Patch(ctx, profile, client.MergeFrom(before)); err != nil {
			return 0, fmt.Errorf("repair cluster profile %s: %w", key, err)
		}
	}
	before = profile.DeepCopy()
	profile.Status, again = report.Profile(profile.Status, member, p.Silence, p.Now())
	_, err = loop.WriteStatus(ctx, p.profiles, before, profile)
	return again, err
}

// shape gives a profile what it says of a cluster but for its status.
func shape(profile *inventoryv1alpha1.ClusterProfile, name string) {
	key := profileOf(name)
	profile.Namespace, profile.Name = key.Namespace, key.Name
	if profile.Labels == nil {
		profile.Labels = map[string]string{}
	}
	profile.Labels[inventoryv1alpha1.LabelClusterManagerKey] = contract.ClusterManager
	profile.Spec = inventoryv1alpha1.ClusterProfileSpec{DisplayName: name, ClusterManager: inventoryv1alpha1.ClusterManager{Name: contract.ClusterManager}}
}

// drop deletes the profile that has the name of a cluster, if it is ours. It asks the API server itself, so that a hub that no longer has
// the kind does not hold clusters back.
func (p *Profiler) drop(ctx context.Context, name string) error {
	key := profileOf(name)
	profile := &inventoryv1alpha1.ClusterProfile{}
	err := p.direct.Get(ctx, key, profile)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get cluster profile %s: %w", key, err)
	}
	if profile.Spec.ClusterManager.Name != contract.ClusterManager {
		return nil
	}
	if err := client.IgnoreNotFound(p.profiles.Delete(ctx, profile, client.Preconditions{UID: &profile.UID})); err != nil {
		return fmt.Errorf("delete cluster profile %s: %w", key, err)
	}
	return nil
}

// profileOf is where the profile of a cluster is.
func profileOf(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: contract.NamespaceSystem, Name: name}
}
