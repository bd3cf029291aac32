package apply

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// Built-in kinds accept lists in which two items have the same merge key: an environment name twice, where the later
// one counts and may refer to the earlier. A strategic merge corrupts such a list, and server-side apply refuses it.
// So these objects are merged here, and the result replaces the version that was read.

// furtherKey is, by the key of a strategic merge, the second field that identifies an item, and its default.
var furtherKey = map[string][2]string{
	"containerPort": {"protocol", "TCP"}, "port": {"protocol", "TCP"}, "topologyKey": {"whenUnsatisfiable", ""},
}

// identity is the key by which server-side apply finds a list item; "" if the item has none.
func identity(item any, key string) string {
	m, ok := item.(map[string]any)
	if !ok || m[key] == nil {
		return ""
	}
	further, double := furtherKey[key]
	if !double {
		return fmt.Sprint(m[key])
	}
	second := m[further[0]]
	if second == nil {
		second = further[1]
	}
	return fmt.Sprint(m[key], "/", second)
}

// hasTwins reports whether a manifest has two items of one identity in a list that merges by key.
func hasTwins(obj *unstructured.Unstructured) bool {
	known := typed(obj)
	return known != nil && twinsIn(obj.Object, known)
}

func twinsIn(in map[string]any, known strategicpatch.LookupPatchMeta) bool {
	for field, value := range in {
		switch v := value.(type) {
		case map[string]any:
			if sub, _ := belowField(known, field, false); sub != nil && twinsIn(v, sub) {
				return true
			}
		case []any:
			if sub, how := belowField(known, field, true); sub != nil && twinsAmong(v, how, sub) {
				return true
			}
		}
	}
	return false
}

func twinsAmong(items []any, how treatment, known strategicpatch.LookupPatchMeta) bool {
	seen := map[string]bool{}
	for _, item := range items {
		if id := identity(item, how.key); how.merged && how.key != "" && id != "" {
			if seen[id] {
				return true
			}
			seen[id] = true
		}
		if m, ok := item.(map[string]any); ok && twinsIn(m, known) {
			return true
		}
	}
	return false
}

// twinChange is the change to an object whose manifest has twins. It would overwrite changes made since the read, so
// it is bound to the version that was read.
func (w *wanted) twinChange(in Input, c claim) (*change, error) {
	want, have := w.yielding(in), in.Live.GetAnnotations()
	out := &change{claim: c, patch: map[string]any{}, kind: types.MergePatchType, surplus: surplus(w.object, in.Live)}
	sameBase := have[contract.AnnotationSpecHash] == w.records[contract.AnnotationSpecHash] && have[contract.AnnotationLastApplied] == w.records[contract.AnnotationLastApplied]
	if !sameBase || w.unmarked() || out.surplus || !held(want, in.Live) {
		var err error
		if out.patch, err = rewrite(want, in.Live); err != nil {
			return nil, err
		}
		out.content = len(out.patch) > 0
		if in.Strategy.Type == v1beta1.ApplyStrategyTypeServerSideApply && !forced(in) {
			out.refusal = contested(want, in.Live)
		}
	}
	out.records = !sameBase || w.unrecorded(in.Live)
	if out.empty() {
		return out, nil
	}
	w.patchRecords(out.patch, in.Live)
	setNested(out.patch, in.Live.GetResourceVersion(), "metadata", "resourceVersion")
	return out, out.setOwners(in.Live)
}

// rewrite is a JSON merge patch that changes the live object to the manifest combined with the changes of others on
// the member.
func rewrite(want, live *unstructured.Unstructured) (map[string]any, error) {
	base := lastApplied(live)
	if base == nil || surplus(want, live) {
		base = Sanitise(&unstructured.Unstructured{Object: owned(ownedBy(live, ours), live.Object)})
	}
	fields, _ := withoutNulls(want.Object).(map[string]any)
	outcome := rewritten("", base.Object, fields, live.Object, typed(live), false)
	before, err := json.Marshal(live.Object)
	if err != nil {
		return nil, errMerge
	}
	after, err := json.Marshal(outcome)
	if err != nil {
		return nil, errMerge
	}
	body, err := jsonmergepatch.CreateThreeWayJSONMergePatch(before, after, before)
	if err != nil {
		return nil, errMerge
	}
	patch := map[string]any{}
	if err := decode.JSON(body, &patch); err != nil {
		return nil, errMerge
	}
	return patch, nil
}

// owned is the part of live that is in fields, which are in the form of managedFields.
func owned(fields map[string]any, live any) map[string]any {
	out := map[string]any{}
	for name := range fields {
		key, isField := strings.CutPrefix(name, "f:")
		value, there := member(live, name)
		if !isField || !there {
			continue
		}
		sub := below(fields, name)
		switch v := value.(type) {
		case map[string]any:
			if len(sub) > 0 {
				value = owned(sub, v)
			}
		case []any:
			if len(sub) > 0 {
				value = ownedItems(sub, v)
			}
		}
		out[key] = value
	}
	return out
}

