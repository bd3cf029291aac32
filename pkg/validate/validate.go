// Package validate decides what is wrong in what users write: placements, overrides, update strategies and runs,
// evictions, disruption budgets, MemberClusters, envelopes. An object and, where a rule needs them, facts about other
// objects come in as values; a field.ErrorList goes out, with the path, the value and what to write instead. An empty
// list accepts the object.
//
// It has two readers. Admission calls the function named after the kind, and the one with Update for an update. Agents
// call the narrower functions those are made of, because they must go on serving objects that were stored before
// admission existed or past it: what only admission refuses, they carry out as far as it goes. Neither may hold a rule
// of its own about a spec.
//
// What the schemas refuse is not repeated here, except what agents must find in stored objects and what a schema
// cannot see: it compares a policy with the old one only where there are both. The schemas alone refuse selectors with
// both name and labelSelector, fields that do not belong to a placement type (but preferences), numbers, shares and
// times out of range, unknown types, actions and sort orders, values of tolerations with Exists and empty keys
// without, and changes of what an update run, eviction or override names.
//
//	rule                                                          refused by
//	names that labels cannot hold: placement, override            admission, agents
//	label selectors: resources, affinity, overrides, stages       admission, agents
//	terms about other placements, except one that names its own   admission, agents
//	operators and values of property requirements                 admission, agents
//	scope of a selected kind; kinds that the hub does not serve   admission, agents
//	names of properties, contradictions, sorters, tolerations     admission
//	names of PickFixed, preferences of PickAll                    admission
//	rollingUpdate with External, serverSideApplyConfig            admission
//	limits that cannot be read                                    admission, agents
//	changes of placement type and tolerations                     admission
//	selectors of overrides, their number, their overlap           admission
//	override rules: cluster selectors, paths, variables, depth    admission, agents
//	override rules: patches and type, value of remove             admission
//	stages and tasks of update strategies                         admission, agents
//	snapshot index and resumeFrom of update runs                  admission, agents
//	placements that cannot be evicted from                        admission, agents
//	disruption budgets that do not fit the placement type         admission, agents
//	MemberClusters, Pods and the like on the hub                  admission
//	entries and names of envelopes                                admission, agents
//	namespace of a copied status (StatusNamespace)                agents
//	status from many clusters (ReportBack)                        agents
//
// The contract lets users store what only agents refuse; the status of the object, or an event, shows what is wrong.
package validate

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

var (
	specPath = field.NewPath("spec")
	namePath = field.NewPath("metadata", "name")
)

// LabelSelector returns what is wrong in a label selector, nil included; it refuses exactly what
// metav1.LabelSelectorAsSelector does. The order of the list does not depend on that of maps.
func LabelSelector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	wrong := metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, path)
	slices.SortStableFunc(wrong, func(a, b *field.Error) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Error(), b.Error()))
	})
	return wrong
}

// selectorIn returns what is wrong in the label selector of the object at path. Every detail begins with prefix and
// names part and value.
func selectorIn(path *field.Path, s *metav1.LabelSelector, prefix string) (wrong field.ErrorList) {
	for _, mistake := range LabelSelector(s, nil) {
		wrong = append(wrong, field.Invalid(path.Child("labelSelector"), field.OmitValueType{}, prefix+mistake.Error()))
	}
	return wrong
}

// tooLong refuses a name that a label cannot hold.
func tooLong(name, detail string) field.ErrorList {
	if contract.FitsLabel(name) {
		return nil
	}
	return field.ErrorList{{Type: field.ErrorTypeTooLong, Field: namePath.String(), BadValue: name, Detail: detail}}
}

// leaving reports whether an object is being deleted: then nothing wrong in it keeps its finalizers from being
// removed.
func leaving(o metav1.Object) bool { return !o.GetDeletionTimestamp().IsZero() }

// duplicates calls found with the index of each item whose key an earlier item has.
func duplicates[T any, K comparable](items []T, key func(T) K, found func(int)) {
	seen := make(map[K]bool, len(items))
	for i, item := range items {
		k := key(item)
		if seen[k] {
			found(i)
		}
		seen[k] = true
	}
}
