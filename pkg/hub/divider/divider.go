// Package divider divides the replicas of workloads over the clusters of their placement: it reads a placement, its
// bindings, resource snapshots and override snapshots, and the MemberClusters, decides with package replicas, and
// writes the shares on the bindings.
//
// It serves placements with policy.replicas, and removes shares from the bindings of others.
package divider

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/replicas"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// writersPerPlacement is how many bindings of one placement are written at once.
const writersPerPlacement = 16

// Divider reconciles placements of both scopes.
type Divider struct {
	// Client reads from the cache, in which scope.Index has registered its indexes, and sees its own writes.
	Client client.Client
	// Workers is how many placements are reconciled at once.
	Workers int
	// Namespaced is whether ResourcePlacements are served.
	Namespaced bool
	// Domain is the label of MemberClusters that names domains which can fail as a whole; empty for none.
	Domain string
	// Now is the clock.
	Now func() time.Time

	contents contents
	promises promises
	waiting  waiting
}

// Reconcile takes the next step of one placement.
func (d *Divider) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ctx = ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("placement", scope.Name(req.NamespacedName)))
	placement := scope.Placements.New(req.NamespacedName)
	err := d.Client.Get(ctx, req.NamespacedName, placement, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		d.contents.forget(req.NamespacedName)
		d.waiting.set(req.NamespacedName, false)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get placement %s: %w", scope.Name(req.NamespacedName), err)
	}
	if !placement.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil
	}
	bindings, err := d.bindings(ctx, placement)
	if err != nil || len(bindings) == 0 {
		return ctrl.Result{}, err
	}
	if replicas.PolicyOf(placement) == nil {
		d.contents.forget(req.NamespacedName)
		d.waiting.set(req.NamespacedName, false)
		return ctrl.Result{}, d.clear(ctx, bindings)
	}
	return d.divide(ctx, placement, bindings)
}

