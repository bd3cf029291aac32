package schedule

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// An edit to a policy that cannot be read gives up no cluster. The next one that can be read is decided as usual.
func TestAPolicyThatCannotBeReadGivesUpNothing(t *testing.T) {
	mistyped := labelled("region=east")
	mistyped.LabelSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "region", Operator: "In"}}}
	quantity := v1beta1.ClusterSelectorTerm{PropertySelector: &v1beta1.PropertySelector{MatchExpressions: []v1beta1.PropertySelectorRequirement{
		{Name: "kubernetes-fleet.io/node-count", Operator: v1beta1.PropertySelectorOperatorGt, Values: []string{"many"}},
	}}}
	apart := &v1beta1.PlacementPolicy{Affinity: &v1beta1.Affinity{PlacementAffinity: &v1beta1.PlacementAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []v1beta1.PlacementAffinityTerm{{Relation: v1beta1.PlacementApart}},
	}}}
	for name, edited := range map[string]*v1beta1.PlacementPolicy{
		"a label selector without values":              number(mistyped),
		"beside a term that can be read":               number(labelled("region=west"), mistyped),
		"a property selector without a number":         number(quantity),
		"a placement affinity term about no other one": apart,
	} {
		for _, kind := range []v1beta1.PlacementType{v1beta1.PlacementTypePickAll, v1beta1.PlacementTypePickN} {
			t.Run(name+", "+string(kind), func(t *testing.T) {
				w := pairFleet(t, 2, "a", "b")
				w.failover = nil
				w.policy = edited.DeepCopy()
				w.policy.PlacementType = kind
				w.snapshot++
				d := w.decide()
				w.is("a b", "")
				for _, c := range d.Clusters {
					if c.Selected && !strings.Contains(c.Reason, "cannot be read") {
						t.Errorf("cluster %s: %s", c.ClusterName, c.Reason)
					}
				}
				if d := w.decide(); len(d.Change)+len(d.Create) > 0 {
					t.Errorf("the next decision writes %+v, %+v", d.Change, d.Create)
				}
				w.policy = number(labelled("region=nowhere"))
				w.policy.PlacementType = kind
				w.snapshot++
				w.decide()
				w.is("", "a> b>")
			})
		}
	}
}
