package property

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func cluster(properties map[string]string, available corev1.ResourceList) *clusterv1beta1.MemberCluster {
	c := &clusterv1beta1.MemberCluster{}
	c.Status.Properties = map[clusterv1beta1.PropertyName]clusterv1beta1.PropertyValue{}
	for name, value := range properties {
		c.Status.Properties[clusterv1beta1.PropertyName(name)] = clusterv1beta1.PropertyValue{Value: value}
	}
	c.Status.ResourceUsage.Available = available
	return c
}

func TestValue(t *testing.T) {
	c := cluster(map[string]string{"a": "16Gi", "b": "v1.36.3"}, corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("1500m"),
		corev1.ResourceEphemeralStorage: resource.MustParse("5Gi"),
	})
	for name, want := range map[string]string{
		"a":      "16Gi",
		"b":      "",
		"absent": "",
		"resources.kubernetes-fleet.io/available-cpu":               "1500m",
		"resources.kubernetes-fleet.io/available-ephemeral-storage": "5Gi",
		"resources.kubernetes-fleet.io/available-memory":            "",
		"resources.kubernetes-fleet.io/total-cpu":                   "",
		"resources.kubernetes-fleet.io/spare-cpu":                   "",
		"resources.kubernetes-fleet.io/cpu":                         "",
	} {
		got, err := Value(c, name)
		if (err == nil) != (want != "") || err == nil && got.Cmp(resource.MustParse(want)) != 0 {
			t.Errorf("%s: got %s, error %v; want %q", name, got.String(), err, want)
		}
	}
}

// A member's report must not keep the hub busy: expanding these values takes from seconds to forever.
func TestValuesBeyondAllMeasure(t *testing.T) {
	for _, value := range []string{"1e10000000", "1E+99999999", "-1e99999999", "1e-10000000", "1e99999999999999999999", strings.Repeat("9", 65)} {
		c := cluster(map[string]string{"a": value}, nil)
		for _, operator := range []v1beta1.PropertySelectorOperator{"Eq", "Ne", "Gt", "Ge", "Lt", "Le"} {
			r := Parse(v1beta1.PropertySelectorRequirement{Name: "a", Operator: operator, Values: []string{"1"}})
			if err := r.Check(c); err == nil || !strings.Contains(err.Error(), "not a quantity") {
				t.Errorf("%s %s 1: %v; want that it is no quantity", value, operator, err)
			}
			r = Parse(v1beta1.PropertySelectorRequirement{Name: "b", Operator: operator, Values: []string{value}})
			if err := r.Check(c); err == nil || !strings.Contains(err.Error(), "not a quantity") {
				t.Errorf("a policy that wants %s %s: %v; want that it is no quantity", operator, value, err)
			}
		}
	}
	large := cluster(nil, corev1.ResourceList{corev1.ResourceCPU: *resource.NewScaledQuantity(1, 10_000_000)})
	if _, err := Value(large, "resources.kubernetes-fleet.io/available-cpu"); err == nil {
		t.Error("usage beyond all measure is read")
	}
	for _, value := range []string{"1E", "16Ei", "1e3", "1E-3", "9e30", "123456789012345678901234567890"} {
		if _, err := Value(cluster(map[string]string{"a": value}, nil), "a"); err != nil {
			t.Errorf("%s is not read: %v", value, err)
		}
	}
}

func TestChanged(t *testing.T) {
	was := cluster(map[string]string{"same": "1", "rewritten": "2", "gone": "3", "broken": "4", "bad": "x"}, corev1.ResourceList{"cpu": resource.MustParse("1")})
	is := cluster(map[string]string{"same": "1", "rewritten": "2000m", "new": "3", "broken": "y", "bad": "z"}, corev1.ResourceList{"cpu": resource.MustParse("2")})
	got := strings.Join(Changed(was, is), " ")
	if want := "broken gone new resources.kubernetes-fleet.io/available-cpu"; got != want {
		t.Errorf("changed are %s; want %s", got, want)
	}
}

func TestRequirement(t *testing.T) {
	c := cluster(map[string]string{"a": "2"}, nil)
	for _, tc := range []struct {
		name, operator string
		values         []string
		met            bool
	}{
		{"a", "Eq", []string{"2000m"}, true}, {"a", "Eq", []string{"3"}, false},
		{"a", "Ne", []string{"3"}, true}, {"a", "Ne", []string{"2"}, false},
		{"a", "Gt", []string{"1"}, true}, {"a", "Gt", []string{"2"}, false},
		{"a", "Ge", []string{"2"}, true}, {"a", "Ge", []string{"3"}, false},
		{"a", "Lt", []string{"3"}, true}, {"a", "Lt", []string{"2"}, false},
		{"a", "Le", []string{"2"}, true}, {"a", "Le", []string{"1"}, false},
		{"absent", "Ne", []string{"2"}, false},
		{"a", "Eq", nil, false},
		{"a", "Eq", []string{"2", "2"}, false},
		{"a", "Eq", []string{"two"}, false},
		{"a", "Like", []string{"2"}, false},
	} {
		r := Parse(v1beta1.PropertySelectorRequirement{Name: tc.name, Operator: v1beta1.PropertySelectorOperator(tc.operator), Values: tc.values})
		if err := r.Check(c); (err == nil) != tc.met {
			t.Errorf("%s %s %v: %v; want met %v", tc.name, tc.operator, tc.values, err, tc.met)
		}
	}
}

func TestRange(t *testing.T) {
	low, high, between := cluster(map[string]string{"a": "1"}, nil), cluster(map[string]string{"a": "5"}, nil), cluster(map[string]string{"a": "2"}, nil)
	none := cluster(map[string]string{"a": "many"}, nil)
	r := RangeOf([]*clusterv1beta1.MemberCluster{between, none, high, low}, "a")
	for c, want := range map[*clusterv1beta1.MemberCluster]float64{low: 0, between: 0.25, high: 1} {
		if got, ok := r.Share(c); !ok || got != want {
			t.Errorf("share %v, %v; want %v", got, ok, want)
		}
	}
	if _, ok := r.Share(none); ok {
		t.Error("a value that is no quantity has a share")
	}
	if _, ok := RangeOf([]*clusterv1beta1.MemberCluster{low, none}, "a").Share(low); ok {
		t.Error("the only value has a share")
	}
}
