package schedule

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/validate"
	"github.com/flagship-fleet/flagship/pkg/validate/anyspec"
)

func TestRequiredPlacements(t *testing.T) {
	db, cache, queue := other("db", "back", "m1", "m4"), other("cache", "back", "m6"), other("queue", "")
	for name, tc := range map[string]struct {
		terms  string // separated by commas
		others []Placement
		picked string
		// cluster is refused for the reason why, in more detail for the reason and more.
		cluster, why, more string
	}{
		"with one": {
			terms: "with db", others: []Placement{db, cache}, picked: "m1 m4", cluster: "m2",
			why: `it must be with placement "db", which has not picked it`, more: "; picked are m1, m4",
		},
		"with one in the same region": {
			terms: "with db by region", others: []Placement{db, cache}, picked: "m1 m2 m3 m4 m5", cluster: "m6",
			why:  `it must be with placement "db" (by label region), which has picked no cluster with the same value`,
			more: "; it has region=west, picked are clusters with region=central, east",
		},
		"with one that does not exist": {
			terms: "with db", others: []Placement{cache}, cluster: "m1", why: `it must be with placement "db", which does not exist`,
		},
		"with one that has picked nothing": {
			terms: "with queue by region", others: []Placement{queue}, cluster: "m1",
			why: `it must be with placement "queue" (by label region), which has picked no cluster yet`,
		},
		"with one on clusters that are gone": {
			terms: "with old", others: []Placement{other("old", "", "ghost")}, cluster: "m1",
			why: `it must be with placement "old", which has not picked it`,
		},
		"with itself": {
			terms: "with p", others: []Placement{other("p", "", "m1")}, cluster: "m1",
			why: `it must be with placement "p", which is this placement itself`,
		},
		"with one by a label that clusters lack": {
			terms: "with db by zone", others: []Placement{db}, cluster: "m1",
			why: `it must be with placement "db" (by label zone), and it does not have that label`,
		},
		"with some by label": {
			terms: "with tier=back", others: []Placement{queue, db, cache}, picked: "m1 m4 m6", cluster: "m2",
			why: "it must be with a placement with labels tier=back, and none of them has picked it", more: "; picked are m1, m4, m6",
		},
		"with some that do not exist": {
			terms: "with tier=front", others: []Placement{db}, cluster: "m1",
			why: "it must be with a placement with labels tier=front, and there is none",
		},
		"with any that has picked nothing": {
			terms: "with all", others: []Placement{queue}, cluster: "m1", why: "it must be with another placement, and none of them has picked a cluster yet",
		},
		"apart from one": {
			terms: "apart db", others: []Placement{db, cache}, picked: "m2 m3 m5 m6 m7", cluster: "m1",
			why: `it must be apart from placement "db", which has picked it`,
		},
		"apart from one in the same region": {
			terms: "apart db by region", others: []Placement{db, cache}, picked: "m6 m7", cluster: "m2",
			why:  `it must be apart from placement "db" (by label region), which has picked a cluster with the same value`,
			more: "; m1 has region=east",
		},
		"apart from one by a label that clusters lack": {terms: "apart db by zone", others: []Placement{db}, picked: healthy},
		"apart from one that does not exist":           {terms: "apart db", picked: healthy},
		"apart from one that has picked nothing":       {terms: "apart queue", others: []Placement{queue}, picked: healthy},
		"apart from itself":                            {terms: "apart p", others: []Placement{other("p", "", "m1")}, picked: healthy},
		"apart from all": {
			terms: "apart all", others: []Placement{db, cache, other("p", "", "m2")}, picked: "m2 m3 m5 m7", cluster: "m6",
			why: `it must be apart from all other placements, and placement "cache" has picked it`,
		},
		"apart from some, the first is named": {
			terms: "apart tier=back by region", others: []Placement{db, other("aa", "back", "m5")}, picked: "m6 m7", cluster: "m4",
			why:  `it must be apart from placements with labels tier=back (by label region), and placement "aa" has picked a cluster with the same value`,
			more: "; m5 has region=central",
		},
		"all terms": {
			terms: "with db by region,apart cache by env", others: []Placement{db, cache}, picked: "m3", cluster: "m2",
			why:  `it must be apart from placement "cache" (by label env), which has picked a cluster with the same value`,
			more: "; m6 has env=prod",
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				w.others = tc.others
				w.use(requiringPlacements(all(), strings.Split(tc.terms, ",")...))
				w.expect(tc.picked, scored(tc.picked), "*", true)
				if tc.cluster == "" {
					return
				}
				v, _ := Decide(w.request()).Of(tc.cluster)
				if v.Outcome != Refused || v.Objection.Filter != FilterPlacements || v.Objection.Reason() != tc.why || v.Objection.Detail() != tc.why+tc.more {
					t.Errorf("%s is %s: %s\n%s\nwant %s\n%s", tc.cluster, v.Outcome, v.Objection.Reason(), v.Objection.Detail(), tc.why, tc.more)
				}
			})
		})
	}
}

