package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var east = testworld.Labelled(map[string]string{"region": "east"})

// contract:44
func TestPickOneTakesTheLargestName(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickN(1))
	s.create(p)
	s.of(p).expect(testworld.Complete(c3.name))
	s.placed("test", c3)
}

// contract:45
func TestPickNShrinks(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickN(2))
	s.create(p)
	s.of(p).expect(testworld.Complete(c2.name, c3.name))
	s.placed("test", c2, c3)
	testworld.Update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) { *p.Spec.Policy.NumberOfClusters = 1 })
	s.of(p).expect(testworld.Complete(c3.name))
	s.placed("test", c3)
}

// contract:46
func TestPickNGrows(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickN(1))
	s.create(p)
	s.of(p).expect(testworld.Complete(c3.name))
	testworld.Update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) { *p.Spec.Policy.NumberOfClusters = 2 })
	s.of(p).expect(testworld.Complete(c2.name, c3.name))
	s.placed("test", c2, c3)
}

// contract:47
func TestPickNSpreads(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickN(2, east), testworld.Spread("env", corev1.DoNotSchedule))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name, c2.name))
	s.placed("test", c1, c2)
}

// contract:48
func TestPickNChangesItsSpread(t *testing.T) {
	s := begin(t)
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickN(2, east), testworld.Spread("env", corev1.DoNotSchedule))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name, c2.name))
	testworld.Update(s, theHub, p, func(p *v1beta1.ClusterResourcePlacement) { preferProdOverRegions(&p.Spec) })
	s.of(p).expectWithin(testworld.Workload, testworld.Complete(c1.name, c3.name))
	s.placed("test", c1, c3)
}

// contract:49
func TestPickNFindsTooFew(t *testing.T) {
	s := begin(t)
	// As many clusters that cannot be picked as slots that stay empty: each empty slot tells of one of them.
	s.unhealthy()
	s.left()
	p := testworld.ClusterPlacement(s.name, s.app, testworld.PickN(5, east))
	s.create(p)
	s.of(p).expect(testworld.Partial(3, c1.name, c2.name))
	s.of(p).stays(testworld.Partial(3, c1.name, c2.name))
	s.placed("test", c1, c2)
}

// contract:54
func TestNamespacedPickNGrows(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickN(1))
	s.create(p)
	s.of(p).expect(testworld.Complete(c3.name))
	s.placed("test", c3)
	testworld.Update(s, theHub, p, func(p *v1beta1.ResourcePlacement) { *p.Spec.Policy.NumberOfClusters = 2 })
	s.of(p).expect(testworld.Complete(c2.name, c3.name))
	s.placed("test", c2, c3)
}

// contract:55
func TestNamespacedPickNChangesItsSpread(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickN(2, east), testworld.Spread("env", corev1.DoNotSchedule))
	s.create(p)
	s.of(p).expect(testworld.Complete(c1.name, c2.name))
	testworld.Update(s, theHub, p, func(p *v1beta1.ResourcePlacement) { preferProdOverRegions(&p.Spec) })
	s.of(p).expectWithin(testworld.Workload, testworld.Complete(c1.name, c3.name))
	s.placed("test", c1, c3)
}

// contract:56
func TestNamespacedPickNToNothing(t *testing.T) {
	s := beginNamespaced(t)
	p := testworld.Placement(s.app, s.name, testworld.PickN(2))
	s.create(p)
	s.of(p).expect(testworld.Complete(c2.name, c3.name))
	testworld.Update(s, theHub, p, func(p *v1beta1.ResourcePlacement) { *p.Spec.Policy.NumberOfClusters = 0 })
	s.of(p).expect(testworld.None())
	s.placed("")
}

// preferProdOverRegions wants two clusters, rather prod ones, rather in different regions.
func preferProdOverRegions(spec *v1beta1.PlacementSpec) {
	testworld.PickN(2)(spec)
	spec.Policy.Affinity = &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []v1beta1.PreferredClusterSelector{
			{Weight: 20, Preference: testworld.Labelled(map[string]string{"env": "prod"})},
		},
	}}
	testworld.Spread("region", corev1.ScheduleAnyway)(spec)
}
