package division

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// world is a workload on a fleet. Its replicas become ready and fail, its clusters are lost and return.
type world struct {
	t            *testing.T
	rng          *rand.Rand
	total, surge int64
	// failsOver is whether replicas of lost clusters are placed elsewhere.
	failsOver bool
	members   []*member
	history   []string
}

// member is a cluster of the world.
type member struct {
	Cluster
	// share is what the hub wrote for it, want what the hub decided.
	share, want int64
	// has is the share that the cluster has heard of; ready and stuck are how many of these replicas are available and
	// unschedulable.
	has, ready, stuck int64
	lost              bool
}

func (m *member) String() string {
	state := ""
	if m.lost {
		state = " lost"
	}
	return fmt.Sprintf("%s:%d→%d(%d ready, %d stuck%s)", m.Name, m.share, m.want, m.ready, m.stuck, state)
}

func (w *world) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf(format, args...)+fmt.Sprint(" ", w.members))
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.note("")
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.history, "\n"))
}

// divide decides what each cluster should have.
func (w *world) divide(fresh bool) {
	var clusters []Cluster
	for _, m := range w.members {
		c := m.Cluster
		c.Prior = m.want
		if m.lost && w.failsOver {
			c.Min, c.Max = 0, 0
		}
		clusters = append(clusters, c)
	}
	for i, share := range Divide(w.total, clusters, "seed", fresh).Shares {
		w.members[i].want = share
	}
}

// places are what the hub sees: it may see later that a cluster has become ready, and that replicas are unschedulable.
func (w *world) places(exact bool) (places []Place) {
	for _, m := range w.members {
		places = append(places, Place{
			Name: m.Name, Have: m.share, Want: m.want, Lost: m.lost,
			Settled: !m.lost && m.has == m.share && m.ready == m.share && (exact || w.rng.IntN(8) > 0),
			Free:    w.rng.Int64N(m.stuck + 1),
		})
	}
	return places
}

// ready is how many replicas are available on clusters that are not lost, sum the sum of their shares; all is that of
// all clusters.
func (w *world) ready() (ready, sum, all int64) {
	for _, m := range w.members {
		all += m.share
		if !m.lost {
			ready += m.ready
			sum += m.share
		}
	}
	return ready, sum, all
}

// step carries out one step, unless the hub is killed in it, and checks the promises after each write.
func (w *world) step(exact bool) Step {
	places := w.places(exact)
	step := w.next(places)
	readyBefore, sumBefore, allBefore := w.ready()
	var wanted, lost int64
	for i, p := range places {
		wanted += p.Want
		if p.Lost {
			lost += step.Shares[i]
		}
	}
	// A total or a surge that was reduced is obeyed at once.
	over := max(0, sumBefore-w.total-w.surge)
	least := min(readyBefore, min(w.total, wanted)-lost) - over
	order := w.rng.Perm(len(places))
	lowersLost := func(i int) bool { return places[i].Lost && step.Shares[i] < places[i].Have }
	slices.SortStableFunc(order, func(a, b int) int { return falseFirst(lowersLost(b), lowersLost(a)) })
	for _, i := range order {
		if m := w.members[i]; step.Shares[i] != m.share {
			if !exact && w.rng.IntN(8) == 0 {
				w.note("the hub is killed")
				break
			}
			w.write(m, step.Shares[i])
		}
		ready, sum, all := w.ready()
		if ready < least {
			w.fail("%d replicas are ready, fewer than %d", ready, least)
		}
		if sum > max(w.total+w.surge, sumBefore) || all > max(w.total+w.surge, allBefore) {
			w.fail("the sum of shares is %d, with lost clusters %d; before it was %d and %d", sum, all, sumBefore, allBefore)
		}
	}
	return step
}

// next checks that the step depends on the places only, goes in the right direction and has a reason if it does not.
func (w *world) next(places []Place) Step {
	step := Next(w.total, w.surge, places)
	w.note("step of %d, surge %d: %v", w.total, w.surge, step)
	order := w.rng.Perm(len(places))
	var shuffled []Place
	for _, i := range order {
		shuffled = append(shuffled, places[i])
	}
	again := Next(w.total, w.surge, shuffled)
	done, moves := true, false
	for i, p := range places {
		s := step.Shares[i]
		if s < min(p.Have, p.Want) || s > max(p.Have, p.Want) {
			w.fail("share %d is not between %d and %d", s, p.Have, p.Want)
		}
		if p.Lost && p.Want < p.Have && s != p.Want {
			w.fail("lost %s is not lowered at once", p.Name)
		}
		if again.Shares[slices.Index(order, i)] != s {
			w.fail("in another order, %v", again)
		}
		done = done && p.Have == p.Want
		moves = moves || s != p.Have
	}
	if again.Blocked != step.Blocked || (step.Blocked != "") != (!done && !moves) || step.Blocked == NoRoom && w.surge > 0 {
		w.fail("blocked is %q, in another order %q", step.Blocked, again.Blocked)
	}
	return step
}

