package selection

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// privilegedGroups are the groups whose kinds determine what users may do on a cluster, or how its API server handles
// their requests. The admission policies of the hub's chart have the same list.
var privilegedGroups = []string{
	"rbac.authorization.k8s.io",
	"authorization.openshift.io", // serves the same Roles and bindings
	"admissionregistration.k8s.io",
	"apiregistration.k8s.io",
}

// Privileged reports whether only authors with the verb place-privileged may place objects of a kind.
func Privileged(kind schema.GroupKind) bool {
	return kind == secrets || slices.Contains(privilegedGroups, kind.Group)
}

// Permitted returns the selection without privileged objects, and the omitted objects.
func (s Selection) Permitted() (Selection, []Ref) {
	var kept, withheld []Ref
	for _, ref := range s.Refs {
		if Privileged(ref.Kind.GroupKind()) {
			withheld = append(withheld, ref)
		} else {
			kept = append(kept, ref)
		}
	}
	s.Refs = kept
	return s, withheld
}
