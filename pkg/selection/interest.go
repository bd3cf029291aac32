package selection

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Interest is a set of objects whose changes may affect a placement.
type Interest struct {
	Kind schema.GroupKind
	// Namespace is the namespace of the objects; empty for a cluster-scoped kind.
	Namespace string
	// Name is the name of the object. If it is empty, the objects that Matches accepts are in the set.
	Name    string
	Matches labels.Selector
	// Contents is true if, for Kind Namespace, everything in the namespaces is in the set, too.
	Contents bool
}

// Interests returns the objects whose changes may affect a placement in namespace (empty for a cluster-wide placement)
// with these terms. A term that Select refuses has none, because only an edit of the placement can help.
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
