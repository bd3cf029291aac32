package replicas

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/rollout"
)

var errGone = errors.New("gone")

var (
	onlySeed  = flag.Uint64("seed", 0, "play the simulation of this seed alone")
	manySeeds = flag.Uint64("seeds", 50, "how many seeds to play")
)

// sim is a placement that divides replicas, on clusters to which everything happens.
type sim struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand

	policy    *v1beta1.ReplicaPolicy
	surge     *intstr.IntOrString
	failback  bool
	frozen    bool
	revisions []Revision
	members   []*member
	joined    int
	// before are the shares that the bindings had before their last writes. The next hub may read those of last, which
	// was settled or not.
	before  map[string][]v1beta1.RevisionShares
	last    string
	settled bool
	writes  map[string]int
	// loud is whether history is kept, for a seed that has failed.
	loud    bool
	history []string
}

// member is a cluster with a binding.
type member struct {
	name, size string
	// picked is false on a parked binding; then left is whether another cluster replaces it.
	picked, left         bool
	heard, lost, trusted bool
	// snapshot is the revision that the binding has, empty if none was rolled out yet.
	snapshot string
	// override sets the replicas of web; -1 leaves it out. nil is none.
	override *int64
	shares   []v1beta1.RevisionShares
	// has is what the cluster has heard of, ready how many of these replicas are available.
	has, ready map[Key]int64
	// reported is whether the binding's status is about what it has now.
	reported bool
}

func (m *member) String() string {
	out := m.name + "("
	for _, s := range m.shares {
		out += s.ResourceSnapshotName
		if s.ResourceSnapshotName == m.snapshot {
			out += "*"
		}
		for _, w := range s.Workloads {
			out += fmt.Sprintf(" %s %d", w.Name, w.Replicas)
			if w.Target != nil {
				out += fmt.Sprintf("→%d", *w.Target)
			}
			if w.Pinned {
				out += "!"
			}
		}
		out += fmt.Sprintf(" %.3s; ", s.Rules)
	}
	for k, n := range m.has {
		out += fmt.Sprintf("%s %d/%d ", k.Name, m.ready[k], n)
	}
	flags := map[string]bool{
		"parked": !m.picked, "left": m.left, "silent": !m.heard, "lost": m.lost, "marked": m.marked(), "trusted": m.trusted, "unreported": !m.reported,
		"overridden": m.override != nil,
	}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if flags[name] {
			out += name + " "
		}
	}
	return strings.TrimSpace(out) + ")"
}

// marked is whether the shares are given to other clusters.
func (m *member) marked() bool { return marked(m.shares) }

func marked(shares []v1beta1.RevisionShares) bool {
	return slices.ContainsFunc(shares, func(s v1beta1.RevisionShares) bool { return s.Lost })
}

var (
	web = Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	job = Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "job"}
)

func numberOf(k Key, total int64) Number {
	n, err := In(&v1beta1.ReplicaPolicy{}, [][]byte{deployment(k.Name, total)})
	if err != nil || len(n) != 1 || n[0].Key != k || n[0].Total != total {
		panic(fmt.Sprint(n, err))
	}
	return n[0]
}

func (s *sim) note(format string, args ...any) {
	if !s.loud {
		return
	}
	s.history = append(s.history, fmt.Sprintf(format, args...)+fmt.Sprintf("\n    %v", s.members))
}

func (s *sim) fail(format string, args ...any) {
	s.t.Helper()
	if !s.loud {
		play(s.t, s.seed, true)
	}
	s.note("now")
	s.t.Fatalf("seed %d: %s\n%s", s.seed, fmt.Sprintf(format, args...), strings.Join(s.history[max(0, len(s.history)-25):], "\n"))
}

func (s *sim) one(in int) bool { return s.rng.IntN(in) == 0 }

func (s *sim) latest() Revision { return s.revisions[len(s.revisions)-1] }

