package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// testLabel is what some of the scenarios' own members have and others miss.
const testLabel = "test-label"

// wanted are labels that only the scenario's own members have.
func (s contents) wanted() map[string]string { return map[string]string{testLabel: s.name} }

// ownLabelled is the term that asks for them.
func (s contents) ownLabelled() v1beta1.ClusterSelectorTerm { return testworld.Labelled(s.wanted()) }

// relabel replaces the labels of one of the scenario's own members, but for what the hub keeps there.
func relabel(m *testworld.ModelMember, value string) {
	m.Change(func(mc *clusterv1beta1.MemberCluster) {
		delete(mc.Labels, testLabel)
		if value != "" {
			mc.Labels[testLabel] = value
		}
	})
}

// everywhereAnd is the status of a placement that runs on the fleet's members and on more.
func everywhereAnd(more ...*testworld.ModelMember) testworld.Status {
	names := []string{c1.name, c2.name, c3.name}
	for _, m := range more {
		names = append(names, m.Name)
	}
	return testworld.Complete(names...)
}

// contract:167
func TestPickAllReachesAMemberThatJoins(t *testing.T) {
	s := begin(t)
	p := s.place(testworld.PickAll(), s.reachOwnMembers())
	s.of(p).settles(everywhereAnd())
	f1 := s.member("f1", nil)
	f1.Healthy()
	s.of(p).settles(everywhereAnd(f1))
}

// contract:168
func TestPickAllReachesAMemberThatGetsTheLabel(t *testing.T) {
	s := begin(t)
	f1 := s.member("f1", nil)
	f1.Healthy()
	p := s.place(testworld.PickAll(s.ownLabelled()), s.reachOwnMembers())
	s.of(p).settles(testworld.None())
	relabel(f1, s.name)
	s.of(p).settles(testworld.Complete(f1.Name))
}

// contract:169 contract:186
func TestPickAllReachesAMemberThatRecovers(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		f1 := s.member("f1", nil)
		f1.Sick()
		p := s.place(testworld.PickAll(), s.reachOwnMembers())
		s.of(p).settles(everywhereAnd())
		f1.Healthy()
		s.of(p).settles(everywhereAnd(f1))
	})
}

// contract:170
func TestPickAllKeepsAMemberThatLosesTheLabel(t *testing.T) {
	s := begin(t)
	f1 := s.member("f1", s.wanted())
	f1.Healthy()
	p := s.place(testworld.PickAll(s.ownLabelled()), s.reachOwnMembers())
	s.of(p).expect(testworld.Complete(f1.Name))
	relabel(f1, "")
	s.of(p).settles(testworld.Complete(f1.Name))
}

// contract:172 contract:190
func TestPickFixedWaitsForAMemberToJoin(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		p := s.place(testworld.PickFixed("f1-" + s.name))
		s.of(p).settles(testworld.Unfulfilled(1))
		f1 := s.member("f1", nil)
		f1.Healthy()
		s.of(p).settles(testworld.Complete(f1.Name))
	})
}

// contract:173 contract:191
func TestPickFixedWaitsForAMemberToRecover(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		f1 := s.member("f1", nil)
		f1.Sick()
		p := s.place(testworld.PickFixed(f1.Name))
		s.of(p).settles(testworld.Unfulfilled(1))
		f1.Healthy()
		s.of(p).settles(testworld.Complete(f1.Name))
	})
}

// contract:174
func TestPickFixedNoticesAMemberThatLeft(t *testing.T) {
	s := begin(t)
	f1 := s.member("f1", nil)
	f1.Healthy()
	p := s.place(testworld.PickFixed(f1.Name))
	s.of(p).settles(testworld.Complete(f1.Name))
	f1.Left()
	s.of(p).settles(testworld.Unfulfilled(1))
}

// contract:175 contract:192
func TestPickNReachesAMemberThatJoins(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.unhealthy() // so that there is a decision to tell of in the place that stays empty
		p := s.place(testworld.PickN(4), s.reachOwnMembers())
		s.of(p).settles(testworld.Partial(1, c1.name, c2.name, c3.name))
		f1 := s.member("f1", nil)
		f1.Healthy()
		s.of(p).settles(everywhereAnd(f1))
	})
}

// contract:176 contract:193
func TestPickNReachesAMemberThatGetsTheLabel(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		f1 := s.member("f1", nil)
		f1.Healthy()
		p := s.place(testworld.PickN(1, s.ownLabelled()), s.reachOwnMembers())
		s.of(p).settles(testworld.Unfulfilled(1))
		relabel(f1, s.name)
		s.of(p).settles(testworld.Complete(f1.Name))
	})
}

