package revise

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// writers is how many snapshots of one placement are written concurrently.
const writers = 8

// Write creates a revision with content, unless the latest one has it, and prunes revisions beyond the history limit
// that neither bindings nor update runs may need. The caller must have had the turn since it observed s. It returns
// the step that was taken.
func (r *Reviser) Write(ctx context.Context, s State, content Content) (snapshot.Step, error) {
	inUse, err := r.inUse(ctx, s)
	if err != nil {
		return snapshot.Step{}, err
	}
	step := snapshot.Resources(s.Placement, s.Groups, content.Content, inUse, s.Now)
	return step, r.carryOut(ctx, client.ObjectKeyFromObject(s.Placement), step)
}

// inUse names the resource snapshots that bindings, or update runs that have not ended, may need.
func (r *Reviser) inUse(ctx context.Context, s State) (map[string]bool, error) {
	out := map[string]bool{}
	add := func(revisions []v1beta1.Revision) {
		for _, revision := range revisions {
			out[revision.ResourceSnapshotName] = true
		}
	}
	for _, b := range s.Bindings {
		add(delivery.NeededBy(b))
	}
	if len(s.Groups) < snapshot.History(s.Placement.GetSpec()) {
		return out, nil // nothing will be pruned
	}
	key := client.ObjectKeyFromObject(s.Placement)
	runs, err := scope.UpdateRuns.List(ctx, r.Client, key.Namespace, scope.OfPlacement(key), client.UnsafeDisableDeepCopy,
		client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		releases, before := delivery.NeededByRun(run, s.Bindings)
		add(before)
		add(slices.DeleteFunc(releases, func(r v1beta1.Revision) bool { return !s.exists(r.ResourceSnapshotName) }))
	}
	return out, nil
}

// exists reports whether there is a group of resource snapshots with this master.
func (s State) exists(master string) bool {
	return slices.ContainsFunc(s.Groups, func(g snapshot.Group) bool { return g.Master != nil && g.Master.GetName() == master })
}

// carryOut writes a step in an order in which no reader mistakes an incomplete group for a complete one.
func (r *Reviser) carryOut(ctx context.Context, placement types.NamespacedName, step snapshot.Step) error {
	if err := Tidy(ctx, r.Client, scope.ResourceSnapshots, placement, nil, step.Remove); err != nil {
		return err
	}
	create := func(ctx context.Context, part v1beta1.ResourceSnapshotObject) error {
		return Create(ctx, r.Client, part)
	}
	if err := loop.Each(ctx, writers, step.Parts, create); err != nil {
		return err
	}
	if step.Master != nil {
		if err := Create(ctx, r.Client, step.Master); err != nil {
			return err
		}
		log.FromContext(ctx).Info("Created revision", "snapshot", step.Master.GetName(), "parts", len(step.Parts)+1)
	}
	return Tidy(ctx, r.Client, scope.ResourceSnapshots, placement, step.Relabels, step.Prune)
}

// Create creates a snapshot, which carries the trace that ctx belongs to.
func Create(ctx context.Context, c client.Client, snapshot client.Object) error {
	trace.Put(ctx, snapshot)
	if err := c.Create(ctx, snapshot); err != nil {
		return fmt.Errorf("create snapshot %s: %w", snapshot.GetName(), err)
	}
	return nil
}

// Tidy relabels snapshots of placement and deletes old ones. A missing snapshot is not an error.
func Tidy[S v1beta1.Object](
	ctx context.Context, c client.Client, kinds scope.Kinds[S], placement types.NamespacedName, relabels []snapshot.Relabel, old []S,
) error {
	var jobs []func(context.Context) error
	for _, relabel := range relabels {
		jobs = append(jobs, func(ctx context.Context) error {
			obj := kinds.New(placement)
			obj.SetNamespace(placement.Namespace)
			obj.SetName(relabel.Name)
			err := c.Patch(ctx, obj, client.RawPatch(types.MergePatchType, relabel.Patch()))
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("relabel snapshot %s: %w", relabel.Name, err)
			}
			return nil
		})
	}
	for _, obj := range old {
		jobs = append(jobs, func(ctx context.Context) error {
			if err := c.Delete(ctx, obj); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete snapshot %s: %w", obj.GetName(), err)
			}
			log.FromContext(ctx).Info("Pruned snapshot", "snapshot", obj.GetName())
			return nil
		})
	}
	return loop.All(ctx, writers, jobs...)
}
