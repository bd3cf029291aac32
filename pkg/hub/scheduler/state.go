package scheduler

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/failover/state"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/work"
)

// eventStateMissing is the reason of the event on a placement that could not take all of its state along.
const eventStateMissing = "FailoverStateMissing"

// namedMissing is how many missing values an event names.
const namedMissing = 3

// takings are what the placement takes along to clusters that replace others, by the names of the former.
type takings map[string]state.Taken

// takeAlong reads what a decision takes along from the clusters that it leaves, before anything is written.
func (s *Scheduler) takeAlong(
	ctx context.Context, placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject, d schedule.Decision,
) (takings, error) {
	out := takings{}
	policy := failover.PolicyOf(placement)
	for cluster, e := range exchangesIn(bindings, d) {
		if policy == nil || len(policy.State) == 0 {
			out[cluster] = state.Taken{} // what an earlier exchange took along is too old
			continue
		}
		left := leftBinding(placement, bindings, e.With)
		works, err := s.worksOf(ctx, left)
		if err != nil {
			return nil, fmt.Errorf("read what is taken along from cluster %s: %w", e.With, err)
		}
		var had []v1beta1.ObjectAnnotation
		if left != nil {
			had = left.GetSpec().FailoverState
		}
		out[cluster] = state.Take(policy.State, works, had)
	}
	return out, nil
}

// exchangesIn are the exchanges that a decision begins, by the cluster that replaces another one. What was recorded
// before is none of them.
func exchangesIn(bindings []v1beta1.BindingObject, d schedule.Decision) map[string]*failover.Exchange {
	out := map[string]*failover.Exchange{}
	for _, picked := range d.Create {
		if e := d.Replaces[picked.ClusterName]; e != nil {
			out[picked.ClusterName] = e
		}
	}
	for _, b := range bindings {
		i := slices.IndexFunc(d.Change, func(c schedule.Change) bool { return c.Binding == b.GetName() })
		if i < 0 {
			continue
		}
		c := d.Change[i]
		begins := c.State != v1beta1.BindingStateUnscheduled && !c.TakenBack && c.Replaces != nil
		if begins && !equality.Semantic.DeepEqual(c.Replaces, failover.Replaces(b)) {
			out[b.GetSpec().TargetCluster] = c.Replaces
		}
	}
	return out
}

// leftBinding is the placement's binding to the cluster that is left; nil if there is none. One that is being deleted
// counts only if there is no other.
func leftBinding(placement v1beta1.PlacementObject, bindings []v1beta1.BindingObject, cluster string) (found v1beta1.BindingObject) {
	for _, b := range scope.OnlyOf(placement, slices.Clone(bindings)) {
		if b.GetSpec().TargetCluster == cluster && (found == nil || b.GetDeletionTimestamp().IsZero()) {
			found = b
		}
	}
	return found
}

// worksOf are the Works that the dispatcher made for a binding. Any member could create one that claims that. A Work
// that cannot be decoded has no statuses; then they are missing.
func (s *Scheduler) worksOf(ctx context.Context, binding v1beta1.BindingObject) ([]*v1beta1.Work, error) {
	if binding == nil {
		return nil, nil
	}
	order, ok := work.OrderOf(binding, nil)
	if !ok {
		return nil, nil
	}
	var list v1beta1.WorkList
	opts := append([]client.ListOption{client.InNamespace(contract.MemberNamespace(order.Cluster))}, scope.Fast(scope.OfBinding(order.Binding))...)
	if err := s.Client.List(lenient.StandIns(ctx), &list, opts...); err != nil {
		return nil, fmt.Errorf("list works of %s: %w", order.Binding, err)
	}
	var out []*v1beta1.Work
	for i := range list.Items {
		if order.Made(&list.Items[i]) {
			out = append(out, &list.Items[i])
		}
	}
	return out, nil
}

// into writes what is taken along to the cluster of a binding into its spec, which is written with the exchange. What
// an earlier exchange took along stays otherwise.
func (t takings) into(spec *v1beta1.ResourceBindingSpec) {
	if taken, ok := t[spec.TargetCluster]; ok {
		spec.FailoverState = taken.Values
	}
}

// recordMissing records, after the exchange is written, what was not taken along to a cluster.
func (s *Scheduler) recordMissing(placement v1beta1.PlacementObject, t takings, cluster string) {
	if taken := t[cluster]; len(taken.Missing) > 0 {
		s.Recorder.Event(placement, corev1.EventTypeWarning, eventStateMissing, fmt.Sprintf(
			"%d values of policy.failover.state were taken along to cluster %s. Missing: %s", len(taken.Values), cluster, taken.WhatMisses(namedMissing)))
	}
}
