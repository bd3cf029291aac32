package selection

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Interest is a set of objects that can matter to a placement.
type Interest struct {
	Kind schema.GroupKind
	// Namespace is where the objects are; empty for a cluster-scoped kind.
	Namespace string
	// Name is the one object that matters. If it is empty, those that Matches accepts do.
	Name    string
	Matches labels.Selector
	// Contents means that, Kind being Namespace, everything in the namespaces matters too.
	Contents bool
}

// Interests are the objects that can matter to a placement in namespace (none: a cluster-wide one) with these terms. A term that
// Select will refuse has none: nothing but an edit of the placement can help.
func (r Rules) Interests(terms []v1beta1.ResourceSelectorTerm, namespace string) []Interest {
	within := namespace
	var out []Interest
	for _, term := range terms {
		s, err := parse(term)
		if err == nil && namespace == "" && s.narrows() {
			within = s.Name
		}
	}
	for _, term := range terms {
		s, err := parse(term)
		if err != nil || r.disabled(s.gvk()) {
			continue
		}
		interest := Interest{Kind: s.gvk().GroupKind(), Namespace: within, Name: s.Name, Matches: s.matches}
		if s.ofNamespaces() {
			interest.Namespace = ""
			interest.Contents = namespace == "" && s.withContents()
		}
		out = append(out, interest)
	}
	return out
}
