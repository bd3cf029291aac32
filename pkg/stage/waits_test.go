package stage_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// waiting is a run that began, so long after a full second, to wait for five seconds after its first stage.
func waiting(t *testing.T, fraction time.Duration) *world {
	t.Helper()
	w := fleet(of("canary", "env=canary", wait(5*time.Second)), of("prod", "env=prod"))
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	w.pass(true)
	w.available("c2")
	if step := w.pass1(fraction); step.Again != 5*time.Second {
		t.Fatalf("looks again after %s; want the whole wait", step.Again)
	}
	w.want(t, "the wait begins", "waiting | waiting c2+ | pending c1. c3. | pending")
	return w
}

func TestWaitsAreExact(t *testing.T) {
	forgets := func(w *world) { w.clocks = nil }
	for _, c := range []struct {
		name     string
		fraction time.Duration
		between  func(*world)
		// want is how long the wait is, from its true beginning.
		want time.Duration
	}{
		{"begun on the second", 0, nil, 5 * time.Second},
		{"begun just after it", time.Millisecond, nil, 5 * time.Second},
		{"begun just before the next", 999 * time.Millisecond, nil, 5 * time.Second},
		{"the agent starts anew", 200 * time.Millisecond, forgets, 5*time.Second + 800*time.Millisecond},
		{"the agent starts anew in a wait begun on the second", 0, forgets, 5 * time.Second},
		{"another agent has stopped the run since, and let it go on", 200 * time.Millisecond, func(w *world) {
			mine := w.clocks
			w.state = v1beta1.UpdateRunStop
			w.pass1(time.Second)
			w.state = v1beta1.UpdateRunRun
			w.pass1(0)
			w.clocks = mine
		}, 6*time.Second + 800*time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := waiting(t, c.fraction)
			begun := w.now
			if c.between != nil {
				c.between(w)
			}
			w.now = begun.Add(c.want - time.Millisecond)
			if step := w.pass(true); step.Again != time.Millisecond {
				t.Errorf("looks again after %s; want the millisecond that is left", step.Again)
			}
			w.want(t, "before its end", "waiting | waiting c2+ | pending c1. c3. | pending")
			w.pass1(time.Millisecond)
			w.want(t, "at its end", "active | succeeded c2+ | active c1* c3. | pending")
		})
	}
}

func TestHealthWindowsAreNeverCutShort(t *testing.T) {
	for _, c := range []struct {
		name string
		// play makes a cluster lose its health, or begin to be without it, now.
		play func(*world)
	}{
		{"of a cluster that was given the release", func(w *world) { w.pass(true) }},
		{"of a cluster that was done", func(w *world) {
			w.pass(true)
			w.available("c2")
			w.pass1(300 * time.Millisecond)
			w.pass1(10 * time.Second)
			w.unavailable("c2")
			w.binding("c2").Status.Conditions[len(w.binding("c2").Status.Conditions)-1].LastTransitionTime = metav1.NewTime(w.now.Truncate(time.Second))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := policed(intstr.FromInt32(0), v1beta1.FailureActionStop, of("canary", "env=canary", after), of("prod", "env=prod"))
			if err := w.begin(); err != nil {
				t.Fatal(err)
			}
			w.now = w.now.Add(900 * time.Millisecond)
			c.play(w)
			w.pass1(window - time.Millisecond)
			if p := stage.Read(w.status); p.Phase == stage.Failed {
				t.Errorf("failed before its window has passed: %s", p.Cause)
			}
			w.pass1(time.Second + time.Millisecond)
			if p := stage.Read(w.status); p.Phase != stage.Failed {
				t.Errorf("has not failed a second after its window has passed: %s", w.describe())
			}
		})
	}
}

// TestWaitsEndOnTime plays waits with agents that die, or cannot store what they did, and users who stop runs and let
// them go on. A gate opens with the first look after its full time, and with none before; only if the agent that began
// it has died it may be up to a second late.
func TestWaitsEndOnTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := time.Duration(rapid.IntRange(1, 4000).Draw(t, "wait")) * time.Millisecond
		w := newWorld([]v1beta1.StageConfig{of("a", "", wait(whole)), of("b", "")}[:rapid.IntRange(1, 2).Draw(t, "stages")], cluster{name: "m"})
		w.strategy.Stages[len(w.strategy.Stages)-1].LabelSelector = w.strategy.Stages[0].LabelSelector
		if len(w.strategy.Stages) == 2 {
			w.strategy.Stages[1].LabelSelector = nil
		}
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 999).Draw(t, "start")) * time.Millisecond)
		if err := w.begin(); err != nil {
			t.Fatal(err)
		}
		w.pass(true)
		w.available("m")
		var begun time.Time // zero before the wait is stored
		late, again := time.Duration(0), time.Duration(0)
		for pass := 0; !stage.Read(w.status).Phase.Done(); pass++ {
			if pass > 300 {
				t.Fatalf("the run does not end: %s", w.describe())
			}
			calm := pass > 100
			w.now = w.now.Add(ahead(t, again))
			was, stores := w.status, calm || rapid.IntRange(0, 5).Draw(t, "cannot store") > 0
			toggled := !calm && rapid.IntRange(0, 7).Draw(t, "toggle") == 0
			if toggled {
				w.state = map[v1beta1.UpdateRunState]v1beta1.UpdateRunState{
					v1beta1.UpdateRunRun: v1beta1.UpdateRunStop, v1beta1.UpdateRunStop: v1beta1.UpdateRunRun,
				}[w.state]
			} else if calm {
				w.state = v1beta1.UpdateRunRun
			}
			if !calm && rapid.IntRange(0, 5).Draw(t, "dies") == 0 {
				w.clocks, late = nil, time.Second
			}
			step := w.pass(true)
			if again = step.Again; !stores { // it lives, and so does what it has kept
				if w.status, again = was, time.Millisecond; w.state == v1beta1.UpdateRunStop {
					late = time.Second // it may have kept a beginning within the same second that was not stored
				}
				continue
			}
			before, after := stage.Read(was).Stages[0], stage.Read(w.status).Stages[0]
			opened := after.Phase == stage.Succeeded
			switch passed := w.now.Sub(begun); {
			case begun.IsZero() && opened:
				t.Fatal("a gate opened that nobody has closed")
			case opened && passed < whole:
				t.Fatalf("the gate opened %s early", whole-passed)
			case !opened && !begun.IsZero() && w.state == v1beta1.UpdateRunRun && before.Phase == stage.Waiting && passed >= whole+late:
				t.Fatalf("the gate is closed %s after it should have opened", passed-whole)
			}
			stopped := after.Phase == stage.Stopped && before.Phase != stage.Stopped
			if stopped || begun.IsZero() && after.Phase == stage.Waiting {
				begun, late = w.now, 0
			}
		}
	})
}

// ahead is how much time goes by until an agent that wants to look again after some time looks, for that or another
// reason.
func ahead(t *rapid.T, again time.Duration) time.Duration {
	d := time.Duration(rapid.IntRange(0, 2500).Draw(t, "time")) * time.Millisecond
	if again > 0 {
		d = min(d, again)
	}
	return d
}
