package validate

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func policy(p *v1beta1.PlacementPolicy, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	wrong := append(Replicas(p.Replicas, path.Child("replicas")), failoverState(p.Failover, path.Child("failover"))...)
	// The schema refuses the other fields that do not belong to a type.
	if placementType(p) == v1beta1.PlacementTypePickFixed {
		return append(wrong, clusterNames(p.ClusterNames, path.Child("clusterNames"))...)
	}
	wrong = append(wrong, affinity(p, path.Child("affinity", "clusterAffinity"))...)
	return append(wrong, tolerations(p.Tolerations, path.Child("tolerations"))...)
}

// clusterNames checks those of PickFixed. Each is the name of a MemberCluster, which becomes the value of a label.
// None is no mistake: a placement may be created before its clusters are known.
func clusterNames(names []string, path *field.Path) (wrong field.ErrorList) {
	for i, name := range names {
		for _, problem := range validation.IsDNS1123Subdomain(name) {
			wrong = append(wrong, field.Invalid(path.Index(i), name, problem))
		}
		if most := validation.LabelValueMaxLength; len(name) > most {
			wrong = append(wrong, field.TooLong(path.Index(i), name, most))
		}
	}
	duplicates(names, func(name string) string { return name }, func(i int) {
		wrong = append(wrong, field.Duplicate(path.Index(i), names[i]))
	})
	return wrong
}

func affinity(p *v1beta1.PlacementPolicy, path *field.Path) (wrong field.ErrorList) {
	if p.Affinity == nil || p.Affinity.ClusterAffinity == nil {
		return nil
	}
	a := p.Affinity.ClusterAffinity
	if required := a.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		at := path.Child("requiredDuringSchedulingIgnoredDuringExecution", "clusterSelectorTerms")
		for i, term := range required.ClusterSelectorTerms {
			wrong = append(wrong, requiredTerm(term, at.Index(i))...)
		}
	}
	at := path.Child("preferredDuringSchedulingIgnoredDuringExecution")
	if preferred := a.PreferredDuringSchedulingIgnoredDuringExecution; len(preferred) > 0 && placementType(p) == v1beta1.PlacementTypePickAll {
		return append(wrong, field.Forbidden(at, "placement type PickAll chooses every cluster that matches and prefers none; "+
			"remove the preferences, or use PickN"))
	}
	for i, preferred := range a.PreferredDuringSchedulingIgnoredDuringExecution {
		wrong = append(wrong, preferredTerm(preferred.Preference, at.Index(i).Child("preference"))...)
	}
	return wrong
}

func requiredTerm(term v1beta1.ClusterSelectorTerm, path *field.Path) field.ErrorList {
	wrong := selectorIn(path, term.LabelSelector, fmt.Sprintf("the labelSelector in cluster selector %s is invalid: ", path))
	if term.PropertySelector != nil {
		wrong = append(wrong, propertySelector(*term.PropertySelector, path.Child("propertySelector", "matchExpressions"))...)
	}
	if term.PropertySorter != nil {
		wrong = append(wrong, field.Forbidden(path.Child("propertySorter"), "a sorter ranks clusters, and a required term does not; "+
			"use it in a preferred term"))
	}
	return wrong
}

func preferredTerm(term v1beta1.ClusterSelectorTerm, path *field.Path) field.ErrorList {
	wrong := selectorIn(path, term.LabelSelector, fmt.Sprintf("the labelSelector in preferred cluster selector %s is invalid: ", path))
	if term.PropertySelector != nil {
		wrong = append(wrong, field.Forbidden(path.Child("propertySelector"), "a preferred term selects by labels and ranks by a "+
			"propertySorter; use a propertySelector in a required term"))
	}
	if term.PropertySorter != nil {
		wrong = append(wrong, propertyName(term.PropertySorter.Name, path.Child("propertySorter", "name"))...)
	}
	return wrong
}

func tolerations(list []v1beta1.Toleration, path *field.Path) (wrong field.ErrorList) {
	for i, t := range list {
		at := path.Index(i)
		if t.Key != "" {
			for _, problem := range validation.IsQualifiedName(t.Key) {
				wrong = append(wrong, field.Invalid(at.Child("key"), t.Key, problem))
			}
		}
		for _, problem := range validation.IsValidLabelValue(t.Value) {
			wrong = append(wrong, field.Invalid(at.Child("value"), t.Value, problem))
		}
	}
	duplicates(list, whole, func(i int) { wrong = append(wrong, field.Duplicate(path.Index(i), list[i])) })
	return wrong
}

// whole is a toleration with its default filled in, and without tolerationSeconds, which may be changed.
func whole(t v1beta1.Toleration) v1beta1.Toleration {
	t.Operator, t.TolerationSeconds = cmp.Or(t.Operator, corev1.TolerationOpEqual), nil
	return t
}

func keepsTolerations(before, now *v1beta1.PlacementPolicy) bool {
	kept := sets.New[v1beta1.Toleration]()
	if now != nil {
		for _, t := range now.Tolerations {
			kept.Insert(whole(t))
		}
	}
	return !slices.ContainsFunc(before.Tolerations, func(t v1beta1.Toleration) bool { return !kept.Has(whole(t)) })
}
