package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// adopt moves fields that a server-side apply has to remove from other entries in managedFields to ours: a field that
// the manifest has dropped and that kubectl applied before the object was taken over, and a field that excludes one of
// the manifest. Otherwise such a field would stay, or the outcome be invalid. Fields that no manifest of ours had stay
// with their manager.
func adopt(entries []metav1.ManagedFieldsEntry, base, want, live *unstructured.Unstructured) ([]metav1.ManagedFieldsEntry, error) {
	had := map[string]any(nil)
	if base != nil {
		had = base.Object
	}
	mine := slices.IndexFunc(entries, applied)
	held := map[string]any{}
	var err error
	if mine >= 0 {
		if held, err = fieldsOf(entries[mine]); err != nil {
			return nil, err
		}
	}
	rivals := rivalsIn(ownedBy(live, func(e metav1.ManagedFieldsEntry) bool { return e.Subresource == "" }), want.Object, live.Object, "")
	join(held, planted(rivals, live.Object))
	var out []metav1.ManagedFieldsEntry
	moved := len(rivals) > 0
	for i, entry := range entries {
		if i == mine || ours(entry) || entry.Subresource != "" || entry.FieldsV1 == nil {
			out = append(out, entry)
			continue
		}
		fields, err := fieldsOf(entry)
		if err != nil {
			return nil, err
		}
		taken := strip(fields, rivals)
		if kubectls(entry) {
			join(taken, strip(fields, droppedIn(fields, held, had, want.Object)))
		}
		if len(taken) == 0 {
			out = append(out, entry)
			continue
		}
		moved = true
		join(held, taken)
		if len(fields) > 0 {
			if entry.FieldsV1, err = encodeFields(fields); err != nil {
				return nil, err
			}
			out = append(out, entry)
		}
	}
	if !moved {
		return entries, nil
	}
	fields, err := encodeFields(held)
	if err != nil {
		return nil, err
	}
	if at := slices.IndexFunc(out, applied); at >= 0 {
		out[at].FieldsV1 = fields
		return out, nil
	}
	return append(out, metav1.ManagedFieldsEntry{
		Manager: contract.ManagerMember, Operation: metav1.ManagedFieldsOperationApply, APIVersion: live.GetAPIVersion(),
		FieldsType: "FieldsV1", FieldsV1: fields,
	}), nil
}

// kubectls reports whether an entry is kubectl's, or from a time before API servers tracked managers, when only
// kubectl applied.
func kubectls(e metav1.ManagedFieldsEntry) bool {
	return strings.HasPrefix(e.Manager, "kubectl") || e.Manager == legacyManager
}

func fieldsOf(e metav1.ManagedFieldsEntry) (map[string]any, error) {
	out := map[string]any{}
	if err := json.Unmarshal(e.FieldsV1.GetRawBytes(), &out); err != nil { //nolint:forbidigo // the API server wrote it, and no field of it has a name of ours
		return nil, fmt.Errorf("read the fields of manager %q: %w", e.Manager, err)
	}
	return out, nil
}

func encodeFields(fields map[string]any) (*metav1.FieldsV1, error) {
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode managed fields: %w", err)
	}
	return metav1.NewFieldsV1(string(data)), nil
}

// whole stands, in a tree of managed fields, for all of a field.
type whole struct{}

// rivalsIn are the fields of live that exclude one that want sets. fields has the names of list items.
func rivalsIn(fields map[string]any, want, live any, path string) map[string]any {
	out := map[string]any{}
	descend := func(name, key string) {
		w, inWant := member(want, name)
		l, inLive := member(live, name)
		if !inWant || !inLive {
			return
		}
		if sub := rivalsIn(below(fields, name), w, l, fieldPath(path, key)); len(sub) > 0 {
			out[name] = sub
		}
	}
	w, ok := want.(map[string]any)
	if l, also := live.(map[string]any); ok && also {
		for _, key := range rivalsOf(path, w, l) {
			out["f:"+key] = whole{}
		}
		for key := range w {
			descend("f:"+key, key)
		}
		return out
	}
	for name := range fields {
		descend(name, "0")
	}
	return out
}

// planted is tree with the fields of live in place of whole.
func planted(tree map[string]any, live any) map[string]any {
	out := map[string]any{}
	for name, what := range tree {
		value, _ := member(live, name)
		if sub, partly := what.(map[string]any); partly {
			out[name] = planted(sub, value)
			continue
		}
		out[name] = fieldsIn(value)
	}
	return out
}

// fieldsIn are the fields of a value. A list is one field.
func fieldsIn(value any) map[string]any {
	out := map[string]any{}
	if m, ok := value.(map[string]any); ok {
		for key, item := range m {
			out["f:"+key] = fieldsIn(item)
		}
	}
	return out
}

// droppedIn are those of fields that are ours, or that the last manifest had, and that want does not have.
func droppedIn(fields, held map[string]any, had, want any) map[string]any {
	out := map[string]any{}
	for name := range fields {
		if name == "." {
			continue
		}
		was, inBase := member(had, name)
		is, inWant := member(want, name)
		_, ours := held[name]
		switch {
		case !inWant && (inBase || ours):
			out[name] = whole{}
		case inWant:
			if sub := droppedIn(below(fields, name), below(held, name), was, is); len(sub) > 0 {
				out[name] = sub
			}
		}
	}
	return out
}

// member is the field or item of a value that a name in managedFields identifies. A manifest may leave out keys that
// have defaults.
func member(value any, name string) (any, bool) {
	switch v := value.(type) {
	case map[string]any:
		if key, isField := strings.CutPrefix(name, "f:"); isField && v[key] != nil {
			return v[key], true
		}
	case []any:
		if is, ok := elementLike(name, true); ok {
			if at := slices.IndexFunc(v, is); at >= 0 {
				return v[at], true
			}
		}
	}
	return nil, false
}

// strip removes the fields in which from fields and returns them.
func strip(fields, which map[string]any) map[string]any {
	out := map[string]any{}
	for name, what := range which {
		have, ok := fields[name].(map[string]any)
		if !ok {
			continue
		}
		sub, partly := what.(map[string]any)
		if !partly {
			out[name] = have
			delete(fields, name)
			continue
		}
		if taken := strip(have, sub); len(taken) > 0 {
			out[name] = taken
			if len(have) == 0 {
				delete(fields, name)
			}
		}
	}
	return out
}

// join unites trees of managed fields.
func join(into, from map[string]any) {
	for name, value := range from {
		more, _ := value.(map[string]any)
		have, ok := into[name].(map[string]any)
		if !ok {
			into[name] = more
			continue
		}
		join(have, more)
	}
}
