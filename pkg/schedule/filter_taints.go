package schedule

import (
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/failover"
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
		if !failover.PatienceFor(f.tolerations, taint).Tolerated {
			return &untolerated{taint: &cluster.Spec.Taints[i]}
		}
	}
	return nil
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
	removal := t.member("remove taint "+taintText(taint), func(c *clusterv1beta1.MemberCluster) {
		c.Spec.Taints = slices.DeleteFunc(c.Spec.Taints, func(other clusterv1beta1.Taint) bool { return other == taint })
	})
	if objection.limited {
		return []trial{removal, t.tolerate(taint)}
	}
	return []trial{
		removal,
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

// tolerate returns t with a taint tolerated for ever that was tolerated for a time, which does not create another
// snapshot.
func (t trial) tolerate(taint clusterv1beta1.Taint) trial {
	t = t.with("policy", "remove tolerationSeconds from what tolerates taint "+taintText(taint))
	t.Policy = t.Policy.DeepCopy()
	for i, toleration := range t.Policy.Tolerations {
		if failover.Matches(toleration, taint) {
			t.Policy.Tolerations[i].TolerationSeconds = nil
		}
	}
	return t
}

// untolerated is the objection to a taint that is not tolerated, or, if it is limited, for a time only.
type untolerated struct {
	taint   *clusterv1beta1.Taint
	limited bool
	limit   time.Duration
}

func (u *untolerated) Error() string {
	if u.limited {
		return fmt.Sprintf("its taint %s is tolerated for %d s only", taintText(*u.taint), int64(u.limit.Seconds()))
	}
	return fmt.Sprintf("its taint %s is not tolerated", taintText(*u.taint))
}

// passing returns the objection to a cluster with an evicting taint that the policy tolerates for a time only: the
// placement would have to leave it again. A cluster that an older policy picked stays until that time.
func (r *run) passing(cluster string) *Objection {
	if r.rules == nil {
		return nil
	}
	l := r.rules.Tainted(r.clusters[r.at[cluster]])
	if _, has := r.obsolete[cluster]; l.Taint == nil || has && !l.Now {
		return nil
	}
	patience := failover.PatienceFor(r.rules.Tolerations, *l.Taint)
	return &Objection{FilterTaints, &untolerated{taint: l.Taint, limited: patience.Limited, limit: patience.Limit}}
}

func taintText(t clusterv1beta1.Taint) string {
	text := fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect)
	if t.Evict {
		text += ",evict"
	}
	return text
}
