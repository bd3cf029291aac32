package apply

import (
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Content is one object in a namespace, or of a kind, as far as its metadata tell. Namespace is empty where that goes without saying.
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

// Strangers are those of a namespace's contents that were not placed: neither owned, at whatever remove, by what is in placed (the UIDs of
// AppliedWorks and of what they list), nor made by the cluster for every namespace or for a placed object. Sorted.
func Strangers(contents []Content, placed sets.Set[types.UID]) []string {
	known := placed.Clone()
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
	var out []string
	made := map[types.UID]bool{} // the Endpoints of placed Services, which own slices
	for _, c := range contents {
		if c.Kind == (schema.GroupKind{Kind: "Endpoints"}) && services[c.Name] {
			made[c.UID] = true
		}
	}
	for _, c := range contents {
		ofEndpoints := slices.ContainsFunc(c.Owners, func(ref metav1.OwnerReference) bool { return made[ref.UID] })
		if known.Has(c.UID) || made[c.UID] || ofEndpoints || c.Deleting || ofTheCluster(c) || claimOf(c, statefulSets) {
			continue
		}
		out = append(out, c.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Kept are those of contents that the agent must not delete, sorted.
func Kept(contents []Content) []string {
	var out []string
	for _, c := range contents {
		if !c.Deleting && Keeps(c.Annotations) {
			out = append(out, c.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ofTheCluster says whether the cluster makes such an object in every namespace, or whether it is only a trace of what runs there.
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

// claimOf says whether a volume claim was made from the template of one of these StatefulSets: such claims have no owner, by default.
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
