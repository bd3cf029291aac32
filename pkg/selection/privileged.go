package selection

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// privilegedGroups are those whose kinds decide what users may do on a cluster, or what its API server does with their requests. The
// admission policies of the hub's chart name the same.
var privilegedGroups = []string{
	"rbac.authorization.k8s.io",
	"authorization.openshift.io", // serves the same Roles and bindings
	"admissionregistration.k8s.io",
	"apiregistration.k8s.io",
}

// Privileged says whether only authors who hold the verb place-privileged may place objects of a kind.
func Privileged(kind schema.GroupKind) bool {
	return kind == secrets || slices.Contains(privilegedGroups, kind.Group)
}

// Permitted is the selection without privileged objects, and those that were left out.
func (s Selection) Permitted() (Selection, []Ref) {
	var kept, held []Ref
	for _, ref := range s.Refs {
		if Privileged(ref.Kind.GroupKind()) {
			held = append(held, ref)
		} else {
			kept = append(kept, ref)
		}
	}
	s.Refs = kept
	return s, held
}
