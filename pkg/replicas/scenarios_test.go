package replicas

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// divided is the worked example with 20 replicas.
func divided(t *testing.T) *world {
	t.Helper()
	w := worked(t, 20)
	w.settle()
	w.want("e1:7 e2:7 w1:4 w2:2")
	return w
}

// lose makes the hub conclude that clusters are lost, and hear that it hears them again, whole.
func (w *world) lose(clusters ...string) {
	for _, c := range clusters {
		b := w.of(c)
		b.Heard, b.Lost, b.Settled, b.Trusted = false, true, false, false
	}
	w.settle()
}

func (w *world) hear(clusters ...string) {
	for _, c := range clusters {
		b := w.of(c)
		b.Heard, b.Lost, b.Settled = true, false, true
	}
	w.settle()
}

// numbers returns the shares of a cluster for the newest revision, by number.
func (w *world) numbers(cluster string) map[string]int32 {
	out := map[string]int32{}
	for _, s := range Newest(binding(w.of(cluster))).Workloads {
		out[KeyOf(s).String()] = s.Replicas
	}
	return out
}

// binding has the shares of b.
func binding(b *Binding) *v1beta1.ClusterResourceBinding {
	return &v1beta1.ClusterResourceBinding{Spec: v1beta1.ResourceBindingSpec{Shares: b.Shares, ResourceSnapshotName: b.Snapshot}}
}

// D17: more and fewer replicas are added and taken; an edit of the weights divides anew.
func TestD17Scale(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*world)
		want   string
	}{
		"24 replicas":                        {func(w *world) { w.scale(24) }, "e1:8 e2:8 w1:5 w2:3"},
		"12 replicas":                        {func(w *world) { w.scale(12) }, "e1:4 e2:4 w1:3 w2:1"},
		"3 replicas, too few for all minima": {func(w *world) { w.scale(3) }, "e1:1 e2:1 w1:1 w2:0"},
		"no replicas":                        {func(w *world) { w.scale(0) }, "e1:0 e2:0 w1:0 w2:0"},
		"equal weights": {func(w *world) {
			for i := range w.Policy.Weights {
				w.Policy.Weights[i].Weight = 1
			}
		}, "e1:5 e2:5 w1:5 w2:5"},
		"no weights":                     {func(w *world) { w.Policy.Weights = nil }, "e1:5 e2:5 w1:5 w2:5"},
		"a lower max":                    {func(w *world) { w.Policy.MaxPerCluster = ptr.To[int32](6) }, "e1:6 e2:6 w1:5 w2:3"},
		"a label that no weight matches": {func(w *world) { w.of("w2").Labels = nil }, "e1:7 e2:7 w1:4 w2:2"},
		"then fewer replicas": {func(w *world) {
			w.of("w2").Labels = nil
			w.scale(19)
		}, "e1:7 e2:7 w1:4 w2:1"},
		"then more replicas": {func(w *world) {
			w.of("w1").Labels = nil
			w.scale(22)
		}, "e1:7 e2:8 w1:4 w2:3"},
	} {
		t.Run(name, func(t *testing.T) {
			w := divided(t)
			tc.change(w)
			w.settle()
			w.want(tc.want)
		})
	}
}

