package evict

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

func placement(policy *v1beta1.PlacementPolicy) v1beta1.PlacementObject {
	return &v1beta1.ClusterResourcePlacement{Spec: v1beta1.PlacementSpec{Policy: policy}}
}

func pickN(n int) *v1beta1.PlacementPolicy {
	return &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: ptr.To(int32(n))}
}

func picking(kind v1beta1.PlacementType) *v1beta1.PlacementPolicy {
	return &v1beta1.PlacementPolicy{PlacementType: kind}
}

// binding is a Bound and available binding.
func binding(cluster string, with ...func(*v1beta1.ClusterResourceBinding)) v1beta1.BindingObject {
	b := &v1beta1.ClusterResourceBinding{ObjectMeta: metav1.ObjectMeta{Name: "b-" + cluster, UID: types.UID(cluster), Generation: 3}}
	b.Spec.TargetCluster, b.Spec.State = cluster, v1beta1.BindingStateBound
	condition(v1beta1.ConditionAvailable, metav1.ConditionTrue, v1beta1.ReasonAllWorkAreAvailable)(b)
	for _, w := range with {
		w(b)
	}
	return b
}

func condition(kind string, status metav1.ConditionStatus, reason string) func(*v1beta1.ClusterResourceBinding) {
	return func(b *v1beta1.ClusterResourceBinding) {
		b.Status.Conditions = append(b.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, ObservedGeneration: b.Generation})
	}
}

func silent(b *v1beta1.ClusterResourceBinding)   { b.Status.Conditions = nil }
func outdated(b *v1beta1.ClusterResourceBinding) { b.Generation++ }
func gone(b *v1beta1.ClusterResourceBinding) {
	b.DeletionTimestamp = ptr.To(metav1.NewTime(time.Unix(1, 0)))
}
func scheduled(b *v1beta1.ClusterResourceBinding) { b.Spec.State = v1beta1.BindingStateScheduled }
func given(b *v1beta1.ClusterResourceBinding)     { b.Spec.ResourceSnapshotName = "r1" }
func givenUp(was v1beta1.BindingState) func(*v1beta1.ClusterResourceBinding) {
	return func(b *v1beta1.ClusterResourceBinding) {
		b.Spec.State = v1beta1.BindingStateUnscheduled
		b.Annotations = map[string]string{contract.AnnotationPreviousState: string(was)}
	}
}

func replacedBy(cluster string) func(*v1beta1.ClusterResourceBinding) {
	return func(b *v1beta1.ClusterResourceBinding) {
		givenUp(v1beta1.BindingStateBound)(b)
		b.Annotations[contract.AnnotationReplacedBy] = failover.Exchange{With: cluster, Reason: failover.Lost}.String()
	}
}

func limit(maxUnavailable, minAvailable string) *v1beta1.PlacementDisruptionBudgetSpec {
	value := func(text string) *intstr.IntOrString {
		if text == "" {
			return nil
		}
		return ptr.To(intstr.Parse(text))
	}
	return &v1beta1.PlacementDisruptionBudgetSpec{MaxUnavailable: value(maxUnavailable), MinAvailable: value(minAvailable)}
}

