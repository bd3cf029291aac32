package stager

import (
	"context"
	"maps"
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/hub/give"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// lost finds the clusters to which a step would give a revision that lacks a snapshot, with the message about it.
func (s *Stager) lost(ctx context.Context, run v1beta1.UpdateRunObject, step stage.Step) (map[string]string, error) {
	out, search := map[string]string{}, give.Search{Client: s.Client, Direct: s.Direct}
	for _, start := range step.Start {
		if !start.Content {
			continue
		}
		lost, err := search.Lost(ctx, run.GetNamespace(), start.To)
		if err != nil {
			return nil, err
		}
		if lost != nil {
			out[start.Binding.GetSpec().TargetCluster] = lost.Gone()
		}
	}
	return out, nil
}

// releaseLost is the Abort of a run that cannot release what it planned.
func releaseLost(lost map[string]string) error {
	cluster := slices.Sorted(maps.Keys(lost))[0]
	return &stage.Abort{User: true, Message: "cannot give the release to cluster " + cluster + ": " + lost[cluster] +
		"; it was deleted since the run was initialized; create a new run, which continues from here"}
}
