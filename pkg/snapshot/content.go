// Package snapshot decides which snapshots of a placement's policy and of its selected objects are to exist: a placement or selected
// objects, and the snapshots there are, come in; the writes that make them right go out. It also says how long a stream of
// changes is gathered before it becomes a revision (Wait). The placer carries it out; whoever reads snapshots uses Groups and Latest.
package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

const (
	// PartLimit is how many bytes of JSON one part of a group holds; it decides where groups are cut and is part of the contract.
	PartLimit = 819_200
	// ItemLimit is how many bytes of JSON one object may have to be placed at all. It leaves room for the part's metadata below the
	// 1.5 MiB that etcd takes by default.
	ItemLimit = 1_468_006
)

// Item is one selected object as it is stored.
type Item struct {
	ID v1beta1.ResourceIdentifier
	// Raw is compact JSON as encoding/json writes it.
	Raw []byte
	// Origin is the contract.Origin of the object; empty if it is not known.
	Origin string
}

// Content is a whole selection, in order.
type Content struct {
	Items []Item
	// Hash is over the spec of a snapshot that would hold all of it.
	Hash string
}

// NewContent hashes items, which it keeps.
func NewContent(items []Item) Content {
	// The same as contract.Hash of the spec, without another copy of all the content.
	sum := sha256.New()
	sum.Write([]byte(`{"selectedResources":[`))
	for i, item := range items {
		if i > 0 {
			sum.Write([]byte{','})
		}
		sum.Write(item.Raw)
	}
	sum.Write([]byte(`]}`))
	return Content{Items: items, Hash: hex.EncodeToString(sum.Sum(nil))}
}

// Identifiers names what the content holds, in order.
func (c Content) Identifiers() []v1beta1.ResourceIdentifier {
	out := make([]v1beta1.ResourceIdentifier, len(c.Items))
	for i := range c.Items {
		out[i] = c.Items[i].ID
	}
	return out
}

// envelopes counts the envelopes in the content.
func (c Content) envelopes() int {
	n := 0
	for i := range c.Items {
		id := &c.Items[i].ID
		if id.Group == v1beta1.GroupVersion.Group && (id.Kind == "ClusterResourceEnvelope" || id.Kind == "ResourceEnvelope") {
			n++
		}
	}
	return n
}

// Cut splits items, keeping their order, into parts of at most limit bytes. An item larger than that has a part of its own.
// There is always a first part, even if it is empty.
func Cut(items []Item, limit int) [][]Item {
	var parts [][]Item
	start, size := 0, 0
	for i := range items {
		if i > start && size+len(items[i].Raw) > limit {
			parts = append(parts, items[start:i])
			start, size = i, 0
		}
		size += len(items[i].Raw)
	}
	return append(parts, items[start:])
}

// Large is an object that is too large to be placed, or nested too deep.
type Large struct {
	ID    v1beta1.ResourceIdentifier
	Bytes int
	// Deep is whether it is nested deeper than decode.MaxDepth.
	Deep bool
	// Kept is whether a state of it that was placed before stays placed.
	Kept bool
}

// Fit replaces items that are too large for any API object, or that nest so deep that a copy could not be read again, by what latest holds
// of them, so that what was placed stays as it was, and leaves out those that latest does not hold. The second result names them all, in order.
func Fit(items []Item, latest Group) ([]Item, []Large, error) {
	return fit(items, latest, ItemLimit)
}

func fit(items []Item, latest Group, limit int) ([]Item, []Large, error) {
	if !slices.ContainsFunc(items, func(item Item) bool { return item.unfit(limit) }) {
		return items, nil, nil
	}
	placed, err := latest.Items()
	if err != nil {
		return nil, nil, err
	}
	before := make(map[v1beta1.ResourceIdentifier]Item, len(placed))
	for _, item := range placed {
		if !decode.Deep(item.Raw) { // an earlier version took it
			before[item.ID] = item
		}
	}
	var out []Item
	var large []Large
	for _, item := range items {
		if !item.unfit(limit) {
			out = append(out, item)
			continue
		}
		was, kept := before[item.ID]
		if kept {
			out = append(out, was)
		}
		large = append(large, Large{ID: item.ID, Bytes: len(item.Raw), Deep: decode.Deep(item.Raw), Kept: kept})
	}
	return out, large, nil
}

func (i Item) unfit(limit int) bool { return len(i.Raw) > limit || decode.Deep(i.Raw) }

// identify reads an object's identifier from its JSON.
func identify(raw []byte) (v1beta1.ResourceIdentifier, error) {
	object, err := decode.HeaderOf(raw)
	if err != nil && object.Kind == "" { // what was stored before such objects were refused has a name all the same
		return v1beta1.ResourceIdentifier{}, fmt.Errorf("decode a stored object: %w", err)
	}
	group, version := splitAPIVersion(object.APIVersion)
	return v1beta1.ResourceIdentifier{Group: group, Version: version, Kind: object.Kind, Name: object.Metadata.Name, Namespace: object.Metadata.Namespace}, nil
}
