package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/schedule/property"
)

const (
	// mostSteps, mostTries and mostNearest bound the search: how many steps make up one change, how many worlds are tried, and how many
	// changes of the same length are returned.
	mostSteps   = 6
	mostTries   = 48
	mostNearest = 3
	// mostTerms is how many of the required terms are tried.
	mostTerms = 8
)

// Step is one change that a person can make.
type Step struct {
	// On is what to change, like "policy" or "MemberCluster east-1".
	On string `json:"object"`
	Do string `json:"change"`
}

// NearestChange are steps that, all taken, turn the verdict on a cluster round.
type NearestChange []Step

// NearestChanges finds the changes, of the fewest steps, that would turn the verdict on cluster round: those that would have it chosen,
// or, if it is, those that would have it given up. Each of them was tried: it is returned only because the same decision, made about
// the changed fleet, the changed policy and the bindings as they are, comes out the other way. The result is empty if nothing near was
// found. "kubectl fleet explain" shows it.
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

// trial is a world with some things changed.
type trial struct {
	Request
	cluster string
	steps   []Step
	edited  bool
}

// outcome decides in the world of the trial, and reports whether the cluster is then selected, or not, as wanted.
func (t trial) outcome(selected bool) (Verdict, bool) {
	d := Decide(t.Request)
	v, _ := d.Of(t.cluster)
	return v, !d.Hold && v.Outcome.Selected() == selected
}

// gains repairs what the first filter objects to, decides again, and goes on with what the next one objects to, the shortest ways first.
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

// with is t with one step more.
func (t trial) with(on, do string) trial {
	t.steps = append(slices.Clone(t.steps), Step{On: on, Do: do})
	return t
}

// member is t with a step that changes the cluster.
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

// policy is t with a step that edits the policy, which makes a snapshot of it for which every cluster is chosen anew.
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

// number is t with another number of clusters wanted, which makes no new snapshot.
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

// repairs are the worlds in which what v objects to is put right, one for each way to do it.
func (t trial) repairs(v Verdict) []trial {
	if v.Outcome == Outranked {
		return t.promote()
	}
	if v.Objection == nil {
		return nil
	}
	var (
		mismatch *unmatched
		state    *ineligible
		taint    *untolerated
		crowd    *crowded
	)
	switch cause := v.Objection.cause; {
	case errors.As(cause, &mismatch):
		return t.match()
	case errors.As(cause, &state):
		return t.revive(state.why)
	case errors.As(cause, &taint):
		return t.tolerate(*taint.taint)
	case errors.As(cause, &crowd):
		return t.uncrowd(crowd)
	case v.Objection.Filter == FilterNamespace:
		return []trial{t.member(fmt.Sprintf("create namespace %s on the cluster", t.Namespace), func(c *clusterv1beta1.MemberCluster) {
			if c.Status.Namespaces == nil {
				c.Status.Namespaces = map[string]string{}
			}
			c.Status.Namespaces[t.Namespace] = ""
		})}
	case errors.Is(cause, unknown):
		return []trial{t.join()}
	case errors.Is(cause, unnamed):
		return []trial{t.policy("add "+t.cluster+" to clusterNames", func(p *v1beta1.PlacementPolicy) {
			p.ClusterNames = append(p.ClusterNames, t.cluster)
		})}
	}
	return nil
}

// promote raises the number of clusters until the cluster's turn comes.
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

// match makes the cluster match each of the required terms.
func (t trial) match() (out []trial) {
	terms := requiredTerms(t.Policy)
	for _, selector := range terms[:min(len(terms), mostTerms)] {
		if matched, ok := t.matchTerm(compileTerm(selector)); ok {
			out = append(out, matched)
		}
	}
	return out
}

func (t trial) matchTerm(want term) (trial, bool) {
	if want.wrong != nil {
		return t, false
	}
	for _, requirement := range want.labels {
		var ok bool
		if t, ok = t.label(requirement); !ok {
			return t, false
		}
	}
	for i := range want.properties {
		requirement := &want.properties[i]
		cluster := t.find()
		err := requirement.Check(cluster)
		if err == nil {
			continue
		}
		value, ok := requirement.Nearest()
		if !ok {
			return t, false
		}
		settable := true
		t = t.member(propertyStep(cluster, requirement, value), func(c *clusterv1beta1.MemberCluster) {
			settable = property.Set(c, requirement.Name(), value)
		})
		if !settable {
			return t, false
		}
	}
	return t, true
}

