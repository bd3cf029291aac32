package property

import (
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