// release adds a revision, and forgets those that no binding has.
func (s *sim) release() {
	r := Revision{Snapshot: fmt.Sprint("r", s.joined)}
	s.joined++
	total := s.rng.Int64N(25)
	if len(s.revisions) > 0 && s.one(3) {
		total = s.latest().Numbers[0].Total
	}
	r.Numbers = []Number{numberOf(web, total)}
	if s.one(3) {
		r.Numbers = append(r.Numbers, numberOf(job, s.rng.Int64N(6)))
	}
	s.revisions = append(s.revisions, r)
	s.prune()
	s.note("release %s of %d", r.Snapshot, total)
}

func (s *sim) prune() {
	latest := s.latest().Snapshot
	s.revisions = slices.DeleteFunc(s.revisions, func(r Revision) bool {
		return r.Snapshot != latest && !slices.ContainsFunc(s.members, func(m *member) bool { return m.snapshot == r.Snapshot })
	})
}

func (s *sim) revision(name string) Revision {
	at := slices.IndexFunc(s.revisions, func(r Revision) bool { return r.Snapshot == name })
	if at < 0 {
		return Revision{}
	}
	return s.revisions[at]
}

func total(r Revision, k Key) (int64, bool) {
	for _, n := range r.Numbers {
		if n.Key == k {
			return n.Total, true
		}
	}
	return 0, false
}

func (s *sim) room(total int64) int64 {
	n, err := rollout.Share(s.surge, int(total))
	if err != nil {
		s.t.Fatal(err)
	}
	return int64(n)
}

// join adds a cluster that the placement picks.
func (s *sim) join() *member {
	m := &member{
		name: fmt.Sprint("c", s.joined), size: []string{"s", "m", "l", "l"}[s.rng.IntN(4)], picked: true, heard: true,
		has: map[Key]int64{}, ready: map[Key]int64{},
	}
	s.joined++
	s.members = append(s.members, m)
	s.note("%s joins", m.name)
	return m
}

// change is what the overrides of the binding do.
func (m *member) change() func([]byte) ([]byte, error) {
	if m.override == nil {
		return nil
	}
	value := *m.override
	return func(raw []byte) ([]byte, error) {
		o, err := decode.Object(raw)
		switch {
		case err != nil || o.GetName() != web.Name:
			return raw, err
		case value < 0:
			return nil, nil
		}
		return with(raw, map[string]int64{"replicas": value})
	}
}