// divide writes the next shares.
func (d *Divider) divide(ctx context.Context, placement v1beta1.PlacementObject, bindings map[string]v1beta1.BindingObject) (ctrl.Result, error) {
	request, again, err := d.request(ctx, placement, bindings)
	if err != nil || request == nil {
		return ctrl.Result{}, err
	}
	decision, err := replicas.Decide(*request)
	if err != nil { // the user has to correct the policy, and the placement's status says so
		ctrl.LoggerFrom(ctx).V(1).Info("Replicas cannot be divided", "reason", err.Error())
		return ctrl.Result{}, nil
	}
	var raises, lowers []replicas.Write
	d.waiting.set(client.ObjectKeyFromObject(placement), decision.Waiting)
	for _, w := range decision.Writes {
		if w.Lowers {
			lowers = append(lowers, w)
		} else {
			raises = append(raises, w)
		}
	}
	write := func(ctx context.Context, w replicas.Write) error {
		if err := d.write(ctx, bindings[w.Binding], w.Shares); err != nil {
			return err
		}
		d.promises.add(bindings[w.Binding].GetSpec().TargetCluster, w.Promises, d.Now())
		return nil
	}
	if err := loop.Each(ctx, writersPerPlacement, raises, write); err != nil {
		return ctrl.Result{}, err
	}
	if err := loop.Each(ctx, writersPerPlacement, lowers, write); err != nil {
		return ctrl.Result{}, err
	}
	if again == 0 || decision.Again > 0 && decision.Again < again {
		again = decision.Again
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// write sets the shares of a binding. It names the resourceVersion that the shares were decided from.
func (d *Divider) write(ctx context.Context, seen v1beta1.BindingObject, shares []v1beta1.RevisionShares) error {
	binding := seen.DeepCopyObject().(v1beta1.BindingObject)
	binding.GetSpec().Shares = shares
	err := d.Client.Patch(ctx, binding, client.MergeFromWithOptions(seen, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the shares of binding %s: %w", client.ObjectKeyFromObject(seen), err)
	}
	ctrl.LoggerFrom(ctx).Info("Changed shares of replicas", "binding", binding.GetName(), "cluster", binding.GetSpec().TargetCluster)
	return nil
}

// clear removes shares from bindings of a placement that does not divide replicas.
func (d *Divider) clear(ctx context.Context, bindings map[string]v1beta1.BindingObject) error {
	var names []string
	for name, b := range bindings {
		if len(b.GetSpec().Shares) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return loop.Each(ctx, writersPerPlacement, names, func(ctx context.Context, name string) error { return d.write(ctx, bindings[name], nil) })
}

// bindings reads the placement's bindings that are not being deleted, each no older than the last write of this
// process to it: a step that is carried out must not be decided again.
func (d *Divider) bindings(ctx context.Context, placement v1beta1.PlacementObject) (map[string]v1beta1.BindingObject, error) {
	key := client.ObjectKeyFromObject(placement)
	list, err := scope.Bindings.List(ctx, d.Client, key.Namespace, scope.OfPlacement(key), client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, err
	}
	out := make(map[string]v1beta1.BindingObject, len(list))
	for _, b := range list {
		if scope.Of(b, placement) && b.GetDeletionTimestamp().IsZero() {
			out[b.GetName()] = b
		}
	}
	return out, nil
}

// request reads the input of a decision. It is nil if there is nothing to divide yet; again is when to decide again
// without an event, 0 for never.
func (d *Divider) request(ctx context.Context, placement v1beta1.PlacementObject, bindings map[string]v1beta1.BindingObject) (
	out *replicas.Request, again time.Duration, err error) {
	revisions, err := d.revisions(ctx, placement, bindings)
	if err != nil || len(revisions) == 0 {
		return nil, 0, err
	}
	var clusters clusterv1beta1.MemberClusterList
	if err := d.Client.List(ctx, &clusters, scope.Fast()...); err != nil {
		return nil, 0, fmt.Errorf("list member clusters: %w", err)
	}
	spec := placement.GetSpec()
	out = &replicas.Request{
		Policy: spec.Policy.Replicas, Seed: string(placement.GetUID()), Revisions: revisions, Now: d.Now(),
		Failback: spec.Policy.Failover != nil && spec.Policy.Failover.Failback == v1beta1.FailbackWhenHealthy,
	}
	if spec.Strategy.RollingUpdate != nil {
		out.Surge = spec.Strategy.RollingUpdate.MaxSurge
	}
	fleet := fleetOf(&clusters, d.Domain, spec, d.Now())
	out.Frozen = failover.Braked(fleet.Fleet)
	stuck, err := d.stuck(ctx, placement)
	if err != nil {
		return nil, 0, err
	}
	for _, b := range bindings {
		facts, soon := fleet.facts(b, stuck)
		if again == 0 || soon > 0 && soon < again {
			again = soon
		}
		if cluster := fleet.byName[facts.Cluster]; cluster != nil {
			facts.Usage, facts.Promised = &cluster.Status.ResourceUsage, d.promises.on(cluster)
		}
		if facts.Change, err = d.change(ctx, b, facts.Labels); err != nil {
			return nil, 0, err
		}
		out.Bindings = append(out.Bindings, facts)
	}
	return out, again, nil
}

// fleet are the clusters, and how the placement treats lost ones.
type fleet struct {
	failover.Rules
	byName map[string]*clusterv1beta1.MemberCluster
	// on is whether the placement reacts to lost clusters, and alone whether it does so by the replicas only, because it
	// picks no others for them.
	on, alone bool
}

func fleetOf(list *clusterv1beta1.MemberClusterList, domain string, spec *v1beta1.PlacementSpec, now time.Time) fleet {
	out := fleet{byName: map[string]*clusterv1beta1.MemberCluster{}, Rules: failover.Rules{Domain: domain, Now: now}}
	for i := range list.Items {
		out.Fleet = append(out.Fleet, &list.Items[i])
		out.byName[list.Items[i].Name] = &list.Items[i]
	}
	if f := spec.Policy.Failover; f != nil && spec.Strategy.Type != v1beta1.RolloutStrategyTypeExternal {
		out.Policy, out.on, out.alone = *f, true, spec.Policy.PlacementType != v1beta1.PlacementTypePickN
	}
	return out
}

// facts reads a binding. stuck are the clusters that the placement has to leave and for which there is no other.
func (f fleet) facts(b v1beta1.BindingObject, stuck map[string]bool) (out replicas.Binding, again time.Duration) {
	spec := b.GetSpec()
	out = replicas.Binding{
		Name: b.GetName(), Cluster: spec.TargetCluster, Shares: spec.Shares, Has: spec.ResourceSnapshotName,
		Picked: spec.State != v1beta1.BindingStateUnscheduled,
		Left:   spec.State == v1beta1.BindingStateUnscheduled && failover.ReplacedBy(b) != nil,
	}
	cluster := f.byName[spec.TargetCluster]
	if cluster == nil || !cluster.DeletionTimestamp.IsZero() {
		out.Picked = false // its objects go, or stay on a cluster that is not in the fleet any more
		return out, 0
	}
	out.Labels = cluster.Labels
	out.Heard = liveness.Of(cluster, f.Now) == liveness.Heard
	out.Settled = out.Heard && spec.State == v1beta1.BindingStateBound && delivery.StatusOf(b).Well()
	if delivery.StatusOf(b).Current(v1beta1.ConditionAvailable) != nil { // what is reported is about what it has now
		for _, u := range b.GetStatus().UnschedulableReplicas {
			if out.Unschedulable == nil {
				out.Unschedulable = map[replicas.Key]int64{}
			}
			out.Unschedulable[replicas.Key{Group: u.Group, Kind: u.Kind, Namespace: u.Namespace, Name: u.Name}] = int64(u.Replicas)
		}
	}
	if !f.on {
		return out, 0
	}
	if !out.Heard && (f.alone || stuck[spec.TargetCluster]) {
		leave := f.LeaveOf(cluster)
		out.Lost, again = leave.Reason == failover.Lost && leave.Now, leave.Again
	}
	if out.Heard && replicas.Returned(spec.Shares) {
		_, out.Trusted, again = failover.Trusted(cluster, f.Now)
	}
	return out, again
}

// stuck returns the clusters that the scheduler has to leave and for which it finds no other.
func (d *Divider) stuck(ctx context.Context, placement v1beta1.PlacementObject) (map[string]bool, error) {
	if failover.PolicyOf(placement) == nil {
		return nil, nil
	}
	key := client.ObjectKeyFromObject(placement)
	all, err := scope.PolicySnapshots.List(ctx, d.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...)
	if err != nil {
		return nil, err
	}
	latest := snapshot.LatestPolicy(slices.DeleteFunc(all, func(s v1beta1.PolicySnapshotObject) bool { return !scope.OwnedBy(s, placement) }))
	if latest == nil {
		return nil, nil
	}
	out := map[string]bool{}
	for _, decision := range latest.GetStatus().ClusterDecisions {
		if !decision.Selected {
			out[decision.ClusterName] = true
		}
	}
	return out, nil
}

// change returns the overrides of a binding; nil if it has none, or if a snapshot of one does not exist any more.
func (d *Divider) change(ctx context.Context, b v1beta1.BindingObject, labels map[string]string) (func([]byte) ([]byte, error), error) {
	keys := delivery.OverridesOf(b).Keys()
	if len(keys) == 0 {
		return nil, nil
	}
	var found []v1beta1.OverrideSnapshotObject
	for _, key := range keys {
		s := scope.OverrideSnapshots.New(key)
		err := d.Client.Get(ctx, key, s, client.DisableReadYourWritesConsistency, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("get override snapshot %s: %w", scope.Name(key), err)
		}
		found = append(found, s)
	}
	return override.New(override.Cluster{Name: b.GetSpec().TargetCluster, Labels: labels}, found).Apply, nil
}

// revisions reads the content of the revisions in use and of the latest, oldest first. It returns none if the latest
// does not exist yet.
func (d *Divider) revisions(ctx context.Context, placement v1beta1.PlacementObject, bindings map[string]v1beta1.BindingObject) ([]replicas.Revision, error) {
	key := client.ObjectKeyFromObject(placement)
	all, err := scope.ResourceSnapshots.List(ctx, d.Client, key.Namespace, scope.Fast(scope.OfPlacement(key))...)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s v1beta1.ResourceSnapshotObject) bool { return !scope.OwnedBy(s, placement) })
	latest, ok := snapshot.Latest(snapshot.Groups(all))
	if !ok || !latest.Complete() {
		return nil, nil
	}
	names := map[string]int{latest.Master.GetName(): latest.Index}
	for _, b := range bindings {
		if index, ok := contract.MasterIndex(key.Name, b.GetSpec().ResourceSnapshotName); ok {
			names[b.GetSpec().ResourceSnapshotName] = index
		}
	}
	known := d.contents.of(key)
	var out []replicas.Revision
	for name := range names {
		r := replicas.Revision{Snapshot: name}
		if r.Numbers, err = known.numbers(placement, name, all); err != nil {
			ctrl.LoggerFrom(ctx).V(1).Info("Replicas of a revision cannot be divided", "snapshot", name, "reason", err.Error())
			r.Unknown = true
		}
		out = append(out, r)
	}
	known.keep(names)
	slices.SortFunc(out, func(a, b replicas.Revision) int {
		if names[a.Snapshot] != names[b.Snapshot] {
			return names[a.Snapshot] - names[b.Snapshot]
		}
		return strings.Compare(a.Snapshot, b.Snapshot)
	})
	return out, nil
}
