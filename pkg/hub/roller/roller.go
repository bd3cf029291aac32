// Package roller gives the latest content of a placement to its clusters, within the limits of its strategy: it binds
// the clusters that the scheduler picked, updates bound ones, and deletes the bindings that the scheduler gave up. It
// reads the placement, its resource snapshots and bindings, the override snapshots that select its content, and the
// MemberClusters. Package rollout decides the next step.
//
// It serves placements of strategy RollingUpdate. For External ones update runs do this, and the roller only deletes
// the bindings of clusters that others have replaced.
package roller

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// writersPerPlacement is how many bindings of one placement are written at once.
const writersPerPlacement = 16

// Roller reconciles placements of both scopes.
type Roller struct {
	// Client reads from the cache, in which scope.Index has registered its indexes, and sees its own writes.
	Client client.Client
	// Direct reads from the API server: where the cache contradicts itself, before a rejection, and whether snapshots
	// still exist.
	Direct client.Reader
	// Workers is how many placements are reconciled at once.
	Workers int
	// Namespaced is whether ResourcePlacements are served.
	Namespaced bool
	// Now is the clock.
	Now func() time.Time
	// Trace records spans; nil for none.
	Trace *trace.Agent

	// awake is when the roller started; no health window begins earlier.
	awake    time.Time
	contents contents
}

// Reconcile takes the next step of one placement.
func (r *Roller) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	ctx = ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("placement", scope.Name(req.NamespacedName)))
	seen, err := r.observe(ctx, req.NamespacedName)
	if err != nil || seen == nil {
		return ctrl.Result{}, err
	}
	if seen.external {
		step := rollout.Purge(seen.budget, seen.facts, r.Now())
		return ctrl.Result{RequeueAfter: step.Again}, r.carryOut(ctx, seen, step)
	}
	ctx, end := r.Trace.Continue(ctx, req.NamespacedName, trace.Subject{Placement: seen.placement, UID: seen.of.GetUID()}, seen.latest.Master)
	defer func() { end(err) }()
	step := rollout.Next(seen.budget, seen.facts, seen.want, r.Now())
	if step.Course != nil && step.Course.Spent != nil {
		// Only a user or another revision ends a rejection, so it must not come from an old cache.
		if err := r.observeNow(ctx, req.NamespacedName, seen); err != nil {
			return ctrl.Result{}, err
		}
		step = rollout.Next(seen.budget, seen.facts, seen.want, r.Now())
	}
	if wait, err := r.coming(ctx, seen, step); err != nil || wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, err
	}
	if err := r.carryOut(ctx, seen, step); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: step.Again}, nil
}

// observed is the state, as it was read, that a step is decided from. The bindings are those of the cache: they are
// copied before they are changed.
type observed struct {
	placement types.NamespacedName
	of        v1beta1.PlacementObject
	latest    snapshot.Group
	clusters  map[string]*clusterv1beta1.MemberCluster
	bindings  map[string]v1beta1.BindingObject
	facts     []rollout.Binding
	want      rollout.Content
	budget    rollout.Budget
	// external is whether update runs roll the placement out: of it only bindings, clusters, facts and budget are read.
	external bool
}

// observe reads everything about a placement. It returns nil if there is nothing to roll out now: the placement does
// not exist or is being deleted, update runs roll it out and it has no exchange of clusters, some of its snapshots do
// not exist yet, or the cache is behind.
func (r *Roller) observe(ctx context.Context, key types.NamespacedName) (*observed, error) {
	placement := scope.Placements.New(key)
	err := r.Client.Get(ctx, key, placement, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		r.contents.forget(key)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get placement %s: %w", key, err)
	}
	strategy := placement.GetSpec().Strategy
	if !placement.GetDeletionTimestamp().IsZero() {
		return nil, nil
	}
	if strategy.Type == v1beta1.RolloutStrategyTypeExternal {
		return r.observeExchanges(ctx, placement)
	}
	latest, ok, err := r.latest(ctx, placement)
	if err != nil || !ok {
		return nil, err
	}
	out := &observed{placement: key, of: placement, latest: latest, want: rollout.Content{
		Snapshot: latest.Master.GetName(), Strategy: strategy.ApplyStrategy.WithDefaults(), Course: rollout.CourseOf(latest.Master),
	}}
	if out.bindings, err = r.bindings(ctx, placement); err != nil {
		return nil, err
	}
	if behind, err := r.behind(ctx, key, latest, out.bindings); err != nil || behind {
		return nil, err
	}
	if out.clusters, err = r.clustersOf(ctx, out.bindings); err != nil {
		return nil, err
	}
	if out.want.Overrides, err = r.overrides(ctx, key, latest, out.bindings, out.clusters); err != nil {
		return nil, err
	}
	if err := r.lookAt(ctx, out); err != nil {
		return nil, err
	}
	out.budget, err = rollout.BudgetOf(strategy, rollout.Target(placement.GetSpec().Policy, out.facts))
	if err != nil {
		return nil, fmt.Errorf("placement %s: %w", key, err)
	}
	out.budget.Short, out.budget.Purge = short(placement), purge(placement)
	if out.budget.Policy != nil {
		out.budget.Policy.From = r.awake
	}
	return out, nil
}

