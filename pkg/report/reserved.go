package report

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// InReserved is the message for an object in a reserved namespace: why the fleet ignores it, and what its owner can
// do.
func InReserved(namespace string) string {
	return fmt.Sprintf("Ignored: namespace %s is reserved for the fleet and Kubernetes (fleet-*, kube-*); "+
		"delete this object, and create it in another namespace if you need it", namespace)
}

// Reserved sets the condition with InReserved on an object of a reserved namespace. The other conditions stay. set is
// false for kinds without such a condition.
func Reserved(obj metav1.Object, now metav1.Time) (set bool) {
	var conditions *[]metav1.Condition
	var kind string
	switch o := obj.(type) {
	case v1beta1.PlacementObject:
		conditions, kind = o.GetConditions(), o.ConditionType(v1beta1.ConditionScheduled)
	case v1beta1.BindingObject:
		conditions, kind = o.GetConditions(), v1beta1.ConditionWorkSynchronized
	case v1beta1.UpdateRunObject:
		conditions, kind = o.GetConditions(), v1beta1.ConditionInitialized
	case v1beta1.EvictionObject:
		if !EvictionEnded(o) {
			Eviction(o, EvictionFacts{Message: InReserved(o.GetNamespace())}, now)
		}
		return true
	default:
		return false
	}
	wanted := no(obj.GetGeneration(), kind, v1beta1.ReasonReservedNamespace, InReserved(obj.GetNamespace()))
	wanted.LastTransitionTime = now
	meta.SetStatusCondition(conditions, wanted)
	return true
}
