package schedule

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// evicting has an evicting taint, first seen so long before noon.
func evicting(c *clusterv1beta1.MemberCluster, ago time.Duration) *clusterv1beta1.MemberCluster {
	c.Spec.Taints = []clusterv1beta1.Taint{{Key: "leave", Value: "now", Effect: corev1.TaintEffectNoSchedule, Evict: true}}
	c.Status.Taints = []clusterv1beta1.SeenTaint{{Key: "leave", Value: "now", Since: metav1.NewTime(noon.Add(-ago))}}
	return c
}

func untainted(c *clusterv1beta1.MemberCluster) {
	c.Spec.Taints, c.Status.Taints = nil, nil
}

// enduring makes p tolerate the taint that evicting adds; without seconds for ever.
func enduring(p *v1beta1.PlacementPolicy, seconds ...int64) *v1beta1.PlacementPolicy {
	t := v1beta1.Toleration{Key: "leave", Operator: corev1.TolerationOpExists}
	if len(seconds) > 0 {
		t.TolerationSeconds = ptr.To(seconds[0])
	}
	p.Tolerations = append(p.Tolerations, t)
	return p
}

// taintFleet is pairFleet without a failover policy.
func taintFleet(t *testing.T, number int, names ...string) *world {
	w := pairFleet(t, number, names...)
	w.failover = nil
	return w
}

// F16: nothing for as long as the taint is tolerated; then the replacement first.
func TestF16ATaintedClusterIsReplaced(t *testing.T) {
	w := taintFleet(t, 3, "a", "b", "c", "d")
	enduring(w.policy, 600)
	evicting(w.clusters["c"], 0)
	if d := w.decide(); d.Again != 10*time.Minute || !d.Waiting || !d.Fulfilled() {
		t.Errorf("decides again in %s, waiting %v, found %d; want 10m", d.Again, d.Waiting, d.Found)
	}
	w.is("a b c", "")
	evicting(w.clusters["c"], 599*time.Second)
	if d := w.decide(); d.Again != time.Second {
		t.Errorf("decides again in %s; want 1s", d.Again)
	}
	w.is("a b c", "")
	evicting(w.clusters["c"], 600*time.Second)
	d := w.decide()
	w.is("a b d", "c>d")
	if !d.Fulfilled() || len(d.Left) != 1 || d.Left[0].Cluster != "c" || d.Left[0].With != "d" || d.Left[0].Reason != failover.Tainted ||
		!d.Left[0].Since.Time.Equal(noon.Add(-10*time.Minute)) {
		t.Errorf("found %d of %d, left %+v", d.Found, d.Wanted, d.Left)
	}
	if e := w.bindingTo("d").Replaces; e == nil || e.With != "c" || e.Reason != failover.Tainted {
		t.Errorf("the binding to d replaces %+v", e)
	}
	if b := w.bindingTo("c"); b.Previous != v1beta1.BindingStateBound {
		t.Errorf("binding to c: %+v", b)
	}
	w.available("d")
	w.decide()
	w.is("a b d", "c>d") // the roller removes it now
	w.purge("c")
	w.decide()
	w.is("a b d", "")
}

