package schedule

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

const (
	healthy = "m1 m2 m3 m4 m5 m6 m7"
	hard    = corev1.DoNotSchedule
	soft    = corev1.ScheduleAnyway
)

// both runs a scenario for a ClusterResourcePlacement and for a ResourcePlacement.
func both(t *testing.T, play func(*testing.T, *world)) {
	for _, namespace := range []string{"", "app"} {
		t.Run("namespace "+namespace, func(t *testing.T) { play(t, newWorld(t, namespace)) })
	}
}

func TestPickAll(t *testing.T) {
	orTerms := []v1beta1.ClusterSelectorTerm{labelled("env=canary"), labelled("region!=east|central")}
	andTerms := labelled("env=canary", "region=east|west")

	// contract:297 contract:298 contract:302
	t.Run("every healthy cluster, and a new one that is kept when it gets sick", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.expect(healthy, scored(healthy), "m8 m9", true)
			w.join(sick(member("new", "unknown", "unknown")))
			w.expect(healthy, scored(healthy), "m8 m9 new", true)
			w.join(member("new", "unknown", "unknown"))
			w.expect(healthy+" new", scored(healthy+" new"), "m8 m9", true)
			w.join(sick(member("new", "unknown", "unknown")))
			w.expect(healthy+" new", scored(healthy+" new"), "m8 m9", true)
		})
	})
	// contract:299 contract:303
	t.Run("terms are alternatives", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.use(all(orTerms...))
			w.expect("m3 m6 m7", scored("m3 m6 m7"), "m1 m2 m4 m5 m8 m9", true)
		})
	})
	// contract:300 contract:304
	t.Run("a new policy keeps the state of what it still picks", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.use(all(andTerms))
			w.expect("m3 m7", scored("m3 m7"), "m1 m2 m4 m5 m6 m8 m9", true)
			w.bind("m3")
			w.use(all(orTerms...))
			w.expect("m3=Bound/2 m6/2 m7/2", scored("m3 m6 m7"), "m1 m2 m4 m5 m8 m9", true)
		})
	})
	// contract:301 contract:305
	t.Run("no match is no failure", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.use(all(labelled("env=wonderland"), labelled("region!=east|central|west")))
			w.expect("", "", "m1 m2 m3 m4 m5 m6 m7 m8 m9", true)
		})
	})
	// contract:62 contract:63
	t.Run("only a ResourcePlacement asks for its namespace", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			collects := func(name string, namespaces ...string) {
				status := &w.clusters[name].Status
				status.Conditions = []metav1.Condition{{Type: clusterv1beta1.ConditionNamespaceCollectionSucceeded, Status: metav1.ConditionTrue}}
				status.Namespaces = map[string]string{}
				for _, n := range namespaces {
					status.Namespaces[n] = ""
				}
			}
			collects("m4", "other")
			collects("m5")
			collects("m1", "app")
			collects("m2", "app", "other")
			if w.namespace == "" {
				w.expect(healthy, scored(healthy), "m8 m9", true)
				return
			}
			w.expect("m1 m2 m3 m6 m7", scored("m1 m2 m3 m6 m7"), "m4 m5 m8 m9", true)
		})
	})
}

