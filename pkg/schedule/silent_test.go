package schedule

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// living are the clusters with a binding that is not removed.
func (w *world) living() (out []string) {
	for _, b := range w.bindings {
		if b.living() {
			out = append(out, b.Cluster)
		}
	}
	slices.Sort(out)
	return out
}

func TestF15AnEditGivesUpNoClusterThatIsNotHeard(t *testing.T) {
	for name, tc := range map[string]struct {
		first, then  *v1beta1.PlacementPolicy
		number, next int
		silent       []string
		want         string
		// heard is what is chosen when all are heard again; as before if it is empty.
		heard string
	}{
		"PickAll: a toleration is added": {
			first: all(), then: tolerating(all(), "east", "prod"), silent: []string{"m1", "m2", "m3", "m4", "m5", "m6"}, want: "m1 m2 m3 m4 m5 m6 m7",
		},
		"PickAll: an affinity that excludes it": {
			first: all(), then: all(labelled("region=west")), silent: []string{"m1"}, want: "m1 m6 m7", heard: "m6 m7",
		},
		"PickN: it keeps its place": {
			first: number(), number: 3, then: number(labelled("region=east")), next: 3, silent: []string{"m7"}, want: "m2 m3 m7", heard: "m1 m2 m3",
		},
		"PickN: fewer are wanted": {
			first: number(), number: 3, next: 2, silent: []string{"m7"}, want: "m5 m6",
		},
		"PickN: fewer are wanted of another kind": {
			first: number(), number: 3, then: tolerating(number(), "east", "prod"), next: 2, silent: []string{"m7"}, want: "m5 m6",
		},
		"PickFixed: named still": {
			first: fixed("m1", "m2"), then: fixed("m1", "m2", "m3"), silent: []string{"m1"}, want: "m1 m2 m3",
		},
		"PickFixed: named no longer": {
			first: fixed("m1", "m2"), then: fixed("m2", "m3"), silent: []string{"m1"}, want: "m2 m3",
		},
	} {
		for state, miss := range map[string]func(*clusterv1beta1.MemberCluster) *clusterv1beta1.MemberCluster{"silent": silenced, "overdue": overdue} {
			t.Run(name+", "+state, func(t *testing.T) {
				w := newWorld(t, "")
				w.number = tc.number
				w.use(tc.first)
				w.decide()
				for _, c := range tc.silent {
					miss(w.clusters[c])
				}
				w.number = tc.next
				if tc.then != nil {
					w.use(tc.then)
				}
				w.decide()
				if got := strings.Join(w.living(), " "); got != tc.want {
					t.Fatalf("chosen are %s; want %s", got, tc.want)
				}
				for _, c := range tc.silent {
					heard(w.clusters[c])
				}
				w.decide()
				if got := strings.Join(w.living(), " "); got != cmp.Or(tc.heard, tc.want) {
					t.Fatalf("chosen are %s when all are heard again; want %s", got, cmp.Or(tc.heard, tc.want))
				}
				if i := slices.IndexFunc(w.bindings, func(b Binding) bool { return b.CarriedOver }); i >= 0 {
					t.Fatalf("%s is still carried over", w.bindings[i].Name)
				}
			})
		}
	}
}

// A cluster that was given up and is not heard is taken up again when the edit is reverted: otherwise what it has would
// be removed when it is heard.
func TestARevertedEditTakesUpAClusterThatIsNotHeard(t *testing.T) {
	for name, tc := range map[string]struct {
		policy, edited *v1beta1.PlacementPolicy
		number, fewer  int
		silent         string
	}{
		"PickFixed":                 {policy: fixed("m1", "m2"), edited: fixed("m2"), silent: "m1"},
		"PickFixed, then PickAll":   {policy: all(), edited: fixed("m2"), silent: "m1"},
		"PickN, without a stand-in": {policy: number(labelled("region=west")), number: 2, fewer: 1, silent: "m7"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			w.number = tc.number
			w.use(tc.policy)
			w.decide()
			before := w.living()
			w.bind(before...)
			silenced(w.clusters[tc.silent])
			if w.number = tc.fewer; tc.edited != nil {
				w.use(tc.edited)
			}
			w.decide()
			if slices.Contains(w.living(), tc.silent) {
				t.Fatalf("%s is still chosen", tc.silent)
			}
			if w.number = tc.number; tc.edited != nil {
				w.use(tc.policy)
			}
			w.decide()
			if got := w.living(); !slices.Equal(got, before) || w.bindingTo(tc.silent).State != v1beta1.BindingStateBound {
				t.Fatalf("chosen are %v; want %v, and %s bound as before", got, before, tc.silent)
			}
			heard(w.clusters[tc.silent])
			if d := w.decide(); len(d.Create)+len(d.Change) > 0 {
				t.Fatalf("the heartbeat changes %+v", d)
			}
		})
	}
}

func TestAStandInIsPreferredToAClusterThatIsNotHeard(t *testing.T) {
	w := newWorld(t, "")
	w.number = 2
	w.use(number(labelled("region=west")))
	w.decide()
	w.bind("m6", "m7")
	silenced(w.clusters["m7"])
	w.number = 1
	w.decide()
	w.clusters["m5"].Labels["region"] = "west"
	w.number = 2
	w.decide()
	if got := w.living(); !slices.Equal(got, []string{"m5", "m6"}) {
		t.Fatalf("chosen are %v", got)
	}
}

