package validate

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func TestReplicas(t *testing.T) {
	weight := func(key, value string) v1beta1.ClusterWeight {
		return v1beta1.ClusterWeight{ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{key: value}}, Weight: 1}
	}
	deployment := v1beta1.ReplicaKind{Group: "apps", Kind: "Deployment"}
	for name, tc := range map[string]struct {
		policy *v1beta1.ReplicaPolicy
		want   []string
	}{
		"none":          {},
		"the least":     {policy: &v1beta1.ReplicaPolicy{}},
		"equal bounds":  {policy: &v1beta1.ReplicaPolicy{MinPerCluster: ptr.To[int32](2), MaxPerCluster: ptr.To[int32](2)}},
		"only a max":    {policy: &v1beta1.ReplicaPolicy{MaxPerCluster: ptr.To[int32](1)}},
		"only a min":    {policy: &v1beta1.ReplicaPolicy{MinPerCluster: ptr.To[int32](1)}},
		"several kinds": {policy: &v1beta1.ReplicaPolicy{Kinds: []v1beta1.ReplicaKind{deployment, {Group: "other", Kind: "Deployment"}, {Kind: "Deployment"}}}},
		"bounds that leave nothing": {
			policy: &v1beta1.ReplicaPolicy{MinPerCluster: ptr.To[int32](3), MaxPerCluster: ptr.To[int32](2)},
			want:   []string{"p.minPerCluster: Invalid value: 3: it must not be greater than maxPerCluster, which is 2"},
		},
		"a kind twice": {
			policy: &v1beta1.ReplicaPolicy{Kinds: []v1beta1.ReplicaKind{deployment, {Kind: "A"}, deployment}},
			want:   []string{`p.kinds[2]: Duplicate value: "Deployment"`},
		},
		"a selector that selects nothing": {
			policy: &v1beta1.ReplicaPolicy{Weights: []v1beta1.ClusterWeight{weight("a", "b"), weight("a", "a b"), weight("key@1234:", "b")}},
			want: []string{
				`p.weights[1].clusterSelector: Invalid value: matchLabels: Invalid value: "a b": ` + badValue,
				`p.weights[2].clusterSelector: Invalid value: matchLabels: Invalid value: "key@1234:": ` + badKey,
			},
		},
		"a selector with an unknown operator": {
			policy: &v1beta1.ReplicaPolicy{Weights: []v1beta1.ClusterWeight{{ClusterSelector: metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}},
			}}}},
			want: []string{`p.weights[0].clusterSelector: Invalid value: matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator`},
		},
	} {
		t.Run(name, func(t *testing.T) { check(t, Replicas(tc.policy, field.NewPath("p")), tc.want...) })
	}
	p := wide(v1beta1.PlacementSpec{Policy: &v1beta1.PlacementPolicy{
		PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"a"},
		Replicas: &v1beta1.ReplicaPolicy{Kinds: []v1beta1.ReplicaKind{deployment, deployment}},
	}})
	check(t, policy(p.Spec.Policy, field.NewPath("spec", "policy")), `spec.policy.replicas.kinds[1]: Duplicate value: "Deployment"`)
}