// contract:208 contract:209 contract:210 contract:211 contract:212 contract:213 contract:214 contract:215
func TestDecide(t *testing.T) {
	three := []v1beta1.BindingObject{binding("c1"), binding("c2"), binding("c3")}
	const byBudget = " by specified ClusterResourcePlacementDisruptionBudget, availablePlacements: "
	type want struct {
		valid, executed bool
		message         string
		evicts          bool
	}
	refused := func(message string) want { return want{message: message} }
	blocked := func(message string) want { return want{valid: true, message: "Eviction is blocked" + message} }
	allowed := func(message string) want {
		return want{valid: true, executed: true, evicts: true, message: "Eviction is allowed" + message}
	}
	const misconfigured = " by misconfigured ClusterResourcePlacementDisruptionBudget, either MaxUnavailable is specified or MinAvailable is specified as a percentage for PickAll ClusterResourcePlacement"
	for name, tc := range map[string]struct {
		facts Facts
		want  want
	}{
		"no placement": {Facts{}, refused("Failed to find ClusterResourcePlacement targeted by eviction")},
		"a placement that goes": {
			Facts{Placement: func() v1beta1.PlacementObject {
				p := placement(nil)
				p.SetDeletionTimestamp(ptr.To(metav1.NewTime(time.Unix(1, 0))))
				return p
			}()}, refused("Found deleting ClusterResourcePlacement targeted by eviction"),
		},
		"PickFixed": {
			Facts{Placement: placement(picking(v1beta1.PlacementTypePickFixed)), Bindings: three},
			refused("Found ClusterResourcePlacement with PickFixed placement type targeted by eviction"),
		},
		"two bindings": {
			Facts{Placement: placement(nil), Bindings: append([]v1beta1.BindingObject{binding("c1", gone)}, three...)},
			refused("Found more than one scheduler decision for placement in cluster targeted by eviction"),
		},
		"no binding": {
			Facts{Placement: placement(nil), Bindings: three[1:]}, refused("Failed to find scheduler decision for placement in cluster targeted by eviction"),
		},
		"going already": {
			Facts{Placement: placement(nil), Bindings: []v1beta1.BindingObject{binding("c1", gone)}, Budget: limit("0", "")},
			want{valid: true, executed: true, message: "Eviction is allowed, resources propagated by placement is currently being removed from cluster targeted by eviction"},
		},
		"not placed yet": {
			Facts{Placement: placement(nil), Bindings: []v1beta1.BindingObject{binding("c1", scheduled)}},
			blocked(", placement has not propagated resources to target cluster yet"),
		},
		"given up before it was placed": {
			Facts{Placement: placement(nil), Bindings: []v1beta1.BindingObject{binding("c1", givenUp(v1beta1.BindingStateScheduled))}},
			blocked(", placement has not propagated resources to target cluster yet"),
		},
		"given up, and nothing is noted about what it was before": {
			Facts{Placement: placement(nil), Bindings: []v1beta1.BindingObject{binding("c1", givenUp(""), given)}},
			blocked(", placement has not propagated resources to target cluster yet"),
		},
		"given up after it was placed": {
			Facts{Placement: placement(nil), Bindings: []v1beta1.BindingObject{binding("c1", givenUp(v1beta1.BindingStateBound))}},
			allowed(", no ClusterResourcePlacementDisruptionBudget specified"),
		},
		"failed, whatever the budget": {
			Facts{Placement: placement(pickN(3)), Budget: limit("0", ""), Bindings: []v1beta1.BindingObject{
				binding("c1", silent, condition(v1beta1.ConditionApplied, metav1.ConditionFalse, v1beta1.ReasonNotAllWorkHaveBeenApplied)), three[1], three[2]}},
			allowed(", placement has failed"),
		},
		"overrides failed": {
			Facts{Placement: placement(nil), Budget: limit("", "3"), Bindings: []v1beta1.BindingObject{
				binding("c1", silent, condition(v1beta1.ConditionOverridden, metav1.ConditionFalse, v1beta1.ReasonOverriddenFailed))}},
			allowed(", placement has failed"),
		},
		"failed before the last change": {
			Facts{Placement: placement(nil), Budget: limit("", "3"), Bindings: []v1beta1.BindingObject{
				binding("c1", silent, condition(v1beta1.ConditionApplied, metav1.ConditionFalse, v1beta1.ReasonNotAllWorkHaveBeenApplied), outdated)}},
			blocked(byBudget + "0, totalPlacements: 1"),
		},
		"waiting has not failed": {
			Facts{Placement: placement(nil), Budget: limit("", "3"), Bindings: []v1beta1.BindingObject{
				binding("c1", silent, condition(v1beta1.ConditionApplied, metav1.ConditionFalse, v1beta1.ReasonApplyPending))}},
			blocked(byBudget + "0, totalPlacements: 1"),
		},
		"differences alone are reported": {
			Facts{Placement: placement(nil), Budget: limit("", "3"), Bindings: []v1beta1.BindingObject{
				binding("c1", silent, condition(v1beta1.ConditionDiffReported, metav1.ConditionFalse, v1beta1.ReasonNotAllWorkHaveDiffReported))}},
			allowed(", placement has failed"),
		},
		"no budget":                         {Facts{Placement: placement(nil), Bindings: three}, allowed(", no ClusterResourcePlacementDisruptionBudget specified")},
		"PickAll with maxUnavailable":       {Facts{Placement: placement(nil), Bindings: three, Budget: limit("1", "")}, blocked(misconfigured)},
		"PickAll with a share of minimum":   {Facts{Placement: placement(picking(v1beta1.PlacementTypePickAll)), Bindings: three, Budget: limit("", "10%")}, blocked(misconfigured)},
		"PickAll with all needed":           {Facts{Placement: placement(nil), Bindings: three, Budget: limit("", "3")}, blocked(byBudget + "3, totalPlacements: 3")},
		"PickAll with one to spare":         {Facts{Placement: placement(nil), Bindings: three, Budget: limit("", "2")}, allowed(byBudget + "3, totalPlacements: 3")},
		"none may be unavailable":           {Facts{Placement: placement(pickN(3)), Bindings: three, Budget: limit("0", "")}, blocked(byBudget + "3, totalPlacements: 3")},
		"one may be unavailable":            {Facts{Placement: placement(pickN(3)), Bindings: three, Budget: limit("1", "")}, allowed(byBudget + "3, totalPlacements: 3")},
		"a third, rounded up":               {Facts{Placement: placement(pickN(3)), Bindings: three, Budget: limit("33%", "")}, allowed(byBudget + "3, totalPlacements: 3")},
		"no share":                          {Facts{Placement: placement(pickN(3)), Bindings: three, Budget: limit("0%", "")}, blocked(byBudget + "3, totalPlacements: 3")},
		"two thirds must stay, rounded up":  {Facts{Placement: placement(pickN(3)), Bindings: three, Budget: limit("", "66%")}, allowed(byBudget + "3, totalPlacements: 3")},
		"all must stay":                     {Facts{Placement: placement(pickN(3)), Bindings: three, Budget: limit("", "100%")}, blocked(byBudget + "3, totalPlacements: 3")},
		"a budget without a limit blocks":   {Facts{Placement: placement(pickN(3)), Bindings: three, Budget: limit("", "")}, blocked(byBudget + "3, totalPlacements: 3")},
		"one is unavailable already":        {Facts{Placement: placement(pickN(3)), Bindings: []v1beta1.BindingObject{three[0], three[1], binding("c3", silent)}, Budget: limit("1", "")}, blocked(byBudget + "2, totalPlacements: 3")},
		"one is on its way out":             {Facts{Placement: placement(pickN(3)), Bindings: []v1beta1.BindingObject{three[0], three[1], binding("c3", gone)}, Budget: limit("1", "")}, blocked(byBudget + "2, totalPlacements: 3")},
		"one is missing altogether":         {Facts{Placement: placement(pickN(3)), Bindings: three[:2], Budget: limit("1", "")}, blocked(byBudget + "2, totalPlacements: 2")},
		"another eviction has taken it":     {Facts{Placement: placement(pickN(3)), Bindings: three, Budget: limit("1", ""), Spent: map[types.UID]bool{"c2": true}}, blocked(byBudget + "2, totalPlacements: 3")},
		"this eviction has taken it before": {Facts{Placement: placement(pickN(3)), Bindings: three, Budget: limit("1", ""), Spent: map[types.UID]bool{"c1": true}}, allowed(byBudget + "3, totalPlacements: 3")},
		"a replaced cluster is not available, whatever its last report": {
			Facts{Placement: placement(pickN(3)), Budget: limit("", "2"), Bindings: []v1beta1.BindingObject{
				three[0], three[1], binding("c3", replacedBy("c4")), binding("c4", silent)}},
			blocked(byBudget + "2, totalPlacements: 3"),
		},
		"nor with a share": {
			Facts{Placement: placement(pickN(3)), Budget: limit("33%", ""), Bindings: []v1beta1.BindingObject{
				three[0], three[1], binding("c3", replacedBy("c4")), binding("c4", silent)}},
			blocked(byBudget + "2, totalPlacements: 3"),
		},
		"its replacement counts in its place": {
			Facts{Placement: placement(pickN(3)), Budget: limit("1", ""), Bindings: []v1beta1.BindingObject{
				three[0], three[1], binding("c3", replacedBy("c4")), binding("c4")}},
			allowed(byBudget + "3, totalPlacements: 3"),
		},
		"a replaced cluster without a living replacement is missing": {
			Facts{Placement: placement(pickN(3)), Budget: limit("1", ""), Bindings: []v1beta1.BindingObject{
				three[0], three[1], binding("c3", replacedBy("c4"))}},
			blocked(byBudget + "2, totalPlacements: 2"),
		},
		"one that was restored counts": {
			Facts{Placement: placement(pickN(3)), Budget: limit("", "2"), Bindings: []v1beta1.BindingObject{
				three[0], three[1], binding("c3", replacedBy("c4"), func(b *v1beta1.ClusterResourceBinding) { b.Spec.State = v1beta1.BindingStateBound })}},
			allowed(byBudget + "3, totalPlacements: 3"),
		},
		"one that was given up and is not replaced counts": {
			Facts{Placement: placement(pickN(2)), Budget: limit("", "2"), Bindings: []v1beta1.BindingObject{
				three[0], three[1], binding("c3", givenUp(v1beta1.BindingStateBound))}},
			allowed(byBudget + "3, totalPlacements: 3"),
		},
		"one that was given up and is not heard does not count": {
			Facts{Placement: placement(pickN(2)), Budget: limit("", "2"), Unheard: map[string]bool{"c3": true}, Bindings: []v1beta1.BindingObject{
				three[0], three[1], binding("c3", givenUp(v1beta1.BindingStateBound))}},
			blocked(byBudget + "2, totalPlacements: 2"),
		},
		"one that is not heard and wanted counts by its last report": {
			Facts{Placement: placement(pickN(3)), Budget: limit("", "2"), Unheard: map[string]bool{"c3": true}, Bindings: three},
			allowed(byBudget + "3, totalPlacements: 3"),
		},
		"an exchange that cannot be read is none": {
			Facts{Placement: placement(pickN(2)), Budget: limit("", "2"), Bindings: []v1beta1.BindingObject{
				three[0], three[1], binding("c3", replacedBy(""))}},
			allowed(byBudget + "3, totalPlacements: 3"),
		},
		"a replaced cluster itself": {
			Facts{Placement: placement(pickN(3)), Budget: limit("1", ""), Bindings: []v1beta1.BindingObject{
				binding("c1", replacedBy("c4")), three[1], three[2], binding("c4")}},
			allowed(byBudget + "3, totalPlacements: 3"),
		},
		"of a namespaced placement": {
			Facts{Placement: placement(pickN(3)), Bindings: three, Budget: limit("1", ""), Namespaced: true},
			allowed(" by specified ResourcePlacementDisruptionBudget, availablePlacements: 3, totalPlacements: 3"),
		},
		"no namespaced placement": {Facts{Namespaced: true}, refused("Failed to find ResourcePlacement targeted by eviction")},
	} {
		t.Run(name, func(t *testing.T) {
			tc.facts.Cluster = "c1"
			got := Decide(tc.facts)
			if (want{got.Valid, got.Executed, got.Message, got.Evict != nil}) != tc.want {
				t.Errorf("got %+v\nwant %+v", got, tc.want)
			}
			if got.Evict != nil && got.Evict.GetSpec().TargetCluster != "c1" {
				t.Errorf("evicts %s", got.Evict.GetName())
			}
		})
	}
}

