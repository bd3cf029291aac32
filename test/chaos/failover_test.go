package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

const (
	// failoverAfter is how long a cluster is not heard before another one replaces it: the shortest time that the API
	// permits.
	failoverAfter = 30 * time.Second
	// aMoment is for how long something must not change where nothing should happen.
	aMoment = 3 * time.Second
)

// moving is a placement with a failover policy. It places the namespace of its name, with a ConfigMap.
type moving struct {
	*testing.T
	name      string
	placement *v1beta1.ClusterResourcePlacement
}

// F1, F3, F4: a member agent is halted, and the hub agent is killed before it replaces the cluster. One placement becomes
// available elsewhere: its objects stay on the halted member until the agent continues, and only then are removed; with
// purge Never they stay without an owner. Another one cannot become available elsewhere: it returns to the member, on
// which nothing is written.
func TestF1F3F4HaltedMember(t *testing.T) {
	reportOften(t)
	candidates := membersOf("most")
	most := testworld.PickN(2, testworld.Labelled(map[string]string{ringLabel: "most"}))
	moves := placeMoving(t, "moves", most)
	returns := placeMoving(t, "returns", most, testworld.Applying(v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverNever}))
	leaves := placeMoving(t, "leaves", most, func(spec *v1beta1.PlacementSpec) {
		spec.Policy.Failover = &v1beta1.Failover{Purge: v1beta1.FailoverPurgeNever}
	})
	movesFrom, returnsFrom, leavesFrom := moves.available(), returns.available(), leaves.available()
	halted := movesFrom[slices.IndexFunc(movesFrom, func(c string) bool {
		return slices.Contains(returnsFrom, c) && slices.Contains(leavesFrom, c)
	})]
	stays, next, barred := other(movesFrom, halted), other(candidates, movesFrom...), other(candidates, returnsFrom...)
	obstacle := testworld.Namespace(returns.name)
	testworld.Create(t, members[barred], barred, obstacle)
	moved, returned, left := moves.objects(halted), returns.objects(halted), leaves.identities(halted)

	halt(t, halted)
	awaitSilence(t, clusterv1beta1.SilenceLost, halted)
	if err := fleet.KillAgent(hubName); err != nil {
		t.Fatal(err)
	}
	if err := fleet.StartAgent(t.Context(), hubName); err != nil {
		t.Fatal(err)
	}
	movesTo := []string{halted + "=Unscheduled>" + next, next + "=Bound", stays + "=Bound"}
	returnsTo := []string{halted + "=Unscheduled>" + barred, barred + "=Bound", other(returnsFrom, halted) + "=Bound"}
	moves.awaitBindings(movesTo...)
	returns.awaitBindings(returnsTo...)
	moves.availableOn(stays, next)
	moves.lost(halted, next)
	testworld.Stable(t, aMoment, "the fleet without "+halted, func(ctx context.Context) error {
		return errors.Join(moves.has(ctx, movesTo...), returns.has(ctx, returnsTo...), moves.keeps(halted, moved), returns.keeps(halted, returned))
	})

	leaves.awaitBindings(halted+"=Unscheduled>"+other(candidates, leavesFrom...), other(candidates, leavesFrom...)+"=Bound", other(leavesFrom, halted)+"=Bound")
	leaves.availableOn(without(candidates, halted)...)

	keptThere, keptNext := moves.objects(stays), moves.objects(next)
	resume(t, halted)
	leaves.awaitBindings(other(candidates, leavesFrom...)+"=Bound", other(leavesFrom, halted)+"=Bound")
	leaves.unowned(halted, left)
	moves.awaitBindings(next+"=Bound", stays+"=Bound")
	testworld.AwaitGone(t, members[halted], testworld.Namespace(moves.name), nil)
	returns.awaitBindings(returnsFrom[0]+"=Bound", returnsFrom[1]+"=Bound")
	returns.availableOn(returnsFrom...)
	testworld.Stable(t, aMoment, "the fleet with "+halted, func(ctx context.Context) error {
		return errors.Join(
			moves.has(ctx, next+"=Bound", stays+"=Bound"), returns.has(ctx, returnsFrom[0]+"=Bound", returnsFrom[1]+"=Bound"),
			moves.keeps(stays, keptThere), moves.keeps(next, keptNext), returns.keeps(halted, returned))
	})
	found := testworld.Namespace(returns.name)
	if err := members[barred].Get(t.Context(), client.ObjectKeyFromObject(found), found); err != nil {
		t.Fatal(err)
	}
	if found.UID != obstacle.UID {
		t.Errorf("the namespace %s on %s was replaced", found.Name, barred)
	}
}

