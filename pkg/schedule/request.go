package schedule

import (
	"fmt"
	"strconv"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Request is everything that a decision depends on. Nothing in it is changed.
type Request struct {
	// Policy is that of the latest policy snapshot; nil picks all clusters.
	Policy *v1beta1.PlacementPolicy
	// Snapshot is the name of that snapshot. Bindings that name another are chosen anew.
	Snapshot string
	// Number is how many clusters a PickN policy wants.
	Number int
	// Namespace is that of a ResourcePlacement, which only clusters that have the namespace can take. It is empty for a
	// ClusterResourcePlacement.
	Namespace string
	Clusters  []*clusterv1beta1.MemberCluster
	Bindings  []Binding
	// Listed are the decisions that the snapshot's status holds now.
	Listed []v1beta1.ClusterDecision
	Now    time.Time
}

// Binding is what a decision needs to know of one.
type Binding struct {
	Name    string
	Cluster string
	State   v1beta1.BindingState
	// Previous is the state that an Unscheduled binding had before; empty if that is not known.
	Previous v1beta1.BindingState
	// Snapshot is the policy snapshot for which the cluster was chosen.
	Snapshot string
	// Placed says whether the binding was ever given content.
	Placed   bool
	Deleting bool
	Decision v1beta1.ClusterDecision
}

// RequestOf reads what is to be decided from a placement's latest policy snapshot, its bindings and the fleet. They are not changed.
func RequestOf(policy v1beta1.PolicySnapshotObject, bindings []v1beta1.BindingObject, clusters []clusterv1beta1.MemberCluster,
	now time.Time) (Request, error) {
	r := Request{
		Policy:    policy.GetSpec().Policy,
		Snapshot:  policy.GetName(),
		Namespace: policy.GetNamespace(),
		Clusters:  make([]*clusterv1beta1.MemberCluster, 0, len(clusters)),
		Bindings:  make([]Binding, 0, len(bindings)),
		Listed:    policy.GetStatus().ClusterDecisions,
		Now:       now,
	}
	if r.Policy != nil && r.Policy.PlacementType == v1beta1.PlacementTypePickN {
		text := policy.GetAnnotations()[contract.AnnotationNumberOfClusters]
		number, err := strconv.Atoi(text)
		if err != nil || number < 0 {
			return Request{}, fmt.Errorf("policy snapshot %s does not say how many clusters are wanted: annotation %s is %q",
				policy.GetName(), contract.AnnotationNumberOfClusters, text)
		}
		r.Number = number
	}
	for i := range clusters {
		r.Clusters = append(r.Clusters, &clusters[i])
	}
	for _, b := range bindings {
		r.Bindings = append(r.Bindings, bindingOf(b))
	}
	return r, nil
}

func bindingOf(b v1beta1.BindingObject) Binding {
	spec := b.GetSpec()
	return Binding{
		Name:     b.GetName(),
		Cluster:  spec.TargetCluster,
		State:    spec.State,
		Previous: v1beta1.BindingState(b.GetAnnotations()[contract.AnnotationPreviousState]),
		Snapshot: spec.SchedulingPolicySnapshotName,
		Placed:   spec.ResourceSnapshotName != "",
		Deleting: !b.GetDeletionTimestamp().IsZero(),
		Decision: spec.ClusterDecision,
	}
}
