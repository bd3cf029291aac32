package schedule

import (
	"strings"
	"testing"
	"time"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// stagedFleet is pairFleet with strategy External, without an active update run.
func stagedFleet(t *testing.T, number int, names ...string) *world {
	w := pairFleet(t, number, names...)
	w.external = true
	return w
}

func TestExchangesWaitForUpdateRuns(t *testing.T) {
	released := func(c *clusterv1beta1.MemberCluster) { c.Status.Silence.State = clusterv1beta1.SilenceReleased }
	for name, tc := range map[string]struct {
		change         func(*world)
		living, parked string
		// held is a part of the reason for the cluster that is held; run is whether it waits for a run.
		held string
		run  bool
	}{
		"lost, no run":                 {change: func(w *world) { lostFor(w.clusters["c"], 6*time.Minute) }, living: "a b d", parked: "c>d"},
		"unhealthy, no run":            {change: func(w *world) { sickFor(w.clusters["c"], 6*time.Minute) }, living: "a b d", parked: "c>d"},
		"lost, a run, not long enough": {change: func(w *world) { w.run = "r"; lostFor(w.clusters["c"], 4*time.Minute) }, living: "a b c"},
		"lost, a run": {
			change: func(w *world) { w.run = "r"; lostFor(w.clusters["c"], 6*time.Minute) }, living: "a b c",
			held: "waits until update run r ends, because another set of clusters aborts it; to replace the cluster now and abort the run, run: kubectl fleet failover release c", run: true,
		},
		"unhealthy, a run": {
			change: func(w *world) { w.run = "r"; sickFor(w.clusters["c"], 6*time.Minute) }, living: "a b c",
			held: "waits until update run r ends, because another set of clusters aborts it", run: true,
		},
		"released, a run": {
			change: func(w *world) { w.run = "r"; released(lostFor(w.clusters["c"], 6*time.Minute)) }, living: "a b d", parked: "c>d",
		},
		"released, not long enough": {
			change: func(w *world) { w.run = "r"; released(lostFor(w.clusters["c"], 4*time.Minute)) }, living: "a b c",
		},
		"no other cluster": {
			change: func(w *world) { sick(w.clusters["d"]); lostFor(w.clusters["c"], 6*time.Minute) }, living: "a b c",
			held: `cluster "c" must be replaced (no heartbeat from its member agent since 2024-`,
		},
		"no other cluster, a run, released": {
			change: func(w *world) { w.run = "r"; sick(w.clusters["d"]); released(lostFor(w.clusters["c"], 6*time.Minute)) }, living: "a b c",
			held: "and no other cluster can",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := stagedFleet(t, 3, "a", "b", "c", "d")
			tc.change(w)
			d := w.decide()
			w.is(tc.living, tc.parked)
			if !d.Fulfilled() {
				t.Errorf("found %d of %d; a cluster that stays counts", d.Found, d.Wanted)
			}
			if len(d.Held) > 1 || (len(d.Held) == 1) != (tc.held != "") {
				t.Fatalf("held %+v", d.Held)
			}
			if len(d.Held) == 1 && (d.Held[0].Cluster != "c" || d.Held[0].Run != tc.run || !strings.Contains(d.Held[0].Reason, strings.TrimSuffix(tc.held, "2024-")) || !d.Waiting) {
				t.Errorf("held %+v, waiting %v", d.Held, d.Waiting)
			}
			if tc.parked != "" && (!w.bindingTo("d").Placed || w.bindingTo("d").State != v1beta1.BindingStateBound) {
				t.Errorf("the binding to d has no content: %+v", w.bindingTo("d"))
			}
			w.run = ""
			w.decide()
			if tc.run {
				w.is("a b d", "c>d")
			}
		})
	}
}

// Returns change the set of clusters, too.
func TestReturnsWaitForUpdateRuns(t *testing.T) {
	w := stagedFleet(t, 3, "a", "b", "c", "d")
	lostFor(w.clusters["c"], 6*time.Minute)
	w.decide()
	w.run = "r"
	back(w.clusters["c"], 0)
	w.decide()
	w.is("a b d", "c>d")
	w.run = ""
	w.decide()
	w.is("a b c", "d>")

	w = stagedFleet(t, 3, "a", "b", "c", "d")
	w.failover.Failback = v1beta1.FailbackWhenHealthy
	lostFor(w.clusters["c"], 6*time.Minute)
	w.decide()
	w.available("d")
	w.purge("c")
	back(w.clusters["c"], time.Hour).Status.AgentStatus[0].Conditions[1].LastTransitionTime.Time = noon.Add(-time.Hour)
	w.run = "r"
	w.decide()
	w.is("a b d", "")
	w.run = ""
	w.decide()
	w.is("a b c", "d>c")
	if b := w.bindingTo("c"); !b.Placed || b.State != v1beta1.BindingStateBound {
		t.Errorf("the binding to c has no content: %+v", b)
	}
}

// The run is aborted anyway, because there are too many clusters; a run without a plan waits for the second write.
func TestAnInterruptedExchangeEndsDuringAnUpdateRun(t *testing.T) {
	w := stagedFleet(t, 3, "a", "b", "c", "d")
	lostFor(w.clusters["c"], 6*time.Minute)
	c := *w.bindingTo("c")
	w.decide()
	*w.bindingTo("c") = c
	w.run = "r"
	w.decide()
	w.is("a b d", "c>d")
}

// A rolling update that has not reached the replacement yet reaches it no more.
func TestTheStrategyBecomesExternalDuringAnExchange(t *testing.T) {
	w := pairFleet(t, 3, "a", "b", "c", "d")
	lostFor(w.clusters["c"], 6*time.Minute)
	w.decide()
	if w.bindingTo("d").Placed {
		t.Fatal("with a rolling update, the replacement has content at once")
	}
	w.external, w.run = true, "r"
	if d := w.decide(); len(d.Change) > 0 {
		t.Fatalf("changes during a run: %+v", d.Change)
	}
	w.run = ""
	w.decide()
	w.is("a b d", "c>d")
	if b := w.bindingTo("d"); !b.Placed || b.State != v1beta1.BindingStateBound || b.Replaces == nil || b.Replaces.Reason != failover.Lost {
		t.Errorf("the binding to d: %+v", b)
	}
	w.available("d")
	back(w.clusters["c"], 0)
	if d := w.decide(); len(d.Change) > 0 {
		t.Errorf("changes afterwards: %+v", d.Change)
	}
}
