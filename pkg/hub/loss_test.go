package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// four are the candidates of most placements.
var four = []string{"east-1", "east-2", "west-1", "west-2"}

// F1: a killed cluster is replaced when it was not heard for the time of the policy, and not before.
func TestF1Killed(t *testing.T) {
	f := hubs.take(t)
	p := f.place("killed", 3, four)
	p.reports(v1beta1.ConditionFailoverComplete, v1beta1.ReasonNoClusterReplaced)
	before, lost, next := p.versionsNow(), p.on[2], p.spare[0]
	orders := p.orders(lost)

	last := f.lose(after-3*time.Second, lost)
	due := last.Add(after)
	testworld.Await(t, testworld.Workload, "another cluster", func(ctx context.Context) error {
		is, err := p.versions(ctx)
		if err != nil {
			return err
		}
		if !maps.Equal(is, before) && time.Now().Before(due) {
			t.Fatalf("bindings were written before %s", due)
		}
		if len(is) == len(before) {
			return errors.New("there is none")
		}
		return nil
	})
	p.available(p.on[0], p.on[1], next)
	p.bound(p.on[0], p.on[1], lost+">"+next, next)
	since := last.UTC().Format(time.RFC3339)
	p.reports(v1beta1.ConditionFailoverComplete, v1beta1.ReasonClustersReplaced,
		fmt.Sprintf("cluster %s (Lost since %s) is replaced by %s, which is available", lost, since, next))
	f.event(p.of.Name, "PlacementFailedOver", lost, next, since)
	p.untouched(lost, orders)
	if at := p.binding(next).CreationTimestamp; at.Time.Before(due) {
		t.Errorf("the binding to %s was created at %s, before %s", next, at, due)
	}
}

// F2: a cluster that is heard before the time has passed stays, and the next silence counts from its own begin.
func TestF2Short(t *testing.T) {
	f := hubs.take(t)
	p := f.place("short", 3, four)
	before, lost := p.versionsNow(), p.on[2]
	for range 2 {
		last := f.lose(after-time.Minute, lost)
		s, err := f.silence(t.Context(), lost)
		f.must(err)
		if !s.Since.Time.Equal(last) {
			t.Errorf("the silence counts from %s; the last heartbeat arrived at %s", s.Since, last)
		}
		p.unwritten(before)
		f.hear(lost)
	}
	p.unwritten(before)
}

// F3: a cluster that is heard after its replacement has become available is purged only then, as the policy says, and
// is not picked again.
func TestF3CutOffLate(t *testing.T) {
	f := hubs.take(t)
	const lost, next = "east-1", "west-1"
	policies := map[v1beta1.FailoverPurge]string{
		v1beta1.FailoverPurgeGraceful: "are removed", v1beta1.FailoverPurgeImmediate: "are removed", v1beta1.FailoverPurgeNever: "without an owner",
	}
	all := map[v1beta1.FailoverPurge]*placed{}
	for purge := range policies {
		p := f.place("late-"+strings.ToLower(string(purge)), 1, []string{lost, next}, prefer(lost), purging(purge))
		if !slices.Equal(p.on, []string{lost}) {
			t.Fatalf("%s is on %q", p.of.Name, p.on)
		}
		all[purge] = p
	}
	f.lose(20*time.Minute, lost)
	for purge, p := range all {
		p.available(next)
		p.reports(v1beta1.ConditionFailoverComplete, v1beta1.ReasonClustersReplaced, lost, "replaced by "+next, policies[purge])
	}
	strategies := f.strategies(lost)
	for _, p := range all {
		orders := p.orders(lost) // both run
		p.stay(lost+">"+next, next)
		p.untouched(lost, orders)
	}
	f.hear(lost)
	for purge, p := range all {
		p.bound(next)
		p.reports(v1beta1.ConditionFailoverComplete, v1beta1.ReasonNoClusterReplaced)
		want := v1beta1.DeletePropagationPolicy("")
		if purge == v1beta1.FailoverPurgeNever {
			want = v1beta1.DeletePropagationPolicyAbandon
		}
		if got := strategies(p); got != want {
			t.Errorf("the Works of %s on %s are deleted with %q, want %q", p.of.Name, lost, got, want)
		}
	}
}