func TestPickFixed(t *testing.T) {
	// contract:306 contract:310
	t.Run("the clusters named, without scores", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.use(fixed("m1", "m4", "m6"))
			w.expect("m1 m4 m6", "m1 m4 m6", "", true)
		})
	})
	// contract:307 contract:311
	t.Run("clusters that cannot be chosen or do not exist", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.use(fixed("m1", "m2", "m4", "m5", "m6", "m8", "m9", "m10"))
			w.expect("m1 m2 m4 m5 m6", "m1 m2 m4 m5 m6", "m10 m8 m9", false)
		})
	})
	// contract:308
	t.Run("more names keep what is there", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.use(fixed("m1", "m2", "m4"))
			w.decide()
			w.bind("m1", "m2")
			w.use(fixed("m1", "m2", "m4", "m5", "m6"))
			w.expect("m1=Bound/2 m2=Bound/2 m4/2 m5/2 m6/2", "m1 m2 m4 m5 m6", "", true)
		})
	})
	// contract:309 contract:312
	t.Run("other names give up what is there", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.use(fixed("m1", "m2", "m4"))
			w.decide()
			w.bind("m1", "m2")
			w.use(fixed("m5", "m6"))
			w.expect("m1=Unscheduled/1 m2=Unscheduled/1 m4=Unscheduled/1 m5/2 m6/2", "m5 m6", "", true)
		})
	})
	t.Run("names that come back return to the state they had", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.use(fixed("m1", "m2"))
			w.decide()
			w.bind("m1")
			w.use(fixed("m5"))
			w.decide()
			w.use(fixed("m1", "m2"))
			w.expect("m1=Bound/3 m2/3 m5=Unscheduled/2", "m1 m2", "", true)
		})
	})
	// contract:173 contract:174
	t.Run("sick is kept, gone is not", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.use(fixed("m1", "f1"))
			w.expect("m1", "m1", "f1", false)
			w.join(sick(member("f1", "", "")))
			w.expect("m1", "m1", "f1", false)
			w.join(member("f1", "", ""))
			w.expect("f1 m1", "f1 m1", "", true)
			sick(w.clusters["f1"])
			w.expect("f1 m1", "f1 m1", "", true)
			w.clusters["f1"].DeletionTimestamp = &metav1.Time{Time: noon} // it is leaving; whatever causes a decision now, it stays until it is gone
			w.expect("f1 m1", "f1 m1", "", true)
			delete(w.clusters, "f1")
			w.expect("f1=Unscheduled m1", "m1", "f1", false)
		})
	})
	// contract:39
	t.Run("no names, no decision", func(t *testing.T) {
		both(t, func(t *testing.T, w *world) {
			w.use(fixed("m1"))
			w.decide()
			w.use(fixed())
			if d := w.decide(); !d.Hold || len(d.Change) > 0 {
				t.Errorf("decision %+v; want one that holds", d)
			}
		})
	})
}