// The policy is decided for a cluster that an earlier one picked when it is heard and well, and stays.
func TestACarriedOverClusterIsDecidedWhenItIsWell(t *testing.T) {
	w := newWorld(t, "")
	w.use(all())
	w.decide()
	silenced(w.clusters["m1"])
	w.use(all(labelled("region=west")))
	w.decide()
	sick(heard(w.clusters["m1"]))
	if w.decide(); !slices.Contains(w.living(), "m1") {
		t.Fatal("m1 was given up, and is not well yet")
	}
	w.clusters["m1"].DeletionTimestamp = new(noonTime(0))
	if w.decide(); !slices.Contains(w.living(), "m1") {
		t.Fatal("m1 was given up, and leaves")
	}
	w.clusters["m1"] = member("m1", "east", "prod")
	if w.decide(); slices.Contains(w.living(), "m1") {
		t.Fatal("m1 is well, and still chosen")
	}
}

// Whatever part of a decision is written before the hub agent is killed, a cluster that is not heard stays.
func TestAnInterruptedDecisionGivesUpNoClusterThatIsNotHeard(t *testing.T) {
	w := newWorld(t, "")
	w.number = 3
	w.use(number(labelled("region=east|west")))
	w.decide()
	silenced(w.clusters["m7"])
	w.use(number(labelled("region=central|east")))
	d := Decide(w.request())
	for _, c := range d.Change {
		if c.CarriedOver { // these are written first, see hub/scheduler
			w.apply(Decision{Snapshot: d.Snapshot, Change: []Change{c}})
		}
	}
	w.apply(Decision{Snapshot: d.Snapshot, Create: d.Create[:1]})
	if w.decide(); !slices.Contains(w.living(), "m7") || len(w.living()) != 3 {
		t.Fatalf("chosen are %v", w.living())
	}
}

// A region in which every cluster is silent does not keep the others from being picked.
func TestF7ASilentRegionDoesNotCountForSpread(t *testing.T) {
	w := newWorld(t, "")
	w.number = 3
	w.use(spreading(number(), "region", 1, hard))
	w.decide()
	w.bindings = slices.DeleteFunc(w.bindings, func(b Binding) bool { return w.clusters[b.Cluster].Labels["region"] == "west" })
	silenced(w.clusters["m6"])
	if d := w.decide(); d.Found != 3 || !slices.Contains(w.living(), "m7") {
		t.Fatalf("with one silent cluster in it the region counts, but chosen are %v", w.living())
	}
	w.bindings = slices.DeleteFunc(w.bindings, func(b Binding) bool { return b.Cluster == "m7" })
	silenced(w.clusters["m7"])
	if d := w.decide(); d.Found != 3 {
		t.Fatalf("the region is silent, and chosen are %v", w.living())
	}
}

func TestAClusterThatIsKeptUnheardShowsWhy(t *testing.T) {
	w := newWorld(t, "")
	w.use(all())
	w.decide()
	silenced(w.clusters["m1"])
	w.use(all(labelled("region=west")))
	d := w.decide()
	v, _ := d.Of("m1")
	i := slices.IndexFunc(d.Clusters, func(c v1beta1.ClusterDecision) bool { return c.ClusterName == "m1" })
	if v.Outcome != Kept || i < 0 || !d.Clusters[i].Selected || !strings.Contains(d.Clusters[i].Reason, "the hub does not hear from its member agent") {
		t.Fatalf("%+v, %+v", v, d.Clusters)
	}
	w.clusters["m1"].DeletionTimestamp = new(noonTime(0))
	w.use(all(labelled("region=central")))
	w.decide()
	if slices.Contains(w.living(), "m1") {
		t.Fatal("a cluster that leaves is awaited")
	}
}

// Whatever is edited, a cluster without heartbeats keeps its binding while it is in the fleet, is not leaving,
// PickFixed still names it, and no fewer clusters are desired than have bindings.
func TestNoEditGivesUpAClusterThatIsNotHeard(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, clusters: map[string]*clusterv1beta1.MemberCluster{}, snapshot: 1}
		w.join(rapid.SliceOfN(rapid.Custom(zonedCluster), 3, 10).Draw(rt, "fleet")...)
		w.policy, w.number = anyPolicy(rt), rapid.IntRange(0, 6).Draw(rt, "number")
		w.decide()
		for range rapid.IntRange(1, 4).Draw(rt, "edits") {
			for _, c := range w.living() {
				if rapid.Bool().Draw(rt, "falls silent") {
					silenced(w.clusters[c])
				}
			}
			before := w.living()
			w.use(anyPolicy(rt))
			w.number = rapid.IntRange(0, 6).Draw(rt, "number")
			w.decide()
			if w.policy.PlacementType == v1beta1.PlacementTypePickN && w.number < len(before) {
				continue
			}
			for _, c := range before {
				named := w.policy.PlacementType != v1beta1.PlacementTypePickFixed || slices.Contains(w.policy.ClusterNames, c)
				if unheard(w.clusters[c], noon) && named && !slices.Contains(w.living(), c) {
					rt.Fatalf("cluster %s was given up; living were %v", c, before)
				}
			}
		}
	})
}
