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

// A member agent is halted, and the hub agent is killed before it replaces the cluster. One placement becomes
// available elsewhere: its objects stay on the halted member until the agent continues, and only then are removed.
// Another one cannot become available elsewhere: it returns to the member, on which nothing is written.
func TestFailoverOfAHaltedMember(t *testing.T) {
	reportOften(t)
	candidates := membersOf("most")
	most := testworld.PickN(2, testworld.Labelled(map[string]string{ringLabel: "most"}))
	moves := placeMoving(t, "moves", most)
	returns := placeMoving(t, "returns", most, testworld.Applying(v1beta1.ApplyStrategy{WhenToTakeOver: v1beta1.WhenToTakeOverNever}))
	movesFrom, returnsFrom := moves.available(), returns.available()
	halted := movesFrom[slices.IndexFunc(movesFrom, func(c string) bool { return slices.Contains(returnsFrom, c) })]
	stays, next, barred := other(movesFrom, halted), other(candidates, movesFrom...), other(candidates, returnsFrom...)
	obstacle := testworld.Namespace(returns.name)
	testworld.Create(t, members[barred], barred, obstacle)
	moved, returned := moves.objects(halted), returns.objects(halted)

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

	keptThere, keptNext := moves.objects(stays), moves.objects(next)
	resume(t, halted)
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

// All member agents are halted for longer than a failover takes, as if the hub were cut off. Nothing happens
// meanwhile, nor when they continue.
func TestFailoverIsBrakedWhenAllMembersAreHalted(t *testing.T) {
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
	p.Spec.Policy.Failover = &v1beta1.Failover{After: metav1.Duration{Duration: failoverAfter}}
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

func sorted(values ...string) []string { return slices.Sorted(slices.Values(values)) }
