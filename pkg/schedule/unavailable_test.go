package schedule

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
)

// impatient is a placement as pairFleet has it, which leaves what is not available for ten minutes, and serves r1.
func impatient(t *testing.T, number int, names ...string) *world {
	w := pairFleet(t, number, names...)
	w.failover.AfterUnavailable = &metav1.Duration{Duration: 10 * time.Minute}
	w.serve("r1", names[:number]...)
	return w
}

// serve gives clusters resources, which become available.
func (w *world) serve(resources string, clusters ...string) {
	w.available(clusters...)
	for _, c := range clusters {
		b := w.bindingTo(c)
		b.Resources, b.Serving, b.UnavailableSince = resources, true, time.Time{}
	}
}

// fail makes what was available on a cluster unavailable, since that long before noon.
func (w *world) fail(cluster string, since time.Duration) {
	b := w.bindingTo(cluster)
	b.Serving, b.UnavailableSince = false, noon.Add(-since)
}

func TestWhatFailsIsLeft(t *testing.T) {
	w := impatient(t, 3, "a", "b", "c", "d")
	w.fail("c", 599*time.Second)
	if d := w.decide(); d.Again <= 0 || d.Again > time.Second {
		t.Errorf("decides again in %s; want within the second that is left", d.Again)
	}
	w.is("a b c", "")
	w.fail("c", 600*time.Second)
	d := w.decide()
	w.is("a b d", "c>d")
	if len(d.Left) != 1 || d.Left[0].Reason != failover.Unavailable || !d.Fulfilled() {
		t.Errorf("left %+v, found %d of %d", d.Left, d.Found, d.Wanted)
	}
	w.serve("r1", "d")
	w.decide()
	w.is("a b d", "c>d") // the roller removes it now
}

func TestWhatFailsIsLeftOnlyWhenItIsNotTheReleaseThatFails(t *testing.T) {
	tests := []struct {
		name string
		set  func(*world)
		is   string
	}{
		{"without a limit", func(w *world) { w.failover.AfterUnavailable = nil }, "a b c"},
		{"it was never available with this revision", func(w *world) { w.bindingTo("c").UnavailableSince = time.Time{} }, "a b c"},
		{"it fails everywhere", func(w *world) { w.fail("a", time.Hour); w.fail("b", time.Hour) }, "a b c"},
		{"it is available only with other resources", func(w *world) { w.serve("r2", "a", "b") }, "a b c"},
		{"a rollout is under way", func(w *world) { w.serve("r2", "a") }, "a b c"},
		{"the rollout holds a change back", func(w *world) { w.bindingTo("a").Held = true }, "a b c"},
		{"a cluster has no content yet", func(w *world) { w.bindingTo("a").State = v1beta1.BindingStateScheduled }, "a b c"},
		{"it is available only on a cluster that is not heard", func(w *world) {
			w.fail("a", time.Minute)
			silenced(w.clusters["b"])
		}, "a b c"},
		{"its cluster is not heard", func(w *world) { silenced(w.clusters["c"]) }, "a b c"},
		{"its cluster is away", func(w *world) {
			metav1.SetMetaDataAnnotation(&w.clusters["c"].ObjectMeta, contract.AnnotationAway, "true")
		}, "a b c"},
		{"its cluster was silent until now", func(w *world) {
			lostFor(w.clusters["c"], time.Hour)
			back(w.clusters["c"], time.Minute)
		}, "a b c"},
		{"the hub suspects its own network", func(w *world) {
			lostFor(w.clusters["d"], time.Hour).Status.Silence.State = clusterv1beta1.SilenceBraked
			w.join(heard(member("e", "", "")))
		}, "a b c"},
		{"all others wait for nothing", func(*world) {}, "a b d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := impatient(t, 3, "a", "b", "c", "d")
			w.fail("c", time.Hour)
			tt.set(w)
			w.decide()
			parked := ""
			if tt.is != "a b c" {
				parked = "c>d"
			}
			w.is(tt.is, parked)
		})
	}
}

