package apply

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// played is a merge with its simulated outcome: the live object before and after, the manifest, and the previous one.
// Merges find list items by one key, although some lists need two; they replace parts that they do not know; and a
// patch that removes a field cannot set it to null. So no merge computed here is sent before its outcome was simulated
// and checked.
type played struct {
	base, want, live, outcome map[string]any
	// known is how a strategic merge treats the type; nil if it is unknown, and merged as JSON.
	known strategicpatch.LookupPatchMeta
}

// play applies a patch in memory.
func play(patch map[string]any, base, want, live *unstructured.Unstructured) (*played, error) {
	out := &played{want: want.Object, live: live.Object, known: typed(live)}
	if base != nil {
		out.base = base.Object
	}
	original, patch := runtime.DeepCopyJSON(live.Object), runtime.DeepCopyJSON(patch)
	if out.known == nil {
		out.outcome = mergedJSON(original, patch)
		return out, nil
	}
	var err error
	out.outcome, err = unpanicked(func() (strategicpatch.JSONMap, error) {
		return strategicpatch.StrategicMergeMapPatchUsingLookupPatchMeta(original, patch, out.known)
	})
	return out, err
}

// typed is how a strategic merge treats objects like obj; nil if client-go does not know their type.
func typed(obj *unstructured.Unstructured) strategicpatch.LookupPatchMeta {
	like, err := scheme.Scheme.New(obj.GroupVersionKind())
	if err != nil {
		return nil
	}
	known, err := strategicpatch.NewPatchMetaFromStruct(like)
	if err != nil {
		return nil
	}
	return known
}

// mergedJSON applies a JSON merge patch to an object.
func mergedJSON(into, patch map[string]any) map[string]any {
	for key, value := range patch {
		more, isMap := value.(map[string]any)
		have, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			mergedJSON(have, more)
		case isMap:
			into[key] = mergedJSON(map[string]any{}, more)
		default:
			into[key] = value
		}
	}
	return into
}

// fault is the path of the first field with a wrong outcome: the manifest sets it and the outcome has another value,
// or the live object has it, the outcome does not, and no manifest had it. It is empty if there is none.
func (p *played) fault() string {
	for _, field := range names(p.want, nil) {
		switch field {
		case "apiVersion", "kind", "status":
			continue
		}
		if at := p.setField("", field, p.want, p.outcome, p.known); at != "" {
			return at
		}
	}
	for _, field := range names(p.live, nil) {
		switch field {
		case "apiVersion", "kind", "status":
			continue
		}
		if at := p.keptField("", field, p.live, p.outcome, p.base, p.known); at != "" {
			return at
		}
	}
	return ""
}

func fieldPath(path, field string) string { return path + "/" + escape.Replace(field) }

// treatment is how a strategic merge treats a field.
type treatment struct {
	// merged: the items of a list are merged. key identifies them.
	merged bool
	key    string
	// retaining: the fields of a struct that a manifest does not set are removed, because they exclude those that it
	// sets.
	retaining bool
}

// belowField is how a strategic merge treats a field, and the contents of it or of its items.
func belowField(known strategicpatch.LookupPatchMeta, field string, list bool) (strategicpatch.LookupPatchMeta, treatment) {
	if known == nil {
		return nil, treatment{}
	}
	lookup := known.LookupPatchMetadataForStruct
	if list {
		lookup = known.LookupPatchMetadataForSlice
	}
	sub, meta, err := lookup(field)
	if err != nil {
		return nil, treatment{} // free-form values
	}
	strategies := meta.GetPatchStrategies()
	return sub, treatment{
		merged: slices.Contains(strategies, "merge"), key: meta.GetPatchMergeKey(), retaining: slices.Contains(strategies, "retainKeys"),
	}
}

// setField returns the path of a value that the manifest sets in a field and the outcome does not have.
func (p *played) setField(path, field string, want, outcome map[string]any, known strategicpatch.LookupPatchMeta) string {
	at := fieldPath(path, field)
	value, got := want[field], outcome[field]
	if value == nil {
		// In a type that the server knows, null is the same as absent. In others it is a value of its own.
		if _, there := outcome[field]; p.known == nil && (!there || got != nil) {
			return at
		}
		return ""
	}
	switch v := value.(type) {
	case map[string]any:
		sub, _ := belowField(known, field, false)
		g, ok := got.(map[string]any)
		if !ok && (len(v) > 0 || got != nil) {
			return at
		}
		return p.setMap(at, v, g, sub)
	case []any:
		g, ok := got.([]any)
		if !ok && len(v) > 0 {
			return at
		}
		if p.same(v, g) {
			return ""
		}
		sub, how := belowField(known, field, true)
		if !how.merged {
			return at
		}
		return p.setItems(at, v, g, how.key, sub)
	}
	if !sameText(value, got) {
		return at
	}
	return ""
}

func (p *played) setMap(path string, want, outcome map[string]any, known strategicpatch.LookupPatchMeta) string {
	for _, field := range names(want, nil) {
		if at := p.setField(path, field, want, outcome, known); at != "" {
			return at
		}
	}
	if rivals := rivalsOf(path, want, outcome); len(rivals) > 0 {
		return fieldPath(path, rivals[0])
	}
	return ""
}

