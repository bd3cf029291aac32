package apply

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// overlay returns live with the fields in now as in trial, and without those only in before. now and before are in the
// form of managedFields. Lists that have keys or are sets keep live's order.
func overlay(live, trial any, now, before map[string]any) any {
	if len(now) == 0 && len(before) == 0 {
		return trial
	}
	switch t := trial.(type) {
	case map[string]any:
		if l, ok := live.(map[string]any); ok {
			return overlayMap(l, t, now, before)
		}
	case []any:
		if l, ok := live.([]any); ok {
			return overlayList(l, t, now, before)
		}
	}
	return trial
}

func overlayMap(live, trial, now, before map[string]any) map[string]any {
	out := maps.Clone(live)
	for _, name := range names(now, before) {
		key, isField := strings.CutPrefix(name, "f:")
		if !isField {
			continue
		}
		value, there := trial[key]
		if !there {
			delete(out, key)
			continue
		}
		out[key] = overlay(live[key], value, below(now, name), below(before, name))
	}
	return out
}

func overlayList(live, trial []any, now, before map[string]any) []any {
	out := slices.Clone(live)
	var removed []int
	added := map[int]bool{}
	for _, name := range names(now, before) {
		is, ok := element(name)
		if !ok {
			return trial // addressed by index: such a list is written as a whole
		}
		at, from := slices.IndexFunc(live, is), slices.IndexFunc(trial, is)
		switch {
		case at >= 0 && from >= 0:
			if strings.HasPrefix(name, "k:") {
				out[at] = overlay(live[at], trial[from], below(now, name), below(before, name))
			}
		case at >= 0:
			removed = append(removed, at)
		case from >= 0:
			added[from] = true
		}
	}
	slices.Sort(removed)
	for _, at := range slices.Backward(slices.Compact(removed)) {
		out = slices.Delete(out, at, at+1)
	}
	for _, from := range slices.Sorted(maps.Keys(added)) {
		out = append(out, trial[from])
	}
	return out
}

// element returns a matcher for the list item that a name in managedFields identifies.
func element(name string) (is func(any) bool, ok bool) { return elementLike(name, false) }

// elementLike is element; if lenient, the item may leave out keys.
func elementLike(name string, lenient bool) (is func(any) bool, ok bool) {
	if text, isKey := strings.CutPrefix(name, "k:"); isKey {
		var keys map[string]any
		if json.Unmarshal([]byte(text), &keys) != nil { //nolint:forbidigo // the API server wrote it, and no field of it has a name of ours
			return nil, false
		}
		return func(item any) bool { return keyed(item, keys, lenient) }, true
	}
	if text, isValue := strings.CutPrefix(name, "v:"); isValue {
		var value any
		if json.Unmarshal([]byte(text), &value) != nil { //nolint:forbidigo // the API server wrote it, and no field of it has a name of ours
			return nil, false
		}
		return func(item any) bool { return sameText(item, value) }, true
	}
	return nil, false
}

func below(fields map[string]any, name string) map[string]any {
	child, _ := fields[name].(map[string]any)
	return child
}

// names are the sorted keys of both.
func names(a, b map[string]any) []string {
	out := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(out)
	return slices.Compact(out)
}