// write gives a share to a cluster, which follows at once if it is not lost.
func (w *world) write(m *member, share int64) {
	m.share = share
	w.note("write %s", m.Name)
	if !m.lost {
		w.follow(m)
	}
}

// follow makes a cluster remove what it has too much: those that are stuck first, of the others any.
func (w *world) follow(m *member) {
	k := max(0, m.has-m.share)
	stuck := min(k, m.stuck)
	k -= stuck
	starting := m.has - m.ready - m.stuck
	least, most := max(0, k-starting), min(k, m.ready)
	if w.rng.IntN(2) == 0 {
		least = most // the worst
	}
	m.ready -= least + w.rng.Int64N(most-least+1)
	m.stuck -= stuck
	m.has = m.share
}

// disturb changes something.
func (w *world) disturb() {
	m := w.members[w.rng.IntN(len(w.members))]
	event := w.rng.IntN(22)
	fresh := false
	switch {
	case event < 10:
		w.settle(m)
	case event < 12 && m.ready > 0 && !m.lost:
		m.ready -= 1 + w.rng.Int64N(m.ready)
	case event < 13 && !m.lost:
		m.stuck += w.rng.Int64N(m.has - m.ready - m.stuck + 1)
	case event < 14:
		m.stuck = 0
	case event < 16:
		m.lost = true
	case event < 18 && m.lost:
		w.recover(m)
	case event < 19:
		w.total = w.rng.Int64N(30)
	case event < 20:
		m.Weight = w.rng.Int64N(10)
		fresh = true
	case event < 21:
		m.Min, m.Max = w.rng.Int64N(2), 4+w.rng.Int64N(30)
		fresh = true
	default:
		w.surge = w.rng.Int64N(6)
	}
	w.divide(fresh)
	w.note("event %d: ", event)
}

// settle makes replicas of a cluster ready, often all of them.
func (w *world) settle(m *member) {
	if missing := m.has - m.ready - m.stuck; missing > 0 {
		if w.rng.IntN(3) == 0 {
			missing = 1
		}
		m.ready += missing
	}
}

// recover makes a lost cluster heard again: it was dead, or only cut off.
func (w *world) recover(m *member) {
	m.lost = false
	if w.rng.IntN(2) == 0 {
		m.ready = 0
	}
	w.follow(m)
}

// calm plays to the end without disturbances.
func (w *world) calm() {
	w.note("calm")
	for _, m := range w.members {
		m.stuck = 0
		if m.lost && (!w.failsOver || w.rng.IntN(2) == 0) {
			w.recover(m)
		}
	}
	w.divide(false)
	for range 200 {
		for _, m := range w.members {
			if !m.lost {
				m.ready = m.has
			}
		}
		step := w.step(true)
		if step.Blocked == WaitsForReady {
			w.fail("waits although all is ready")
		}
		if step.Blocked == NoRoom {
			return // next has checked that surge is 0
		}
		if !slices.ContainsFunc(w.members, func(m *member) bool { return m.share != m.want }) {
			return
		}
	}
	w.fail("does not end")
}

func TestMovesKeepTheirPromises(t *testing.T) {
	seed := testworld.Seed(t)
	for i := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, i))
		w := &world{t: t, rng: rng, total: rng.Int64N(30), surge: rng.Int64N(6), failsOver: rng.IntN(3) > 0}
		for j := range 1 + rng.IntN(5) {
			w.members = append(w.members, &member{Cluster: Cluster{Name: fmt.Sprint("c", j), Weight: rng.Int64N(10), Max: 4 + rng.Int64N(30)}})
		}
		w.divide(true)
		for range 60 {
			w.disturb()
			w.step(false)
		}
		w.calm()
	}
}

// A cluster is back, and replicas return to it: at any time, at least the total is ready, and no cluster has more than
// its part of total and surge.
func TestReplicasReturnToACluster(t *testing.T) {
	seed := testworld.Seed(t)
	for i := range uint64(200) {
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, i)), total: 20, surge: 5}
		for j, c := range four(1, 8, 7, 4) {
			w.members = append(w.members, &member{Cluster: c, share: c.Prior, has: c.Prior, ready: c.Prior, want: []int64{7, 7, 4, 2}[j]})
		}
		for range 200 {
			w.step(false)
			if ready, sum, _ := w.ready(); ready < 20 || sum > 25 {
				w.fail("%d ready, sum of shares %d", ready, sum)
			}
			w.settle(w.members[w.rng.IntN(len(w.members))])
		}
		if slices.ContainsFunc(w.members, func(m *member) bool { return m.share != m.want }) {
			w.fail("does not end")
		}
	}
}
