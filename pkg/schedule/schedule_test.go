package schedule

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func withScore(b Binding, affinity, spread int32) Binding {
	b.Decision = v1beta1.ClusterDecision{ClusterName: b.Cluster, Selected: true,
		ClusterScore: &v1beta1.ClusterScore{AffinityScore: ptr.To(affinity), TopologySpreadScore: ptr.To(spread)}}
	return b
}

func on(cluster string, state v1beta1.BindingState) Binding {
	return Binding{Name: "b-" + cluster, Cluster: cluster, State: state, Snapshot: "p-1", Placed: state == v1beta1.BindingStateBound,
		Decision: v1beta1.ClusterDecision{ClusterName: cluster, Selected: true}}
}

func TestFewerClustersWanted(t *testing.T) {
	const scheduled, bound = v1beta1.BindingStateScheduled, v1beta1.BindingStateBound
	for name, tc := range map[string]struct {
		bindings []Binding
		wanted   int
		left     string
	}{
		"scheduled goes before bound": {
			bindings: []Binding{withScore(on("m1", bound), 0, 0), withScore(on("m2", scheduled), 50, 1), withScore(on("m3", bound), 0, 0)},
			wanted:   2, left: "m1 m3",
		},
		"the spread counts before the affinity": {
			bindings: []Binding{withScore(on("m1", bound), 0, 1), withScore(on("m2", bound), 50, 0), withScore(on("m3", bound), 10, 1)},
			wanted:   1, left: "m3",
		},
		"no score is lower than any": {
			bindings: []Binding{withScore(on("m1", bound), -50, -1), on("m2", bound), on("m3", bound)},
			wanted:   1, left: "m1",
		},
		"then the smaller name goes": {
			bindings: []Binding{withScore(on("m1", bound), 1, 1), withScore(on("m2", bound), 1, 1)},
			wanted:   1, left: "m2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			w.policy, w.number, w.bindings = number(), tc.wanted, tc.bindings
			w.decide()
			var left []string
			for _, b := range w.bindings {
				if b.State != v1beta1.BindingStateUnscheduled {
					left = append(left, b.Cluster)
				}
			}
			if got := strings.Join(left, " "); got != tc.left {
				t.Errorf("left are %s; want %s", got, tc.left)
			}
		})
	}
}

func TestClassesOfBindings(t *testing.T) {
	deleting := on("m1", v1beta1.BindingStateBound)
	deleting.Name, deleting.Deleting = "deleted", true
	twin := on("m2", v1beta1.BindingStateScheduled)
	twin.Name = "a-twin"
	lost := on("nowhere", v1beta1.BindingStateBound)
	unnoted := on("m3", v1beta1.BindingStateUnscheduled)
	unnoted.Placed = true
	w := newWorld(t, "")
	w.policy = fixed("m1", "m2", "m3")
	r := w.request()
	r.Bindings = []Binding{deleting, twin, on("m2", v1beta1.BindingStateBound), lost, unnoted}
	d := Decide(r)

	if got := fmt.Sprint(d.Release); got != "[deleted]" {
		t.Errorf("released %s; want the deleted one", got)
	}
	if len(d.Create) != 1 || d.Create[0].ClusterName != "m1" {
		t.Errorf("created %+v; want one for m1, whose binding is on its way out", d.Create)
	}
	states := map[string]v1beta1.BindingState{}
	for _, c := range d.Change {
		states[c.Binding] = c.State
	}
	want := map[string]v1beta1.BindingState{
		"a-twin":    v1beta1.BindingStateUnscheduled, // the one with content stays
		"b-nowhere": v1beta1.BindingStateUnscheduled,
		"b-m3":      v1beta1.BindingStateBound, // it has content, so that was its state
	}
	if !reflect.DeepEqual(states, want) {
		t.Errorf("changes %v; want %v", states, want)
	}
}

func TestListIsCut(t *testing.T) {
	w := newWorld(t, "")
	for i := range 1200 {
		c := member(fmt.Sprintf("x%04d", i), "north", "prod")
		if i%2 == 1 {
			c = sick(c)
		}
		w.join(c)
	}
	d := Decide(w.request())
	if len(d.Create) != 607 || d.Found != 607 || !d.Fulfilled() {
		t.Errorf("created %d, found %d; want 607", len(d.Create), d.Found)
	}
	if len(d.Clusters) != 627 {
		t.Errorf("listed %d; want 607 chosen and 20 others", len(d.Clusters))
	}
	for _, c := range w.clusters {
		if c.Labels["region"] == "north" {
			c.Status.AgentStatus[0].Conditions[1].Status = "True"
		}
	}
	if d := Decide(w.request()); len(d.Clusters) != 1000 || d.Found != 1207 {
		t.Errorf("listed %d, found %d; want 1000 and 1207", len(d.Clusters), d.Found)
	}
}

func TestOrderOfOthers(t *testing.T) {
	w := newWorld(t, "")
	w.policy = spreading(prefer(number(), 10, labelled("env=canary")), "region", 1, hard)
	w.number = 2
	d := Decide(w.request())
	var others []string
	for _, c := range d.Clusters[2:] {
		others = append(others, c.ClusterName)
	}
	// m7 and m3 are picked; in the last round four more were candidates: larger names first, then those refused, by
	// name.
	if got, want := strings.Join(others, " "), "m5 m4 m2 m1 m6 m8 m9"; got != want {
		t.Errorf("others %s; want %s", got, want)
	}
}

func TestIneligible(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*clusterv1beta1.MemberCluster)
		why    string
	}{
		"healthy":       {change: func(*clusterv1beta1.MemberCluster) {}},
		"leaving":       {change: func(c *clusterv1beta1.MemberCluster) { c.DeletionTimestamp = ptr.To(noonTime(0)) }, why: "has left the fleet"},
		"never online":  {change: func(c *clusterv1beta1.MemberCluster) { c.Status.AgentStatus = nil }, why: "not online yet"},
		"another agent": {change: func(c *clusterv1beta1.MemberCluster) { c.Status.AgentStatus[0].Type = "Other" }, why: "not online yet"},
		"silent for 5 minutes": {
			change: func(c *clusterv1beta1.MemberCluster) { c.Status.AgentStatus[0].LastReceivedHeartbeat = noonTime(-300) },
		},
		"silent for longer": {
			change: func(c *clusterv1beta1.MemberCluster) { c.Status.AgentStatus[0].LastReceivedHeartbeat = noonTime(-301) },
			why:    "no recent heartbeat",
		},
		"not joined": {change: func(c *clusterv1beta1.MemberCluster) { c.Status.AgentStatus[0].Conditions[0].Status = "Unknown" }, why: "has not joined"},
		"of unknown health": {
			change: func(c *clusterv1beta1.MemberCluster) {
				c.Status.AgentStatus[0].Conditions = c.Status.AgentStatus[0].Conditions[:1]
			},
			why: "health condition is not available",
		},
		"unhealthy for 5 minutes": {change: func(c *clusterv1beta1.MemberCluster) {
			c.Status.AgentStatus[0].Conditions[1].Status = "False"
			c.Status.AgentStatus[0].Conditions[1].LastTransitionTime = noonTime(-300)
		}},
		"unhealthy for longer": {
			change: func(c *clusterv1beta1.MemberCluster) { c.Status.AgentStatus[0].Conditions[1].Status = "False" },
			why:    "it is unhealthy",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := member("m", "east", "prod")
			tc.change(c)
			if got := Ineligible(c, noon); (got == "") != (tc.why == "") || !strings.Contains(got, tc.why) {
				t.Errorf("got %q; want something with %q", got, tc.why)
			}
		})
	}
}
