package e2e

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// scene is one scenario: a part of the fleet with names of its own, whose objects are removed when the scenario ends.
type scene struct {
	*testing.T
	contents
}

// scenes counts the scenarios, for their names.
var scenes atomic.Int32

// begin starts a scenario that may run beside others: a namespace app with the config map cm on the hub.
func begin(t *testing.T) *scene {
	t.Helper()
	t.Parallel()
	s := bare(t)
	s.open()
	return s
}

// open creates what scenarios place.
func (s *scene) open() {
	s.Helper()
	s.create(testworld.Namespace(s.app))
	s.create(testworld.ConfigMap(s.app, "test"))
}

// bare is begin without the namespace, and not beside others.
func bare(t *testing.T) *scene {
	t.Helper()
	n := scenes.Add(1)
	t.Cleanup(func() { sweep(t) }) // after all that the scenario removes at its end
	return &scene{T: t, contents: contents{app: fmt.Sprintf("app-%d", n), name: fmt.Sprintf("place-%d", n)}}
}

// inBothScopes plays a scenario twice: for a ClusterResourcePlacement and for a ResourcePlacement.
func inBothScopes(t *testing.T, play func(*scene)) {
	t.Helper()
	t.Parallel()
	t.Run("cluster-wide", func(t *testing.T) { play(begin(t)) })
	t.Run("namespaced", func(t *testing.T) { play(beginNamespaced(t)) })
}

// together begins scenarios that need the same change of the whole fleet, and so are played at once but not beside
// others: each begins for a ResourcePlacement or for a ClusterResourcePlacement.
func together(t *testing.T, namespaced ...bool) []*scene {
	t.Helper()
	var scenes []*scene
	for _, n := range namespaced {
		s := bare(t)
		s.open()
		if n {
			s.carrier()
		}
		scenes = append(scenes, s)
	}
	for _, s := range scenes {
		if s.namespaced {
			s.of(testworld.ClusterPlacement(s.name+"-ns", s.app)).carried(c1.name, c2.name, c3.name)
		}
	}
	return scenes
}

// create makes an object on the hub and removes it, whatever holds it of ours, at the end of the scenario.
func (s *scene) create(obj client.Object) {
	s.Helper()
	s.on(theHub).createHere(obj)
}

// beginNamespaced begins a scenario about a ResourcePlacement: its namespace is on every member already.
func beginNamespaced(t *testing.T) *scene {
	t.Helper()
	s := begin(t)
	s.carryEverywhere()
	return s
}

// carryEverywhere is carry to all members, and to the scenario's own when they join.
func (s *scene) carryEverywhere() {
	s.Helper()
	s.of(s.carrier(testworld.PickAll(), s.reachOwnMembers())).carried(c1.name, c2.name, c3.name)
}

// carry makes a scenario one about a ResourcePlacement: a ClusterResourcePlacement brings the namespace alone to these
// members, which have reported it when carry returns.
func (s *scene) carry(to ...string) *v1beta1.ClusterResourcePlacement {
	s.Helper()
	carrier := s.carrier(testworld.PickFixed(to...))
	s.of(carrier).carried(to...)
	return carrier
}

// carrier is what carry creates, with a policy.
func (s *scene) carrier(policy ...testworld.Option) *v1beta1.ClusterResourcePlacement {
	s.Helper()
	s.namespaced = true
	carrier := testworld.ClusterPlacement(s.name+"-ns", s.app, append(policy, testworld.NamespaceOnly)...)
	s.create(carrier)
	return carrier
}

func (s ofPlacement) carried(to ...string) {
	s.Helper()
	s.expect(testworld.Complete(to...))
	for _, name := range to {
		s.namespaceReported(name)
	}
}

// namespaceReported waits until a member has reported that it has the scenario's namespace, if it reports namespaces at
// all.
func (s *scene) namespaceReported(member string) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, member+" to report namespace "+s.app, func(ctx context.Context) error {
		var mc clusterv1beta1.MemberCluster
		if err := theHub.Get(ctx, client.ObjectKey{Name: member}, &mc); err != nil {
			return err
		}
		collects := meta.FindStatusCondition(mc.Status.Conditions, clusterv1beta1.ConditionNamespaceCollectionSucceeded) != nil
		if _, there := mc.Status.Namespaces[s.app]; collects && !there {
			return fmt.Errorf("it reports %d others", len(mc.Status.Namespaces))
		}
		return nil
	})
}