// F8: all member agents are halted for longer than a failover takes, as if the hub were cut off. Nothing happens
// meanwhile, nor when they continue.
func TestF8AllMembersHalted(t *testing.T) {
	reportOften(t)
	p := placeMoving(t, "braked", testworld.PickN(2))
	all, on := slices.Sorted(maps.Keys(rings)), p.available()
	bindings := testworld.AwaitStill(t, aMoment, "the bindings", p.versions)
	objects := map[string]map[string]string{}
	for _, cluster := range on {
		objects[cluster] = p.objects(cluster)
	}
	halted := time.Now()
	halt(t, all...)
	awaitSilence(t, clusterv1beta1.SilenceBraked, all...)
	unchanged := func(ctx context.Context) error {
		if now, err := p.versions(ctx); err != nil || !maps.Equal(now, bindings) {
			return errors.Join(err, fmt.Errorf("bindings %v; they were %v", now, bindings))
		}
		return nil
	}
	testworld.Stable(t, failoverAfter+2*aMoment-time.Since(halted), "the fleet", unchanged)
	awaitSilence(t, clusterv1beta1.SilenceBraked, all...)

	resume(t, all...)
	testworld.Stable(t, aMoment, "the fleet", func(ctx context.Context) error {
		return errors.Join(unchanged(ctx), p.keeps(on[0], objects[on[0]]), p.keeps(on[1], objects[on[1]]))
	})
}

// regionOf are the regions in TestF7RegionHalted: more than a third of the members are in one.
var regionOf = map[string]string{"c1": "east", "c2": "west", "c3": "west", "c4": "west", "c5": "north"}

// F7: all member agents of a region are halted, which are more than half of all. That is believed, and nothing moves when
// they are back.
func TestF7RegionHalted(t *testing.T) {
	reportOften(t)
	for name, region := range regionOf {
		label(t, name, failover.DefaultDomain, region)
	}
	west := slices.DeleteFunc(slices.Sorted(maps.Keys(rings)), func(name string) bool { return regionOf[name] != "west" })
	p := placeMoving(t, "region", testworld.PickN(2), testworld.Spread(failover.DefaultDomain, corev1.DoNotSchedule),
		testworld.Prefer(100, testworld.Labelled(map[string]string{failover.DefaultDomain: "west"})))
	on := p.available()
	i := slices.IndexFunc(on, func(name string) bool { return regionOf[name] == "west" })
	if i < 0 || regionOf[other(on, on[i])] == "west" {
		t.Fatalf("the placement is on %q", on)
	}
	lost, stays := on[i], other(on, on[i])
	next := other([]string{"c1", "c5"}, stays)
	kept, there := p.objects(stays), p.objects(lost)
	halt(t, west...)
	awaitSilence(t, clusterv1beta1.SilenceLost, west...)
	p.awaitBindings(lost+"=Unscheduled>"+next, next+"=Bound", stays+"=Bound")
	p.availableOn(stays, next)
	testworld.Stable(t, aMoment, "the fleet without "+lost, func(context.Context) error { return p.keeps(lost, there) })
	moved := p.objects(next)
	resume(t, west...)
	p.awaitBindings(next+"=Bound", stays+"=Bound")
	testworld.AwaitGone(t, members[lost], testworld.Namespace(p.name), nil)
	testworld.Stable(t, aMoment, "the fleet with "+lost, func(ctx context.Context) error {
		return errors.Join(p.has(ctx, next+"=Bound", stays+"=Bound"), p.keeps(stays, kept), p.keeps(next, moved))
	})
}