// short returns whether the scheduler has found fewer clusters than the placement, as it is now, wants.
func short(placement v1beta1.PlacementObject) bool {
	c := delivery.Current(*placement.GetConditions(), placement.ConditionType(v1beta1.ConditionScheduled), placement.GetGeneration())
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == v1beta1.ReasonSchedulingPolicyUnfulfilled
}

// purge returns when the bindings of replaced clusters are deleted. An exchange may still be on after the field was
// removed.
func purge(placement v1beta1.PlacementObject) v1beta1.FailoverPurge {
	policy := placement.GetSpec().Policy
	if policy == nil || policy.Failover == nil {
		return v1beta1.FailoverPurgeGraceful
	}
	return policy.Failover.Purge
}

// latest returns the placement's latest group of resource snapshots; ok is false if there is none, or some of the
// group do not exist yet.
func (r *Roller) latest(ctx context.Context, placement v1beta1.PlacementObject) (latest snapshot.Group, ok bool, err error) {
	groups, err := r.groups(ctx, placement)
	if err != nil {
		return snapshot.Group{}, false, err
	}
	latest, ok = snapshot.Latest(groups)
	if !ok || !latest.Complete() {
		ctrl.LoggerFrom(ctx).V(1).Info("Waiting for the resource snapshots of the placement")
		return snapshot.Group{}, false, nil
	}
	return latest, true, nil
}

// groups returns the placement's groups of resource snapshots. The cache may still hold snapshots of an earlier
// placement of the name; groups leaves them out.
func (r *Roller) groups(ctx context.Context, placement v1beta1.PlacementObject) ([]snapshot.Group, error) {
	key := client.ObjectKeyFromObject(placement)
	all, err := scope.ResourceSnapshots.List(ctx, r.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...)
	if err != nil {
		return nil, err
	}
	return snapshot.Groups(slices.DeleteFunc(all, func(s v1beta1.ResourceSnapshotObject) bool {
		return !s.GetDeletionTimestamp().IsZero() || !scope.OwnedBy(s, placement)
	})), nil
}

// bindings reads the placement's bindings, each no older than the last write of this process to it: a step that is
// carried out must not be decided again.
func (r *Roller) bindings(ctx context.Context, placement v1beta1.PlacementObject) (map[string]v1beta1.BindingObject, error) {
	key := client.ObjectKeyFromObject(placement)
	list, err := scope.Bindings.List(ctx, r.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...)
	if err != nil {
		return nil, err
	}
	out := make(map[string]v1beta1.BindingObject, len(list))
	for _, listed := range list {
		binding, name := scope.Bindings.New(key), client.ObjectKeyFromObject(listed)
		err := r.Client.Get(ctx, name, binding, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("get binding %s: %w", name, err)
		}
		if scope.Of(binding, placement) {
			out[name.Name] = binding
		}
	}
	return out, nil
}

// behind returns whether some binding has newer content, or a newer override, than the latest in the cache, because
// another leader wrote it. A step from such a cache would give clusters older content. If that snapshot does not exist
// at all, the binding is wrong, and the roller corrects it.
func (r *Roller) behind(ctx context.Context, key types.NamespacedName, latest snapshot.Group, bindings map[string]v1beta1.BindingObject) (bool, error) {
	for _, b := range bindings {
		name := b.GetSpec().ResourceSnapshotName
		if index, ok := contract.MasterIndex(key.Name, name); !ok || index <= latest.Index || !b.GetDeletionTimestamp().IsZero() {
			continue
		}
		newer := scope.ResourceSnapshots.New(key)
		err := r.Direct.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: name}, newer)
		if err == nil {
			ctrl.LoggerFrom(ctx).V(1).Info("Waiting for the cache: a binding names a newer snapshot", "binding", b.GetName(), "snapshot", name)
			return true, nil
		}
		if !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("get resource snapshot %s: %w", name, err)
		}
	}
	return r.behindOverrides(ctx, bindings)
}

// clustersOf reads the MemberClusters of bindings, by name; those that do not exist are missing.
func (r *Roller) clustersOf(ctx context.Context, bindings map[string]v1beta1.BindingObject) (map[string]*clusterv1beta1.MemberCluster, error) {
	out := make(map[string]*clusterv1beta1.MemberCluster, len(bindings))
	for _, b := range bindings {
		var cluster clusterv1beta1.MemberCluster
		name := b.GetSpec().TargetCluster
		err := r.Client.Get(ctx, types.NamespacedName{Name: name}, &cluster, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("get member cluster %s: %w", name, err)
		}
		out[name] = &cluster
	}
	return out, nil
}

// factsOf reads a binding; cluster is nil if there is none.
func factsOf(b v1beta1.BindingObject, cluster *clusterv1beta1.MemberCluster, now time.Time) rollout.Binding {
	out := rollout.BindingOf(b)
	out.Gone = cluster == nil || !cluster.DeletionTimestamp.IsZero()
	if !out.Gone {
		out.Silent = schedule.Ineligible(cluster, now) != ""
		out.Unheard, out.UntilSilent = liveness.Of(cluster, now) != liveness.Heard, liveness.UntilSilent(cluster, now)
	}
	return out
}
