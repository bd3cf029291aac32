package placer

import (
	"context"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// revision is what revise keeps of a placement's latest revision.
type revision struct {
	// attempt is that of the selection which the revision holds.
	attempt int
	// content is what was read of that selection.
	content content
	// made is when this process made the revision; took is how long it took to arrive, or the one before if it has not.
	made time.Time
	took time.Duration
	// awaited is whether it has not arrived yet.
	awaited bool
	// ofChange is whether it was made because objects have changed.
	ofChange bool
	// decoded are the snapshots that bindings name, by the UID of the master. They serve placements with an External strategy.
	decoded map[types.UID]report.Snapshot
}

// content is what was read of the objects of a selection.
type content struct {
	items []item
	snapshot.Content
	// large are selected objects that Content does not hold as they are.
	large []snapshot.Large
}

// item is one selected object and its content.
type item struct {
	uid     types.UID
	version string
	// kept is why the object exists and is not carried, if that is reported to the user.
	kept *selection.Kept
	snapshot.Item
}

// revise makes the resource snapshots of a placement hold what it selects, and prunes the oldest. With an External strategy update runs
// do that, and the placement has no latest revision of its own.
func (p *Placer) revise(ctx context.Context, s *seen) (time.Duration, error) {
	m := &s.memory.revision
	s.noteArrival()
	if external(s.placement) {
		m.attempt = s.memory.selection.attempt
		return 0, s.decodeBound()
	}
	latest, _ := snapshot.Latest(s.groups)
	if s.found != nil {
		read, err := p.read(ctx, *s.found, m.content, latest)
		if err != nil {
			return 0, err
		}
		m.content = read
	}
	inUse, err := p.inUse(ctx, s)
	if err != nil {
		return 0, err
	}
	step := snapshot.Resources(s.placement, s.groups, m.content.Content, inUse, s.now)
	if err := p.carryOutRevision(ctx, s.key, step); err != nil {
		return 0, err
	}
	if step.Master != nil {
		m.made, m.awaited, m.ofChange = p.Now(), true, s.memory.selection.ofChange
	}
	m.attempt = s.memory.selection.attempt
	s.latest = report.Snapshot{Name: step.Latest, Index: strconv.Itoa(step.Index), Resources: m.content.Identifiers()}
	return step.Again, nil
}

// keepRevision leaves the latest revision in force, without a selection. It returns false if what that holds is not remembered.
func (s *seen) keepRevision() (bool, error) {
	s.noteArrival()
	if external(s.placement) {
		return true, s.decodeBound()
	}
	m := s.memory.revision
	latest, ok := snapshot.Latest(s.groups)
	if !ok || !latest.Complete() || latest.Hash() != m.content.Hash {
		return false, nil
	}
	s.latest = report.Snapshot{Name: latest.Master.GetName(), Index: latest.IndexLabel(), Resources: m.content.Identifiers()}
	return true, nil
}

// noteArrival notes how long the latest revision took to arrive.
func (s *seen) noteArrival() {
	m := &s.memory.revision
	if latest, ok := snapshot.Latest(s.groups); ok && m.awaited && s.arrived(latest) {
		m.awaited, m.took = false, s.now.Sub(m.made)
	}
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

// read reads the content of a selection. Objects that have not changed since known was read are not read again, and if none has, nothing
// is hashed again.
func (p *Placer) read(ctx context.Context, selected selection.Selection, known content, latest snapshot.Group) (content, error) {
	before := make(map[v1beta1.ResourceIdentifier]item, len(known.items))
	for _, i := range known.items {
		before[i.ID] = i
	}
	items := make([]item, len(selected.Refs))
	var missing []selection.Ref
	var places []int
	for i, ref := range selected.Refs {
		id := ref.Identifier()
		if was, ok := before[id]; ok && was.uid == ref.UID && was.version == ref.Version {
			items[i] = was
			continue
		}
		items[i] = item{uid: ref.UID, Item: snapshot.Item{ID: id, Origin: contract.Origin(string(ref.UID))}}
		missing, places = append(missing, ref), append(places, i)
	}
	contents, err := p.Objects.Read(ctx, missing)
	if err != nil {
		return content{}, err
	}
	for i, c := range contents {
		at := places[i]
		items[at].Raw, items[at].version = c.Raw, c.Version
		if c.UID != "" { // the watch may be behind: the object may have been recreated since
			items[at].uid, items[at].Origin = c.UID, contract.Origin(string(c.UID))
		}
		if ref := missing[i]; c.LeftOut != "" && (c.Told || ref.Named) {
			kept := ref.Kept(c.LeftOut)
			items[at].kept = &kept
		}
	}
	if known.Hash != "" && len(missing) == 0 && len(items) == len(known.items) {
		return known, nil // nothing new, and everything is still there
	}
	carried := make([]snapshot.Item, 0, len(items))
	for _, i := range items {
		if i.Raw != nil {
			carried = append(carried, i.Item)
		}
	}
	carried, large, err := snapshot.Fit(carried, latest)
	if err != nil {
		return content{}, err
	}
	return content{items: items, Content: snapshot.NewContent(carried), large: large}, nil
}

// carryOutRevision writes a step in the order in which no reader takes a part for the whole.
func (p *Placer) carryOutRevision(ctx context.Context, key types.NamespacedName, step snapshot.Step) error {
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
		log.FromContext(ctx).Info("Created revision", "snapshot", step.Master.GetName(), "parts", len(step.Parts)+1)
	}
	return p.tidy(ctx, step.Marks, func(name string) client.Object { return named(scope.ResourceSnapshots.New(key), key, name) }, objects(step.Prune))
}

// decodeBound sets bound to the revisions that bindings name and that are complete.
func (s *seen) decodeBound() error {
	bound := map[string]bool{}
	for _, b := range s.bindings {
		bound[b.GetSpec().ResourceSnapshotName] = true
	}
	out, kept := map[string]report.Snapshot{}, map[types.UID]report.Snapshot{}
	for _, g := range s.groups {
		if g.Master == nil || !bound[g.Master.GetName()] || !g.Complete() {
			continue
		}
		shown, ok := s.memory.revision.decoded[g.Master.GetUID()]
		if !ok {
			items, err := g.Items()
			if err != nil {
				return err
			}
			shown = report.Snapshot{Name: g.Master.GetName(), Index: g.IndexLabel(), Resources: snapshot.Content{Items: items}.Identifiers()}
		}
		out[shown.Name], kept[g.Master.GetUID()] = shown, shown
	}
	s.memory.revision.decoded = kept
	s.bound = out
	return nil
}
