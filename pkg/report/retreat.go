package report

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/rollout"
)

// TakenBack says on a binding of generation what becomes of it, which a rolling update has changed that spent its failure budget. to is the
// resource snapshot that the cluster last ran healthily, empty if there is none.
func TakenBack(generation int64, fate rollout.Fate, to string) metav1.Condition {
	kind := v1beta1.ConditionRolledBack
	switch fate.What {
	case rollout.Waiting:
		why := "; waits until maxUnavailable of the placement's rollout strategy lets the cluster change"
		if fate.Cause == string(rollout.ForAgent) {
			why = "; waits until the cluster's member agent reports again"
		}
		return unknown(generation, kind, v1beta1.ReasonRollbackStarted, "To be taken back to "+to+why)
	case rollout.Returning:
		return unknown(generation, kind, v1beta1.ReasonRollbackStarted, "On the way back to "+to)
	case rollout.Returned:
		return yes(generation, kind, v1beta1.ReasonRollbackSucceeded, "Back at "+to+", and healthy")
	case rollout.NeverHealthy:
		return no(generation, kind, v1beta1.ReasonNeverHealthy,
			"The cluster has never been healthy with the placement before, so there is nothing to take it back to; it is left as it is")
	case rollout.Lost:
		return no(generation, kind, v1beta1.ReasonRollbackFailed, "The cluster is left as it is: "+quoted(fate.Cause))
	}
	return no(generation, kind, v1beta1.ReasonRollbackFailed, "Back at "+to+", but "+quoted(fate.Cause))
}

// retreat says on a placement with a failure policy that its rollout has spent the budget, and what becomes of the clusters that it has
// changed; nothing otherwise.
func (p *placementReport) retreat() []metav1.Condition {
	rolling := p.spec.Strategy.RollingUpdate
	if p.Course.Spent == nil || p.external() || rolling == nil || rolling.FailurePolicy == nil {
		return nil
	}
	text := p.Course.Spent.String(p.Latest.Index)
	end := "; clusters that have it keep it"
	rollback := rollout.TakesBack(rolling.FailurePolicy, p.spec.Strategy.ApplyStrategy)
	if rollback {
		end = "; clusters that it has changed are taken back"
	}
	out := []metav1.Condition{no(p.generation, p.Placement.ConditionType(v1beta1.ConditionWithinFailureBudget), v1beta1.ReasonFailureBudgetSpent,
		text+". No further cluster gets it"+end+". Change what is placed, or try again with: "+p.resume())}
	if rollback {
		out = append(out, p.rolledBack())
	}
	return out
}

// resume is the command that has the revision tried again.
func (p *placementReport) resume() string {
	command := "kubectl fleet rollout resume " + p.Placement.GetName()
	if namespace := p.Placement.GetNamespace(); namespace != "" {
		command += " -n " + namespace
	}
	return command
}

// rolledBack sums up what becomes of the clusters that the rollout has changed.
func (p *placementReport) rolledBack() metav1.Condition {
	var busy, back, astray, never []string
	for cluster, b := range p.bindings {
		facts := rollout.BindingOf(b)
		if !rollout.Affected(facts, p.Latest.Name, p.Course) {
			continue
		}
		switch c := facts.Current(v1beta1.ConditionRolledBack); {
		case c == nil || c.Status == metav1.ConditionUnknown:
			busy = append(busy, cluster)
		case c.Status == metav1.ConditionTrue:
			back = append(back, cluster)
		case c.Reason == v1beta1.ReasonNeverHealthy:
			never = append(never, cluster)
		default:
			astray = append(astray, cluster)
		}
	}
	all := len(busy) + len(back) + len(astray) + len(never)
	kind, text := p.Placement.ConditionType(v1beta1.ConditionRolledBack), ofClusters("Back at what was last healthy:", len(back), all)
	for _, list := range []struct {
		what  string
		names []string
	}{{"on the way", busy}, {"not back", astray}, {"left because never healthy", never}} {
		if slices.Sort(list.names); len(list.names) > 0 {
			text += "; " + list.what + ": " + few(list.names)
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

// turned says whether there is news of a rollout that failed, or that nothing is said of it any more.
func (p *placementReport) turned(conditions []metav1.Condition) bool {
	for _, name := range []string{v1beta1.ConditionWithinFailureBudget, v1beta1.ConditionRolledBack} {
		kind := p.Placement.ConditionType(name)
		was, is := meta.FindStatusCondition(p.old.Conditions, kind), meta.FindStatusCondition(conditions, kind)
		if (was == nil) != (is == nil) || was != nil && (was.Status != is.Status || was.Reason != is.Reason) {
			return true
		}
	}
	return false
}
