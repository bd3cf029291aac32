package schedule

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// nearest shows the nearest changes: steps joined by " + ", alternatives by " | ", each step as on: do.
func nearest(r Request, cluster string) string {
	var out []string
	for _, change := range NearestChanges(r, cluster) {
		var steps []string
		for _, s := range change {
			steps = append(steps, s.On+": "+s.Do)
		}
		out = append(out, strings.Join(steps, " + "))
	}
	return strings.Join(out, " | ")
}

func TestNearestChanges(t *testing.T) {
	anyTerm := v1beta1.ClusterSelectorTerm{}
	exists := v1beta1.ClusterSelectorTerm{LabelSelector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "gpu", Operator: metav1.LabelSelectorOpExists}},
	}}
	own := v1beta1.ClusterSelectorTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes-fleet.io/member-name": "m2"}}}
	for name, tc := range map[string]struct {
		policy    *v1beta1.PlacementPolicy
		number    int
		namespace string
		change    func(*world)
		// cluster is the cluster to explain, after the first decision was carried out.
		cluster, want string
	}{
		"a label": {policy: all(labelled("region=west")), cluster: "m1", want: "MemberCluster m1: set label region=west (it is east)"},
		"a label of several, with another one": {
			policy: all(labelled("region=west|south", "env=canary")), cluster: "m1",
			want: "MemberCluster m1: set label env=canary (it is prod) + MemberCluster m1: set label region=south (it is east)",
		},
		"a label that must not be": {policy: all(labelled("env!=prod")), cluster: "m1", want: "MemberCluster m1: remove label env=prod"},
		"a label that must be":     {policy: all(exists), cluster: "m1", want: "MemberCluster m1: set label gpu to any value"},
		"the shorter of two terms": {
			policy: all(labelled("region=west", "env=canary"), labelled("region=central")), cluster: "m1",
			want: "MemberCluster m1: set label region=central (it is east)",
		},
		"two terms alike": {
			policy: all(labelled("region=west"), labelled("region=central")), cluster: "m1",
			want: "MemberCluster m1: set label region=west (it is east) | MemberCluster m1: set label region=central (it is east)",
		},
		"the name of a cluster cannot be changed": {policy: all(own), cluster: "m1"},
		"nothing meets this":                      {policy: all(having(anyTerm, "nodes Gt 4", "nodes Lt 4")), cluster: "m1"},
		"a policy that makes no sense":            {policy: all(having(anyTerm, "nodes Ge many")), cluster: "m1"},
		"two more CPUs": {
			policy: all(having(anyTerm, "available-cpu Ge 4")), cluster: "m1",
			want: "MemberCluster m1: report property resources.kubernetes-fleet.io/available-cpu of at least 4: 2 more than now",
		},
		"fewer nodes": {
			policy: all(having(anyTerm, "nodes Lt 6")), cluster: "m3",
			want: "MemberCluster m3: report property kubernetes-fleet.io/node-count of less than 6: 1 less than now",
		},
		"a property that is not there": {
			policy: all(having(anyTerm, "absent Gt 1")), cluster: "m3",
			want: "MemberCluster m3: report property example.com/absent of more than 1",
		},
		"a fresh heartbeat": {
			change: func(w *world) { silenced(w.clusters["m1"]) }, cluster: "m1",
			want: "MemberCluster m1: have its member agent send a fresh heartbeat (the last was 1h0m0s ago)",
		},
		"health":     {cluster: "m8", want: "MemberCluster m8: have its member agent report it healthy"},
		"membership": {cluster: "m9", want: "MemberCluster m9: have its member agent join"},
		"an agent": {
			change: func(w *world) { w.clusters["m1"].Status.AgentStatus = nil }, cluster: "m1",
			want: "MemberCluster m1: have its member agent report: heartbeat, joined, healthy",
		},
		"a cluster that leaves": {change: func(w *world) { w.clusters["m1"].DeletionTimestamp = &metav1.Time{Time: noon} }, cluster: "m1"},
		"a namespace": {
			namespace: "app", cluster: "m1",
			change: func(w *world) {
				w.clusters["m1"].Status.Conditions = []metav1.Condition{{Type: clusterv1beta1.ConditionNamespaceCollectionSucceeded}}
			},
			want: "MemberCluster m1: create namespace app on the cluster",
		},
		"a taint": {
			change: func(w *world) { w.taint("m1") }, cluster: "m1",
			want: "MemberCluster m1: remove taint east=prod:NoSchedule | policy: tolerate taint east=prod:NoSchedule",
		},
		"a taint that makes placements leave": {
			change: func(w *world) { evicting(w.clusters["m1"], 0) }, cluster: "m1",
			want: "MemberCluster m1: remove taint leave=now:NoSchedule,evict | policy: tolerate taint leave=now:NoSchedule,evict",
		},
		"a taint that is tolerated for a time": {
			policy: enduring(number(), 600), number: 7, change: func(w *world) { evicting(w.clusters["m1"], 0) }, cluster: "m1",
			want: "MemberCluster m1: remove taint leave=now:NoSchedule,evict | " +
				"policy: remove tolerationSeconds from what tolerates taint leave=now:NoSchedule,evict",
		},
		"a taint that is tolerated for a time, and one that is not": {
			policy: enduring(number(), 600), number: 7, cluster: "m1",
			change: func(w *world) {
				c := evicting(w.clusters["m1"], 0)
				c.Spec.Taints = append(c.Spec.Taints, tainted(member("", "east", "prod")).Spec.Taints...)
			},
			want: "MemberCluster m1: remove taint east=prod:NoSchedule + MemberCluster m1: remove taint leave=now:NoSchedule,evict | " +
				"MemberCluster m1: remove taint east=prod:NoSchedule + policy: remove tolerationSeconds from what tolerates taint leave=now:NoSchedule,evict | " +
				"policy: tolerate taint east=prod:NoSchedule + MemberCluster m1: remove taint leave=now:NoSchedule,evict",
		},
		"everything at once": {
			policy: all(labelled("region=west")), change: func(w *world) { w.taint("m1"); silenced(w.clusters["m1"]) }, cluster: "m1",
			want: "MemberCluster m1: set label region=west (it is east) + " +
				"MemberCluster m1: have its member agent send a fresh heartbeat (the last was 1h0m0s ago) + " +
				"MemberCluster m1: remove taint east=prod:NoSchedule | " +
				"MemberCluster m1: set label region=west (it is east) + " +
				"MemberCluster m1: have its member agent send a fresh heartbeat (the last was 1h0m0s ago) + " +
				"policy: tolerate taint east=prod:NoSchedule",
		},
		"one more cluster":    {policy: number(), number: 2, cluster: "m5", want: "policy: set numberOfClusters to 3 (it is 2)"},
		"three more clusters": {policy: number(), number: 2, cluster: "m3", want: "policy: set numberOfClusters to 5 (it is 2)"},
		"a taint and then one more cluster": {
			policy: number(), number: 6, change: func(w *world) { w.taint("m1") }, cluster: "m1",
			// With one tolerated taint all clusters are picked anew, and the larger names come first.
			want: "MemberCluster m1: remove taint east=prod:NoSchedule + policy: set numberOfClusters to 7 (it is 6) | " +
				"policy: tolerate taint east=prod:NoSchedule + policy: set numberOfClusters to 7 (it is 6)",
		},
		"a skew": {
			policy: spreading(number(), "env", 1, hard), number: 9, cluster: "m2",
			want: "MemberCluster m2: set label env=canary (it is prod) | policy: set maxSkew of the spread constraint on env to 2",
		},
		"a larger skew, and a place before others": {
			policy: spreading(number(labelled("env=prod")), "env", 1, hard), number: 9, cluster: "m1",
			want: "policy: set maxSkew of the spread constraint on env to 5",
		},
		"another domain": {
			policy: spreading(number(), "region", 1, hard), number: 9, cluster: "m1",
			change: func(w *world) { w.join(member("n1", "north", "prod"), silenced(member("n2", "north", "prod"))) },
			want: "MemberCluster m1: set label region=north (it is east) | " +
				"policy: set maxSkew of the spread constraint on region to 2",
		},
		"another placement's cluster": {
			policy: requiringPlacements(all(), "with db"), cluster: "m1",
			change: func(w *world) { w.others = []Placement{other("db", "", "m4")} },
			want:   `placement db: have it pick m1 | policy: remove the required placement affinity term with placement "db"`,
		},
		"another placement": {
			policy: requiringPlacements(all(), "with db"), cluster: "m1",
			want: `placement db: create it, and have it pick m1 | policy: remove the required placement affinity term with placement "db"`,
		},
		"the region of another placement": {
			policy: requiringPlacements(all(), "with tier=back by region"), cluster: "m1",
			change: func(w *world) { w.others = []Placement{other("db", "back", "m4", "m6")} },
			want: "placement db: have it pick m1 | MemberCluster m1: set label region=central (it is east) | " +
				"policy: remove the required placement affinity term with a placement with labels tier=back (by label region)",
		},
		"a placement with labels": {
			policy: requiringPlacements(all(), "with tier=back"), cluster: "m1",
			want: "policy: remove the required placement affinity term with a placement with labels tier=back",
		},
		"the placement itself": {
			policy: requiringPlacements(all(), "with p"), cluster: "m1", want: `policy: remove the required placement affinity term with placement "p"`,
		},
		"a cluster that another placement leaves": {
			policy: requiringPlacements(all(), "apart db by region"), cluster: "m1",
			change: func(w *world) { w.others = []Placement{other("db", "", "m2", "m3", "m4")} },
			want: "placement db: have it leave m2, m3 | MemberCluster m1: remove label region=east | " +
				`policy: remove the required placement affinity term apart from placement "db" (by label region)`,
		},
		"clusters that two placements leave, or one term less": {
			policy: requiringPlacements(all(labelled("env=canary")), "apart all"), cluster: "m3",
			change: func(w *world) { w.others = []Placement{other("db", "", "m3"), other("web", "", "m3")} },
			want:   "policy: remove the required placement affinity term apart from all other placements",
		},

		"a name":               {policy: fixed("m1"), cluster: "m2", want: "policy: add m2 to clusterNames"},
		"a cluster to be made": {policy: fixed("m1", "new"), cluster: "new", want: "fleet: join a cluster by the name new"},
		"no such cluster":      {cluster: "ghost"},

		"chosen, by number": {policy: number(), number: 3, cluster: "m6", want: "policy: set numberOfClusters to 1 (it is 3)"},
		"chosen, by name":   {policy: fixed("m1", "m2"), cluster: "m1", want: "policy: remove m1 from clusterNames"},
		"chosen, the only name": {
			policy: fixed("m1"), cluster: "m1", // a policy that names no cluster decides nothing
		},
		"chosen with all": {
			cluster: "m1", want: "MemberCluster m1: add a taint that the policy does not tolerate + binding b001-m1: evict it with a ClusterResourcePlacementEviction",
		},
		"chosen with all, in a namespace": {
			namespace: "app", cluster: "m1", want: "MemberCluster m1: add a taint that the policy does not tolerate + binding b001-m1: evict it with a ResourcePlacementEviction",
		},
		"chosen with all, taints or not": {
			policy:  &v1beta1.PlacementPolicy{Tolerations: []v1beta1.Toleration{{Operator: corev1.TolerationOpExists}}},
			cluster: "m1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := withProperties(newWorld(t, tc.namespace))
			w.use(tc.policy)
			w.number = tc.number
			if tc.change != nil {
				tc.change(w)
			}
			w.decide()
			if got := nearest(w.request(), tc.cluster); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestNearestChangesOfWhatIsKeptOnly(t *testing.T) {
	w := newWorld(t, "")
	w.use(all(labelled("region=east")))
	w.decide()
	w.clusters["m1"].Labels["region"] = "west"
	if got, want := nearest(w.request(), "m1"), "policy: edit it in any way: the scheduler then picks all clusters anew"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

func TestNearestChangesOfWhatIsNotCarriedOut(t *testing.T) {
	w := newWorld(t, "")
	w.use(number())
	w.number = 2
	if got, want := nearest(w.request(), "m6"), "policy: set numberOfClusters to 1 (it is 2) | MemberCluster m6: add a taint that the policy does not tolerate"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

// A user can make every returned change, whatever the world: it names the cluster, or the policy, and has a step.
func TestNearestChangesInAnyWorld(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, namespace: rapid.SampledFrom([]string{"", "app"}).Draw(rt, "namespace"), clusters: map[string]*clusterv1beta1.MemberCluster{}, snapshot: 1}
		w.policy, w.number, w.others = anyPolicy(rt), rapid.IntRange(0, 6).Draw(rt, "number"), anyOthers(rt)
		for range rapid.IntRange(1, 3).Draw(rt, "steps") {
			w.disturb(rt)
			w.decide()
		}
		r := w.request()
		before := slices.Clone(r.Clusters)
		policy := r.Policy.DeepCopy()
		for _, v := range Decide(r).Verdicts {
			for _, change := range NearestChanges(r, v.Cluster) {
				if len(change) == 0 || len(change) > 2*mostSteps {
					rt.Fatalf("%s: %d steps", v.Cluster, len(change))
				}
			}
		}
		if !slices.Equal(before, r.Clusters) || !reflect.DeepEqual(policy, r.Policy) {
			rt.Fatal("asking has changed the world")
		}
	})
}
