package validate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// mostOverrides is how many ClusterResourceOverrides there may be, and how many ResourceOverrides in a namespace.
const mostOverrides = 100

// Override returns what is wrong in an override that is created. others are those of its kind, and of its namespace,
// as they are now.
func Override(o v1beta1.OverrideObject, others []v1beta1.OverrideObject) field.ErrorList {
	wrong := override(o, others)
	if len(others) >= mostOverrides {
		text := "clusterResourceOverride limit has been reached: at most %d cluster resources can be created; delete one that is not needed"
		if o.GetNamespace() != "" {
			text = "resourceOverride limit has been reached: at most %d resources can be created; delete one of the namespace that is not needed"
		}
		wrong = append(wrong, field.Forbidden(namePath, fmt.Sprintf(text, mostOverrides)))
	}
	return wrong
}

// OverrideUpdate returns why an override must not be changed from old to o. What is being deleted may be changed, and
// so may metadata alone. others may hold the override itself.
func OverrideUpdate(old, o v1beta1.OverrideObject, others []v1beta1.OverrideObject) field.ErrorList {
	if leaving(o) || equality.Semantic.DeepEqual(selectorsOf(old), selectorsOf(o)) && equality.Semantic.DeepEqual(old.GetPolicy(), o.GetPolicy()) {
		return nil
	}
	return override(o, others)
}

func override(o v1beta1.OverrideObject, others []v1beta1.OverrideObject) field.ErrorList {
	wrong := overrideName(o.GetName())
	wrong = append(wrong, overrideSelectors(o, others)...)
	return append(wrong, overridePolicy(o.GetPolicy(), specPath.Child("policy", "overrideRules"))...)
}

// OverrideSnapshot returns why no snapshot can be made of an override: of its name, with type field.ErrorTypeTooLong,
// or of the depth of a value, whose copies could not be read again.
func OverrideSnapshot(o v1beta1.OverrideObject) field.ErrorList {
	wrong := overrideName(o.GetName())
	path := specPath.Child("policy", "overrideRules")
	for i, rule := range rulesOf(o.GetPolicy()) {
		for j, patch := range rule.JSONPatchOverrides {
			wrong = append(wrong, depth(patch.Value.Raw, path.Index(i).Child("jsonPatchOverrides").Index(j).Child("value"))...)
		}
	}
	return wrong
}

func rulesOf(p *v1beta1.OverridePolicy) []v1beta1.OverrideRule {
	if p == nil {
		return nil
	}
	return p.OverrideRules
}

func overrideName(name string) field.ErrorList {
	return tooLong(name, fmt.Sprintf("its name is longer than the %d characters that its snapshots can carry in a label; "+
		"recreate it with a shorter name", contract.MostOfName))
}

// selectorsOf are the selectors of an override of either kind, and where they are.
func selectorsOf(o v1beta1.OverrideObject) (terms []v1beta1.ResourceSelectorTerm) {
	switch o := o.(type) {
	case *v1beta1.ClusterResourceOverride:
		return o.Spec.ClusterResourceSelectors
	case *v1beta1.ResourceOverride:
		for _, s := range o.Spec.ResourceSelectors {
			terms = append(terms, v1beta1.ResourceSelectorTerm{Group: s.Group, Version: s.Version, Kind: s.Kind, Name: s.Name})
		}
	}
	return terms
}

// target is what a selector of an override selects. Two selectors of one namespace with other scopes are not the same.
type target struct {
	group, version, kind, name string
	scope                      v1beta1.SelectionScope
}

func targetOf(t v1beta1.ResourceSelectorTerm) target {
	out := target{t.Group, t.Version, t.Kind, t.Name, t.SelectionScope}
	if out.scope == v1beta1.SelectionScopeNamespaceWithResources { // the default
		out.scope = ""
	}
	return out
}

func (t target) String() string {
	return strings.TrimPrefix(t.group+"/"+t.version, "/") + " " + t.kind + " " + t.name
}

func overrideSelectors(o v1beta1.OverrideObject, others []v1beta1.OverrideObject) (wrong field.ErrorList) {
	path := specPath.Child("clusterResourceSelectors")
	if o.GetNamespace() != "" {
		path = specPath.Child("resourceSelectors")
	}
	taken := takenBy(others, o.GetName())
	seen := map[target]bool{}
	for i, term := range selectorsOf(o) {
		at, t := path.Index(i), targetOf(term)
		switch {
		case term.LabelSelector != nil:
			wrong = append(wrong, field.Forbidden(at.Child("labelSelector"), "label selector is not supported for resource selection; "+
				"name the resource"))
			continue
		case term.Name == "":
			wrong = append(wrong, field.Required(at.Child("name"), "resource name is required for resource selection"))
			continue
		case seen[t]:
			wrong = append(wrong, field.Invalid(at, t.String(), fmt.Sprintf("resource selector %s already exists, and must be unique", t)))
			continue
		}
		seen[t] = true
		if other := taken[t]; other != "" {
			wrong = append(wrong, field.Invalid(at, t.String(), fmt.Sprintf("invalid resource selector %s: the resource has been selected by both "+
				"%s and %s, which is not supported; change the rules of %s instead", t, o.GetName(), other, other)))
		}
	}
	return wrong
}