// F16: a member gets an evicting taint. What cannot become available elsewhere stays, and is not written to when the taint
// goes; otherwise the objects go when they are available elsewhere.
func TestF16TaintedMember(t *testing.T) {
	p := placeTolerating(t, "tainted", 1)
	on := p.available()
	left, stays := on[0], on[1]
	next := other(membersOf("most"), on...)
	obstacle := testworld.Namespace(p.name)
	testworld.Create(t, members[next], next, obstacle)
	there := p.objects(left)
	taint(t, left, true)
	p.awaitBindings(left+"=Unscheduled>"+next, next+"=Bound", stays+"=Bound")
	testworld.Stable(t, aMoment, "the fleet with the taint", func(context.Context) error { return p.keeps(left, there) })
	taint(t, left, false)
	p.awaitBindings(left+"=Bound", stays+"=Bound")
	p.availableOn(left, stays)
	testworld.Stable(t, aMoment, "the fleet without the taint", func(context.Context) error { return p.keeps(left, there) })

	if err := members[next].Delete(t.Context(), obstacle); err != nil {
		t.Fatal(err)
	}
	testworld.AwaitGone(t, members[next], obstacle, nil)
	watched := testworld.Go(t, "the copies", func(ctx context.Context) error {
		for ; ctx.Err() == nil; testworld.Pause() {
			copies := 0
			for _, c := range []string{left, next} {
				cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.name, Name: "cm"}}
				if err := members[c].Get(ctx, client.ObjectKeyFromObject(cm), cm); err == nil {
					copies++
				} else if !apierrors.IsNotFound(err) {
					copies = 1 // unknown
				}
			}
			if copies == 0 {
				return fmt.Errorf("neither %s nor %s has the objects", left, next)
			}
		}
		return nil
	})
	taint(t, left, true)
	p.awaitBindings(next+"=Bound", stays+"=Bound")
	p.availableOn(next, stays)
	testworld.AwaitGone(t, members[left], testworld.Namespace(p.name), nil)
	watched.Stop()
}

// placeTolerating creates a placement on two members of the ring most that tolerates the taint of this test for that
// long, and has no failover policy.
func placeTolerating(t *testing.T, name string, seconds int64) *moving {
	t.Helper()
	p := testworld.ClusterPlacement(name, name, testworld.PickN(2, testworld.Labelled(map[string]string{ringLabel: "most"})),
		testworld.Applying(v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverNever}))
	p.Finalizers = nil
	p.Spec.Policy.Tolerations = []v1beta1.Toleration{{Key: "leave", Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds}}
	for _, obj := range []client.Object{testworld.Namespace(name), testworld.ConfigMap(name, "0"), p} {
		testworld.Create(t, theHub, hubName, obj)
	}
	t.Cleanup(func() {
		if err := theHub.Delete(context.WithoutCancel(t.Context()), p); err != nil {
			t.Error(err)
		}
		testworld.AwaitGone(t, theHub, p, nil)
	})
	return &moving{T: t, name: name, placement: p}
}

// taint gives a member an evicting taint until the test ends, or takes it off.
func taint(t *testing.T, name string, on bool) {
	t.Helper()
	set := func(taints []clusterv1beta1.Taint) {
		testworld.Update(t, theHub, testworld.NewMemberCluster(name), func(c *clusterv1beta1.MemberCluster) { c.Spec.Taints = taints })
	}
	if !on {
		set(nil)
		return
	}
	set([]clusterv1beta1.Taint{{Key: "leave", Effect: corev1.TaintEffectNoSchedule, Evict: true}})
	t.Cleanup(func() { set(nil) })
}

// label gives a member a label until the test ends.
func label(t *testing.T, name, key, value string) {
	t.Helper()
	set := func(value *string) {
		testworld.Update(t, theHub, testworld.NewMemberCluster(name), func(c *clusterv1beta1.MemberCluster) {
			if delete(c.Labels, key); value != nil {
				c.Labels[key] = *value
			}
		})
	}
	set(&value)
	t.Cleanup(func() { set(nil) })
}

// reportOften makes all members report every second until the test ends.
func reportOften(t *testing.T) {
	t.Helper()
	for name := range rings {
		cluster, before := testworld.NewMemberCluster(name), int32(0)
		begin := time.Now()
		testworld.Update(t, theHub, cluster, func(c *clusterv1beta1.MemberCluster) {
			before, c.Spec.HeartbeatPeriodSeconds = c.Spec.HeartbeatPeriodSeconds, 1
		})
		t.Cleanup(func() {
			testworld.Update(t, theHub, cluster, func(c *clusterv1beta1.MemberCluster) { c.Spec.HeartbeatPeriodSeconds = before })
		})
		testworld.Await(t, testworld.Soon, name+" to report often", func(ctx context.Context) error {
			if err := theHub.Get(ctx, client.ObjectKeyFromObject(cluster), cluster); err != nil {
				return err
			}
			if last := liveness.LastHeard(cluster); last.Before(begin) {
				return fmt.Errorf("the last heartbeat arrived at %s", last)
			}
			return nil
		})
	}
}

