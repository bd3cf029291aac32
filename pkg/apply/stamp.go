package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	contract.AnnotationPlacedWork, contract.AnnotationHeld,
}

func (s Stamp) annotations() map[string]string {
	out := map[string]string{}
	for key, value := range map[string]string{
		contract.AnnotationPlacedHub: s.Hub, contract.AnnotationPlacedBy: s.Placement, contract.AnnotationPlacedRevision: s.Revision,
		contract.AnnotationPlacedOverrides: s.Overrides,
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

// size is how many bytes the stamp takes of what annotations may have.
func (s Stamp) size() int {
	n := 0
	for key, value := range s.annotations() {
		n += len(key) + len(value)
	}
	return n
}

// missing says whether live must be stamped although nothing else is to be changed: it was applied by an agent that did not, or by a
// Work of another life, or by a later generation of this one.
func (s Stamp) missing(live *unstructured.Unstructured) bool {
	return s.Work != "" && (!stamped(live) || s.older(live) || live.GetAnnotations()[contract.AnnotationHeld] != "")
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

// patch writes the stamp into a merge patch, and clears what live has of an older one.
func (s Stamp) patch(patch map[string]any, live *unstructured.Unstructured) {
	now := s.annotations()
	for _, key := range stamps {
		if value, ok := now[key]; ok {
			setNested(patch, value, "metadata", "annotations", key)
		} else if _, had := live.GetAnnotations()[key]; had {
			setNested(patch, nil, "metadata", "annotations", key)
		}
	}
}

// add writes the stamp into the annotations of an object to create or to apply. What of an older stamp is not ours to drop is emptied.
func (s Stamp) add(annotations map[string]string, live *unstructured.Unstructured) {
	for key, value := range s.annotations() {
		annotations[key] = value
	}
	if live != nil && live.GetAnnotations()[contract.AnnotationHeld] != "" {
		annotations[contract.AnnotationHeld] = ""
	}
}

// bookkept says whether an annotation is ours on every object.
func bookkept(annotation string) bool { return slices.Contains(stamps, annotation) }

// hold is the patch that marks an object as held, nil if it is.
func hold(live *unstructured.Unstructured) ([]byte, error) {
	if live.GetAnnotations()[contract.AnnotationHeld] == contract.HeldYes {
		return nil, nil
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{contract.AnnotationHeld: contract.HeldYes}, "resourceVersion": live.GetResourceVersion(),
	}})
	if err != nil {
		return nil, fmt.Errorf("encode hold: %w", err)
	}
	return body, nil
}
