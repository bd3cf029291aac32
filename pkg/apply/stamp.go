package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Stamp records on an applied object why it exists. It is part of the writes that change the object and causes none of
// its own: it names the revision that last changed the object, not the latest one.
type Stamp struct {
	// Hub is the hub's address.
	Hub string
	// Placement is <namespace>/<name>, or a name alone. Revision is the resource snapshot, Overrides those of
	// overrides.
	Placement, Revision, Overrides string
	// Origin is the contract.Origin of the hub's object; empty if unknown.
	Origin string
	// Work and Generation are the Work's.
	Work       types.UID
	Generation int64
	// Incomplete: the number of manifests differs from the number that the hub agent wrote, so another client removed
	// some.
	Incomplete bool
}

// StampOf is the stamp for objects of work.
func StampOf(hub string, work *v1beta1.Work) Stamp {
	placement := work.Labels[contract.LabelPlacement]
	if namespace := work.Labels[contract.LabelPlacementNamespace]; namespace != "" {
		placement = namespace + "/" + placement
	}
	return Stamp{
		Hub: hub, Placement: placement, Revision: work.Annotations[contract.AnnotationWorkSnapshot],
		Overrides: work.Annotations[contract.AnnotationOverrides], Work: work.UID, Generation: work.Generation, Incomplete: incomplete(work),
	}
}

// incomplete reports whether the number of manifests differs from the one that the hub agent wrote. Without a written
// number the Work counts as complete.
func incomplete(work *v1beta1.Work) bool {
	given, ok := work.Annotations[contract.AnnotationManifests]
	return ok && given != strconv.Itoa(len(work.Spec.Workload.Manifests))
}

// stamps are the annotations of a stamp, and the mark of a held object, which a listed object loses.
var stamps = []string{
	contract.AnnotationPlacedHub, contract.AnnotationPlacedBy, contract.AnnotationPlacedRevision, contract.AnnotationPlacedOverrides,
	contract.AnnotationPlacedWork, contract.AnnotationPlacedOrigin, contract.AnnotationHeld,
}

func (s Stamp) annotations() map[string]string {
	out := map[string]string{}
	for key, value := range map[string]string{
		contract.AnnotationPlacedHub: s.Hub, contract.AnnotationPlacedBy: s.Placement, contract.AnnotationPlacedRevision: s.Revision,
		contract.AnnotationPlacedOverrides: s.Overrides, contract.AnnotationPlacedOrigin: s.Origin,
	} {
		if value != "" {
			out[key] = value
		}
	}
	if s.Work != "" {
		out[contract.AnnotationPlacedWork] = string(s.Work) + ":" + strconv.FormatInt(s.Generation, 10)
	}
	return out
}

// unrecorded reports whether our annotations must be written although nothing else changes: the object has those of
// another manifest, or was applied by an agent that did not stamp it, by another Work of the name, or by a later
// generation of this one.
func (w *wanted) unrecorded(live *unstructured.Unstructured) bool {
	have := live.GetAnnotations()
	if w.unmarked() && entryOfOurs(live, metav1.ManagedFieldsOperationUpdate) && !hasTwins(w.object) {
		return true // the fields of an apply show what the manifest drops later; those of a creation do not
	}
	if have[contract.AnnotationSpecHash] != w.records[contract.AnnotationSpecHash] {
		return true
	}
	_, stamps := w.records[contract.AnnotationPlacedWork]
	return w.stamp.Work != "" && (stamps && !stamped(live) || w.stamp.older(live) || have[contract.AnnotationHeld] != "")
}

func stamped(live *unstructured.Unstructured) bool {
	_, _, ok := strings.Cut(live.GetAnnotations()[contract.AnnotationPlacedWork], ":")
	return ok
}

// older reports whether live was last changed by another Work, or by a later generation of ours.
func (s Stamp) older(live *unstructured.Unstructured) bool {
	uid, text, ok := strings.Cut(live.GetAnnotations()[contract.AnnotationPlacedWork], ":")
	generation, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return false // missing or invalid: unknown
	}
	return types.UID(uid) != s.Work || generation > s.Generation
}

// bookkept reports whether an annotation is one of ours on every object.
func bookkept(annotation string) bool {
	return annotation == contract.AnnotationTakenOver || slices.Contains(stamps, annotation)
}

// hold is the patch that marks an object as held; nil if it is marked. Others of our annotations are removed if the
// mark needs their room.
func hold(live *unstructured.Unstructured) ([]byte, error) {
	have := live.GetAnnotations()
	if have[contract.AnnotationHeld] == contract.HeldYes {
		return nil, nil
	}
	annotations := map[string]any{contract.AnnotationHeld: contract.HeldYes}
	over := sizeOf(have) + len(contract.AnnotationHeld) + len(contract.HeldYes) - mostAnnotations
	for _, key := range slices.Backward(ranked) {
		if value, there := have[key]; there && over > 0 {
			annotations[key] = nil
			over -= len(key) + len(value)
		}
	}
	if over > 0 {
		return nil, nil // the ledger records it, too
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": annotations, "resourceVersion": live.GetResourceVersion(),
	}})
	if err != nil {
		return nil, fmt.Errorf("encode hold: %w", err)
	}
	return body, nil
}
