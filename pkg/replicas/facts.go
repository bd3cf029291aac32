package replicas

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// Observed are the objects from which a request is read.
type Observed struct {
	Placement v1beta1.PlacementObject
	// Policies and Snapshots are those of the placement's name, Bindings those of the placement that are not being
	// deleted, in any order.
	Policies  []v1beta1.PolicySnapshotObject
	Snapshots []v1beta1.ResourceSnapshotObject
	Bindings  []v1beta1.BindingObject
	Clusters  []clusterv1beta1.MemberCluster
	// Override returns an override snapshot, nil if it does not exist.
	Override func(types.NamespacedName) (v1beta1.OverrideSnapshotObject, error)
	// Objects returns the objects of a revision, without envelopes, from resource snapshots of the placement.
	Objects func(master string, snapshots []v1beta1.ResourceSnapshotObject) ([][]byte, error)
	// Numbers returns what is divided in the revision of a resource snapshot, which may be cached; nil to read it.
	Numbers func(snapshot v1beta1.ResourceSnapshotObject, read func() ([]Number, error)) ([]Number, error)
	// Promised is what is promised on a cluster; nil for nothing.
	Promised func(*clusterv1beta1.MemberCluster) corev1.ResourceList
	// Domain is the label of MemberClusters that names domains which can fail as a whole; empty for none.
	Domain string
	Now    time.Time
}

// Request returns the input of a decision; ok is false if the latest revision does not exist yet, or, before the first
// division, not all clusters that are picked have bindings. again is when it may be another without an event, 0 for
// never.
func (o Observed) Request() (request Request, again time.Duration, ok bool, err error) {
	revisions, ok := o.revisions()
	if !ok || !o.isPicked() {
		return Request{}, 0, false, nil
	}
	spec := o.Placement.GetSpec()
	out := Request{
		Policy: spec.Policy.Replicas, Seed: string(o.Placement.GetUID()), Rebalance: o.Placement.GetAnnotations()[contract.AnnotationRebalance],
		Failback:  spec.Policy.Failover != nil && spec.Policy.Failover.Failback == v1beta1.FailbackWhenHealthy,
		Revisions: revisions, Now: o.Now,
	}
	if spec.Strategy.RollingUpdate != nil {
		out.Surge = spec.Strategy.RollingUpdate.MaxSurge
	}
	fleet := o.fleet()
	out.Frozen = failover.Braked(fleet.Fleet)
	for _, b := range o.Bindings {
		facts, soon := fleet.facts(b)
		if again == 0 || soon > 0 && soon < again {
			again = soon
		}
		if cluster := fleet.byName[facts.Cluster]; cluster != nil {
			facts.Usage = &cluster.Status.ResourceUsage
			if o.Promised != nil {
				facts.Promised = o.Promised(cluster)
			}
		}
		if facts.Change, err = o.change(b, facts.Labels); err != nil {
			return Request{}, 0, false, err
		}
		out.Bindings = append(out.Bindings, facts)
	}
	return out, again, true, nil
}

// fleet are the clusters, and how the placement treats lost ones.
type fleet struct {
	failover.Rules
	byName map[string]*clusterv1beta1.MemberCluster
	// on is whether the placement reacts to lost clusters, and alone whether it does so by the replicas only, because it
	// picks no others for them.
	on, alone bool
	// stuck are the clusters that the scheduler has to leave and for which it finds no other; all is whether any may be,
	// because with update runs it may wait for one before it says which.
	stuck map[string]bool
	all   bool
}

func (o Observed) fleet() fleet {
	out := fleet{byName: map[string]*clusterv1beta1.MemberCluster{}, stuck: map[string]bool{}, Rules: failover.Rules{Domain: o.Domain, Now: o.Now}}
	for i := range o.Clusters {
		out.Fleet = append(out.Fleet, &o.Clusters[i])
		out.byName[o.Clusters[i].Name] = &o.Clusters[i]
	}
	spec := o.Placement.GetSpec()
	if f := spec.Policy.Failover; f != nil && (failover.Leaves(o.Placement) || spec.Strategy.Type != v1beta1.RolloutStrategyTypeExternal) {
		out.Policy, out.on, out.alone = f, true, spec.Policy.PlacementType != v1beta1.PlacementTypePickN
	}
	latest := o.policy()
	if latest == nil || failover.PolicyOf(o.Placement) == nil {
		return out
	}
	out.all = spec.Strategy.Type == v1beta1.RolloutStrategyTypeExternal &&
		meta.IsStatusConditionFalse(*latest.GetConditions(), v1beta1.ConditionFailoverComplete)
	for _, decision := range latest.GetStatus().ClusterDecisions {
		if !decision.Selected {
			out.stuck[decision.ClusterName] = true
		}
	}
	return out
}

// policy is the latest policy snapshot; nil if there is none.
func (o Observed) policy() v1beta1.PolicySnapshotObject {
	return snapshot.LatestPolicy(slices.DeleteFunc(slices.Clone(o.Policies), func(s v1beta1.PolicySnapshotObject) bool {
		return !scope.OwnedBy(s, o.Placement)
	}))
}

