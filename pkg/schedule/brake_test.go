package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/removal"
)

func limit(t interface{ Fatal(...any) }, most string) removal.Policy {
	p, err := removal.Parse(most, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// placedOnAll is a placement with content on the seven clusters that are well.
func placedOnAll(t *testing.T, most string) *world {
	w := newWorld(t, "")
	w.removal = limit(t, most)
	w.policy = &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickAll}
	w.decide()
	w.bind("m1", "m2", "m3", "m4", "m5", "m6", "m7")
	w.decide()
	return w
}

// lives are the clusters with a binding that is not given up.
func (w *world) lives() string {
	var out []string
	for _, b := range w.bindings {
		if b.State != v1beta1.BindingStateUnscheduled {
			out = append(out, b.Cluster)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (w *world) holds(removed, total int32) {
	w.t.Helper()
	if w.held == nil || w.held.Removed != removed || w.held.Total != total {
		w.t.Fatalf("held: %+v", w.held)
	}
}

const (
	seven = "m1 m2 m3 m4 m5 m6 m7"
	east  = "m1 m2 m3"
)

// A policy that drops most clusters is held whole, says so, and is undone by the earlier policy.
func TestAPolicyThatDropsMostClusters(t *testing.T) {
	w := placedOnAll(t, "20%")
	before := w.policy
	w.use(all(labelled("region=east")))
	d := w.decide()
	if w.lives() != seven {
		t.Fatalf("left on %s", w.lives())
	}
	w.holds(4, 7)
	if !slices.Equal(w.held.First, []string{"m4", "m5", "m6", "m7"}) {
		t.Errorf("first %v", w.held.First)
	}
	if !d.Fulfilled() || d.Found != 3 {
		t.Errorf("found %d of %d", d.Found, d.Wanted)
	}
	for _, c := range d.Clusters {
		if slices.Contains(w.held.First, c.ClusterName) && (!c.Selected || !strings.Contains(c.Reason, "more than strategy.removal allows, and held")) {
			t.Errorf("%s: %s", c.ClusterName, c.Reason)
		}
	}
	if n := len(d.Clusters); n != 9 {
		t.Errorf("%d clusters are listed; want each of the nine once", n)
	}
	for _, a := range Decide(w.request()).Accounts(w.request()) {
		if a.Cluster == "m4" && (len(a.Notes) != 1 || !strings.HasPrefix(a.Notes[0], "it stays nevertheless")) {
			t.Errorf("notes on m4: %q", a.Notes)
		}
	}
	first := w.held
	w.use(before)
	w.decide()
	if w.lives() != seven || w.held != nil {
		t.Fatalf("on %s, held %+v", w.lives(), w.held)
	}
	for _, b := range w.bindings {
		if b.CarriedOver {
			t.Errorf("%s is still carried over", b.Cluster)
		}
	}
	w.use(all(labelled("region=east")))
	w.released = []string{first.Digest}
	w.decide()
	w.holds(4, 7)
}

// A policy that is the latest again still has the record of what it held earlier. An earlier release does not count.
func TestAPolicyThatIsUsedAgain(t *testing.T) {
	w := placedOnAll(t, "20%")
	before := w.policy
	w.use(all(labelled("region=east")))
	w.decide()
	w.released = []string{w.held.Digest}
	held, snapshot := w.held, w.snapshot
	w.use(before)
	w.decide()
	w.policy, w.snapshot, w.held, w.listed = all(labelled("region=east")), snapshot, held, nil
	d := Decide(w.request())
	if d.Removal == nil || len(d.Granted) > 0 {
		t.Fatalf("held %+v, given up %v", d.Removal, d.Granted)
	}
}

func TestReleaseOfClusters(t *testing.T) {
	w := placedOnAll(t, "20%")
	w.use(all(labelled("region=east")))
	w.decide()
	w.released = []string{w.held.Digest}
	d := w.decide()
	if w.lives() != east || w.held != nil || len(d.Granted) != 4 {
		t.Fatalf("on %s, held %+v, granted %v", w.lives(), w.held, d.Granted)
	}
}

// If only some of the released clusters could be given up, the others follow; a cluster that was not among them does
// not.
func TestTheRestOfAReleaseGoesOn(t *testing.T) {
	w := placedOnAll(t, "0")
	w.use(all(labelled("region=east")))
	w.decide()
	w.released = []string{w.held.Digest}
	granted := Decide(w.request()).Granted
	w.bindingTo("m4").State = v1beta1.BindingStateUnscheduled
	r := w.request()
	r.Granted = granted
	if d := Decide(r); d.Removal != nil || len(d.Change) != 3 {
		t.Fatalf("held %+v, changes %+v", d.Removal, d.Change)
	}
	w.use(all(labelled("region=east", "env=prod")))
	r = w.request()
	r.Granted = granted
	if d := Decide(r); d.Removal == nil || d.Removal.First[0] != "m3" || d.Removal.Removed != 1 {
		t.Fatalf("held %+v", d.Removal)
	}
}

// A release is for silent clusters, too: it waits until they are heard.
func TestAReleaseWaitsForSilentClusters(t *testing.T) {
	w := placedOnAll(t, "20%")
	for _, name := range []string{"m6", "m7"} {
		silenced(w.clusters[name])
	}
	w.use(all(labelled("region=east")))
	w.decide()
	w.holds(4, 7)
	w.released = []string{w.held.Digest}
	d := w.decide()
	if w.lives() != "m1 m2 m3 m6 m7" || w.held != nil || len(d.Awaited) != 2 {
		t.Fatalf("on %s, held %+v, awaited %v", w.lives(), w.held, d.Awaited)
	}
	r := w.request()
	r.Granted = d.Awaited
	if d = Decide(r); d.Removal != nil || len(d.Awaited) != 2 {
		t.Fatalf("later: held %+v, awaited %v", d.Removal, d.Awaited)
	}
	heard(w.clusters["m6"])
	r = w.request()
	r.Granted = d.Awaited
	if d = Decide(r); d.Removal != nil || len(d.Awaited) != 1 || len(d.Change) != 1 {
		t.Fatalf("m6 is heard: held %+v, awaited %v, changes %+v", d.Removal, d.Awaited, d.Change)
	}
}

// What is picked anew is picked, whatever is held.
func TestNewPicksGoOn(t *testing.T) {
	w := placedOnAll(t, "1")
	w.use(all(labelled("region=central")))
	w.join(member("m0", "central", "prod"))
	w.decide()
	if w.lives() != "m0 "+seven {
		t.Fatalf("on %s", w.lives())
	}
	w.holds(5, 7)
}

func TestWithinThePolicyGoesOn(t *testing.T) {
	w := placedOnAll(t, "4")
	w.use(all(labelled("region=east")))
	w.decide()
	if w.lives() != east || w.held != nil {
		t.Fatalf("on %s, held %+v", w.lives(), w.held)
	}
}

// A smaller number, and a list of fewer names, remove clusters, too.
func TestFewerClustersAreHeld(t *testing.T) {
	w := newWorld(t, "")
	w.removal = limit(t, "50%")
	w.policy, w.number = number(), 5
	w.decide()
	before := w.lives()
	w.bind(strings.Fields(before)...)
	w.number = 1
	d := w.decide()
	if w.lives() != before || !d.Fulfilled() {
		t.Fatalf("on %s; found %d of %d", w.lives(), d.Found, d.Wanted)
	}
	w.holds(4, 5)
	w.number = 3
	w.decide()
	if n := len(strings.Fields(w.lives())); n != 3 || w.held != nil {
		t.Errorf("on %s, held %+v", w.lives(), w.held)
	}

	w = newWorld(t, "")
	w.removal = limit(t, "50%")
	w.policy = fixed("m1", "m2", "m3")
	w.decide()
	w.bind("m1", "m2", "m3")
	w.use(fixed("m4"))
	w.decide()
	if w.lives() != "m1 m2 m3 m4" {
		t.Errorf("on %s", w.lives())
	}
	w.holds(3, 3)
}

// Clusters that leave the fleet, and bindings without content, are no removal.
func TestWhatIsNoRemovalOfClusters(t *testing.T) {
	w := placedOnAll(t, "0")
	delete(w.clusters, "m1")
	delete(w.clusters, "m2")
	w.decide()
	if w.held != nil || strings.Contains(w.lives(), "m1") {
		t.Errorf("on %s, held %+v", w.lives(), w.held)
	}
	w.clusters["m3"].DeletionTimestamp = &metav1.Time{Time: noon}
	w.use(all(labelled("region=central")))
	for i := range w.bindings {
		if c := w.bindings[i].Cluster; c == "m6" || c == "m7" {
			w.bindings[i].State, w.bindings[i].Placed = v1beta1.BindingStateScheduled, false
		}
	}
	w.decide()
	if w.held != nil {
		t.Errorf("held %+v", w.held)
	}
}

// Clusters that fall silent while they are held do not come off one by one when they are heard again.
func TestSilentClustersCountAsHeld(t *testing.T) {
	w := placedOnAll(t, "20%")
	w.use(all(labelled("region=east")))
	w.decide()
	digest := w.held.Digest
	for _, name := range []string{"m4", "m5", "m6"} {
		silenced(w.clusters[name])
	}
	w.decide()
	if w.lives() != seven || w.held.Digest != digest {
		t.Fatalf("on %s, held %+v", w.lives(), w.held)
	}
	for _, name := range []string{"m4", "m5", "m6"} {
		heard(w.clusters[name])
		w.decide()
		if w.lives() != seven || w.held.Digest != digest {
			t.Fatalf("%s is heard: on %s, held %+v", name, w.lives(), w.held)
		}
	}
}

// Whatever happens to the fleet and the policy: no decision takes the placement off more clusters than the removal
// policy allows.
func TestNoDecisionDropsMoreThanAllowed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, clusters: map[string]*clusterv1beta1.MemberCluster{}, snapshot: 1}
		most := rapid.IntRange(0, 2).Draw(rt, "max")
		w.removal = limit(rt, fmt.Sprint(most))
		w.policy, w.number = anyPolicy(rt), rapid.IntRange(0, 6).Draw(rt, "number")
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			w.disturb(rt)
			for _, c := range w.clusters {
				c.Spec.Taints = nil // exchanges because of a taint have a brake of their own
			}
			had := slices.Compact(w.living())
			placed := map[string]bool{}
			for _, b := range w.bindings {
				if b.Placed && !b.Deleting && b.State != v1beta1.BindingStateUnscheduled {
					placed[b.Cluster] = true
				}
			}
			d := w.decide()
			gone := 0
			for _, name := range had {
				if c := w.clusters[name]; c != nil && c.DeletionTimestamp.IsZero() && placed[name] && !slices.Contains(w.living(), name) {
					gone++
				}
			}
			if gone > most {
				rt.Fatalf("it leaves %d of %v; on %v; held %+v", gone, had, w.living(), d.Removal)
			}
		}
	})
}
