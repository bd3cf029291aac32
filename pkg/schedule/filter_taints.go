package schedule

import (
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// FilterTaints passes the clusters whose taints the policy tolerates.
const FilterTaints Filter = "TaintToleration"

const topicTaints = "taints"

type taintToleration struct {
	alone
	tolerations []v1beta1.Toleration
}

func (taintToleration) name() Filter { return FilterTaints }

func (taintToleration) of(policy *v1beta1.PlacementPolicy, _ string) filter {
	if isFixed(policy) {
		return nil
	}
	return taintToleration{tolerations: policy.Tolerations}
}

func (f taintToleration) check(cluster *clusterv1beta1.MemberCluster, _ time.Time) error {
	for i, taint := range cluster.Spec.Taints {
		if !tolerates(f.tolerations, taint) {
			return &untolerated{&cluster.Spec.Taints[i]}
		}
	}
	return nil
}

func tolerates(tolerations []v1beta1.Toleration, taint clusterv1beta1.Taint) bool {
	for _, t := range tolerations {
		if t.Effect != "" && t.Effect != taint.Effect {
			continue
		}
		if t.Operator == corev1.TolerationOpExists {
			if t.Key == "" || t.Key == taint.Key {
				return true
			}
			continue
		}
		if t.Key == taint.Key && t.Value == taint.Value {
			return true
		}
	}
	return false
}

func (taintToleration) watches() []string { return []string{topicTaints} }

func (taintToleration) changes(c ClusterChange) []string {
	if slices.Equal(c.was.Spec.Taints, c.is.Spec.Taints) {
		return nil
	}
	return []string{topicTaints}
}

func (taintToleration) repairs(t trial, cause error) []trial {
	var objection *untolerated
	if !errors.As(cause, &objection) {
		return nil
	}
	taint := *objection.taint
	return []trial{
		t.member("remove taint "+taintText(taint), func(c *clusterv1beta1.MemberCluster) {
			c.Spec.Taints = slices.DeleteFunc(c.Spec.Taints, func(other clusterv1beta1.Taint) bool { return other == taint })
		}),
		t.policy("tolerate taint "+taintText(taint), func(p *v1beta1.PlacementPolicy) {
			p.Tolerations = append(p.Tolerations, v1beta1.Toleration{
				Key: taint.Key, Operator: corev1.TolerationOpEqual, Value: taint.Value, Effect: taint.Effect,
			})
		}),
	}
}

func (taintToleration) exclusions(t trial) []trial {
	taint := clusterv1beta1.Taint{Key: "example.com/keep-off", Value: "true", Effect: corev1.TaintEffectNoSchedule}
	return []trial{t.member("add a taint that the policy does not tolerate", func(c *clusterv1beta1.MemberCluster) {
		c.Spec.Taints = append(c.Spec.Taints, taint)
	})}
}

// untolerated is the objection to a taint.
type untolerated struct{ taint *clusterv1beta1.Taint }

func (u *untolerated) Error() string {
	return fmt.Sprintf("its taint %s is not tolerated", taintText(*u.taint))
}

func taintText(t clusterv1beta1.Taint) string {
	return fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect)
}
