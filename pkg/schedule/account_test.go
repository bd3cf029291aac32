package schedule

import (
	"strings"
	"testing"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// notes shows what an account of every cluster notes, as cluster: note; note.
func notes(r Request) map[string]string {
	out := map[string]string{}
	for _, a := range Decide(r).Accounts(r) {
		if len(a.Notes) > 0 {
			out[a.Cluster] = strings.Join(a.Notes, "; ")
		}
	}
	return out
}

func TestAccountsOfWhatIsRecorded(t *testing.T) {
	for name, tc := range map[string]struct {
		// change is made after the first decision, to pick three of the clusters in the east and west, was carried
		// out.
		change func(*world)
		want   map[string]string
	}{
		"nothing": {change: func(*world) {}},
		"a pick that does not match any more": {
			change: func(w *world) { w.clusters["m7"].Labels["region"] = "central" },
			want:   map[string]string{"m7": "kept although it would not be picked now (ClusterAffinity: "},
		},
		"a pick that has vanished": {
			change: func(w *world) { delete(w.clusters, "m7") },
			want: map[string]string{
				"m7": "binding b003-m7 would be removed now; the recorded decision is the opposite",
				"m2": "it would be picked now, but has no binding yet; the recorded decision is the opposite",
			},
		},
		"another policy": {
			change: func(w *world) { w.use(number(labelled("region=central|west"))) },
			want: map[string]string{
				"m3": "binding b001-m3 would be removed now",
				"m5": "it would be picked now, but has no binding yet",
				"m6": "binding b002-m6 is for policy p-1 and would be adopted now",
				"m7": "binding b003-m7 is for policy p-1 and would be adopted now",
			},
		},
		"fewer, carried out": {
			change: func(w *world) { w.number = 2; w.decide() },
			want:   map[string]string{"m3": "binding b001-m3, from an earlier pick, is being deleted"},
		},
		"fewer, and the cluster is not heard": {
			change: func(w *world) { w.bind("m6"); silenced(w.clusters["m6"]); w.number = 2; w.decide() },
			want:   map[string]string{"m6": "binding b002-m6 is from an earlier pick; what it placed stays until the hub hears from the member agent again"},
		},
		"another policy, and a cluster that is not heard": {
			change: func(w *world) {
				silenced(w.clusters["m3"])
				w.use(number(labelled("region=central|west")))
				w.decide()
			},
			want: map[string]string{"m3": "an earlier policy picked it; the hub decides on the current policy when it hears from the member agent again"},
		},
		"another reason": {
			change: func(w *world) { w.clusters["m4"].Labels["region"] = "east"; w.taint("m4") },
			want:   map[string]string{"m4": "the recorded decision has another reason: cannot be chosen: it does not match the required affinity term"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			w.use(number(labelled("region=east|west")))
			w.number = 3
			w.decide()
			tc.change(w)
			got := notes(w.request())
			for cluster, text := range got {
				if want, ok := tc.want[cluster]; !ok || !strings.HasPrefix(text, want) {
					t.Errorf("%s: %s; want %s", cluster, text, want)
				}
			}
			for cluster, want := range tc.want {
				if got[cluster] == "" {
					t.Errorf("%s: nothing is noted; want %s", cluster, want)
				}
			}
		})
	}
}

// Only a binding created by another client can be to a cluster that the policy never named.
func TestAccountOfABindingThatClusterNamesDoesNotName(t *testing.T) {
	w := newWorld(t, "")
	w.use(fixed("m1"))
	w.decide()
	byHand := w.bindings[0]
	byHand.Name, byHand.Cluster, byHand.Decision.ClusterName = "by-hand", "m2", "m2"
	w.bindings = append(w.bindings, byHand)
	want := "kept although it would not be picked now (ClusterNames: clusterNames of the policy does not name it): picked clusters stay until the policy changes"
	if got := notes(w.request()); len(got) != 1 || got["m2"] != want {
		t.Errorf("got %v; want m2: %s", got, want)
	}
}

// Every cluster has a verdict, however many decisions the status may list.
func TestVerdictsOnEveryCluster(t *testing.T) {
	for name, policy := range map[string]*v1beta1.PlacementPolicy{
		"PickAll": all(labelled("env=prod")), "PickN": spreading(number(labelled("env=prod")), "region", 1, hard), "PickFixed": fixed("m1", "m9", "ghost"),
	} {
		w := newWorld(t, "")
		w.use(policy)
		w.number = 2
		for range 2 { // before and after it is carried out
			d := w.decide()
			want := len(w.clusters)
			if name == "PickFixed" {
				want++
			}
			if len(d.Verdicts) != want {
				t.Errorf("%s: %d verdicts; want %d", name, len(d.Verdicts), want)
			}
			for _, v := range d.Verdicts {
				refused := v.Outcome == Refused
				if refused != (v.Objection != nil) || refused && (v.Objection.Reason() == "" || v.Objection.Filter == "") {
					t.Errorf("%s: %s is %s with objection %v", name, v.Cluster, v.Outcome, v.Objection)
				}
				if scored := v.Score != nil; scored != (name != "PickFixed" && !refused) {
					t.Errorf("%s: %s is %s with score %v", name, v.Cluster, v.Outcome, v.Score)
				}
			}
		}
	}
}
