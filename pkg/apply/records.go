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
	// spareAnnotations is how many of them we leave to controllers of the member, which annotate objects too: the
	// revision of a Deployment, the binding of a claim.
	spareAnnotations = 512
)

// ranked are our annotations on objects, in the order of their importance: what does not fit beside the annotations
// of the manifest is left out from the end. Which manifest was applied comes first, because drift is told from a new
// manifest by it.
var ranked = []string{
	contract.AnnotationSpecHash, contract.AnnotationTakenOver, contract.AnnotationPlacedWork, contract.AnnotationPlacedBy,
	contract.AnnotationPlacedOrigin, contract.AnnotationPlacedHub, contract.AnnotationPlacedRevision, contract.AnnotationPlacedOverrides,
	contract.AnnotationLastApplied,
}

// annotate decides which annotations of ours the object is to carry.
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

// unmarked says whether there is no room for the hash of the manifest, so that the live object does not show whether
// it was the last one.
func (w *wanted) unmarked() bool { return w.records[contract.AnnotationSpecHash] == "" }

// holds says whether the live object has all that the manifest sets. Only for the last manifest may a value look
// different.
func (w *wanted) holds(want, live *unstructured.Unstructured) bool {
	if w.unmarked() {
		return (&played{want: want.Object, outcome: live.Object, known: typed(live)}).fault() == ""
	}
	return held(want, live)
}

// fitting are those of our annotations that fit into room, in bytes. The last manifest has an empty annotation in
// its place, if at least that fits. What an object has already takes nothing from what is left to others.
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

// room is how many bytes the annotations of the manifest, and those of others on the live object, leave.
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
			out -= len(key) // it may be left, emptied
		case slices.Contains(ranked, key), mine["f:"+key] != nil && others["f:"+key] == nil: // written anew, or removed
		default:
			out -= len(key) + len(value)
		}
	}
	return out
}

// annotationsBy are the annotations that the writers that which picks own, in the form of managedFields.
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

// patchRecords writes our annotations into a merge patch, and clears what live has of those that we do not write.
func (w *wanted) patchRecords(patch map[string]any, live *unstructured.Unstructured) {
	for _, key := range append(slices.Clone(ranked), contract.AnnotationHeld) {
		if value, ok := w.records[key]; ok {
			setNested(patch, value, "metadata", "annotations", key)
		} else if _, had := live.GetAnnotations()[key]; had {
			setNested(patch, nil, "metadata", "annotations", key)
		}
	}
}
