package apply

import (
	"encoding/json"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// held reports whether the live object has all fields of the manifest as last written. A value that only looks
// different, but is still recorded as ours, was normalized by the server (a default inside a list, "1000m" as "1"): an
// edit by another client would have changed the record. Writing it again would have no effect, without end. It is
// valid only for the manifest that was written last.
func held(want, live *unstructured.Unstructured) bool {
	all := fields{ours: ownedBy(live, ours), theirs: ownedBy(live, theirs), nulls: typed(live) == nil}
	for key, value := range want.Object {
		switch key {
		case "apiVersion", "kind":
		case "metadata":
			if !metadataHeld(want, live) {
				return false
			}
		default:
			if !all.holdField(key, value, live.Object) {
				return false
			}
		}
	}
	return true
}

// metadataHeld compares exactly: servers normalize nothing there.
func metadataHeld(want, live *unstructured.Unstructured) bool {
	return contains(live.GetLabels(), want.GetLabels()) && contains(live.GetAnnotations(), want.GetAnnotations()) &&
		containsAll(live.GetFinalizers(), want.GetFinalizers())
}

func contains(have, want map[string]string) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

func containsAll(have, want []string) bool {
	set := make(map[string]bool, len(have))
	for _, item := range have {
		set[item] = true
	}
	for _, item := range want {
		if !set[item] {
			return false
		}
	}
	return true
}

// fields are the fields below a value that we own and that others own, in the form of managedFields.
type fields struct {
	ours, theirs map[string]any
	// nulls: null is a value of its own, as in custom resources, and differs from an absent field.
	nulls bool
}

func (f fields) same(want, have any) bool {
	if f.nulls {
		return reflect.DeepEqual(want, have)
	}
	return reflect.DeepEqual(withoutNulls(want), have)
}

func (f fields) below(name string) (fields, bool) {
	child, owned := f.ours[name].(map[string]any)
	other, _ := f.theirs[name].(map[string]any)
	return fields{child, other, f.nulls}, owned
}

func (f fields) holdField(key string, want any, in map[string]any) bool {
	have, there := in[key]
	if want == nil { // a server may drop a null or replace it by a default, so any other value is accepted
		return !f.nulls || there && have == nil
	}
	if f.same(want, have) {
		return true
	}
	child, owned := f.below("f:" + key)
	return owned && child.hold(want, have)
}

// hold compares a value that differs.
func (f fields) hold(want, have any) bool {
	if len(f.ours) == 0 {
		return f.whole(want, have)
	}
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return false
		}
		for key, value := range w {
			if !f.holdField(key, value, h) {
				return false
			}
		}
		return true
	case []any:
		h, ok := have.([]any)
		if !ok {
			return false
		}
		for _, item := range w {
			if !f.holdItem(item, h) {
				return false
			}
		}
		return true
	}
	return false
}

// whole reports whether a value is ours as a whole: a scalar, or a map or list that is written in one piece. A map
// that is written key by key has the same record once we have lost all of its keys; then others own some, or some are
// missing.
func (f fields) whole(want, have any) bool {
	if len(f.theirs) > 0 {
		return false
	}
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		for key := range w {
			_, present := h[key]
			ok = ok && present
		}
		return ok
	case []any:
		h, ok := have.([]any)
		return ok && len(h) == len(w)
	}
	return true
}

// holdItem looks up a list item: by its keys (k:{…}) or, in a set, by its value (v:…).
func (f fields) holdItem(want any, have []any) bool {
	for name := range f.ours {
		if value, ok := strings.CutPrefix(name, "v:"); ok {
			var v any
			if json.Unmarshal([]byte(value), &v) == nil && sameText(v, want) { //nolint:forbidigo // the API server wrote it, and no field of it has a name of ours
				return true
			}
			continue
		}
		text, ok := strings.CutPrefix(name, "k:")
		if !ok {
			continue
		}
		var keys map[string]any
		if json.Unmarshal([]byte(text), &keys) != nil || !keyed(want, keys, true) { //nolint:forbidigo // the API server wrote it, and no field of it has a name of ours
			continue
		}
		for _, item := range have {
			if keyed(item, keys, false) {
				child, _ := f.below(name)
				return f.same(want, item) || child.hold(want, item)
			}
		}
	}
	return false
}

// keyed reports whether a list item has the keys. A manifest may leave out keys that have defaults.
func keyed(item any, keys map[string]any, lenient bool) bool {
	m, ok := item.(map[string]any)
	if !ok {
		return false
	}
	for key, want := range keys {
		got, present := m[key]
		if present && !sameText(got, want) || !present && !lenient {
			return false
		}
	}
	return true
}

// sameText compares values decoded by different decoders, whose numbers have different types.
func sameText(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// ownedBy unites the fields of the entries in managedFields that which selects.
func ownedBy(live *unstructured.Unstructured, which func(metav1.ManagedFieldsEntry) bool) map[string]any {
	out := map[string]any{}
	for _, entry := range live.GetManagedFields() {
		if entry.FieldsV1 == nil || !which(entry) {
			continue
		}
		var fields map[string]any
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) == nil { //nolint:forbidigo // the API server wrote it, and no field of it has a name of ours
			unite(out, fields)
		}
	}
	return out
}

func ours(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == contract.ManagerMember && e.Subresource == ""
}

func theirs(e metav1.ManagedFieldsEntry) bool { return !ours(e) }

func applied(e metav1.ManagedFieldsEntry) bool {
	return ours(e) && e.Operation == metav1.ManagedFieldsOperationApply
}

func unite(into, from map[string]any) {
	for key, value := range from {
		if key == "." {
			continue // the container itself
		}
		fields, _ := value.(map[string]any)
		have, ok := into[key].(map[string]any)
		if !ok {
			have = map[string]any{}
			into[key] = have
		}
		unite(have, fields)
	}
}