// world is a PickN placement on a fleet whose clusters are tainted as soon as they are evicted from, so that nothing
// returns; two evictors serve it, each with a view from some time ago.
type world struct {
	desired  int
	bindings []v1beta1.BindingObject
	budget   *v1beta1.PlacementDisruptionBudgetSpec
	// spending is the annotation of the budget, and version counts the writes to it.
	spending string
	version  int
}

// view is the state that one evictor has read, in the order in which it reads.
type view struct {
	version  int
	spending string
	bindings []v1beta1.BindingObject
	target   string
	decided  *Outcome
	spent    bool
}

// However two evictors interleave their steps, the budget is respected at every moment.
func TestTheBudgetHolds(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "clusters")
		w := &world{desired: n}
		for i := range n {
			var with []func(*v1beta1.ClusterResourceBinding)
			if rapid.IntRange(0, 4).Draw(t, "state") == 0 {
				with = append(with, silent)
			}
			w.bindings = append(w.bindings, binding(fmt.Sprintf("c%d", i), with...))
		}
		amount := rapid.SampledFrom([]string{"0", "1", "2", "20%", "50%"}).Draw(t, "amount")
		if rapid.Bool().Draw(t, "max") {
			w.budget = limit(amount, "")
		} else {
			w.budget = limit("", amount)
		}
		least := w.least()
		started := w.available()
		views := make([]view, 2)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			w.step(t, &views[rapid.IntRange(0, 1).Draw(t, "who")], now)
			if rapid.IntRange(0, 3).Draw(t, "gone") == 0 {
				w.finish()
			}
			if got := w.available(); got < least && got < started {
				t.Fatalf("%d of %d available; at least %d must be", got, n, least)
			}
		}
	})
}

