package property

import (
	"testing"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/decode"
)

// FuzzRequirement compares any value with any other: whatever a member reports and a policy asks for, there is an answer, wrong input
// meets nothing and says why, the operators agree with each other, and the nearest value meets the requirement.
func FuzzRequirement(f *testing.F) {
	for _, seed := range []struct{ name, value, wanted string }{
		{"kubernetes-fleet.io/node-count", "3", "3000m"},
		{"kubernetes-fleet.io/node-count", "many", "3"},
		{"kubernetes-fleet.io/node-count", "3", ""},
		{"example.com/rating", "-1.5e3", "1Ei"},
		{"resources.kubernetes-fleet.io/available-cpu", "1500m", "2"},
		{"resources.kubernetes-fleet.io/total-ephemeral-storage", "5Gi", "5368709120"},
		{"resources.kubernetes-fleet.io/spare-cpu", "1", "1"},
		{"resources.kubernetes-fleet.io/total", "1", "1"},
		{"", "0.000000001", "1n"},
		{"example.com/rating", "1e10000000", "1e-10000000"},
		{"example.com/rating", "1E99999999999999999999", "9e30"},
		{"resources.kubernetes-fleet.io/total-cpu", "999999999e30", "1"},
	} {
		f.Add(seed.name, seed.value, seed.wanted)
	}
	f.Fuzz(func(t *testing.T, name, value, wanted string) {
		c := cluster(map[string]string{name: value}, nil)
		quantity, readable := decode.Quantity(value)
		if readable {
			Set(c, name, quantity)
		}
		_, sensible := decode.Quantity(wanted)
		met := map[v1beta1.PropertySelectorOperator]bool{}
		for operator := range words {
			r := Parse(v1beta1.PropertySelectorRequirement{Name: name, Operator: operator, Values: []string{wanted}})
			err := r.Check(c)
			met[operator] = err == nil
			if err != nil && err.Error() == "" {
				t.Fatalf("%s: an error without words", operator)
			}
			if err == nil && (!readable || !sensible) {
				t.Fatalf("%q %s %q is met", value, operator, wanted)
			}
			if near, ok := r.Nearest(); ok && Set(c.DeepCopy(), name, near) {
				repaired := c.DeepCopy()
				Set(repaired, name, near)
				if err := r.Check(repaired); err != nil {
					t.Fatalf("the nearest value to meet %s %q is %s: %v", operator, wanted, near.String(), err)
				}
			}
		}
		if _, err := Value(c, name); err != nil || !sensible {
			if met["Eq"] || met["Ne"] || met["Gt"] || met["Ge"] || met["Lt"] || met["Le"] {
				t.Fatalf("%q is compared with %q: %v", value, wanted, met)
			}
			return
		}
		if met["Eq"] == met["Ne"] || met["Ge"] != (met["Gt"] || met["Eq"]) || met["Le"] != (met["Lt"] || met["Eq"]) || met["Gt"] && met["Lt"] {
			t.Fatalf("%q and %q: %v", value, wanted, met)
		}
	})
}