// isPicked reports whether all clusters that the scheduler has picked have bindings, before the first division: one over
// some of them would give them the replicas of the others, which would get no more than their minimum then.
func (o Observed) isPicked() bool {
	policy := o.policy()
	if policy == nil || slices.ContainsFunc(o.Bindings, func(b v1beta1.BindingObject) bool { return len(b.GetSpec().Shares) > 0 }) {
		return true
	}
	status, bound := policy.GetStatus(), map[string]bool{}
	for _, b := range o.Bindings {
		bound[b.GetSpec().TargetCluster] = true
	}
	return status.ObservedCRPGeneration > 0 && !slices.ContainsFunc(status.ClusterDecisions, func(d v1beta1.ClusterDecision) bool {
		return d.Selected && !bound[d.ClusterName]
	})
}

// facts reads a binding.
func (f fleet) facts(b v1beta1.BindingObject) (out Binding, again time.Duration) {
	spec := b.GetSpec()
	out = Binding{
		Name: b.GetName(), Cluster: spec.TargetCluster, Shares: spec.Shares, Snapshot: spec.ResourceSnapshotName,
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
	out.Placed = b.GetStatus().LastHealthy != nil || meta.FindStatusCondition(b.GetStatus().Conditions, v1beta1.ConditionApplied) != nil
	status := delivery.StatusOf(b)
	out.Settled = out.Heard && spec.State == v1beta1.BindingStateBound && status.Well()
	if status.Current(v1beta1.ConditionAvailable) != nil { // what is reported is about what it has now
		out.Unschedulable = unschedulable(b)
	}
	if !f.on {
		return out, 0
	}
	if !out.Heard && (f.alone || f.all || f.stuck[spec.TargetCluster]) {
		leave := f.LeaveOf(cluster)
		out.Lost, again = leave.Reason == failover.Lost && leave.Now, leave.Again
	}
	if out.Heard && Newest(b).Rules == returned {
		_, out.Trusted, again = failover.Trusted(cluster, f.Now)
	}
	return out, again
}

func unschedulable(b v1beta1.BindingObject) map[Key]int64 {
	out := map[Key]int64{}
	for _, u := range b.GetStatus().UnschedulableReplicas {
		out[Key{Group: u.Group, Kind: u.Kind, Namespace: u.Namespace, Name: u.Name}] = int64(u.Replicas)
	}
	return out
}

// change returns the overrides of a binding; nil if it has none, or if a snapshot of one does not exist any more.
func (o Observed) change(b v1beta1.BindingObject, labels map[string]string) (func([]byte) ([]byte, error), error) {
	keys := delivery.OverridesOf(b).Keys()
	if len(keys) == 0 {
		return nil, nil
	}
	var found []v1beta1.OverrideSnapshotObject
	for _, key := range keys {
		s, err := o.Override(key)
		if err != nil || s == nil {
			return nil, err
		}
		found = append(found, s)
	}
	return override.New(override.Cluster{Name: b.GetSpec().TargetCluster, Labels: labels}, found).Apply, nil
}

// revisions reads the content of the revisions in use and of the latest, oldest first. ok is false if the latest does
// not exist yet.
func (o Observed) revisions() (out []Revision, ok bool) {
	all := slices.DeleteFunc(slices.Clone(o.Snapshots), func(s v1beta1.ResourceSnapshotObject) bool { return !scope.OwnedBy(s, o.Placement) })
	latest, ok := snapshot.Latest(snapshot.Groups(all))
	if !ok || !latest.Complete() {
		return nil, false
	}
	names := map[string]int{latest.Master.GetName(): latest.Index}
	for _, b := range o.Bindings {
		if index, ok := contract.MasterIndex(o.Placement.GetName(), b.GetSpec().ResourceSnapshotName); ok {
			names[b.GetSpec().ResourceSnapshotName] = index
		}
	}
	for name := range names {
		r := Revision{Snapshot: name}
		r.Numbers, r.Problem = o.numbers(name, all)
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Revision) int {
		if names[a.Snapshot] != names[b.Snapshot] {
			return names[a.Snapshot] - names[b.Snapshot]
		}
		return strings.Compare(a.Snapshot, b.Snapshot)
	})
	return out, true
}

func (o Observed) numbers(name string, all []v1beta1.ResourceSnapshotObject) ([]Number, error) {
	at := slices.IndexFunc(all, func(s v1beta1.ResourceSnapshotObject) bool { return s.GetName() == name })
	if at < 0 {
		return nil, errors.New("its snapshot does not exist any more")
	}
	read := func() ([]Number, error) {
		objects, err := o.Objects(name, all)
		if err != nil {
			return nil, fmt.Errorf("read the objects of %s: %w", name, err)
		}
		return In(PolicyOf(o.Placement), objects)
	}
	if o.Numbers == nil {
		return read()
	}
	return o.Numbers(all[at], read)
}