func TestPickN(t *testing.T) {
	scenario := func(name string, play func(*testing.T, *world)) {
		t.Run(name, func(t *testing.T) { both(t, play) })
	}
	// contract:313
	scenario("fewer than wanted", func(_ *testing.T, w *world) {
		w.use(number())
		w.number = 10
		w.expect(healthy, scored(healthy), "m8 m9", false)
	})
	// contract:314
	scenario("none wanted", func(_ *testing.T, w *world) {
		w.use(number())
		w.expect("", "", "", true)
	})
	// contract:315 contract:328
	scenario("required terms leave fewer than wanted", func(_ *testing.T, w *world) {
		w.use(number(labelled("region=east", "env=prod"), labelled("region=west", "env!=prod")))
		w.number = 4
		w.expect("m1 m2 m7", scored("m1 m2 m7"), "m3 m4 m5 m6 m8 m9", false)
	})
	// contract:316
	scenario("preferences", func(_ *testing.T, w *world) {
		w.use(prefer(prefer(number(), 10, labelled("region=central", "env=prod")), 20, labelled("region=east", "env=canary")))
		w.number = 4
		w.expect("m3 m4 m5 m7", "m3:20/0 m4:10/0 m5:10/0 m7:0/0", "m1:0/0 m2:0/0 m6:0/0 m8 m9", true)
	})
	// contract:329
	scenario("one preference", func(_ *testing.T, w *world) {
		w.use(prefer(number(), 10, labelled("region=central", "env=prod")))
		w.number = 4
		w.expect("m4 m5 m6 m7", "m4:10/0 m5:10/0 m6:0/0 m7:0/0", "m1:0/0 m2:0/0 m3:0/0 m8 m9", true)
	})
	// contract:317
	scenario("spread", func(_ *testing.T, w *world) {
		w.use(spreading(number(), "region", 1, hard))
		w.number = 2
		w.expect("m5 m7", "m5:0/0 m7:0/-1", "m1:0/0 m2:0/0 m3:0/0 m4:0/0 m6 m8 m9", true)
	})
	// contract:318
	scenario("spread over two labels", func(_ *testing.T, w *world) {
		w.use(spreading(spreading(number(), "region", 1, hard), "env", 1, hard))
		w.number = 2
		w.expect("m5 m7", "m5:0/1 m7:0/-2", "m1:0/1 m2:0/1 m3 m4:0/1 m6 m8 m9", true)
	})
	// contract:319
	scenario("soft spread", func(_ *testing.T, w *world) {
		w.use(spreading(number(), "region", 1, soft))
		w.number = 2
		w.expect("m5 m7", "m5:0/0 m7:0/-1", "m1:0/0 m2:0/0 m3:0/0 m4:0/0 m6:0/-1000 m8 m9", true)
	})
	// contract:320
	scenario("soft spread over two labels", func(_ *testing.T, w *world) {
		w.use(spreading(spreading(number(), "region", 1, soft), "env", 1, soft))
		w.number = 2
		w.expect("m5 m7", "m5:0/1 m7:0/-2", "m1:0/1 m2:0/1 m3:0/-1000 m4:0/1 m6:0/-999 m8 m9", true)
	})
	// contract:321
	scenario("spread over what is required", func(_ *testing.T, w *world) {
		w.use(spreading(number(labelled("region!=west")), "region", 1, hard))
		w.number = 2
		w.expect("m3 m5", "m3:0/0 m5:0/-1", "m1:0/0 m2:0/0 m4 m6 m7 m8 m9", true)
	})
	// contract:322
	scenario("preference and soft spread", func(_ *testing.T, w *world) {
		w.use(spreading(prefer(number(), 30, labelled("region=east")), "env", 1, soft))
		w.number = 6
		w.expect("m1 m2 m3 m5 m6 m7", "m1:30/-1 m2:30/1 m3:30/-1 m5:0/-1000 m6:0/-1 m7:0/1", "m4:0/-1000 m8 m9", true)
	})
	// contract:323 contract:326
	scenario("more are wanted", func(_ *testing.T, w *world) {
		w.use(number())
		w.number = 1
		w.expect("m7", scored("m7"), scored("m1 m2 m3 m4 m5 m6")+" m8 m9", true)
		w.number = 3
		w.expect("m5 m6 m7", scored("m5 m6 m7"), scored("m1 m2 m3 m4")+" m8 m9", true)
	})
	// contract:324 contract:44 contract:45
	scenario("fewer are wanted", func(_ *testing.T, w *world) {
		w.use(number())
		w.number = 3
		w.expect("m5 m6 m7", scored("m5 m6 m7"), scored("m1 m2 m3 m4")+" m8 m9", true)
		w.number = 1
		w.expect("m5=Unscheduled m6=Unscheduled m7", scored("m7"), "", true)
	})
	// contract:325
	scenario("another policy", func(_ *testing.T, w *world) {
		w.use(spreading(spreading(prefer(number(labelled("env=prod")), 40, labelled("region=east")), "env", 2, soft), "region", 1, hard))
		w.number = 3
		w.expect("m2 m5 m6", "m2:40/-2 m5:0/-999 m6:0/-1", "*", true)
		w.use(spreading(prefer(number(), 50, labelled("region=central")), "env", 2, soft))
		w.expect("m2=Unscheduled/1 m4/2 m5/2 m6=Unscheduled/1 m7/2", "m4:50/-1 m5:50/-1 m7:0/1", "m1:0/-1 m2:0/-1 m3:0/-1 m6:0/-1 m8 m9", true)
	})
	// contract:327
	scenario("as many as required terms leave", func(_ *testing.T, w *world) {
		w.use(number(labelled("region=east", "env=prod")))
		w.number = 2
		w.expect("m1 m2", scored("m1 m2"), "m3 m4 m5 m6 m7 m8 m9", true)
	})
}

