package revise

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// Content has the contents of the objects of a selection.
type Content struct {
	items []item
	snapshot.Content
	// large are selected objects that the content does not have in their current state.
	large []snapshot.Large
}

// item is one selected object and its content.
type item struct {
	uid     types.UID
	version string
	// leftOut is why the object is not placed although it exists, if that is reported to the user.
	leftOut *selection.LeftOut
	snapshot.Item
}

// Read reads the contents of a selection. Objects that have not changed since known was read are not read again, and
// if none has changed, Read returns known.
func (r *Reviser) Read(ctx context.Context, s State, selected selection.Selection, known Content) (Content, error) {
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
	contents, err := r.Objects.Read(ctx, missing)
	if err != nil {
		return Content{}, err
	}
	for i, c := range contents {
		at := places[i]
		items[at].Raw, items[at].version = c.Raw, c.Version
		if c.UID != "" { // the watch may be behind: the object may have been recreated since
			items[at].uid, items[at].Origin = c.UID, contract.Origin(string(c.UID))
		}
		if ref := missing[i]; c.LeftOut != "" && (c.Listed || ref.Named) {
			leftOut := ref.LeftOut(c.LeftOut)
			items[at].leftOut = &leftOut
		}
	}
	if known.Hash != "" && len(missing) == 0 && len(items) == len(known.items) {
		return known, nil // unchanged
	}
	carried := make([]snapshot.Item, 0, len(items))
	for _, i := range items {
		if i.Raw != nil {
			carried = append(carried, i.Item)
		}
	}
	latest, _ := snapshot.Latest(s.Groups)
	carried, large, err := snapshot.Fit(carried, latest)
	if err != nil {
		return Content{}, err
	}
	return Content{items: items, Content: snapshot.NewContent(carried), large: large}, nil
}

// LeftOut returns the selected objects that stay on the hub because of their content and that are reported to the
// user.
func (c Content) LeftOut() []selection.LeftOut {
	var out []selection.LeftOut
	for _, i := range c.items {
		if i.leftOut != nil {
			out = append(out, *i.leftOut)
		}
	}
	return out
}

// TooLarge returns the selected objects that are not placed in their current state.
func (c Content) TooLarge() []report.TooLarge {
	var out []report.TooLarge
	for _, o := range c.large {
		out = append(out, report.TooLarge{ID: o.ID, Bytes: o.Bytes, Limit: snapshot.ItemLimit, Deep: o.Deep, Placed: o.Placed})
	}
	return out
}
