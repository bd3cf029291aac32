package schedule

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Request is the input of a decision. Decide does not change it.
type Request struct {
	// Policy is the policy in the latest policy snapshot, with tolerationSeconds, which no snapshot has, as the placement
	// has them; nil picks all clusters.
	Policy *v1beta1.PlacementPolicy
	// Snapshot is the name of that snapshot. Clusters of bindings that name another one are picked anew.
	Snapshot string
	// Number is the desired number of clusters of a PickN policy.
	Number int
	// Name is the name of the placement.
	Name string
	// Namespace is the namespace of a ResourcePlacement, which only clusters with that namespace can get. It is empty
	// for a ClusterResourcePlacement.
	Namespace string
	// Failover is when the placement leaves a lost cluster; nil for never. Only PickN does.
	Failover *v1beta1.Failover
	// External is whether update runs roll the placement out, and Run the name of an active one; empty for none. Another
	// set of clusters ends a run.
	External bool
	Run      string
	// Awake is when the hub agent started; zero if that does not matter.
	Awake time.Time
	// Rebalance is when a user asked for the clusters that would be picked now; zero if that is done or was never asked.
	Rebalance time.Time
	// Domain is the label of the domains that can fail as a whole; empty for none.
	Domain   string
	Clusters []*clusterv1beta1.MemberCluster
	Bindings []Binding
	// Placements are the other placements, of the same kind and namespace, that the terms of the policy select: see
	// SelectionOf.
	Placements []Placement
	// Removal is what one decision may give up, HeldRemoval what is held already, and Released are the digests of what
	// is let through. Granted are clusters of one that was let through and is not carried out completely. UID is the
	// placement's.
	Removal     removal.Policy
	HeldRemoval *v1beta1.HeldRemoval
	Released    []string
	Granted     []removal.Object
	UID         types.UID
	// Listed are the decisions in the snapshot's status.
	Listed []v1beta1.ClusterDecision
	Now    time.Time
}

// Binding is the part of a binding that a decision uses.
type Binding struct {
	Name    string
	Cluster string
	State   v1beta1.BindingState
	// Previous is the state of an Unscheduled binding before it was unscheduled; empty if unknown.
	Previous v1beta1.BindingState
	// Snapshot is the policy snapshot for which the cluster was picked.
	Snapshot string
	// Placed is true if the binding ever got content.
	Placed   bool
	Deleting bool
	// Foreign is true for a binding of an earlier placement of the name, whose objects no decision removes.
	Foreign bool
	// CarriedOver is true if an earlier policy picked the cluster, and the current one could not be decided because
	// the cluster was not heard.
	CarriedOver bool
	// Stays is true if the current policy gave the cluster up, and that is held.
	Stays bool
	// Available is true if the content was ever available on the cluster, Serving if what the binding requests is now.
	Available, Serving bool
	// UnavailableSince is since when what the binding requests, which was available, is not; zero if it is or never was.
	UnavailableSince time.Time
	// Resources is the resource snapshot that the binding requests; empty for none.
	Resources string
	// Held is true if the rollout holds a change back from the cluster.
	Held bool
	// ReplacedBy is what replaces the cluster of an Unscheduled binding, Replaces what the cluster replaced.
	ReplacedBy, Replaces *failover.Exchange
	// TakenBack is when the placement returned to the cluster last, which it had left too early; zero if it never did.
	TakenBack time.Time
	Decision  v1beta1.ClusterDecision
}

// RequestOf reads the input of a decision from a placement, its latest policy snapshot, its bindings and the fleet. It
// does not change them. The caller adds other placements, and the label of domains.
func RequestOf(placement v1beta1.PlacementObject, policy v1beta1.PolicySnapshotObject, bindings []v1beta1.BindingObject,
	clusters []clusterv1beta1.MemberCluster, now time.Time) (Request, error) {
	r := Request{
		Policy:    withSeconds(policy.GetSpec().Policy, placement),
		External:  placement.GetSpec().Strategy.Type == v1beta1.RolloutStrategyTypeExternal,
		Snapshot:  policy.GetName(),
		Name:      placement.GetName(),
		Namespace: policy.GetNamespace(),
		Clusters:  make([]*clusterv1beta1.MemberCluster, 0, len(clusters)),
		Bindings:  make([]Binding, 0, len(bindings)),
		Listed:    policy.GetStatus().ClusterDecisions,
		Now:       now,
	}
	r.Failover, r.Rebalance = failover.PolicyOf(placement), rebalanceOf(placement, policy)
	r.Removal, r.HeldRemoval, r.Released = removal.PolicyOf(placement, removal.Policy{}), policy.GetStatus().HeldRemoval, removal.Released(placement)
	r.UID = placement.GetUID()
	if r.Policy != nil && r.Policy.PlacementType == v1beta1.PlacementTypePickN {
		text := policy.GetAnnotations()[contract.AnnotationNumberOfClusters]
		number, err := strconv.Atoi(text)
		if err != nil || number < 0 {
			return Request{}, fmt.Errorf("policy snapshot %s has no valid number of clusters: annotation %s is %q",
				policy.GetName(), contract.AnnotationNumberOfClusters, text)
		}
		r.Number = number
	}
	for i := range clusters {
		r.Clusters = append(r.Clusters, &clusters[i])
	}
	for _, b := range bindings {
		binding := bindingOf(b)
		binding.Foreign = !scope.Of(b, placement)
		r.Bindings = append(r.Bindings, binding)
	}
	return r, nil
}

