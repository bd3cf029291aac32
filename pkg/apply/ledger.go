package apply

import (
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// mostIntended is how many bytes of identifiers the annotation may hold: half of what an object's annotations may take together.
const mostIntended = mostAnnotations / 2

// Entry is one object of the ledger. Without a UID it was only intended: the agent may or may not have got round to it.
type Entry = v1beta1.AppliedResourceMeta

// Intended is the annotation that records, in the same write that creates a ledger, what is about to be applied. ok is false if it
// would be too large; then the intent must be written to the status before anything is applied.
func Intended(ids []v1beta1.WorkResourceIdentifier) (text string, ok bool) {
	data, err := json.Marshal(ids)
	return string(data), err == nil && len(data) <= mostIntended
}

// Ledger lists what the agent applied or may have applied for a Work: the status, and what the annotation adds to it. If somebody has
// spoiled the annotation, objects may be missing from the list; they stay on the member until the AppliedWork that owns them goes.
func Ledger(w *v1beta1.AppliedWork) []Entry {
	entries := slices.Clone(w.Status.AppliedResources)
	var ids []v1beta1.WorkResourceIdentifier
	if err := json.Unmarshal([]byte(w.Annotations[contract.AnnotationIntended]), &ids); err != nil {
		return entries
	}
	known := sets.New[Key]()
	for _, e := range entries {
		known.Insert(KeyOf(e.WorkResourceIdentifier))
	}
	for _, id := range ids {
		if !known.Has(KeyOf(id)) {
			known.Insert(KeyOf(id))
			entries = append(entries, Entry{WorkResourceIdentifier: id})
		}
	}
	return entries
}

// LeftOver returns the entries of the ledger that have left the Work. A manifest that nobody can read may be any of them, so then
// there are none. A manifest that is readable but of a kind the member does not know is wanted all the same. And one object may be
// served under two groups: an entry whose twin is wanted waits until the twin is applied, when its UID tells whether it is the same.
// applied holds the UIDs of what is applied now.
func LeftOver(ledger []Entry, manifests []Manifest, applied map[Key]types.UID) []Entry {
	wanted := sets.New[Key]()
	twins := map[Key][]Key{}
	for _, m := range manifests {
		if m.Opaque() {
			return nil
		}
		if m.Problem.Reason == v1beta1.ReasonManifestFoundGenerateName {
			continue // it means no object by name
		}
		wanted.Insert(m.Key())
		twins[twin(m.Key())] = append(twins[twin(m.Key())], m.Key())
	}
	var out []Entry
	for _, e := range ledger {
		key := KeyOf(e.WorkResourceIdentifier)
		unclear := slices.ContainsFunc(twins[twin(key)], func(k Key) bool {
			uid, ok := applied[k]
			return !ok || uid == e.UID
		})
		if !wanted.Has(key) && !unclear {
			out = append(out, e)
		}
	}
	return out
}

// twin is a key without the group.
func twin(k Key) Key { return Key{Kind: k.Kind, Namespace: k.Namespace, Name: k.Name} }

// Removal says how to remove one object that has left its Work.
type Removal struct {
	// Delete it, under the condition that it still has its UID.
	Delete bool
	// Held: a Work that is older than the object's, or another one, must not decide that it goes. Hold, if set, is the merge patch that
	// says so on the object.
	Held bool
	Hold []byte
	// Disown, if set, is a JSON patch that takes our owner reference off and leaves the object to its other owners.
	Disown []byte
}

// Remove decides about one left-over. Only what this AppliedWork owns is touched; kept holds the UIDs of objects that are still
// wanted, under whatever name. The stamp is that of the Work which wants it no more: if the object was placed by a later state of the
// Work, or by another Work of its name, then the hub went back in time, and what it no longer says means nothing. Nor does what a Work
// lacks that somebody else took manifests out of. Such an object is held until
// somebody on the member releases it, however far the hub has come since. If it is wanted elsewhere, by another Work, it is left to that.
func Remove(live *unstructured.Unstructured, owner Owner, stamp Stamp, kept sets.Set[types.UID], elsewhere bool) (Removal, error) {
	if live == nil || live.GetDeletionTimestamp() != nil || !owner.Owns(live) || kept.Has(live.GetUID()) {
		return Removal{}, nil
	}
	if elsewhere {
		body, err := Disown(live, owner)
		return Removal{Disown: body}, err
	}
	switch held := live.GetAnnotations()[contract.AnnotationHeld]; {
	case held == contract.HeldRelease:
	case held == contract.HeldYes || stamp.Incomplete || stamp.older(live):
		body, err := hold(live)
		return Removal{Held: true, Hold: body}, err
	}
	if len(without(live, owner)) == 0 {
		return Removal{Delete: true}, nil
	}
	body, err := Disown(live, owner)
	return Removal{Disown: body}, err
}

// Disown is a JSON patch that takes our owner reference off a live object; nil if it has none, or is on its way out.
func Disown(live *unstructured.Unstructured, owner Owner) ([]byte, error) {
	if live == nil || live.GetDeletionTimestamp() != nil || !owner.Owns(live) {
		return nil, nil
	}
	return ownerPatch(live, without(live, owner))
}

// without are the owner references of live beside ours.
func without(live *unstructured.Unstructured, owner Owner) []metav1.OwnerReference {
	others := []metav1.OwnerReference{}
	for _, ref := range live.GetOwnerReferences() {
		if !owner.is(ref) {
			others = append(others, ref)
		}
	}
	return others
}

// Unblock is a JSON patch that lets an object that has further owners no longer hold up the deletion of our AppliedWork; nil if there
// is nothing to do.
func Unblock(live *unstructured.Unstructured, owner Owner) ([]byte, error) {
	refs := live.GetOwnerReferences()
	if len(refs) < 2 || !owner.Owns(live) {
		return nil, nil
	}
	changed := false
	no := false
	for i, ref := range refs {
		if owner.is(ref) && ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion {
			refs[i].BlockOwnerDeletion = &no
			changed = true
		}
	}
	if !changed {
		return nil, nil
	}
	return ownerPatch(live, refs)
}

// ownerPatch replaces the owner references of the object as it was read: if it has changed since, the patch fails.
func ownerPatch(live *unstructured.Unstructured, refs []metav1.OwnerReference) ([]byte, error) {
	body, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
		{"op": "replace", "path": "/metadata/ownerReferences", "value": refs},
	})
	if err != nil {
		return nil, fmt.Errorf("encode owner references: %w", err)
	}
	return body, nil
}
