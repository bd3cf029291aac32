package apply

import (
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Content is the metadata of one object in a namespace, or of a kind. Namespace is empty where it is the same for all.
type Content struct {
	Kind        schema.GroupKind
	Namespace   string
	Name        string
	UID         types.UID
	Owners      []metav1.OwnerReference
	Annotations map[string]string
	Deleting    bool
}

func (c Content) String() string {
	return Key{Kind: c.Kind.Kind, Namespace: c.Namespace, Name: c.Name}.String()
}

// Placed are the UIDs of AppliedWorks and of the objects they list. Held are the objects that stay until the member's
// owner releases them.
type Placed struct{ All, Held sets.Set[types.UID] }

// held reports whether an object stays until it is released. Its annotation is written before the ledger.
func (p Placed) held(c Content) bool {
	switch c.Annotations[contract.AnnotationHeld] {
	case contract.HeldRelease:
		return false
	case contract.HeldYes:
		return true
	}
	return p.Held.Has(c.UID)
}

// InsideOf sorts the contents of a namespace. Strangers are objects that the fleet did not place: they are neither
// owned, directly or indirectly, by an object in placed, nor created by the cluster in every namespace or for a placed
// object. A listed object without an owner was released.
func InsideOf(contents []Content, placed Placed) *Inside {
	out := InsideOfKind(contents, placed)
	known := placed.All.Clone()
	for _, c := range contents {
		owned := slices.ContainsFunc(c.Owners, func(ref metav1.OwnerReference) bool { return placed.All.Has(ref.UID) })
		if placed.held(c) || !owned {
			known.Delete(c.UID)
		}
	}
	out.Strangers = strangers(slices.DeleteFunc(slices.Clone(contents), placed.held), known)
	return out
}

// InsideOfKind sorts the objects of a kind. Objects that the fleet did not place are no strangers: they are deleted
// with the definition.
func InsideOfKind(contents []Content, placed Placed) *Inside {
	return &Inside{Kept: namesOf(contents, func(c Content) bool { return Keeps(c.Annotations) }), Held: namesOf(contents, placed.held)}
}

// namesOf are the sorted names of those contents that which selects and that are not being deleted.
func namesOf(contents []Content, which func(Content) bool) []string {
	var out []string
	for _, c := range contents {
		if !c.Deleting && which(c) {
			out = append(out, c.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// strangers are the contents that no object in known owns, and that the cluster did not create by itself. It adds to
// known.
func strangers(contents []Content, known sets.Set[types.UID]) []string {
	for grew := true; grew; {
		grew = false
		for _, c := range contents {
			if !known.Has(c.UID) && slices.ContainsFunc(c.Owners, func(ref metav1.OwnerReference) bool { return known.Has(ref.UID) }) {
				known.Insert(c.UID)
				grew = true
			}
		}
	}
	services, statefulSets := map[string]bool{}, map[string]bool{}
	for _, c := range contents {
		services[c.Name] = services[c.Name] || known.Has(c.UID) && c.Kind == schema.GroupKind{Kind: "Service"}
		statefulSets[c.Name] = statefulSets[c.Name] || known.Has(c.UID) && c.Kind == schema.GroupKind{Group: "apps", Kind: "StatefulSet"}
	}
	made := map[types.UID]bool{} // the Endpoints of placed Services, which own slices
	for _, c := range contents {
		if c.Kind == (schema.GroupKind{Kind: "Endpoints"}) && services[c.Name] {
			made[c.UID] = true
		}
	}
	return namesOf(contents, func(c Content) bool {
		ofEndpoints := slices.ContainsFunc(c.Owners, func(ref metav1.OwnerReference) bool { return made[ref.UID] })
		return !known.Has(c.UID) && !made[c.UID] && !ofEndpoints && !ofTheCluster(c) && !claimOf(c, statefulSets)
	})
}

// ofTheCluster reports whether the cluster creates such an object in every namespace, or whether it only records
// activity there.
func ofTheCluster(c Content) bool {
	switch c.Kind {
	case schema.GroupKind{Kind: "ConfigMap"}:
		return c.Name == "kube-root-ca.crt" || c.Name == "openshift-service-ca.crt"
	case schema.GroupKind{Kind: "ServiceAccount"}:
		return c.Name == "default"
	case schema.GroupKind{Kind: "Secret"}:
		return c.Annotations["kubernetes.io/service-account.name"] == "default"
	case schema.GroupKind{Kind: "Event"}, schema.GroupKind{Group: "events.k8s.io", Kind: "Event"},
		schema.GroupKind{Group: "coordination.k8s.io", Kind: "Lease"}:
		return true
	}
	return false
}

var numbered = regexp.MustCompile(`^(.+)-[0-9]+$`)

// claimOf reports whether a volume claim was created from the template of one of these StatefulSets: by default such
// claims have no owner.
func claimOf(c Content, statefulSets map[string]bool) bool {
	if c.Kind != (schema.GroupKind{Kind: "PersistentVolumeClaim"}) {
		return false
	}
	base := numbered.FindStringSubmatch(c.Name)
	if base == nil {
		return false
	}
	for name, placed := range statefulSets {
		if placed && strings.HasSuffix(base[1], "-"+name) {
			return true
		}
	}
	return false
}