// three is the fleet of scenarios.md, section 0.
func three(t testing.TB, namespace string) *world {
	w := newWorld(t, namespace)
	clear(w.clusters)
	w.join(member("c1", "east", "prod"), member("c2", "east", "canary"), member("c3", "west", "prod"),
		silenced(member("unhealthy", "", "")), gone(member("left", "", "")))
	return w
}

func TestPickNOnThree(t *testing.T) {
	// contract:46 contract:54
	t.Run("one, then two", func(t *testing.T) {
		w := three(t, "")
		w.use(number())
		w.number = 1
		w.expect("c3", scored("c3"), "*", true)
		w.number = 2
		w.expect("c2 c3", scored("c2 c3"), "*", true)
	})
	// contract:47 contract:48 contract:55
	t.Run("spread over environments, then over regions", func(t *testing.T) {
		w := three(t, "")
		w.number = 2
		w.use(spreading(number(labelled("region=east")), "env", 1, hard))
		w.expect("c1 c2", "c1:0/1 c2:0/-1", "*", true)
		w.bind("c1", "c2")
		w.use(spreading(prefer(number(), 20, labelled("env=prod")), "region", 1, soft))
		w.expect("c1=Bound/2 c2=Unscheduled/1 c3/2", "c1:20/-1 c3:20/1", "*", true)
	})
	// contract:49
	t.Run("more than there are", func(t *testing.T) {
		w := three(t, "")
		w.number = 5
		w.use(number(labelled("region=east")))
		w.expect("c1 c2", scored("c1 c2"), "c3 left unhealthy", false)
	})
	// contract:56
	t.Run("two, then none", func(t *testing.T) {
		w := three(t, "app")
		w.number = 2
		w.use(number())
		w.expect("c2 c3", scored("c2 c3"), "*", true)
		w.number = 0
		w.expect("c2=Unscheduled c3=Unscheduled", "", "", true)
	})
	// contract:37 contract:42
	t.Run("none of the named clusters", func(t *testing.T) {
		w := three(t, "")
		w.use(fixed("unhealthy", "left", "ghost"))
		w.expect("", "", "ghost left unhealthy", false)
	})
	// contract:178 contract:180
	t.Run("a new cluster helps only where the spread has room", func(t *testing.T) {
		w := three(t, "")
		w.number = 5
		w.use(spreading(number(), "region", 1, hard))
		picked := "c1:0/-1 c2:0/1 c3:0/-1"
		w.expect("c1 c2 c3", picked, "left unhealthy", false)
		w.join(member("f1", "east", "prod"))
		w.expect("c1 c2 c3", picked, "f1 left unhealthy", false)
		w.join(member("f2", "west", "prod"))
		w.expect("c1 c2 c3 f1 f2", picked+" f1:0/-1 f2:0/1", "left unhealthy", true)
	})
	// contract:202 contract:206
	t.Run("taints and spread", func(t *testing.T) {
		w := three(t, "")
		w.taint("c1", "c2")
		w.number = 2
		w.use(tolerating(spreading(number(labelled("region=east")), "env", 1, hard), "east", "prod"))
		w.expect("c1", "c1:0/-1", "*", false)
	})
}

