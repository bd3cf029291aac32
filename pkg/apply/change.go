package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/util/csaupgrade"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// legacyManager is the name under which API servers keep fields that were set before they tracked owners.
const legacyManager = "before-first-apply"

// change is the difference between a manifest and the live object, and how it is to be written.
type change struct {
	// content: fields of the manifest itself differ. records: our annotations do. claim: owner references do.
	content, records bool
	claim            claim
	// apply, if set, is the object for server-side apply; else patch and its type are a merge of our own.
	apply *unstructured.Unstructured
	// surplus: of what we own, the live object has more than the manifest. A trial does not show that.
	surplus bool
	// refusal, if not empty, is why the API server would refuse the change, had it been asked to apply it.
	refusal string
	// force lets the server-side apply overrule other managers, whatever the strategy says of that.
	force bool
	patch map[string]any
	kind  types.PatchType
}

func (c *change) empty() bool { return !c.content && !c.records && !c.claim.changed() }

// quiet drops what the server would make nothing of.
func (c *change) quiet() { c.content = c.surplus }

func (c *change) action(in Input) (Action, error) {
	careful := in.Strategy.WhenToApply == v1beta1.WhenToApplyIfNotDrifted
	if c.apply != nil {
		if careful {
			c.apply.SetResourceVersion(in.Live.GetResourceVersion())
		}
		return c.serverSide(in)
	}
	if careful { // no drift was seen in what was read; nothing may be overwritten that came since
		setNested(c.patch, in.Live.GetResourceVersion(), "metadata", "resourceVersion")
	}
	body, err := json.Marshal(c.patch)
	if err != nil {
		return Action{}, fmt.Errorf("encode patch: %w", err)
	}
	return Action{Verb: Patch, Type: c.kind, Body: body}, nil
}

// changes compares the manifest with the live object.
func (w *wanted) changes(in Input, c claim) (*change, error) {
	if hasTwins(w.object) {
		return w.twinChange(in, c)
	}
	if w.serverSide(in) || surplus(w.object, in.Live) {
		return w.serverSideChange(in, c), nil
	}
	base, want := lastApplied(in.Live), w.yielding(in)
	sameBase := base != nil && reflect.DeepEqual(base.Object, w.object.Object)
	out := &change{claim: c, patch: map[string]any{}, kind: mergeKind(in.Live)}
	if !sameBase || !held(want, in.Live) {
		patch, sound := soundMerge(base, want, in.Live)
		if !sound {
			return w.serverSideChange(in, c), nil
		}
		out.patch, out.content = patch, len(patch) > 0
	}
	out.records = !sameBase || w.unrecorded(in.Live)
	if out.empty() {
		return out, nil
	}
	// Ours go along with every patch, so that what is on the object always describes the manifest that made it so.
	w.patchRecords(out.patch, in.Live)
	return out, out.setOwners(in.Live)
}

func (w *wanted) serverSideChange(in Input, c claim) *change {
	want := w.yielding(in)
	object := want.DeepCopy()
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, w.records) // with the last manifest, if that fits: from here on, merges have a base
	have, record := in.Live.GetAnnotations(), w.records[contract.AnnotationLastApplied]
	if record == "" {
		delete(annotations, contract.AnnotationLastApplied)
	}
	// Annotations that an apply may not drop are emptied. The last manifest, left from client-side apply, would be the
	// base of a wrong merge if the strategy ever goes back.
	for _, key := range []string{contract.AnnotationLastApplied, contract.AnnotationHeld} {
		if have[key] != "" && annotations[key] == "" && !w.full {
			annotations[key] = ""
		}
	}
	object.SetAnnotations(annotations)
	setOwner(object, in.Owner)
	out := &change{claim: c, apply: object, force: record != "", surplus: surplus(want, in.Live)}
	out.records = record != have[contract.AnnotationLastApplied] || w.unrecorded(in.Live)
	out.content = !w.holds(want, in.Live) || out.surplus || dropsMetadata(object, in.Live)
	return out
}

