package failover

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// world is a fleet and the process that judges it, second by second.
type world struct {
	t   *testing.T
	rng *rand.Rand
	now time.Time
	// exact keeps the fractions of seconds that the API server cuts off.
	exact    bool
	clusters []*simulated
	judge    Judge
	memory   Memory
	// cut is since when the hub hears no cluster; zero if it can.
	cut     time.Time
	history []string
}

// simulated is a cluster of the world.
type simulated struct {
	*clusterv1beta1.MemberCluster
	// down is since when the cluster is dead; zero if it is not.
	down time.Time
	// beats is when its next heartbeat leaves, judged when a timer judges it again; zero for no timer.
	beats, judged time.Time
}

func newWorld(t *testing.T, rng *rand.Rand, periods ...int32) *world {
	w := &world{t: t, rng: rng, now: noon, exact: rng.IntN(2) == 0, judge: Judge{Awake: noon}}
	for i, seconds := range periods {
		c := &simulated{MemberCluster: member(fmt.Sprintf("c%d", i), 0, period(seconds))}
		c.beats = w.now.Add(w.chance(liveness.Period(c.MemberCluster)))
		w.clusters = append(w.clusters, c)
	}
	for _, c := range w.clusters {
		w.look(c)
	}
	return w
}

func (w *world) chance(below time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(below)))
}

func (w *world) fleet() (out []*clusterv1beta1.MemberCluster) {
	for _, c := range w.clusters {
		out = append(out, c.MemberCluster)
	}
	return out
}

// look judges a cluster, and stores the result.
func (w *world) look(c *simulated) {
	was := stateOf(c.MemberCluster)
	got := w.judge.Next(c.MemberCluster, Look{Now: w.now, Fleet: w.fleet(), Memory: w.memory})
	w.memory = got.Memory
	c.Status.Silence = got.Silence
	if !w.exact && stateOf(c.MemberCluster) != was {
		c.MemberCluster = stored(w.t, c.MemberCluster)
	}
	c.judged = time.Time{}
	if got.Again > 0 {
		c.judged = w.now.Add(got.Again)
	}
	if is := stateOf(c.MemberCluster); is != was {
		w.note("%s: %q, was %q", c.Name, is, was)
	}
}

func (w *world) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%8s ", w.now.Sub(noon).Truncate(time.Second))+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.history, "\n"))
}

func stateOf(c *clusterv1beta1.MemberCluster) clusterv1beta1.SilenceState {
	if c.Status.Silence == nil {
		return ""
	}
	return c.Status.Silence.State
}

// step goes on to the next second.
func (w *world) step() {
	w.now = w.now.Add(time.Second)
	for _, i := range w.rng.Perm(len(w.clusters)) {
		if c := w.clusters[i]; !w.now.Before(c.beats) {
			w.beat(c)
		}
	}
	for _, i := range w.rng.Perm(len(w.clusters)) {
		if c := w.clusters[i]; !c.judged.IsZero() && !w.now.Before(c.judged) {
			w.look(c)
		}
	}
	w.check()
}

// beat sends a heartbeat, which is lost if the cluster is dead or the hub cut off. One that arrives judges the
// cluster, and those about which it may be evidence.
func (w *world) beat(c *simulated) {
	each := liveness.Period(c.MemberCluster)
	c.beats = w.now.Add(each*95/100 + w.chance(each/10+1))
	if !c.down.IsZero() {
		return
	}
	if !w.cut.IsZero() {
		c.beats = w.now.Add(min(each, w.chance(10*time.Second))) // the agent tries again soon
		return
	}
	at := w.now
	if w.exact {
		at = at.Add(w.chance(time.Second) - time.Second)
	}
	c.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(at)
	w.look(c)
	for _, other := range w.clusters {
		if other != c && Suspicious(other.Status.Silence) {
			w.look(other)
		}
	}
}

// restart replaces the process by another one.
func (w *world) restart() {
	w.judge.Awake, w.memory = w.now, Memory{}
	for _, i := range w.rng.Perm(len(w.clusters)) {
		w.look(w.clusters[i])
	}
}

func (w *world) kill(c *simulated)   { w.note("%s dies", c.Name); c.down = w.now }
func (w *world) revive(c *simulated) { w.note("%s is back", c.Name); c.down = time.Time{} }
func (w *world) cutOff()             { w.note("the hub is cut off"); w.cut = w.now }
func (w *world) reconnect()          { w.note("the hub is back"); w.cut = time.Time{} }

