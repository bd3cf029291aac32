package schedule

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// lostFor was heard last that long before noon, and is judged lost.
func lostFor(c *clusterv1beta1.MemberCluster, silence time.Duration) *clusterv1beta1.MemberCluster {
	since := metav1.NewTime(noon.Add(-silence))
	c.Status.AgentStatus[0].LastReceivedHeartbeat = since
	c.Status.Silence = &clusterv1beta1.ClusterSilence{Since: since, State: clusterv1beta1.SilenceLost, StateSince: metav1.NewTime(noon.Add(3*time.Minute - silence))}
	return c
}

// back is heard again for that long.
func back(c *clusterv1beta1.MemberCluster, well time.Duration) *clusterv1beta1.MemberCluster {
	heard(c)
	if c.Status.Silence != nil {
		c.Status.Silence.State, c.Status.Silence.StateSince = clusterv1beta1.SilenceOver, metav1.NewTime(noon.Add(-well))
	}
	return c
}

func sickFor(c *clusterv1beta1.MemberCluster, since time.Duration) *clusterv1beta1.MemberCluster {
	sick(c).Status.AgentStatus[0].Conditions[1].LastTransitionTime = metav1.NewTime(noon.Add(-since))
	return c
}

// pairFleet has a placement of number clusters on the first of names, which are all healthy and bound there.
func pairFleet(t *testing.T, number int, names ...string) *world {
	w := &world{t: t, clusters: map[string]*clusterv1beta1.MemberCluster{}, snapshot: 1, number: number}
	w.policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN}
	for _, name := range names[:number] {
		w.join(heard(member(name, "", "")))
	}
	w.decide()
	w.bind(names[:number]...)
	w.available(names[:number]...)
	for _, name := range names[number:] {
		w.join(heard(member(name, "", "")))
	}
	w.failover = &v1beta1.Failover{After: metav1.Duration{Duration: 5 * time.Minute}}
	return w
}

// available does what the roller and the members do.
func (w *world) available(clusters ...string) {
	w.bind(clusters...)
	for i := range w.bindings {
		if slices.Contains(clusters, w.bindings[i].Cluster) {
			w.bindings[i].Available = true
		}
	}
}

// purge deletes the binding to a cluster, as the roller does.
func (w *world) purge(cluster string) {
	w.bindings = slices.DeleteFunc(w.bindings, func(b Binding) bool { return b.Cluster == cluster })
}

// is checks the living clusters, and what the others are replaced by: "c>d" for c, replaced by d.
func (w *world) is(living, parked string) {
	w.t.Helper()
	if got := strings.Join(w.living(), " "); got != living {
		w.t.Errorf("living %q; want %q", got, living)
	}
	var out []string
	for _, b := range w.bindings {
		if b.State == v1beta1.BindingStateUnscheduled {
			text := b.Cluster + ">"
			if b.ReplacedBy != nil {
				text += b.ReplacedBy.With
			}
			out = append(out, text)
		}
	}
	slices.Sort(out)
	if got := strings.Join(out, " "); got != parked {
		w.t.Errorf("parked %q; want %q", got, parked)
	}
}

func TestF1ALostClusterIsReplaced(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d")
	lostFor(w.clusters["c"], 299*time.Second)
	if d := w.decide(); d.Again <= 0 || d.Again > time.Second {
		t.Errorf("decides again in %s; want within the second that is left", d.Again)
	}
	w.is("a b c", "")
	lostFor(w.clusters["c"], 300*time.Second)
	d := w.decide()
	w.is("a b d", "c>d")
	if !d.Fulfilled() || len(d.Left) != 1 || d.Left[0].Cluster != "c" || d.Left[0].With != "d" || d.Left[0].Reason != failover.Lost {
		t.Errorf("found %d of %d, left %+v", d.Found, d.Wanted, d.Left)
	}
	if e := w.bindingTo("d").Replaces; e == nil || e.With != "c" {
		t.Errorf("the binding to d replaces %+v", e)
	}
	w.available("d")
	back(w.clusters["c"], 0)
	w.decide()
	w.is("a b d", "c>d") // the roller removes it now
}

func TestWithoutAPolicyNothingIsLeft(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d")
	w.failover = nil
	lostFor(w.clusters["c"], time.Hour)
	w.decide()
	w.is("a b c", "")
}