// D18: other clusters get the replicas of a lost one. When it is heard again, it gets its minimum and the growth or,
// with failback, its share.
func TestD18LossAndReturn(t *testing.T) {
	lost := func(t *testing.T, failback bool) *world {
		w := divided(t)
		w.Failback = failback
		w.lose("e1")
		w.want("e1:-1 e2:8 w1:8 w2:4")
		if got := w.numbers("e1")["Deployment shop/web"]; got != 7 {
			t.Errorf("the lost cluster's share became %d", got)
		}
		return w
	}
	t.Run("the growth", func(t *testing.T) {
		w := lost(t, false)
		w.hear("e1")
		w.want("e1:1 e2:8 w1:7 w2:4")
		w.scale(26)
		w.settle()
		w.want("e1:7 e2:8 w1:7 w2:4")
	})
	t.Run("its share", func(t *testing.T) {
		w := lost(t, true)
		w.hear("e1")
		w.want("e1:1 e2:8 w1:7 w2:4")
		w.of("e1").Trusted = true
		w.settle()
		w.want("e1:7 e2:7 w1:4 w2:2")
	})
	t.Run("it is marked before others are raised, and lowered last when it returns", func(t *testing.T) {
		w := divided(t)
		w.of("e1").Heard, w.of("e1").Lost = false, true
		turns := w.turns()
		if want := "[e1 at 0, e2 at 1, w1 at 1, w2 at 1]"; turns != want {
			t.Errorf("at the loss: %s, want %s", turns, want)
		}
		w.settle()
		w.hear("e2")
		w.of("e1").Heard, w.of("e1").Lost = true, false
		if turns, want := w.turns(), "[w1 at 1, e1 at 2]"; turns != want {
			t.Errorf("at the return: %s, want %s", turns, want)
		}
	})
	t.Run("a new release while it is lost", func(t *testing.T) {
		w := lost(t, false)
		w.scale(24)
		w.settle()
		w.want("e1:-1 e2:8 w1:8 w2:8")
		w.hear("e1")
		w.want("e1:1 e2:8 w1:8 w2:7")
	})
	t.Run("an edit while it is lost, and its minimum has to wait", func(t *testing.T) {
		w := lost(t, false)
		w.Policy.Weights = nil
		w.settle()
		w.Surge = ptr.To(intstr.FromInt32(0))
		w.hear("e1")
		w.want("e1:0 e2:7 w1:7 w2:6")
		w.Surge = nil
		w.settle()
		w.want("e1:1 e2:7 w1:6 w2:6")
	})
	t.Run("an edit while it is lost", func(t *testing.T) {
		w := lost(t, true)
		w.Policy.Weights = nil
		w.settle()
		w.want("e1:-1 e2:7 w1:7 w2:6")
		w.hear("e1")
		w.of("e1").Trusted = true
		w.settle()
		w.want("e1:5 e2:5 w1:5 w2:5")
	})
}

// turns are the writes of the next decision.
func (w *world) turns() string {
	w.t.Helper()
	writes, err := writesOf(w.Request)
	if err != nil {
		w.t.Fatal(err)
	}
	out := "["
	for i, write := range writes {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%s at %d", write.Binding, write.Turn)
	}
	return out + "]"
}

// D19: replicas for which there is no room are placed when a cluster returns.
func TestD19NoRoom(t *testing.T) {
	w := divided(t)
	w.lose("e1", "e2")
	w.want("e1:-1 e2:-1 w1:8 w2:8")
	w.hear("e2")
	w.want("e1:-1 e2:4 w1:8 w2:8")
	w.hear("e1")
	w.want("e1:1 e2:4 w1:8 w2:7")
	w.Policy.MaxPerCluster = ptr.To[int32](4)
	w.settle()
	w.want("e1:4 e2:4 w1:4 w2:4") // 4 have no room
	w.Policy.MaxPerCluster = nil
	w.settle()
	w.want("e1:7 e2:7 w1:4 w2:2")
}