// check checks what holds at any time.
func (w *world) check() {
	w.t.Helper()
	for _, c := range w.clusters {
		s := c.Status.Silence
		switch {
		case s == nil || s.State == over:
		case liveness.Of(c.MemberCluster, w.now) == liveness.Heard:
			w.fail("%s is heard, and %s", c.Name, s.State)
		case s.Since.After(w.now) || s.StateSince.After(w.now) || s.Since.Before(&metav1.Time{Time: noon.Add(-time.Second)}):
			w.fail("%s is %s since %s and %s; it is %s", c.Name, s.State, s.Since, s.StateSince, w.now)
		}
	}
}

// run lets time pass, with a check at each second.
func (w *world) run(long time.Duration, check func()) {
	w.t.Helper()
	for end := w.now.Add(long); w.now.Before(end); {
		w.step()
		check()
	}
}

func nothing() {}

// never fails if a cluster gets that state; those that have it may keep it.
func (w *world) never(state clusterv1beta1.SilenceState) func() {
	w.t.Helper()
	had := map[string]bool{}
	for _, c := range w.clusters {
		had[c.Name] = stateOf(c.MemberCluster) == state
	}
	return func() {
		w.t.Helper()
		for _, c := range w.clusters {
			if stateOf(c.MemberCluster) == state && !had[c.Name] {
				w.fail("%s is %s", c.Name, state)
			}
		}
	}
}

// worlds plays a test in many worlds, each from a seed of its own.
func worlds(t *testing.T, n int, play func(t *testing.T, rng *rand.Rand)) {
	t.Helper()
	seed := testworld.Seed(t)
	for i := range n {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			play(t, rand.New(rand.NewPCG(seed, uint64(i))))
		})
	}
}

// periods are those of a fleet, with up to that many seconds.
func periods(rng *rand.Rand, clusters int, most int32) []int32 {
	out := make([]int32, clusters)
	for i := range out {
		switch out[i] = min(60, most); rng.IntN(3) {
		case 0:
			out[i] = 1 + rng.Int32N(most)
		case 1:
			out[i] = 1 + rng.Int32N(min(60, most))
		}
	}
	return out
}

// A hub that is cut off judges no cluster lost that it has heard before, neither then nor when it is back.
func TestF8HubAlone(t *testing.T) {
	worlds(t, 10, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t, rng, periods(rng, 3+rng.IntN(10), 600)...)
		w.run(20*time.Minute+w.chance(10*time.Minute), w.never(suspected))
		w.cutOff()
		w.run(2*time.Hour, w.never(isLost))
		if !Braked(w.fleet()) {
			w.fail("not braked")
		}
		w.reconnect()
		w.run(time.Hour, w.never(isLost))
		for _, c := range w.clusters {
			if c.Status.Silence != nil {
				w.fail("%s is %+v", c.Name, c.Status.Silence)
			}
		}
	})
}

// The same for a short time, so that some clusters are suspected, and others not yet, when the hub is back. That
// cannot be told from the death of single clusters if the others report less often than the hub is cut off.
func TestHubAloneForAMoment(t *testing.T) {
	worlds(t, 15, func(t *testing.T, rng *rand.Rand) {
		equal := make([]int32, 6+rng.IntN(10))
		for i := range equal {
			equal[i] = 60
		}
		w := newWorld(t, rng, equal...)
		w.run(20*time.Minute, nothing)
		for range 3 {
			w.cutOff()
			w.run(w.chance(40*time.Minute), w.never(isLost))
			w.reconnect()
			w.run(30*time.Minute+w.chance(20*time.Minute), w.never(isLost))
		}
	})
}

// A hub that is cut off and whose process restarts meanwhile, or when it is back.
func TestHubAloneWithRestarts(t *testing.T) {
	worlds(t, 10, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t, rng, periods(rng, 6+rng.IntN(10), 600)...)
		w.run(20*time.Minute, nothing)
		w.cutOff()
		for range rng.IntN(10) {
			w.run(w.chance(20*time.Minute), w.never(isLost))
			w.restart()
		}
		w.reconnect()
		if rng.IntN(2) == 0 {
			w.restart()
		}
		w.run(time.Hour, w.never(isLost))
	})
}