// label makes the cluster's labels meet a requirement. The label with the cluster's own name is not for users to change.
func (t trial) label(want labels.Requirement) (trial, bool) {
	cluster, key := t.find(), want.Key()
	if want.Matches(labels.Set(cluster.Labels)) {
		return t, true
	}
	if key == contract.LabelMemberName {
		return t, false
	}
	switch want.Operator() {
	case selection.NotIn, selection.NotEquals, selection.DoesNotExist:
		return t.member(fmt.Sprintf("remove label %s=%s", key, cluster.Labels[key]), func(c *clusterv1beta1.MemberCluster) {
			delete(c.Labels, key)
		}), true
	case selection.Exists:
		return t.member(fmt.Sprintf("set label %s, to anything", key), setLabel(key, "")), true
	case selection.In, selection.Equals, selection.DoubleEquals:
		value := slices.Min(want.ValuesUnsorted())
		return t.member(labelStep(cluster, key, value), setLabel(key, value)), true
	}
	return t, false
}

func setLabel(key, value string) func(*clusterv1beta1.MemberCluster) {
	return func(c *clusterv1beta1.MemberCluster) { metav1.SetMetaDataLabel(&c.ObjectMeta, key, value) }
}

func labelStep(cluster *clusterv1beta1.MemberCluster, key, value string) string {
	if old, ok := cluster.Labels[key]; ok {
		return fmt.Sprintf("set label %s=%s (it is %s)", key, value, old)
	}
	return fmt.Sprintf("set label %s=%s", key, value)
}

// propertyStep says what the cluster must report, and how far it is from that.
func propertyStep(cluster *clusterv1beta1.MemberCluster, want *property.Requirement, value resource.Quantity) string {
	what := fmt.Sprintf("report property %s of %s", want.Name(), want.Want())
	is, err := property.Value(cluster, want.Name())
	if err != nil {
		return what
	}
	missing := value.DeepCopy()
	missing.Sub(is)
	if missing.Sign() > 0 {
		return fmt.Sprintf("%s: %s more than now", what, missing.String())
	}
	missing.Neg()
	return fmt.Sprintf("%s: %s less than now", what, missing.String())
}

// revive brings the cluster into the state that it lacks.
func (t trial) revive(why string) []trial {
	cluster := t.find()
	agent := memberAgent(cluster)
	fresh := metav1.NewTime(t.Now)
	switch why {
	case offline:
		return []trial{t.member("have its member agent report: heartbeat, joined, healthy", func(c *clusterv1beta1.MemberCluster) {
			c.Status.AgentStatus = append(c.Status.AgentStatus, wellAgent(fresh))
		})}
	case silent:
		do := fmt.Sprintf("have its member agent send a fresh heartbeat (the last was %s ago)", ago(t.Now, agent.LastReceivedHeartbeat))
		return []trial{t.member(do, func(c *clusterv1beta1.MemberCluster) { memberAgent(c).LastReceivedHeartbeat = fresh })}
	case unjoined:
		return []trial{t.member("have its member agent join", func(c *clusterv1beta1.MemberCluster) {
			meta.SetStatusCondition(&memberAgent(c).Conditions, well(clusterv1beta1.ConditionJoined, fresh))
		})}
	case unexamined, unhealthy:
		return []trial{t.member("have its member agent report it healthy", func(c *clusterv1beta1.MemberCluster) {
			meta.SetStatusCondition(&memberAgent(c).Conditions, well(clusterv1beta1.ConditionHealthy, fresh))
		})}
	}
	return nil // it leaves, and does not come back as what it was
}

func wellAgent(now metav1.Time) clusterv1beta1.AgentStatus {
	return clusterv1beta1.AgentStatus{
		Type:                  clusterv1beta1.AgentTypeMemberAgent,
		Conditions:            []metav1.Condition{well(clusterv1beta1.ConditionJoined, now), well(clusterv1beta1.ConditionHealthy, now)},
		LastReceivedHeartbeat: now,
	}
}

func well(kind string, now metav1.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, LastTransitionTime: now}
}

