package hub

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// taint gives a member an evicting taint, and returns when the hub first saw it; or takes it off.
func (f *failovers) taint(member string, on bool) (seen time.Time) {
	f.Helper()
	testworld.Await(f, testworld.Soon, "the taint of "+member, func(ctx context.Context) error {
		c := testworld.NewMemberCluster(member)
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
			return err
		}
		if (len(c.Spec.Taints) > 0) != on {
			c.Spec.Taints = nil
			if on {
				c.Spec.Taints = []clusterv1beta1.Taint{{Key: "leave", Effect: corev1.TaintEffectNoSchedule, Evict: true}}
			}
			if err := f.Client.Update(ctx, c); err != nil {
				return err
			}
		}
		if (len(c.Status.Taints) > 0) != on {
			return fmt.Errorf("taints in the status: %+v", c.Status.Taints)
		}
		if on {
			seen = c.Status.Taints[0].Since.Time
		}
		return nil
	})
	return seen
}

// removals watches the bindings of a placement until the test ends, and checks that the binding to from goes only after
// that to by was reported available.
func (p *placed) removals(from, by string) (check func()) {
	p.Helper()
	events, err := p.watching.Watch(p.Context(), &v1beta1.ClusterResourceBindingList{}, client.MatchingLabels{contract.LabelPlacement: p.of.Name})
	p.must(err)
	p.Cleanup(events.Stop)
	return func() {
		p.Helper()
		available := false
		for event := range events.ResultChan() {
			b, ok := event.Object.(*v1beta1.ClusterResourceBinding)
			if !ok {
				p.Fatalf("the watch ended: %+v", event.Object)
			}
			switch {
			case b.Spec.TargetCluster == by:
				available = available || meta.IsStatusConditionTrue(b.Status.Conditions, v1beta1.ConditionAvailable)
			case b.Spec.TargetCluster == from && !b.DeletionTimestamp.IsZero() && !available:
				p.Errorf("%s went before %s was available", from, by)
				return
			case b.Spec.TargetCluster == from && event.Type == watch.Deleted:
				return
			}
		}
	}
}

func tolerating(seconds int64) testworld.Option {
	return func(spec *v1beta1.PlacementSpec) {
		spec.Policy.Tolerations = []v1beta1.Toleration{{Key: "leave", Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds}}
	}
}

// F16: a tainted cluster is left when the toleration ends, which counts from the first sight of the taint, and goes when
// its replacement is available. One that cannot be replaced stays, and other placement types ignore the taint.
func TestF16Taint(t *testing.T) {
	f := hubs.take(t)
	const from, to = "east-2", "east-1"
	pair := []string{to, from}
	p := f.placeAs("moving", pair, testworld.PickN(1, among(pair...)), prefer(from), tolerating(31536000))
	named := f.placeAs("named", pair, testworld.PickFixed(from))
	all := f.placeAs("all", pair, testworld.PickAll(among(pair...)))
	budget := &v1beta1.ClusterResourcePlacementDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: p.of.Name}}
	budget.Spec.MinAvailable = ptr.To(intstr.FromInt32(1))
	f.must(f.Client.Create(t.Context(), budget))
	t.Cleanup(func() { f.must(f.Client.Delete(context.WithoutCancel(t.Context()), budget)) })

	first := f.taint(from, true)
	p.stay(from)
	f.stop()
	f.start()
	p.stay(from)
	if again := f.taint(from, true); !again.Equal(first) {
		t.Errorf("seen first at %s after a restart; it was %s", again, first)
	}

	check := p.removals(from, to)
	p.edit(tolerating(1))
	p.available(to)
	p.bound(to)
	check()
	if n := p.snapshots(); n != 1 {
		t.Errorf("%d policy snapshots; another time must create none", n)
	}
	named.stay(from)
	all.stay(pair...)

	f.taint(to, true)
	p.nameless(fmt.Sprintf(`cluster %q must be replaced (it has the taint leave=:NoSchedule,evict since `, to))
	p.stay(to)
	f.taint(to, false)
	p.available(to)
	p.stay(to)
}

// F16: if the taint goes before the replacement was available, the placement returns, and nothing is written on the
// cluster. A placement of three clusters that its budget protects, all of them, leaves the cluster in the same way.
func TestF16TaintRemoved(t *testing.T) {
	f := hubs.take(t)
	p := f.placeAs("returning", four, testworld.PickN(3, among(four...)), tolerating(1))
	budget := &v1beta1.ClusterResourcePlacementDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: p.of.Name}}
	budget.Spec.MinAvailable = ptr.To(intstr.FromInt32(3))
	f.must(f.Client.Create(t.Context(), budget))
	t.Cleanup(func() { f.must(f.Client.Delete(context.WithoutCancel(t.Context()), budget)) })
	left, next := p.on[2], p.spare[0]
	orders := p.orders(left)
	f.members[next].Idle()
	f.taint(left, true)
	p.bound(p.on[0], p.on[1], left+">"+next, next)
	p.untouched(left, orders)
	f.taint(left, false)
	p.bound(p.on...)
	p.available(p.on...)
	p.untouched(left, orders)

	check := p.removals(left, next)
	f.members[next].Busy()
	f.taint(left, true)
	p.bound(p.on[0], p.on[1], next)
	check()
	p.available(p.on[0], p.on[1], next)
}