// contract:177
func TestPickNReachesAMemberThatRecovers(t *testing.T) {
	s := begin(t)
	f1 := s.member("f1", s.wanted())
	f1.Sick()
	p := s.place(testworld.PickN(1, s.ownLabelled()), s.reachOwnMembers())
	s.of(p).settles(testworld.Unfulfilled(1))
	f1.Healthy()
	s.of(p).settles(testworld.Complete(f1.Name))
}

// regions gives the fleet's members their regions again, under a key of the scenario's own: domains are counted over
// all clusters that have the key, so that members of other scenarios must not.
func (s *scene) regions() (key string) {
	s.Helper()
	key = "region-" + s.name
	for m, region := range map[*cluster]string{&c1: "east", &c2: "east", &c3: "west"} {
		s.on(*m).label(key, region)
	}
	return key
}

// contract:178 contract:194
func TestPickNSpreadsOverMembersThatJoin(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.unhealthy()
		s.left()
		region := s.regions()
		p := s.place(testworld.PickN(5), testworld.Spread(region, corev1.DoNotSchedule), s.reachOwnMembers())
		s.of(p).settles(testworld.Partial(2, c1.name, c2.name, c3.name))
		f1 := s.member("f1", map[string]string{region: "east"})
		f1.Healthy()
		s.of(p).settles(testworld.Partial(2, c1.name, c2.name, c3.name))
		f2 := s.member("f2", map[string]string{region: "west"})
		f2.Healthy()
		s.of(p).settles(everywhereAnd(f1, f2))
	})
}

// contract:180 contract:196
func TestPickNDoesNotSkewForAMemberThatJoins(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.unhealthy()
		region := s.regions()
		p := s.place(testworld.PickN(4), testworld.Spread(region, corev1.DoNotSchedule), s.reachOwnMembers())
		s.of(p).settles(testworld.Partial(1, c1.name, c2.name, c3.name))
		f1 := s.member("f1", map[string]string{region: "east"})
		f1.Healthy()
		s.of(p).settles(testworld.Partial(1, c1.name, c2.name, c3.name))
	})
}

// contract:181 contract:197
func TestPickNKeepsAMemberUntilItHasLeft(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.unhealthy()
		f1 := s.member("f1", nil)
		f1.Healthy()
		p := s.place(testworld.PickN(4), s.reachOwnMembers())
		s.of(p).expect(everywhereAnd(f1))
		f1.Leave()
		s.of(p).settles(everywhereAnd(f1))
		f1.Left()
		s.of(p).settles(testworld.Partial(1, c1.name, c2.name, c3.name))
	})
}

// contract:182 contract:198
func TestPickNKeepsAMemberThatLosesTheLabel(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		f1 := s.member("f1", s.wanted())
		f1.Healthy()
		p := s.place(testworld.PickN(1, s.ownLabelled()), s.reachOwnMembers())
		s.of(p).expect(testworld.Complete(f1.Name))
		relabel(f1, "")
		s.of(p).settles(testworld.Complete(f1.Name))
	})
}

// contract:183 contract:199
func TestPickNKeepsAMemberWhoseHealthChanges(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		f1 := s.member("f1", s.wanted())
		f1.Healthy()
		p := s.place(testworld.PickN(1, s.ownLabelled()), s.reachOwnMembers())
		s.of(p).expect(testworld.Complete(f1.Name))
		f1.Sick()
		s.of(p).settles(testworld.Complete(f1.Name))
		f1.Healthy()
		s.of(p).settles(testworld.Complete(f1.Name))
	})
}

// contract:187
func TestNamespacedPickAllKeepsAMemberThatGetsSick(t *testing.T) {
	s := beginNamespaced(t)
	f1 := s.member("f1", nil)
	f1.Healthy()
	p := s.place(testworld.PickAll(), s.reachOwnMembers())
	s.of(p).expect(everywhereAnd(f1))
	f1.Sick()
	s.of(p).settles(everywhereAnd(f1))
}

// contract:188
func TestNamespacedPickAllKeepsAMemberUntilItHasLeft(t *testing.T) {
	s := beginNamespaced(t)
	f1 := s.member("f1", nil)
	f1.Healthy()
	p := s.place(testworld.PickAll(), s.reachOwnMembers())
	s.of(p).expect(everywhereAnd(f1))
	f1.Leave()
	s.of(p).settles(everywhereAnd(f1))
	f1.Left()
	s.of(p).settles(everywhereAnd())
}