// strategies watches the Works of a member. The function that it returns waits until those of a placement are gone, and
// returns how they were deleted.
func (f *failovers) strategies(member string) func(*placed) v1beta1.DeletePropagationPolicy {
	f.Helper()
	events, err := f.watching.Watch(f.Context(), &v1beta1.WorkList{}, client.InNamespace(contract.MemberNamespace(member)))
	f.must(err)
	f.Cleanup(events.Stop)
	var mu sync.Mutex
	last := map[string]v1beta1.DeletePropagationPolicy{}
	testworld.Go(f, "the record of the Works of "+member, func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case e, ok := <-events.ResultChan():
				if !ok {
					return nil
				}
				if w, ok := e.Object.(*v1beta1.Work); ok && !w.DeletionTimestamp.IsZero() {
					mu.Lock()
					last[w.Labels[contract.LabelPlacement]] = ptr.Deref(w.Spec.DeleteStrategy, v1beta1.DeleteStrategy{}).PropagationPolicy
					mu.Unlock()
				}
			}
		}
	})
	return func(p *placed) (how v1beta1.DeletePropagationPolicy) {
		p.Helper()
		testworld.Await(p, testworld.Workload, "the end of the Works of "+p.of.Name, func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			var seen bool
			if how, seen = last[p.of.Name]; !seen {
				return errors.New("they are not deleted")
			}
			return nil
		})
		return how
	}
}

// F4: a cluster that is heard before its replacement was available is taken back, and nothing is written there.
func TestF4CutOffEarly(t *testing.T) {
	f := hubs.take(t)
	p := f.place("early", 3, four)
	lost, next := p.on[2], p.spare[0]
	orders := p.orders(lost)
	f.members[next].Idle()
	f.lose(7*time.Minute, lost)
	p.bound(p.on[0], p.on[1], lost+">"+next, next)
	p.reports(v1beta1.ConditionFailoverComplete, v1beta1.ReasonReplacementPending, lost, next)
	p.orders(next)
	f.hear(lost)
	p.bound(p.on...)
	p.available(p.on...)
	p.reports(v1beta1.ConditionFailoverComplete, v1beta1.ReasonNoClusterReplaced)
	p.untouched(lost, orders)
}

// F5: without another cluster a lost one stays as it is and is reported.
func TestF5NoCandidate(t *testing.T) {
	f := hubs.take(t)
	p := f.place("lonely", 3, four[:3])
	before, lost := p.versionsNow(), p.on[0]
	orders := map[string]map[string]string{}
	for _, c := range p.on {
		orders[c] = p.orders(c)
	}
	f.lose(6*time.Minute, lost)
	p.reports(v1beta1.ConditionFailoverComplete, v1beta1.ReasonNoReplacement, fmt.Sprintf("cluster %q must be replaced", lost))
	p.nameless(fmt.Sprintf("cluster %q must be replaced", lost), "no other cluster can")
	p.unwritten(before)
	f.hear(lost)
	p.available(p.on...)
	p.unwritten(before)
	for _, c := range p.on {
		p.untouched(c, orders[c])
	}
}

// F6: a replacement that was never available is replaced when it is lost itself, and both are purged.
func TestF6SecondLoss(t *testing.T) {
	f := hubs.take(t)
	p := f.place("twice", 3, append([]string{"north-1"}, four...))
	kept, first := p.on[:2], p.on[2]
	for _, c := range p.spare {
		f.members[c].Idle()
	}
	f.lose(20*time.Minute, first)
	var second string
	testworld.Await(t, testworld.Workload, "a replacement", func(context.Context) error {
		e := failover.ReplacedBy(p.binding(first))
		if e == nil {
			return errors.New("there is none")
		}
		second = e.With
		return nil
	})
	third := without(p.spare, second)[0]
	p.bound(kept[0], kept[1], first+">"+second, second) // it fails, which is no reason to pick another
	f.lose(6*time.Minute, second)
	p.bound(kept[0], kept[1], first+">"+third, second+">"+third, third)
	f.members[third].Busy()
	p.available(kept[0], kept[1], third)
	f.hear(first, second)
	p.bound(kept[0], kept[1], third)
	p.available(kept[0], kept[1], third)
}