// D20: while a new image with more replicas rolls out, in any order and with a hub that is killed after any write, the
// sum is between the two totals, no share falls, and overrides and autoscalers keep their numbers.
func TestD20Mixed(t *testing.T) {
	for _, order := range [][]string{{"a", "b", "c"}, {"a", "c", "b"}, {"b", "a", "c"}, {"b", "c", "a"}, {"c", "a", "b"}, {"c", "b", "a"}} {
		for killed := range 4 {
			w := &world{t: t, Request: Request{Policy: &v1beta1.ReplicaPolicy{}, Seed: "uid"}}
			for name, weight := range map[string]int32{"a": 170, "b": 110, "c": 60} {
				w.weigh(name, weight)
				w.join(name)
			}
			content := func(snapshot string, replicas int64) Revision {
				numbers, err := In(w.Policy, [][]byte{deployment("web", replicas), deployment("scaled", replicas), autoscaler("scaled", 3, 9)})
				if err != nil {
					t.Fatal(err)
				}
				return Revision{Snapshot: snapshot, Numbers: numbers}
			}
			w.Revisions = []Revision{content("old", 5)}
			w.settle()
			w.want("a:2 b:2 c:1")
			w.Revisions = append(w.Revisions, content("new", 8))
			writes, err := writesOf(w.Request)
			if err != nil || len(writes) != 3 {
				t.Fatalf("%v, %v", writes, err)
			}
			for _, write := range writes[:killed] {
				w.of(write.Binding).Shares = write.Shares
			}
			for _, cluster := range order {
				for w.step() {
				}
				w.of(cluster).Snapshot = "new"
				for w.step() {
				}
				var sum int32
				for i := range w.Bindings {
					b := &w.Bindings[i]
					was, _ := Of(binding(b), "old")
					is, ok := Of(binding(b), b.Snapshot)
					if !ok || is.Workloads[0].Replicas < was.Workloads[0].Replicas {
						t.Errorf("order %v, killed after %d writes: %s falls from %v to %v", order, killed, b.Name, was, is)
					}
					sum += is.Workloads[0].Replicas
					for j, s := range is.Workloads[1:] {
						if s.Replicas != was.Workloads[j+1].Replicas {
							t.Errorf("%s: the autoscaler's %s becomes %d", b.Name, s.Field, s.Replicas)
						}
					}
				}
				if sum < 5 || sum > 8 {
					t.Errorf("order %v, killed after %d writes: the sum is %d when %s is updated", order, killed, sum, cluster)
				}
			}
			w.want("a:4 b:3 c:1")
		}
	}
	t.Run("pinned", func(t *testing.T) {
		w := divided(t)
		w.of("e1").Change = func([]byte) ([]byte, error) { return deployment("web", 5), nil }
		w.settle()
		w.want("e1:5 e2:7 w1:5 w2:3")
		w.scale(24)
		w.settle()
		w.want("e1:5 e2:8 w1:7 w2:4")
		// One that adds replicas takes none from others before these are available.
		w = divided(t)
		w.of("e1").Change = func([]byte) ([]byte, error) { return deployment("web", 9), nil }
		w.step()
		w.want("e1:9 e2:7 w1:4 w2:2")
		w.settle()
		w.want("e1:9 e2:5 w1:4 w2:2")
	})
	t.Run("pinned no more", func(t *testing.T) {
		w := divided(t)
		w.of("e1").Change = func([]byte) ([]byte, error) { return deployment("web", 5), nil }
		w.scale(24)
		w.settle()
		// The others take over what has no place, and give it back only as far as there is too much.
		w.of("e1").Change = nil
		w.settle()
		w.want("e1:5 e2:8 w1:7 w2:4")
	})
}

// A cluster that the hub hears late keeps its share, and an edit is caught up when it is heard.
func TestSilentClusters(t *testing.T) {
	silence := func(w *world, clusters ...string) {
		for _, c := range clusters {
			w.of(c).Heard, w.of(c).Settled = false, false
		}
		w.settle()
	}
	t.Run("an edit", func(t *testing.T) {
		w := divided(t)
		silence(w, "e1")
		w.Policy.Weights = nil
		w.settle()
		w.want("e1:7 e2:7 w1:4 w2:4") // e2 has two too many, until e1 is known to have its seven
		w.hear("e1")
		w.want("e1:5 e2:5 w1:5 w2:5")
	})
	t.Run("an edit that changes only its own share", func(t *testing.T) {
		w := divided(t)
		silence(w, "e1")
		for i := range w.Policy.Weights {
			if c := &w.Policy.Weights[i]; c.ClusterSelector.MatchLabels["name"] == "e1" {
				c.Weight = 30
			}
		}
		w.settle()
		w.want("e1:7 e2:7 w1:4 w2:2")
		w.hear("e1")
		w.want("e1:8 e2:6 w1:4 w2:2")
	})
	t.Run("too few replicas for the minima of the others", func(t *testing.T) {
		w := divided(t)
		silence(w, "e1")
		w.scale(8)
		w.settle()
		w.want("e1:7 e2:1 w1:0 w2:0")
	})
	t.Run("fewer replicas than it has", func(t *testing.T) {
		w := divided(t)
		silence(w, "e1")
		w.scale(6)
		w.settle()
		w.want("e1:2 e2:2 w1:1 w2:1")
	})
	t.Run("the hub has heard none since it started", func(t *testing.T) {
		w := worked(t, 20)
		silence(w, "e1", "e2", "w1", "w2")
		w.want("e1:7 e2:7 w1:4 w2:2")
	})
	t.Run("one joins before it is heard", func(t *testing.T) {
		w := divided(t)
		w.join("x")
		silence(w, "x")
		w.want("e1:7 e2:7 w1:4 w2:2 x:0")
		w.hear("x")
		w.want("e1:6 e2:7 w1:4 w2:2 x:1")
	})
}