// join adds the cluster to the fleet.
func (t trial) join() trial {
	t = t.with("fleet", "join a cluster by the name "+t.cluster)
	c := &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: t.cluster}}
	c.Status.AgentStatus = []clusterv1beta1.AgentStatus{wellAgent(metav1.NewTime(t.Now))}
	t.Clusters = append(slices.Clone(t.Clusters), c)
	return t
}

func (t trial) tolerate(taint clusterv1beta1.Taint) []trial {
	return []trial{
		t.member("remove taint "+taintText(taint), func(c *clusterv1beta1.MemberCluster) {
			c.Spec.Taints = slices.DeleteFunc(c.Spec.Taints, func(other clusterv1beta1.Taint) bool { return other == taint })
		}),
		t.policy("tolerate taint "+taintText(taint), func(p *v1beta1.PlacementPolicy) {
			p.Tolerations = append(p.Tolerations, v1beta1.Toleration{
				Key: taint.Key, Operator: corev1.TolerationOpEqual, Value: taint.Value, Effect: taint.Effect,
			})
		}),
	}
}

// uncrowd moves the cluster to the emptiest other domain, or allows more of a skew.
func (t trial) uncrowd(c *crowded) []trial {
	var out []trial
	other := -1
	for i := range c.names {
		if c.names[i] != c.domain && (other < 0 || c.domains.count[i] < c.domains.count[other]) {
			other = i
		}
	}
	if other >= 0 && c.key != contract.LabelMemberName {
		out = append(out, t.member(labelStep(t.find(), c.key, c.names[other]), setLabel(c.key, c.names[other])))
	}
	allow := fmt.Sprintf("set maxSkew of the spread constraint on %s to ", c.key)
	// A skew allowed before was not enough: the new one stands for both.
	t.steps = slices.DeleteFunc(slices.Clone(t.steps), func(s Step) bool { return strings.HasPrefix(s.Do, allow) })
	return append(out, t.policy(fmt.Sprint(allow, c.skew),
		func(p *v1beta1.PlacementPolicy) {
			for i, constraint := range p.TopologySpreadConstraints {
				if constraint.TopologyKey == c.key && constraint.WhenUnsatisfiable != corev1.ScheduleAnyway {
					p.TopologySpreadConstraints[i].MaxSkew = ptr.To(int32(c.skew))
				}
			}
		}))
}

// losses are the ways for a chosen cluster to be given up.
func losses(r Request, v Verdict) (found []NearestChange) {
	for _, t := range (trial{Request: r, cluster: v.Cluster}).harms(v) {
		if _, ok := t.outcome(false); ok && (len(found) == 0 || len(t.steps) <= len(found[0])) {
			found = append(found, t.steps)
		}
	}
	return found
}

// harms are worlds in which the cluster may well not be chosen, the smallest changes first.
func (t trial) harms(v Verdict) (out []trial) {
	kind := v1beta1.PlacementTypePickAll
	if t.Policy != nil {
		kind = t.Policy.PlacementType
	}
	if v.Outcome == Kept && v.Objection != nil {
		out = append(out, t.policy("edit it in any way: all clusters are chosen anew then", func(*v1beta1.PlacementPolicy) {}))
	}
	switch kind {
	case v1beta1.PlacementTypePickFixed:
		return append(out, t.policy("remove "+t.cluster+" from clusterNames", func(p *v1beta1.PlacementPolicy) {
			p.ClusterNames = slices.DeleteFunc(p.ClusterNames, func(name string) bool { return name == t.cluster })
		}))
	case v1beta1.PlacementTypePickN:
		if n := t.rank(v); n >= 0 {
			out = append(out, t.number(n))
		}
	}
	return append(out, t.evict(v))
}

// rank is how many clusters come before the cluster when fewer are wanted, -1 if that cannot be told.
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

// evict keeps the cluster from being chosen again and takes its binding away.
func (t trial) evict(v Verdict) trial {
	taint := clusterv1beta1.Taint{Key: "example.com/keep-off", Value: "true", Effect: corev1.TaintEffectNoSchedule}
	t = t.member("add a taint that the policy does not tolerate", func(c *clusterv1beta1.MemberCluster) {
		c.Spec.Taints = append(c.Spec.Taints, taint)
	})
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
