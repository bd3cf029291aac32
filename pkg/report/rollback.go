package report

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/rollout"
)

// RolledBack is the condition about a rollback: on a binding that a rolling update changed, on a cluster of an update
// run, or on a run.
func RolledBack(generation int64, fate delivery.Fate) metav1.Condition {
	kind, message := v1beta1.ConditionRolledBack, quoted(fate.Message)
	switch fate.State {
	case delivery.Waiting, delivery.Returning:
		return unknown(generation, kind, v1beta1.ReasonRollbackStarted, message)
	case delivery.Returned:
		return yes(generation, kind, v1beta1.ReasonRollbackSucceeded, message)
	case delivery.NeverHealthy:
		return no(generation, kind, v1beta1.ReasonNeverHealthy, message)
	}
	return no(generation, kind, v1beta1.ReasonRollbackFailed, message)
}

// rejection is the conditions of a placement whose rolling update has spent its failure budget; none if there is no
// failure policy.
func (p *placementReport) rejection() []metav1.Condition {
	rolling := p.spec.Strategy.RollingUpdate
	if p.Course.Spent == nil || p.external() || rolling == nil {
		return nil
	}
	policy := delivery.FailurePolicyOf(rolling.FailurePolicy, p.spec.Strategy.ApplyStrategy)
	if policy == nil {
		return nil
	}
	kept := "clusters that have it keep it"
	if policy.Rollback {
		kept = "clusters that it changed are rolled back"
	}
	out := []metav1.Condition{no(p.generation, p.Placement.ConditionType(v1beta1.ConditionWithinFailureBudget), v1beta1.ReasonFailureBudgetSpent,
		p.Course.Spent.Message(p.Latest.Index)+". No other cluster gets it; "+kept+". Change the resources, or try again with: "+p.resume())}
	if policy.Rollback {
		out = append(out, p.rolledBack())
	}
	return out
}

// resume is the command that tries the revision again.
func (p *placementReport) resume() string {
	command := "kubectl fleet rollout resume " + p.Placement.GetName()
	if namespace := p.Placement.GetNamespace(); namespace != "" {
		command += " -n " + namespace
	}
	return command
}

// rolledBack sums up the rollback of the clusters that the rejected rollout changed.
func (p *placementReport) rolledBack() metav1.Condition {
	var busy, back, astray, never []string
	for cluster, b := range p.bindings {
		facts := rollout.BindingOf(b)
		if !rollout.Affected(facts, p.Latest.Name, p.Course) {
			continue
		}
		var current []metav1.Condition
		if c := facts.Current(v1beta1.ConditionRolledBack); c != nil {
			current = append(current, *c)
		}
		switch fate, _ := delivery.FateOf(current); fate.State {
		case delivery.Returned:
			back = append(back, cluster)
		case delivery.NeverHealthy:
			never = append(never, cluster)
		case delivery.Astray:
			astray = append(astray, cluster)
		default:
			busy = append(busy, cluster)
		}
	}
	all := len(busy) + len(back) + len(astray) + len(never)
	kind, text := p.Placement.ConditionType(v1beta1.ConditionRolledBack), ofClusters("Rolled back to the last healthy revision:", len(back), all)
	for _, list := range []struct {
		what  string
		names []string
	}{{"rolling back", busy}, {"not rolled back", astray}, {"never healthy", never}} {
		if slices.Sort(list.names); len(list.names) > 0 {
			text += "; " + list.what + ": " + brief.List(list.names, mostNamed)
		}
	}
	switch {
	case len(busy) > 0:
		return unknown(p.generation, kind, v1beta1.ReasonRollbackStarted, text)
	case len(astray)+len(never) > 0:
		return no(p.generation, kind, v1beta1.ReasonRollbackFailed, text+"; see the condition RolledBack of their bindings")
	}
	return yes(p.generation, kind, v1beta1.ReasonRollbackSucceeded, text)
}

// troubleChanged returns whether the conditions about a spent failure budget or a failover change their status or
// reason, come or go.
func (p *placementReport) troubleChanged(conditions []metav1.Condition) bool {
	for _, name := range []string{v1beta1.ConditionWithinFailureBudget, v1beta1.ConditionRolledBack, v1beta1.ConditionFailoverComplete} {
		kind := p.Placement.ConditionType(name)
		was, is := meta.FindStatusCondition(p.old.Conditions, kind), meta.FindStatusCondition(conditions, kind)
		if (was == nil) != (is == nil) || was != nil && (was.Status != is.Status || was.Reason != is.Reason) {
			return true
		}
	}
	return false
}