// works is the number in the Works of a binding, as the dispatcher writes it.
func (s *sim) works(m *member, k Key) int64 {
	r := s.revision(m.snapshot)
	at := slices.IndexFunc(r.Numbers, func(n Number) bool { return n.Key == k })
	switch {
	case m.snapshot == "" || !decided(m.shares, m.snapshot):
		return m.has[k]
	case at < 0:
		return 0
	}
	if m.override == nil { // for speed; TestSet shows that it is the same
		share, _ := shareIn(m.shares, m.snapshot, k)
		return int64(share.Replicas)
	}
	raw := r.Numbers[at].probes[0]
	var err error
	if change := m.change(); change != nil {
		if raw, err = change(raw); err == nil && raw == nil {
			return 0
		}
	}
	if err == nil {
		raw, err = Set(raw, m.shares[slices.IndexFunc(m.shares, func(r v1beta1.RevisionShares) bool { return r.ResourceSnapshotName == m.snapshot })].Workloads)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	o, err := decode.Object(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	n, _ := read(o, k, 1)
	return n
}

// follow makes a cluster apply its Works: of what it removes, any may be ready.
func (s *sim) follow(m *member) {
	if !m.heard || m.snapshot == "" {
		return
	}
	for _, k := range []Key{web, job} {
		want := s.works(m, k)
		if gone := max(0, m.has[k]-want); gone > 0 {
			starting := m.has[k] - m.ready[k]
			least, most := max(0, gone-starting), min(gone, m.ready[k])
			if s.one(2) {
				least = most
			}
			m.ready[k] -= least + s.rng.Int64N(most-least+1)
		}
		m.has[k] = want
	}
}

func (m *member) well() bool {
	return m.heard && m.snapshot != "" && m.ready[web] == m.has[web] && m.ready[job] == m.has[job]
}

// settle makes the replicas of a cluster ready, often all of them.
func (s *sim) settle(m *member, all bool) {
	if !m.heard {
		return
	}
	s.follow(m)
	for _, k := range []Key{web, job} {
		if missing := m.has[k] - m.ready[k]; missing > 0 {
			if !all && s.one(3) {
				missing = 1
			}
			m.ready[k] += missing
		}
	}
	m.reported = m.reported || m.well() && (all || !s.one(8))
}

// request is what the divider reads. It may have one binding as it was before the last write.
func (s *sim) request(stale string) Request {
	r := Request{
		Policy: s.policy, Seed: "seed", Surge: s.surge, Failback: s.failback, Frozen: s.frozen, Revisions: s.revisions,
	}
	for _, m := range s.members {
		b := Binding{
			Name: m.name, Cluster: m.name, Labels: map[string]string{"size": m.size}, Picked: m.picked, Left: m.left, Snapshot: m.snapshot,
			Heard: m.heard, Lost: m.lost, Trusted: m.trusted, Shares: m.shares, Change: m.change(),
			Settled: m.reported && m.well(),
		}
		if m.name == stale {
			b.Shares, b.Settled = s.before[m.name], s.settled
		}
		r.Bindings = append(r.Bindings, b)
	}
	s.rng.Shuffle(len(r.Bindings), func(i, j int) { r.Bindings[i], r.Bindings[j] = r.Bindings[j], r.Bindings[i] })
	return r
}

func (s *sim) named(name string) *member {
	return s.members[slices.IndexFunc(s.members, func(m *member) bool { return m.name == name })]
}

func decided(shares []v1beta1.RevisionShares, snapshot string) bool {
	return slices.ContainsFunc(shares, func(r v1beta1.RevisionShares) bool { return r.ResourceSnapshotName == snapshot })
}

func shareIn(shares []v1beta1.RevisionShares, snapshot string, k Key) (v1beta1.ReplicaShare, bool) {
	for _, r := range shares {
		for _, w := range r.Workloads {
			if r.ResourceSnapshotName == snapshot && KeyOf(w) == k {
				return w, true
			}
		}
	}
	return v1beta1.ReplicaShare{}, false
}

// figures are what the promises are about, for one workload.
type figures struct {
	// ready is how many replicas are available on clusters that count: picked, heard, and not marked as lost. sum is
	// what the Works of the clusters that count have, heard or not; planned counts those, too, that have no Works yet.
	ready, sum, planned int64
	// fixed is what is on clusters whose number cannot be chosen: those that are silent, or have an override.
	fixed int64
	// waits is whether one of them has the content of before until its share of a new revision is decided.
	waits bool
}

func (s *sim) figures(k Key) (f figures) {
	for _, m := range s.members {
		if !m.picked || m.marked() {
			continue
		}
		is := s.works(m, k)
		f.sum += is
		f.waits = f.waits || m.snapshot != "" && !decided(m.shares, m.snapshot)
		if m.heard {
			f.ready += m.ready[k]
		}
		if !m.heard || m.override != nil {
			f.fixed += is
		}
		if m.snapshot == "" {
			share, _ := shareIn(m.shares, s.latest().Snapshot, k)
			is = int64(share.Replicas)
		}
		f.planned += is
	}
	return f
}

// step carries out one decision, if the hub is not killed in it, and checks the promises at each write.
func (s *sim) step(exact bool) (wrote int) {
	s.t.Helper()
	stale := ""
	if !exact && s.one(2) && slices.ContainsFunc(s.members, func(m *member) bool { return m.name == s.last }) {
		stale = s.last
	}
	s.last = ""
	request := s.request(stale)
	writes, err := writesOf(request)
	if err != nil {
		s.fail("%v", err)
	}
	if s.one(8) {
		s.rng.Shuffle(len(request.Bindings), func(i, j int) {
			request.Bindings[i], request.Bindings[j] = request.Bindings[j], request.Bindings[i]
		})
		again, err := writesOf(request)
		if err != nil || !equality.Semantic.DeepEqual(again, writes) {
			s.fail("in another order %v instead of %v: %v", again, writes, err)
		}
	}
	s.checkWrites(writes, stale)
	before, after := map[Key]figures{}, map[string][]v1beta1.RevisionShares{}
	for _, k := range []Key{web, job} {
		before[k] = s.figures(k)
	}
	settled := map[string]bool{}
	for _, b := range request.Bindings {
		after[b.Name], settled[b.Name] = s.named(b.Name).shares, b.Settled
	}
	for _, w := range writes {
		after[w.Binding] = w.Shares
	}
	bounds := map[Key]bounds{web: s.bounds(web, after), job: s.bounds(job, after)}
	s.rng.Shuffle(len(writes), func(i, j int) { writes[i], writes[j] = writes[j], writes[i] })
	slices.SortStableFunc(writes, func(a, b Write) int { return cmp.Compare(a.Turn, b.Turn) })
	for i, w := range writes {
		if !exact && s.one(12) {
			s.note("the hub is killed after %d of %d writes", i, len(writes))
			if i > 0 {
				s.last = writes[i-1].Binding
				s.settled = settled[s.last]
			}
			return wrote
		}
		if w.Binding == stale {
			s.note("the write of %s conflicts", stale)
			return wrote // the others are decided anew
		}
		m := s.named(w.Binding)
		s.before[m.name], m.shares = m.shares, w.Shares
		m.reported = false
		if exact && s.writes != nil {
			s.writes[m.name]++
		}
		wrote++
		s.follow(m)
		s.note("write %s", m.name)
		for k, b := range bounds {
			s.check(k, b, before[k])
		}
	}
	for k, b := range bounds {
		if f := s.figures(k); f.planned < b.planned {
			s.fail("%s: the sum of shares is %d, less than %d", k, f.planned, b.planned)
		}
	}
	return wrote
}

// bounds are what a decision must keep for one workload.
type bounds struct{ ready, sum, planned int64 }

// bounds computes them for the shares after a decision. It is right that
//   - clusters that are over the total and the surge, because these were reduced, are lowered without waiting;
//   - an override changes a share at once, and so does a share that the rollout waited for;
//   - replicas that are missing wait while the hub is frozen;
//   - the sum is another one if the content of a revision is unknown, or if clusters have different revisions while
//     shares move or a cluster is silent: each revision has its own move, and a silent cluster keeps its share in each.
//     Available are no fewer. After a third revision it may begin below the totals of the two that are left.
func (s *sim) bounds(k Key, after map[string][]v1beta1.RevisionShares) bounds {
	b, was := bounds{ready: math.MaxInt64, planned: math.MaxInt64}, s.figures(k)
	var over, lowered, raised int64
	moves, silent, unknown, has := false, false, false, map[string]bool{}
	for _, m := range s.members {
		if !m.picked || marked(after[m.name]) {
			continue
		}
		has[cmp.Or(m.snapshot, s.latest().Snapshot)] = true
		silent = silent || !m.heard
		now, known := shareIn(m.shares, m.snapshot, k)
		then, is := shareIn(after[m.name], m.snapshot, k)
		switch n := int64(then.Replicas); {
		case is && !known:
			lowered += max(0, m.has[k]-n)
			raised += max(0, n-m.has[k])
		case then.Pinned:
			lowered += max(0, int64(now.Replicas)-n)
			raised += max(0, n-int64(now.Replicas))
		}
	}
	for _, r := range s.revisions {
		t, _ := total(r, k)
		have, wanted, moving := s.plan(r.Snapshot, k, after)
		moves, unknown = moves || moving, unknown || r.Problem != nil
		over = max(over, have-t-s.room(t))
		b.ready, b.planned = min(b.ready, t, wanted), min(b.planned, t, wanted)
		if moving {
			t += s.room(t)
		}
		b.sum = max(b.sum, t)
	}
	b.ready = min(b.ready, was.ready) - over - lowered
	b.sum = max(b.sum, was.sum, was.fixed) + raised
	switch mixed := len(has) > 1; {
	case unknown || mixed && (moves || silent):
		b.sum, b.planned = math.MaxInt64, 0
	case s.frozen:
		b.planned = 0
	case mixed:
		b.planned = min(b.planned, was.planned)
	}
	return b
}

// plan sums up the shares of a revision: those before a decision, and what is wanted after it; moving is whether any
// is another one than is wanted.
func (s *sim) plan(snapshot string, k Key, after map[string][]v1beta1.RevisionShares) (have, wanted int64, moving bool) {
	for _, m := range s.members {
		if !m.picked || marked(after[m.name]) {
			continue
		}
		now, _ := shareIn(m.shares, snapshot, k)
		then, _ := shareIn(after[m.name], snapshot, k)
		if !marked(m.shares) {
			have += int64(now.Replicas)
		}
		wanted += int64(ptr.Deref(then.Target, then.Replicas))
		moving = moving || then.Target != nil || now.Target != nil || now.Replicas != then.Replicas
	}
	return have, wanted, moving
}

// check checks the promises after a write.
func (s *sim) check(k Key, b bounds, was figures) {
	s.t.Helper()
	f := s.figures(k)
	if f.ready < b.ready {
		s.fail("%s: %d are ready; before it were %d, and %d are needed", k, f.ready, was.ready, b.ready)
	}
	if f.sum > max(b.sum, f.fixed) && !f.waits {
		s.fail("%s: the sum of shares is %d, more than %d; before it was %d", k, f.sum, b.sum, was.sum)
	}
}

// checkWrites checks what must not change: shares of silent clusters, and while the hub is frozen all.
func (s *sim) checkWrites(writes []Write, stale string) {
	s.t.Helper()
	for _, w := range writes {
		m := s.named(w.Binding)
		if m.name == stale {
			continue // it conflicts
		}
		if equality.Semantic.DeepEqual(m.shares, w.Shares) {
			s.fail("the write of %s changes nothing", m.name)
		}
		for _, r := range w.Shares {
			for _, after := range r.Workloads {
				before, ok := shareIn(m.shares, r.ResourceSnapshotName, KeyOf(after))
				if !ok || before.Replicas == after.Replicas || after.Pinned {
					continue
				}
				if !m.heard && !s.short(r.ResourceSnapshotName, KeyOf(after)) {
					s.fail("the share of %s, which is not heard, changes: %v", m.name, w.Shares)
				}
				if s.frozen && !m.marked() {
					s.fail("the share of %s changes, and the hub is frozen: %v", m.name, w.Shares)
				}
			}
		}
	}
}

// short is whether the total is less than what silent clusters have.
func (s *sim) short(snapshot string, k Key) bool {
	t, _ := total(s.revision(snapshot), k)
	for _, m := range s.members {
		share, _ := shareIn(m.shares, snapshot, k)
		if m.picked && !m.marked() && (!m.heard || share.Pinned) {
			t -= int64(share.Replicas)
		}
	}
	return t < 0
}

// befall lets something happen.
func (s *sim) befall() {
	if len(s.members) == 0 {
		s.join()
		return
	}
	m := s.members[s.rng.IntN(len(s.members))]
	switch s.rng.IntN(29) {
	case 0, 1, 2, 3, 4, 5:
		s.settle(m, false)
	case 6, 7, 8, 9:
		s.roll(m)
	case 10:
		if !m.heard {
			return
		}
		m.heard, m.trusted = false, false
		s.note("%s is silent", m.name)
	case 11, 12:
		s.lose(m)
	case 13, 14, 15:
		s.hear(m)
	case 16:
		s.release()
	case 17:
		s.edit()
	case 18:
		m.size = []string{"s", "m", "l", "none"}[s.rng.IntN(4)]
		s.note("%s is %s", m.name, m.size)
	case 19:
		s.override(m)
	case 20:
		if len(s.members) < 6 {
			s.join()
		}
	case 21:
		s.members = slices.DeleteFunc(s.members, func(x *member) bool { return x == m })
		s.note("%s leaves", m.name)
		s.prune()
	case 22:
		s.frozen = !s.frozen
		s.note("frozen: %v", s.frozen)
	case 23:
		s.surge = ptr.To(intstr.FromInt(s.rng.IntN(5)))
		if s.one(2) {
			s.surge = nil
		}
		s.note("surge %v", s.surge)
	case 24:
		s.failback = !s.failback
		s.note("failback: %v", s.failback)
	case 25, 26:
		if m.heard && !m.lost {
			m.trusted = true
		}
	case 27:
		if r := &s.revisions[s.rng.IntN(len(s.revisions))]; r.Snapshot != s.latest().Snapshot {
			r.Problem = errGone // its snapshot was deleted
			s.note("%s is unknown", r.Snapshot)
		}
	case 28:
		if n := m.ready[web]; n > 0 && m.heard {
			m.ready[web] -= 1 + s.rng.Int64N(n)
			m.reported = m.reported && s.one(2)
			s.note("%s fails", m.name)
		}
	}
}

// roll gives a cluster the latest revision.
func (s *sim) roll(m *member) {
	if m.snapshot == s.latest().Snapshot || !m.picked {
		return
	}
	m.snapshot, m.reported = s.latest().Snapshot, false
	s.prune()
	s.follow(m)
	s.note("%s gets %s", m.name, m.snapshot)
}

// lose gives up a silent cluster: only its replicas, or another cluster replaces it.
func (s *sim) lose(m *member) {
	switch {
	case m.heard || !m.picked || m.lost || s.frozen:
	case s.one(2):
		m.lost = true
		s.note("%s is lost", m.name)
	default:
		m.picked, m.left = false, true
		s.note("%s is replaced", m.name)
		s.join()
	}
}

// hear makes a cluster heard again: it was dead, or only cut off.
func (s *sim) hear(m *member) {
	if m.heard {
		return
	}
	m.heard, m.lost, m.reported = true, false, false
	if s.one(2) {
		m.ready = map[Key]int64{}
	}
	switch {
	case !m.left:
	case s.one(2):
		m.picked, m.left = true, false
		s.note("%s is restored", m.name)
	default:
		s.members = slices.DeleteFunc(s.members, func(x *member) bool { return x == m })
		s.note("%s is purged", m.name)
		s.prune()
		return
	}
	s.note("%s is heard", m.name)
	s.follow(m)
}

// edit changes the policy.
func (s *sim) edit() {
	p := &v1beta1.ReplicaPolicy{}
	for _, size := range []string{"s", "m", "l"} {
		if !s.one(4) {
			p.Weights = append(p.Weights, v1beta1.ClusterWeight{
				ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"size": size}}, Weight: s.rng.Int32N(5),
			})
		}
	}
	if s.one(3) {
		p.MinPerCluster = ptr.To(s.rng.Int32N(3))
	}
	if s.one(4) {
		p.MaxPerCluster = ptr.To(2 + s.rng.Int32N(8))
	}
	s.policy = p
	s.note("edit: %v", describe(p))
}