func ownedItems(fields map[string]any, live []any) []any {
	var out []any
	for _, item := range live {
		for name, sub := range fields {
			is, ok := element(name)
			if !ok || !is(item) {
				continue
			}
			if inside, _ := sub.(map[string]any); len(inside) > 0 {
				item = owned(inside, item)
			}
			out = append(out, item)
			break
		}
	}
	return out
}

// rewritten is live with the fields of want, and without those that base has and want has not, as by a strategic
// merge; but items are found as server-side apply finds them, and twins are written as in want. retaining: only the
// fields of want remain.
func rewritten(path string, base, want, live map[string]any, known strategicpatch.LookupPatchMeta, retaining bool) map[string]any {
	out := map[string]any{}
	for _, field := range names(want, live) {
		value, wanted := want[field]
		was, had := base[field]
		have := live[field]
		switch {
		case wanted:
			out[field] = mergedValue(fieldPath(path, field), field, was, value, have, known)
		case retaining:
		case !had:
			out[field] = have
		default:
			if rest := mergedRest(fieldPath(path, field), field, was, have, known); rest != nil {
				out[field] = rest
			}
		}
	}
	for _, rival := range rivalsOf(path, want, out) {
		delete(out, rival)
	}
	return out
}

func mergedValue(path, field string, base, want, live any, known strategicpatch.LookupPatchMeta) any {
	switch w := want.(type) {
	case map[string]any:
		sub, how := belowField(known, field, false)
		l, _ := live.(map[string]any)
		b, _ := base.(map[string]any)
		return rewritten(path, b, w, l, sub, how.retaining)
	case []any:
		sub, how := belowField(known, field, true)
		l, _ := live.([]any)
		b, _ := base.([]any)
		if how.merged {
			return mergedItems(path, b, w, l, how, sub)
		}
	}
	return want
}

// mergedRest is the rest of a field that the manifest dropped: what others added to a map or to a merged list.
func mergedRest(path, field string, base, live any, known strategicpatch.LookupPatchMeta) any {
	switch l := live.(type) {
	case map[string]any:
		sub, _ := belowField(known, field, false)
		b, _ := base.(map[string]any)
		if rest := rewritten(path, b, nil, l, sub, false); open(sub) && len(rest) > 0 {
			return rest
		}
	case []any:
		sub, how := belowField(known, field, true)
		b, _ := base.([]any)
		if !how.merged {
			return nil
		}
		if rest := mergedItems(path, b, nil, l, how, sub); len(rest) > 0 {
			return rest
		}
	}
	return nil
}

// mergedItems are the items of want in their order. An item that others added stays behind its present predecessor.
func mergedItems(path string, base, want, live []any, how treatment, known strategicpatch.LookupPatchMeta) []any {
	id := func(item any) string {
		if how.key == "" {
			return fmt.Sprint(item)
		}
		return identity(item, how.key)
	}
	had, wanted, have := byIdentity(base, id), byIdentity(want, id), byIdentity(live, id)
	foreign, anchor := map[string][]any{}, ""
	for _, item := range live {
		switch at := id(item); {
		case len(wanted[at]) > 0:
			anchor = at
		case len(had[at]) == 0:
			foreign[anchor] = append(foreign[anchor], item)
		}
	}
	out := append([]any{}, foreign[""]...)
	left := map[string]int{}
	for i, item := range want {
		at := id(item)
		w, isMap := item.(map[string]any)
		if isMap && len(wanted[at]) == 1 && len(have[at]) == 1 {
			l, _ := have[at][0].(map[string]any)
			var b map[string]any
			if len(had[at]) == 1 {
				b, _ = had[at][0].(map[string]any)
			}
			item = rewritten(fieldPath(path, strconv.Itoa(i)), b, w, l, known, how.retaining)
		}
		out = append(out, item)
		if left[at]++; left[at] == len(wanted[at]) && at != "" {
			out = append(out, foreign[at]...)
		}
	}
	return out
}

func byIdentity(list []any, id func(any) string) map[string][]any {
	out := map[string][]any{}
	for _, item := range list {
		out[id(item)] = append(out[id(item)], item)
	}
	return out
}

// contested names a field that the manifest sets, that has another value, and that another writer owns: a server-side
// apply without force would fail on it. It is empty if there is none.
func contested(want, live *unstructured.Unstructured) string {
	for _, entry := range live.GetManagedFields() {
		if ours(entry) || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		fields, err := fieldsOf(entry)
		if err != nil {
			continue
		}
		if at := disputed("", fields, want.Object, live.Object); at != "" {
			return fmt.Sprintf("conflict with %q: %s", entry.Manager, at)
		}
	}
	return ""
}

func disputed(path string, fields map[string]any, want, live any) string {
	for _, name := range names(fields, nil) {
		wanted, set := member(want, name)
		have, there := member(live, name)
		if name == "." || !set || !there {
			continue
		}
		at := path + "[" + strings.TrimPrefix(strings.TrimPrefix(name, "k:"), "v:") + "]"
		if field, isField := strings.CutPrefix(name, "f:"); isField {
			at = path + "." + field
		}
		below := below(fields, name)
		if len(below) == 0 && !sameText(wanted, have) {
			return at
		}
		if found := disputed(at, below, wanted, have); found != "" {
			return found
		}
	}
	return ""
}
