package e2e

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// ofPlacement has the checks of a placement of a scenario.
type ofPlacement struct {
	*scene
	p v1beta1.PlacementObject
}

// of returns the checks of a placement.
func (s *scene) of(p v1beta1.PlacementObject) ofPlacement { return ofPlacement{s, p} }

// place creates the scenario's placement.
func (s *scene) place(options ...testworld.Option) v1beta1.PlacementObject {
	s.Helper()
	var p v1beta1.PlacementObject
	if s.namespaced {
		p = testworld.Placement(s.app, s.name, options...)
	} else {
		p = testworld.ClusterPlacement(s.name, s.app, options...)
	}
	s.create(p)
	return p
}

// edit changes a placement's spec.
func (s ofPlacement) edit(options ...testworld.Option) {
	s.Helper()
	testworld.Update(s, theHub, s.p, func(p v1beta1.PlacementObject) {
		for _, option := range options {
			option(p.GetSpec())
		}
	})
}

// selects waits until a placement lists these objects as selected: indices are counted from the revision that holds
// all there is.
func (s ofPlacement) selects(objects ...v1beta1.ResourceIdentifier) {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "what "+s.p.GetName()+" selects", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(s.p), s.p); err != nil {
			return err
		}
		for _, o := range objects {
			if !slices.Contains(s.p.GetStatus().SelectedResources, o) {
				return fmt.Errorf("it selects %v, without %v", s.p.GetStatus().SelectedResources, o)
			}
		}
		return nil
	})
}

// expect waits until a placement's status is what the contract says.
func (s ofPlacement) expect(want testworld.Status) {
	s.Helper()
	s.expectWithin(testworld.Soon, want)
}

func (s ofPlacement) expectWithin(limit timeLimit, want testworld.Status) {
	s.Helper()
	testworld.Await(s.T, limit, "status of "+s.p.GetName(), statusIs(s.p, want))
}

// settles waits until a placement's status is what the contract says, and asserts that it holds.
func (s ofPlacement) settles(want testworld.Status) {
	s.Helper()
	s.expect(want)
	s.stays(want)
}

// stays asserts that the status holds for a while.
func (s ofPlacement) stays(want testworld.Status) {
	s.Helper()
	testworld.Stable(s.T, calm, "status of "+s.p.GetName(), statusIs(s.p, want))
}

func statusIs(p v1beta1.PlacementObject, want testworld.Status) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		return want.Check(p)
	}
}

// deletes is the deletion check: after a delete every finalizer but the scenario's own goes, and members are clean.
func (s ofPlacement) deletes() {
	s.Helper()
	if err := theHub.Delete(s.Context(), s.p); err != nil {
		s.Fatalf("delete %s: %v", s.p.GetName(), err)
	}
	s.finalized()
	for _, m := range members() {
		s.on(m).clean()
		if !s.namespaced {
			s.on(m).leaving()
		}
	}
}

// finalized waits until nothing holds a deleted placement but the scenario.
func (s ofPlacement) finalized() {
	s.Helper()
	testworld.Await(s.T, testworld.Soon, "finalizers of "+s.p.GetName(), func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(s.p), s.p); err != nil {
			return err
		}
		if f := s.p.GetFinalizers(); len(f) != 1 || f[0] != testworld.Blocker {
			return fmt.Errorf("finalizers are %v", f)
		}
		return nil
	})
}
