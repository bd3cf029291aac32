package validate

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Kinds looks up whether the hub serves a kind in namespaces. The error returns why it does not serve it, or why that
// is not known.
type Kinds func(schema.GroupVersionKind) (namespaced bool, err error)

// Placement returns what is wrong in a placement that is created. Without kinds (nil) selected kinds are not looked
// up.
func Placement(p v1beta1.PlacementObject, kinds Kinds) field.ErrorList {
	spec := p.GetSpec()
	wrong := PlacementName(p.GetName())
	wrong = append(wrong, resourceSelectors(spec.ResourceSelectors, p.GetNamespace() != "", kinds, specPath.Child("resourceSelectors"))...)
	wrong = append(wrong, policy(spec.Policy, specPath.Child("policy"))...)
	wrong = append(wrong, placementAffinity(spec.Policy, p.GetName(), specPath.Child("policy", "affinity", "placementAffinity"))...)
	return append(wrong, strategy(spec.Strategy, specPath.Child("strategy"))...)
}

// PlacementUpdate returns why a placement must not be changed from old to p. What is being deleted may be changed, so
// that finalizers can go, and so may metadata alone, which agents write; and a wrong spec may be changed to a right
// one.
func PlacementUpdate(old, p v1beta1.PlacementObject, kinds Kinds) field.ErrorList {
	if leaving(p) || equality.Semantic.DeepEqual(old.GetSpec(), p.GetSpec()) {
		return nil
	}
	wrong := Placement(p, kinds)
	before, now := old.GetSpec().Policy, p.GetSpec().Policy
	path := specPath.Child("policy")
	if was, is := placementType(before), placementType(now); was != is {
		wrong = append(wrong, field.Invalid(path.Child("placementType"), is,
			fmt.Sprintf("placement type is immutable; keep %s, or create another placement", was)))
	}
	if before != nil && !keepsTolerations(before, now) {
		wrong = append(wrong, field.Forbidden(path.Child("tolerations"),
			"tolerations have been updated/deleted, only additions to tolerations are allowed; restore those there were"))
	}
	return wrong
}

// PlacementName refuses the name of a placement that labels cannot hold.
func PlacementName(name string) field.ErrorList {
	return tooLong(name, fmt.Sprintf("the placement's own name is longer than the %d characters that labels can hold; "+
		"recreate it with a shorter name", contract.MostOfName))
}

// placementType is the type of a policy with the default filled in.
func placementType(p *v1beta1.PlacementPolicy) v1beta1.PlacementType {
	if p == nil || p.PlacementType == "" {
		return v1beta1.PlacementTypePickAll
	}
	return p.PlacementType
}

// Reach is which kinds the selectors of a placement may name.
type Reach int

// Reaches.
const (
	// ReachCluster is that of a ClusterResourcePlacement: cluster-scoped kinds.
	ReachCluster Reach = iota
	// ReachNarrowed is that of one with a namespace selector of scope NamespaceWithResourceSelectors: all kinds.
	ReachNarrowed
	// ReachNamespace is that of a ResourcePlacement: namespaced kinds.
	ReachNamespace
)

// KindScope returns why a placement of this reach must not select a kind of this scope; nothing if it may.
func KindScope(reach Reach, namespaced bool) string {
	switch {
	case reach == ReachNamespace && !namespaced:
		return "the kind is cluster-scoped; a ResourcePlacement carries objects of its own namespace only"
	case reach == ReachCluster && namespaced:
		return "the kind is namespaced; a ClusterResourcePlacement selects such objects with their namespace, " +
			"or with a namespace selector of scope NamespaceWithResourceSelectors"
	}
	return ""
}

func resourceSelectors(terms []v1beta1.ResourceSelectorTerm, namespaced bool, kinds Kinds, path *field.Path) (wrong field.ErrorList) {
	reach := reachOf(terms, namespaced)
	for i, term := range terms {
		at := path.Index(i)
		wrong = append(wrong, LabelSelector(term.LabelSelector, at.Child("labelSelector"))...)
		if kinds != nil {
			wrong = append(wrong, selectedKind(term, reach, kinds, at)...)
		}
	}
	return wrong
}

func reachOf(terms []v1beta1.ResourceSelectorTerm, namespaced bool) Reach {
	if namespaced {
		return ReachNamespace
	}
	for _, term := range terms {
		if Narrows(term) {
			return ReachNarrowed
		}
	}
	return ReachCluster
}

// IsNamespaces reports whether a selector selects namespaces.
func IsNamespaces(term v1beta1.ResourceSelectorTerm) bool {
	return term.Group == "" && term.Kind == "Namespace"
}

// Narrows reports whether a selector of a ClusterResourcePlacement names the namespace in which the other selectors
// look.
func Narrows(term v1beta1.ResourceSelectorTerm) bool {
	return IsNamespaces(term) && term.SelectionScope == v1beta1.SelectionScopeNamespaceWithResourceSelectors
}

func selectedKind(term v1beta1.ResourceSelectorTerm, reach Reach, kinds Kinds, path *field.Path) field.ErrorList {
	kind := schema.GroupVersionKind{Group: term.Group, Version: term.Version, Kind: term.Kind}
	namespaced, err := kinds(kind)
	if err != nil {
		return field.ErrorList{field.Invalid(path, kind.String(), fmt.Sprintf("failed to get GVR of the selector: %v; "+
			"name a group, version and kind that the hub serves", err))}
	}
	why := KindScope(reach, namespaced)
	if why == "" {
		return nil
	}
	if reach == ReachCluster {
		why = "the resource is not found in schema (please retry) or it is not a cluster scoped resource: " + why
	}
	return field.ErrorList{field.Invalid(path, kind.String(), why)}
}

// StatusNamespace returns why the status of a placement with statusReportingScope NamespaceAccessible cannot be
// copied; placed is the namespace that it has placed so far, empty for none. wanted is the namespace that the
// selectors name. Users may store such a spec: the placement's status returns what is wrong.
func StatusNamespace(spec *v1beta1.PlacementSpec, placed string) (wanted string, wrong field.ErrorList) {
	path := specPath.Child("resourceSelectors")
	for i, term := range spec.ResourceSelectors {
		if IsNamespaces(term) {
			wanted, path = term.Name, specPath.Child("resourceSelectors").Index(i).Child("name")
		}
	}
	switch {
	case wanted == "":
		return "", field.ErrorList{field.Required(path, "statusReportingScope NamespaceAccessible copies the status into the selected namespace; "+
			"its selector of kind Namespace must give the namespace's name")}
	case placed != "" && placed != wanted:
		return wanted, field.ErrorList{field.Invalid(path, wanted, fmt.Sprintf("statusReportingScope NamespaceAccessible binds the placement "+
			"to namespace %s, which it has placed; it cannot select namespace %s instead: restore the name, or make another placement for "+
			"that namespace", placed, wanted))}
	}
	return wanted, nil
}
