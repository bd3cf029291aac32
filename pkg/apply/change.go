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

// legacyManager is the name to which API servers assign fields that were set before they tracked managers.
const legacyManager = "before-first-apply"

// change is the difference between a manifest and the live object, and how to write it.
type change struct {
	// content: fields of the manifest differ. records: our annotations differ. claim: owner references differ.
	content, records bool
	claim            claim
	// apply, if set, is the object for server-side apply; otherwise patch and kind are a merge computed here.
	apply *unstructured.Unstructured
	// surplus: the live object has fields of ours that the manifest does not have. A dry run does not show that.
	surplus bool
	// refusal, if not empty, is why the API server would refuse the change if it were sent as server-side apply.
	refusal string
	// force lets the server-side apply overrule other managers, whatever the strategy.
	force bool
	patch map[string]any
	kind  types.PatchType
}

func (c *change) empty() bool { return !c.content && !c.records && !c.claim.changed() }

// quiet removes the content that the server would normalize away.
func (c *change) quiet() { c.content = c.surplus }

func (c *change) action(in Input) (Action, error) {
	careful := in.Strategy.WhenToApply == v1beta1.WhenToApplyIfNotDrifted
	if c.apply != nil {
		if careful {
			c.apply.SetResourceVersion(in.Live.GetResourceVersion())
		}
		return c.serverSide(in)
	}
	if careful { // the object as read has no drift; later changes must not be overwritten
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
	// Our annotations are part of every patch, so that those on the object always describe the manifest that was
	// applied last.
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
	maps.Copy(annotations, w.records) // with the last manifest, if it fits: later merges then have a base
	have, record := in.Live.GetAnnotations(), w.records[contract.AnnotationLastApplied]
	if record == "" {
		delete(annotations, contract.AnnotationLastApplied)
	}
	// Annotations that an apply may not remove are emptied. A last manifest left by client-side apply would be the
	// base of a wrong merge if the strategy were changed back.
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

// serverSide builds the calls of a server-side apply. It cannot remove an owner reference that another manager set, so
// a JSON patch sent before does.
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

// entries are the managedFields needed before the apply; nil if they are right already. Fields that we created or
// merged must be ours by server-side apply; otherwise a field that the manifest drops would stay.
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

// forced reports whether server-side apply may overrule other managers: if the strategy permits it, or if there are
// none. Writers of subresources do not count: a manifest has no status.
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

// entryOfOurs reports whether live has fields of ours from this kind of write.
func entryOfOurs(live *unstructured.Unstructured, by metav1.ManagedFieldsOperationType) bool {
	for _, entry := range live.GetManagedFields() {
		if entry.Subresource == "" && entry.Manager == contract.ManagerMember && entry.Operation == by {
			return true
		}
	}
	return false
}

// setOwners adds the owner references to a merge patch. A strategic merge addresses single references; a JSON merge
// replaces the list, so it is bound to the version that was read: a co-owner added since must not be lost.
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

// lastApplied is the manifest that was applied last, according to live's annotation; nil if there is none. An agent of
// another implementation may have left owner references in it.
func lastApplied(live *unstructured.Unstructured) *unstructured.Unstructured {
	text := live.GetAnnotations()[contract.AnnotationLastApplied]
	if text == "" {
		return nil
	}
	out, err := decode.Object([]byte(text))
	if err != nil {
		return nil // edited by hand: without a base nothing is deleted, which is safe
	}
	out = Sanitise(out)
	foldStringData(out)
	cede(out) // an earlier release may have applied these fields; their removal is no change of the manifest
	return out
}

// errMerge hides the cause, whose text quotes values.
var errMerge = errors.New("the manifest and the object on the member cluster cannot be merged")

// soundMerge is the merge; sound is whether it can be computed and its outcome is right.
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

// merge is the three-way merge as a patch: fields that want sets differently from live, and removals of fields that
// base has and want has not. For types that client-go knows, lists are merged by their keys. Owner references and our
// annotations are left out.
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

// unpanicked returns the result of do, or errMerge if it panics: strategic merges panic on lists with an item that is
// null, or of another type than the rest.
func unpanicked[T any](do func() (T, error)) (out T, err error) {
	defer func() {
		if recover() != nil {
			err = errMerge
		}
	}()
	return do()
}

// mergeInput is obj as JSON without nulls: in a manifest they mean the same as an absent field, in a patch they
// delete. The apiVersion of live and manifest is the same, as live was read in the manifest's version.
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

// spellOut replaces the removal of all labels, or all annotations, by the removal of each that base had. A merge
// removes the whole map when a manifest drops the last of them; the object may have others, and the patch may add
// some.
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

// dropsMetadata reports whether labels, annotations or finalizers that we applied server-side are no longer in the
// manifest. The hash does not show that: it leaves out labels of the machinery.
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