// F10: one of two clusters fails over, although it is half of the fleet. If both are silent, nothing happens.
func TestF10Pair(t *testing.T) {
	f := hubs.take(t)
	f.braked = true
	pair := []string{"east-1", "west-1"}
	p := f.place("pair", 1, pair)
	for name, m := range f.members {
		if !slices.Contains(pair, name) {
			m.Change(func(c *clusterv1beta1.MemberCluster) {
				c.Annotations = map[string]string{contract.AnnotationAway: "true"}
			})
		}
	}
	first, second := p.on[0], p.spare[0]
	f.lose(6*time.Minute, first)
	p.available(second)
	p.bound(first+">"+second, second)
	before := p.versionsNow()
	f.members[second].Unheard(6 * time.Minute)
	f.awaitSilence(second, clusterv1beta1.SilenceBraked)
	p.unwritten(before)
	f.members[second].Healthy()
	f.awaitSilence(second, "")
	p.stay(first+">"+second, second)
}

// F11: a cluster that comes and goes causes one failover, and is picked again only if there is no other.
func TestF11Flapping(t *testing.T) {
	f := hubs.take(t)
	p := f.place("flapping", 1, four[:3])
	flapping := p.on[0]
	f.lose(6*time.Minute, flapping)
	testworld.Await(t, testworld.Workload, "a replacement", func(ctx context.Context) (err error) {
		if p.on, err = p.availableOn(ctx); err == nil && p.on[0] == flapping {
			err = errors.New("there is none")
		}
		return err
	})
	first := p.on[0]
	second := without(four[:3], flapping, first)[0]
	f.hear(flapping)
	p.bound(first)
	before := p.versionsNow()
	for range 3 {
		f.lose(6*time.Minute, flapping)
		f.hear(flapping)
	}
	p.unwritten(before)
	f.lose(6*time.Minute, first)
	p.available(second)
	f.lose(6*time.Minute, second)
	p.available(flapping)
	p.bound(first+">"+flapping, second+">"+flapping, flapping)
}

// F12: during a rolling update the replacement gets the new revision at once. A lost cluster takes no room of the
// budget, and leaves none for another.
func TestF12Rolling(t *testing.T) {
	f := hubs.take(t)
	six := append([]string{"north-1", "north-2"}, four...)
	one := func(spec *v1beta1.PlacementSpec) {
		spec.Strategy.RollingUpdate.MaxUnavailable, spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(1)), ptr.To(intstr.FromInt32(0))
	}
	content := testworld.Namespace("rolling")
	f.must(f.Client.Create(t.Context(), content))
	f.must(f.Client.Create(t.Context(), testworld.ConfigMap(content.Name, "r1")))
	p := f.place("rolling", 4, six, one, testworld.Selecting(testworld.Named("", "v1", "Namespace", content.Name)))
	for _, c := range p.on {
		f.members[c].Idle()
	}
	f.must(f.Client.Update(t.Context(), testworld.ConfigMap(content.Name, "r2")))
	testworld.Await(t, testworld.Workload, "r2 on one cluster", func(ctx context.Context) error { return p.updated(ctx, 1) })
	updating := p.with("r2")[0]
	rest := without(p.on, updating)
	lost, waiting := rest[:2], rest[2]
	f.lose(6*time.Minute, lost...)
	testworld.Await(t, testworld.Workload, "r2 on both replacements", func(ctx context.Context) error { return p.updated(ctx, 3) })
	want := append([]string{updating, waiting}, p.spare...)
	testworld.Stable(t, moment, "r1 on "+waiting, func(context.Context) error {
		if got := p.with("r1"); !slices.Equal(got, sorted(append([]string{waiting}, lost...)...)) {
			return fmt.Errorf("r1 is on %q", got)
		}
		return nil
	})
	for _, c := range p.on {
		f.members[c].Busy()
	}
	p.available(want...)
	if got := p.with("r2"); !slices.Equal(got, sorted(want...)) {
		t.Errorf("r2 is on %q, want %q", got, want)
	}
}

// with are the members whose Works have a revision of the content.
func (p *placed) with(revision string) (out []string) {
	p.Helper()
	var list v1beta1.WorkList
	p.must(p.Client.List(p.Context(), &list, client.MatchingLabels{contract.LabelPlacement: p.of.Name}))
	for _, w := range list.Items {
		for _, m := range w.Spec.Workload.Manifests {
			if cluster, _ := contract.MemberOf(w.Namespace); strings.Contains(string(m.Raw), fmt.Sprintf("%q:%q", "data", revision)) {
				out = append(out, cluster)
			}
		}
	}
	return sorted(out...)
}