// takenBy is which override selects what, the first by name if several do. The one called name does not count.
func takenBy(others []v1beta1.OverrideObject, name string) map[target]string {
	out := map[target]string{}
	for _, other := range others {
		if other.GetName() == name {
			continue
		}
		for _, term := range selectorsOf(other) {
			if by, ok := out[targetOf(term)]; !ok || other.GetName() < by {
				out[targetOf(term)] = other.GetName()
			}
		}
	}
	return out
}

func overridePolicy(p *v1beta1.OverridePolicy, path *field.Path) (wrong field.ErrorList) {
	for i, rule := range rulesOf(p) {
		at := path.Index(i)
		if rule.ClusterSelector != nil {
			for j, term := range rule.ClusterSelector.ClusterSelectorTerms {
				wrong = append(wrong, OverrideTerm(term, at.Child("clusterSelector", "clusterSelectorTerms").Index(j))...)
			}
		}
		patches := at.Child("jsonPatchOverrides")
		switch {
		case rule.OverrideType == v1beta1.OverrideTypeDelete && len(rule.JSONPatchOverrides) > 0:
			wrong = append(wrong, field.Forbidden(patches, "a rule of type Delete leaves the object out and cannot patch it; "+
				"remove the patches, or use type JSONPatch"))
		case rule.OverrideType != v1beta1.OverrideTypeDelete && len(rule.JSONPatchOverrides) == 0:
			wrong = append(wrong, field.Required(patches, "a rule of type JSONPatch needs a patch; add one, or use type Delete"))
		}
		for j, patch := range rule.JSONPatchOverrides {
			wrong = append(wrong, jsonPatch(patch, patches.Index(j))...)
		}
	}
	return wrong
}

// OverrideTerm returns why clusters cannot be selected by a term of an override rule.
func OverrideTerm(term v1beta1.ClusterSelectorTerm, path *field.Path) field.ErrorList {
	if term.LabelSelector == nil || term.PropertySelector != nil || term.PropertySorter != nil {
		return field.ErrorList{field.Forbidden(path, "only labelSelector is supported in an override's clusterSelectorTerms, and it must be set")}
	}
	return selectorIn(path, term.LabelSelector, "labelSelector: ")
}

func jsonPatch(p v1beta1.JSONPatchOverride, path *field.Path) (wrong field.ErrorList) {
	if err := PatchPath(p.Path); err != nil {
		wrong = append(wrong, field.Invalid(path.Child("path"), p.Path, err.Error()))
	}
	// Errors about a value do not quote it: it may be of a Secret.
	at := path.Child("value")
	if p.Operator == v1beta1.JSONPatchRemove {
		if len(p.Value.Raw) > 0 {
			wrong = append(wrong, field.Forbidden(at, "remove operation cannot have value"))
		}
		return wrong
	}
	wrong = append(wrong, depth(p.Value.Raw, at)...)
	if _, err := SplitVariables(string(p.Value.Raw), someCluster); err != nil {
		wrong = append(wrong, field.Invalid(at, field.OmitValueType{}, err.Error()))
	}
	return wrong
}

func depth(raw []byte, path *field.Path) field.ErrorList {
	if !decode.Deep(raw) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, field.OmitValueType{}, fmt.Sprintf("is nested deeper than %d levels; make it flatter", decode.MaxDepth))}
}

// PatchPath returns why a patch must not have this path: with it an override would make another object, in another
// place than it may, of the one it selects.
func PatchPath(path string) error {
	if path == "" {
		return errors.New("path cannot be empty")
	}
	if !strings.HasPrefix(path, "/") {
		return errors.New("path must start with /")
	}
	segments := strings.Split(path[1:], "/")
	if slices.ContainsFunc(segments, func(s string) bool { return strings.TrimSpace(s) == "" }) {
		return errors.New("path cannot contain empty string")
	}
	switch segments[0] {
	case "kind", "apiVersion":
		return errors.New("cannot override typeMeta fields")
	case "status":
		return errors.New("cannot override status fields")
	case "metadata":
		if len(segments) < 2 || segments[1] != "annotations" && segments[1] != "labels" {
			return errors.New("cannot override metadata fields except annotations and labels")
		}
	}
	return nil
}

// Variables in the values of patches.
const (
	variableName = "${MEMBER-CLUSTER-NAME}"
	// VariableLabelPrefix starts a variable for the value of a label of the cluster: the key and } follow.
	VariableLabelPrefix = "${MEMBER-CLUSTER-LABEL-KEY-"
)

// someCluster stands for the name of any cluster.
const someCluster = "c"

// Piece is text, and the key of the label whose value follows it; an empty key if nothing does.
type Piece struct{ Text, Label string }

// SplitVariables cuts the value of a patch, with the name of the cluster filled in, at the variables for labels. The
// error does not quote the value.
func SplitVariables(value, cluster string) (pieces []Piece, err error) {
	value = strings.ReplaceAll(value, variableName, cluster)
	for {
		text, rest, found := strings.Cut(value, VariableLabelPrefix)
		if !found {
			return append(pieces, Piece{Text: text}), nil
		}
		key, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, fmt.Errorf("the variable that starts with %s has no closing }", VariableLabelPrefix)
		}
		if len(validation.IsQualifiedName(key)) > 0 { // more of the value than was meant, which must not be quoted
			return nil, fmt.Errorf("the variable that starts with %s has no closing }, or what is before it cannot be the key of a label",
				VariableLabelPrefix)
		}
		pieces, value = append(pieces, Piece{Text: text, Label: key}), after
	}
}