// setItems compares lists that are merged. Two items with the same key are ambiguous.
func (p *played) setItems(path string, want, outcome []any, key string, known strategicpatch.LookupPatchMeta) string {
	if key == "" {
		for _, item := range want {
			if !slices.ContainsFunc(outcome, func(other any) bool { return sameText(item, other) }) {
				return path
			}
		}
		return ""
	}
	have, unique := byKey(outcome, key)
	if _, once := byKey(want, key); !unique || !once {
		return path
	}
	for i, item := range want {
		w, _ := item.(map[string]any)
		if at := p.setMap(path+"/"+strconv.Itoa(i), w, have[w[key]], known); at != "" {
			return at
		}
	}
	return ""
}

// same compares as the server does: null is absent in a type that it knows.
func (p *played) same(a, b any) bool {
	if p.known == nil {
		return sameText(a, b)
	}
	return sameText(withoutNulls(a), withoutNulls(b))
}

// byKey indexes the items of a list; unique is false if two share a key, or an item cannot have one.
func byKey(list []any, key string) (items map[any]map[string]any, unique bool) {
	items, unique = make(map[any]map[string]any, len(list)), true
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok || m[key] == nil || !reflect.TypeOf(m[key]).Comparable() || items[m[key]] != nil {
			unique = false
			continue
		}
		items[m[key]] = m
	}
	return items, unique
}

// keptField returns the path of a value that is gone from a field although no manifest had it.
func (p *played) keptField(path, field string, live, outcome, base map[string]any, known strategicpatch.LookupPatchMeta) string {
	at := fieldPath(path, field)
	value := live[field]
	got, there := outcome[field]
	if reflect.DeepEqual(value, got) {
		return ""
	}
	was, had := base[field]
	switch v := value.(type) {
	case map[string]any:
		sub, how := belowField(known, field, false)
		g, ok := got.(map[string]any)
		w, _ := was.(map[string]any)
		if !ok && had && (there || !open(sub)) {
			return "" // another value, or a struct that is removed with all its fields
		}
		if gone := p.keptMap(at, v, g, w, how.retaining, sub); gone != "" {
			return gone
		}
		if !ok && len(v) == 0 && !there && !had {
			return at
		}
		return ""
	case []any:
		g, _ := got.([]any)
		w, _ := was.([]any)
		if p.same(v, g) {
			return ""
		}
		sub, how := belowField(known, field, true)
		return p.keptItems(at, v, g, w, how, sub)
	}
	if !there && !had {
		return at
	}
	return ""
}

func (p *played) keptMap(path string, live, outcome, base map[string]any, retaining bool, known strategicpatch.LookupPatchMeta) string {
	for _, field := range names(live, nil) {
		if _, there := outcome[field]; retaining && !there {
			continue
		}
		if gone := p.keptField(path, field, live, outcome, base, known); gone != "" {
			return gone
		}
	}
	return ""
}

// open reports whether a map has arbitrary keys, each a field by itself: labels, data, and all of an unknown type.
func open(known strategicpatch.LookupPatchMeta) bool {
	s, ok := known.(strategicpatch.PatchMetaFromStruct)
	if !ok {
		return true
	}
	t := s.T
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Map
}

func (p *played) keptItems(path string, live, outcome, base []any, how treatment, known strategicpatch.LookupPatchMeta) string {
	in := func(list []any) func(any) bool {
		return func(item any) bool {
			return slices.ContainsFunc(list, func(other any) bool { return p.same(item, other) })
		}
	}
	switch {
	case p.known != nil && !how.merged:
		return "" // one value
	case how.key == "": // each item may belong to another manager
		for _, item := range live {
			if !in(outcome)(item) && !in(base)(item) {
				return path
			}
		}
		return ""
	}
	have, unique := byKey(live, how.key)
	after, uniqueAfter := byKey(outcome, how.key)
	before, uniqueBefore := byKey(base, how.key)
	if !unique || !uniqueAfter || !uniqueBefore {
		return path
	}
	for _, item := range live {
		m, _ := item.(map[string]any)
		id := m[how.key]
		switch {
		case after[id] == nil && before[id] == nil:
			return path
		case after[id] != nil:
			if gone := p.keptMap(path, have[id], after[id], before[id], how.retaining, known); gone != "" {
				return gone
			}
		}
	}
	return ""
}

// exclusive are fields that exclude each other, by the name of their struct or list: an object may have at most one of
// them.
var exclusive = map[string][]string{
	"livenessProbe": handlers, "readinessProbe": handlers, "startupProbe": handlers, "postStart": handlers, "preStop": handlers,
	"env": {"value", "valueFrom"}, "valueFrom": {"fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"},
	"backend": {"service", "resource"}, "defaultBackend": {"service", "resource"}, "clientConfig": {"url", "service"},
}

var handlers = []string{"exec", "httpGet", "tcpSocket", "grpc", "sleep"}

// rivalsOf are the fields of have that may not coexist with those of want. Both are at path.
func rivalsOf(path string, want, have map[string]any) []string {
	fields := strings.Split(path, "/")
	last := fields[len(fields)-1]
	if _, err := strconv.Atoi(last); err == nil && len(fields) > 1 {
		last = fields[len(fields)-2]
	}
	group := exclusive[last]
	switch kind := want["type"]; {
	case last == "volumes": // all except the name are sources
		group = slices.DeleteFunc(names(want, have), func(field string) bool { return field == "name" })
	case (last == "strategy" || last == "updateStrategy") && kind != nil && kind != "RollingUpdate":
		group = []string{"type", "rollingUpdate"}
	}
	if !slices.ContainsFunc(group, func(field string) bool { return want[field] != nil }) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(group), func(field string) bool { return want[field] != nil || have[field] == nil })
}
