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

// Stamp says on an applied object why it is there. It goes along with the writes that change the object and causes none of its own:
// it names the revision that last changed the object, not the latest one.
type Stamp struct {
	// Hub is the hub's address.
	Hub string
	// Placement is <namespace>/<name>, or a name alone. Revision is the resource snapshot, Overrides those of overrides.
	Placement, Revision, Overrides string
	// Origin is the contract.Origin of the hub's object; empty if it is not known.
	Origin string
	// Work and Generation are of the Work.
	Work       types.UID
	Generation int64
	// Incomplete: the Work has not as many manifests as the hub gave it, so somebody else took some out.
	Incomplete bool
}

// StampOf is the stamp of objects that work places, as the Work itself tells.
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

// incomplete says whether the hub's agent wrote another number of manifests than the Work has. Agents that write no number are trusted.
func incomplete(work *v1beta1.Work) bool {
	given, ok := work.Annotations[contract.AnnotationManifests]
	return ok && given != strconv.Itoa(len(work.Spec.Workload.Manifests))
}

// stamps are the annotations of a stamp, and what goes with it: an object that is wanted is not held.
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

// unrecorded says whether our annotations must be written although nothing else changes: the object has those of another
// manifest, or was applied by an agent that did not stamp it, by a Work of another life, or by a later generation of
// this one.
func (w *wanted) unrecorded(live *unstructured.Unstructured) bool {
	have := live.GetAnnotations()
	if w.unmarked() && entryOfOurs(live, metav1.ManagedFieldsOperationUpdate) && !hasTwins(w.object) {
		return true // what we apply shows what the manifest drops later; what we create does not
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

// older says whether live was last changed by another Work than ours, or by a later generation of it than the present one.
func (s Stamp) older(live *unstructured.Unstructured) bool {
	uid, text, ok := strings.Cut(live.GetAnnotations()[contract.AnnotationPlacedWork], ":")
	generation, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return false // from an agent that wrote none, or spoiled by hand: it tells nothing
	}
	return types.UID(uid) != s.Work || generation > s.Generation
}

// bookkept says whether an annotation is ours on every object.
func bookkept(annotation string) bool {
	return annotation == contract.AnnotationTakenOver || slices.Contains(stamps, annotation)
}

// hold is the patch that marks an object as held, nil if it is. Others of our annotations make room for the mark.
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
		return nil, nil // the ledger has it, too
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": annotations, "resourceVersion": live.GetResourceVersion(),
	}})
	if err != nil {
		return nil, fmt.Errorf("encode hold: %w", err)
	}
	return body, nil
}
