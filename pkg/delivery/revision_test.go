package delivery

import (
	"testing"

	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestSame(t *testing.T) {
	defaults := (*v1beta1.ApplyStrategy)(nil).WithDefaults()
	serverSide := &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeServerSideApply}
	of := func(snapshot string, strategy *v1beta1.ApplyStrategy, o Overrides) v1beta1.Revision {
		return NewRevision(snapshot, o, strategy)
	}
	in := []v1beta1.NamespacedName{{Namespace: "app", Name: "o-1"}}
	for name, tc := range map[string]struct {
		a, b v1beta1.Revision
		same bool
	}{
		"one without defaults":             {of("r", nil, Overrides{}), of("r", &defaults, Overrides{}), true},
		"another snapshot":                 {of("r", nil, Overrides{}), of("s", nil, Overrides{}), false},
		"another strategy":                 {of("r", nil, Overrides{}), of("r", serverSide, Overrides{}), false},
		"no overrides and an empty list":   {of("r", nil, Overrides{}), of("r", nil, Overrides{Cluster: []string{}}), true},
		"another cluster-wide override":    {of("r", nil, Overrides{Cluster: []string{"o-1"}}), of("r", nil, Overrides{Cluster: []string{"o-2"}}), false},
		"an override of a namespace":       {of("r", nil, Overrides{Namespaced: in}), of("r", nil, Overrides{}), false},
		"the fingerprint is no part of it": {of("r", nil, Overrides{Fingerprint: "a"}), of("r", nil, Overrides{Fingerprint: "b"}), true},
	} {
		if got := Same(tc.a, tc.b); got != tc.same || Same(tc.b, tc.a) != got {
			t.Errorf("%s: same %v; want %v", name, got, tc.same)
		}
	}
}

func TestHas(t *testing.T) {
	b := &v1beta1.ClusterResourceBinding{Spec: v1beta1.ResourceBindingSpec{
		State: v1beta1.BindingStateBound, ResourceSnapshotName: "r", ClusterResourceOverrideSnapshots: []string{"o-1"},
		ApplyStrategy: ptr.To((*v1beta1.ApplyStrategy)(nil).WithDefaults()),
	}}
	given := NewRevision("r", Overrides{Cluster: []string{"o-1"}}, nil)
	if !Has(b, given) || Has(b, NewRevision("s", Overrides{Cluster: []string{"o-1"}}, nil)) {
		t.Error("Has does not follow what the binding was given")
	}
	b.Spec.State = v1beta1.BindingStateUnscheduled
	if Has(b, given) {
		t.Error("a binding that is given up counts as bound")
	}
}

func TestOverridesKeep(t *testing.T) {
	of := func(name, fingerprint string) Overrides {
		return Overrides{Cluster: []string{name}, Fingerprint: fingerprint}
	}
	for name, tc := range map[string]struct {
		has, want Overrides
		keeps     bool
	}{
		"the same":                           {of("o-1", "a"), of("o-1", "a"), true},
		"another snapshot":                   {of("o-1", "a"), of("o-2", "a"), false},
		"other labels":                       {of("o-1", "a"), of("o-1", "b"), false},
		"given by who knew of none":          {of("o-1", ""), of("o-1", "b"), true},
		"a label that is gone takes nothing": {of("o-1", "a"), of("o-1", Unresolved), true},
		"a label that has come":              {of("o-1", Unresolved), of("o-1", "a"), false},
	} {
		if got := tc.want.Keeps(tc.has); got != tc.keeps {
			t.Errorf("%s: keeps %v; want %v", name, got, tc.keeps)
		}
	}
}