func describe(p *v1beta1.ReplicaPolicy) string {
	out := fmt.Sprintf("min %d max %d", ptr.Deref(p.MinPerCluster, 0), ptr.Deref(p.MaxPerCluster, 0))
	for _, w := range p.Weights {
		out += fmt.Sprintf(" %s %d", w.ClusterSelector.MatchLabels["size"], w.Weight)
	}
	return out
}

// override gives a binding another override, which the roller writes.
func (s *sim) override(m *member) {
	switch {
	case m.override != nil:
		m.override = nil
	case s.one(3):
		m.override = ptr.To[int64](-1)
	default:
		m.override = ptr.To(s.rng.Int64N(8))
	}
	m.reported = false
	s.follow(m)
	s.note("%s has override %d", m.name, ptr.Deref(m.override, -2))
}

// quiet checks that the writes end if nothing becomes ready.
func (s *sim) quiet() {
	s.t.Helper()
	for n := 0; s.step(true) > 0; n++ {
		if n > len(s.members)+1 {
			s.fail("%d decisions, and nothing happens", n)
		}
	}
}

// rest ends all troubles, and plays until nothing changes.
func (s *sim) rest() {
	s.t.Helper()
	s.frozen = false
	if s.room(20) == 0 {
		s.surge = nil
	}
	for _, m := range slices.Clone(s.members) {
		s.hear(m)
	}
	for _, m := range s.members {
		m.trusted = true
		s.roll(m)
	}
	s.note("all is well")
	most := 4 + 2*(25/int(max(1, s.room(s.latest().Numbers[0].Total))))
	s.writes = map[string]int{}
	for range 100 {
		for _, m := range s.members {
			s.settle(m, true)
		}
		if s.step(true) == 0 {
			s.checkRest()
			return
		}
		for name, n := range s.writes {
			if n > most {
				s.fail("%d writes of %s", n, name)
			}
		}
	}
	s.fail("it does not end")
}

