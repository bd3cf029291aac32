package replicas

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/capacity"
)

// world are bindings, and what decides about them.
type world struct {
	t *testing.T
	Request
}

// worked are the clusters of the worked example: east-1 and east-2 weigh 3, west-1 2, west-2 1, with 1 to 8 replicas.
func worked(t *testing.T, total int64) *world {
	w := &world{t: t, Request: Request{Policy: &v1beta1.ReplicaPolicy{MinPerCluster: ptr.To[int32](1), MaxPerCluster: ptr.To[int32](8)}, Seed: "uid"}}
	for name, weight := range map[string]int32{"e1": 3, "e2": 3, "w1": 2, "w2": 1} {
		w.weigh(name, weight)
		w.join(name)
	}
	slices.SortFunc(w.Policy.Weights, func(a, b v1beta1.ClusterWeight) int { return int(b.Weight - a.Weight) })
	w.scale(total)
	return w
}

func (w *world) weigh(cluster string, weight int32) {
	w.Policy.Weights = append(w.Policy.Weights, v1beta1.ClusterWeight{
		ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"name": cluster}}, Weight: weight,
	})
}

func (w *world) join(cluster string) {
	w.Bindings = append(w.Bindings, Binding{
		Name: cluster, Cluster: cluster, Labels: map[string]string{"name": cluster}, Picked: true, Settled: true, Heard: true,
	})
	slices.SortFunc(w.Bindings, func(a, b Binding) int { return compare(a.Name, b.Name) })
}

