package e2e

import (
	"testing"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var (
	eastProd   = testworld.Labelled(map[string]string{"region": "east"}, testworld.In("env", "prod"))
	westProd   = testworld.Labelled(map[string]string{"region": "west"}, testworld.In("env", "prod"))
	westCanary = testworld.Labelled(map[string]string{"region": "west"}, testworld.In("env", "canary"))
)

// contract:20
func TestPickAllByAffinity(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickAll(eastProd))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name))
	s.placed("test", c1)
}

// contract:21
func TestPickAllFollowsItsAffinity(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickAll(eastProd))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name).AtOrNext("0").Selecting(s.all()...))
	testworld.Update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) { testworld.PickAll(westProd)(&p.Spec) })
	s.of(p).expect(testworld.Complete(c3.name).AtOrNext("0"))
	s.placed("test", c3)
}

// contract:28
func TestNamespacedWithoutPolicyGoesEverywhere(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name)
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name, c2.name, c3.name))
	s.placed("test", c1, c2, c3)
}

// contract:29
func TestNamespacedPickAllGoesEverywhere(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickAll())
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name, c2.name, c3.name))
	s.placed("test", c1, c2, c3)
}

// contract:30
func TestNamespacedPickAllFollowsItsAffinity(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickAll(eastProd))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name))
	s.placed("test", c1)
	testworld.Update(s, theHub, p, func(p *v1beta1.ResourcePlacement) { testworld.PickAll(westProd)(&p.Spec) })
	s.of(p).expect(testworld.Complete(c3.name))
	s.placed("test", c3)
}

// contract:31
func TestNamespacedPickAllWithoutAMatch(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickAll(westCanary))
	s.create(p)
	s.of(p).expect(testworld.None())
	s.of(p).stays(testworld.None())
	s.placed("")
}
