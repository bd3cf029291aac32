package apply

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// openMaps are fields of built-in kinds to which neither API servers nor, as a rule, webhooks add keys. To labels,
// selectors and annotations they do, within our own writes: a Job without labels gets those of its pods, and a
// DaemonSet the annotation deprecated.daemonset.template.generation.
var openMaps = []string{"data", "binaryData"}

// surplus reports whether the live object has fields that we alone own and the manifest does not have: an earlier
// write left them after a wrong merge, and no comparison of two manifests finds them.
func surplus(want, live *unstructured.Unstructured) bool {
	others := ownedBy(live, theirs)
	for _, entry := range live.GetManagedFields() {
		if !ours(entry) || entry.FieldsV1 == nil || entry.APIVersion != live.GetAPIVersion() {
			continue // other versions use other field names
		}
		fields, err := fieldsOf(entry)
		if err != nil {
			continue
		}
		s := excess{exact: entry.Operation == metav1.ManagedFieldsOperationApply, known: typed(live) != nil}
		if s.within("", fields, others, want.Object, live.Object) {
			return true
		}
	}
	return false
}

// excess looks for fields that exist and are not in the manifest.
type excess struct {
	// exact: the fields are those of an apply. Otherwise they may include defaults that the API server set in our
	// writes, and only list items, and keys of maps without defaults, are certain.
	exact bool
	// known: the kind is built in, so that no list has default items.
	known bool
}

func (e excess) within(parent string, fields, others map[string]any, want, live any) bool {
	for name := range fields {
		have, there := member(live, name)
		if name == "." || !there || unmanaged(parent, name) {
			continue
		}
		item := !strings.HasPrefix(name, "f:")
		wanted, inWant := member(want, name)
		if !inWant && !mentions(want, name) {
			if _, shared := others[name]; shared {
				continue
			}
			leaf := len(below(fields, name)) == 0
			if e.exact && leaf || (e.exact || e.known || want != nil) && item || slices.Contains(openMaps, parent) {
				return true
			}
			wanted = nil
		}
		next := strings.TrimPrefix(name, "f:")
		if item {
			next = ""
		}
		if e.within(next, below(fields, name), below(others, name), wanted, have) {
			return true
		}
	}
	return false
}

// mentions reports whether a manifest sets a field, including to null.
func mentions(want any, name string) bool {
	fields, _ := want.(map[string]any)
	_, there := fields[strings.TrimPrefix(name, "f:")]
	return there
}

// unmanaged reports whether a field is outside of every manifest, or belongs to the machinery.
func unmanaged(parent, name string) bool {
	field, isField := strings.CutPrefix(name, "f:")
	switch {
	case !isField:
		return false
	case parent == "" && field == "status", parent == "metadata" && field == "ownerReferences":
		return true
	}
	return (parent == "labels" || parent == "annotations") && (reserved(field) || strings.Contains(field, contract.Prefix))
}
