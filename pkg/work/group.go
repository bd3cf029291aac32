package work

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Group is the content of one resource index: the first snapshot, and the others in the order of their numbers.
type Group struct {
	// Index is the resource index, decimal.
	Index string
	Parts []Part
}

// Part is one snapshot of a group.
type Part struct {
	// Sub is the snapshot's number, from 0; it is negative for the first snapshot of the group, which has none.
	Sub int
	// Objects are the selected objects as JSON, in their order.
	Objects [][]byte
	// Origins are those of the objects, in the same order; nil if they are unknown.
	Origins []string
}

// ObjectsOf returns all objects of a group, like GroupOf and Objects.
func ObjectsOf(master string, snapshots []v1beta1.ResourceSnapshotObject) ([][]byte, error) {
	group, err := GroupOf(master, snapshots)
	if err != nil {
		return nil, err
	}
	return group.Objects()
}

// Objects returns all objects of the group as JSON, those in envelopes in the place of the envelope. The error is an
// *EnvelopeError, or one about an envelope that cannot be decoded.
func (g Group) Objects() ([][]byte, error) {
	var out [][]byte
	for _, part := range g.Parts {
		for _, object := range part.Objects {
			envelope, err := envelopeIn(object)
			switch {
			case err != nil:
				return nil, err
			case envelope != nil:
				out = append(out, envelope.manifests...)
			default:
				out = append(out, object)
			}
		}
	}
	return out, nil
}

// ErrNoSnapshot means that the first snapshot of a group does not exist (any more).
var ErrNoSnapshot = errors.New("the resource snapshot does not exist")

// ErrIncomplete means that parts of a group are missing. The existing ones must not be used alone: the objects of the
// missing ones would be removed from the member.
var ErrIncomplete = errors.New("the resource snapshots are not complete")

// GroupOf selects the group whose first snapshot is master from a placement's resource snapshots, which may be in any
// order and are not modified. The error wraps ErrNoSnapshot or ErrIncomplete.
func GroupOf(master string, snapshots []v1beta1.ResourceSnapshotObject) (Group, error) {
	at := slices.IndexFunc(snapshots, func(s v1beta1.ResourceSnapshotObject) bool { return s.GetName() == master })
	if at < 0 {
		return Group{}, fmt.Errorf("%s: %w", master, ErrNoSnapshot)
	}
	first := snapshots[at]
	count, err := strconv.Atoi(first.GetAnnotations()[contract.AnnotationSnapshotCount])
	if err != nil || count < 1 {
		return Group{}, fmt.Errorf("%s: its annotation %s must be a positive number: %w", master, contract.AnnotationSnapshotCount, ErrIncomplete)
	}
	group := Group{Index: first.GetLabels()[contract.LabelResourceIndex], Parts: []Part{partOf(-1, first)}}
	for _, s := range snapshots {
		sub, ok := subOf(s)
		if ok && sub < count-1 && s.GetLabels()[contract.LabelResourceIndex] == group.Index {
			group.Parts = append(group.Parts, partOf(sub, s))
		}
	}
	if len(group.Parts) != count {
		return Group{}, fmt.Errorf("%s: %d of %d parts exist: %w", master, len(group.Parts), count, ErrIncomplete)
	}
	slices.SortFunc(group.Parts, func(a, b Part) int { return a.Sub - b.Sub })
	for i, part := range group.Parts {
		if part.Sub != i-1 {
			return Group{}, fmt.Errorf("%s: two parts have the number %d: %w", master, part.Sub, ErrIncomplete)
		}
	}
	return group, nil
}

// subOf is the number of a snapshot that is not the first of its group.
func subOf(s v1beta1.ResourceSnapshotObject) (int, bool) {
	text, ok := s.GetAnnotations()[contract.AnnotationSubindex]
	sub, err := strconv.Atoi(text)
	return sub, ok && err == nil && sub >= 0
}

func partOf(sub int, s v1beta1.ResourceSnapshotObject) Part {
	selected := s.GetSpec().SelectedResources
	objects := make([][]byte, len(selected))
	for i := range selected {
		objects[i] = selected[i].Raw
	}
	return Part{Sub: sub, Objects: objects, Origins: contract.SplitOrigins(s.GetAnnotations()[contract.AnnotationOrigins], len(objects))}
}
