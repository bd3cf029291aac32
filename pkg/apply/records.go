package apply

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

const (
	// mostAnnotations is how many bytes of annotation keys and values the API server accepts on one object.
	mostAnnotations = 256 * 1024
	// spareAnnotations is how many of them are left to controllers of the member, which also annotate objects: the
	// revision of a Deployment, the binding of a claim.
	spareAnnotations = 512
)

// ranked are our annotations on objects, in the order of their importance: those that do not fit beside the
// annotations of the manifest are left out from the end. The hash comes first, because it distinguishes drift from a
// new manifest.
var ranked = []string{
	contract.AnnotationSpecHash, contract.AnnotationTakenOver, contract.AnnotationPlacedWork, contract.AnnotationPlacedBy,
	contract.AnnotationPlacedOrigin, contract.AnnotationPlacedHub, contract.AnnotationPlacedRevision, contract.AnnotationPlacedOverrides,
	contract.AnnotationLastApplied,
}

// annotate decides which of our annotations the object gets.
func (w *wanted) annotate(in Input, c claim) {
	all := w.stamp.annotations()
	all[contract.AnnotationSpecHash] = w.hash
	if in.Live != nil && in.takesOver(c) {
		all[contract.AnnotationTakenOver] = "true"
	}
	clientSide := in.Strategy.Type == v1beta1.ApplyStrategyTypeClientSideApply
	if clientSide {
		all[contract.AnnotationLastApplied] = w.record
	}
	var have map[string]string
	if in.Live != nil {
		have = in.Live.GetAnnotations()
	}
	free := room(w.object, in.Live)
	w.records, w.full = fitting(all, have, free), free < 0
	w.tooLarge = clientSide && w.records[contract.AnnotationLastApplied] == ""
}

// unmarked reports whether the hash of the manifest does not fit, so that the live object does not show whether it was
// the last one.
func (w *wanted) unmarked() bool { return w.records[contract.AnnotationSpecHash] == "" }

// holds reports whether the live object has all fields of the manifest. Only for the last manifest may a value look
// different.
func (w *wanted) holds(want, live *unstructured.Unstructured) bool {
	if w.unmarked() {
		return (&played{want: want.Object, outcome: live.Object, known: typed(live)}).fault() == ""
	}
	return held(want, live)
}

// fitting are those of our annotations that fit into room bytes. If the last manifest does not fit, its annotation is
// emptied, if that fits. An annotation that the object has already does not reduce the spare room.
func fitting(all, live map[string]string, room int) map[string]string {
	out := map[string]string{}
	for _, key := range ranked {
		value, ok := all[key]
		if !ok {
			continue
		}
		fits := func(value string) bool {
			have, there := live[key]
			free := room
			if !there || len(have) < len(value) {
				free -= spareAnnotations
			}
			return len(key)+len(value) <= free
		}
		if key == contract.AnnotationLastApplied && !fits(value) {
			value = ""
		}
		if fits(value) {
			out[key] = value
			room -= len(key) + len(value)
		}
	}
	return out
}

// room is how many bytes remain beside the annotations of the manifest, and those of others on the live object.
func room(want, live *unstructured.Unstructured) int {
	out := mostAnnotations - sizeOf(want.GetAnnotations())
	if live == nil {
		return out
	}
	have := want.GetAnnotations()
	mine, others := annotationsBy(live, ours), annotationsBy(live, theirs)
	for key, value := range live.GetAnnotations() {
		_, wanted := have[key]
		switch {
		case wanted:
		case key == contract.AnnotationHeld, key == contract.AnnotationLastApplied:
			out -= len(key) // it may stay, emptied
		case slices.Contains(ranked, key), mine["f:"+key] != nil && others["f:"+key] == nil: // rewritten, or removed
		default:
			out -= len(key) + len(value)
		}
	}
	return out
}

// annotationsBy are the annotations owned by the writers that which selects, in the form of managedFields.
func annotationsBy(live *unstructured.Unstructured, which func(metav1.ManagedFieldsEntry) bool) map[string]any {
	return below(below(ownedBy(live, which), "f:metadata"), "f:annotations")
}

func sizeOf(annotations map[string]string) int {
	n := 0
	for key, value := range annotations {
		n += len(key) + len(value)
	}
	return n
}

// patchRecords writes our annotations into a merge patch, and clears those on live that are not written.
func (w *wanted) patchRecords(patch map[string]any, live *unstructured.Unstructured) {
	for _, key := range append(slices.Clone(ranked), contract.AnnotationHeld) {
		if value, ok := w.records[key]; ok {
			setNested(patch, value, "metadata", "annotations", key)
		} else if _, had := live.GetAnnotations()[key]; had {
			setNested(patch, nil, "metadata", "annotations", key)
		}
	}
}