// serverSide makes the calls of a server-side apply. Dropping an owner reference is not ours to apply, because another manager set
// it; it rides along as a JSON patch beforehand.
func (c *change) serverSide(in Input) (Action, error) {
	body, err := json.Marshal(c.apply.Object)
	if err != nil {
		return Action{}, fmt.Errorf("encode object to apply: %w", err)
	}
	out := Action{Verb: Patch, Type: types.ApplyPatchType, Body: body, Force: c.force || forced(in)}
	entries, err := c.entries(in, out.Force)
	if err != nil {
		return Action{}, fmt.Errorf("move field ownership to server-side apply: %w", err)
	}
	var before []map[string]any
	if entries != nil {
		before = []map[string]any{
			{"op": "replace", "path": "/metadata/managedFields", "value": entries},
			{"op": "replace", "path": "/metadata/resourceVersion", "value": in.Live.GetResourceVersion()},
		}
	}
	if len(c.claim.dropped) > 0 {
		if len(before) == 0 {
			before = append(before, map[string]any{"op": "replace", "path": "/metadata/resourceVersion", "value": in.Live.GetResourceVersion()})
		}
		before = append(before, map[string]any{"op": "replace", "path": "/metadata/ownerReferences", "value": c.claim.owners})
	}
	if len(before) > 0 {
		if out.Migrate, err = json.Marshal(before); err != nil {
			return Action{}, fmt.Errorf("encode patch: %w", err)
		}
	}
	return out, nil
}

// entries are the managedFields to have before the apply; nil if they are as they must be. What we created, or merged, must be ours by
// server-side apply: or a field that the manifest drops would stay for ever.
func (c *change) entries(in Input, force bool) ([]metav1.ManagedFieldsEntry, error) {
	live := in.Live.DeepCopy()
	if entryOfOurs(live, metav1.ManagedFieldsOperationUpdate) {
		if err := csaupgrade.UpgradeManagedFields(live, sets.New(contract.ManagerMember), contract.ManagerMember); err != nil {
			return nil, err
		}
	}
	out := live.GetManagedFields()
	if force {
		var err error
		if out, err = adopt(out, lastApplied(in.Live), c.apply, in.Live); err != nil {
			return nil, err
		}
	}
	if reflect.DeepEqual(out, in.Live.GetManagedFields()) {
		return nil, nil
	}
	return out, nil
}

// forced says whether server-side apply may overrule other managers: if the user said so, or if there are none.
// Writers of subresources do not count: a manifest carries no status.
func forced(in Input) bool {
	cfg := in.Strategy.ServerSideApplyConfig
	if cfg != nil && cfg.ForceConflicts && in.Strategy.Type == v1beta1.ApplyStrategyTypeServerSideApply {
		return true
	}
	for _, entry := range in.Live.GetManagedFields() {
		if entry.Subresource == "" && entry.Manager != contract.ManagerMember && entry.Manager != legacyManager {
			return false
		}
	}
	return true
}

// entryOfOurs says whether fields of live are ours by this kind of write.
func entryOfOurs(live *unstructured.Unstructured, by metav1.ManagedFieldsOperationType) bool {
	for _, entry := range live.GetManagedFields() {
		if entry.Subresource == "" && entry.Manager == contract.ManagerMember && entry.Operation == by {
			return true
		}
	}
	return false
}

// setOwners adds the owner references to a merge patch of our own. A strategic merge addresses one reference; a JSON merge replaces
// the list, so it holds only for the object as it was read: a co-owner that came in the meantime must not be lost.
func (c *change) setOwners(live *unstructured.Unstructured) error {
	if !c.claim.changed() {
		return nil
	}
	var refs []any
	add := func(ref metav1.OwnerReference) error {
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&ref)
		refs = append(refs, m)
		return err
	}
	if c.kind != types.StrategicMergePatchType {
		for _, ref := range c.claim.owners {
			if err := add(ref); err != nil {
				return fmt.Errorf("encode owner reference: %w", err)
			}
		}
		setNested(c.patch, refs, "metadata", "ownerReferences")
		setNested(c.patch, live.GetResourceVersion(), "metadata", "resourceVersion")
		return nil
	}
	if c.claim.takeOver {
		if err := add(c.claim.owners[len(c.claim.owners)-1]); err != nil {
			return fmt.Errorf("encode owner reference: %w", err)
		}
	}
	for _, ref := range c.claim.dropped {
		refs = append(refs, map[string]any{"$patch": "delete", "uid": string(ref.UID)})
	}
	setNested(c.patch, refs, "metadata", "ownerReferences")
	return nil
}

// lastApplied is the manifest that made live what it is, as far as its annotation tells; nil if it does not. An agent of another make
// may have left owner references in it.
func lastApplied(live *unstructured.Unstructured) *unstructured.Unstructured {
	text := live.GetAnnotations()[contract.AnnotationLastApplied]
	if text == "" {
		return nil
	}
	out, err := decode.Object([]byte(text))
	if err != nil {
		return nil // spoiled by hand: without a base nothing is deleted, which is the safe side
	}
	out = Sanitise(out)
	foldStringData(out)
	cede(out) // an agent that did not cede it may have applied it, and its removal is no change of the manifest
	return out
}

// errMerge hides the cause, whose text quotes values.
var errMerge = errors.New("the manifest and the object on the member cluster cannot be merged")