// placeMoving creates a placement with a failover policy, and what it places.
func placeMoving(t *testing.T, name string, options ...testworld.Option) *moving {
	t.Helper()
	p := testworld.ClusterPlacement(name, name, options...)
	p.Finalizers = nil
	if p.Spec.Policy.Failover == nil {
		p.Spec.Policy.Failover = &v1beta1.Failover{}
	}
	p.Spec.Policy.Failover.After.Duration = failoverAfter
	for _, obj := range []client.Object{testworld.Namespace(name), testworld.ConfigMap(name, "0"), p} {
		testworld.Create(t, theHub, hubName, obj)
	}
	t.Cleanup(func() {
		if err := theHub.Delete(context.WithoutCancel(t.Context()), p); err != nil {
			t.Error(err)
		}
		testworld.AwaitGone(t, theHub, p, nil)
	})
	return &moving{T: t, name: name, placement: p}
}

// available waits until the placement is available, and returns its clusters, sorted.
func (m *moving) available() (on []string) {
	m.Helper()
	p := m.placement
	testworld.Await(m, testworld.Workload, m.name+" to be available", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, p.ConditionType(v1beta1.ConditionAvailable))
		if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != p.Generation {
			return fmt.Errorf("conditions %+v", p.Status.Conditions)
		}
		on = nil
		for _, entry := range p.Status.PerClusterPlacementStatuses {
			on = append(on, entry.ClusterName)
		}
		return nil
	})
	return sorted(on...)
}

// availableOn waits until the placement is available on these clusters, and on no others.
func (m *moving) availableOn(want ...string) {
	m.Helper()
	testworld.Await(m, 2*testworld.Workload, m.name+" to be available there", func(context.Context) error {
		if got := m.available(); !slices.Equal(got, sorted(want...)) {
			return fmt.Errorf("it is available on %q, want %q", got, want)
		}
		return nil
	})
}

// lost checks that the placement reports what replaces a lost cluster, and that this did not begin too early.
func (m *moving) lost(cluster, by string) {
	m.Helper()
	p := m.placement
	testworld.Await(m, testworld.Soon, m.name+" to report that "+cluster+" is replaced", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, p.ConditionType(v1beta1.ConditionFailoverComplete))
		if c == nil || c.Reason != v1beta1.ReasonClustersReplaced || !strings.Contains(c.Message, cluster) || !strings.Contains(c.Message, by) {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
	list, err := m.list(m.Context())
	if err != nil {
		m.Fatal(err)
	}
	for i := range list {
		b := &list[i]
		if e := failover.Replaces(b); e != nil && b.CreationTimestamp.Sub(e.Since.Time) < failoverAfter {
			m.Errorf("binding %s was created at %s; %s is not heard since %s", b.Name, b.CreationTimestamp, e.With, e.Since)
		}
	}
}

func (m *moving) list(ctx context.Context) ([]v1beta1.ClusterResourceBinding, error) {
	var list v1beta1.ClusterResourceBindingList
	err := theHub.List(ctx, &list, client.MatchingLabels{contract.LabelPlacement: m.name})
	return list.Items, err
}

// versions are the resource versions of the bindings.
func (m *moving) versions(ctx context.Context) (map[string]string, error) {
	list, err := m.list(ctx)
	out := map[string]string{}
	for _, b := range list {
		out[b.Name] = b.ResourceVersion
	}
	return out, err
}

func (m *moving) awaitBindings(want ...string) {
	m.Helper()
	testworld.Await(m, 2*testworld.Workload, "the bindings of "+m.name, func(ctx context.Context) error { return m.has(ctx, want...) })
}

// has compares the bindings, as cluster=state>replacement, in any order.
func (m *moving) has(ctx context.Context, want ...string) error {
	list, err := m.list(ctx)
	if err != nil {
		return err
	}
	var got []string
	for i := range list {
		b := &list[i]
		text := b.Spec.TargetCluster + "=" + string(b.Spec.State)
		if e := failover.ReplacedBy(b); e != nil {
			text += ">" + e.With
		}
		if !b.DeletionTimestamp.IsZero() {
			text += ", deleted"
		}
		got = append(got, text)
	}
	if got, want := sorted(got...), sorted(want...); !slices.Equal(got, want) {
		return fmt.Errorf("bindings %q, want %q", got, want)
	}
	return nil
}

// objects are the UIDs and resource versions of what was placed on a member.
func (m *moving) objects(cluster string) map[string]string {
	m.Helper()
	out := map[string]string{}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: m.name, Name: "cm"}}
	for _, obj := range []client.Object{testworld.Namespace(m.name), cm} {
		if err := members[cluster].Get(m.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			m.Fatalf("%T of %s on %s: %v", obj, m.name, cluster, err)
		}
		out[fmt.Sprintf("%T", obj)] = string(obj.GetUID()) + " " + obj.GetResourceVersion()
	}
	return out
}

