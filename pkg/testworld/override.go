package testworld

import (
	"encoding/json"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Overridden is s with overrides applied: for these clusters, or for all of s if none is named.
func (s Status) Overridden(clusters ...string) Status {
	s.name += " with overrides"
	with := func(conditions []expected) []expected {
		conditions = slices.Clone(conditions)
		for i := range conditions {
			if conditions[i].kind == v1beta1.ConditionOverridden {
				conditions[i].reason = v1beta1.ReasonOverriddenSucceeded
			}
		}
		return conditions
	}
	s.placement = with(s.placement)
	all := map[string][]expected{}
	for c, conditions := range s.clusters {
		all[c] = conditions
		if len(clusters) == 0 || slices.Contains(clusters, c) {
			all[c] = with(conditions)
		}
	}
	s.clusters = all
	return s
}

// OverrideFailed is a placement whose overrides cannot be applied, for any cluster.
func OverrideFailed(clusters ...string) Status {
	return stopped("OVERRIDEFAILED", 2, clusters,
		no(v1beta1.ConditionOverridden, v1beta1.ReasonOverriddenFailed), no(v1beta1.ConditionOverridden, v1beta1.ReasonOverriddenFailed))
}

// SyncFailed is a placement whose overridden content the hub's API server rejects, for every cluster.
func SyncFailed(clusters ...string) Status {
	return stopped("SYNCFAILED", 3, clusters,
		no(v1beta1.ConditionWorkSynchronized, v1beta1.ReasonWorkNotSynchronizedYet),
		no(v1beta1.ConditionWorkSynchronized, v1beta1.ReasonSyncWorkFailed)).Overridden()
}

// stopped is a placement whose first conditions are complete, followed by the given one.
func stopped(name string, at int, clusters []string, placement, cluster expected) Status {
	s := Complete(clusters...)
	s.name = name
	s.placement = append(slices.Clone(completePlacement[:at]), placement)
	for _, c := range clusters {
		s.clusters[c] = append(slices.Clone(completeCluster[:at]), cluster)
	}
	return s
}

// ClusterOverride is a ClusterResourceOverride of a namespace and its contents.
func ClusterOverride(name, namespace string, rules ...v1beta1.OverrideRule) *v1beta1.ClusterResourceOverride {
	return &v1beta1.ClusterResourceOverride{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.ClusterResourceOverrideSpec{
		ClusterResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: namespace}},
		Policy:                   &v1beta1.OverridePolicy{OverrideRules: rules},
	}}
}

// Override is a ResourceOverride of a namespace's config map cm.
func Override(namespace, name string, rules ...v1beta1.OverrideRule) *v1beta1.ResourceOverride {
	return &v1beta1.ResourceOverride{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1beta1.ResourceOverrideSpec{
		ResourceSelectors: []v1beta1.ResourceSelector{{Version: "v1", Kind: "ConfigMap", Name: "cm"}},
		Policy:            &v1beta1.OverridePolicy{OverrideRules: rules},
	}}
}

// Everywhere selects every cluster, where a rule selects by terms.
func Everywhere() []v1beta1.ClusterSelectorTerm { return []v1beta1.ClusterSelectorTerm{} }

// Patching is a rule that patches objects for the clusters of any of the terms.
func Patching(where []v1beta1.ClusterSelectorTerm, patches ...v1beta1.JSONPatchOverride) v1beta1.OverrideRule {
	return v1beta1.OverrideRule{
		ClusterSelector: &v1beta1.ClusterSelector{ClusterSelectorTerms: where}, OverrideType: v1beta1.OverrideTypeJSONPatch, JSONPatchOverrides: patches,
	}
}

// LeavingOut is a rule that keeps objects off the clusters of any of the terms.
func LeavingOut(where ...v1beta1.ClusterSelectorTerm) v1beta1.OverrideRule {
	return v1beta1.OverrideRule{ClusterSelector: &v1beta1.ClusterSelector{ClusterSelectorTerms: where}, OverrideType: v1beta1.OverrideTypeDelete}
}

// Patch is one operation; a nil value is omitted.
func Patch(op v1beta1.JSONPatchOperator, path string, value any) v1beta1.JSONPatchOverride {
	p := v1beta1.JSONPatchOverride{Operator: op, Path: path}
	if value != nil {
		raw, err := json.Marshal(value)
		if err != nil {
			panic(err) // a test's own value
		}
		p.Value = apiextensionsv1.JSON{Raw: raw}
	}
	return p
}

// Annotating adds the whole map of annotations with one entry, for an object without annotations.
func Annotating(key, value string) v1beta1.JSONPatchOverride {
	return Patch(v1beta1.JSONPatchAdd, "/metadata/annotations", map[string]string{key: value})
}

// NotAvailable is a placement that is applied on clusters and not available on any.
func NotAvailable(clusters ...string) Status {
	return stopped("NOTAVAILABLE", 5, clusters,
		no(v1beta1.ConditionAvailable, v1beta1.ReasonResourceNotAvailableYet), no(v1beta1.ConditionAvailable, v1beta1.ReasonNotAllWorkAreAvailable))
}
