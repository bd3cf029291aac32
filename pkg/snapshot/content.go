// Package snapshot decides which snapshots of a placement's policy, of its selected objects, and of an override should
// exist. It takes the placement or override, the selected objects and the existing snapshots, and returns the
// necessary writes. It also decides how long changes are collected before they become a revision (Wait). The placer
// and the overrider carry the decisions out; readers of snapshots use Groups and Latest.
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
	// PartLimit is the maximum size of one part of a group, in bytes of JSON. It determines where groups are split and
	// is part of the contract.
	PartLimit = 819_200
	// ItemLimit is the maximum size of an object that can be placed, in bytes of JSON. It leaves room for the part's
	// metadata below etcd's default limit of 1.5 MiB.
	ItemLimit = 1_468_006
)

// Item is one selected object in its stored form.
type Item struct {
	ID v1beta1.ResourceIdentifier
	// Raw is compact JSON as encoding/json formats it.
	Raw []byte
	// Origin is the contract.Origin of the object; empty if unknown.
	Origin string
}

// Content is a whole selection, in order.
type Content struct {
	Items []Item
	// Hash is the hash of the spec of one snapshot with all items.
	Hash string
}

// NewContent computes the hash of items, and keeps a reference to them.
func NewContent(items []Item) Content {
	// This equals contract.Hash of the spec, without another copy of the content.
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

// Identifiers returns the identifiers of the items, in order.
func (c Content) Identifiers() []v1beta1.ResourceIdentifier {
	out := make([]v1beta1.ResourceIdentifier, len(c.Items))
	for i := range c.Items {
		out[i] = c.Items[i].ID
	}
	return out
}

// envelopes returns the number of envelopes in the content.
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

// Cut splits items, keeping their order, into parts of at most limit bytes. An item larger than that gets its own
// part. There is always a first part, even if it is empty.
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
	// Deep is true if it is nested deeper than decode.MaxDepth.
	Deep bool
	// Placed is true if an earlier state of the object stays placed.
	Placed bool
}

// Fit replaces items that are too large for an API object, or nested so deep that a copy could not be read again, with
// the items of the same objects in latest, so that placed objects stay as they are. It omits those that latest does
// not contain. The second result lists them all, in order.
func Fit(items []Item, latest Group) ([]Item, []Large, error) {
	return fit(items, latest, ItemLimit)
}

func fit(items []Item, latest Group, limit int) ([]Item, []Large, error) {
	if !slices.ContainsFunc(items, func(item Item) bool { return item.unfit(limit) }) {
		return items, nil, nil
	}
	stored, err := latest.Items()
	if err != nil {
		return nil, nil, err
	}
	before := make(map[v1beta1.ResourceIdentifier]Item, len(stored))
	for _, item := range stored {
		if !decode.Deep(item.Raw) { // an earlier version accepted it
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
		was, placed := before[item.ID]
		if placed {
			out = append(out, was)
		}
		large = append(large, Large{ID: item.ID, Bytes: len(item.Raw), Deep: decode.Deep(item.Raw), Placed: placed})
	}
	return out, large, nil
}

func (i Item) unfit(limit int) bool { return len(i.Raw) > limit || decode.Deep(i.Raw) }

// identify decodes an object's identifier from its JSON.
func identify(raw []byte) (v1beta1.ResourceIdentifier, error) {
	object, err := decode.HeaderOf(raw)
	if err != nil && object.Kind == "" { // a stored object that would be refused today still has a name
		return v1beta1.ResourceIdentifier{}, fmt.Errorf("decode a stored object: %w", err)
	}
	group, version := splitAPIVersion(object.APIVersion)
	return v1beta1.ResourceIdentifier{Group: group, Version: version, Kind: object.Kind, Name: object.Metadata.Name, Namespace: object.Metadata.Namespace}, nil
}