// identities are the UIDs of what was placed on a member.
func (m *moving) identities(cluster string) map[string]string {
	m.Helper()
	out := map[string]string{}
	for kind, text := range m.objects(cluster) {
		out[kind], _, _ = strings.Cut(text, " ")
	}
	return out
}

// unowned waits until what was placed on a member is still there, without an owner, and removes it.
func (m *moving) unowned(cluster string, want map[string]string) {
	m.Helper()
	namespace := testworld.Namespace(m.name)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: m.name, Name: "cm"}}
	testworld.Await(m, testworld.Workload, m.name+" to leave its objects on "+cluster, func(ctx context.Context) error {
		for _, obj := range []client.Object{namespace, cm} {
			if err := members[cluster].Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
				return err
			}
			if len(obj.GetOwnerReferences()) > 0 {
				return fmt.Errorf("%T has the owners %v", obj, obj.GetOwnerReferences())
			}
		}
		return nil
	})
	if got := m.identities(cluster); !maps.Equal(got, want) {
		m.Errorf("objects on %s: %v; they were %v", cluster, got, want)
	}
	if err := members[cluster].Delete(m.Context(), namespace); err != nil {
		m.Error(err)
	}
}

// keeps returns nil if what was placed on a member is what it was, and the hub does not remove it.
func (m *moving) keeps(cluster string, want map[string]string) error {
	m.Helper()
	if got := m.objects(cluster); !maps.Equal(got, want) {
		return fmt.Errorf("objects of %s on %s: %v; they were %v", m.name, cluster, got, want)
	}
	var works v1beta1.WorkList
	if err := theHub.List(m.Context(), &works, client.InNamespace(contract.MemberNamespace(cluster)), client.MatchingLabels{contract.LabelPlacement: m.name}); err != nil {
		return err
	}
	if len(works.Items) != 1 || !works.Items[0].DeletionTimestamp.IsZero() {
		return fmt.Errorf("%d Works of %s for %s, or one that is being deleted", len(works.Items), m.name, cluster)
	}
	return nil
}

// halt halts member agents until they are resumed. Until the test ends, one that ends is started again, as a
// Deployment would do: an agent that was halted for long may have lost its lease.
func halt(t *testing.T, names ...string) {
	t.Helper()
	testworld.Go(t, "the restarts of agents", func(ctx context.Context) error {
		for ; ctx.Err() == nil; testworld.Pause() {
			for _, name := range names {
				if fleet.AgentRunning(name) {
					continue
				}
				if err := fleet.StartAgent(context.WithoutCancel(ctx), name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, name := range names {
		pid := fleet.AgentPID(name)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatalf("halt the agent of %s: %v", name, err)
		}
		t.Cleanup(func() {
			if fleet.AgentPID(name) == pid && fleet.AgentRunning(name) {
				_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended just now
			}
		})
	}
}

// resume lets halted agents continue, and waits until the hub hears them.
func resume(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := syscall.Kill(fleet.AgentPID(name), syscall.SIGCONT); err != nil {
			t.Fatalf("resume the agent of %s: %v", name, err)
		}
	}
	awaitSilence(t, "", names...)
}

// awaitSilence waits until the hub concludes that from the silence of members; empty for members that are heard.
func awaitSilence(t *testing.T, want clusterv1beta1.SilenceState, names ...string) {
	t.Helper()
	for _, name := range names {
		testworld.Await(t, testworld.Workload, fmt.Sprintf("the silence of %s to be %q", name, want), func(ctx context.Context) error {
			c := testworld.NewMemberCluster(name)
			if err := theHub.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
				return err
			}
			var got clusterv1beta1.SilenceState
			if s := c.Status.Silence; s != nil && s.State != clusterv1beta1.SilenceOver {
				got = s.State
			}
			if got != want {
				return fmt.Errorf("silence %+v", c.Status.Silence)
			}
			return nil
		})
	}
}

// membersOf are the members of a ring, sorted.
func membersOf(ring string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(rings)), func(name string) bool { return rings[name] != ring })
}

// other returns the first of the clusters that is not among those left out.
func other(clusters []string, leftOut ...string) string {
	return clusters[slices.IndexFunc(clusters, func(c string) bool { return !slices.Contains(leftOut, c) })]
}

// without are the clusters but for one.
func without(clusters []string, out string) []string {
	return slices.DeleteFunc(slices.Clone(clusters), func(c string) bool { return c == out })
}

func sorted(values ...string) []string { return slices.Sorted(slices.Values(values)) }
