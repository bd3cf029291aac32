package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// divided is a placement that divides the Deployment web in the namespace of its name over some members.
type divided struct {
	*testing.T
	on        []string
	placement *v1beta1.ClusterResourcePlacement
}

// placeDivided divides the replicas over the members of a ring, at least one for each.
func placeDivided(t *testing.T, name, ring string, replicas int32) *divided {
	t.Helper()
	p := testworld.ClusterPlacement(name, name, testworld.PickAll(testworld.Labelled(map[string]string{ringLabel: ring})))
	p.Finalizers = nil
	p.Spec.Policy.Replicas = &v1beta1.ReplicaPolicy{MinPerCluster: ptr.To[int32](1)}
	p.Spec.Policy.Failover = &v1beta1.Failover{After: metav1.Duration{Duration: failoverAfter}}
	web := deployment(name, "0")
	web.Spec.Replicas = &replicas
	for _, obj := range []client.Object{testworld.Namespace(name), web, p} {
		testworld.Create(t, theHub, hubName, obj)
	}
	t.Cleanup(func() {
		if err := theHub.Delete(context.WithoutCancel(t.Context()), p); err != nil {
			t.Error(err)
		}
		testworld.AwaitGone(t, theHub, p, nil)
	})
	return &divided{T: t, on: membersOf(ring), placement: p}
}

// live are the replicas that the members want and have available.
func (d *divided) live(ctx context.Context) (wanted, available map[string]int32, err error) {
	wanted, available = map[string]int32{}, map[string]int32{}
	for _, name := range d.on {
		web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: d.placement.Name, Name: "web"}}
		if err := members[name].Get(ctx, client.ObjectKeyFromObject(web), web); err != nil {
			return nil, nil, fmt.Errorf("get the Deployment on %s: %w", name, err)
		}
		wanted[name], available[name] = ptr.Deref(web.Spec.Replicas, 1), web.Status.AvailableReplicas
	}
	return wanted, available, nil
}

// becomes waits until the members have what want accepts, all of it available, and the placement reports the reason.
func (d *divided) becomes(what, reason, said string, want func(map[string]int32) bool) (is map[string]int32) {
	d.Helper()
	p := d.placement
	testworld.Await(d, 2*testworld.Workload, p.Name+" "+what, func(ctx context.Context) error {
		wanted, available, err := d.live(ctx)
		if err != nil {
			return err
		}
		if !want(wanted) || !maps.Equal(wanted, available) {
			return fmt.Errorf("the members want %v and have %v", wanted, available)
		}
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, p.ConditionType(v1beta1.ConditionReplicasDivided))
		if c == nil || c.Reason != reason || !strings.Contains(c.Message, said) {
			return fmt.Errorf("condition %+v", c)
		}
		is = wanted
		return nil
	})
	return is
}

func sum(replicas map[string]int32, without string) (sum int32) {
	for name, n := range replicas {
		if name != without {
			sum += n
		}
	}
	return sum
}

// D18: a member agent is halted, and the hub agent is killed before it gives the replicas to the other members. On the
// halted member they go on, until it is heard: then it has its minimum. Members that are heard have all replicas
// available from the loss on, also while the minimum moves back.
func TestD18HaltedMember(t *testing.T) {
	reportOften(t)
	const replicas = 10
	d := placeDivided(t, "divided", "most", replicas)
	all := d.becomes("to be divided", v1beta1.ReasonReplicasDivided, "10 of 10 on 3 clusters", func(is map[string]int32) bool {
		return sum(is, "") == replicas && slices.Min(slices.Collect(maps.Values(is))) == 3
	})
	halted := d.on[slices.IndexFunc(d.on, func(c string) bool { return all[c] == 4 })]

	halt(t, halted)
	if err := fleet.KillAgent(hubName); err != nil {
		t.Fatal(err)
	}
	if err := fleet.StartAgent(t.Context(), hubName); err != nil {
		t.Fatal(err)
	}
	awaitSilence(t, clusterv1beta1.SilenceLost, halted)
	without := d.becomes("to be divided over the others", v1beta1.ReasonReplicasDivided, "lost clusters: "+halted, func(is map[string]int32) bool {
		return is[halted] == 4 && sum(is, halted) == replicas
	})
	for _, c := range d.on {
		if c != halted && without[c] != 5 {
			t.Errorf("%s has %d replicas, want 5", c, without[c])
		}
	}

	watched := testworld.Go(t, "the count of available replicas", func(ctx context.Context) error {
		for ; ctx.Err() == nil; testworld.Pause() {
			_, available, err := d.live(ctx)
			if n := sum(available, ""); err == nil && n < replicas {
				return fmt.Errorf("%d replicas are available: %v", n, available)
			}
		}
		return nil
	})
	resume(t, halted)
	d.becomes("to give back the minimum", v1beta1.ReasonReplicasDivided, "10 of 10 on 3 clusters", func(is map[string]int32) bool {
		return is[halted] == 1 && sum(is, "") == replicas
	})
	testworld.Stable(t, aMoment, "the fleet with "+halted, func(ctx context.Context) error {
		if is, _, err := d.live(ctx); err != nil || is[halted] != 1 || sum(is, "") != replicas {
			return fmt.Errorf("the members want %v: %w", is, err)
		}
		return nil
	})
	watched.Stop()
}