// One dead cluster is lost three periods after its last heartbeat, once the others have shown that they are heard.
func TestOneDeadCluster(t *testing.T) {
	worlds(t, 12, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t, rng, periods(rng, 2+rng.IntN(10), 600)...)
		w.run(20*time.Minute+w.chance(10*time.Minute), nothing)
		dead := w.clusters[0]
		w.kill(dead)
		last := liveness.LastHeard(dead.MemberCluster)
		from := latest(last.Add(liveness.LostAfter(dead.MemberCluster)), last.Add(liveness.Grace(dead.MemberCluster)))
		until := latest(from, w.firstHeard(dead)).Add(2 * time.Second)
		w.run(until.Sub(w.now), func() {
			if stateOf(dead.MemberCluster) == isLost && w.now.Before(from) {
				w.fail("lost before three periods passed")
			}
		})
		if stateOf(dead.MemberCluster) != isLost || dead.Status.Silence.Since.Unix() != last.Unix() {
			w.fail("last heard at %s, %+v", last, dead.Status.Silence)
		}
		w.run(time.Hour, w.never(suspected))
		w.revive(dead)
		w.run(11*time.Minute, w.never(suspected))
		if stateOf(dead.MemberCluster) != over {
			w.fail("%+v", dead.Status.Silence)
		}
	})
}

// firstHeard is when the first other cluster that may be heard only after dead was due must have been heard.
func (w *world) firstHeard(dead *simulated) time.Time {
	var first time.Time
	for _, c := range w.clusters {
		// One heartbeat may be just before the time, so that the next one counts.
		each := liveness.Period(c.MemberCluster)
		if at := liveness.Due(dead.MemberCluster).Add(each*105/100 + time.Second); c != dead && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// A process that restarts every four minutes judges a dead cluster, too, if the grace after a start is shorter.
func TestOneDeadClusterWithRestarts(t *testing.T) {
	const every = 4 * time.Minute
	worlds(t, 12, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t, rng, periods(rng, 2+rng.IntN(10), 100)...)
		check := func(f func()) func() {
			return func() {
				f()
				if w.now.Sub(w.judge.Awake) >= every {
					w.restart()
				}
			}
		}
		w.run(20*time.Minute+w.chance(10*time.Minute), check(w.never(suspected)))
		dead := w.clusters[0]
		w.kill(dead)
		// The first restart may begin the silence anew; then three periods pass, and the grace after another start.
		w.run(2*every+liveness.LostAfter(dead.MemberCluster)+liveness.Grace(dead.MemberCluster), check(nothing))
		if stateOf(dead.MemberCluster) != isLost {
			w.fail("%+v", dead.Status.Silence)
		}
		w.revive(dead)
		w.run(4*time.Minute, check(w.never(suspected)))
		if stateOf(dead.MemberCluster) != over {
			w.fail("%+v", dead.Status.Silence)
		}
	})
}

// A cluster that is silent for short times is never lost, and its silences do not add up.
func TestF2ShortSilences(t *testing.T) {
	worlds(t, 10, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t, rng, 60, 60, 60, 60)
		for range 10 {
			w.run(time.Minute+w.chance(5*time.Minute), w.never(isLost))
			w.kill(w.clusters[0])
			w.run(100*time.Second, w.never(isLost))
			w.revive(w.clusters[0])
			w.clusters[0].beats = w.now
		}
	})
}

// A cluster that flaps is known to flap, also by suspicions in between.
func TestFlappingIsRemembered(t *testing.T) {
	worlds(t, 10, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t, rng, 60, 60, 60, 60)
		c := w.clusters[0]
		w.run(5*time.Minute, nothing)
		for range 10 {
			w.kill(c)
			w.run(140*time.Second+w.chance(5*time.Minute), nothing)
			w.revive(c)
			c.beats = w.now
			flapped := stateOf(c.MemberCluster) == isLost || Flapping(c.MemberCluster, w.now)
			w.step()
			if flapped && !Flapping(c.MemberCluster, w.now) {
				w.fail("not flapping: %+v", c.Status.Silence)
			}
			w.run(time.Minute, nothing)
		}
	})
}

// When half of the fleet is silent no cluster is lost; when the brake ends all clocks start anew.
func TestF9HalfOfTheFleet(t *testing.T) {
	worlds(t, 10, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t, rng, 60, 60, 60, 60, 60, 60, 60, 60, 60)
		w.run(5*time.Minute, nothing)
		for _, c := range w.clusters[:5] {
			w.kill(c)
		}
		w.run(2*time.Hour, w.never(isLost))
		for _, c := range w.clusters[:5] {
			if stateOf(c.MemberCluster) != braked {
				w.fail("%s is %q", c.Name, stateOf(c.MemberCluster))
			}
		}
		for _, c := range w.clusters[:3] {
			w.revive(c)
		}
		back, ended := w.now, time.Time{}
		w.run(30*time.Minute, func() {
			if ended.IsZero() && !Braked(w.fleet()) {
				ended = w.now
			}
			for _, c := range w.clusters[3:5] {
				if stateOf(c.MemberCluster) == isLost && (ended.IsZero() || w.now.Sub(ended) < 3*time.Minute-2*time.Second) {
					w.fail("%s is lost; back at %s, brake ended at %s", c.Name, back, ended)
				}
			}
		})
		for _, c := range w.clusters[3:5] {
			if stateOf(c.MemberCluster) != isLost || c.Status.Silence.Since.Time.Before(back) {
				w.fail("%s: %+v", c.Name, c.Status.Silence)
			}
		}
	})
}

