package schedule

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

const (
	// mostSteps, mostTries and mostNearest limit the search: the number of steps of one change, the number of trials,
	// and the number of returned changes of the same length.
	mostSteps   = 6
	mostTries   = 48
	mostNearest = 3
)

// Step is one change that a user can make.
type Step struct {
	// On is the object to change, like "policy" or "MemberCluster east-1".
	On string `json:"object"`
	Do string `json:"change"`
}

// NearestChange are steps that together reverse the verdict on a cluster.
type NearestChange []Step

// NearestChanges finds the changes with the fewest steps that reverse the verdict on cluster: that make it picked, or,
// if it is picked, that remove it. It tries each change, and returns it only if the same decision, with the changed
// fleet, the changed policy and the current bindings, has the opposite result. The result is empty if it finds no
// change within its limits. "kubectl fleet explain" shows it.
func NearestChanges(r Request, cluster string) []NearestChange {
	verdict, ok := Decide(r).Of(cluster)
	if !ok {
		return nil
	}
	if verdict.Outcome.Selected() {
		return losses(r, verdict)
	}
	return gains(r, verdict)
}

// trial is a request with some changes.
type trial struct {
	Request
	cluster string
	steps   []Step
	edited  bool
}

// outcome decides with the changes of the trial, and reports whether the cluster is then selected, or not, as wanted.
func (t trial) outcome(selected bool) (Verdict, bool) {
	d := Decide(t.Request)
	v, _ := d.Of(t.cluster)
	return v, !d.Hold && v.Outcome.Selected() == selected
}

// gains repairs the first objection to the cluster, decides again, and continues with the next objection, the shortest
// changes first.
func gains(r Request, verdict Verdict) (found []NearestChange) {
	queue := (trial{Request: r, cluster: verdict.Cluster}).repairs(verdict)
	for tries := 0; len(queue) > 0 && tries < mostTries && len(found) < mostNearest; tries++ {
		slices.SortStableFunc(queue, func(a, b trial) int { return cmp.Compare(len(a.steps), len(b.steps)) })
		next := queue[0]
		queue = queue[1:]
		if len(found) > 0 && len(next.steps) > len(found[0]) {
			break
		}
		v, ok := next.outcome(true)
		if ok {
			found = append(found, next.steps)
		} else if len(next.steps) < mostSteps {
			queue = append(queue, next.repairs(v)...)
		}
	}
	return found
}

// with returns t with one more step.
func (t trial) with(on, do string) trial {
	t.steps = append(slices.Clone(t.steps), Step{On: on, Do: do})
	return t
}

// member returns t with a step that changes the cluster.
func (t trial) member(do string, change func(*clusterv1beta1.MemberCluster)) trial {
	t = t.with("MemberCluster "+t.cluster, do)
	t.Clusters = slices.Clone(t.Clusters)
	for i, c := range t.Clusters {
		if c.Name == t.cluster {
			t.Clusters[i] = c.DeepCopy()
			change(t.Clusters[i])
		}
	}
	return t
}

// policy returns t with a step that edits the policy, which creates another snapshot for which all clusters are picked
// anew.
func (t trial) policy(do string, change func(*v1beta1.PlacementPolicy)) trial {
	t = t.with("policy", do)
	t.Policy = t.Policy.DeepCopy()
	if t.Policy == nil {
		t.Policy = &v1beta1.PlacementPolicy{}
	}
	change(t.Policy)
	if !t.edited {
		t.Snapshot, t.edited = t.Snapshot+"'", true
	}
	return t
}

// number returns t with another desired number of clusters, which does not create another snapshot.
func (t trial) number(n int) trial {
	t = t.with("policy", fmt.Sprintf("set numberOfClusters to %d (it is %d)", n, t.Number))
	t.Number = n
	return t
}

func (t trial) find() *clusterv1beta1.MemberCluster {
	for _, c := range t.Clusters {
		if c.Name == t.cluster {
			return c
		}
	}
	return nil
}

