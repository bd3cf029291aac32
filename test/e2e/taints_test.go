package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// Scenarios of tainted members. Not beside others: what they need keeps the placements of all others off. So they are
// one, which plays through the taints once for all of them.
//
// contract:201 contract:202 contract:203 contract:204 contract:205 contract:206 contract:207
func TestTaints(t *testing.T) {
	everywhere, oneMissing, rest := testworld.Complete(c1.name, c2.name, c3.name), testworld.Partial(1, c1.name), testworld.Complete(c3.name)
	t1, t2, t3 := testworld.Taint("region", "east"), testworld.Taint("region", "west"), testworld.Taint("region", "south")
	scenes := together(t, true, false, true, true, true, false, true)
	picked, some, someNamespaced, tolerant, waiting, named, namedNamespaced := scenes[0], scenes[1], scenes[2], scenes[3], scenes[4], scenes[5], scenes[6]

	// 207: what is picked before its cluster is tainted stays.
	pickedPlacement := picked.place(testworld.PickAll())
	picked.of(pickedPlacement).expect(everywhere)
	picked.on(c1).taintMember(t1)
	picked.on(c2).taintMember(t2)

	// 202, 206: one of the two that would do is tolerated.
	spread := []testworld.Option{testworld.PickN(2, east), testworld.Spread("env", corev1.DoNotSchedule), testworld.Tolerating(t1)}
	somePlacement, someNamespacedPlacement := some.place(spread...), someNamespaced.place(spread...)
	// 204, 205: the one that is not tainted.
	tolerantPlacement, waitingPlacement := tolerant.place(), waiting.place()
	some.of(somePlacement).expect(oneMissing)
	someNamespaced.of(someNamespacedPlacement).expect(oneMissing)
	tolerant.of(tolerantPlacement).settles(rest)
	waiting.of(waitingPlacement).expect(rest)
	tolerant.placed("test", c3)
	// 204: tolerations are added.
	tolerant.of(tolerantPlacement).edit(testworld.PickAll(), testworld.Tolerating(t1), testworld.Tolerating(t2))
	tolerant.of(tolerantPlacement).expect(everywhere)

	// 201, 203: who is named does not need to be tolerated.
	named.on(c3).taintMember(t3)
	fixed := testworld.PickFixed(c1.name, c2.name, c3.name)
	namedPlacement, namedNamespacedPlacement := named.place(fixed), namedNamespaced.place(fixed)
	named.of(namedPlacement).expect(everywhere)
	namedNamespaced.of(namedNamespacedPlacement).expect(everywhere)

	testworld.Stable(t, calm, "what is on tainted members", func(ctx context.Context) error {
		for p, want := range map[v1beta1.PlacementObject]testworld.Status{
			pickedPlacement: everywhere, somePlacement: oneMissing, someNamespacedPlacement: oneMissing, tolerantPlacement: everywhere,
			waitingPlacement: rest, namedPlacement: everywhere, namedNamespacedPlacement: everywhere,
		} {
			if err := statusIs(p, want)(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	for _, s := range []*scene{picked, tolerant, named, namedNamespaced} {
		s.placed("test", c1, c2, c3)
	}
	for _, s := range []*scene{some, someNamespaced} {
		s.placed("test", c1)
	}
	waiting.placed("test", c3)

	// 205: the taints go.
	for _, m := range members() {
		picked.on(m).taintMember()
	}
	waiting.of(waitingPlacement).settles(everywhere)
	waiting.placed("test", c1, c2, c3)
}

// taintMember makes these the taints of one of the fleet's members until the end of the scenario.
func (s onCluster) taintMember(taints ...clusterv1beta1.Taint) {
	s.Helper()
	mc := testworld.NewMemberCluster(s.cluster.name)
	testworld.Update(s, theHub, mc, func(mc *clusterv1beta1.MemberCluster) { mc.Spec.Taints = taints })
	s.Cleanup(func() {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"taints":null}}`))
		if err := theHub.Patch(context.WithoutCancel(s.Context()), testworld.NewMemberCluster(s.cluster.name), patch); err != nil {
			s.Errorf("take the taints off %s: %v", s.cluster.name, err)
		}
	})
	// The scheduler reads the same cache as the one that writes this.
	testworld.Await(s.T, testworld.Soon, "the hub to know the taints of "+s.cluster.name, func(ctx context.Context) error {
		var now clusterv1beta1.MemberCluster
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(mc), &now); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(now.Status.Conditions, clusterv1beta1.ConditionReadyToJoin); c == nil || c.ObservedGeneration < mc.Generation {
			return fmt.Errorf("it has %+v, not of generation %d", c, mc.Generation)
		}
		return nil
	})
}
