package roller

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/rollout"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// contents caches what overrides can select of each placement's latest content. It is computed only for placements
// that an override may select.
type contents struct {
	mu   sync.Mutex
	last map[types.NamespacedName]content
}

type content struct {
	master types.UID
	override.Contents
}

// of returns the contents of group, the latest of a placement.
func (c *contents) of(placement types.NamespacedName, group snapshot.Group) override.Contents {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.last[placement]
	if ok && last.master == group.Master.GetUID() {
		return last.Contents
	}
	last = content{master: group.Master.GetUID(), Contents: override.ContentsOf(group.Objects())}
	if c.last == nil {
		c.last = map[types.NamespacedName]content{}
	}
	c.last[placement] = last
	return last.Contents
}

func (c *contents) forget(placement types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.last, placement)
}

// matching returns the overrides that select content of a placement.
func (r *Roller) matching(ctx context.Context, placement types.NamespacedName, latest snapshot.Group) (override.Matching, error) {
	of := func() override.Contents { return r.contents.of(placement, latest) }
	found, err := scope.OverridesFor(ctx, r.Client, placement, func() []string { return of().Namespaces() }, scope.Fast()...)
	if err != nil || len(found) == 0 {
		return override.Matching{}, err
	}
	return override.Match(placement, found, of()), nil
}

// coming returns for how long a step waits because it would give a cluster its first content while an override that
// was created at the same time has no snapshot yet. The snapshot is an event.
func (r *Roller) coming(ctx context.Context, seen *observed, step rollout.Step) (time.Duration, error) {
	if !slices.ContainsFunc(step.Move, func(name string) bool { return seen.bindings[name].GetSpec().ResourceSnapshotName == "" }) {
		return 0, nil
	}
	now := r.Now()
	fresh, err := scope.FreshOverrides(ctx, r.Client, now.Add(-override.Settling), scope.Fast()...)
	if err != nil || len(fresh) == 0 {
		return 0, err
	}
	return override.Coming(seen.placement, fresh, r.contents.of(seen.placement, seen.latest), now), nil
}

// overrides returns the override snapshots for each cluster of the bindings.
func (r *Roller) overrides(ctx context.Context, placement types.NamespacedName, latest snapshot.Group,
	bindings map[string]v1beta1.BindingObject, clusters map[string]*clusterv1beta1.MemberCluster) (map[string]delivery.Overrides, error) {
	matching, err := r.matching(ctx, placement, latest)
	if err != nil || matching.None() {
		return nil, err
	}
	var targets []override.Cluster
	for _, b := range bindings {
		if cluster, ok := clusters[b.GetSpec().TargetCluster]; ok {
			targets = append(targets, override.Cluster{Name: cluster.Name, Labels: cluster.Labels})
		}
	}
	return matching.Lists(targets), nil
}

// behindOverrides returns whether some binding names an override snapshot that exists and is not in the cache yet,
// because another leader wrote it. If the snapshot does not exist, its override was deleted.
func (r *Roller) behindOverrides(ctx context.Context, bindings map[string]v1beta1.BindingObject) (bool, error) {
	asked := map[types.NamespacedName]bool{}
	for _, b := range bindings {
		spec := b.GetSpec()
		if !b.GetDeletionTimestamp().IsZero() || len(spec.ClusterResourceOverrideSnapshots)+len(spec.ResourceOverrideSnapshots) == 0 {
			continue
		}
		for _, key := range delivery.OverridesOf(b).Keys() {
			if asked[key] {
				continue
			}
			asked[key] = true
			if unseen, err := r.unseen(ctx, key); err != nil || unseen {
				return unseen, err
			}
		}
	}
	return false, nil
}

func (r *Roller) unseen(ctx context.Context, key types.NamespacedName) (bool, error) {
	s := scope.OverrideSnapshots.New(key)
	for _, from := range []client.Reader{r.Client, r.Direct} {
		err := from.Get(ctx, key, s)
		if err != nil && !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("get override snapshot %s: %w", key, err)
		}
		if err == nil {
			return from == r.Direct, nil
		}
	}
	return false, nil
}

