package validate

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// placementAffinity checks the terms about other placements; own is the name of the placement with the policy.
func placementAffinity(p *v1beta1.PlacementPolicy, own string, path *field.Path) (wrong field.ErrorList) {
	if p == nil || p.Affinity == nil || p.Affinity.PlacementAffinity == nil {
		return nil
	}
	a := p.Affinity.PlacementAffinity
	term := func(t v1beta1.PlacementAffinityTerm, at *field.Path) {
		wrong = append(wrong, PlacementAffinityTerm(t, at)...)
		if t.Name != "" && t.Name == own {
			wrong = append(wrong, field.Invalid(at.Child("name"), t.Name, "this is the placement itself, which never counts for its own terms; "+
				"name another placement"))
		}
	}
	for i, t := range a.RequiredDuringSchedulingIgnoredDuringExecution {
		term(t, path.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i))
	}
	for i, t := range a.PreferredDuringSchedulingIgnoredDuringExecution {
		term(t.Preference, path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"))
	}
	return wrong
}

// PlacementAffinityTerm returns what is wrong in a term about other placements. The schema refuses most of it, but
// agents find it in objects that were stored without the schema.
func PlacementAffinityTerm(t v1beta1.PlacementAffinityTerm, path *field.Path) (wrong field.ErrorList) {
	if t.Relation != v1beta1.PlacementWith && t.Relation != v1beta1.PlacementApart {
		wrong = append(wrong, field.NotSupported(path.Child("relation"), t.Relation,
			[]v1beta1.PlacementRelation{v1beta1.PlacementWith, v1beta1.PlacementApart}))
	}
	if (t.Name != "") == (t.Selector != nil) {
		wrong = append(wrong, field.Invalid(path, field.OmitValueType{}, "set either name or selector"))
	}
	if t.Name != "" {
		for _, problem := range validation.IsDNS1123Subdomain(t.Name) {
			wrong = append(wrong, field.Invalid(path.Child("name"), t.Name, fmt.Sprintf("no placement can have this name; %s", problem)))
		}
	}
	if t.Selector != nil {
		wrong = append(wrong, LabelSelector(t.Selector, path.Child("selector"))...)
	}
	if t.TopologyKey != "" {
		for _, problem := range validation.IsQualifiedName(t.TopologyKey) {
			wrong = append(wrong, field.Invalid(path.Child("topologyKey"), t.TopologyKey, problem))
		}
	}
	return wrong
}
