package e2e

import (
	"testing"

	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// contract:60
func TestNamespacedPickNFollowsItsNamespace(t *testing.T) {
	s := begin(t)
	s.carry(c1.name, c2.name)
	p := s.place(testworld.PickN(2))
	s.of(p).settles(testworld.Complete(c1.name, c2.name))
	s.placed("test", c1, c2)
}

// contract:61
func TestNamespacedPickNFindsItsNamespaceTooRarely(t *testing.T) {
	s := begin(t)
	s.carry(c1.name)
	p := s.place(testworld.PickN(2))
	s.of(p).settles(testworld.Partial(1, c1.name))
	s.placed("test", c1)
}

// contract:144
func TestNamespacedFollowsItsNamespaceToAnotherMember(t *testing.T) {
	s := begin(t)
	carrier := s.carry(c2.name, c3.name)
	p := s.place()
	s.of(p).settles(testworld.Complete(c2.name, c3.name))
	s.placed("test", c2, c3)
	s.of(carrier).edit(testworld.PickFixed(c1.name, c2.name, c3.name))
	s.of(p).settles(testworld.Complete(c1.name, c2.name, c3.name))
	s.placed("test", c1, c2, c3)
}

// contract:145
func TestNamespacedPickNOfThoseThatHaveTheNamespaceAndALabel(t *testing.T) {
	s := begin(t)
	s.carry(c3.name)
	s.on(c3).label(s.app, "true")
	labelled := testworld.Labelled(map[string]string{s.app: "true"})
	p := s.place(testworld.PickN(3, labelled))
	s.of(p).settles(testworld.Partial(2, c3.name))
	s.placed("test", c3)
	s.of(p).edit(testworld.PickN(1, labelled))
	s.of(p).settles(testworld.Complete(c3.name))
	s.placed("test", c3)
}
