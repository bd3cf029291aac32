package report

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// Inventory describes a member cluster.
type Inventory struct {
	// Properties by name.
	Properties map[v1beta1.PropertyName]string
	// Usage of nodes, without its time; nil if it is not known.
	Usage *v1beta1.ResourceUsage
	// Namespaces with the names of the AppliedWorks that own them; nil if they are not collected.
	Namespaces map[string]string
	// Conditions report how the collection went, in any order and without times and generations.
	Conditions []metav1.Condition
	// Partial is whether some values are unknown at present: those keep what was reported last.
	Partial bool
}

// collected are the types of an Inventory's conditions, in the order in which they are reported.
var collected = []string{
	v1beta1.ConditionClusterPropertyProviderStarted,
	v1beta1.ConditionClusterPropertyCollectionSucceeded,
	v1beta1.ConditionAKSClusterCostPropertiesCollectionSucceeded,
	v1beta1.ConditionNamespaceCollectionSucceeded,
}

// ordered puts the conditions of an Inventory into the order in which they are reported, whatever order a member
// reports them in, and all others behind them.
func ordered(conditions []metav1.Condition) []metav1.Condition {
	rank := func(c metav1.Condition) int {
		if at := slices.Index(collected, c.Type); at >= 0 {
			return at
		}
		return len(collected)
	}
	out := slices.Clone(conditions)
	slices.SortStableFunc(out, func(a, b metav1.Condition) int { return rank(a) - rank(b) })
	return out
}

// into puts the inventory, if there is one, into the status of the InternalMemberCluster whose generation was acted
// on.
func (i *Inventory) into(status *v1beta1.InternalMemberClusterStatus, generation int64, now metav1.Time) {
	if i == nil {
		return
	}
	properties := make(map[v1beta1.PropertyName]v1beta1.PropertyValue, len(i.Properties))
	if i.Partial {
		maps.Copy(properties, status.Properties)
	}
	for name, value := range i.Properties {
		properties[name] = v1beta1.PropertyValue{Value: value, ObservationTime: now}
	}
	status.Properties = properties
	if i.Usage != nil {
		status.ResourceUsage = *i.Usage.DeepCopy()
		status.ResourceUsage.ObservationTime = now
	}
	if i.Namespaces != nil || !i.Partial {
		status.Namespaces = maps.Clone(i.Namespaces)
	}
	old := status.Conditions
	wanted := slices.DeleteFunc(slices.Clone(old), func(c metav1.Condition) bool { return slices.Contains(collected, c.Type) })
	for _, kind := range collected {
		is := meta.FindStatusCondition(i.Conditions, kind)
		if is == nil && i.Partial {
			is = meta.FindStatusCondition(old, kind)
		}
		if is != nil {
			c := *is
			c.ObservedGeneration = generation
			wanted = append(wanted, c)
		}
	}
	status.Conditions = merge(old, wanted, now)
}

// ProviderStarted is the condition of a property provider that runs.
func ProviderStarted() metav1.Condition {
	return yes(0, v1beta1.ConditionClusterPropertyProviderStarted, v1beta1.ReasonPropertyProviderStarted, "The property provider is running")
}

// ProviderLate is the condition of a property provider that has not started in time, with what it waits for.
func ProviderLate(why string) metav1.Condition {
	return no(0, v1beta1.ConditionClusterPropertyProviderStarted, v1beta1.ReasonTimedOut, "The property provider has not started and retries:  "+why)
}

// ProviderRefused is the condition of a property provider that lacks permissions, with what grants them.
func ProviderRefused(why string) metav1.Condition {
	return no(0, v1beta1.ConditionClusterPropertyProviderStarted, v1beta1.ReasonPropertyProviderFailedToStart, "The property provider lacks permissions and retries:  "+why)
}

// PropertiesCollected is the condition if all properties are known.
func PropertiesCollected() metav1.Condition {
	return yes(0, v1beta1.ConditionClusterPropertyCollectionSucceeded, v1beta1.ReasonPropertiesCollected, "All properties of the cluster are collected")
}

// CollectionLate is the condition if some properties were not collected in time.
func CollectionLate(why string) metav1.Condition {
	return no(0, v1beta1.ConditionClusterPropertyCollectionSucceeded, v1beta1.ReasonTimedOut,
		"Some properties could not be collected; their last known values are kept: "+why)
}

// CollectionBusy is the condition while earlier calls of the property provider have not returned.
func CollectionBusy(calls int) metav1.Condition {
	return no(0, v1beta1.ConditionClusterPropertyCollectionSucceeded, v1beta1.ReasonTooManyCalls,
		fmt.Sprintf("%d earlier calls of the property provider have not returned; the last known values are kept", calls))
}

// NamespacesCollected is the condition that reports whether all namespaces are listed. most is the limit of the list,
// left the number of namespaces beyond it.
func NamespacesCollected(most, left int) metav1.Condition {
	if left == 0 {
		return yes(0, v1beta1.ConditionNamespaceCollectionSucceeded, v1beta1.ReasonNamespacesCollected, "All namespaces are listed")
	}
	return no(0, v1beta1.ConditionNamespaceCollectionSucceeded, v1beta1.ReasonNamespaceCollectionDegraded,
		fmt.Sprintf("The %d oldest namespaces are listed and %d are left out; ResourcePlacements are not scheduled for namespaces that are not listed", most, left))
}

// CostsCalculated is the condition if costs are known. but is why they may be wrong; "" if they are complete.
func CostsCalculated(but string) metav1.Condition {
	if but == "" {
		return yes(0, v1beta1.ConditionAKSClusterCostPropertiesCollectionSucceeded, v1beta1.ReasonCostsCalculated, "Costs are calculated from all nodes")
	}
	return yes(0, v1beta1.ConditionAKSClusterCostPropertiesCollectionSucceeded, v1beta1.ReasonCostsCalculationDegraded, "Costs may be wrong: "+but)
}

// CostsFailed is the condition if costs are not known.
func CostsFailed(why string) metav1.Condition {
	return no(0, v1beta1.ConditionAKSClusterCostPropertiesCollectionSucceeded, v1beta1.ReasonCostsCalculationFailed, "Costs are not known: "+why)
}
