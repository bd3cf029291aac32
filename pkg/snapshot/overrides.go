package snapshot

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// overrideHistory is the number of snapshots kept for an override.
const overrideHistory = 10

// OverrideStep contains the writes that an override's snapshots need. It shares nothing with the arguments.
type OverrideStep struct {
	// Create is the snapshot to create, or nil. Create it before you apply Relabels, so that there is always a latest
	// snapshot.
	Create   v1beta1.OverrideSnapshotObject
	Relabels []Relabel
	// Prune are snapshots beyond the history limit.
	Prune []v1beta1.OverrideSnapshotObject
}

// LatestOverride returns the latest snapshot of an override: the highest one with the label, or the highest of all if
// none has it, as after a crash between two writes. It returns nil if there is none.
func LatestOverride(all []v1beta1.OverrideSnapshotObject) v1beta1.OverrideSnapshotObject {
	var latest v1beta1.OverrideSnapshotObject
	for _, s := range all {
		switch {
		case overrideIndex(s) < 0:
		case latest == nil, isLatest(s) && !isLatest(latest):
			latest = s
		case isLatest(s) == isLatest(latest) && overrideIndex(s) > overrideIndex(latest):
			latest = s
		}
	}
	return latest
}

func overrideIndex(s v1beta1.OverrideSnapshotObject) int {
	index, ok := number(s.GetLabels()[contract.LabelOverrideIndex])
	if !ok {
		return -1
	}
	return index
}

// Overrides decides about the snapshots of an override. existing are its snapshots; inUse are the names of the
// snapshots that bindings name, which are kept regardless of the limit.
func Overrides(override v1beta1.OverrideObject, existing []v1beta1.OverrideSnapshotObject, inUse map[string]bool) (OverrideStep, error) {
	existing = slices.DeleteFunc(slices.Clone(existing), func(s v1beta1.OverrideSnapshotObject) bool { return overrideIndex(s) < 0 })
	slices.SortFunc(existing, func(a, b v1beta1.OverrideSnapshotObject) int { return cmp.Compare(overrideIndex(a), overrideIndex(b)) })
	next := 0
	if len(existing) > 0 {
		next = overrideIndex(existing[len(existing)-1]) + 1
	}
	// An override may have been deleted and recreated: a name that is still in use must not get another content.
	for name := range inUse {
		if digits, ours := strings.CutPrefix(name, override.GetName()+"-"); ours {
			if index, ok := number(digits); ok {
				next = max(next, index+1)
			}
		}
	}
	wanted, err := newOverride(override, next)
	if err != nil {
		return OverrideStep{}, fmt.Errorf("override %s: %w", override.GetName(), err)
	}
	var step OverrideStep
	latest := LatestOverride(existing)
	kept := len(existing)
	if latest == nil || !bytes.Equal(latest.GetHash(), wanted.GetHash()) {
		step.Create, latest = wanted, wanted
		kept++
	}
	for _, s := range existing {
		isTheLatest := s.GetName() == latest.GetName()
		switch {
		case isTheLatest && !isLatest(s):
			step.Relabels = append(step.Relabels, relabelLatest(s.GetName(), true))
		case isTheLatest:
		case kept > overrideHistory && !inUse[s.GetName()]:
			step.Prune = append(step.Prune, s)
			kept--
		case isLatest(s):
			step.Relabels = append(step.Relabels, relabelLatest(s.GetName(), false))
		}
	}
	return step, nil
}

// newOverride returns the snapshot with the given index for the current override.
func newOverride(override v1beta1.OverrideObject, index int) (v1beta1.OverrideSnapshotObject, error) {
	var out v1beta1.OverrideSnapshotObject
	var kind string
	switch o := override.(type) {
	case *v1beta1.ClusterResourceOverride:
		hash, err := contract.Hash(o.Spec)
		if err != nil {
			return nil, err
		}
		spec := v1beta1.ClusterResourceOverrideSnapshotSpec{OverrideSpec: *o.Spec.DeepCopy(), OverrideHash: []byte(hash)}
		out, kind = &v1beta1.ClusterResourceOverrideSnapshot{Spec: spec}, "ClusterResourceOverride"
	case *v1beta1.ResourceOverride:
		hash, err := contract.Hash(o.Spec)
		if err != nil {
			return nil, err
		}
		spec := v1beta1.ResourceOverrideSnapshotSpec{OverrideSpec: *o.Spec.DeepCopy(), OverrideHash: []byte(hash)}
		out, kind = &v1beta1.ResourceOverrideSnapshot{Spec: spec}, "ResourceOverride"
	default:
		return nil, fmt.Errorf("%T is no override", override)
	}
	out.SetNamespace(override.GetNamespace())
	out.SetName(contract.OverrideSnapshotName(override.GetName(), index))
	out.SetLabels(map[string]string{
		contract.LabelOverride:      override.GetName(),
		contract.LabelOverrideIndex: strconv.Itoa(index),
		contract.LabelLatest:        strconv.FormatBool(true),
	})
	out.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(override, v1beta1.GroupVersion.WithKind(kind))})
	return out, nil
}