// onOverride brings up the placements that an override snapshot concerns, or whose bindings name another snapshot of
// its override.
func (r *Roller) onOverride(ctx context.Context, obj client.Object) []reconcile.Request {
	out, err := r.concerned(ctx, obj.(v1beta1.OverrideSnapshotObject))
	return r.requests(ctx, out, err)
}

func (r *Roller) concerned(ctx context.Context, s v1beta1.OverrideSnapshotObject) (map[types.NamespacedName]bool, error) {
	out := map[types.NamespacedName]bool{}
	if key, ok := scope.OverrideOf(s); ok {
		named, err := scope.Bindings.AllServed(ctx, r.Client, r.Namespaced, scope.Fast(scope.OfOverride(key))...)
		if err != nil {
			return nil, err
		}
		add(out, named)
	}
	if limit, limited := scope.LimitOf(s); limited {
		if limit.Namespace == "" || r.Namespaced {
			out[limit] = true
		}
		return out, nil
	}
	placements, err := r.everyPlacement(ctx, s.GetNamespace())
	if err != nil {
		return nil, err
	}
	for _, placement := range placements {
		key := client.ObjectKeyFromObject(placement)
		latest, ok, err := r.latest(ctx, placement)
		if err != nil {
			return nil, err
		}
		if ok && !override.Match(key, []v1beta1.OverrideSnapshotObject{s}, r.contents.of(key, latest)).None() {
			out[key] = true
		}
	}
	return out, nil
}

// everyPlacement lists the placements whose content an override of a namespace may select; the namespace of a
// cluster-wide one is empty.
func (r *Roller) everyPlacement(ctx context.Context, namespace string) ([]v1beta1.PlacementObject, error) {
	switch {
	case !r.Namespaced:
		return scope.Placements.List(ctx, r.Client, "", scope.Fast()...)
	case namespace == "":
		return scope.Placements.All(ctx, r.Client, scope.Fast()...)
	}
	wide, err := scope.Placements.List(ctx, r.Client, "", scope.Fast()...)
	if err != nil {
		return nil, err
	}
	narrow, err := scope.Placements.List(ctx, r.Client, namespace, scope.Fast()...)
	return append(wide, narrow...), err
}

// onLabels enqueues the placements on a cluster whose labels changed, if any override selects their content.
func (r *Roller) onLabels(ctx context.Context, cluster client.Object) []reconcile.Request {
	bindings, err := scope.Bindings.AllServed(ctx, r.Client, r.Namespaced, scope.Fast(scope.OnCluster(cluster.GetName()))...)
	if err != nil {
		return r.requests(ctx, nil, err)
	}
	out := map[types.NamespacedName]bool{}
	add(out, bindings)
	for key := range out {
		overridden, err := r.isOverridden(ctx, key)
		if err != nil {
			return r.requests(ctx, nil, err)
		}
		if !overridden {
			delete(out, key)
		}
	}
	return r.requests(ctx, out, nil)
}

// isOverridden returns whether any override selects content of a placement.
func (r *Roller) isOverridden(ctx context.Context, key types.NamespacedName) (bool, error) {
	placement := scope.Placements.New(key)
	err := r.Client.Get(ctx, key, placement, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	latest, ok, err := r.latest(ctx, placement)
	if err != nil || !ok {
		return false, err
	}
	matching, err := r.matching(ctx, key, latest)
	return !matching.None(), err
}

// add adds the placements of bindings to out.
func add(out map[types.NamespacedName]bool, bindings []v1beta1.BindingObject) {
	for _, b := range bindings {
		if key, ok := scope.PlacementOf(b); ok {
			out[key] = true
		}
	}
}

// requests enqueues placements. Only a cache that is being stopped fails; the next start reconciles every placement.
func (r *Roller) requests(ctx context.Context, placements map[types.NamespacedName]bool, err error) []reconcile.Request {
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to enqueue placements after a change of an override or a MemberCluster")
		return nil
	}
	out := make([]reconcile.Request, 0, len(placements))
	for key := range placements {
		out = append(out, reconcile.Request{NamespacedName: key})
	}
	return out
}