// rebalanceOf returns when a user asked for better clusters; zero if that was done, if the text is no time, and if a
// newer policy has picked all clusters since.
func rebalanceOf(placement v1beta1.PlacementObject, policy v1beta1.PolicySnapshotObject) time.Time {
	text := placement.GetAnnotations()[contract.AnnotationRebalance]
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || text == policy.GetAnnotations()[contract.AnnotationRebalanced] || at.Before(policy.GetCreationTimestamp().Time) {
		return time.Time{}
	}
	return at.Truncate(time.Second) // records of exchanges have whole seconds
}

// withSeconds returns the policy of a snapshot with the tolerationSeconds of its placement.
func withSeconds(policy *v1beta1.PlacementPolicy, placement v1beta1.PlacementObject) *v1beta1.PlacementPolicy {
	own := placement.GetSpec().Policy
	if policy == nil || own == nil {
		return policy
	}
	out := policy
	for i, t := range policy.Tolerations {
		for _, o := range own.Tolerations {
			if o.TolerationSeconds == nil || unlimited(o) != unlimited(t) {
				continue
			}
			if out == policy {
				out = policy.DeepCopy()
			}
			if most := out.Tolerations[i].TolerationSeconds; most == nil || *o.TolerationSeconds < *most {
				out.Tolerations[i].TolerationSeconds = o.TolerationSeconds
			}
		}
	}
	return out
}

// unlimited is a toleration with its default and without tolerationSeconds: two with the same result tolerate the same
// taints.
func unlimited(t v1beta1.Toleration) v1beta1.Toleration {
	t.Operator, t.TolerationSeconds = cmp.Or(t.Operator, corev1.TolerationOpEqual), nil
	return t
}

func bindingOf(b v1beta1.BindingObject) Binding {
	spec, status := b.GetSpec(), b.GetStatus()
	out := Binding{
		Name:        b.GetName(),
		Cluster:     spec.TargetCluster,
		State:       spec.State,
		Previous:    v1beta1.BindingState(b.GetAnnotations()[contract.AnnotationPreviousState]),
		Snapshot:    spec.SchedulingPolicySnapshotName,
		Placed:      spec.ResourceSnapshotName != "",
		Deleting:    !b.GetDeletionTimestamp().IsZero(),
		CarriedOver: CarriedOver(b),
		Stays:       b.GetAnnotations()[contract.AnnotationCarriedOver] == contract.CarriedOverHeld,
		Available:   status.LastHealthy != nil || delivery.StatusOf(b).Is(v1beta1.ConditionAvailable, metav1.ConditionTrue),
		Serving:     delivery.StatusOf(b).Is(v1beta1.ConditionAvailable, metav1.ConditionTrue),
		Resources:   spec.ResourceSnapshotName,
		Held:        delivery.StatusOf(b).Is(v1beta1.ConditionRolloutStarted, metav1.ConditionFalse),
		ReplacedBy:  failover.ReplacedBy(b),
		Replaces:    failover.Replaces(b),
		TakenBack:   failover.TakenBack(b),
		Decision:    spec.ClusterDecision,
	}
	if since := status.UnavailableSince; since != nil && status.LastHealthy != nil && delivery.Has(b, *status.LastHealthy) {
		out.UnavailableSince = since.Time
	}
	return out
}

// CarriedOver reports whether a binding waits for the decision of the current policy until its cluster is heard.
func CarriedOver(b v1beta1.BindingObject) bool {
	return b.GetAnnotations()[contract.AnnotationCarriedOver] != ""
}
