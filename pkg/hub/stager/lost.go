package stager

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/hub/give"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// lost says, by cluster, which snapshot a step is about to give it that does not exist.
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
			out[start.Binding.GetSpec().TargetCluster] = nameOf(*lost) + " does not exist any more"
		}
	}
	return out, nil
}

// nameOf names a snapshot; one of resources is in the namespace of the run.
func nameOf(s give.Snapshot) string {
	if s.Override {
		return s.Kind() + " " + strings.TrimPrefix(s.Key.String(), "/")
	}
	return s.Kind() + " " + s.Key.Name
}

// loss ends a run that cannot release what it planned.
func loss(lost map[string]string) error {
	cluster := slices.Sorted(maps.Keys(lost))[0]
	return &stage.Abort{User: true, Message: "what the run is to give to cluster " + cluster + " is gone: " + lost[cluster] +
		"; it, or what it was made of, was deleted since the run was initialized; make a new run, which goes on where this one is"}
}