// soundMerge is the merge, if it can be computed and does what it must.
func soundMerge(base, want, live *unstructured.Unstructured) (patch map[string]any, sound bool) {
	patch, _, err := merge(base, want, live)
	if err != nil {
		return nil, false
	}
	spellOut(patch, base)
	outcome, err := play(patch, base, want, live)
	return patch, err == nil && outcome.fault() == ""
}

// mergeKind is the kind of patch that merges objects like obj.
func mergeKind(obj *unstructured.Unstructured) types.PatchType {
	if typed(obj) == nil {
		return types.MergePatchType
	}
	return types.StrategicMergePatchType
}

// merge is the three-way merge as a patch: what want sets differently from live, and what base had that want has not. Types that
// client-go knows merge lists by their keys. Owner references and our annotations stay out.
func merge(base, want, live *unstructured.Unstructured) (map[string]any, types.PatchType, error) {
	original := []byte("{}")
	if base != nil {
		var err error
		if original, err = mergeInput(base); err != nil {
			return nil, "", err
		}
	}
	modified, err := mergeInput(want)
	if err != nil {
		return nil, "", err
	}
	current, err := mergeInput(Sanitise(live))
	if err != nil {
		return nil, "", err
	}
	var body []byte
	kind := mergeKind(want)
	if known := typed(want); known != nil {
		body, err = unpanicked(func() ([]byte, error) {
			return strategicpatch.CreateThreeWayMergePatch(original, modified, current, known, true)
		})
	} else {
		body, err = jsonmergepatch.CreateThreeWayJSONMergePatch(original, modified, current,
			mergepatch.RequireKeyUnchanged("apiVersion"), mergepatch.RequireKeyUnchanged("kind"), mergepatch.RequireMetadataKeyUnchanged("name"))
	}
	if err != nil {
		return nil, "", fmt.Errorf("%w (%T)", errMerge, err)
	}
	patch := map[string]any{}
	if err := decode.JSON(body, &patch); err != nil {
		return nil, "", errMerge
	}
	if patch == nil {
		patch = map[string]any{}
	}
	return patch, kind, nil
}

// unpanicked is what do returns, or errMerge if it panics: strategic merges do on lists in which an item is null, or not of the type of the
// others.
func unpanicked[T any](do func() (T, error)) (out T, err error) {
	defer func() {
		if recover() != nil {
			err = errMerge
		}
	}()
	return do()
}

// mergeInput is obj as JSON without nulls: in a manifest they mean the same as leaving the field out, in a patch they delete.
// A pointed apiVersion of live and manifest is the same, as live was read in the manifest's version.
func mergeInput(obj *unstructured.Unstructured) ([]byte, error) {
	data, err := json.Marshal(withoutNulls(obj.Object))
	if err != nil {
		return nil, errMerge
	}
	return data, nil
}

func withoutNulls(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			if item != nil {
				out[key] = withoutNulls(item)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = withoutNulls(item)
		}
		return out
	}
	return value
}

// spellOut names the labels and annotations that a patch removes by removing all of them, which is what a merge makes of the last ones
// that a manifest had: what else the object carries, and what is set beside, would undo or spoil that.
func spellOut(patch map[string]any, base *unstructured.Unstructured) {
	metadata, _ := patch["metadata"].(map[string]any)
	for field, had := range map[string]func() map[string]string{"labels": base.GetLabels, "annotations": base.GetAnnotations} {
		if all, there := metadata[field]; !there || all != nil {
			continue
		}
		gone := map[string]any{}
		for key := range had() {
			gone[key] = nil
		}
		metadata[field] = gone
	}
}

func setNested(in map[string]any, value any, path ...string) {
	for _, field := range path[:len(path)-1] {
		next, ok := in[field].(map[string]any)
		if !ok {
			next = map[string]any{}
			in[field] = next
		}
		in = next
	}
	in[path[len(path)-1]] = value
}

// dropsMetadata says whether labels, annotations or finalizers that we applied server-side are no longer wanted.
// The hash does not tell: it leaves the machinery's labels out.
func dropsMetadata(want, live *unstructured.Unstructured) bool {
	metadata, _ := ownedBy(live, applied)["f:metadata"].(map[string]any)
	for field, have := range map[string]map[string]string{"f:labels": want.GetLabels(), "f:annotations": want.GetAnnotations()} {
		fields, _ := metadata[field].(map[string]any)
		for key := range maps.Keys(fields) {
			if name, isField := strings.CutPrefix(key, "f:"); isField {
				if _, ok := have[name]; !ok && !bookkept(name) {
					return true
				}
			}
		}
	}
	return false
}