func TestWhichTaintsMakeAPlacementLeave(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*world)
		parked string
	}{
		"one that is not tolerated": {change: func(w *world) { evicting(w.clusters["c"], 0) }, parked: "c>d"},
		"one that is tolerated for no time": {
			change: func(w *world) { enduring(w.policy, -1); evicting(w.clusters["c"], 0) }, parked: "c>d",
		},
		"one that is tolerated for ever": {change: func(w *world) { enduring(w.policy); evicting(w.clusters["c"], time.Hour) }},
		"one that is not recorded yet":   {change: func(w *world) { evicting(w.clusters["c"], 0).Status.Taints = nil }},
		"one that does not evict": {change: func(w *world) {
			evicting(w.clusters["c"], time.Hour).Spec.Taints[0].Evict = false
		}},
		"of a cluster that is not heard": {change: func(w *world) { evicting(overdue(w.clusters["c"]), time.Hour) }},
		"of a lost one, without a policy": {
			change: func(w *world) { evicting(lostFor(w.clusters["c"], time.Hour), time.Hour) },
		},
		"of a lost one, with a policy": {
			change: func(w *world) {
				w.failover = &v1beta1.Failover{After: metav1.Duration{Duration: 5 * time.Minute}}
				evicting(lostFor(w.clusters["c"], time.Hour), time.Hour)
			},
			parked: "c>d",
		},
		"while the hub is braked": {
			change: func(w *world) {
				w.failover = &v1beta1.Failover{After: metav1.Duration{Duration: 5 * time.Minute}}
				lostFor(w.clusters["a"], 6*time.Minute).Status.Silence.State = clusterv1beta1.SilenceBraked
				evicting(w.clusters["c"], 0)
			},
			parked: "c>d",
		},
		"of a cluster that leaves":      {change: func(w *world) { evicting(w.clusters["c"], 0).DeletionTimestamp = &metav1.Time{Time: noon} }},
		"with strategy External":        {change: func(w *world) { w.external = true; evicting(w.clusters["c"], 0) }, parked: "c>d"},
		"while an update run is active": {change: func(w *world) { w.external, w.run = true, "r"; evicting(w.clusters["c"], 0) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := taintFleet(t, 3, "a", "b", "c", "d")
			tc.change(w)
			w.decide()
			living := "a b c"
			if tc.parked != "" {
				living = "a b d"
			}
			w.is(living, tc.parked)
		})
	}
}

// Other placement types have no replacement, so they stay.
func TestOnlyPickNLeavesATaintedCluster(t *testing.T) {
	for name, policy := range map[string]*v1beta1.PlacementPolicy{
		"no policy": nil, "PickAll": all(), "PickAll, for a time": enduring(all(), 1), "PickFixed": fixed("m1", "m2"),
	} {
		w := newWorld(t, "")
		w.use(policy)
		w.decide()
		before := w.bound()
		evicting(w.clusters["m1"], time.Hour)
		if d := w.decide(); w.bound() != before || d.Again != 0 || d.Waiting || !d.Fulfilled() {
			t.Errorf("%s: %s; was %s", name, w.bound(), before)
		}
	}
}

// An evicting taint keeps placements off. One that is tolerated for a time does, too, if the placement would leave.
func TestATaintedClusterIsNotPicked(t *testing.T) {
	for name, tc := range map[string]struct {
		policy *v1beta1.PlacementPolicy
		// why is the objection to m1; empty if it is picked.
		why string
	}{
		"PickAll":             {policy: all(), why: "its taint leave=now:NoSchedule,evict is not tolerated"},
		"PickAll, tolerated":  {policy: enduring(all())},
		"PickAll, for a time": {policy: enduring(all(), 60)},
		"PickFixed":           {policy: fixed("m1")},
		"PickN":               {policy: number(), why: "its taint leave=now:NoSchedule,evict is not tolerated"},
		"PickN, tolerated":    {policy: enduring(number())},
		"PickN, for a time":   {policy: enduring(number(), 3600), why: "its taint leave=now:NoSchedule,evict is tolerated for 3600 s only"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			w.use(tc.policy)
			w.number = 7
			evicting(w.clusters["m1"], 0)
			v, _ := w.decide().Of("m1")
			if v.Outcome.Selected() != (tc.why == "") {
				t.Fatalf("m1 is %s", v.Outcome)
			}
			if tc.why != "" && (v.Objection.Filter != FilterTaints || v.Objection.Reason() != tc.why) {
				t.Errorf("objection %s; want %s", v.Objection, tc.why)
			}
		})
	}
}

