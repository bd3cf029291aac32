package property

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// ledgerKind is the kind of the objects that own applied objects.
const ledgerKind = "AppliedWork"

// mostNamespaces is how many namespaces of a cluster are reported: the list is part of an object that every heartbeat
// writes.
const mostNamespaces = 200

// space holds the needed fields of a Namespace.
type space struct {
	metav1.ObjectMeta
	// owner is the name of the AppliedWork that placed it; "" for none.
	owner string
	// going is whether it is being deleted.
	going bool
}

func spaceOf(n *metav1.PartialObjectMetadata) *space {
	small := &space{ObjectMeta: identity(&n.ObjectMeta), going: !n.DeletionTimestamp.IsZero()}
	small.CreationTimestamp = n.CreationTimestamp
	i := slices.IndexFunc(n.OwnerReferences, func(o metav1.OwnerReference) bool {
		group, err := schema.ParseGroupVersion(o.APIVersion)
		return err == nil && group.Group == placementv1beta1.GroupVersion.Group && o.Kind == ledgerKind
	})
	if i >= 0 {
		small.owner = n.OwnerReferences[i].Name
	}
	return small
}

// spaces are the namespaces of a cluster by name, without those that are being deleted.
type spaces map[string]*space

// move replaces was by is, and reports whether the result differs; nil is an absent namespace.
func (s spaces) move(was, is *space) bool {
	if is == nil || is.going {
		gone := is
		if gone == nil {
			gone = was
		}
		_, there := s[gone.Name]
		delete(s, gone.Name)
		return there
	}
	before := s[is.Name]
	s[is.Name] = is
	return before == nil || before.owner != is.owner
}

// names are the namespaces to report, at most most, with their owners, and the number of those left out: the youngest,
// so that reported namespaces stay when others are added, and so that a restarted agent reports the same.
func (s spaces) names(most int) (names map[string]string, left int) {
	sorted := make([]*space, 0, len(s))
	for _, n := range s {
		sorted = append(sorted, n)
	}
	slices.SortFunc(sorted, func(a, b *space) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	left = max(0, len(sorted)-most)
	names = make(map[string]string, len(sorted)-left)
	for _, n := range sorted[:len(sorted)-left] {
		names[n.Name] = n.owner
	}
	return names, left
}
