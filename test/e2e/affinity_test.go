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
	s.settles(p, testworld.Complete(c1.name, c2.name))
	s.placed("test", c1, c2)
}

// contract:61
func TestNamespacedPickNFindsItsNamespaceTooRarely(t *testing.T) {
	s := begin(t)
	s.carry(c1.name)
	p := s.place(testworld.PickN(2))
	s.settles(p, testworld.Partial(1, c1.name))
	s.placed("test", c1)
}

// contract:144
func TestNamespacedFollowsItsNamespaceToAnotherMember(t *testing.T) {
	s := begin(t)
	carrier := s.carry(c2.name, c3.name)
	p := s.place()
	s.settles(p, testworld.Complete(c2.name, c3.name))
	s.placed("test", c2, c3)
	s.edit(carrier, testworld.PickFixed(c1.name, c2.name, c3.name))
	s.settles(p, testworld.Complete(c1.name, c2.name, c3.name))
	s.placed("test", c1, c2, c3)
}

// contract:145
func TestNamespacedPickNOfThoseThatHaveTheNamespaceAndALabel(t *testing.T) {
	s := begin(t)
	s.carry(c3.name)
	s.label(c3, s.app, "true")
	labelled := testworld.Labelled(map[string]string{s.app: "true"})
	p := s.place(testworld.PickN(3, labelled))
	s.settles(p, testworld.Partial(2, c3.name))
	s.placed("test", c3)
	s.edit(p, testworld.PickN(1, labelled))
	s.settles(p, testworld.Complete(c3.name))
	s.placed("test", c3)
}
