package e2e

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A policy edit takes nothing from a cluster that is not heard. When it is heard again, the policy is decided for it.
func TestEditWhileAClusterIsSilent(t *testing.T) {
	s := begin(t)
	scenario := map[string]string{"scenario": s.name}
	a, b := s.member("a", map[string]string{"scenario": s.name, "zone": "a"}), s.member("b", map[string]string{"scenario": s.name, "zone": "b"})
	a.Healthy()
	b.Healthy()
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickAll(testworld.Labelled(scenario)), s.reachOwnMembers())
	s.create(p)
	s.of(p).expect(testworld.Complete(a.Name, b.Name))
	b.Silent()
	testworld.Update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) {
		testworld.PickAll(testworld.Labelled(scenario, testworld.In("zone", "a")))(&p.Spec)
		s.reachOwnMembers()(&p.Spec)
	})
	s.of(p).expect(testworld.Complete(a.Name, b.Name))
	s.of(p).stays(testworld.Complete(a.Name, b.Name))
	s.hasWorks(b, 1)
	b.Healthy()
	s.of(p).expect(testworld.Complete(a.Name))
	s.hasWorks(b, 0)
}

// A cluster that is not heard is given up first, and keeps what it has until it is heard.
func TestFewerWhileAClusterIsSilent(t *testing.T) {
	s := begin(t)
	scenario := map[string]string{"scenario": s.name}
	a, b := s.member("a", scenario), s.member("b", scenario)
	a.Healthy()
	b.Healthy()
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickN(2, testworld.Labelled(scenario)), s.reachOwnMembers(),
		testworld.MaxUnavailable(intstr.FromString("100%")))
	s.create(p)
	s.of(p).expect(testworld.Complete(a.Name, b.Name))
	b.Silent()
	testworld.Update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) { *p.Spec.Policy.NumberOfClusters = 1 })
	s.of(p).expect(testworld.Complete(a.Name))
	s.of(p).stays(testworld.Complete(a.Name))
	s.hasWorks(b, 1)
	b.Healthy()
	s.hasWorks(b, 0)
}

// hasWorks waits until a member has so many Works that are not being deleted.
func (s *scene) hasWorks(m *testworld.ModelMember, want int) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, fmt.Sprintf("%s to have %d Works", m.Name, want), func(ctx context.Context) error {
		var works v1beta1.WorkList
		if err := theHub.List(ctx, &works, client.InNamespace(contract.MemberNamespace(m.Name))); err != nil {
			return err
		}
		n := 0
		for _, w := range works.Items {
			if w.DeletionTimestamp.IsZero() {
				n++
			}
		}
		if n != want {
			return fmt.Errorf("it has %d", n)
		}
		return nil
	})
}