func TestATaintedClusterWithoutAReplacementStays(t *testing.T) {
	for name, other := range map[string]func(*world){
		"there is none":           func(*world) {},
		"it is tainted too":       func(w *world) { w.join(evicting(heard(member("d", "", "")), 0)) },
		"it is cordoned":          func(w *world) { w.join(tainted(heard(member("d", "east", "prod")))) },
		"it is silent":            func(w *world) { w.join(silenced(member("d", "", ""))) },
		"it is tolerated no less": func(w *world) { enduring(w.policy, 60); w.join(evicting(heard(member("d", "", "")), 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := taintFleet(t, 3, "a", "b", "c")
			other(w)
			evicting(w.clusters["c"], time.Hour)
			d := w.decide()
			w.is("a b c", "")
			if d.Found != 2 || d.Wanted != 3 || !d.Waiting {
				t.Errorf("found %d of %d, waiting %v; want 2 of 3", d.Found, d.Wanted, d.Waiting)
			}
			const want = `cluster "c" must be replaced (it has the taint leave=now:NoSchedule,evict since 2026-01-01T11:00:00Z), and no other cluster can: its objects stay as they are. `
			if entry := d.Clusters[2]; entry.Selected || entry.ClusterName != "c" || !strings.HasPrefix(entry.Reason, want) {
				t.Errorf("reported: %+v", entry)
			}
			untainted(w.clusters["c"])
			if d := w.decide(); !d.Fulfilled() {
				t.Errorf("found %d when the taint is gone", d.Found)
			}
			w.is("a b c", "")
		})
	}
}

// As F4: the taint goes before the replacement is available.
func TestF16ATaintedClusterIsTakenBack(t *testing.T) {
	for name, tc := range map[string]struct {
		then           func(*world)
		living, parked string
	}{
		"the taint goes":                      {func(w *world) { untainted(w.clusters["c"]) }, "a b c", "d>"},
		"it is tolerated now":                 {func(w *world) { w.policy.Tolerations[0].TolerationSeconds = nil }, "a b c", "d>"},
		"it is tolerated longer":              {func(w *world) { *w.policy.Tolerations[0].TolerationSeconds = 3600 }, "a b d", "c>d"},
		"it evicts no longer":                 {func(w *world) { w.clusters["c"].Spec.Taints[0].Evict = false }, "a b c", "d>"},
		"another one comes":                   {func(w *world) { w.clusters["c"].Spec.Taints[0].Key = "other" }, "a b d", "c>d"},
		"the taint goes too late":             {func(w *world) { w.available("d"); untainted(w.clusters["c"]) }, "a b d", "c>d"},
		"the taint goes, and it falls silent": {func(w *world) { untainted(silenced(w.clusters["c"])) }, "a b d", "c>d"},
		"the taint goes, and what is there too": {
			func(w *world) {
				w.failover = &v1beta1.Failover{After: metav1.Duration{Duration: time.Minute}, Purge: v1beta1.FailoverPurgeImmediate}
				untainted(w.clusters["c"])
			}, "a b d", "c>d",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := taintFleet(t, 3, "a", "b", "c", "d")
			enduring(w.policy, 600)
			evicting(w.clusters["c"], 10*time.Minute)
			w.decide()
			w.is("a b d", "c>d")
			tc.then(w)
			w.decide()
			w.is(tc.living, tc.parked)
			if b := w.bindingTo("c"); tc.parked == "d>" && (b.State != v1beta1.BindingStateBound || b.ReplacedBy != nil) {
				t.Errorf("binding to c: %+v", b)
			}
		})
	}
}

func TestTwoTaintedClustersAndOneReplacement(t *testing.T) {
	w := taintFleet(t, 3, "a", "b", "c", "d")
	evicting(w.clusters["a"], time.Minute)
	evicting(w.clusters["c"], time.Hour) // first
	d := w.decide()
	w.is("a b d", "c>d")
	if d.Found != 2 {
		t.Errorf("found %d; want 2", d.Found)
	}
	w.join(heard(member("e", "", "")))
	w.decide()
	w.is("b d e", "a>e c>d")
}