// step is one read or write of an evictor.
func (w *world) step(t *rapid.T, v *view, now time.Time) {
	switch {
	case v.target == "":
		v.target = fmt.Sprintf("c%d", rapid.IntRange(0, w.desired-1).Draw(t, "target"))
		v.version, v.spending = w.version, w.spending
	case v.bindings == nil:
		v.bindings = append([]v1beta1.BindingObject{}, w.bindings...)
		for i := range v.bindings {
			v.bindings[i] = v.bindings[i].DeepCopyObject().(v1beta1.BindingObject)
		}
	case v.decided == nil:
		outcome := Decide(Facts{Cluster: v.target, Placement: placement(pickN(w.desired)), Bindings: v.bindings, Budget: w.budget,
			Spent: ReadSpending(v.spending).Current(now)})
		v.decided = &outcome
		if outcome.Evict == nil {
			*v = view{}
		}
	case v.decided.Spends && !v.spent:
		if v.version != w.version {
			*v = view{} // a conflict
			return
		}
		there := map[types.UID]bool{}
		for _, b := range v.bindings {
			there[b.GetUID()] = b.GetDeletionTimestamp().IsZero()
		}
		next := Spent{Binding: v.decided.Evict.GetUID(), Cluster: v.target, Since: now}
		text, err := ReadSpending(v.spending).With(next, there, now)
		if err != nil {
			t.Fatal(err)
		}
		w.spending, v.spent = text, true
		w.version++
	default:
		for _, b := range w.bindings {
			if b.GetUID() == v.decided.Evict.GetUID() {
				b.SetDeletionTimestamp(ptr.To(metav1.NewTime(now)))
			}
		}
		*v = view{}
	}
}

