package placer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// writePolicies makes a placement's policy snapshots right.
func (p *Placer) writePolicies(ctx context.Context, key types.NamespacedName, step snapshot.PolicyStep) error {
	if step.Create != nil {
		if err := p.create(ctx, step.Create); err != nil {
			return err
		}
	}
	return p.tidy(ctx, step.Relabels, func(name string) client.Object { return named(scope.PolicySnapshots.New(key), key, name) }, objects(step.Prune))
}

// resources makes a placement's resource snapshots right, and returns the revision in force then.
func (p *Placer) resources(ctx context.Context, s *seen, selected *selection.Selection) (report.Snapshot, time.Duration, error) {
	m := s.memo
	if external(s.placement) {
		m.current = true
		return report.Snapshot{}, 0, nil
	}
	if selected != nil {
		if err := p.read(ctx, s, *selected); err != nil {
			return report.Snapshot{}, 0, err
		}
	}
	inUse, err := p.inUse(ctx, s)
	if err != nil {
		return report.Snapshot{}, 0, err
	}
	step := snapshot.Resources(s.placement, s.groups, m.content, inUse, s.now)
	if err := p.writeResources(ctx, s.key, step); err != nil {
		m.current = false
		return report.Snapshot{}, 0, err
	}
	if step.Master != nil {
		m.made, m.awaited, m.ofChange = p.now(), true, m.changed
	}
	m.current = true
	return report.Snapshot{Name: step.Latest, Index: strconv.Itoa(step.Index), Resources: m.content.Identifiers()}, step.Again, nil
}

// inUse names the resource snapshots that bindings may need, or update runs that have not ended.
func (p *Placer) inUse(ctx context.Context, s *seen) (map[string]bool, error) {
	out := map[string]bool{}
	add := func(revisions []v1beta1.Revision) {
		for _, r := range revisions {
			out[r.ResourceSnapshotName] = true
		}
	}
	for _, b := range s.bindings {
		add(delivery.NeededBy(b))
	}
	if len(s.groups) < snapshot.History(s.placement.GetSpec()) {
		return out, nil // nothing is about to go
	}
	runs, err := scope.UpdateRuns.List(ctx, p.Client, s.key.Namespace, scope.OfPlacement(s.key), client.UnsafeDisableDeepCopy,
		client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		releases, before := delivery.NeededByRun(run, s.bindings)
		add(before)
		add(slices.DeleteFunc(releases, func(r v1beta1.Revision) bool { return !s.exists(r.ResourceSnapshotName) }))
	}
	return out, nil
}

// exists says whether there is a group of resource snapshots with this master.
func (s *seen) exists(master string) bool {
	return slices.ContainsFunc(s.groups, func(g snapshot.Group) bool { return g.Master != nil && g.Master.GetName() == master })
}

// read brings the remembered content up to a selection. Objects that have not changed are not read again, and if none has, nothing is
// hashed again.
func (p *Placer) read(ctx context.Context, s *seen, selected selection.Selection) error {
	m := s.memo
	known := make(map[v1beta1.ResourceIdentifier]item, len(m.items))
	for _, i := range m.items {
		known[i.ID] = i
	}
	items := make([]item, len(selected.Refs))
	var missing []selection.Ref
	var places []int
	for i, ref := range selected.Refs {
		id := ref.Identifier()
		if was, ok := known[id]; ok && was.uid == ref.UID && was.version == ref.Version {
			items[i] = was
			continue
		}
		items[i] = item{uid: ref.UID, Item: snapshot.Item{ID: id, Origin: contract.Origin(string(ref.UID))}}
		missing, places = append(missing, ref), append(places, i)
	}
	contents, err := p.Objects.Read(ctx, missing)
	if err != nil {
		return err
	}
	for i, content := range contents {
		at := places[i]
		items[at].Raw, items[at].version = content.Raw, content.Version
		if content.UID != "" { // the watch may be behind: the object may have been made anew since
			items[at].uid, items[at].Origin = content.UID, contract.Origin(string(content.UID))
		}
		if ref := missing[i]; content.LeftOut != "" && (content.Listed || ref.Named) {
			kept := ref.Kept(content.LeftOut)
			items[at].kept = &kept
		}
	}
	if m.content.Hash != "" && len(missing) == 0 && len(items) == len(m.items) {
		return nil // nothing new, and everything is still there
	}
	carried := make([]snapshot.Item, 0, len(items))
	for _, i := range items {
		if i.Raw != nil {
			carried = append(carried, i.Item)
		}
	}
	latest, _ := snapshot.Latest(s.groups)
	carried, large, err := snapshot.Fit(carried, latest)
	if err != nil {
		return err
	}
	m.items, m.content, m.large = items, snapshot.NewContent(carried), large
	return nil
}

