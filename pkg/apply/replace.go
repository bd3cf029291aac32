package apply

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Replaceable decides about a live object that the API server refuses to change to the manifest, because fields of it
// are immutable. If the hub's object is another one than that which was last applied, the live one may be deleted and
// created from the manifest: the same has happened on the hub. why, if set, is why the live object nevertheless stays.
// entry is the ledger's.
func Replaceable(in Input, entry Entry) (replace bool, why string) {
	live := in.Live
	was, is := live.GetAnnotations()[contract.AnnotationPlacedOrigin], in.Stamp.Origin
	if was == "" || is == "" || was == is || live.GetDeletionTimestamp() != nil || !in.Owner.Owns(live) {
		return false, ""
	}
	kind := live.GroupVersionKind().GroupKind()
	switch {
	case entry.TakenOver || TakenOver(live):
		return false, "it was on the member cluster before it was placed"
	case len(without(live, in.Owner)) > 0:
		return false, "it has other owners on the member cluster"
	case in.Stamp.Incomplete:
		return false, "the number of manifests in the Work differs from the number that the hub agent wrote"
	case entry.Held || live.GetAnnotations()[contract.AnnotationHeld] != "" || in.Stamp.older(live):
		return false, "another Work, or a later state of this one, placed it"
	case Keeps(live.GetAnnotations()) || Keeps(in.Manifest.GetAnnotations()):
		return false, "annotation " + contract.AnnotationKeep + " is set"
	case kind == schema.GroupKind{Kind: "Namespace"} || precious(kind):
		return false, "deleting a " + kind.Kind + " loses data"
	case deletesClaims(live):
		return false, "its volume claims would be deleted with it (persistentVolumeClaimRetentionPolicy.whenDeleted)"
	}
	return true, ""
}

// Inherit is a merge patch that makes an object ours that another Work of the placement has left, without changing its
// content; it is for an object that the API server refuses to change to the manifest. Without an owner it could
// neither be replaced nor be deleted with the placement. It keeps the origin from which it was made. The patch is nil
// for any other object.
func Inherit(in Input) ([]byte, error) {
	if in.Live.GetDeletionTimestamp() != nil || in.Owner.Owns(in.Live) || !in.inherited() {
		return nil, nil
	}
	claim := claimed(in)
	if claim.refusal.Reason != "" {
		return nil, nil
	}
	patch := map[string]any{
		"resourceVersion": in.Live.GetResourceVersion(), "ownerReferences": claim.owners,
		"annotations": map[string]any{contract.AnnotationPlacedWork: in.Stamp.annotations()[contract.AnnotationPlacedWork]},
	}
	body, err := json.Marshal(map[string]any{"metadata": patch})
	if err != nil {
		return nil, fmt.Errorf("encode patch: %w", err)
	}
	return body, nil
}

// deletesClaims reports whether the volume claims of a StatefulSet are deleted with it.
func deletesClaims(live *unstructured.Unstructured) bool {
	if live.GroupVersionKind().GroupKind() != (schema.GroupKind{Group: "apps", Kind: "StatefulSet"}) {
		return false
	}
	policy, _, err := unstructured.NestedString(live.Object, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted")
	return err != nil || policy == "Delete"
}