func TestPreferredPlacements(t *testing.T) {
	both(t, func(_ *testing.T, w *world) {
		w.others = []Placement{other("db", "", "m1"), other("cache", "", "m2")}
		w.use(preferringPlacements(preferringPlacements(prefer(number(), 5, labelled("env=canary")), 20, "with db by region"), -30, "with cache"))
		w.number = 3
		w.expect("m1 m3 m7", "m1:20/0 m3:25/0 m7:5/0", "m2:-10/0 m4:0/0 m5:0/0 m6:0/0 m8 m9", true)
	})
}

// What is invalid in a required term picks no cluster, and in a preferred one adds nothing.
func TestInvalidTermsAboutPlacements(t *testing.T) {
	wrong := aboutPlacements("apart all")
	wrong.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "Near"}}
	both(t, func(t *testing.T, w *world) {
		p := requiringPlacements(all(), "apart db")
		required := &p.Affinity.PlacementAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		*required = append(*required, wrong)
		w.use(p)
		w.expect("", "", "*", true)
		v, _ := Decide(w.request()).Of("m1")
		want := `the policy has an invalid placement affinity term: selector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator`
		if got := v.Objection.Reason(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got, want := nearest(w.request(), "m1"), "policy: remove the required placement affinity term number 2"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		preferred := preferringPlacements(number(), 7, "apart all")
		preferred.Affinity.PlacementAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].Preference = wrong
		w.use(preferred)
		w.number = 1
		w.expect("m7/2", "m7:0/0", "*", true)
	})
}

func TestPickedClustersStayWhenOthersMove(t *testing.T) {
	both(t, func(_ *testing.T, w *world) {
		w.others = []Placement{other("db", "", "m1")}
		w.use(requiringPlacements(number(), "with db by region"))
		w.number = 2
		w.expect("m2 m3", scored("m2 m3"), "*", true)
		w.others = []Placement{other("db", "", "m4")}
		w.expect("m2 m3", scored("m2 m3"), "*", true)
		w.number = 4
		w.expect("m2 m3 m4 m5", scored("m2 m3 m4 m5"), "*", true)
		w.use(requiringPlacements(number(), "with db by region", "apart nothing"))
		w.number = 2
		w.expect("m2=Unscheduled/1 m3=Unscheduled/1 m4/2 m5/2", scored("m4 m5"), "*", true)
	})
}

// What replaces a cluster follows the terms.
func TestReplacementsFollowOtherPlacements(t *testing.T) {
	w := newWorld(t, "")
	w.others = []Placement{other("db", "", "m1")}
	w.use(requiringPlacements(number(), "with db"))
	w.number = 1
	w.expect("m1", scored("m1"), "*", true)
	w.bind("m1")
	evicting(w.clusters["m1"], 0)
	w.decide()
	if got := w.bound(); got != "m1=Bound" {
		t.Errorf("without another cluster of db: %s", got)
	}
	w.others = []Placement{other("db", "", "m4")}
	w.decide()
	if got := w.bound(); got != "m1=Unscheduled m4" {
		t.Errorf("with another cluster of db: %s", got)
	}
}