func TestF4ALostClusterThatReturnsEarlyIsKept(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d")
	lostFor(w.clusters["c"], 6*time.Minute)
	w.decide()
	w.bind("d")
	back(w.clusters["c"], 0)
	d := w.decide()
	w.is("a b c", "d>")
	if b := w.bindingTo("c"); b.State != v1beta1.BindingStateBound || b.ReplacedBy != nil || !d.Fulfilled() {
		t.Errorf("binding to c: %+v; found %d", b, d.Found)
	}
}

func TestALostClusterThatReturnsUnhealthyStaysReplaced(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d")
	lostFor(w.clusters["c"], 6*time.Minute)
	w.decide()
	sickFor(back(w.clusters["c"], 0), time.Minute)
	w.decide()
	w.is("a b d", "c>d")
}

func TestF5ALostClusterStaysWithoutAReplacement(t *testing.T) {
	for name, other := range map[string]func(*world){
		"there is none":         func(*world) {},
		"it is lost too":        func(w *world) { w.join(lostFor(member("d", "", ""), time.Hour)) },
		"it was heard long ago": func(w *world) { w.join(overdue(member("d", "", ""))) },
		"it is away":            func(w *world) { w.join(away(heard(member("d", "", "")))) },
		"it is unhealthy":       func(w *world) { w.join(sickFor(heard(member("d", "", "")), time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := pairFleet(t, 3, "a", "b", "c")
			other(w)
			lostFor(w.clusters["c"], 6*time.Minute)
			d := w.decide()
			w.is("a b c", "")
			if d.Found != 2 || d.Wanted != 3 {
				t.Errorf("found %d of %d; want 2 of 3", d.Found, d.Wanted)
			}
			entry := d.Clusters[2]
			if entry.Selected || entry.ClusterName != "c" || !strings.Contains(entry.Reason, `cluster "c"`) || !strings.Contains(entry.Reason, "no other cluster can") {
				t.Errorf("reported: %+v", entry)
			}
			back(w.clusters["c"], 0)
			if d := w.decide(); !d.Fulfilled() {
				t.Errorf("found %d when c is back", d.Found)
			}
			w.is("a b c", "")
		})
	}
}

func away(c *clusterv1beta1.MemberCluster) *clusterv1beta1.MemberCluster {
	c.Annotations = map[string]string{"kubernetes-fleet.io/away": "true"}
	return c
}

func TestAClusterThatIsAwayIsNotReplaced(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d")
	away(lostFor(w.clusters["c"], time.Hour))
	w.decide()
	w.is("a b c", "")
}

func TestF6TheReplacementIsLostToo(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d", "e")
	w.policy.Affinity = nil
	delete(w.clusters, "e")
	lostFor(w.clusters["c"], 20*time.Minute)
	w.decide()
	w.is("a b d", "c>d")
	w.join(heard(member("e", "", "")))
	w.decide()
	w.is("a b d", "c>d") // d only fails
	lostFor(w.clusters["d"], 6*time.Minute)
	w.decide()
	w.is("a b e", "c>e d>e")
	w.available("e")
	back(w.clusters["c"], 0)
	back(w.clusters["d"], 0)
	w.decide()
	w.is("a b e", "c>e d>e")
}

func TestTheFirstReturnsBeforeTheSecondReplacementIsAvailable(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d")
	lostFor(w.clusters["c"], 20*time.Minute)
	w.decide()
	w.join(heard(member("e", "", "")))
	lostFor(w.clusters["d"], 6*time.Minute)
	w.bind("d")
	w.decide()
	w.is("a b e", "c>e d>e")
	back(w.clusters["c"], 0)
	w.decide()
	w.is("a b c", "d>c e>")
}

func TestTheBrakeHoldsEveryFailover(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d", "e")
	for _, name := range []string{"b", "c", "e"} {
		lostFor(w.clusters[name], 6*time.Minute)
	}
	w.decide()
	w.is("a b c", "")
	w.clusters["b"].Status.Silence.State = clusterv1beta1.SilenceReleased
	w.clusters["c"].Status.Silence.State = clusterv1beta1.SilenceBraked
	w.decide()
	w.is("a c d", "b>d") // only what was released
}

func TestAnUnhealthyClusterIsReplaced(t *testing.T) {
	w := pairFleet(t, 2, "a", "b", "c")
	sickFor(w.clusters["b"], 4*time.Minute)
	if d := w.decide(); d.Again != time.Minute {
		t.Errorf("decides again in %s; want 1m", d.Again)
	}
	w.is("a b", "")
	sickFor(w.clusters["b"], 5*time.Minute)
	w.decide()
	w.is("a c", "b>c")
	w.clusters["b"] = heard(member("b", "", ""))
	w.decide()
	w.is("a b", "c>")
}

func TestF11AFlappingClusterIsPickedLast(t *testing.T) {
	w := pairFleet(t, 1, "a", "b", "c")
	w.join(back(lostFor(member("z", "", ""), time.Hour), 29*time.Minute))
	lostFor(w.clusters["a"], 6*time.Minute)
	w.decide()
	w.is("c", "a>c")
	lostFor(w.clusters["c"], 6*time.Minute)
	w.decide()
	w.is("b", "a>b c>b")
	lostFor(w.clusters["b"], 6*time.Minute)
	w.failover.After.Duration = time.Minute
	w.clusters["a"].Status.Silence.StateSince = metav1.NewTime(noon.Add(-time.Hour)) // says nothing about the hub any more
	w.decide()
	w.is("z", "a>z b>z c>z")
}

func TestFailback(t *testing.T) {
	w := pairFleet(t, 2, "a", "b", "c")
	w.failover.Failback = v1beta1.FailbackWhenHealthy
	lostFor(w.clusters["b"], 6*time.Minute)
	w.decide()
	w.available("c")
	back(w.clusters["b"], 0)
	w.decide()
	w.is("a c", "b>c")
	w.purge("b")
	back(w.clusters["b"], 9*time.Minute)
	if d := w.decide(); d.Again != time.Minute {
		t.Errorf("decides again in %s; want 1m", d.Again)
	}
	w.is("a c", "")
	back(w.clusters["b"], 10*time.Minute)
	w.decide()
	w.is("a b", "c>b")
	w.decide()
	w.is("a b", "c>b") // c is heard, and stays until b is available
	lostFor(w.clusters["b"], 6*time.Minute)
	w.decide()
	w.is("a c", "b>")
}

func TestF14AnInterruptedExchangeIsFinished(t *testing.T) {
	for name, tc := range map[string]struct {
		then           func(*world)
		living, parked string
	}{
		"c is still lost":                 {func(*world) {}, "a b d", "c>d"},
		"c is back before d is available": {func(w *world) { back(w.clusters["c"], 0) }, "a b c", "d>"},
	} {
		t.Run(name, func(t *testing.T) {
			w := pairFleet(t, 3, "a", "b", "c", "d")
			lostFor(w.clusters["c"], 6*time.Minute)
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

func TestAnEditWhileAClusterIsReplaced(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d")
	lostFor(w.clusters["c"], 6*time.Minute)
	w.decide()
	w.use(tolerating(number(), "east", "prod"))
	w.decide()
	w.is("a b d", "c>d")
	w.number = 2
	w.available("a", "b")
	w.decide()
	w.is("a b", "c>d d>")
}

func TestFailoverIsExplained(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d")
	lostFor(w.clusters["c"], 6*time.Minute)
	w.decide()
	if got := w.notes("c"); !strings.Contains(got, `cluster "d" replaces it (Lost since 2026-01-01T11:54:00Z)`) {
		t.Errorf("notes on c: %s", got)
	}
	delete(w.clusters, "d")
	lostFor(w.clusters["b"], 6*time.Minute)
	w.number = 2
	w.decide()
	if got := w.notes("b"); !strings.Contains(got, "no other cluster can") {
		t.Errorf("notes on b: %s", got)
	}
}

// notes are those on the account of a cluster.
func (w *world) notes(cluster string) string {
	r := w.request()
	for _, a := range Decide(r).Accounts(r) {
		if a.Cluster == cluster {
			return strings.Join(a.Notes, "; ")
		}
	}
	return ""
}

func TestAnotherClusterTakesOverFromAReplacementThatIsGone(t *testing.T) {
	w := pairFleet(t, 1, "a", "b", "c")
	lostFor(w.clusters["a"], 6*time.Minute)
	w.decide()
	w.is("c", "a>c")
	w.purge("c") // evicted
	delete(w.clusters, "c")
	w.decide()
	w.is("b", "a>b")
	if e := w.bindingTo("b").Replaces; e == nil || e.With != "a" {
		t.Errorf("the binding to b replaces %+v", e)
	}
}

func TestAClusterIsTakenBackOnceAndThenOnlyIfItStays(t *testing.T) {
	w := pairFleet(t, 1, "a", "b")
	lose := func() { lostFor(w.clusters["a"], 6*time.Minute) }
	lose()
	w.decide()
	back(w.clusters["a"], 0)
	w.decide()
	w.is("a", "b>")
	w.purge("b")
	lose()
	w.decide()
	w.is("b", "a>b")
	back(w.clusters["a"], 4*time.Minute)
	if d := w.decide(); d.Again != time.Minute {
		t.Errorf("decides again in %s; want 1m", d.Again)
	}
	w.is("b", "a>b")
	back(w.clusters["a"], 5*time.Minute)
	w.decide()
	w.is("a", "b>")
}

func TestFailbackIsNotForgottenWhileTheBindingGoes(t *testing.T) {
	w := pairFleet(t, 1, "a", "b")
	w.failover.Failback = v1beta1.FailbackWhenHealthy
	lostFor(w.clusters["a"], 6*time.Minute)
	w.decide()
	w.available("b")
	back(w.clusters["a"], 4*time.Minute)
	w.bindingTo("a").Deleting = true
	if d := Decide(w.request()); d.Again != 6*time.Minute || !d.Waiting {
		t.Errorf("decides again in %s, waiting %v; want 6m", d.Again, d.Waiting)
	}
}

func TestAnInterruptedExchangeTakesNoThirdCluster(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d")
	lostFor(w.clusters["c"], 6*time.Minute)
	d := Decide(w.request())
	d.Change = nil
	w.apply(d)
	w.available("d")
	back(w.clusters["c"], 0)
	w.decide()
	w.is("a b c", "d>")
}

func TestALostClusterWaitsForACandidateThatReportsRarely(t *testing.T) {
	w := pairFleet(t, 1, "a", "b")
	w.clusters["b"].Spec.HeartbeatPeriodSeconds = 600
	w.clusters["b"].Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(noon.Add(-9 * time.Minute))
	lostFor(w.clusters["a"], 6*time.Minute)
	d := w.decide()
	w.is("a", "")
	if want := 100 * time.Second; d.Again.Round(time.Second) != want { // its next heartbeat is due 10m40s after the last
		t.Errorf("decides again in %s; want %s", d.Again, want)
	}
}

func TestAClusterThatTheSameDecisionGivesUpReplacesAnother(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c")
	sickFor(w.clusters["b"], 6*time.Minute)
	w.number = 2 // a is the first to go, and the only one that can replace b
	if d := w.decide(); len(d.Create) > 0 {
		t.Errorf("creates %+v; a has a binding", d.Create)
	}
	w.is("a c", "b>a")
}

func TestAnExchangeOfLongAgoIsForgotten(t *testing.T) {
	w := pairFleet(t, 2, "a", "c", "d")
	lostFor(w.clusters["c"], 6*time.Minute)
	w.decide()
	w.is("a d", "c>d")
	w.available("d")
	w.purge("c")
	w.clusters["c"] = heard(member("c", "", ""))
	w.number = 3
	w.decide()
	w.available("c")
	w.decide()
	if e := w.bindingTo("d").Replaces; e != nil {
		t.Errorf("the binding to d still replaces %+v", e)
	}
	overdue(w.clusters["a"])
	w.number = 2
	w.decide()
	w.is("c d", "a>")
}

// The replacement is given up and picked again at once: it replaces no cluster then.
func TestAReplacementThatIsPickedAgainReplacesNone(t *testing.T) {
	w := pairFleet(t, 1, "a", "b")
	lostFor(w.clusters["a"], 6*time.Minute)
	w.decide()
	w.is("b", "a>b")
	back(w.clusters["a"], 0)
	w.number = 2
	w.decide()
	w.is("a b", "")
	if e := w.bindingTo("b").Replaces; e != nil {
		t.Errorf("the binding to b still replaces %+v", e)
	}
}

// What is dropped is reported at once as it will be from then on.
func TestALostClusterThatIsDroppedIsReportedAsLost(t *testing.T) {
	w := pairFleet(t, 2, "a", "b")
	lostFor(w.clusters["b"], 6*time.Minute)
	sickFor(w.clusters["a"], 6*time.Minute)
	w.number = 1
	const want = `Not picked: "b": not eligible: no heartbeat from its member agent since 2026-01-01T11:54:00Z`
	if d := w.decide(); !strings.HasSuffix(d.Clusters[0].Reason, want) {
		t.Errorf("reported: %+v", d.Clusters)
	}
	w.is("a", "b>")
}

// A binding that another client added: the cluster is not taken back with its parked one.
func TestAClusterWithALivingBindingIsNotTakenBack(t *testing.T) {
	w := pairFleet(t, 2, "a", "b", "c")
	lostFor(w.clusters["b"], 6*time.Minute)
	w.decide()
	w.is("a c", "b>c")
	back(w.clusters["b"], 0)
	w.number = 3
	twin := *w.bindingTo("b")
	twin.Name, twin.State, twin.ReplacedBy = "twin", v1beta1.BindingStateBound, nil
	w.bindings = append(w.bindings, twin)
	w.decide()
	w.is("a b c", "b>c")
}

func TestImmediateTakesNothingBack(t *testing.T) {
	w := pairFleet(t, 1, "a", "b")
	w.failover.Purge = v1beta1.FailoverPurgeImmediate
	lostFor(w.clusters["a"], 6*time.Minute)
	w.decide()
	back(w.clusters["a"], 0)
	w.decide()
	w.is("b", "a>b")
}

func TestFailbackAfterTwoLosses(t *testing.T) {
	w := pairFleet(t, 1, "a", "b", "c")
	w.failover.Failback = v1beta1.FailbackWhenHealthy
	delete(w.clusters, "c")
	lostFor(w.clusters["a"], 20*time.Minute)
	w.decide()
	w.available("b")
	w.join(heard(member("c", "", "")))
	lostFor(w.clusters["b"], 6*time.Minute)
	w.decide()
	w.is("c", "a>c b>c")
	w.available("c")
	w.purge("a")
	back(w.clusters["a"], 10*time.Minute)
	w.decide()
	w.is("a", "b>a c>a")
}

func TestOneUnhealthyReportDoesNotEndAFailback(t *testing.T) {
	w := pairFleet(t, 1, "a", "b")
	w.failover.Failback = v1beta1.FailbackWhenHealthy
	lostFor(w.clusters["a"], 6*time.Minute)
	w.decide()
	w.available("b")
	w.purge("a")
	back(w.clusters["a"], 10*time.Minute)
	w.decide()
	w.is("a", "b>a")
	sickFor(w.clusters["a"], time.Second)
	w.decide()
	w.is("a", "b>a")
	sickFor(w.clusters["a"], 5*time.Minute)
	w.decide()
	w.is("b", "a>")
}

// The cluster that another one replaced long ago replaces that one now.
func TestClustersReplaceEachOther(t *testing.T) {
	for name, interrupt := range map[string]func(*Decision){
		"at once":                  func(*Decision) {},
		"without the second write": func(d *Decision) { d.Change = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := pairFleet(t, 3, "a", "b", "c", "d")
			lostFor(w.clusters["c"], 20*time.Minute)
			w.decide()
			w.available("d")
			w.purge("c")
			w.clusters["c"] = back(heard(member("c", "", "")), 0)
			w.decide()
			w.is("a b d", "")
			lostFor(w.clusters["d"], 6*time.Minute)
			d := Decide(w.request())
			interrupt(&d)
			w.apply(d)
			w.decide()
			w.is("a b c", "d>c")
			w.bind("c")
			w.decide()
			w.is("a b c", "d>c")
			w.available("c")
			w.decide()
			w.is("a b c", "d>c")
		})
	}
}

// An exchange whose second write is missing is finished; one before it, of the same clusters or of others, is not taken
// for it, whatever the times since when there was a reason for them.
func TestOnlyTheLastExchangeIsFinished(t *testing.T) {
	exchange := func(with string, reason failover.Reason, since, decided time.Duration) *failover.Exchange {
		at := metav1.NewMicroTime(noon.Add(-decided))
		return &failover.Exchange{With: with, Reason: reason, Since: metav1.NewTime(noon.Add(-since)), Decided: &at}
	}
	for _, tt := range []struct {
		name           string
		number         int
		set            func(*world)
		living, parked string
	}{
		{"asked for before the one that was decided first", 1, func(w *world) {
			w.bindingTo("a").Replaces = exchange("b", failover.Rebalance, 20*time.Minute, time.Minute)
			w.bindingTo("b").Replaces = exchange("a", failover.Lost, 10*time.Minute, 5*time.Minute)
		}, "a", "b>a"},
		{"a cluster that was replaced replaces another", 2, func(w *world) {
			lostFor(w.clusters["b"], 10*time.Minute)
			w.bindingTo("a").Replaces = exchange("b", failover.Lost, 10*time.Minute, time.Minute)
			w.bindingTo("c").Replaces = exchange("a", failover.Lost, time.Hour, 50*time.Minute)
		}, "a c", "b>a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := pairFleet(t, tt.number+1, []string{"a", "b", "c"}[:tt.number+1]...)
			w.number = tt.number
			tt.set(w)
			w.decide()
			w.is(tt.living, tt.parked)
		})
	}
}
