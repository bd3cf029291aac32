package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// mostIntended is how many bytes of identifiers the annotation may have: half of the limit for an object's
// annotations.
const mostIntended = mostAnnotations / 2

// Entry is one object of the ledger. Without a UID it was only intended: the agent may or may not have applied it.
type Entry = v1beta1.AppliedResourceMeta

// Intended is the annotation that records, in the same write that creates a ledger, the objects about to be applied.
// ok is false if it would be too large; then the intent must be written to the status before anything is applied.
func Intended(ids []v1beta1.WorkResourceIdentifier) (text string, ok bool) {
	data, err := json.Marshal(ids)
	return string(data), err == nil && len(data) <= mostIntended
}

// Ledger lists the objects that the agent applied or may have applied for a Work: the status and the annotation. If a
// client has damaged the annotation, objects may be missing; they stay on the member until the AppliedWork that owns
// them is deleted.
func Ledger(w *v1beta1.AppliedWork) []Entry {
	entries := slices.Clone(w.Status.AppliedResources)
	var ids []v1beta1.WorkResourceIdentifier
	if err := decode.JSON([]byte(w.Annotations[contract.AnnotationIntended]), &ids); err != nil {
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

// Absent stands for the UID of an object that was looked up and does not exist.
const Absent types.UID = "absent"

// Twins are the objects to look up before LeftOver can determine what has left the Work: one object may be served
// under two groups, so a listed object that was not applied may be an entry of the ledger with another group and the
// same name.
func Twins(ledger []Entry, manifests []Manifest, applied map[Key]types.UID) []Key {
	wanted, twins := wants(manifests)
	out := sets.New[Key]()
	for _, e := range ledger {
		key := KeyOf(e.WorkResourceIdentifier)
		if wanted.Has(key) {
			continue
		}
		for _, k := range twins[twin(key)] {
			if _, known := applied[k]; !known {
				out.Insert(k)
			}
		}
	}
	return out.UnsortedList()
}

// LeftOver returns the entries of the ledger that have left the Work. An undecodable manifest may be any of them, so
// then there are none. A decodable manifest of a kind that the member does not serve still counts as listed. found
// holds the UIDs of the applied objects, and of the twins that were looked up: an entry waits while it may be one of
// those under another group. Only Kubernetes itself serves objects in that way; an unknown twin in other groups is
// another object.
func LeftOver(ledger []Entry, manifests []Manifest, found map[Key]types.UID) []Entry {
	if slices.ContainsFunc(manifests, Manifest.Opaque) {
		return nil
	}
	wanted, twins := wants(manifests)
	var out []Entry
	for _, e := range ledger {
		key := KeyOf(e.WorkResourceIdentifier)
		same := slices.ContainsFunc(twins[twin(key)], func(k Key) bool {
			if uid, ok := found[k]; ok {
				return uid == e.UID
			}
			return ofKubernetes(k.Group) && ofKubernetes(e.Group)
		})
		if !wanted.Has(key) && !same {
			out = append(out, e)
		}
	}
	return out
}

// wants are the keys of the objects in manifests, and the same by their key without the group.
func wants(manifests []Manifest) (wanted sets.Set[Key], twins map[Key][]Key) {
	wanted, twins = sets.New[Key](), map[Key][]Key{}
	for _, m := range manifests {
		if m.Opaque() || m.Problem.Reason == v1beta1.ReasonManifestFoundGenerateName {
			continue // it names no object
		}
		wanted.Insert(m.Key())
		twins[twin(m.Key())] = append(twins[twin(m.Key())], m.Key())
	}
	return wanted, twins
}

// twin is a key without the group.
func twin(k Key) Key { return Key{Kind: k.Kind, Namespace: k.Namespace, Name: k.Name} }

// ofKubernetes reports whether a group is one of Kubernetes' own.
func ofKubernetes(group string) bool {
	return !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io")
}

// without are the owner references of live except ours.
func without(live *unstructured.Unstructured, owner Owner) []metav1.OwnerReference {
	others := []metav1.OwnerReference{}
	for _, ref := range live.GetOwnerReferences() {
		if !owner.is(ref) {
			others = append(others, ref)
		}
	}
	return others
}

// Unblock is a JSON patch with which an object that has further owners no longer blocks the deletion of our
// AppliedWork; nil if none is needed.
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
	body, err := json.Marshal(ownerPatch(live, refs))
	if err != nil {
		return nil, fmt.Errorf("encode owner references: %w", err)
	}
	return body, nil
}

// ownerPatch is a JSON patch that replaces the owner references of the object as read: if it has changed since, the
// patch fails.
func ownerPatch(live *unstructured.Unstructured, refs []metav1.OwnerReference) []map[string]any {
	return []map[string]any{
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
		{"op": "replace", "path": "/metadata/ownerReferences", "value": refs},
	}
}