func TestAnInterruptedExchangeBecauseOfATaint(t *testing.T) {
	for name, tc := range map[string]struct {
		then           func(*world)
		living, parked string
	}{
		"c is still tainted":  {func(*world) {}, "a b d", "c>d"},
		"the taint has gone":  {func(w *world) { untainted(w.clusters["c"]) }, "a b c", "d>"},
		"d is available then": {func(w *world) { w.available("d"); untainted(w.clusters["c"]) }, "a b c", "d>"},
	} {
		t.Run(name, func(t *testing.T) {
			w := taintFleet(t, 3, "a", "b", "c", "d")
			evicting(w.clusters["c"], 0)
			d := Decide(w.request())
			d.Change = nil // the agent ended after the first write
			w.apply(d)
			w.is("a b c d", "")
			tc.then(w)
			w.decide()
			w.is(tc.living, tc.parked)
		})
	}
}

func TestFewerClustersWhileOneIsTainted(t *testing.T) {
	w := taintFleet(t, 3, "a", "b", "c", "d")
	enduring(w.policy, 600)
	evicting(w.clusters["c"], 0)
	w.number = 2
	w.decide()
	w.is("a b", "c>")
}

// A policy edit picks anew. A cluster that is tolerated for a time stays until then.
func TestAnEditWhileAClusterIsTainted(t *testing.T) {
	for name, tc := range map[string]struct {
		ago            time.Duration
		living, parked string
	}{
		"the time has not passed": {time.Minute, "a b c", ""},
		"the time has passed":     {10 * time.Minute, "a b d", "c>"},
	} {
		t.Run(name, func(t *testing.T) {
			w := taintFleet(t, 3, "a", "b", "c")
			enduring(w.policy, 600)
			evicting(w.clusters["c"], tc.ago)
			w.decide()
			w.is("a b c", "")
			w.use(tolerating(enduring(number(), 600), "east", "prod"))
			w.join(heard(member("d", "", "")))
			w.clusters["d"].Labels["region"] = "none"
			w.policy = prefer(w.policy, 10, labelled("region!=none"))
			w.decide()
			w.is(tc.living, tc.parked)
		})
	}
}

func TestFailbackWaitsForTheEndOfTheTaint(t *testing.T) {
	w := pairFleet(t, 2, "a", "b", "c")
	w.failover.Failback = v1beta1.FailbackWhenHealthy
	evicting(w.clusters["b"], 0)
	w.decide()
	w.available("c")
	w.purge("b")
	if d := w.decide(); !d.Waiting {
		t.Error("does not wait for the end of the taint")
	}
	w.is("a c", "")
	enduring(w.policy, 600)
	w.decide()
	w.is("a c", "") // it would leave again
	untainted(w.clusters["b"])
	w.decide()
	w.is("a b", "c>b")
}

func TestAnotherClusterTakesOverFromTheReplacementOfATaintedOne(t *testing.T) {
	w := taintFleet(t, 1, "a", "b", "c")
	evicting(w.clusters["a"], 0)
	w.decide()
	w.is("c", "a>c")
	w.purge("c") // evicted
	delete(w.clusters, "c")
	if d := w.decide(); d.Again != time.Second {
		t.Errorf("decides again in %s; want 1s", d.Again)
	}
	w.is("b", "a>b")
	untainted(w.clusters["a"])
	w.decide()
	w.is("a", "b>")
}

func TestTaintsAreExplained(t *testing.T) {
	w := taintFleet(t, 3, "a", "b", "c", "d")
	enduring(w.policy, 600)
	evicting(w.clusters["c"], time.Minute)
	w.decide()
	if got, want := w.notes("c"), "kept until 2026-01-01T12:09:00Z, when another cluster replaces it (TaintToleration: its taint leave=now:NoSchedule,evict is tolerated for 600 s only)"; got != want {
		t.Errorf("notes on c: %s\nwant %s", got, want)
	}
	evicting(w.clusters["c"], time.Hour)
	w.decide()
	if got, want := w.notes("c"), `cluster "d" replaces it (Tainted since 2026-01-01T11:00:00Z); what binding b003-c placed stays until the other cluster is available`; got != want {
		t.Errorf("notes on c: %s\nwant %s", got, want)
	}
	v, _ := Decide(w.request()).Of("c")
	if v.Outcome != Refused || v.Objection.Filter != FilterTaints {
		t.Errorf("c is %s: %v", v.Outcome, v.Objection)
	}
}