func compare(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

func (w *world) of(cluster string) *Binding {
	return &w.Bindings[slices.IndexFunc(w.Bindings, func(b Binding) bool { return b.Cluster == cluster })]
}

// scale begins a revision with total replicas, which all clusters get.
func (w *world) scale(total int64) {
	name := fmt.Sprintf("s-%d-snapshot", len(w.Revisions))
	w.Revisions = []Revision{{Snapshot: name, Numbers: []Number{numberOf(web, total)}}}
	if total != 20 {
		w.Revisions[0].Snapshot += fmt.Sprint(total)
	}
}

func deployment(name string, total int64) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"shop","name":%q},"spec":{"replicas":%d}}`, name, total)
}

// writesOf returns the writes of a decision.
func writesOf(r Request) ([]Write, error) {
	d, err := Decide(r)
	return d.Writes, err
}

// step carries out one decision and returns whether it changed anything.
func (w *world) step() bool {
	w.t.Helper()
	decision, err := Decide(w.Request)
	if err != nil {
		w.t.Fatal(err)
	}
	writes := decision.Writes
	for _, write := range writes {
		b := w.of(write.Binding)
		b.Shares = write.Shares
		if b.Promised == nil {
			b.Promised = corev1.ResourceList{}
		}
		capacity.Add(b.Promised, write.Promises)
	}
	return len(writes) > 0
}

// settle carries out decisions until nothing changes.
func (w *world) settle() {
	w.t.Helper()
	for range 50 {
		for i := range w.Bindings {
			w.Bindings[i].Snapshot = w.Revisions[len(w.Revisions)-1].Snapshot
		}
		if !w.step() {
			return
		}
	}
	w.t.Fatalf("it does not end: %v", w.shares())
}

// shares are those of the latest revision by cluster, -1 for a lost one.
func (w *world) shares() map[string]int32 {
	out := map[string]int32{}
	for _, b := range w.Bindings {
		if len(b.Shares) == 0 {
			continue
		}
		last := b.Shares[len(b.Shares)-1]
		out[b.Cluster] = last.Workloads[0].Replicas
		if last.Lost {
			out[b.Cluster] = -1
		}
	}
	return out
}

func (w *world) want(want string) {
	w.t.Helper()
	if got := fmt.Sprint(w.shares()); got != "map["+want+"]" {
		w.t.Errorf("shares are %s, want %s", got, want)
	}
}

func TestWorkedExample(t *testing.T) {
	fresh := func(t *testing.T) *world {
		t.Helper()
		w := worked(t, 20)
		w.settle()
		w.want("e1:7 e2:7 w1:4 w2:2")
		return w
	}
	t.Run("pinned", func(t *testing.T) {
		w := fresh(t)
		w.of("e1").Change = func([]byte) ([]byte, error) { return deployment("web", 5), nil }
		w.settle()
		w.want("e1:5 e2:7 w1:5 w2:3")
		if !w.of("e1").Shares[0].Workloads[0].Pinned {
			t.Error("it is not marked as pinned")
		}
	})
	t.Run("joins", func(t *testing.T) {
		w := fresh(t)
		w.weigh("x", 3)
		w.join("x")
		// A weight is added for it, so all is divided anew.
		w.settle()
		w.want("e1:5 e2:5 w1:3 w2:2 x:5")
	})
	t.Run("silent, and not lost", func(t *testing.T) {
		w := fresh(t)
		w.of("e1").Heard, w.of("e1").Settled = false, false
		w.settle()
		w.want("e1:7 e2:7 w1:4 w2:2")
		w.scale(24)
		w.settle()
		w.want("e1:7 e2:8 w1:6 w2:3")
	})
	t.Run("frozen", func(t *testing.T) {
		w := fresh(t)
		w.Frozen = true
		w.of("e1").Heard, w.of("e1").Lost = false, true
		w.settle()
		w.want("e1:7 e2:7 w1:4 w2:2")
	})
}

func TestReplacedClusterComesBack(t *testing.T) {
	w := worked(t, 20)
	w.settle()
	w.weigh("x", 3) // weights are edited, and nothing else changes
	w.settle()
	e1 := w.of("e1")
	e1.Picked, e1.Left, e1.Heard, e1.Settled = false, true, false, false
	w.join("x")
	w.of("x").Settled = false
	w.settle()
	if got := w.shares(); got["e1"] != -1 || got["e2"]+got["w1"]+got["w2"]+got["x"] != 20 {
		t.Errorf("shares are %v, want 20 without e1", got)
	}
	// The replacement is given up before it was available: the cluster has what the others do not.
	x := w.of("x")
	given := w.shares()["x"]
	x.Picked = false
	e1 = w.of("e1")
	e1.Picked, e1.Left, e1.Heard, e1.Settled = true, false, true, true
	w.step()
	if got := w.shares()["e1"]; got < given || got > 7 {
		t.Errorf("e1 has %d, want %d to 7", got, given)
	}
}

func TestLoweringWaits(t *testing.T) {
	w := worked(t, 20)
	w.settle()
	for i := range w.Policy.Weights {
		w.Policy.Weights[i].Weight = 1
	}
	w.of("w2").Settled = false
	w.step()
	w.of("w1").Settled = false
	w.want("e1:7 e2:7 w1:5 w2:5") // surge is 25 % of 20
	if w.step() {
		t.Errorf("it went on although the raised clusters are not settled: %v", w.shares())
	}
	w.of("w1").Settled, w.of("w2").Settled = true, true
	w.settle()
	w.want("e1:5 e2:5 w1:5 w2:5")
	w.Surge = ptr.To(intstr.FromInt32(0))
	w.Policy.Weights[0].Weight = 7
	w.settle()
	w.want("e1:5 e2:5 w1:5 w2:5")
	if target := w.of("e1").Shares[0].Workloads[0].Target; target == nil {
		t.Error("what it waits for is not recorded")
	}
}

// A release that begins while shares move begins with the shares that the clusters have, so that none is lowered
// before others are available.
func TestReleaseDuringAMove(t *testing.T) {
	w := worked(t, 20)
	w.settle()
	for i := range w.Policy.Weights {
		w.Policy.Weights[i].Weight = 1
	}
	w.step()
	w.want("e1:7 e2:7 w1:5 w2:5") // surge is 25 % of 20
	old := w.Revisions[0]
	w.scale(21)
	w.Revisions = append([]Revision{old}, w.Revisions...)
	for _, name := range []string{"w1", "w2"} {
		w.of(name).Settled = false
	}
	w.step()
	w.want("e1:7 e2:7 w1:6 w2:5")
}

// An agent that ends when it has written some shares of a new revision goes on to the same shares: the sum is never above
// the totals of both, and none is lowered again.
func TestReleaseThatIsInterrupted(t *testing.T) {
	for total, want := range map[int64]string{
		19: "", 21: "e1:7 e2:7 w1:5 w2:2", 22: "", 23: "", 24: "e1:8 e2:8 w1:5 w2:3", 12: "e1:4 e2:4 w1:3 w2:1",
	} {
		whole := released(t, total)
		for whole.step() {
		}
		if is := fmt.Sprint(whole.shares()); want != "" && is != "map["+want+"]" { // otherwise there are ties
			t.Errorf("%d replicas: %s, want %s", total, is, want)
		}
		for written := range 1 << 4 {
			w := released(t, total)
			writes, err := writesOf(w.Request)
			if err != nil || len(writes) != 4 {
				t.Fatalf("%v, %v", writes, err)
			}
			for i, write := range writes {
				if written&(1<<i) != 0 {
					w.of(write.Binding).Shares = write.Shares
				}
			}
			w.step()
			if got, want := fmt.Sprint(w.shares()), fmt.Sprint(whole.shares()); got != want {
				t.Errorf("%d replicas, written to %04b: shares are %s, want %s", total, written, got, want)
			}
		}
	}
}

// released is the worked example with 20 replicas when a revision with another total begins, which no cluster has.
func released(t *testing.T, total int64) *world {
	t.Helper()
	w := worked(t, 20)
	w.settle()
	old := w.Revisions[0]
	w.scale(total)
	w.Revisions = append([]Revision{old}, w.Revisions...)
	return w
}

// It does so also if they are outside of bounds that were edited.
func TestReleaseDuringAMoveIntoBounds(t *testing.T) {
	w := worked(t, 20)
	w.settle()
	w.Policy.MaxPerCluster = ptr.To[int32](6)
	w.step()
	w.want("e1:7 e2:7 w1:5 w2:3")
	old := w.Revisions[0]
	w.scale(21)
	w.Revisions = append([]Revision{old}, w.Revisions...)
	for _, name := range []string{"w1", "w2"} {
		w.of(name).Settled = false
	}
	w.step()
	w.want("e1:7 e2:7 w1:6 w2:3")
}

// A release divides what the clusters run, and not what a release before it had that no cluster has reached.
func TestReleaseAfterOneThatNoClusterHas(t *testing.T) {
	w := worked(t, 20)
	w.settle()
	w.of("e1").Heard, w.of("e1").Lost = false, true
	w.settle()
	w.of("e1").Heard, w.of("e1").Lost = true, false
	w.settle()
	w.want("e1:1 e2:8 w1:7 w2:4")
	old := w.Revisions[0]
	w.scale(4)
	w.Revisions = append([]Revision{old}, w.Revisions...)
	w.step()
	w.want("e1:1 e2:1 w1:1 w2:1")
	w.scale(21)
	w.Revisions = append([]Revision{old}, w.Revisions...)
	w.step()
	w.want("e1:2 e2:8 w1:7 w2:4")
}

// A cluster that the rollout has reached before its share was decided has nothing that could be available.
func TestUndecidedShareIsNotSettled(t *testing.T) {
	w := worked(t, 20)
	w.settle()
	w.scale(21)
	w.Bindings[0].Snapshot = w.Revisions[0].Snapshot
	w.Policy.Weights = nil
	w.step()
	for name, share := range w.shares() {
		if was := map[string]int32{"e1": 7, "e2": 7, "w1": 4, "w2": 2}[name]; share < was {
			t.Errorf("%s is lowered from %d to %d, and nothing is available elsewhere", name, was, share)
		}
	}
}

// room gives a cluster one node with free cpu; each replica takes one.
func (w *world) room(cluster string, cpu int64) {
	amount := *resource.NewQuantity(cpu, resource.DecimalSI)
	w.of(cluster).Usage = &clusterv1beta1.ResourceUsage{
		Available: corev1.ResourceList{corev1.ResourceCPU: amount},
		Nodes: []clusterv1beta1.NodeGroup{{Count: 1, Available: corev1.ResourceList{
			corev1.ResourceCPU: amount, corev1.ResourcePods: *resource.NewQuantity(100, resource.DecimalSI),
		}}},
	}
}

func measured(t *testing.T, by v1beta1.ReplicaDivision, total int64, rooms map[string]int64) *world {
	w := &world{t: t, Request: Request{Policy: &v1beta1.ReplicaPolicy{By: by}, Seed: "uid"}}
	for name, cpu := range rooms {
		w.join(name)
		w.room(name, cpu)
	}
	w.scale(total)
	w.requests()
	return w
}

func (w *world) requests() {
	w.Revisions[0].Numbers[0].unknown = false
	w.Revisions[0].Numbers[0].Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
}

// run lets the reports contain what runs.
func (w *world) run(rooms map[string]int64) {
	for name, cpu := range rooms {
		w.room(name, cpu-int64(w.shares()[name]))
		w.of(name).Promised = nil
	}
}

func TestByCapacity(t *testing.T) {
	rooms := map[string]int64{"a": 12, "b": 6, "c": 2}
	w := measured(t, v1beta1.ReplicaDivisionCapacity, 10, rooms)
	w.settle()
	w.want("a:6 b:3 c:1")
	w.run(rooms)
	w.settle()
	w.want("a:6 b:3 c:1")
	w.scale(15)
	w.requests()
	w.settle()
	w.want("a:9 b:4 c:2")
	w.run(rooms)
	w.scale(24)
	w.requests()
	if d, err := Decide(w.Request); err != nil || !d.Waiting {
		t.Errorf("the decision is %+v, %v; want that it waits for room", d, err)
	}
	w.settle()
	w.want("a:12 b:6 c:2")
	rooms["c"] = 9
	w.run(rooms)
	w.settle()
	w.want("a:12 b:6 c:6")
	rooms["a"], rooms["c"] = 17, 6
	w.run(rooms)
	w.of("a").Promised = capacity.Times(w.Revisions[0].Numbers[0].Requests, 3)
	w.scale(30)
	w.requests()
	w.settle()
	w.want("a:14 b:6 c:6")
}

func TestAggregate(t *testing.T) {
	rooms := map[string]int64{"a": 8, "b": 5, "c": 3}
	w := measured(t, v1beta1.ReplicaDivisionAggregate, 10, rooms)
	w.settle()
	w.want("a:6 b:4 c:0")
	w.run(rooms)
	w.scale(14)
	w.requests()
	w.settle()
	w.want("a:7 b:4 c:3")
	rooms["a"] = 80 // more room moves nothing
	w.run(rooms)
	w.settle()
	w.want("a:7 b:4 c:3")
}

func TestUnknownCapacityIsNotInfinite(t *testing.T) {
	w := measured(t, v1beta1.ReplicaDivisionCapacity, 6, map[string]int64{"a": 4, "b": 4, "old": 0})
	w.of("old").Usage = &clusterv1beta1.ResourceUsage{Available: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("64")}}
	w.settle()
	w.want("a:3 b:3 old:0")
}

func TestUnschedulableReplicasGoElsewhere(t *testing.T) {
	w := worked(t, 20)
	w.Now = time.Unix(1_000_000, 0)
	w.settle()
	w.want("e1:7 e2:7 w1:4 w2:2")
	e2 := w.of("e2")
	e2.Settled, e2.Unschedulable = false, map[Key]int64{w.Revisions[0].Numbers[0].Key: 3}
	w.step()
	w.want("e1:8 e2:4 w1:5 w2:3")
	e2 = w.of("e2")
	e2.Settled, e2.Unschedulable = true, nil
	w.settle()
	w.want("e1:8 e2:4 w1:5 w2:3")
	w.scale(24)
	w.settle()
	w.want("e1:8 e2:4 w1:8 w2:4")
	w.Now = w.Now.Add(limitedFor)
	w.scale(26)
	w.settle()
	w.want("e1:8 e2:6 w1:8 w2:4")
	if share := w.of("e2").Shares[0].Workloads[0]; share.Limit != nil {
		t.Errorf("the limit stays: %+v", share)
	}
	// Both eastern clusters are lost: the others take what they can, and the rest is waited for.
	w.scale(20)
	w.settle()
	for _, name := range []string{"e1", "e2"} {
		w.of(name).Heard, w.of(name).Lost = false, true
	}
	w.settle()
	w.want("e1:-1 e2:-1 w1:8 w2:8")
	w.of("w2").Unschedulable, w.of("w2").Settled = map[Key]int64{w.Revisions[0].Numbers[0].Key: 2}, false
	w.step()
	w.want("e1:-1 e2:-1 w1:8 w2:6")
	w.of("w2").Unschedulable = nil
	d, err := Decide(w.Request)
	if err != nil || d.Again != limitedFor {
		t.Errorf("the decision is %+v, %v; want another when the limit ends", d, err)
	}
}

// A placement that was not divided before runs all replicas on each cluster, whatever room there is besides.
func TestFirstDivisionByCapacityOfARunningPlacement(t *testing.T) {
	w := measured(t, v1beta1.ReplicaDivisionCapacity, 9, map[string]int64{"a": 0, "b": 0, "old": 0})
	for i := range w.Bindings {
		w.Bindings[i].Placed = true
	}
	w.of("old").Usage = nil
	w.of("b").Settled = false
	w.settle()
	w.want("a:3 b:3 old:3")
}

// Each write of a share makes another generation of the binding, which is not settled until it is reported again.
func TestMovesByCapacityEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		surge int32
		least int32
		want  string
	}{
		"with surge":    {4, 1, "a:7 b:7 c:6"},
		"without surge": {0, 1, "a:12 b:8 c:0"},
	} {
		w := measured(t, v1beta1.ReplicaDivisionCapacity, 20, map[string]int64{"a": 12, "b": 8})
		w.settle()
		w.want("a:12 b:8")
		w.Surge = ptr.To(intstr.FromInt32(tc.surge))
		w.run(map[string]int64{"a": 40, "b": 40})
		w.join("c")
		w.room("c", 40)
		w.Policy.MinPerCluster, w.Rebalance = ptr.To(tc.least), "now"
		writes := 0
		for range 40 {
			before := map[string][]v1beta1.RevisionShares{}
			for _, b := range w.Bindings {
				before[b.Name] = b.Shares
			}
			for range 5 { // the divider decides again before the dispatcher reports
				if w.step() {
					writes++
				}
				for i := range w.Bindings {
					b := &w.Bindings[i]
					b.Settled = b.Settled && slices.EqualFunc(before[b.Name], b.Shares, func(x, y v1beta1.RevisionShares) bool { return fmt.Sprint(x) == fmt.Sprint(y) })
				}
			}
			for i := range w.Bindings {
				w.Bindings[i].Settled, w.Bindings[i].Snapshot = true, w.Revisions[0].Snapshot
			}
			w.run(map[string]int64{"a": 40, "b": 40, "c": 40})
		}
		if writes > 12 {
			t.Errorf("%s: %d decisions wrote", name, writes)
		}
		if got := fmt.Sprint(w.shares()); got != "map["+tc.want+"]" {
			t.Errorf("%s: shares are %s, want %s", name, got, tc.want)
		}
	}
}

// A cluster that is heard again keeps what runs there until what others have instead is available, and during a brake.
func TestReturnWaitsForTheStandIns(t *testing.T) {
	w := worked(t, 20)
	w.settle()
	w.of("e1").Heard, w.of("e1").Lost = false, true
	w.settle()
	w.want("e1:-1 e2:8 w1:8 w2:4")
	w.of("e1").Heard, w.of("e1").Lost, w.of("e1").Settled = true, false, true
	w.of("w1").Settled = false
	w.settle()
	w.want("e1:-1 e2:8 w1:8 w2:4")
	w.of("w1").Settled, w.Frozen = true, true
	w.settle()
	w.want("e1:-1 e2:8 w1:8 w2:4")
	if got := w.of("e1").Shares[0].Workloads[0].Replicas; got != 7 {
		t.Errorf("e1 has %d, want what runs there", got)
	}
	w.Frozen = false
	w.settle()
	w.want("e1:1 e2:8 w1:7 w2:4")
}