func TestProperties(t *testing.T) {
	scenario := func(name string, play func(*testing.T, *world)) {
		t.Run(name, func(t *testing.T) { both(t, func(t *testing.T, w *world) { play(t, withProperties(w)) }) })
	}
	any := v1beta1.ClusterSelectorTerm{}
	canary, east := labelled("env=canary"), labelled("region=east")
	chosen := func(w *world, clusters string) {
		t.Helper()
		w.expect(clusters, scored(clusters), "*", true)
	}
	// contract:330 contract:339
	scenario("all expressions of a term", func(_ *testing.T, w *world) {
		w.use(all(having(any, "nodes Ge 4", "energy Lt 45", "allocatable-cpu Ne 14", "available-memory Gt 4Gi")))
		chosen(w, "m3")
	})
	// contract:331 contract:341
	scenario("labels and properties", func(_ *testing.T, w *world) {
		w.use(all(having(east, "nodes Ge 4")))
		chosen(w, "m2 m3")
	})
	// contract:332 contract:343
	scenario("another range", func(_ *testing.T, w *world) {
		w.use(all(having(any, "nodes Ge 2", "nodes Le 6")))
		chosen(w, "m1 m2 m3 m4 m6")
		w.bind("m1", "m2", "m4")
		w.use(all(having(any, "nodes Ge 4", "nodes Le 8")))
		w.expect("m1=Unscheduled/1 m2=Bound/2 m3/2 m4=Unscheduled/1 m5/2 m6=Unscheduled/1 m7/2", scored("m2 m3 m5 m7"), "m1 m4 m6 m8 m9", true)
	})
	// contract:333
	scenario("a property that no cluster has", func(_ *testing.T, w *world) {
		w.use(all(having(any, "absent Le 0")))
		chosen(w, "")
	})
	// contract:334
	scenario("what is chosen stays when usage changes", func(_ *testing.T, w *world) {
		w.use(all(having(any, "available-cpu Ge 6")))
		chosen(w, "m3 m5")
		for name, cpu := range map[string]string{"m3": "4", "m5": "4", "m7": "8"} {
			w.clusters[name].Status.ResourceUsage.Available[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		chosen(w, "m3 m5 m7")
	})
	// contract:335
	scenario("few nodes are better", func(_ *testing.T, w *world) {
		w.use(prefer(number(), 100, sortedBy(any, "nodes", v1beta1.PropertySortOrderAscending)))
		w.number = 3
		w.expect("m1 m4 m6", "m1:86/0 m4:86/0 m6:86/0", "m2:57/0 m3:29/0 m5:0/0 m7:0/0 m8 m9", true)
	})
	// contract:336
	scenario("many nodes are better", func(_ *testing.T, w *world) {
		w.use(prefer(number(), 100, sortedBy(any, "nodes", v1beta1.PropertySortOrderDescending)))
		w.number = 3
		w.expect("m3 m5 m7", "m3:71/0 m5:100/0 m7:100/0", "m1:14/0 m2:43/0 m4:14/0 m6:14/0 m8 m9", true)
	})
	// contract:337
	scenario("three sorters", func(_ *testing.T, w *world) {
		p := prefer(number(), 100, sortedBy(any, "nodes", v1beta1.PropertySortOrderAscending))
		p = prefer(p, 80, sortedBy(any, "energy", v1beta1.PropertySortOrderDescending))
		w.use(prefer(p, 60, sortedBy(any, "allocatable-memory", v1beta1.PropertySortOrderDescending)))
		w.number = 3
		w.expect("m1 m4 m6", "m1:168/0 m4:146/0 m6:135/0", "m2:108/0 m3:68/0 m5:46/0 m7:60/0 m8 m9", true)
	})
	// contract:338
	scenario("a sorter for some", func(_ *testing.T, w *world) {
		w.use(prefer(number(), 100, sortedBy(canary, "available-cpu", v1beta1.PropertySortOrderDescending)))
		w.number = 4
		w.expect("m3 m5 m6 m7", "m3:75/0 m5:0/0 m6:0/0 m7:50/0", "m1:0/0 m2:0/0 m4:0/0 m8 m9", true)
	})
	// contract:340
	scenario("four terms", func(_ *testing.T, w *world) {
		w.use(all(having(any, "nodes Ge 8"), having(any, "energy Gt 99"), having(any, "total-cpu Eq 12"), having(any, "total-memory Le 4Gi")))
		chosen(w, "m1 m3 m4 m5 m7")
	})
	// contract:342
	scenario("labels or properties", func(_ *testing.T, w *world) {
		w.use(all(labelled("env=prod", "region=west"), having(any, "energy Ge 40", "total-cpu Gt 12")))
		chosen(w, "m5 m6")
	})
	scenario("a value that makes no sense counts as none, for its cluster alone", func(_ *testing.T, w *world) {
		w.clusters["m3"].Status.Properties[clusterv1beta1.PropertyName(propertyNames["nodes"])] = clusterv1beta1.PropertyValue{Value: "many"}
		w.use(all(having(any, "nodes Ge 4")))
		chosen(w, "m2 m5 m7")
	})
	scenario("an invalid policy value matches no cluster", func(_ *testing.T, w *world) {
		w.use(all(having(any, "nodes Ge many"), having(any, "nodes Ge"), having(any, "nodes Like 4")))
		chosen(w, "")
	})
}

func TestTaints(t *testing.T) {
	// contract:344 contract:351 contract:201 contract:203
	t.Run("PickFixed does not look", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.taint("m1", "m4", "m6")
			w.use(fixed("m1", "m4", "m6"))
			w.expect("m1 m4 m6", "m1 m4 m6", "", true)
		})
	})
	// contract:345 contract:352
	t.Run("PickAll does until they are gone", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.taint("m1", "m4", "m7")
			w.expect("m2 m3 m5 m6", scored("m2 m3 m5 m6"), "m1 m4 m7 m8 m9", true)
			for _, c := range w.clusters {
				c.Spec.Taints = nil
			}
			w.expect(healthy, scored(healthy), "m8 m9", true)
		})
	})
	// contract:346 contract:353
	t.Run("tolerations", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.taint("m1", "m2", "m6")
			w.use(tolerating(all(labelled("env=prod", "region=east|west")), "east", "prod"))
			w.expect("m1 m2", scored("m1 m2"), "m3 m4 m5 m6 m7 m8 m9", true)
		})
	})
	// contract:347 contract:354
	t.Run("a later taint changes nothing", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.expect(healthy, scored(healthy), "m8 m9", true)
			w.taint("m1", "m2")
			w.expect(healthy, scored(healthy), "m8 m9", true)
		})
	})
	// contract:348
	t.Run("a tainted cluster joins", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.decide()
			w.join(tainted(member("new", "unknown", "unknown")))
			w.expect(healthy, scored(healthy), "m8 m9 new", true)
		})
	})
	// contract:349 contract:350
	t.Run("a tainted cluster joins a spread", func(t *testing.T) {
		for _, tolerated := range []bool{false, true} {
			both(t, func(_ *testing.T, w *world) {
				w.number = 2
				p := spreading(number(), "region", 1, hard)
				if tolerated {
					p = tolerating(p, "north", "unknown")
				}
				w.use(p)
				w.expect("m5 m7", "m5:0/0 m7:0/-1", "*", true)
				w.join(tainted(member("new", "north", "unknown")))
				w.number = 3
				if tolerated {
					w.expect("m5 m7 new", "m5:0/0 m7:0/-1 new:0/0", "m1:0/0 m2:0/0 m3:0/0 m4 m6 m8 m9", true)
				} else {
					w.expect("m3 m5 m7", "m3:0/0 m5:0/0 m7:0/-1", "m1:0/0 m2:0/0 m4 m6 m8 m9 new", true)
				}
			})
		}
	})
	// contract:355
	t.Run("tolerations are added", func(t *testing.T) {
		both(t, func(_ *testing.T, w *world) {
			w.taint("m1", "m2")
			w.number = 2
			p := number(labelled("region=east", "env=prod"))
			w.use(p)
			w.expect("", "", "m1 m2 m3 m4 m5 m6 m7 m8 m9", false)
			w.use(tolerating(p.DeepCopy(), "east", "prod"))
			w.expect("m1/2 m2/2", scored("m1 m2"), "*", true)
		})
	})
}