// finish removes a binding that is being deleted.
func (w *world) finish() {
	for i, b := range w.bindings {
		if !b.GetDeletionTimestamp().IsZero() {
			w.bindings = append(w.bindings[:i], w.bindings[i+1:]...)
			return
		}
	}
}

func (w *world) available() int {
	return Facts{Bindings: w.bindings}.count(binding("none")).available
}

// least is the number of clusters that must stay available.
func (w *world) least() int {
	scaled := func(v *intstr.IntOrString) int {
		n, err := intstr.GetScaledValueFromIntOrPercent(v, w.desired, true)
		if err != nil {
			panic(err)
		}
		return n
	}
	if w.budget.MaxUnavailable != nil {
		return w.desired - scaled(w.budget.MaxUnavailable)
	}
	return scaled(w.budget.MinAvailable)
}

func TestSpending(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	entry := func(uid string, age time.Duration) Spent {
		return Spent{Binding: types.UID(uid), Cluster: uid, Since: now.Add(-age)}
	}
	s := Spending{entry("old", 2*time.Minute), entry("gone", time.Second), entry("going", time.Second), entry("again", time.Second)}
	text, err := s.With(entry("again", 0), map[types.UID]bool{"old": true, "going": true, "again": true}, now)
	if err != nil {
		t.Fatal(err)
	}
	got := ReadSpending(text)
	if len(got) != 2 || got[0].Binding != "going" || got[1].Binding != "again" || !got[1].Since.Equal(now) {
		t.Errorf("got %+v", got)
	}
	// An entry that was added a second earlier has expired.
	if current := got.Current(now.Add(59 * time.Second)); !current["again"] || current["going"] {
		t.Errorf("current are %v", current)
	}
	for _, spoilt := range []string{"", "spoilt", "{}"} {
		if got := ReadSpending(spoilt); len(got) > 0 {
			t.Errorf("%q reads as %v", spoilt, got)
		}
	}
}
