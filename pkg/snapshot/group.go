package snapshot

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Group contains the resource snapshots of one index.
type Group struct {
	Index int
	// Master is the first snapshot of the group; nil if it does not exist, and then the group is ignored.
	Master v1beta1.ResourceSnapshotObject
	// Parts are the other existing snapshots, by their number.
	Parts map[int]v1beta1.ResourceSnapshotObject
}

// Groups sorts a placement's resource snapshots into groups, in the order of their index. It omits objects without a
// valid index or number: they belong to no group, and the hub agent does not change them.
func Groups(all []v1beta1.ResourceSnapshotObject) []Group {
	byIndex := map[int]*Group{}
	for _, s := range all {
		index, ok := number(s.GetLabels()[contract.LabelResourceIndex])
		if !ok {
			continue
		}
		g := byIndex[index]
		if g == nil {
			g = &Group{Index: index, Parts: map[int]v1beta1.ResourceSnapshotObject{}}
		}
		if _, isMaster := s.GetAnnotations()[contract.AnnotationResourceHash]; isMaster {
			g.Master = s
		} else if part, ok := number(s.GetAnnotations()[contract.AnnotationSubindex]); ok {
			g.Parts[part] = s
		} else {
			continue
		}
		byIndex[index] = g
	}
	out := make([]Group, 0, len(byIndex))
	for _, g := range byIndex {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b Group) int { return cmp.Compare(a.Index, b.Index) })
	return out
}

// Latest returns the latest group: the highest one with the label, or the highest of all if none has it, as after a
// crash between two writes. The label alone is not sufficient: for a moment, a new group and the one before it may
// both have it.
func Latest(groups []Group) (Group, bool) {
	var latest Group
	for _, g := range groups {
		if g.Master != nil && (latest.Master == nil || isLatest(g.Master) || !isLatest(latest.Master)) {
			latest = g
		}
	}
	return latest, latest.Master != nil
}

// Count returns the number of snapshots of the group, including the master snapshot; 0 if it is not recorded.
func (g Group) Count() int {
	if g.Master == nil {
		return 0
	}
	count, ok := number(g.Master.GetAnnotations()[contract.AnnotationSnapshotCount])
	if !ok {
		return 0
	}
	return count
}

// Complete reports whether every snapshot of the group exists.
func (g Group) Complete() bool {
	count := g.Count()
	for part := range count - 1 {
		if g.Parts[part] == nil {
			return false
		}
	}
	return count > 0
}

// Hash is the hash of the group's content.
func (g Group) Hash() string {
	if g.Master == nil {
		return ""
	}
	return g.Master.GetAnnotations()[contract.AnnotationResourceHash]
}

// IndexLabel returns the index as in labels and statuses.
func (g Group) IndexLabel() string { return strconv.Itoa(g.Index) }

// all returns the group's snapshots, the master snapshot first.
func (g Group) all() []v1beta1.ResourceSnapshotObject {
	var out []v1beta1.ResourceSnapshotObject
	if g.Master != nil {
		out = append(out, g.Master)
	}
	numbers := make([]int, 0, len(g.Parts))
	for n := range g.Parts {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		out = append(out, g.Parts[n])
	}
	return out
}

// Objects returns the selected objects of a complete group as JSON. The order of its parts is undefined.
func (g Group) Objects() [][]byte {
	var out [][]byte
	for _, part := range g.all() {
		for _, object := range part.GetSpec().SelectedResources {
			out = append(out, object.Raw)
		}
	}
	return out
}

// Items decodes the items of the group, in order. An incomplete group is an error: missing objects must not count as
// no longer selected.
func (g Group) Items() ([]Item, error) {
	if g.Master == nil {
		return nil, nil
	}
	if !g.Complete() {
		return nil, fmt.Errorf("resource snapshot %s: the group of %d is not complete", g.Master.GetName(), g.Count())
	}
	var out []Item
	for _, s := range g.all() {
		for _, object := range s.GetSpec().SelectedResources {
			id, err := identify(object.Raw)
			if err != nil {
				return nil, fmt.Errorf("resource snapshot %s: %w", s.GetName(), err)
			}
			out = append(out, Item{ID: id, Raw: object.Raw})
		}
	}
	return out, nil
}

func isLatest(o v1beta1.Object) bool {
	return o.GetLabels()[contract.LabelLatest] == strconv.FormatBool(true)
}

func number(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0
}

func splitAPIVersion(apiVersion string) (group, version string) {
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		return group, version
	}
	return "", apiVersion
}
