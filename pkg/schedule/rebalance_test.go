package schedule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// rebalances plays a request to its end: each replacement becomes available, and what was there is removed. It returns
// the moves.
func (w *world) rebalances() string {
	w.t.Helper()
	w.asked = noon.Add(-time.Minute)
	var moves []string
	for range 20 {
		d := w.decide()
		for _, l := range d.Left {
			moves = append(moves, l.Cluster+">"+l.With)
			if len(d.Left) > 1 {
				w.t.Errorf("%d clusters move at the same time", len(d.Left))
			}
		}
		if d.Rebalanced {
			w.asked = time.Time{}
			w.decide()
			return strings.Join(moves, " ")
		}
		for _, b := range slices.Clone(w.bindings) {
			if b.State == v1beta1.BindingStateUnscheduled {
				w.purge(b.Cluster)
			} else {
				w.available(b.Cluster)
			}
		}
	}
	w.t.Fatalf("the request does not end")
	return ""
}

func TestRebalance(t *testing.T) {
	east := prefer(number(), 20, labelled("region=east"))
	spread := spreading(number(), "region", 1, corev1.DoNotSchedule)
	tests := []struct {
		name    string
		policy  *v1beta1.PlacementPolicy
		number  int
		now     []string
		later   func(*world)
		moves   string
		becomes string
	}{
		{"nothing is better", east, 2, []string{"e1:east", "e2:east", "w1:west"}, func(*world) {}, "", "e1 e2"},
		{"equal is not better", number(), 2, []string{"a:east", "b:east"}, func(w *world) { w.join(heard(member("z", "east", ""))) }, "", "a b"},
		{"better clusters joined", east, 2, []string{"w1:west", "w2:west"}, func(w *world) {
			w.join(heard(member("e1", "east", "")), heard(member("e2", "east", "")))
		}, "w1>e2 w2>e1", "e1 e2"},
		{"one better cluster joined", east, 2, []string{"w1:west", "w2:west"}, func(w *world) {
			w.join(heard(member("e1", "east", "")))
		}, "w1>e1", "e1 w2"},
		{"a region is back (F7)", spread, 3, []string{"c1:central", "e1:east", "e2:east"}, func(w *world) {
			w.join(heard(member("w1", "west", "")), heard(member("w2", "west", "")))
		}, "e1>w2", "c1 e2 w2"},
		{"a label has changed", number(labelled("region=east")), 1, []string{"a:east"}, func(w *world) {
			w.clusters["a"].Labels["region"] = "west"
			w.join(heard(member("b", "east", "")))
		}, "a>b", "b"},
		{"a label has changed, and there is no other", number(labelled("region=east")), 1, []string{"a:east"}, func(w *world) {
			w.clusters["a"].Labels["region"] = "west"
		}, "", "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{t: t, clusters: map[string]*clusterv1beta1.MemberCluster{}, snapshot: 1, number: tt.number, policy: tt.policy}
			for _, c := range tt.now {
				name, region, _ := strings.Cut(c, ":")
				w.join(heard(member(name, region, "")))
			}
			w.decide()
			w.available(w.living()...)
			tt.later(w)
			w.decide()
			preview, ok := Rebalance(w.request())
			var would []string
			for _, m := range preview {
				would = append(would, m.From+">"+m.To)
			}
			if got := strings.Join(would, " "); !ok || got != tt.moves {
				t.Errorf("the preview says %q, %t; want %q", got, ok, tt.moves)
			}
			if got := w.rebalances(); got != tt.moves {
				t.Errorf("moves %q; want %q", got, tt.moves)
			}
			w.is(tt.becomes, "")
		})
	}
}

func TestRebalanceWaits(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*world)
	}{
		{"a cluster is silent", func(w *world) { silenced(w.clusters["c"]) }},
		{"the hub suspects its own network", func(w *world) {
			lostFor(w.clusters["c"], time.Hour).Status.Silence.State = clusterv1beta1.SilenceBraked
		}},
		{"the placement is not available", func(w *world) { w.bindingTo("a").Available = false }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := pairFleet(t, 1, "a", "b", "c")
			w.purge("c")
			w.purge("b")
			w.policy = prefer(number(), 20, labelled("region=east"))
			w.clusters["b"].Labels["region"] = "east"
			w.asked = noon
			tt.set(w)
			d := w.decide()
			w.is("a", "")
			if d.Rebalanced || !d.Waiting {
				t.Errorf("rebalanced %t, waiting %t; want it to wait", d.Rebalanced, d.Waiting)
			}
			if _, ok := Rebalance(w.request()); ok {
				t.Error("the preview does not say that it waits")
			}
		})
	}
}

// Whatever the scores are, a request ends, moves each cluster at most once, and leaves nothing that could be better.
func TestRebalanceEnds(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		regions := []string{"east", "west", "central"}
		w := &world{t: t, clusters: map[string]*clusterv1beta1.MemberCluster{}, snapshot: 1, number: 1 + rng.IntN(4), policy: number()}
		for _, region := range regions {
			w.policy = prefer(w.policy, int32(rng.IntN(60)-30), labelled("region="+region))
		}
		if rng.IntN(2) == 0 {
			w.policy = spreading(w.policy, "region", 1+int32(rng.IntN(2)), []corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}[rng.IntN(2)])
		}
		for i := range 7 {
			w.join(heard(member(fmt.Sprintf("c%d", i), regions[rng.IntN(3)], "")))
		}
		w.decide()
		w.available(w.living()...)
		for i := range 7 {
			if rng.IntN(2) == 0 {
				w.clusters[fmt.Sprintf("c%d", i)].Labels["region"] = regions[rng.IntN(3)]
			}
		}
		moves := w.rebalances()
		if n := len(strings.Fields(moves)); n > w.number {
			t.Errorf("seed %d: %d clusters move %d times: %s", seed, w.number, n, moves)
		}
		if t.Failed() {
			t.Fatalf("seed %d: %s", seed, moves)
		}
	}
}

// A cluster that becomes better when the placement has left it does not get the placement again and again.
func TestRebalanceEndsWhenScoresFollowTheMoves(t *testing.T) {
	w := pairFleet(t, 2, "a", "b", "c")
	w.policy = prefer(number(), 20, labelled("load=low"))
	w.asked = noon.Add(-time.Minute)
	moves := 0
	for range 10 {
		for name, c := range w.clusters {
			c.Labels["load"] = map[bool]string{true: "high", false: "low"}[slices.Contains(w.living(), name)]
		}
		d := w.decide()
		if moves += len(d.Left); d.Rebalanced {
			break
		}
		for _, b := range slices.Clone(w.bindings) {
			if b.State == v1beta1.BindingStateUnscheduled {
				w.purge(b.Cluster)
			} else {
				w.available(b.Cluster)
			}
		}
	}
	if moves == 0 || moves > 2 {
		t.Errorf("%d moves; want each of the 2 clusters to move at most once", moves)
	}
}