// D17: a replica more is written to one member only, and others keep their Deployment as it is.
func TestD17Scale(t *testing.T) {
	d := placeDivided(t, "scaled", "most", 10)
	before := d.becomes("to be divided", v1beta1.ReasonReplicasDivided, "10 of 10 on 3 clusters", func(is map[string]int32) bool {
		return sum(is, "") == 10 && slices.Min(slices.Collect(maps.Values(is))) == 3
	})
	for _, step := range []struct{ replicas, changed int32 }{{11, 1}, {12, 1}, {6, 3}} {
		generations := d.generations()
		d.scale(step.replicas, "0")
		after := d.becomes(fmt.Sprintf("to have %d", step.replicas), v1beta1.ReasonReplicasDivided, fmt.Sprintf("%d of %d", step.replicas, step.replicas),
			func(is map[string]int32) bool { return sum(is, "") == step.replicas })
		changed := int32(0)
		for name, generation := range d.generations() {
			if generation != generations[name] {
				changed++
			}
			if (generation != generations[name]) != (before[name] != after[name]) {
				t.Errorf("%s: %d replicas became %d, and generation %d became %d", name, before[name], after[name], generations[name], generation)
			}
		}
		if changed != step.changed {
			t.Errorf("%d Deployments were written for %d replicas, want %d", changed, step.replicas, step.changed)
		}
		before = after
	}
}

// D20: a new image with more replicas rolls out, and the hub agent is killed meanwhile. The sum of what the members want
// is between the two totals, and none wants less than before.
func TestD20Mixed(t *testing.T) {
	const few, many = 5, 8
	d := placeDivided(t, "mixed", "most", few)
	weights := map[string]int32{"c2": 170, "c3": 110, "c4": 60}
	testworld.Update(t, theHub, d.placement, func(p *v1beta1.ClusterResourcePlacement) {
		p.Spec.Policy.Replicas.MinPerCluster = nil
		for name, weight := range weights {
			p.Spec.Policy.Replicas.Weights = append(p.Spec.Policy.Replicas.Weights, v1beta1.ClusterWeight{
				ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{contract.LabelMemberName: name}}, Weight: weight,
			})
		}
	})
	first := map[string]int32{"c2": 2, "c3": 2, "c4": 1}
	d.becomes("to be divided", v1beta1.ReasonReplicasDivided, "5 of 5 on 3 clusters", func(is map[string]int32) bool { return maps.Equal(is, first) })
	watched := testworld.Go(t, "the count of wanted replicas", func(ctx context.Context) error {
		last := first
		for ; ctx.Err() == nil; testworld.Pause() {
			is, _, err := d.live(ctx)
			if err != nil {
				continue
			}
			if n := sum(is, ""); n < few || n > many {
				return fmt.Errorf("%d replicas are wanted: %v", n, is)
			}
			for name, n := range is {
				if n < last[name] {
					return fmt.Errorf("the members want %v; they wanted %v", is, last)
				}
			}
			last = is
		}
		return nil
	})
	d.scale(many, "2")
	testworld.Await(t, testworld.Workload, "a member with more replicas", func(ctx context.Context) error {
		if is, _, err := d.live(ctx); err != nil || sum(is, "") == few {
			return fmt.Errorf("the members want %v: %w", is, err)
		}
		return nil
	})
	if err := fleet.KillAgent(hubName); err != nil {
		t.Fatal(err)
	}
	if err := fleet.StartAgent(t.Context(), hubName); err != nil {
		t.Fatal(err)
	}
	last := map[string]int32{"c2": 4, "c3": 3, "c4": 1}
	d.becomes("to have more", v1beta1.ReasonReplicasDivided, "8 of 8 on 3 clusters", func(is map[string]int32) bool { return maps.Equal(is, last) })
	watched.Stop()
}

// scale changes the Deployment on the hub.
func (d *divided) scale(replicas int32, revision string) {
	d.Helper()
	testworld.Update(d, theHub, deployment(d.placement.Name, revision), func(web *appsv1.Deployment) {
		web.Spec.Replicas, web.Spec.Template.Spec = &replicas, deployment("", revision).Spec.Template.Spec
	})
}

// generations are those of the Deployments on the members.
func (d *divided) generations() map[string]int64 {
	d.Helper()
	out := map[string]int64{}
	for _, name := range d.on {
		web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: d.placement.Name, Name: "web"}}
		if err := members[name].Get(d.Context(), client.ObjectKeyFromObject(web), web); err != nil {
			d.Fatal(err)
		}
		out[name] = web.Generation
	}
	return out
}
