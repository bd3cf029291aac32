package schedule

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/validate"
	"github.com/flagship-fleet/flagship/pkg/validate/anyspec"
)

// A policy that admission accepts has terms that clusters can be compared with.
func TestAcceptedPoliciesCompile(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		policy := anyspec.Policy(t)
		if len(validate.Placement(&v1beta1.ClusterResourcePlacement{Spec: v1beta1.PlacementSpec{Policy: &policy}}, nil)) > 0 {
			refused++
			return
		}
		accepted++
		var terms []v1beta1.ClusterSelectorTerm
		terms = append(terms, requiredTerms(&policy)...)
		if policy.Affinity != nil {
			for _, p := range policy.Affinity.ClusterAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
				terms = append(terms, p.Preference)
			}
		}
		for _, term := range terms {
			if wrong := compileTerm(term).unreadable(); wrong != nil {
				t.Fatalf("%+v is accepted and cannot be read", term)
			}
		}
		for _, term := range SelectionOf(&policy).terms {
			if term.wrong != nil {
				t.Fatalf("a term is accepted and cannot be read: %v", term.wrong)
			}
		}
	})
	if accepted == 0 || refused == 0 {
		t.Errorf("%d policies are accepted and %d refused", accepted, refused)
	}
}

// The scheduler refuses the label selectors and the requirements that admission refuses, and no others.
func TestTermsAreReadableIfTheyAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		term := anyspec.RequiredTerm(t)
		wrong := len(validate.LabelSelector(term.LabelSelector, nil)) > 0
		if term.PropertySelector != nil {
			for _, r := range term.PropertySelector.MatchExpressions {
				wrong = wrong || len(validate.PropertyRequirement(r, nil)) > 0
			}
		}
		if (compileTerm(term).unreadable() == nil) == wrong {
			t.Fatalf("%+v: wrong %v", term, wrong)
		}
	})
}