// Clusters that died one after the other, long before the first judgement of any, are lost, and brake the fleet for no
// time: neither when they were never judged, nor when an earlier version braked.
func TestDeadForWeeks(t *testing.T) {
	worlds(t, 12, func(t *testing.T, rng *rand.Rand) {
		const dead = 4
		equal := make([]int32, 10)
		for i := range equal {
			equal[i] = 60
		}
		w := newWorld(t, rng, equal...)
		state := []clusterv1beta1.SilenceState{"", suspected, braked}[rng.IntN(3)]
		for i, c := range w.clusters[:dead] {
			age := time.Duration(i+1)*24*time.Hour + w.chance(20*time.Hour)
			c.down = noon.Add(-age)
			c.Status.AgentStatus[0].LastReceivedHeartbeat = metav1.NewTime(c.down)
			if state != "" {
				c.Status.Silence = enter(state, c.down, noon)
				c.Status.Silence.Since = seconds(noon)
			}
		}
		w.restart()
		w.run(30*time.Minute, func() {})
		for _, c := range w.clusters[:dead] {
			if stateOf(c.MemberCluster) != isLost {
				w.fail("%s: %+v", c.Name, c.Status.Silence)
			}
		}
		w.cutOff()
		w.run(time.Hour, w.never(isLost))
		if !Braked(w.fleet()) {
			w.fail("not braked")
		}
	})
}

// A region that goes down is not the hub's network: all of its clusters are lost after three periods.
func TestF7RegionDown(t *testing.T) {
	worlds(t, 10, func(t *testing.T, rng *rand.Rand) {
		half := 3 + rng.IntN(5)
		equal := make([]int32, 2*half)
		for i := range equal {
			equal[i] = 60
		}
		w := newWorld(t, rng, equal...)
		w.judge.Domain = region
		for i, c := range w.clusters {
			c.Labels = map[string]string{region: []string{"west", "east"}[i/half]}
		}
		w.run(5*time.Minute, w.never(suspected))
		last := map[string]int64{}
		for _, c := range w.clusters[:half] {
			w.kill(c)
			last[c.Name] = liveness.LastHeard(c.MemberCluster).Unix()
		}
		w.run(182*time.Second, w.never(braked))
		for _, c := range w.clusters[:half] {
			if stateOf(c.MemberCluster) != isLost || c.Status.Silence.Since.Unix() != last[c.Name] {
				w.fail("%s: %+v", c.Name, c.Status.Silence)
			}
		}
		w.run(time.Hour, w.never(braked))
	})
}

// All that can happen happens at random. When all clusters are back, every silence ends.
func TestEverySilenceEnds(t *testing.T) {
	worlds(t, 12, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t, rng, periods(rng, 2+rng.IntN(10), 600)...)
		for range 60 {
			c := w.clusters[rng.IntN(len(w.clusters))]
			switch what := rng.IntN(18); {
			case what < 3:
				w.restart()
			case what < 6:
				if w.cut.IsZero() {
					w.cutOff()
				} else {
					w.reconnect()
				}
			case c.down.IsZero():
				w.kill(c)
			default:
				w.revive(c)
			}
			w.run(w.chance(10*time.Minute), nothing)
		}
		w.reconnect()
		for _, c := range w.clusters {
			w.revive(c)
		}
		w.run(11*time.Minute, nothing)
		for _, c := range w.clusters {
			if is := stateOf(c.MemberCluster); is != "" && is != over {
				w.fail("%s: %+v", c.Name, c.Status.Silence)
			}
		}
		// Those that are lost in the end are few, so that they are judged.
		for _, c := range w.clusters[:(len(w.clusters)+1)/3] {
			w.kill(c)
		}
		w.run(2*time.Hour, nothing)
		for _, c := range w.clusters[:(len(w.clusters)+1)/3] {
			if is := stateOf(c.MemberCluster); is != isLost && is != braked {
				w.fail("%s: %+v", c.Name, c.Status.Silence)
			}
		}
	})
}