// repairs returns the trials in which the objection to the cluster is resolved, one for each way to do it. v is the
// verdict on it in t.
func (t trial) repairs(v Verdict) []trial {
	if v.Outcome == Outranked {
		return t.promote()
	}
	if v.Objection == nil {
		return nil
	}
	return filtersOf(t.Policy, t.Namespace).find(v.Objection.Filter).repairs(t, v.Objection.cause)
}

// promote increases the number of clusters until the cluster is picked.
func (t trial) promote() []trial {
	r := t.Request
	r.Number = len(r.Clusters)
	run := newRun(r)
	run.decide()
	at := slices.IndexFunc(run.order, func(d v1beta1.ClusterDecision) bool { return d.ClusterName == t.cluster })
	if at < 0 {
		return nil
	}
	return []trial{t.number(len(run.kept) + at + 1)}
}

// setLabel and labelStep are a repair and its description.
func setLabel(key, value string) func(*clusterv1beta1.MemberCluster) {
	return func(c *clusterv1beta1.MemberCluster) { metav1.SetMetaDataLabel(&c.ObjectMeta, key, value) }
}

func labelStep(cluster *clusterv1beta1.MemberCluster, key, value string) string {
	if old, ok := cluster.Labels[key]; ok {
		return fmt.Sprintf("set label %s=%s (it is %s)", key, value, old)
	}
	return fmt.Sprintf("set label %s=%s", key, value)
}

// losses returns the changes that remove a picked cluster.
func losses(r Request, v Verdict) (found []NearestChange) {
	for _, t := range (trial{Request: r, cluster: v.Cluster}).harms(v) {
		if _, ok := t.outcome(false); ok && (len(found) == 0 || len(t.steps) <= len(found[0])) {
			found = append(found, t.steps)
		}
	}
	return found
}

// harms returns trials in which the cluster may not be picked, the smallest changes first.
func (t trial) harms(v Verdict) (out []trial) {
	if v.Outcome == Kept && v.Objection != nil {
		out = append(out, t.policy("edit it in any way: the scheduler then picks all clusters anew", func(*v1beta1.PlacementPolicy) {}))
	}
	if t.Policy != nil && t.Policy.PlacementType == v1beta1.PlacementTypePickN {
		if n := t.rank(v); n >= 0 {
			out = append(out, t.number(n))
		}
	}
	for _, f := range filtersOf(t.Policy, t.Namespace) {
		for _, excluded := range f.exclusions(t) {
			out = append(out, excluded.evict(v))
		}
	}
	return out
}

// rank returns the number of clusters that rank before the cluster when fewer are desired; -1 if unknown.
func (t trial) rank(v Verdict) int {
	run := newRun(t.Request)
	kept := run.worstFirst()
	if at := slices.IndexFunc(kept, func(b Binding) bool { return b.Cluster == v.Cluster }); at >= 0 {
		return len(kept) - at - 1
	}
	run.decide()
	at := slices.IndexFunc(run.order, func(d v1beta1.ClusterDecision) bool { return d.ClusterName == v.Cluster })
	if at < 0 {
		return -1
	}
	return len(kept) + at
}

// evict deletes the binding of the cluster if the scheduler keeps it although a filter excludes the cluster.
func (t trial) evict(v Verdict) trial {
	if v.Outcome != Kept {
		return t
	}
	at := slices.IndexFunc(t.Bindings, func(b Binding) bool { return b.Cluster == v.Cluster && b.Snapshot == t.Snapshot && !b.Deleting })
	if at < 0 {
		return t
	}
	how := "ClusterResourcePlacementEviction"
	if t.Namespace != "" {
		how = "ResourcePlacementEviction"
	}
	t = t.with("binding "+t.Bindings[at].Name, "evict it with a "+how)
	t.Bindings = slices.DeleteFunc(slices.Clone(t.Bindings), func(b Binding) bool { return b.Cluster == v.Cluster })
	return t
}
