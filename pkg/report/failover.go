package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// failover is the condition about clusters that the placement left or has to leave. A placement without a failover
// policy has it only while another cluster replaces one that has a taint, so that nothing else adds a condition which
// tools do not know. A cluster that cannot be replaced is in its condition Scheduled, which is False; with strategy
// External it is only here.
func (p *placementReport) failover() *metav1.Condition {
	policy := failover.PolicyOf(p.Placement)
	if !failover.Leaves(p.Placement) {
		return nil
	}
	kind := p.Placement.ConditionType(v1beta1.ConditionFailoverComplete)
	stuck, pending, done := p.leftClusters(policy)
	var c metav1.Condition
	held := p.held()
	if held != nil {
		stuck = append([]string{held.Message}, stuck...)
	}
	switch all := slices.Concat(stuck, pending, done); {
	case held != nil:
		c = no(p.generation, kind, held.Reason, brief.List(all, mostNamed))
	case len(stuck) > 0:
		c = no(p.generation, kind, v1beta1.ReasonNoReplacement, brief.List(all, mostNamed))
	case len(pending) > 0:
		c = no(p.generation, kind, v1beta1.ReasonReplacementPending, brief.List(all, mostNamed))
	case len(done) > 0:
		c = yes(p.generation, kind, v1beta1.ReasonClustersReplaced, brief.List(all, mostNamed))
	case policy == nil:
		return nil
	default:
		c = yes(p.generation, kind, v1beta1.ReasonNoClusterReplaced, "No cluster of the placement is replaced")
	}
	return &c
}

// held is what the scheduler reports about clusters that have to be left and that count as picked; nil if there are
// none.
func (p *placementReport) held() *metav1.Condition {
	if p.Policy == nil {
		return nil
	}
	c := delivery.Current(p.Policy.GetStatus().Conditions, v1beta1.ConditionFailoverComplete, p.Policy.GetGeneration())
	if c == nil || c.Status != metav1.ConditionFalse {
		return nil
	}
	return c
}

// leftClusters describes the clusters that have to be left and cannot be, and those that were left, by whether what
// replaces them is available. Each list is in the order of clusters. Without a failover policy (nil) these are only
// clusters that were left because of a taint or for a better one.
func (p *placementReport) leftClusters(policy *v1beta1.Failover) (stuck, pending, done []string) {
	if p.Policy != nil && policy != nil {
		for _, d := range p.Policy.GetStatus().ClusterDecisions {
			if b := p.bindings[d.ClusterName]; !d.Selected && b != nil && b.GetSpec().State != v1beta1.BindingStateUnscheduled {
				stuck = append(stuck, strings.TrimSuffix(d.Reason, "."))
			}
		}
	}
	for _, b := range p.Bindings {
		e := failover.ReplacedBy(b)
		if e == nil || !b.GetDeletionTimestamp().IsZero() || b.GetSpec().State != v1beta1.BindingStateUnscheduled ||
			policy == nil && e.Reason != failover.Tainted && e.Reason != failover.Rebalance {
			continue
		}
		text := fmt.Sprintf("cluster %s (%s since %s) is replaced by %s, which is ", b.GetSpec().TargetCluster, e.Reason,
			e.Since.UTC().Format(time.RFC3339), e.With)
		if by := p.bindings[e.With]; by != nil && delivery.StatusOf(by).Is(v1beta1.ConditionAvailable, metav1.ConditionTrue) {
			done = append(done, text+"available; "+whatHappens(policy, e.Reason))
		} else {
			pending = append(pending, text+"not available yet")
		}
	}
	slices.Sort(pending)
	slices.Sort(done)
	return stuck, pending, done
}

// whatHappens describes what happens to the objects on a cluster that was left.
func whatHappens(policy *v1beta1.Failover, reason failover.Reason) string {
	switch {
	case reason == failover.Tainted || reason.Chosen():
		return "its objects are removed as long as, or once, it is heard"
	case policy.Purge == v1beta1.FailoverPurgeNever:
		return "once it is heard, its objects are left there without an owner"
	default:
		return "its objects may still run until it is heard, and are removed then"
	}
}