// The scheduler refuses the terms that admission refuses, and no others.
func TestTermsAboutPlacementsAreReadableIfTheyAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		term := anyspec.PlacementAffinityTerm(t)
		if wrong := len(validate.PlacementAffinityTerm(term, nil)) > 0; wrong != (compilePlacementTerm(term).wrong != nil) {
			t.Fatalf("%+v: wrong %v", term, wrong)
		}
	})
}

func TestPlacementOf(t *testing.T) {
	for _, namespace := range []string{"", "app"} {
		key := types.NamespacedName{Namespace: namespace, Name: "db"}
		placement := scope.Placements.New(key)
		placement.SetName("db")
		placement.SetUID("now")
		placement.SetLabels(map[string]string{"tier": "back"})
		binding := func(cluster, uid string, state v1beta1.BindingState) v1beta1.BindingObject {
			b := scope.Bindings.New(key)
			b.GetSpec().TargetCluster, b.GetSpec().State = cluster, state
			if uid != "" {
				b.SetAnnotations(map[string]string{contract.AnnotationPlacementUID: uid})
			}
			return b
		}
		deleted := binding("m6", "now", v1beta1.BindingStateBound)
		deleted.SetDeletionTimestamp(ptr.To(metav1.NewTime(noon)))
		got := PlacementOf(placement, []v1beta1.BindingObject{
			binding("m3", "now", v1beta1.BindingStateBound), binding("m2", "now", v1beta1.BindingStateScheduled), binding("m1", "", v1beta1.BindingStateBound),
			binding("m4", "now", v1beta1.BindingStateUnscheduled), binding("m5", "before", v1beta1.BindingStateBound), deleted,
		})
		if got.Name != "db" || got.Labels["tier"] != "back" || strings.Join(got.Clusters, " ") != "m1 m2 m3" {
			t.Errorf("got %+v", got)
		}
	}
}

func TestSelection(t *testing.T) {
	back := map[string]string{"tier": "back"}
	broken := requiringPlacements(all(), "with tier=back")
	broken.Affinity.PlacementAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].Relation = "Near"
	for name, tc := range map[string]struct {
		policy   *v1beta1.PlacementPolicy
		empty    bool
		names    string
		byLabels bool
		has      string // of db and cache, which have the label, and web
	}{
		"no policy":   {empty: true},
		"no terms":    {policy: number(), empty: true},
		"fixed":       {policy: requiringPlacements(fixed("m1"), "with db"), empty: true},
		"names":       {policy: preferringPlacements(requiringPlacements(number(), "with db", "apart db by zone"), 1, "apart web"), names: "db web", has: "db web"},
		"all":         {policy: requiringPlacements(all(), "apart all"), byLabels: true, has: "db cache web"},
		"labels":      {policy: requiringPlacements(all(), "apart tier=back"), byLabels: true, has: "db cache"},
		"all prefer":  {policy: preferringPlacements(all(), 1, "with db"), empty: true},
		"what is not": {policy: broken},
	} {
		s := SelectionOf(tc.policy)
		var has []string
		for _, other := range []string{"db", "cache", "web"} {
			labels := back
			if other == "web" {
				labels = nil
			}
			if s.Has(other, labels) {
				has = append(has, other)
			}
		}
		if s.Empty() != tc.empty || strings.Join(s.Names(), " ") != tc.names || s.ByLabels() != tc.byLabels || strings.Join(has, " ") != tc.has {
			t.Errorf("%s: empty %v, names %v, by labels %v, has %v", name, s.Empty(), s.Names(), s.ByLabels(), has)
		}
	}
}