// leftOut is what to report of objects that stay on the hub.
func (m *memo) leftOut() []selection.Kept {
	out := slices.Clone(m.kept)
	for _, i := range m.items {
		if i.kept != nil {
			out = append(out, *i.kept)
		}
	}
	return out
}

// tooLarge is what to report of objects that are not placed as they are.
func (m *memo) tooLarge() []report.TooLarge {
	var out []report.TooLarge
	for _, o := range m.large {
		out = append(out, report.TooLarge{ID: o.ID, Bytes: o.Bytes, Limit: snapshot.ItemLimit, Deep: o.Deep, Kept: o.Kept})
	}
	return out
}

// writeResources carries out a step, in the order that lets nobody see a part for the whole.
func (p *Placer) writeResources(ctx context.Context, key types.NamespacedName, step snapshot.Step) error {
	if err := p.tidy(ctx, nil, nil, objects(step.Remove)); err != nil {
		return err
	}
	if err := loop.Each(ctx, writers, objects(step.Parts), p.create); err != nil {
		return err
	}
	if step.Master != nil {
		if err := p.create(ctx, step.Master); err != nil {
			return err
		}
	}
	return p.tidy(ctx, step.Relabels, func(name string) client.Object { return named(scope.ResourceSnapshots.New(key), key, name) }, objects(step.Prune))
}

func (p *Placer) create(ctx context.Context, obj client.Object) error {
	if err := p.Client.Create(ctx, obj); err != nil {
		return fmt.Errorf("create snapshot %s: %w", obj.GetName(), err)
	}
	return nil
}

// tidy changes marks and deletes snapshots. Those that are gone are fine.
func (p *Placer) tidy(ctx context.Context, marks []snapshot.Relabel, object func(name string) client.Object, old []client.Object) error {
	var jobs []func() error
	for _, mark := range marks {
		jobs = append(jobs, func() error {
			err := p.Client.Patch(ctx, object(mark.Name), client.RawPatch(types.MergePatchType, mark.Patch()))
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("mark snapshot %s: %w", mark.Name, err)
			}
			return nil
		})
	}
	for _, obj := range old {
		jobs = append(jobs, func() error {
			if err := p.Client.Delete(ctx, obj); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete snapshot %s: %w", obj.GetName(), err)
			}
			return nil
		})
	}
	return loop.Each(ctx, writers, jobs, func(_ context.Context, job func() error) error { return job() })
}

// named is obj with a name in the placement's namespace.
func named(obj client.Object, placement types.NamespacedName, name string) client.Object {
	obj.SetNamespace(placement.Namespace)
	obj.SetName(name)
	return obj
}

func objects[O client.Object](list []O) []client.Object {
	out := make([]client.Object, len(list))
	for i, o := range list {
		out[i] = o
	}
	return out
}

// boundSnapshots are those of resources that bindings name and that exist whole, by the name of the first snapshot.
func (s *seen) boundSnapshots() (map[string]report.Snapshot, error) {
	bound := map[string]bool{}
	for _, b := range s.bindings {
		bound[b.GetSpec().ResourceSnapshotName] = true
	}
	out, kept := map[string]report.Snapshot{}, map[types.UID]report.Snapshot{}
	for _, g := range s.groups {
		if g.Master == nil || !bound[g.Master.GetName()] || !g.Complete() {
			continue
		}
		shown, ok := s.memo.decoded[g.Master.GetUID()]
		if !ok {
			items, err := g.Items()
			if err != nil {
				return nil, err
			}
			shown = report.Snapshot{Name: g.Master.GetName(), Index: g.IndexLabel(), Resources: snapshot.Content{Items: items}.Identifiers()}
		}
		out[shown.Name], kept[g.Master.GetUID()] = shown, shown
	}
	s.memo.decoded = kept
	return out, nil
}
