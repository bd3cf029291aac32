package placer

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flagship-fleet/flagship/pkg/hub/revise"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// writePolicy writes the policy snapshots of a placement and, concurrently, its finalizers: the scheduler needs both
// to start.
func (p *Placer) writePolicy(ctx context.Context, s *observed) (time.Duration, error) { //nolint:unparam // the steps have one signature
	ctx, end := trace.Step(ctx, "write policy")
	defer end()
	step, err := snapshot.Policy(s.Placement, s.policies)
	if err != nil {
		return 0, err
	}
	err = loop.All(ctx, 2,
		func(ctx context.Context) error { return p.carryOutPolicy(ctx, s, step) },
		func(ctx context.Context) error { return p.addFinalizers(ctx, s.Placement) },
	)
	s.policy = step.Create
	for _, existing := range s.policies {
		if existing.GetName() == step.Latest {
			s.policy = existing
		}
	}
	return 0, err
}

func (p *Placer) carryOutPolicy(ctx context.Context, s *observed, step snapshot.PolicyStep) error {
	if step.Create != nil {
		if err := revise.Create(ctx, p.Client, step.Create); err != nil {
			return err
		}
		log.FromContext(ctx).Info("Created policy snapshot", "snapshot", step.Create.GetName())
	}
	return revise.Tidy(ctx, p.Client, scope.PolicySnapshots, s.key, step.Relabels, step.Prune)
}