// updated returns nil if the Works of n members have the content r2.
func (p *placed) updated(_ context.Context, n int) error {
	p.Helper()
	if got := p.with("r2"); len(got) != n {
		return fmt.Errorf("r2 is on %q", got)
	}
	return nil
}

// mortal kills an agent with a write: after so many writes to the objects of placements it can write no more.
type mortal struct {
	left atomic.Int64
	dead chan struct{}
}

var errKilled = errors.New("the agent is killed")

func (m *mortal) through(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return tripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet {
				return next.RoundTrip(r)
			}
			if !strings.Contains(r.URL.Path, "/placement.kubernetes-fleet.io/") {
				if m.left.Load() <= 0 {
					return nil, errKilled
				}
				return next.RoundTrip(r)
			}
			n := m.left.Add(-1)
			if n < 0 {
				return nil, errKilled
			}
			resp, err := next.RoundTrip(r)
			if n == 0 {
				close(m.dead)
			}
			return resp, err
		})
	})
	return cfg
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// F14: an agent that is killed after any of the writes with which it replaces a cluster forgets nothing.
func TestF14KilledHub(t *testing.T) {
	f := hubs.take(t)
	p := f.place("mortal", 3, four)
	const writes = 6
	for n := 1; n <= writes; n++ {
		lost, next := p.on[2], p.spare[0]
		f.stop()
		f.members[lost].Unheard(6 * time.Minute)
		m := &mortal{dead: make(chan struct{})}
		m.left.Store(int64(n))
		f.through = m.through
		f.start()
		f.through = nil
		testworld.Await(t, testworld.Workload, fmt.Sprintf("write %d", n), func(context.Context) error {
			select {
			case <-m.dead:
				return nil
			default:
				return fmt.Errorf("there are %d left", m.left.Load())
			}
		})
		f.stop()
		f.start()
		p.available(p.on[0], p.on[1], next)
		p.bound(p.on[0], p.on[1], lost+">"+next, next)
		f.hear(lost)
		p.bound(p.on[0], p.on[1], next)
		p.on[2], p.spare[0] = next, lost
	}
}

// F15: no edit of a policy gives up a cluster that is silent, and one of the failover policy picks nothing anew.
func TestF15Edit(t *testing.T) {
	f := hubs.take(t)
	f.braked = true
	seven := slices.DeleteFunc(slices.Sorted(maps.Keys(regions)), func(name string) bool { return regions[name] == "north" })
	all := f.placeAs("edited", seven, testworld.PickAll(among(seven...)))
	n := f.place("fewer", 3, append([]string{"north-1", "north-2"}, seven[0]), prefer("north-1"))
	same := f.place("timed", 1, []string{"north-1", "north-2"})
	tolerate := func(spec *v1beta1.PlacementSpec) { testworld.Tolerating(testworld.Taint("any", "taint"))(spec) }

	f.lose(4*time.Minute, "north-1")
	n.edit(func(spec *v1beta1.PlacementSpec) { spec.Policy.NumberOfClusters = ptr.To(int32(2)) })
	n.available("north-2", seven[0])
	before, snapshots := same.versionsNow(), same.snapshots()
	same.edit(func(spec *v1beta1.PlacementSpec) { spec.Policy.Failover.After.Duration = 2 * after })
	same.reports(v1beta1.ConditionScheduled, v1beta1.ReasonSchedulingPolicyFulfilled)
	same.unwritten(before)
	if is := same.snapshots(); is != snapshots {
		t.Errorf("%d policy snapshots, and %d after an edit of the failover policy", snapshots, is)
	}
	f.hear("north-1")

	f.silenceAll(2*time.Minute, seven[1:]...)
	was := all.snapshots()
	all.edit(tolerate)
	testworld.Await(t, testworld.Soon, "a policy snapshot", func(context.Context) error {
		if is := all.snapshots(); is == was {
			return fmt.Errorf("there are %d", is)
		}
		return nil
	})
	all.bound(seven...)
	f.hear(seven[1:]...)
	all.available(seven...)
	all.bound(seven...)
}