func TestWhatRecoversInTimeIsTakenBack(t *testing.T) {
	w := impatient(t, 3, "a", "b", "c", "d")
	w.fail("c", time.Hour)
	w.decide()
	w.is("a b d", "c>d")
	w.decide()
	w.is("a b d", "c>d") // it is heard and its cluster is well, but it still fails
	b := w.bindingTo("c")
	b.Serving, b.UnavailableSince = true, time.Time{}
	w.decide()
	w.is("a b c", "d>")
}

// One that fails is no replacement for another that fails, and the placement does not go back to it.
func TestWhatFailedDoesNotReplace(t *testing.T) {
	w := impatient(t, 2, "a", "b", "c")
	w.failover.Failback = v1beta1.FailbackWhenHealthy
	w.fail("b", time.Hour)
	w.decide()
	w.is("a c", "b>c")
	w.serve("r1", "c")
	w.decide()
	w.is("a c", "b>c") // although cluster b is well
	w.bindingTo("c").Replaces.Decided.Time = noon.Add(-3 * time.Hour)
	w.fail("c", time.Hour)
	d := w.decide()
	w.is("a c", "b>c")
	if d.Fulfilled() {
		t.Error("c must be left, and nothing can replace it")
	}
}

// Without another cluster that serves it, the only one is left once.
func TestASingleClusterIsLeftOncePerRevision(t *testing.T) {
	w := impatient(t, 1, "a", "b", "c")
	w.fail("a", time.Hour)
	w.decide()
	w.is("c", "a>c")
	w.serve("r1", "c")
	w.purge("a")
	w.fail("c", time.Hour)
	w.decide()
	w.is("c", "")
	lostFor(w.clusters["c"], time.Hour) // the record stays with the placement when it moves for another reason
	w.decide()
	w.is("b", "c>b")
	w.serve("r1", "b")
	w.purge("c")
	w.fail("b", time.Hour)
	w.decide()
	w.is("b", "")
	w.serve("r2", "b")
	w.fail("b", time.Hour)
	w.join(heard(member("d", "", "")))
	w.decide()
	w.is("d", "b>d")
}

// The hub may die between the two writes of an exchange.
func TestAnInterruptedMoveFromWhatFailsIsFinished(t *testing.T) {
	for _, recovered := range []bool{false, true} {
		w := impatient(t, 3, "a", "b", "c", "d")
		w.fail("c", time.Hour)
		d := Decide(w.request())
		d.Change = nil
		w.apply(d)
		want, parked := "a b d", "c>d"
		if recovered {
			w.serve("r1", "c")
			want, parked = "a b c", "d>"
		}
		w.decide()
		w.is(want, parked)
	}
}

// What makes a placement leave one cluster after the other is the release, even if it is available elsewhere.
func TestAReleaseThatFailsLaterDoesNotTour(t *testing.T) {
	w := impatient(t, 2, "a", "b", "c")
	w.fail("b", time.Hour)
	w.decide()
	w.is("a c", "b>c")
	w.serve("r1", "c")
	w.purge("b")
	w.fail("c", 15*time.Minute)
	w.bindingTo("c").Replaces.Decided.Time = noon.Add(-30 * time.Minute)
	w.decide()
	w.is("a c", "")
	w.bindingTo("c").Replaces.Decided.Time = noon.Add(-3 * time.Hour) // it has served for long
	w.decide()
	w.is("a b", "c>b")
}

// What a cluster reported before the hub agent started may be over.
func TestWhatFailedBeforeAStartWaitsForReports(t *testing.T) {
	w := impatient(t, 2, "a", "b", "c")
	w.fail("b", time.Hour)
	r := w.request()
	r.Awake = noon.Add(-20 * time.Second)
	if d := Decide(r); len(d.Left) > 0 || d.Again != 40*time.Second {
		t.Errorf("left %v, decides again in %s; want 40 s", d.Left, d.Again)
	}
	r.Awake = noon.Add(-reportedWithin)
	if d := Decide(r); len(d.Left) != 1 {
		t.Errorf("left %v; want one cluster", d.Left)
	}
}