// The seconds of tolerations are the placement's, the tolerations those of the snapshot.
func TestRequestHasTheSecondsOfThePlacement(t *testing.T) {
	toleration := func(key string, seconds *int64) v1beta1.Toleration {
		return v1beta1.Toleration{Key: key, Operator: corev1.TolerationOpEqual, TolerationSeconds: seconds}
	}
	placement := &v1beta1.ClusterResourcePlacement{}
	placement.Spec.Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, Tolerations: []v1beta1.Toleration{
		toleration("a", nil), toleration("b", ptr.To(int64(600))), {Key: "c", TolerationSeconds: ptr.To(int64(0))}, toleration("new", ptr.To(int64(1))),
	}}
	snapshot := &v1beta1.ClusterSchedulingPolicySnapshot{}
	snapshot.Annotations = map[string]string{contract.AnnotationNumberOfClusters: "1"}
	snapshot.Spec.Policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, Tolerations: []v1beta1.Toleration{
		toleration("a", nil), toleration("b", nil), toleration("c", nil), toleration("old", nil),
	}}
	r, err := RequestOf(placement, snapshot, nil, nil, noon)
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, t := range r.Policy.Tolerations {
		got = append(got, ptr.Deref(t.TolerationSeconds, -1))
	}
	if len(got) != 4 || got[0] != -1 || got[1] != 600 || got[2] != 0 || got[3] != -1 || r.External {
		t.Errorf("seconds %v, external %v", got, r.External)
	}
	if snapshot.Spec.Policy.Tolerations[1].TolerationSeconds != nil {
		t.Error("the snapshot was changed")
	}
	placement.Spec.Strategy.Type = v1beta1.RolloutStrategyTypeExternal
	if r, err := RequestOf(placement, snapshot, nil, nil, noon); err != nil || !r.External {
		t.Errorf("the strategy is not External: %v", err)
	}
}

// What is on a cluster that is not heard would stay if the placement took it up again, but the taint makes it leave.
func TestATaintedClusterThatIsNotHeardIsNotTakenUpAgain(t *testing.T) {
	w := taintFleet(t, 2, "a", "b")
	enduring(w.policy, 600)
	w.number = 1
	w.decide()
	w.is("b", "a>")
	evicting(overdue(w.clusters["a"]), 0)
	w.number = 2
	w.decide()
	w.is("b", "a>")
	untainted(w.clusters["a"])
	w.decide()
	w.is("a b", "")
}

func TestAFailbackDoesNotReturnToATaintedCluster(t *testing.T) {
	w := pairFleet(t, 2, "a", "b", "c")
	enduring(w.policy, 600)
	w.failover.Failback = v1beta1.FailbackWhenHealthy
	lostFor(w.clusters["b"], 6*time.Minute)
	w.decide()
	w.available("c")
	w.purge("b")
	back(w.clusters["b"], 10*time.Minute)
	w.decide()
	w.is("a b", "c>b")
	lostFor(w.clusters["b"], 6*time.Minute)
	evicting(w.clusters["c"], 0)
	w.decide()
	w.is("a b", "c>b")
	untainted(w.clusters["c"])
	w.decide()
	w.is("a c", "b>")
}

// A taint elsewhere changes nothing for a placement without a failover policy: it picks a cluster that flaps.
func TestATaintElsewhereDoesNotMatter(t *testing.T) {
	w := taintFleet(t, 1, "b", "a", "x")
	w.join(back(lostFor(member("z", "", ""), time.Hour), time.Minute))
	evicting(w.clusters["x"], time.Hour)
	w.number = 2
	if d := w.decide(); d.Again != 0 || d.Waiting {
		t.Errorf("decides again in %s, waiting %v", d.Again, d.Waiting)
	}
	w.is("b z", "")
}