// checkRest checks the shares when all has been well for long.
func (s *sim) checkRest() {
	s.t.Helper()
	for _, m := range s.members {
		if a, b := rulesOf(m.shares), rulesOf(s.members[0].shares); a != b {
			s.fail("at rest, the rules are %s and %s", a, b)
		}
	}
	for _, k := range []Key{web, job} {
		t, ok := total(s.latest(), k)
		var sum int64
		room := false
		for _, m := range s.members {
			share, has := shareIn(m.shares, s.latest().Snapshot, k)
			if has != ok || share.Target != nil || m.marked() || int64(share.Of) != t {
				s.fail("%s: at rest, the share of %s is %v", k, m.name, share)
			}
			if m.ready[k] != int64(share.Replicas) {
				s.fail("%s: at rest, %s has %d", k, m.name, m.ready[k])
			}
			sum += int64(share.Replicas)
			room = room || !share.Pinned && (s.policy.MaxPerCluster == nil || share.Replicas < *s.policy.MaxPerCluster) && s.weight(m) > 0
		}
		if sum < t && room {
			s.fail("%s: at rest, the sum is %d of %d, and there is room", k, sum, t)
		}
		if f := s.figures(k); sum > t && sum > f.fixed {
			s.fail("%s: at rest, the sum is %d of %d", k, sum, t)
		}
	}
}

func rulesOf(shares []v1beta1.RevisionShares) string { return shares[len(shares)-1].Rules }

func (s *sim) weight(m *member) (out int32) {
	matched := false
	for _, w := range s.policy.Weights {
		for _, other := range s.members {
			matched = matched || w.ClusterSelector.MatchLabels["size"] == other.size
		}
		if w.ClusterSelector.MatchLabels["size"] == m.size {
			out = max(out, w.Weight)
		}
	}
	if !matched {
		return 1
	}
	return out
}

// Everything that can go wrong does. When all is well again, the replicas are where they should be.
func TestDivisionSimulation(t *testing.T) {
	if *onlySeed > 0 {
		play(t, *onlySeed, true)
		return
	}
	for seed := uint64(1); seed <= *manySeeds; seed++ {
		play(t, seed, false)
	}
}

func play(t *testing.T, seed uint64, loud bool) {
	t.Helper()
	s := &sim{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), before: map[string][]v1beta1.RevisionShares{}, loud: loud}
	s.edit()
	for range 2 + s.rng.IntN(3) {
		s.join()
	}
	s.release()
	for range 60 {
		s.befall()
		s.step(false)
		if s.one(10) {
			s.quiet()
		}
	}
	s.rest()
}
